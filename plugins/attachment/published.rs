//! Ports that are published by iptables: who has some, and their end. Which they are say the records.
//!
//! Rules of iptables name no owner. So each such attachment has a file of its own, `/run/jackfield/published/<owner>`, and
//! whoever wants a port looks at those whose names are there: on a node without iptables that is a look at a folder which does
//! not exist. The file says by which link packets of 127.0.0.0/8 come to the container.
//!
//! ```text
//! *nat                                                    written as the Go plugin writes it
//! -A CNI-HOSTPORT-DNAT … -j CNI-DN-2bbe0c48b91a7d1b8a675      entries of a network and container
//! -A CNI-DN-2bbe0c48b91a7d1b8a675 …                           its ports
//! *mangle                                                 the Go plugin has none: its `route_localnet` lets everybody in
//! -A PREROUTING ! -i lo -j CNI-HOSTPORT-LOCALNET
//! -A CNI-HOSTPORT-LOCALNET -d 127.0.0.0/8 -j DROP             and -s: as long as some file names a link
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cni::call::{Attachment, Owner};
use cni::error::{Faults, OrFail, Result};
use cni::files;
use cni::whole::{self, Draft};
use linux::nft::Nft;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::attachment::{inherited, localnet, record};

/// The plugin that publishes ports, as records name it.
pub const PLUGIN: &str = "portmap";

/// Where the files are.
const FOLDER: &str = "/run/jackfield/published";

/// The table and the chains that keep 127.0.0.0/8 inside, as `localnet1` of our own table does.
pub const GUARD: [&str; 3] = ["mangle", "PREROUTING", "CNI-HOSTPORT-LOCALNET"];

/// The attachments with ports by iptables.
///
/// # Errors
/// What the file system says.
pub fn all() -> Result<Vec<Owner>> {
    let files = files::of_folder(Path::new(FOLDER))?.into_iter();
    let mut all: Vec<Owner> = files.filter_map(|file| Owner::read(file.file_name()?.to_str()?)).collect();
    all.sort();
    Ok(all)
}

/// Whether an owner is among them.
pub fn has(owner: &Owner) -> bool {
    place(owner).is_file()
}

/// A line of the record of somebody who has, or had, ports by iptables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    published: Option<IgnoredAny>,
}

/// Whether an owner may have rules: he is among them, or his record says that he is about to be.
///
/// # Errors
/// His record cannot be read.
pub fn may_have(owner: &Owner) -> Result<bool> {
    let said = record::written::<Line>(PLUGIN, owner)?.map(|written| written.lines).unwrap_or_default();
    Ok(has(owner) || said.iter().any(|line| line.published.is_some()))
}

/// The links by which packets of 127.0.0.0/8 come to them.
///
/// # Errors
/// What the file system says.
pub fn links() -> Result<BTreeSet<String>> {
    Ok(all()?.iter().filter_map(link).collect())
}

/// Nobody else changes what these attachments share until this is dropped.
///
/// # Errors
/// What the file system says.
pub fn turn() -> Result<File> {
    let doing = || format!("lock {FOLDER}");
    let open = || File::open(FOLDER);
    let folder = match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files::folder(Path::new(FOLDER)).and_then(|()| open())
        }
        opened => opened,
    };
    folder.and_then(|folder| folder.lock().map(|()| folder)).doing(doing)
}

/// Nobody else claims a port until this is dropped: for iptables, which has no state of its rules in which somebody could look
/// around and claim.
///
/// # Errors
/// What the file system says.
pub fn alone() -> Result<File> {
    claims(File::lock)
}

/// Nobody who has to be alone claims a port until this is dropped.
///
/// # Errors
/// What the file system says.
pub fn beside_others() -> Result<File> {
    claims(File::lock_shared)
}

/// The folder of the records is there: whoever claims has written his.
fn claims(lock: impl FnOnce(&File) -> std::io::Result<()>) -> Result<File> {
    let folder = File::open(record::FOLDER).and_then(|folder| lock(&folder).map(|()| folder));
    folder.doing(|| format!("lock {}", record::FOLDER))
}

/// Puts an attachment among them. This is done in one's [`turn`].
///
/// # Errors
/// What the file system says.
pub fn enter(owner: &Owner, link: Option<&str>) -> Result<()> {
    let doing = || format!("write {}", place(owner).display());
    let mut draft = Draft::begin(FOLDER.as_ref()).doing(doing)?;
    draft.file().write_all(link.unwrap_or_default().as_bytes()).doing(doing)?;
    draft.replace(&place(owner)).doing(doing)
}

/// Removes an attachment's rules. Which of its two tables iptables writes to is a matter of the day, so both are looked into.
///
/// # Errors
/// What the kernel or the program says, after both were tried.
pub fn remove_rules(nft: Option<&Nft>, attachment: &Attachment) -> Result<()> {
    let mut faults = Faults::default();
    faults.note(nft.map_or(Ok(()), |nft| inherited::remove_ports_by_iptables(nft, attachment)));
    faults.note(inherited::remove_legacy_ports(attachment));
    faults.verdict()
}

/// Takes an attachment from among them, and with the last one behind a link what that link needed. `is_needed` tells of the
/// links that somebody else needs. This is done in one's [`turn`].
///
/// # Errors
/// What the kernel or the program says; then it is still among them.
pub fn leave(nft: Option<&Nft>, owner: &Owner, is_needed: impl Fn(&str) -> bool) -> Result<()> {
    let Some(link) = link(owner) else { return forget(owner) };
    let others: BTreeSet<String> =
        all()?.iter().filter(|other| *other != owner).filter_map(self::link).collect();
    if !others.contains(&link) && !is_needed(&link) {
        // The link may be gone.
        match localnet::forbid(&link) {
            Err(error) if error.is_absent() => {}
            forbidden => forbidden.doing(|| "set route_localnet back".into())?,
        }
    }
    if others.is_empty() {
        let [table, from, chain] = GUARD;
        inherited::remove_chain(nft, table, from, chain)?;
    }
    forget(owner)
}

/// The link by which packets of 127.0.0.0/8 come to one of them.
pub fn link(owner: &Owner) -> Option<String> {
    let text = files::read(&place(owner)).ok()?;
    String::from_utf8(text).ok().filter(|link| !link.is_empty())
}

fn forget(owner: &Owner) -> Result<()> {
    whole::remove(&place(owner))
}

fn place(owner: &Owner) -> PathBuf {
    Path::new(FOLDER).join(owner.as_str())
}
