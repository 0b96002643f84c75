//! `host-local` as a person runs it, without a runtime: to look at leases. Nothing is changed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use cni::env::Env;
use cni::error::{OrFail, Result};
use cni::name::NetworkName;
use cni::plain::{plain, plain_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conf::DATA_DIR;
use crate::host_local::listing;
use crate::host_local::verify::{self, Finding};
use crate::store::Machine;
use crate::store::look::{Look, look};

const USAGE: &str = "\
host-local gives addresses from ranges and keeps who has which in a folder. Runtimes call it, by way of other plugins.
By hand it shows leases, and changes nothing:

    host-local --list [--json] [NETWORK|FOLDER]...
    host-local --verify [--valid FILE] [--json] [NETWORK|FOLDER]...

    --list     the leases: address, container, interface, age, and whether they are of this boot
    --verify   what does not fit together; exit status 1 if there is anything
    --valid    a JSON list of the attachments that live, [{\"containerID\": \"...\", \"ifname\": \"...\"}], as GC gets it;
               - is stdin. Leases of others are then findings
    --json     a JSON list instead of text

A word with a / in it is a folder, any other the network of that name below /var/lib/cni/networks. Without one it is
all networks there. A place that cannot be read is told on stderr, and makes the exit status 1, too.
";

/// Below what a plugin says of itself when nobody has asked it for anything.
const HINT: &str = "Runtimes call it, by way of other plugins. To look at leases: host-local --help\n";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    verb: Option<Verb>,
    json: bool,
    valid: Option<PathBuf>,
    places: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Help,
    List,
    Verify,
}

/// What is to be said, and what went wrong on the way.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    finds: bool,
    faults: Vec<String>,
}

/// Whoever has typed something is answered here; a runtime, which sets `CNI_COMMAND` and passes no argument, by `serve`. That
/// also answers whoever has typed only the program's name, and then may learn what else it can do.
pub fn answer(serve: impl FnOnce() -> ExitCode) -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !Env::of_this_process().is_empty_of("CNI_COMMAND") {
        return serve();
    }
    if typed.is_empty() {
        let code = serve();
        complain(HINT);
        return code;
    }
    match read(&typed) {
        Ok(asked) => tell(&perform(&asked)),
        Err(why) => {
            complain(&format!("host-local: {}\n\n{USAGE}", plain(&why)));
            ExitCode::from(2)
        }
    }
}

fn tell(answer: &Answer) -> ExitCode {
    let said = say(&mut io::stdout(), &answer.text).doing(|| "write to stdout".into());
    let unsaid = said.err().map(|error| error.msg());
    let mut all_is_well = !answer.finds;
    for fault in answer.faults.iter().chain(&unsaid) {
        complain(&format!("host-local: {}\n", plain(fault)));
        all_is_well = false;
    }
    if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(typed: &[OsString]) -> std::result::Result<Asked, String> {
    let mut asked = Asked::default();
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        let verb = match word.to_str() {
            Some("--help" | "-h") => Verb::Help,
            Some("--list") => Verb::List,
            Some("--verify") => Verb::Verify,
            Some("--json") => {
                asked.json = true;
                continue;
            }
            Some("--valid") => {
                let file = words.next().ok_or("--valid needs a file")?;
                if asked.valid.replace(file.into()).is_some() {
                    return Err("--valid goes with one file".into());
                }
                continue;
            }
            Some(option) if option.starts_with('-') => return Err(format!("{option} is no option")),
            _ => {
                asked.places.push(place(word)?);
                continue;
            }
        };
        if asked.verb.replace(verb).is_some_and(|other| other != verb) {
            return Err("one thing at a time".into());
        }
    }
    match asked.verb {
        None => Err("--list or --verify?".into()),
        Some(Verb::List) if asked.valid.is_some() => Err("--valid goes with --verify".into()),
        _ => Ok(asked),
    }
}

/// The folder that a word means. A network's name cannot lead out of the usual place.
fn place(word: &OsStr) -> std::result::Result<PathBuf, String> {
    if word.as_encoded_bytes().contains(&b'/') {
        return Ok(word.into());
    }
    let name = word.to_string_lossy();
    match name.parse::<NetworkName>() {
        Ok(name) => Ok(Path::new(DATA_DIR).join(name.as_str())),
        Err(_) => Err(format!("{name:?} is neither a network's name nor, without a /, a folder")),
    }
}

/// Looks where it is asked to. One place that cannot be read keeps nobody from seeing the others.
fn perform(asked: &Asked) -> Answer {
    let mut answer = Answer::default();
    if asked.verb == Some(Verb::Help) {
        answer.text = USAGE.into();
        return answer;
    }
    let places = if asked.places.is_empty() { networks() } else { Ok(asked.places.clone()) };
    let known = places.and_then(|places| Ok((places, asked.valid.as_deref().map(living).transpose()?)));
    let (places, living) = match known {
        Ok(known) => known,
        Err(error) => {
            answer.faults.push(error.msg());
            return answer;
        }
    };
    let (machine, mut objects) = (Machine::this(), Vec::new());
    for place in &places {
        match look(&machine, place) {
            Ok(look) => {
                if places.len() > 1 {
                    let gap = if answer.text.is_empty() { "" } else { "\n" };
                    answer.text += &format!("{gap}{}:\n", plain(&place.display().to_string()));
                }
                let (text, found) = show(asked, &place.display().to_string(), &look, living.as_deref());
                answer.text += &text;
                objects.extend(found);
            }
            Err(error) => answer.faults.push(error.msg()),
        }
    }
    answer.finds = asked.verb == Some(Verb::Verify) && !objects.is_empty();
    if asked.json {
        answer.text = plain_json(&Value::Array(objects));
    }
    answer
}

/// One folder, in both forms.
fn show(
    asked: &Asked,
    folder: &str,
    look: &Look,
    living: Option<&[(String, String)]>,
) -> (String, Vec<Value>) {
    if asked.verb == Some(Verb::List) {
        let now = SystemTime::now();
        return (listing::text(look, now), listing::objects(folder, look, now));
    }
    let findings = verify::findings(look, living);
    let line = |found: &Finding| format!("{}: {}\n", plain(&found.file), plain(&found.text));
    let object = |found: &Finding| json!({"folder": folder, "file": found.file, "finding": found.text});
    (findings.iter().map(line).collect(), findings.iter().map(object).collect())
}

/// Every network of the usual place.
fn networks() -> Result<Vec<PathBuf>> {
    let reading = || format!("read {DATA_DIR}");
    let mut folders = Vec::new();
    for entry in fs::read_dir(DATA_DIR).doing(reading)? {
        let entry = entry.doing(reading)?;
        if entry.file_type().doing(reading)?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "containerID")]
    container: String,
    ifname: String,
}

fn living(file: &Path) -> Result<Vec<(String, String)>> {
    let reading = || format!("read the list of living attachments in {}", file.display());
    let text =
        if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    let list: Vec<Attachment> =
        serde_json::from_str(&text.doing(reading)?).map_err(io::Error::from).doing(reading)?;
    Ok(list.into_iter().map(|it| (it.container, it.ifname)).collect())
}

/// Whoever reads no further (`| head`) has what he wants.
fn say(to: &mut impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// There is nobody to tell when stderr cannot be written to.
fn complain(text: &str) {
    let _ = say(&mut io::stderr(), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> std::result::Result<Asked, String> {
        read(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_word_is_a_network_and_a_path_a_folder() {
        let asked = typed("--list --json net-a ./net-b /x/net-c").unwrap();
        let places = ["/var/lib/cni/networks/net-a", "./net-b", "/x/net-c"].map(PathBuf::from).to_vec();
        assert_eq!(asked, Asked { verb: Some(Verb::List), json: true, valid: None, places });
        assert_eq!(typed("--verify --valid -").unwrap().valid, Some("-".into()));
        assert_eq!(typed("-h").unwrap().verb, Some(Verb::Help));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (line, words) in [
            ("net-a", "--list or --verify"),
            ("--list --verify", "one thing"),
            ("--list --valid x", "--verify"),
            ("--verify --valid", "file"),
            ("--list --all", "--all"),
            ("--list .", "\".\" is neither"),
            ("--list ..", "\"..\" is neither"),
            ("--list ", "\"\" is neither"),
            ("--list net\u{1b}[2J", "is neither"),
            ("--verify --valid x --valid y", "one file"),
        ] {
            assert!(typed(line).unwrap_err().contains(words), "{line}");
        }
    }
}
