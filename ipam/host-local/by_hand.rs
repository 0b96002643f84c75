//! `host-local` as a person runs it, without a runtime: to look at leases. Nothing is changed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use cni::env::Env;
use cni::error::{OrFail, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conf::DATA_DIR;
use crate::host_local::{listing, verify};
use crate::store::look::look;

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
all networks there.
";

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

/// The answer to whoever has typed something. A runtime sets `CNI_COMMAND` and passes no argument: `None` for it.
pub fn answer() -> Option<ExitCode> {
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    if typed.is_empty() || !Env::of_this_process().is_empty_of("CNI_COMMAND") {
        return None;
    }
    let asked = match read(&typed) {
        Ok(asked) => asked,
        Err(why) => {
            say(&mut io::stderr(), &format!("host-local: {why}\n\n{USAGE}"));
            return Some(ExitCode::from(2));
        }
    };
    let (text, all_fits) = match perform(&asked) {
        Ok(answer) => answer,
        Err(error) => {
            say(&mut io::stderr(), &format!("host-local: {}\n", error.msg()));
            return Some(ExitCode::FAILURE);
        }
    };
    let is_said = say(&mut io::stdout(), &text);
    Some(if all_fits && is_said { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
                asked.valid = Some(words.next().ok_or("--valid needs a file")?.into());
                continue;
            }
            Some(option) if option.starts_with('-') => return Err(format!("{option} is no option")),
            _ => {
                let place = Path::new(word);
                let is_folder = word.as_encoded_bytes().contains(&b'/');
                asked.places.push(if is_folder { place.into() } else { Path::new(DATA_DIR).join(place) });
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

/// What to print, and whether everything fits together.
fn perform(asked: &Asked) -> Result<(String, bool)> {
    if asked.verb == Some(Verb::Help) {
        return Ok((USAGE.into(), true));
    }
    let places = if asked.places.is_empty() { networks()? } else { asked.places.clone() };
    let living = asked.valid.as_deref().map(living).transpose()?;
    let (mut text, mut objects) = (String::new(), Vec::new());
    for place in &places {
        let folder = place.display().to_string();
        let look = look(place)?;
        if places.len() > 1 && !asked.json {
            text += &format!("{}{folder}:\n", if text.is_empty() { "" } else { "\n" });
        }
        if asked.verb == Some(Verb::List) {
            let now = SystemTime::now();
            objects.extend(listing::objects(&folder, &look, now));
            text += &listing::text(&look, now);
        } else {
            for finding in verify::findings(&look, living.as_deref()) {
                text += &format!("{}: {}\n", finding.file, finding.text);
                objects.push(json!({"folder": folder, "file": finding.file, "finding": finding.text}));
            }
        }
    }
    let all_fits = asked.verb == Some(Verb::List) || objects.is_empty();
    let text = if asked.json { format!("{:#}\n", Value::Array(objects)) } else { text };
    Ok((text, all_fits))
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
fn say(to: &mut impl Write, text: &str) -> bool {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) => error.kind() == io::ErrorKind::BrokenPipe,
        Ok(()) => true,
    }
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
        ] {
            assert!(typed(line).unwrap_err().contains(words), "{line}");
        }
    }
}
