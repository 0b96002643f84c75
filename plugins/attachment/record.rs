//! What an attachment is about to claim on the node, written down before it does.
//!
//! One file for each attachment and plugin, `/run/jackfield/attachments/<owner hash>.<plugin>`: a crash at any point leaves
//! either no claim or a record of it. It dies with the boot, as the links do. It is written beside its place and linked into
//! it, so nobody ever reads half of one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cni::call::{Attachment, Gc};
use cni::error::{Error, Faults, OrFail, Result};
use cni::name::{ContainerId, IfName, NetworkName};
use serde::{Deserialize, Serialize};

use crate::attachment::mark;

/// Where the records are.
const FOLDER: &str = "/run/jackfield/attachments";

/// The layout of what we write. A reader knows all earlier ones.
const LAYOUT: u32 = 1;

/// A record. What we write ourselves has no unknown keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    layout: u32,
    network: String,
    container: String,
    ifname: String,
    host_end: String,
}

impl Record {
    /// The attachment that it speaks of; `None` if the names are none.
    fn attachment(&self) -> Option<Attachment> {
        Some(Attachment {
            network: self.network.parse::<NetworkName>().ok()?,
            container: self.container.parse::<ContainerId>().ok()?,
            ifname: self.ifname.parse::<IfName>().ok()?,
        })
    }
}

/// An attachment's record while its ADD is under way: nobody else's ADD of the same attachment gets so far. The lock goes
/// with the process, however that ends; the record stays.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl Claim {
    /// Writes the record and keeps everybody else from it.
    ///
    /// # Errors
    /// Another ADD of the same attachment is under way; what the file system says: without a record nothing is claimed.
    pub fn make(plugin: &str, attachment: &Attachment) -> Result<Claim> {
        let place = place(plugin, attachment);
        let doing = || format!("write the attachment's record {}", place.display());
        let record = Record {
            layout: LAYOUT,
            network: attachment.network.to_string(),
            container: attachment.container.to_string(),
            ifname: attachment.ifname.to_string(),
            host_end: mark::host_end(attachment)?.to_string(),
        };
        let text = serde_json::to_vec(&record).doing(doing)?;
        // Beside its place, under a name that nobody else uses: it is locked before anybody can find it.
        let beside = place.with_extension(format!("{plugin}.{}", std::process::id()));
        let lock = write_locked(&beside, &text).doing(doing)?;
        let placed = put_in_place(&beside, &place, attachment);
        let tidied = fs::remove_file(&beside).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        placed.and(tidied.doing(doing)).map(|()| Claim { _lock: lock })
    }
}

fn write_locked(file: &Path, text: &[u8]) -> std::io::Result<File> {
    let mut lock = match File::create(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(FOLDER)?;
            File::create(file)?
        }
        created => created?,
    };
    lock.lock()?;
    lock.write_all(text)?;
    Ok(lock)
}

/// The first who links his record into the place has it. A record that is there is either under way, or a crash's and gives
/// way.
fn put_in_place(beside: &Path, place: &Path, attachment: &Attachment) -> Result<()> {
    let doing = || format!("write the attachment's record {}", place.display());
    loop {
        match fs::hard_link(beside, place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => return linked.doing(doing),
        }
        let older = match File::open(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.doing(doing)?,
        };
        if older.try_lock().is_err() {
            return Err(Error::internal(format!("another ADD of {attachment} is under way")));
        }
        // Whoever replaced it between our opening and our locking has the place now.
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        if fs::metadata(place).is_ok_and(|now| older.metadata().is_ok_and(|then| same(now, then))) {
            return fs::rename(beside, place).doing(doing);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_at_a_time_and_a_crashs_record_gives_way() {
        let folder = std::env::temp_dir().join(format!("jackfield-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [network, container, ifname] = ["net", "c1", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let place = folder.join("place");
        let claim = |name: &str| {
            let beside = folder.join(name);
            let lock = write_locked(&beside, name.as_bytes()).unwrap();
            put_in_place(&beside, &place, &attachment).map(|()| lock)
        };
        let first = claim("first").unwrap();
        assert!(claim("second").unwrap_err().msg().contains("another ADD of eth0 of container c1"));
        assert_eq!(fs::read(&place).unwrap(), b"first");
        drop(first);
        let third = claim("third").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"third");
        assert!(claim("fourth").is_err());
        drop(third);
        fs::remove_dir_all(&folder).unwrap();
    }
}
