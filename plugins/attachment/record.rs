//! What an attachment is about to claim on the node, written down before it does.
//!
//! One file for each attachment and plugin, `/run/jackfield/attachments/<owner hash>.<plugin>`: a crash at any point leaves
//! either no claim or a record of it. It dies with the boot, as the links do. It is written before it has a name, so nobody ever
//! reads half of one. What not every attachment claims, and what is known only later, is a line of its
//! own each: a reader that finds one torn knows that there was something to claim.

pub mod again;
pub mod leftover;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cni::call::{Attachment, Gc, Owner};
use cni::error::{Error, Faults, OrFail, Result};
use cni::files;
use cni::name::{ContainerId, IfName, NetworkName};
use ipnetwork::IpNetwork;
use linux::mac::Mac;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::attachment::life::Life;
use crate::attachment::masquerade::Backend;
use crate::attachment::{mark, whole};

/// Where the records are.
pub(super) const FOLDER: &str = "/run/jackfield/attachments";

/// The layout of what we write. A reader knows all earlier ones.
const LAYOUT: u32 = 1;

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

/// The first line of a record. What we write ourselves has no unknown keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Whose {
    layout: u32,
    network: String,
    container: String,
    ifname: String,
    host_end: String,
}

/// A further line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Note {
    Masquerade(Masqueraded),
    SpoofCheck(SpoofChecked),
    Life(Living),
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

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Living {
    life: Life,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpoofChecked {
    spoof_check: String,
}

impl Whose {
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
    /// The record, and the lock on it.
    file: Rc<File>,
    /// It has replaced no other.
    is_first: bool,
}

impl Claim {
    /// Writes the record and keeps everybody else from it.
    ///
    /// # Errors
    /// Another ADD of the same attachment is under way; what the file system says: without a record nothing is claimed.
    pub fn make(plugin: &str, attachment: &Attachment) -> Result<Claim> {
        let place = place(plugin, attachment);
        let doing = || format!("write the attachment's record {}", place.display());
        let whose = Whose {
            layout: LAYOUT,
            network: attachment.network.to_string(),
            container: attachment.container.to_string(),
            ifname: attachment.ifname.to_string(),
            host_end: mark::host_end(attachment)?.to_string(),
        };
        let mut text = serde_json::to_vec(&whose).doing(doing)?;
        text.push(b'\n');
        let file = locked(Path::new(FOLDER), &text).doing(doing)?;
        let is_first = put_in_place(&file, &place, attachment)?;
        Ok(Claim { file: Rc::new(file), is_first })
    }

    /// Whether nothing was known of the attachment before: whoever has made it meanwhile would have left a record.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// The lock once more: it goes when both have gone.
    pub fn held(&self) -> Rc<File> {
        self.file.clone()
    }

    /// Adds the addresses whose masquerade is about to be claimed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note_masquerade(&mut self, addresses: &[IpNetwork], by: Backend) -> Result<()> {
        let prefixes = addresses.iter().map(IpNetwork::prefix).collect();
        let addresses = addresses.iter().map(IpNetwork::ip).collect();
        self.note(&Note::Masquerade(Masqueraded { addresses, prefixes, by }))
    }

    /// Adds the address whose spoof check is about to be claimed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note_spoof_check(&mut self, mac: Mac) -> Result<()> {
        self.note(&Note::SpoofCheck(SpoofChecked { spoof_check: mac.to_string() }))
    }

    /// Adds what the attachment's life hangs by.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note_life(&mut self, life: Life) -> Result<()> {
        self.note(&Note::Life(Living { life }))
    }

    /// Adds a line of the plugin's own, which [`written`] reads.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note<T: Serialize>(&mut self, what: &T) -> Result<()> {
        let doing = || "write into the attachment's record what it claims".to_string();
        let mut line = serde_json::to_vec(what).doing(doing)?;
        line.push(b'\n');
        let mut file: &File = &self.file;
        file.write_all(&line).doing(doing)
    }
}

/// Locked before anybody can find it.
fn locked(folder: &Path, text: &[u8]) -> std::io::Result<File> {
    let mut file = whole::nameless(folder)?;
    file.lock()?;
    file.write_all(text)?;
    Ok(file)
}

/// The first whose record gets the name has it. A record that is there is either under way, or a crash's and gives way. Returns
/// whether there was none.
fn put_in_place(file: &File, place: &Path, attachment: &Attachment) -> Result<bool> {
    let doing = || format!("write the attachment's record {}", place.display());
    let mut is_first = true;
    loop {
        match whole::name(file, place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => is_first = false,
            named => return named.map(|()| is_first).doing(doing),
        }
        let older = match files::open(place, File::options().read(true)) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.doing(doing)?,
        };
        if older.try_lock().is_err() {
            // An ADD lets nobody in; whoever tidies up shares its lock, and is done in a moment.
            if older.try_lock_shared().is_err() {
                return Err(Error::internal(format!("another ADD of {attachment} is under way")));
            }
            older.lock().doing(doing)?;
        }
        // Whoever replaced it between our opening and our locking has the place now.
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        if fs::symlink_metadata(place).is_ok_and(|now| older.metadata().is_ok_and(|then| same(now, then))) {
            // While we hold its lock nobody else may.
            fs::remove_file(place).doing(doing)?;
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

/// Whether there is a record of the attachment, or what looks like one.
pub fn is_there(plugin: &str, attachment: &Attachment) -> bool {
    fs::symlink_metadata(place(plugin, attachment)).is_ok()
}

/// An attachment's record, if there is one that can be read: DEL does not fail for one that cannot, it looks elsewhere.
pub fn find(plugin: &str, attachment: &Attachment) -> Option<Record> {
    read(&place(plugin, attachment)).ok().flatten().filter(|record| record.attachment == *attachment)
}

/// The record that an owner's hash leads to, if there is one that can be read.
pub fn of_owner(plugin: &str, owner: &Owner) -> Option<Record> {
    read(&place_of(plugin, owner)).ok().flatten().filter(|record| record.attachment.owner() == *owner)
}

/// What a plugin has written into a record with [`Claim::note`] and [`append`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written<T> {
    /// Whose record it is.
    pub attachment: Attachment,
    /// The plugin's own lines.
    pub lines: Vec<T>,
    /// A line cannot be read: there was more.
    pub is_torn: bool,
}

/// The record that an owner's hash leads to, with the plugin's own lines, if there is one that can be read.
pub fn written<T: DeserializeOwned>(plugin: &str, owner: &Owner) -> Option<Written<T>> {
    let attachment = of_owner(plugin, owner)?.attachment;
    let text = files::read(&place_of(plugin, owner)).ok()?;
    let lines: Vec<&[u8]> = further_lines(&text).collect();
    let is_torn = lines.iter().any(|line| !is_whole(line));
    let lines = lines.into_iter().filter_map(|line| serde_json::from_slice(line).ok());
    Some(Written { attachment, lines: lines.collect(), is_torn })
}

/// The lines that say what is claimed.
fn further_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines.filter(|line| !line.is_empty() && !line.starts_with(again::START))
}

/// Is the line a whole one, whatever it says?
fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// Adds a line to the record of somebody else, which is there.
///
/// # Errors
/// What the file system says.
pub fn append<T: Serialize>(plugin: &str, owner: &Owner, what: &T) -> Result<()> {
    let place = place_of(plugin, owner);
    let doing = || format!("add a line to the record {}", place.display());
    let mut line = serde_json::to_vec(what).doing(doing)?;
    line.push(b'\n');
    // One write is one line, whoever else writes.
    files::open_own(&place, File::options().append(true))
        .and_then(|mut file| file.write_all(&line))
        .doing(doing)
}

/// The records of a plugin that GC may remove: those of its network whose attachments do not live.
///
/// # Errors
/// What the file system says, and a record that cannot be read: it stays, for a person to look at.
pub fn stale(plugin: &str, gc: &Gc) -> (Vec<Record>, Faults) {
    let mut faults = Faults::default();
    let ours = |file: &PathBuf| file.extension().is_some_and(|extension| extension == plugin);
    let files = faults.note(whole::files_of(Path::new(FOLDER))).unwrap_or_default();
    let mut records: Vec<Record> =
        files.into_iter().filter(ours).filter_map(|file| faults.note(read(&file)).flatten()).collect();
    let goes = |it: &Attachment| it.network == gc.call.network && gc.is_stale(&it.container, &it.ifname);
    records.retain(|record| goes(&record.attachment));
    (records, faults)
}

fn read(file: &Path) -> Result<Option<Record>> {
    let doing = || format!("read the record {}", file.display());
    let text = match files::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.doing(doing)?,
    };
    understood(&text, file).map(Some)
}

/// What the text of a record says.
fn understood(text: &[u8], file: &Path) -> Result<Record> {
    let doing = || format!("read the record {}", file.display());
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let whose: Whose = serde_json::from_slice(first).doing(doing)?;
    match whose.attachment() {
        Some(attachment) if whose.layout == LAYOUT => {
            Ok(further_lines(text).fold(Record::of(attachment), Record::with))
        }
        _ => Err(Error::internal(format!("the record {} is of layout {}", file.display(), whose.layout))),
    }
}

/// What is done with a record that may be anybody's ([`crate::hostile`]).
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    let Ok(record) = understood(bytes, Path::new("record")) else { return };
    assert_eq!(understood(bytes, Path::new("record")).ok().as_ref(), Some(&record));
    if let Noted::This(claimed) = &record.masquerade {
        assert!(claimed.networks().is_none_or(|networks| networks.len() == claimed.addresses.len()));
    }
}

impl Record {
    /// What the first line says.
    fn of(attachment: Attachment) -> Record {
        Record { attachment, masquerade: Noted::Nothing, spoof_check: Noted::Nothing, life: None }
    }

    /// With what a further line says. A torn one is the last, and about what none before it was.
    fn with(mut self, line: &[u8]) -> Record {
        match serde_json::from_slice(line) {
            Ok(Note::Masquerade(claimed)) => self.masquerade = Noted::This(claimed),
            Ok(Note::SpoofCheck(SpoofChecked { spoof_check })) => {
                self.spoof_check = spoof_check.parse().map_or(Noted::Torn, Noted::This);
            }
            Ok(Note::Life(Living { life })) => self.life = Some(life),
            // A plugin's own line.
            Err(_) if is_whole(line) => {}
            Err(_) => {
                self.masquerade.tear();
                self.spoof_check.tear();
            }
        }
        self
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

impl<T> Noted<T> {
    fn tear(&mut self) {
        if matches!(self, Noted::Nothing) {
            *self = Noted::Torn;
        }
    }
}

fn place(plugin: &str, attachment: &Attachment) -> PathBuf {
    place_of(plugin, &attachment.owner())
}

fn place_of(plugin: &str, owner: &Owner) -> PathBuf {
    Path::new(FOLDER).join(format!("{owner}.{plugin}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    #[test]
    fn a_torn_line_is_told_from_none() {
        let file = std::env::temp_dir().join(format!("jackfield-record-lines-{}", std::process::id()));
        let whose = r#"{"layout":1,"network":"net","container":"c1","ifname":"eth0","hostEnd":"veth0"}"#;
        let addresses = r#""masquerade":["10.0.0.2","fd00::2"]"#;
        let masqueraded = |by| {
            let addresses = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
            Noted::This(Masqueraded { addresses, prefixes: vec![], by })
        };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        for (rest, masquerade, spoof_check) in [
            (String::new(), Noted::Nothing, Noted::Nothing),
            ("\n".into(), Noted::Nothing, Noted::Nothing),
            (format!("\n{{{addresses}}}\n"), masqueraded(Backend::Nftables), Noted::Nothing),
            (
                format!("\n{{{addresses},\"by\":\"iptables\"}}\n{{\"spoofCheck\":\"{mac}\"}}\n"),
                masqueraded(Backend::Iptables),
                Noted::This(mac),
            ),
            (format!("\n{{\"spoofCheck\":\"{mac}\"}}\n"), Noted::Nothing, Noted::This(mac)),
            ("\n{\"masque".into(), Noted::Torn, Noted::Torn),
            (format!("\n{{{addresses}}}\n{{\"spoof"), masqueraded(Backend::Nftables), Noted::Torn),
            ("\n{\"a plugin's own\":[1]}\n".into(), Noted::Nothing, Noted::Nothing),
            ("\n{\"again\":{\"net".into(), Noted::Nothing, Noted::Nothing),
        ] {
            fs::write(&file, format!("{whose}{rest}")).unwrap();
            let record = Record { attachment: attachment(), masquerade, spoof_check, life: None };
            assert_eq!(read(&file).unwrap(), Some(record), "{rest:?}");
        }
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn one_claim_at_a_time_and_a_crashs_record_gives_way() {
        let folder = std::env::temp_dir().join(format!("jackfield-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let attachment = attachment();
        let place = folder.join("place");
        let claim = |text: &str| {
            let file = locked(&folder, text.as_bytes()).unwrap();
            put_in_place(&file, &place, &attachment).map(|is_first| (file, is_first))
        };
        let first = claim("first").unwrap();
        assert!(first.1);
        assert!(claim("second").unwrap_err().msg().contains("another ADD of eth0 of container c1"));
        assert_eq!(fs::read(&place).unwrap(), b"first");
        drop(first);
        let third = claim("third").unwrap();
        assert!(!third.1, "a record was there");
        assert_eq!(fs::read(&place).unwrap(), b"third");
        assert!(claim("fourth").is_err());
        drop(third);
        fs::remove_dir_all(&folder).unwrap();
    }
}
