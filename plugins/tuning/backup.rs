//! What was there before: the Go plugin's file `<container ID>_<interface>.json`, so that either can take down what the
//! other has tuned. Sysctls and the network's name are members that the Go plugin skips.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cni::call::{Attachment, Gc};
use cni::error::{Faults, OrFail, Result};
use cni::name::{ContainerId, IfName};
use serde::{Deserialize, Serialize};

use crate::attachment::whole;

/// The state before ADD, of what ADD was about to change.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Before {
    /// The link's Ethernet address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// It took every frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promisc: Option<bool>,
    /// The largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// It took every multicast frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allmulti: Option<bool>,
    /// The length of its queue, in packets.
    #[serde(skip_serializing_if = "Option::is_none", rename = "txQLen")]
    pub tx_q_len: Option<u32>,
    /// Files below /proc/sys and what they held, in the order in which they were changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<(String, String)>,
    /// The network; the Go plugin does not write it, and GC leaves its files alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// The file of an attachment.
pub struct Backup {
    file: PathBuf,
}

impl Backup {
    /// In this folder.
    pub fn of(folder: &Path, container: &ContainerId, ifname: &IfName) -> Backup {
        Backup { file: folder.join(format!("{container}_{ifname}.json")) }
    }

    /// Writes down what was there, whole. What an earlier ADD has written stays: it is what was there first. Returns whether
    /// it was written.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, before: &Before) -> Result<bool> {
        let doing = || format!("write {}", self.file.display());
        let text = serde_json::to_vec_pretty(before).doing(doing)?;
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let mut file = whole::nameless(folder).doing(doing)?;
        let placed = file.write_all(&text).and_then(|()| match whole::name(&file, &self.file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            named => named.map(|()| true),
        });
        placed.doing(doing)
    }

    /// What was there; `None` without a file, or with one that nobody can read.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self) -> Result<Option<Before>> {
        match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(serde_json::from_slice(&text.doing(|| format!("read {}", self.file.display()))?).ok()),
        }
    }

    /// Removes the file; one that is not there is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", self.file.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Removes the files of this network's attachments that do not live.
///
/// # Errors
/// What could not be removed.
pub fn sweep(folder: &Path, gc: &Gc) -> Result<()> {
    let mut faults = Faults::default();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let Some(attachment) = named(&name, gc) else { continue };
        let backup = Backup::of(folder, &attachment.container, &attachment.ifname);
        let ours = faults.note(backup.read()).flatten().and_then(|before| before.network);
        if ours.as_deref() == Some(gc.call.network.as_str())
            && gc.is_stale(&attachment.container, &attachment.ifname)
        {
            faults.note(backup.remove());
        }
    }
    faults.verdict()
}

/// A container ID may have an underscore, an interface's name, too: the network that is written in the file tells
/// strangers, and each way to divide the name that lives keeps it.
fn named(name: &str, gc: &Gc) -> Option<Attachment> {
    let stem = name.strip_suffix(".json")?;
    let ways = stem.match_indices('_').filter_map(|(at, _)| {
        let (container, ifname) = (stem.get(..at)?.parse().ok()?, stem.get(at + 1..)?.parse().ok()?);
        Some(Attachment { network: gc.call.network.clone(), container, ifname })
    });
    let mut last = None;
    for way in ways {
        if !gc.is_stale(&way.container, &way.ifname) {
            return None;
        }
        last = Some(way);
    }
    last
}
