//! What an attachment is about to claim on the node, written down before it does.
//!
//! One file for each attachment and plugin, `/run/jackfield/attachments/<owner hash>.<plugin>`: a crash at any point leaves
//! either no claim or a record of it. It dies with the boot, as the links do. It is written beside its place and renamed,
//! so nobody ever reads half of one.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni::call::{Attachment, Gc};
use cni::error::{Error, Faults, OrFail, Result};
use cni::name::{ContainerId, IfName, NetworkName};
use serde::{Deserialize, Serialize};

/// Where the records are.
const FOLDER: &str = "/run/jackfield/attachments";

/// The layout of what we write. A reader knows all earlier ones.
const LAYOUT: u32 = 1;

/// A record. What we write ourselves has no unknown keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    layout: u32,
    /// The network's name.
    pub network: String,
    /// The container's ID.
    pub container: String,
    /// The container end's name.
    pub ifname: String,
    /// The host end's name.
    pub host_end: String,
    /// The addresses that IPAM gave.
    pub addresses: Vec<IpAddr>,
}

impl Record {
    /// What this attachment claims.
    pub fn new(attachment: &Attachment, host_end: &IfName, addresses: Vec<IpAddr>) -> Record {
        Record {
            layout: LAYOUT,
            network: attachment.network.to_string(),
            container: attachment.container.to_string(),
            ifname: attachment.ifname.to_string(),
            host_end: host_end.to_string(),
            addresses,
        }
    }

    /// The attachment that it speaks of; `None` if the names are none.
    pub fn attachment(&self) -> Option<Attachment> {
        Some(Attachment {
            network: self.network.parse::<NetworkName>().ok()?,
            container: self.container.parse::<ContainerId>().ok()?,
            ifname: self.ifname.parse::<IfName>().ok()?,
        })
    }

    /// Puts the record in its place, whole.
    ///
    /// # Errors
    /// What the file system says: without a record nothing may be claimed.
    pub fn write(&self, plugin: &str, attachment: &Attachment) -> Result<()> {
        let file = place(plugin, attachment);
        let beside = file.with_extension(format!("{plugin}.new"));
        let doing = || format!("write the attachment's record {}", file.display());
        let text = serde_json::to_vec(self).doing(doing)?;
        // A file beside its place is a crash's: this attachment has no other ADD running (spec, "Lifecycle & Ordering").
        if let Err(error) = fs::write(&beside, &text) {
            if error.kind() != ErrorKind::NotFound {
                return Err(error).doing(doing);
            }
            fs::create_dir_all(FOLDER).doing(doing)?;
            fs::write(&beside, &text).doing(doing)?;
        }
        fs::rename(&beside, &file).doing(doing)
    }
}

/// Removes an attachment's record; one that is not there is removed.
///
/// # Errors
/// What the file system says.
pub fn remove(plugin: &str, attachment: &Attachment) -> Result<()> {
    let file = place(plugin, attachment);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove the attachment's record {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// The records of a plugin that GC may remove: those of its network whose attachments do not live.
///
/// # Errors
/// What the file system says, and a record that cannot be read: it stays, for a person to look at.
pub fn stale(plugin: &str, gc: &Gc) -> (Vec<Attachment>, Faults) {
    let mut faults = Faults::default();
    let Ok(entries) = fs::read_dir(FOLDER) else { return (Vec::new(), faults) };
    let ours = |file: &PathBuf| file.extension().is_some_and(|extension| extension == plugin);
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(ours);
    let records: Vec<Attachment> = files.filter_map(|file| faults.note(read(&file)).flatten()).collect();
    let goes = |it: &Attachment| it.network == gc.call.network && gc.is_stale(&it.container, &it.ifname);
    (records.into_iter().filter(goes).collect(), faults)
}

fn read(file: &Path) -> Result<Option<Attachment>> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.doing(|| format!("read the record {}", file.display()))?,
    };
    let record: Record =
        serde_json::from_slice(&text).doing(|| format!("read the record {}", file.display()))?;
    match record.attachment() {
        Some(attachment) if record.layout == LAYOUT => Ok(Some(attachment)),
        _ => Err(Error::internal(format!("the record {} is of layout {}", file.display(), record.layout))),
    }
}

fn place(plugin: &str, attachment: &Attachment) -> PathBuf {
    Path::new(FOLDER).join(format!("{}.{plugin}", attachment.owner()))
}
