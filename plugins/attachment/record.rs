//! What an attachment is about to claim on the node, written down before it does.
//!
//! One file for each attachment and plugin, `/run/jackfield/attachments/<owner hash>.<plugin>`: a crash at any point leaves
//! either no claim or a record of it. It dies with the boot, as the links do. It is written before it has a name, so nobody ever
//! reads half of one. What not every attachment claims, and what is known only later, is a line of its
//! own each: a reader that finds one torn knows that there was something to claim.

pub mod claim;
pub mod lines;

pub mod again;
pub mod leftover;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cni::call::{Attachment, Gc, Owner};
use cni::error::{Error, Faults, OrFail, Result};
use cni::{files, whole};
use ipnetwork::IpNetwork;
use linux::mac::Mac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attachment::life::Life;
use crate::attachment::masquerade::Backend;

/// Where the records are.
pub(super) const FOLDER: &str = "/run/jackfield/attachments";

/// The plugins that write records, as those name them.
const PLUGINS: [&str; 4] = ["bridge", "firewall", "portmap", "veth"];

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose it is.
    pub attachment: Attachment,
    /// The masquerade.
    pub masquerade: Noted<Masqueraded>,
    /// The spoof check, and the address that it was to let through.
    pub spoof_check: Noted<Mac>,
    /// What its life hangs by, where that is not the host end that we make.
    pub life: Option<Life>,
}

/// What a record says of a claim that not every attachment makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Noted<T> {
    /// It was not made.
    Nothing,
    /// It was about to be made.
    This(T),
    /// A line is torn, and may have been about it: only the kernel knows.
    Torn,
}

/// Whose masquerade.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Masqueraded {
    /// The addresses.
    #[serde(rename = "masquerade")]
    pub addresses: Vec<IpAddr>,
    /// The lengths of their subnets' prefixes, in the same order.
    #[serde(default)]
    pub prefixes: Vec<u8>,
    /// Who keeps the rules.
    #[serde(default)]
    pub by: Backend,
}

/// Removes an attachment's record; one that is not there is removed. So is what a crash has left that was about to replace it.
///
/// # Errors
/// What the file system says.
pub fn remove(plugin: &str, attachment: &Attachment) -> Result<()> {
    whole::remove(&place(plugin, attachment)).doing(|| "remove the attachment's record".into())
}

/// Whether there is a record of the attachment, or what looks like one.
pub fn is_there(plugin: &str, attachment: &Attachment) -> bool {
    fs::symlink_metadata(place(plugin, attachment)).is_ok()
}

/// What is in a record's place.
enum Found {
    /// Nothing.
    Nothing,
    /// What tells nobody anything, and why: no file of ours, or one without a first line.
    Strange(Error),
    /// A record, and the text of it.
    Record(Box<Record>, Vec<u8>),
}

/// Looks into a record's place. What cannot be read now is not absent.
fn look(file: &Path) -> Result<Found> {
    let doing = || format!("read the record {}", file.display());
    let text = match files::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        // What is no file of ours is told from what the kernel cannot do just now: only the latter has an error number.
        Err(error) if error.raw_os_error().is_none() => {
            return Err(error).doing(doing).or_else(|error| Ok(Found::Strange(error)));
        }
        text => text.doing(doing)?,
    };
    Ok(match lines::understood(&text, file)? {
        Ok(record) => Found::Record(Box::new(record), text),
        Err(strange) => Found::Strange(strange),
    })
}

impl Found {
    fn record(self) -> Option<Record> {
        match self {
            Found::Record(record, _) => Some(*record),
            Found::Nothing | Found::Strange(_) => None,
        }
    }
}

/// An attachment's record, if there is one.
///
/// # Errors
/// It cannot be read, or is of a later version: there may be something to know.
pub fn find(plugin: &str, attachment: &Attachment) -> Result<Option<Record>> {
    of_owner(plugin, &attachment.owner())
}

/// The record that an owner's hash leads to, if there is one.
///
/// # Errors
/// As [`find`]'s.
pub fn of_owner(plugin: &str, owner: &Owner) -> Result<Option<Record>> {
    let record = look(&place_of(plugin, owner))?.record();
    Ok(record.filter(|record| record.attachment.owner() == *owner))
}

/// What a plugin has written into a record with [`lines::Lines::own`] and [`append`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written<T> {
    /// Whose record it is.
    pub attachment: Attachment,
    /// The plugin's own lines.
    pub lines: Vec<T>,
    /// A line cannot be read: there was more.
    pub is_torn: bool,
}

/// The record that an owner's hash leads to, with the plugin's own lines, if there is one.
///
/// # Errors
/// As [`find`]'s.
pub fn written<T: DeserializeOwned>(plugin: &str, owner: &Owner) -> Result<Option<Written<T>>> {
    Ok(match look(&place_of(plugin, owner))? {
        Found::Record(record, text) if record.attachment.owner() == *owner => {
            Some(lines::own(record.attachment, &text))
        }
        Found::Record(..) | Found::Nothing | Found::Strange(_) => None,
    })
}

/// Adds lines to a record, which is there: one's own, or somebody else's.
///
/// # Errors
/// What the file system says.
pub fn append<T: Serialize>(plugin: &str, owner: &Owner, what: &[T]) -> Result<()> {
    let place = place_of(plugin, owner);
    let doing = || format!("add a line to the record {}", place.display());
    let lines = what.iter().map(lines::line).collect::<serde_json::Result<Vec<_>>>().doing(doing)?;
    append_text(&place, &lines.concat()).doing(doing)
}

/// One write is whole lines, whoever else writes.
fn append_text(place: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = files::open_own(place, File::options().read(true).append(true))?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    // Whoever died while he added one has left half of it.
    let gap: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    file.write_all(&[gap, lines].concat())
}

/// The records of a plugin that GC may remove: those of its network whose attachments do not live.
///
/// # Errors
/// What the file system says, and a record that cannot be read: it stays, for a person to look at.
pub fn stale(plugin: &str, gc: &Gc) -> (Vec<Record>, Faults) {
    let mut faults = Faults::default();
    let ours = |file: &PathBuf| file.extension().is_some_and(|extension| extension == plugin);
    let files = faults.note(files::of_folder(Path::new(FOLDER))).unwrap_or_default();
    let mut records: Vec<Record> = files
        .into_iter()
        .filter(ours)
        .filter_map(|file| faults.note(whole_or_fault(&file)).flatten())
        .collect();
    let goes = |it: &Attachment| it.network == gc.call.network && gc.is_stale(&it.container, &it.ifname);
    records.retain(|record| goes(&record.attachment));
    (records, faults)
}

/// Nobody has a use for what is strange, but a person.
fn whole_or_fault(file: &Path) -> Result<Option<Record>> {
    match look(file)? {
        Found::Strange(error) => Err(error),
        found => Ok(found.record()),
    }
}

/// What is done with a record that may be anybody's ([`crate::hostile`]).
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    let understood = || lines::understood(bytes, Path::new("record")).ok().and_then(std::result::Result::ok);
    let Some(record) = understood() else { return };
    assert_eq!(understood().as_ref(), Some(&record));
    if let Noted::This(claimed) = &record.masquerade {
        assert!(claimed.networks().is_none_or(|networks| networks.len() == claimed.addresses.len()));
    }
}

impl Masqueraded {
    /// The addresses with the prefixes of their subnets; `None` where an earlier version did not write them down.
    pub fn networks(&self) -> Option<Vec<IpNetwork>> {
        let both = self.addresses.iter().zip(&self.prefixes);
        let networks: Vec<IpNetwork> =
            both.filter_map(|(address, prefix)| IpNetwork::new(*address, *prefix).ok()).collect();
        (networks.len() == self.addresses.len()).then_some(networks)
    }
}

fn place(plugin: &str, attachment: &Attachment) -> PathBuf {
    place_of(plugin, &attachment.owner())
}

fn place_of(plugin: &str, owner: &Owner) -> PathBuf {
    Path::new(FOLDER).join(format!("{owner}.{plugin}"))
}
