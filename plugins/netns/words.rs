//! From what was typed to a command and its words. iproute2 accepts long options with one dash, any beginning of an
//! option or a command, and words that look like options as names; no library for command lines does.

use crate::commands::{self, Command, Deed, Perform};
use crate::{Refusal, list, page};
use clap::error::ErrorKind;
use linux::named::Name;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What to do.
pub(crate) enum Asked<'a> {
    /// To show a text.
    Page(String),
    /// To perform a command: to be read, by [`command`], where `options` want it performed.
    Command { options: Options, line: &'a [OsString] },
    /// To perform the commands in a file.
    Batch { options: Options, file: &'a OsStr },
}

/// What stood before the command.
#[derive(Default, Debug)]
pub(crate) struct Options {
    /// `-json`
    pub(crate) json: bool,
    /// `-pretty`
    pub(crate) pretty: bool,
    /// `-all`: not one name but every one.
    pub(crate) all: bool,
    /// `-force`: a batch goes on behind a command that fails.
    pub(crate) force: bool,
    /// The command is one of several: nothing may replace the process.
    pub(crate) in_batch: bool,
    /// `-netns`: namespaces to enter before anything is done, one after the other.
    pub(crate) inside: Vec<Name>,
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Text,
    Json,
    PrettyJson,
}

impl Options {
    /// The format that was asked for.
    pub(crate) fn format(&self) -> Format {
        match (self.json, self.pretty) {
            (true, true) => Format::PrettyJson,
            (true, false) => Format::Json,
            (false, _) => Format::Text,
        }
    }
}

/// Reads the words after the program's name.
pub(crate) fn read(typed: &[OsString]) -> Result<Asked<'_>, Refusal> {
    let mut options = Options::default();
    let mut batch = None;
    let mut rest = typed;
    while let Some((word, after)) = rest.split_first() {
        if !word.as_bytes().starts_with(b"-") {
            break;
        }
        rest = after;
        if word == "--" {
            break;
        }
        match option(word)? {
            Meaning::Help => return Ok(Asked::Page(page::help())),
            Meaning::Version => return Ok(Asked::Page(page::version())),
            Meaning::Json => options.json = true,
            Meaning::Pretty => options.pretty = true,
            Meaning::All => options.all = true,
            Meaning::Force => options.force = true,
            Meaning::Batch => batch = Some(value(word, &mut rest)?),
            Meaning::Netns => options.inside.push(name(Some(value(word, &mut rest)?))?),
            Meaning::Nothing => {}
            Meaning::NothingWithValue => drop(value(word, &mut rest)?),
        }
    }
    if let Some(file) = batch {
        options.in_batch = true;
        return Ok(Asked::Batch { options, file });
    }
    Ok(Asked::Command { options, line: rest })
}

/// What a line asks for, once the options are taken off.
pub(crate) enum Line<'a> {
    /// A page.
    Page(String),
    /// A command of `ip netns`, with its words.
    Words(Perform<[OsString]>, &'a [OsString]),
    /// One of ours, with its words as clap has read them.
    Read(Perform<clap::ArgMatches>, clap::ArgMatches),
}

/// Reads a command and its words.
pub(crate) fn command<'a>(options: &Options, line: &'a [OsString]) -> Result<Line<'a>, Refusal> {
    let Some((command, words)) = line.split_first() else {
        return Ok(Line::Words(list::list, &[]));
    };
    if words.len() == 1 && words.first().is_some_and(|word| word == "--help") {
        return Ok(Line::Page(page::of(find(command)?)));
    }
    let found = find(command);
    // iproute2 looks at the second word before the first, whatever the command takes it for. With `-all` it looks at no name
    // at all; here each command does that looks a name up.
    let is_ours = matches!(found, Ok(Command { deed: Deed::Read { .. }, .. }));
    if !is_ours && !options.all {
        words.first().map(|word| Name::try_from(word.as_os_str())).transpose().map_err(Refusal::rejected)?;
    }
    let command = found?;
    match command.deed {
        Deed::Words(perform) => Ok(Line::Words(perform, words)),
        Deed::Read { perform, .. } => match page::read(command, words) {
            Ok(read) => Ok(Line::Read(perform, read)),
            Err(page) if page.kind() == ErrorKind::DisplayHelp => Ok(Line::Page(page.to_string())),
            Err(fault) => Err(Refusal::rejected(fault)),
        },
    }
}

/// The name that a command is about.
pub(crate) fn name(word: Option<&OsString>) -> Result<Name, Refusal> {
    let word = word.ok_or_else(|| Refusal::failed("No netns name specified"))?;
    Name::try_from(word.as_os_str()).map_err(Refusal::rejected)
}

fn value<'a>(option: &OsStr, rest: &mut &'a [OsString]) -> Result<&'a OsString, Refusal> {
    let (value, after) = rest.split_first().ok_or_else(|| {
        Refusal::rejected(format!("Option \"{}\" lacks its value, try \"netns -help\".", option.display()))
    })?;
    *rest = after;
    Ok(value)
}

/// What an option does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Help,
    Version,
    Json,
    Pretty,
    All,
    Force,
    Batch,
    Netns,
    /// One of `ip`'s that changes nothing about namespaces, which scripts put there all the same.
    Nothing,
    /// The same, and the word behind it belongs to it.
    NothingWithValue,
}

/// iproute2 decides by its own order what a beginning stands for: hence the shortest one.
const OPTIONS: [(&str, &str, Meaning); 32] = [
    ("-help", "-h", Meaning::Help),
    ("-Version", "-V", Meaning::Version),
    ("-version", "-v", Meaning::Version),
    ("-json", "-j", Meaning::Json),
    ("-pretty", "-p", Meaning::Pretty),
    ("-all", "-a", Meaning::All),
    ("-force", "-fo", Meaning::Force),
    ("-batch", "-b", Meaning::Batch),
    ("-netns", "-n", Meaning::Netns),
    ("-0", "-0", Meaning::Nothing),
    ("-4", "-4", Meaning::Nothing),
    ("-6", "-6", Meaning::Nothing),
    ("-B", "-B", Meaning::Nothing),
    ("-M", "-M", Meaning::Nothing),
    ("-brief", "-br", Meaning::Nothing),
    ("-color", "-c", Meaning::Nothing),
    ("-color=always", "-color=always", Meaning::Nothing),
    ("-color=auto", "-color=auto", Meaning::Nothing),
    ("-color=never", "-color=never", Meaning::Nothing),
    ("-details", "-d", Meaning::Nothing),
    ("-family", "-f", Meaning::NothingWithValue),
    ("-human-readable", "-hu", Meaning::Nothing),
    ("-iec", "-i", Meaning::Nothing),
    ("-loops", "-l", Meaning::NothingWithValue),
    ("-Numeric", "-N", Meaning::Nothing),
    ("-oneline", "-o", Meaning::Nothing),
    ("-rcvbuf", "-rc", Meaning::NothingWithValue),
    ("-resolve", "-r", Meaning::Nothing),
    ("-statistics", "-s", Meaning::Nothing),
    ("-stats", "-s", Meaning::Nothing),
    ("-timestamp", "-t", Meaning::Nothing),
    ("-tshort", "-ts", Meaning::Nothing),
];

fn option(word: &OsStr) -> Result<Meaning, Refusal> {
    let bytes = word.as_bytes();
    let one_dash = if bytes.starts_with(b"--") { bytes.get(1..).unwrap_or_default() } else { bytes };
    let fits = |(full, shortest, _): &&(&str, &str, _)| {
        one_dash.len() >= shortest.len() && full.as_bytes().starts_with(one_dash)
    };
    let found = OPTIONS.iter().find(fits).map(|(_, _, meaning)| *meaning);
    found.ok_or_else(|| {
        let shown = OsStr::from_bytes(one_dash).display();
        Refusal::rejected(format!("Option \"{shown}\" is unknown, try \"netns -help\"."))
    })
}

/// The first command of the table that begins so, by any of its words.
fn find(word: &OsStr) -> Result<&'static Command, Refusal> {
    let bytes = word.as_bytes();
    let begins = |full: &str| !bytes.is_empty() && full.as_bytes().starts_with(bytes);
    let found = commands::COMMANDS.iter().find(|command| command.words().any(begins)).copied();
    found.ok_or_else(|| {
        Refusal::rejected(format!("Command \"{}\" is unknown, try \"netns help\".", word.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(typed: &[&str]) -> Result<(Options, Vec<String>), String> {
        let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
        match read(&typed).map_err(|refusal| refusal.message)? {
            Asked::Page(text) => Err(text),
            Asked::Batch { file, .. } => Err(format!("batch {}", file.display())),
            Asked::Command { options, line } => {
                match command(&options, line).map_err(|refusal| refusal.message)? {
                    Line::Page(text) => Err(text),
                    Line::Read(..) => Err("ours".into()),
                    Line::Words(_, words) => {
                        let words = words.iter().map(|word| word.to_str().unwrap().to_owned());
                        Ok((options, words.collect()))
                    }
                }
            }
        }
    }

    #[test]
    fn a_command_is_any_beginning_of_it() {
        for (typed, full) in [
            ("l", "list"),
            ("ls", "list"),
            ("lst", "list"),
            ("s", "list"),
            ("show", "list"),
            ("list-", "list-id"),
            ("a", "add"),
            ("at", "attach"),
            ("se", "set"),
            ("d", "delete"),
            ("del", "delete"),
            ("i", "identify"),
            ("p", "pids"),
            ("m", "monitor"),
            ("e", "exec"),
            ("h", "help"),
            ("g", "graph"),
        ] {
            assert_eq!(find(OsStr::new(typed)).ok().unwrap().name, full, "{typed}");
        }
        for unknown in ["", "bogus", "lists", "list-ids", "adds", "x"] {
            let message = format!("Command \"{unknown}\" is unknown, try \"netns help\".");
            assert_eq!(asked(&[unknown]).unwrap_err(), message);
        }
    }

    #[test]
    fn an_option_has_one_dash_or_two_and_any_length() {
        let (options, words) = asked(&["-j", "--pretty", "-al", "-n", "a", "list"]).unwrap();
        assert_eq!((options.format(), options.all, options.inside.len()), (Format::PrettyJson, true, 1));
        assert!(words.is_empty());
        let (options, _) = asked(&["-js", "-o", "-4", "-br", "-color=auto", "-f", "inet"]).unwrap();
        assert_eq!(options.format(), Format::Json);
        assert_eq!(asked(&["--", "add", "x"]).unwrap().1, ["x"]);
        assert_eq!(asked(&["-fo", "-b", "-"]).unwrap_err(), "batch -");
        for unknown in ["-x", "-jsonx", "-"] {
            let message = format!("Option \"{unknown}\" is unknown, try \"netns -help\".");
            assert_eq!(asked(&[unknown]).unwrap_err(), message);
        }
        for lacking in ["-n", "-f", "-b"] {
            let message = format!("Option \"{lacking}\" lacks its value, try \"netns -help\".");
            assert_eq!(asked(&[lacking]).unwrap_err(), message);
        }
    }

    #[test]
    fn a_word_after_the_command_is_taken_as_it_is() {
        assert_eq!(asked(&["add", "-j"]).unwrap().1, ["-j"]);
        assert_eq!(asked(&["e", "a", "--", "x"]).unwrap().1, ["a", "--", "x"]);
        assert!(asked(&["del", "--help"]).unwrap_err().contains("Usage: netns delete NAME"));
    }

    #[test]
    fn the_second_word_is_checked_before_the_first() {
        for command in ["list", "add", "bogus"] {
            assert_eq!(asked(&[command, ".."]).unwrap_err(), "Invalid netns name \"..\"");
        }
        assert_eq!(asked(&["-all", "exec", "/bin/true"]).unwrap().1, ["/bin/true"]);
    }
}
