//! From what was typed to a request. iproute2 accepts long options with one dash, any beginning of an option
//! or a command, and words that look like options as names; clap knows none of this. So the words are spelled
//! out first, and clap reads the result.

use crate::graph::{Form, Wish};
use crate::{Refusal, page};
use clap::error::ErrorKind;
use linux::named::Name;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// What to do.
#[derive(Debug)]
pub(crate) enum Request {
    Page(String),
    List(Format),
    Graph(Wish),
    Add(Name),
    Delete(Name),
    Exec { name: Name, program: OsString, arguments: Vec<OsString> },
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Text,
    Json,
    PrettyJson,
}

/// The exit statuses of `ip netns`, which scripts look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Status {
    /// A deed failed.
    Failed,
    /// The words make no sense, or the namespace of `exec` cannot be entered.
    Rejected,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        match status {
            Status::Failed => ExitCode::from(1),
            Status::Rejected => ExitCode::from(255),
        }
    }
}

/// Reads the words after the program's name.
pub(crate) fn read(typed: &[OsString]) -> Result<Request, Refusal> {
    let spelled_out = spell_out(typed)?;
    match page::command().try_get_matches_from(spelled_out) {
        Ok(matches) => request(&matches),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Request::Page(e.to_string()))
        }
        Err(e) => Err(Refusal::rejected(e)),
    }
}

fn request(matches: &clap::ArgMatches) -> Result<Request, Refusal> {
    let Some((command, words)) = matches.subcommand() else {
        return Ok(Request::List(format(matches)));
    };
    if command == "graph" {
        return Ok(Request::Graph(wish(words, matches)));
    }
    let mut words = words.get_many::<OsString>("words").unwrap_or_default();
    match command {
        "add" => Ok(Request::Add(name(words.next())?)),
        "delete" => Ok(Request::Delete(name(words.next())?)),
        "exec" => {
            let name = name(words.next())?;
            let program = words.next().ok_or_else(|| Refusal::failed("No command specified"))?.clone();
            Ok(Request::Exec { name, program, arguments: words.cloned().collect() })
        }
        // As in iproute2, where `help` is what a wrong word gets; the same page with status 0 is `--help`.
        "help" => Err(Refusal::rejected(page::command().render_help())),
        _ => Ok(Request::List(format(matches))),
    }
}

fn wish(words: &clap::ArgMatches, options: &clap::ArgMatches) -> Wish {
    let names = words.get_many::<OsString>("words").unwrap_or_default().cloned().collect();
    let json = Form::Json { pretty: options.get_flag("pretty") };
    let form = match words.get_one::<String>("format").map(String::as_str) {
        Some("json") => json,
        None if options.get_flag("json") => json,
        _ => Form::Tree,
    };
    Wish { names, form, routes: words.get_flag("routes") }
}

fn name(word: Option<&OsString>) -> Result<Name, Refusal> {
    let word = word.ok_or_else(|| Refusal::failed("No netns name specified"))?;
    Name::try_from(word.as_os_str()).map_err(Refusal::rejected)
}

fn format(matches: &clap::ArgMatches) -> Format {
    match (matches.get_flag("json"), matches.get_flag("pretty")) {
        (true, true) => Format::PrettyJson,
        (true, false) => Format::Json,
        (false, _) => Format::Text,
    }
}

/// The words as clap wants them: options and command in full, and `--` before what must be taken as it is.
fn spell_out(typed: &[OsString]) -> Result<Vec<OsString>, Refusal> {
    let mut spelled_out: Vec<OsString> = vec!["netns".into()];
    let mut rest = typed;
    while let Some((word, after)) = rest.split_first() {
        if !word.as_bytes().starts_with(b"-") {
            break;
        }
        rest = after;
        if word == "--" {
            break;
        }
        spelled_out.extend(option(word)?.map(OsString::from));
    }
    let Some((command, words)) = rest.split_first() else { return Ok(spelled_out) };
    if words.first().is_some_and(|word| word == "--help") {
        spelled_out.extend([full_command(command)?.into(), "--help".into()]);
        return Ok(spelled_out);
    }
    // iproute2 looks at the second word before the first, whatever the command takes it for.
    words.first().map(|word| Name::try_from(word.as_os_str())).transpose().map_err(Refusal::rejected)?;
    let command = full_command(command)?;
    spelled_out.push(command.into());
    // Nothing of iproute2's, so that options may come where clap takes them.
    if command != "graph" {
        spelled_out.push("--".into());
    }
    spelled_out.extend_from_slice(words);
    Ok(spelled_out)
}

/// An option of ours in full; `None` for one of `ip`'s that changes nothing about namespaces, which scripts
/// put there all the same. iproute2 decides by its own order what a beginning stands for: hence the shortest.
const OPTIONS: [(&str, &str, Option<&str>); 25] = [
    ("-help", "-h", Some("--help")),
    ("-Version", "-V", Some("--version")),
    ("-version", "-v", Some("--version")),
    ("-json", "-j", Some("--json")),
    ("-pretty", "-p", Some("--pretty")),
    ("-0", "-0", None),
    ("-4", "-4", None),
    ("-6", "-6", None),
    ("-B", "-B", None),
    ("-M", "-M", None),
    ("-brief", "-br", None),
    ("-color", "-c", None),
    ("-color=always", "-color=always", None),
    ("-color=auto", "-color=auto", None),
    ("-color=never", "-color=never", None),
    ("-details", "-d", None),
    ("-human-readable", "-hu", None),
    ("-iec", "-i", None),
    ("-Numeric", "-N", None),
    ("-oneline", "-o", None),
    ("-resolve", "-r", None),
    ("-statistics", "-s", None),
    ("-stats", "-s", None),
    ("-timestamp", "-t", None),
    ("-tshort", "-ts", None),
];

fn option(word: &OsStr) -> Result<Option<&'static str>, Refusal> {
    let bytes = word.as_bytes();
    let one_dash = if bytes.starts_with(b"--") { bytes.get(1..).unwrap_or_default() } else { bytes };
    let fits = |(full, shortest, _): &&(&str, &str, _)| {
        one_dash.len() >= shortest.len() && full.as_bytes().starts_with(one_dash)
    };
    let found = OPTIONS.iter().find(fits).map(|(_, _, ours)| *ours);
    found.ok_or_else(|| {
        let shown = OsStr::from_bytes(one_dash).display();
        Refusal::rejected(format!("Option \"{shown}\" is unknown, try \"netns -help\"."))
    })
}

/// In iproute2's order, because any beginning stands for the first that begins so; `lst` is there for `ls`.
const COMMANDS: [(&str, &str); 8] = [
    ("list", "list"),
    ("show", "list"),
    ("lst", "list"),
    ("help", "help"),
    ("add", "add"),
    ("delete", "delete"),
    ("exec", "exec"),
    ("graph", "graph"),
];

fn full_command(word: &OsStr) -> Result<&'static str, Refusal> {
    let bytes = word.as_bytes();
    let begins = |(full, _): &&(&str, _)| !bytes.is_empty() && full.as_bytes().starts_with(bytes);
    COMMANDS.iter().find(begins).map(|(_, ours)| *ours).ok_or_else(|| {
        Refusal::rejected(format!("Command \"{}\" is unknown, try \"netns help\".", word.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled_out(typed: &[&str]) -> Result<Vec<String>, String> {
        let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
        let words = spell_out(&typed).map_err(|refusal| refusal.message)?;
        Ok(words.into_iter().skip(1).map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn a_command_is_any_beginning_of_it() {
        for (typed, full) in [
            ("l", "list"),
            ("ls", "list"),
            ("lst", "list"),
            ("s", "list"),
            ("show", "list"),
            ("a", "add"),
            ("d", "delete"),
            ("del", "delete"),
            ("e", "exec"),
            ("h", "help"),
        ] {
            assert_eq!(spelled_out(&[typed]).unwrap(), [full, "--"], "{typed}");
        }
        for unknown in ["", "bogus", "lists", "list-", "adds", "set", "at"] {
            let message = format!("Command \"{unknown}\" is unknown, try \"netns help\".");
            assert_eq!(spelled_out(&[unknown]).unwrap_err(), message);
        }
    }

    #[test]
    fn an_option_has_one_dash_or_two_and_any_length() {
        assert_eq!(spelled_out(&["-j", "--pretty", "list"]).unwrap(), ["--json", "--pretty", "list", "--"]);
        assert_eq!(spelled_out(&["-js", "-o", "-4", "-br", "-color=auto"]).unwrap(), ["--json"]);
        assert_eq!(spelled_out(&["--", "list"]).unwrap(), ["list", "--"]);
        for unknown in ["-b", "-n", "-a", "-x", "-jsonx", "-"] {
            let message = format!("Option \"{unknown}\" is unknown, try \"netns -help\".");
            assert_eq!(spelled_out(&[unknown]).unwrap_err(), message);
        }
    }

    #[test]
    fn a_word_after_the_command_is_taken_as_it_is() {
        assert_eq!(spelled_out(&["add", "-j"]).unwrap(), ["add", "--", "-j"]);
        assert_eq!(spelled_out(&["e", "a", "--", "x"]).unwrap(), ["exec", "--", "a", "--", "x"]);
        assert_eq!(spelled_out(&["del", "--help"]).unwrap(), ["delete", "--help"]);
    }

    #[test]
    fn the_second_word_is_checked_before_the_first() {
        for command in ["list", "add", "bogus"] {
            assert_eq!(spelled_out(&[command, ".."]).unwrap_err(), "Invalid netns name \"..\"");
        }
    }

    #[test]
    fn clap_agrees_with_the_page() {
        page::command().debug_assert();
    }
}
