//! `cnitool validate`: what a runtime and the plugins would make of files, before they do.
//!
//! - [`located`]: JSON with its places; [`finding`]: what was found where
//! - [`list`]: what a runtime reads; [`plugin`]: what each plugin reads
//! - [`report`]: all of it, printed
//! - [`known`]: the plugins of this project, and which keys they have
//! - [`subnets`]: what overlaps
//! - [`similar`]: did you mean?

pub(crate) mod finding;
pub(crate) mod known;
mod list;
mod located;
mod plugin;
mod report;
pub(crate) mod similar;
mod subnets;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cni::conflist::folder;
use cni::conflist::list::{List, Plugin};
use cni::conflist::object::Object;
use cni::error::{Code, Error, OrFail, Result};
use cni::keys::{self, OF_ALL, OF_OURS};
use cni::name::NetworkName;

use self::finding::{Finding, Findings, Level};
use self::known::Known;
use self::located::{Node, Text, Unreadable};
use self::plugin::Programs;
use self::subnets::Subnet;

/// No configuration is longer; whoever names a disk by mistake need not wait.
const LONGEST: u64 = 4 << 20;

/// What was seen.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    networks: Vec<Seen>,
    subnets: Vec<Subnet>,
}

/// A file that was looked at.
struct Seen {
    file: PathBuf,
    /// What lies in the folder with the network's name.
    parts: Vec<PathBuf>,
    /// Name, version and plugins, if it can be read at all.
    network: Option<(String, String, Vec<String>)>,
}

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A list of plugins.
    List,
    /// One plugin, which becomes a list of one.
    Single,
}

impl Report {
    /// Looks at files. Programs are looked for along `path`, where there is one, and networks in `conf`; `with_host` looks at
    /// the host's routes.
    pub(crate) fn of(files: &[PathBuf], path: &[PathBuf], conf: &Path, with_host: bool) -> Report {
        let mut report = Report::default();
        for file in files {
            report.read(file, path, conf);
        }
        report.same_names();
        report.findings.extend(subnets::among_themselves(&report.subnets));
        if with_host && !report.subnets.is_empty() {
            match subnets::ways() {
                Ok(ways) => report.findings.extend(subnets::with_ways(&report.subnets, &ways)),
                Err(error) => {
                    let why = format!("the host's routes cannot be looked at: {error}");
                    report.findings.extend(files.first().map(|file| whole_file(file, Level::Note, why)));
                }
            }
        }
        report.findings.sort_by(|one, other| (&one.file, one.place).cmp(&(&other.file, other.place)));
        report
    }

    pub(crate) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|found| found.level == level).count()
    }

    fn read(&mut self, file: &Path, path: &[PathBuf], conf: &Path) {
        let (mut network, mut parts) = (None, Vec::new());
        match text_of(file) {
            Err(error) => {
                let found = network_called(file, conf);
                let hint = found.map(|found| format!("; the network of that name is in {}", found.display()));
                let text = format!("{}{}", error.msg(), hint.unwrap_or_default());
                self.findings.push(whole_file(file, Level::Error, text));
            }
            Ok((text, strange)) => {
                let text = Text::new(text);
                self.tell_of_strange_bytes(file, &text, strange);
                if let Some((list, sort)) = self.judge(file, &text, path) {
                    let mut names: Vec<String> =
                        list.plugins.iter().map(|plugin| plugin.program.to_string()).collect();
                    if sort == Sort::List && !list.is_whole() {
                        parts = self.beside(file, &list, path, &mut names);
                    }
                    network = Some((list.name.to_string(), list.version.to_string(), names));
                }
            }
        }
        self.networks.push(Seen { file: file.to_owned(), parts, network });
    }

    fn tell_of_strange_bytes(&mut self, file: &Path, text: &Text, at: Option<usize>) {
        let why = "it is not UTF-8: plugins read U+FFFD in place of what is none";
        let found =
            at.map(|at| Finding { place: Some(text.place(at)), ..whole_file(file, Level::Warning, why) });
        self.findings.extend(found);
    }

    fn judge(&mut self, file: &Path, text: &Text, path: &[PathBuf]) -> Option<(List, Sort)> {
        let mut found = Findings::of(file, text);
        let node = match text.read() {
            Ok(node) => node,
            Err(Unreadable { at, why }) => {
                found.error(at, format!("no JSON: {why}"));
                self.findings.extend(found.into_all());
                return None;
            }
        };
        let sort = sort(file, &node, &mut found);
        let list = judge_list(sort, text, &node, path, &mut found);
        let named = node.get("name").and_then(|member| member.node.text());
        let network = list.as_ref().map(|list| list.name.to_string());
        let network = network.unwrap_or_else(|| named.unwrap_or_default().to_owned());
        for plugin in plugins_of(sort, &node) {
            self.subnets.extend(subnets::of_plugin(plugin, &network, &found));
        }
        self.findings.extend(found.into_all());
        list.map(|list| (list, sort))
    }

    /// The plugins that a runtime adds from the folder with the network's name: their files, and behind `names` theirs.
    fn beside(
        &mut self,
        file: &Path,
        list: &List,
        path: &[PathBuf],
        names: &mut Vec<String>,
    ) -> Vec<PathBuf> {
        let folder = file.with_file_name(list.name.as_str());
        let parts = match folder::files(&folder) {
            Ok(files) => files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "conf")),
            Err(error) => {
                self.findings.push(whole_file(&folder, Level::Error, error.msg()));
                return Vec::new();
            }
        };
        let parts: Vec<PathBuf> = parts.collect();
        if parts.is_empty() && list.plugins.is_empty() {
            let why = format!(
                "no plugin configs found: neither \"plugins\" nor a file {}/*.conf",
                folder.display()
            );
            self.findings.push(whole_file(file, Level::Error, why));
        }
        for (number, part) in parts.iter().enumerate() {
            names.extend(self.part(part, list, list.plugins.len() + number, path));
        }
        parts
    }

    fn part(&mut self, file: &Path, list: &List, number: usize, path: &[PathBuf]) -> Option<String> {
        let read = text_of(file);
        let (text, strange) =
            read.map_err(|error| self.findings.push(whole_file(file, Level::Error, error.msg()))).ok()?;
        let text = Text::new(text);
        self.tell_of_strange_bytes(file, &text, strange);
        let mut found = Findings::of(file, &text);
        let node = text.read().map_err(|fault| found.error(fault.at, format!("no JSON: {}", fault.why))).ok();
        let parsed = node.and_then(|node| {
            let programs = Programs { path, version: Some(list.version.as_str()) };
            plugin::check(&node, number, Some(&programs).filter(|_| !path.is_empty()), &mut found);
            ask_plugin(&text, &node, list.name.as_str(), list.version.as_str(), &mut found);
            self.subnets.extend(subnets::of_plugin(&node, list.name.as_str(), &found));
            let parsed = Plugin::parse(text.as_str().as_bytes());
            parsed.map_err(|error| found.error_unless_any(node.at, error.msg())).ok()
        });
        self.findings.extend(found.into_all());
        parsed.map(|plugin| plugin.program.to_string())
    }

    /// Of two files with one network runtimes take the first.
    fn same_names(&mut self) {
        let mut found = Vec::new();
        for (number, later) in self.networks.iter().enumerate() {
            let Some((name, ..)) = &later.network else { continue };
            let named = |seen: &&Seen| seen.network.as_ref().is_some_and(|(other, ..)| other == name);
            if let Some(first) = self.networks.iter().take(number).find(named) {
                let first = first.file.display();
                let text = format!(
                    "{first} holds a network {name:?} too; of one folder, runtimes take the first file"
                );
                found.push(whole_file(&later.file, Level::Warning, text));
            }
        }
        self.findings.extend(found);
    }
}

fn whole_file(file: &Path, level: Level, text: impl Into<String>) -> Finding {
    Finding { file: file.to_owned(), place: None, level, text: text.into() }
}

/// Whoever names a network where files are named gets to know in which file it is.
fn network_called(name: &Path, conf: &Path) -> Option<PathBuf> {
    let name = name.to_str().filter(|name| is_name(name))?;
    folder::find(conf, name).ok().map(|found| found.file)
}

/// The text of a file, and where it is not UTF-8, if it is not.
fn text_of(file: &Path) -> Result<(String, Option<usize>)> {
    let refuse = |why: &str| Err(Error::new(Code::IO, why));
    let mut bytes = Vec::new();
    let opened = File::open(file).or_fail(Code::IO, || "cannot be opened".into())?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return refuse("is a folder; name the files in it, or set NETCONFPATH to it and name none");
    }
    opened.take(LONGEST + 1).read_to_end(&mut bytes).or_fail(Code::IO, || "cannot be read".into())?;
    if bytes.len() as u64 > LONGEST {
        return refuse("is larger than 4 MiB, and no configuration");
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
        }
    })
}

/// Runtimes go by the end of a file's name.
fn sort(file: &Path, node: &Node, found: &mut Findings<'_>) -> Sort {
    let has_plugins = node.get_exact("plugins").is_some();
    match file.extension().and_then(|end| end.to_str()) {
        Some("conflist") => Sort::List,
        Some("conf" | "json") => {
            if has_plugins {
                found.error(
                    node.at,
                    "it holds a list, which runtimes read only from a file called *.conflist",
                );
                return Sort::List;
            }
            Sort::Single
        }
        _ => {
            let named = if has_plugins { "*.conflist" } else { "*.conf or *.json" };
            found.warning(node.at, format!("runtimes find it only if it is called {named}"));
            if has_plugins { Sort::List } else { Sort::Single }
        }
    }
}

fn plugins_of(sort: Sort, node: &Node) -> Vec<&Node> {
    match sort {
        Sort::List => {
            node.get_exact("plugins").map_or(&[][..], |member| member.node.items()).iter().collect()
        }
        Sort::Single => vec![node],
    }
}

fn judge_list(
    sort: Sort,
    text: &Text,
    node: &Node,
    path: &[PathBuf],
    found: &mut Findings<'_>,
) -> Option<List> {
    let bytes = text.as_str().as_bytes();
    let parsed = if sort == Sort::List { List::parse(bytes) } else { List::wrap(bytes) };
    match sort {
        Sort::List => list::check(node, found),
        Sort::Single => {
            list::name(node, found);
            if let Some(member) = node.get("cniVersion") {
                list::version(&member.node, true, found);
            }
        }
    }
    let name = node.get("name").and_then(|member| member.node.text()).filter(|name| is_name(name));
    let version = parsed.as_ref().ok().map(|list| list.version.clone());
    // A version that nobody knows has been told of; each plugin need not say so again.
    let version = version.as_ref().filter(|version| version.spec().is_some()).map(|version| version.as_str());
    let programs = Programs { path, version };
    for (number, plugin) in plugins_of(sort, node).into_iter().enumerate() {
        plugin::check(plugin, number, Some(&programs).filter(|_| !path.is_empty()), found);
        ask_plugin(text, plugin, name.unwrap_or("any"), version.unwrap_or("1.0.0"), found);
    }
    // Whatever a runtime refuses has to be told, whether or not it was found above.
    parsed.map_err(|error| found.error_unless_any(node.at, error.msg())).ok()
}

fn is_name(name: &str) -> bool {
    name.parse::<NetworkName>().is_ok()
}

/// What the plugins themselves say of what they would get.
fn ask_plugin(text: &Text, node: &Node, name: &str, version: &str, found: &mut Findings<'_>) {
    let written = text.as_str().get(node.at..node.end).unwrap_or_default();
    let Ok(mut stdin) = Object::parse(written.as_bytes()) else { return };
    for (key, value) in [("name", name), ("cniVersion", version)] {
        let Ok(value) = serde_json::value::to_raw_value(value) else { return };
        stdin.set(key, value);
    }
    // They are the runtime's, and have been told of.
    ["prevResult", "runtimeConfig", "capabilities"].iter().for_each(|key| stdin.remove(key));
    let type_of = |node: &Node| node.get("type").and_then(|member| member.node.text()).map(str::to_owned);
    let ipam = node.get("ipam").map(|member| &member.node);
    let stdin = stdin.text().to_owned().into_bytes();
    let mut tell = |known: &Known, part: &Node, error: &Error| {
        let more = error.more().map_or_else(String::new, |more| format!(" ({more})"));
        let said = error.msg();
        let at = blamed(&format!("{said} {more}"), node, part).unwrap_or(part.at);
        found.error(at, format!("{}: {said}{more}", known.name));
    };
    let plugin = type_of(node).as_deref().and_then(known::named);
    let asked = ipam.and_then(type_of).as_deref().and_then(known::named);
    // Who is asked for addresses says of these keys what the plugin has said.
    if let (Some(first), Err(error)) = (plugin.or(asked), keys::judge_those_of_ours(&stdin)) {
        tell(first, node, &error);
    }
    for (known, part) in [(plugin, node), (asked, ipam.unwrap_or(node))] {
        if let Some((known, Err(error))) = known.map(|known| (known, known.judge(&stdin))) {
            tell(known, part, &error);
        }
    }
}

/// What an error speaks of: a key, with the way to it or by its name alone, or a value.
fn blamed(said: &str, node: &Node, part: &Node) -> Option<usize> {
    let words = || said.split([' ', ':', ',', '(', ')', '"']).map(|word| word.trim_end_matches('.'));
    let own = || words().filter(|word| word.len() > 1 && !OF_ALL.contains(word));
    let key = own().find_map(|word| node.along(word));
    key.or_else(|| own().find_map(|word| part.holder_of(word)))
}

/// The keys of the plugins of these names, or of all.
pub(crate) fn keys_of(names: &[String]) -> Result<Vec<(String, Vec<String>)>> {
    let all = || known::OURS.iter().map(|known| known.name.to_owned()).collect();
    let names: Vec<String> = if names.is_empty() { all() } else { names.to_vec() };
    let keys = |name: String| match known::named(&name) {
        Some(known) => {
            let of_ours = OF_OURS.iter().map(|key| (*key).to_owned());
            Ok((name, known.paths().into_iter().chain(of_ours).collect()))
        }
        None => {
            let ours: Vec<&str> = known::OURS.iter().map(|known| known.name).collect();
            Err(Error::config(format!("{name:?} is none of {}", ours.join(", "))))
        }
    };
    names.into_iter().map(keys).collect()
}

/// Every file of a folder that a runtime would read.
pub(crate) fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = folder::files(folder)?;
    match files.is_empty() {
        true => Err(Error::config(format!("no net configurations found in {}", folder.display()))),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{"cniVersion":"1.0.0","cniVersions":["1.1.0"],"name":"net","disableCheck":false,"plugins":[
{"type":"bridge","mtu":1500,"vlanTrunk":[{"id":7}],"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/16"}]]},
"capabilities":{"ips":true}},{"type":"tuning","sysctl":{"net.ipv4.conf.IFNAME.x":"1"}}]}"#;

    fn judged(text: &str) -> (Report, bool) {
        let mut report = Report::default();
        let network = report.judge(Path::new("x.conflist"), &Text::new(text.into()), &[]);
        (report, network.is_some())
    }

    #[test]
    fn the_list_that_is_spoilt_below_is_good() {
        let (report, is_network) = judged(LIST);
        assert!(
            is_network && report.count(Level::Error) + report.count(Level::Warning) == 0,
            "{}",
            report.text()
        );
    }

    proptest! {
        /// Whatever is done to a list: what a runtime refuses is an error here, in a place that there is.
        #[test]
        fn what_a_runtime_refuses_is_always_found(at in 0..LIST.len(), length in 0..9_usize, put in "[ -~é\n]{0,3}") {
            let end = (at + length).min(LIST.len());
            let text = format!("{}{put}{}", &LIST[..at], &LIST[end..]);
            let (report, is_network) = judged(&text);
            let refused = List::parse(text.as_bytes()).is_err();
            prop_assert!(!refused || report.count(Level::Error) > 0, "{text}");
            prop_assert!(!refused || !is_network);
            let lines: Vec<&str> = text.split('\n').collect();
            for place in report.findings.iter().filter_map(|found| found.place) {
                let line = lines.get(place.line - 1);
                prop_assert!(line.is_some_and(|line| place.column <= line.chars().count() + 1), "{place:?}\n{text}");
            }
        }
    }
}
