//! What was there before: the Go plugin's file `<container ID>_<interface>.json`, so that either can take down what the
//! other has tuned. Sysctls and the network's name are members that the Go plugin skips.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cni::call::Gc;
use cni::error::{Error, Faults, OrFail, Result};
use cni::files;
use cni::name::{ContainerId, IfName};
use cni::whole::Draft;
use serde::{Deserialize, Serialize};

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
    /// Whose it is: the name of the file may be that of two (`a_b` of `c` is called like `b` of `c_a`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The interface of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

impl Before {
    /// Was it written for another one? The Go plugin does not say.
    fn is_anothers(&self, container: &ContainerId, ifname: &IfName) -> bool {
        let differs = |said: &Option<String>, own: &str| said.as_deref().is_some_and(|said| said != own);
        differs(&self.container, container.as_str()) || differs(&self.ifname, ifname.as_str())
    }
}

/// The file of an attachment.
pub struct Backup {
    file: PathBuf,
    container: ContainerId,
    ifname: IfName,
}

/// What stands in a file.
enum Kept {
    /// Nothing that could be put back.
    Nothing,
    /// What was there before.
    Own(Before),
    /// What was there before another one's ADD.
    Anothers(Before),
}

impl Backup {
    /// In this folder.
    pub fn of(folder: &Path, container: &ContainerId, ifname: &IfName) -> Backup {
        let file = folder.join(format!("{container}_{ifname}.json"));
        Backup { file, container: container.clone(), ifname: ifname.clone() }
    }

    /// Writes down what was there, whole. What an earlier ADD has written stays: it is what was there first. Returns whether
    /// it was written. What is no such file makes room.
    ///
    /// # Errors
    /// The file's name is another one's; what the file system says.
    pub fn keep(&self, before: &Before) -> Result<bool> {
        let doing = || format!("write {}", self.file.display());
        let text = serde_json::to_vec_pretty(before).doing(doing)?;
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let mut draft = Draft::begin(folder).doing(doing)?;
        draft.file().write_all(&text).doing(doing)?;
        match draft.name(&self.file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            named => return named.map(|()| true).doing(doing),
        }
        match self.kept()? {
            Kept::Own(_) => Ok(false),
            Kept::Anothers(other) => Err(Error::internal(format!(
                "{} already keeps what was there for {} of container {}",
                self.file.display(),
                other.ifname.unwrap_or_default(),
                other.container.unwrap_or_default()
            ))
            .details(format!("wanted for {} of container {}", self.ifname, self.container))),
            Kept::Nothing => {
                self.remove()?;
                draft.name(&self.file).map(|()| true).doing(doing)
            }
        }
    }

    /// What was there; `None` without a file, or with one that nobody can read or that is another one's.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self) -> Result<Option<Before>> {
        Ok(match self.kept()? {
            Kept::Own(before) => Some(before),
            Kept::Nothing | Kept::Anothers(_) => None,
        })
    }

    fn kept(&self) -> Result<Kept> {
        let text = match files::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Kept::Nothing),
            // A link, a pipe: nothing that any ADD has written.
            Err(error) if error.raw_os_error().is_none() => return Ok(Kept::Nothing),
            text => text.doing(|| format!("read {}", self.file.display()))?,
        };
        Ok(match serde_json::from_slice::<Before>(&text) {
            Err(_) => Kept::Nothing,
            Ok(before) if before.is_anothers(&self.container, &self.ifname) => Kept::Anothers(before),
            Ok(before) => Kept::Own(before),
        })
    }

    /// Removes the file; one that is not there is removed, and another one's stays.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> Result<()> {
        if matches!(self.kept()?, Kept::Anothers(_)) {
            return Ok(());
        }
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
    let files = files::of_folder(folder)?;
    for name in files.iter().filter_map(|file| file.file_name()?.to_str()) {
        for (container, ifname) in dead(name, gc) {
            let backup = Backup::of(folder, &container, &ifname);
            let network = faults.note(backup.read()).flatten().and_then(|before| before.network);
            if network.as_deref() == Some(gc.call.network.as_str()) {
                faults.note(backup.remove());
            }
        }
    }
    faults.verdict()
}

/// What is done with such a file ([`crate::hostile`]): what can be read is written as it was.
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    if let Ok(before) = serde_json::from_slice::<Before>(bytes) {
        let again = serde_json::to_vec_pretty(&before).map(|text| serde_json::from_slice(&text));
        assert_eq!(again.ok().and_then(Result::ok), Some(before));
    }
}

/// Whose the file may be, if none of them lives: a container ID may have an underscore, an interface's name, too, and each way
/// to divide the name that lives keeps it.
fn dead(name: &str, gc: &Gc) -> Vec<(ContainerId, IfName)> {
    let stem = name.strip_suffix(".json").unwrap_or_default();
    let ways = stem.match_indices('_').filter_map(|(at, _)| {
        let (container, ifname) = (stem.get(..at)?.parse().ok()?, stem.get(at + 1..)?.parse().ok()?);
        Some((container, ifname))
    });
    let ways: Vec<(ContainerId, IfName)> = ways.collect();
    let all_are_dead = ways.iter().all(|(container, ifname)| gc.is_stale(container, ifname));
    if all_are_dead { ways } else { Vec::new() }
}
