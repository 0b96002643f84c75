//! `set` and `list-id`: the numbers under which the kernel knows namespaces in others.

use crate::json::{self, Member, Value};
use crate::list::{Entry, NO_NAMESPACE, conversation, numbered};
use crate::text::told;
use crate::words::{Format, Options, name};
use crate::{Refusal, Status, complain, number, page, show};
use linux::named::{self, Name};
use linux::netns::{NetNs, OpenError};
use linux::nsid::Known;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Gives a namespace a number.
pub(crate) fn set(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let name = name(words.first())?;
    let word = words.get(1).ok_or_else(|| Refusal::failed("No nsid specified"))?;
    let id = match (word == "auto", number::read(word).map(u32::try_from)) {
        (true, _) => None,
        (_, Some(Ok(id))) => Some(id),
        (_, Some(Err(_))) => return Err(Refusal::argument(word, "\"netnsid\" value should be >= 0")),
        (_, None) => return Err(Refusal::argument(word, "Invalid \"netnsid\" value")),
    };
    let namespace = NetNs::open(&name.file()).map_err(|error| no_namespace(&name, &error))?;
    conversation()?.assign_nsid(&namespace, id).map_err(|error| Refusal::by_kernel(&error))
}

/// In the words of iproute2, which lets the kernel find out what a file is.
fn no_namespace(name: &Name, error: &OpenError) -> Refusal {
    let cannot = |why| Refusal::failed(format!("Cannot open network namespace \"{name}\": {why}"));
    match error {
        OpenError::Absent(_) => cannot("No such file or directory"),
        OpenError::NotANamespace(..) => Refusal { status: Status::Refused, ..Refusal::failed(NO_NAMESPACE) },
        OpenError::Other(error) => cannot(error.errno().map_or("", |errno| errno.desc())),
    }
}

/// Lists the numbers, with the names that belong to them.
pub(crate) fn list_id(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let Wanted { there, one } = wanted(words)?;
    let here = conversation()?;
    let found = match one {
        Some(id) => vec![here.nsid(id, there).map_err(|error| Refusal::by_kernel(&error))?],
        None => here.nsids(there).map_err(|error| {
            complain(&Refusal::by_kernel(&error).message);
            Refusal::failed("Dump terminated")
        })?,
    };
    let names = numbered(&here, named::names().unwrap_or_default());
    show(&match options.format() {
        Format::Text => found.iter().flat_map(|known| line(known, &names)).collect(),
        json => json::array(&found.iter().map(|known| object(known, &names)).collect::<Vec<_>>(), json),
    })
}

#[derive(Default)]
struct Wanted {
    there: Option<u32>,
    one: Option<u32>,
}

fn wanted(words: &[OsString]) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (key, place) = match word.as_bytes() {
            b"target-nsid" => ("target-nsid", &mut wanted.there),
            b"nsid" => ("nsid", &mut wanted.one),
            _ => return Err(Refusal::rejected(page::help())),
        };
        if place.is_some() {
            let twice = format!("Error: duplicate \"{key}\": \"{key}\" is the second value.");
            return Err(Refusal::rejected(twice));
        }
        let value = words
            .next()
            .ok_or_else(|| Refusal::rejected("Command line is not complete. Try option \"help\""))?;
        *place = Some(nsid(key, value)?);
    }
    Ok(wanted)
}

fn nsid(key: &str, value: &OsStr) -> Result<u32, Refusal> {
    let number = number::read(value);
    let number = number.ok_or_else(|| Refusal::argument(value, &format!("\"{key}\" value is invalid")))?;
    u32::try_from(number).map_err(|_| Refusal::argument(value, &format!("\"{key}\" value should be >= 0")))
}

/// The name of a namespace, found by its number here. Where it has several, the first counts, as with iproute2.
fn name_of<'a>(known: &Known, names: &'a [Entry]) -> Option<&'a [u8]> {
    let here = known.here.unwrap_or(known.id)?;
    let entry = names.iter().find(|entry| entry.id == Some(here))?;
    Some(entry.name.as_os_str().as_bytes())
}

fn line(known: &Known, names: &[Entry]) -> Vec<u8> {
    let id = |id: Option<u32>| id.map_or("unassigned".to_owned(), |id| id.to_string());
    let mut line = format!("nsid {} ", id(known.id)).into_bytes();
    if let Some(here) = known.here {
        line.extend(format!("current-nsid {} ", id(here)).bytes());
    }
    if let Some(name) = name_of(known, names) {
        line.extend([b"(iproute2 netns name: ", &*told(name), b")"].concat());
    }
    line.push(b'\n');
    line
}

fn object<'a>(known: &Known, names: &'a [Entry]) -> Vec<Member<'a>> {
    let id = known.id.map(|id| ("nsid", Value::Number(id)));
    let here = known.here.flatten().map(|id| ("current-nsid", Value::Number(id)));
    let name = name_of(known, names).map(|name| ("name", Value::Bytes(name)));
    [id, here, name].into_iter().flatten().collect()
}
