//! The record of an ADD that is under way: written and locked before anybody can find it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use cni::call::Attachment;
use cni::error::{Error, OrFail, Result};
use cni::files;
use ipnetwork::IpNetwork;
use linux::mac::Mac;
use serde::Serialize;

use super::lines::{self, Living, Note, SpoofChecked, Whose};
use super::{FOLDER, Masqueraded, place};
use crate::attachment::life::Life;
use crate::attachment::masquerade::Backend;
use crate::attachment::whole;

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
        let text = lines::line(&Whose::of(attachment)?).doing(doing)?;
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

    /// Adds a line of the plugin's own, which [`super::written`] reads.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note<T: Serialize>(&mut self, what: &T) -> Result<()> {
        let doing = || "write into the attachment's record what it claims".to_string();
        let line = lines::line(what).doing(doing)?;
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
