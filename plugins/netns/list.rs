//! The names, each with the number under which this namespace knows the other, if it has one.

use crate::words::Format;
use crate::{Refusal, complain, show};
use linux::named::{self, Name};
use linux::netns::{NetNs, OpenError};
use linux::rtnl::Rtnl;
use std::os::unix::ffi::OsStrExt;

/// A name and its number.
struct Entry {
    name: Name,
    id: Option<u32>,
}

/// Writes the list.
pub(crate) fn list(format: Format) -> Result<(), Refusal> {
    let names = named::names().map_err(Refusal::failed)?;
    let entries = if names.is_empty() { Vec::new() } else { numbered(names)? };
    show(&match format {
        Format::Text => text(&entries),
        Format::Json => json(&entries, &COMPACT),
        Format::PrettyJson => json(&entries, &PRETTY),
    })
}

/// The kernel's sentence for a file that is no network namespace.
const NO_NAMESPACE: &str = "Error: Peer netns reference is invalid.";

fn numbered(names: Vec<Name>) -> Result<Vec<Entry>, Refusal> {
    let here = Rtnl::here().map_err(|_| Refusal::failed("Cannot open rtnetlink"))?;
    Ok(names.into_iter().map(|name| Entry { id: id(&here, &name), name }).collect())
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
        [entry.name.as_os_str().as_bytes(), id.as_bytes(), b"\n"].concat()
    };
    entries.iter().flat_map(line).collect()
}

/// iproute2's layout, to the byte (`lib/json_writer.c`). The bytes of a name go out as they are, UTF-8 or
/// not, so that the name can be used; hence no JSON library.
struct Layout {
    open: &'static str,
    close: &'static str,
    member: &'static str,
    colon: &'static str,
    end: &'static str,
}

const COMPACT: Layout = Layout { open: "[", close: "]\n", member: "", colon: ":", end: "" };
const PRETTY: Layout = Layout { open: "[ ", close: "]\n", member: "\n        ", colon: ": ", end: "\n    " };

fn json(entries: &[Entry], layout: &Layout) -> Vec<u8> {
    let Layout { open, close, member, colon, end } = layout;
    let object = |entry: &Entry| {
        let id = entry.id.map(|id| format!(",{member}\"id\"{colon}{id}")).unwrap_or_default();
        let name = quoted(entry.name.as_os_str().as_bytes());
        [format!("{{{member}\"name\"{colon}").as_bytes(), &name, id.as_bytes(), end.as_bytes(), b"}"].concat()
    };
    let objects: Vec<_> = entries.iter().map(object).collect();
    let space = if objects.is_empty() || open.len() == 1 { "" } else { " " };
    [open.as_bytes(), &objects.join(&b','), space.as_bytes(), close.as_bytes()].concat()
}

/// A JSON string (RFC 8259, section 7).
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            b'\r' => text.extend(b"\\r"),
            0x08 => text.extend(b"\\b"),
            0x0c => text.extend(b"\\f"),
            0..0x20 | 0x7f => text.extend(format!("\\u{byte:04x}").bytes()),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}
