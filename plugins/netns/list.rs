//! The names, each with the number under which this namespace knows the other, if it has one.

use crate::json::{self, Member, Value};
use crate::text::told;
use crate::words::{Format, Options};
use crate::{Refusal, complain, show};
use linux::named::{self, Name};
use linux::netns::{NetNs, OpenError};
use linux::rtnl::Rtnl;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// A name and its number.
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) id: Option<u32>,
}

/// Writes the list.
pub(crate) fn list(options: &Options, _words: &[OsString]) -> Result<(), Refusal> {
    let names = named::names().map_err(Refusal::failed)?;
    let entries = if names.is_empty() { Vec::new() } else { numbered(&conversation()?, names) };
    show(&match options.format() {
        Format::Text => text(&entries),
        json => json::array(&entries.iter().map(object).collect::<Vec<_>>(), json),
    })
}

/// A conversation with the kernel about the namespace that we are in.
pub(crate) fn conversation() -> Result<Rtnl, Refusal> {
    Rtnl::here().map_err(|_| Refusal::failed("Cannot open rtnetlink"))
}

/// The kernel's sentence for a file that is no network namespace.
pub(crate) const NO_NAMESPACE: &str = "Error: Peer netns reference is invalid.";

/// The numbers that some names have here.
pub(crate) fn numbered(here: &Rtnl, names: Vec<Name>) -> Vec<Entry> {
    names.into_iter().map(|name| Entry { id: id(here, &name), name }).collect()
}

/// What lies in the folder is listed whatever it is, but not passed over in silence.
fn id(here: &Rtnl, name: &Name) -> Option<u32> {
    match NetNs::open(&name.file()).map(|namespace| here.nsid_of(&namespace)) {
        Ok(Ok(id)) => return id,
        Ok(Err(e)) => complain(&e),
        Err(OpenError::NotANamespace(..)) => complain(&NO_NAMESPACE),
        // Deleted a moment ago, a dangling link, or not ours to open: a name without a number.
        Err(OpenError::Absent(_) | OpenError::Other(_)) => {}
    }
    None
}

fn text(entries: &[Entry]) -> Vec<u8> {
    let line = |entry: &Entry| {
        let id = entry.id.map(|id| format!(" (id: {id})")).unwrap_or_default();
        [&told(entry.name.as_os_str().as_bytes()), id.as_bytes(), b"\n"].concat()
    };
    entries.iter().flat_map(line).collect()
}

fn object(entry: &Entry) -> Vec<Member<'_>> {
    let name = ("name", Value::Bytes(entry.name.as_os_str().as_bytes()));
    std::iter::once(name).chain(entry.id.map(|id| ("id", Value::Number(id)))).collect()
}
