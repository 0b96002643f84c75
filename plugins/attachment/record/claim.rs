//! The record of an ADD that is under way: written and locked before anybody can find it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cni::call::{Add, Attachment};
use cni::error::{Error, OrFail, Result};
use cni::files;
use cni::whole::{self, Draft};
use ipnetwork::IpNetwork;
use linux::mac::Mac;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::leftover::is_held;
use super::lines::{self, Lines, Note, SpoofChecked, Whose};
use super::{FOLDER, Masqueraded, PLUGINS, Written, again, append_text, place};
use crate::attachment::masquerade::Backend;

/// An attachment's record while its ADD is under way: nobody else's ADD of the same attachment gets so far. The lock goes
/// with the process, however that ends; the record stays.
#[derive(Debug)]
pub struct Claim {
    /// The record, and the lock on it.
    file: Rc<File>,
    place: PathBuf,
    /// What the record says that had the place before.
    older: Option<Vec<u8>>,
    /// How much of this one was written at first, in bytes. What follows was added.
    length: usize,
}

impl Claim {
    /// Writes the record and keeps everybody else from it.
    ///
    /// `say` tells what it is to say, and is asked again where another record has the place: with what that one says, and
    /// while nobody else can get at it. Whoever refuses then leaves it as it was. The call by which an earlier ADD made its
    /// rules stays the one that makes them again, until this one is [`finish`](Claim::finish)ed.
    ///
    /// # Errors
    /// Another ADD of the same attachment is under way; those of `say`; what the file system says: without a record nothing
    /// is claimed.
    pub fn make<T: DeserializeOwned>(
        plugin: &str,
        attachment: &Attachment,
        mut say: impl FnMut(Option<Written<T>>) -> Result<Lines>,
    ) -> Result<Claim> {
        debug_assert!(PLUGINS.contains(&plugin), "whoever looks an owner up does not know {plugin}");
        let place = place(plugin, attachment);
        let doing = || format!("write the attachment's record {}", place.display());
        let whose = lines::line(&Whose::of(attachment)?).doing(doing)?;
        let mut draft = locked(Path::new(FOLDER)).doing(doing)?;
        let (mut before, mut length) = (None, 0);
        put_in_place(&mut draft, &place, attachment, |older| {
            let written =
                older.as_deref().map(|older| lines::written(older, &place, attachment)).transpose()?;
            let again = older.as_deref().and_then(again::line_of).unwrap_or_default();
            let text = [&whose[..], say(written)?.text(), again].concat();
            (before, length) = (older, text.len());
            Ok(text)
        })?;
        Ok(Claim { file: Rc::new(draft.into_file()), place, older: before, length })
    }

    /// Everything is made: from now on it is this call that makes it again, and no earlier one.
    ///
    /// # Errors
    /// What the file system says; the attachment has been ended meanwhile.
    pub fn finish(&self, add: &Add) -> Result<()> {
        let line = again::line(add)?;
        match self.older.as_deref().and_then(again::line_of) == Some(&line) {
            true => Ok(()),
            false => append_text(&self.place, &line)
                .doing(|| format!("write the call into the record {}", self.place.display())),
        }
    }

    /// Takes the claim back: the record goes, or says again what an earlier ADD wrote, and those lines that others have added
    /// meanwhile for which `stays` answers. Until then nobody else gets at what this ADD makes.
    pub fn taking_back<T>(&self, stays: fn(&T) -> bool) -> impl FnOnce() -> Result<()> + use<T>
    where
        T: DeserializeOwned + 'static,
    {
        let Claim { file, place, older, length } = self;
        let (held, place, older, length) = (file.clone(), place.clone(), older.clone(), *length);
        move || {
            if !has_place(&held, &place) {
                // A DEL has ended the attachment, and an ADD may have begun it anew.
                return Ok(());
            }
            let Some(mut text) = older else { return whole::remove(&place) };
            let doing = || format!("put back the attachment's record {}", place.display());
            let now = files::read(&place).doing(doing)?;
            let added = now.get(length..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
            for line in added.filter(|line| serde_json::from_slice(line).is_ok_and(|line| stays(&line))) {
                if !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
                text.extend(line);
            }
            let mut draft = Draft::begin(Path::new(FOLDER)).doing(doing)?;
            write(draft.file(), &text).and_then(|()| draft.replace(&place)).doing(doing)
        }
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

    fn note<T: Serialize>(&mut self, what: &T) -> Result<()> {
        let doing = || "write into the attachment's record what it claims".to_string();
        let line = lines::line(what).doing(doing)?;
        let mut file: &File = &self.file;
        file.write_all(&line).doing(doing)
    }
}

/// Locked before anybody can find it.
fn locked(folder: &Path) -> io::Result<Draft> {
    let draft = Draft::begin(folder)?;
    draft.file().lock()?;
    Ok(draft)
}

/// The first whose record gets the name has it. A record that is there is either under way, or gives way in one step to the one
/// that knows what it said: there is no moment without a record.
fn put_in_place(
    draft: &mut Draft,
    place: &Path,
    attachment: &Attachment,
    mut say: impl FnMut(Option<Vec<u8>>) -> Result<Vec<u8>>,
) -> Result<()> {
    let doing = || format!("write the attachment's record {}", place.display());
    write(draft.file(), &say(None)?).doing(doing)?;
    loop {
        match draft.name(place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            named => return named.doing(doing),
        }
        let Some(older) = lock_older(place, attachment)? else { continue };
        let text = files::whole(&older).doing(|| format!("read the record {}", place.display()))?;
        write(draft.file(), &say(Some(text))?).doing(doing)?;
        // We have the lock of the record that has the place.
        return draft.replace(place).doing(doing);
    }
}

/// The record that is there, which nobody else can get at until it is closed; `None` if it has just gone.
fn lock_older(place: &Path, attachment: &Attachment) -> Result<Option<File>> {
    let doing = || format!("lock the attachment's record {}", place.display());
    let older = match files::open(place, File::options().read(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.doing(doing)?,
    };
    if is_held(older.try_lock())? {
        // An ADD lets nobody in; whoever tidies up shares its lock, and is done in a moment.
        if is_held(older.try_lock_shared())? {
            return Err(Error::internal(format!("another ADD of {attachment} is under way")));
        }
        older.lock().doing(doing)?;
    }
    // Whoever replaced it between our opening and our locking has the place now.
    Ok(has_place(&older, place).then_some(older))
}

/// Is it still this file that is there?
fn has_place(file: &File, place: &Path) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    fs::symlink_metadata(place).is_ok_and(|now| file.metadata().is_ok_and(|then| same(now, then)))
}

/// Nobody can find it yet, so it may be written anew.
fn write(mut file: &File, text: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_at_a_time_and_an_older_record_gives_way_to_one_that_knows_it() {
        let folder = std::env::temp_dir().join(format!("jackfield-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [network, container, ifname] = ["net", "c1", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let place = folder.join("place");
        let claim = |own: &str| {
            let mut draft = locked(&folder).unwrap();
            let say = |older: Option<Vec<u8>>| match older {
                Some(_) if own.is_empty() => Err(Error::internal("no")),
                older => Ok([own.as_bytes(), &older.unwrap_or_default()].concat()),
            };
            put_in_place(&mut draft, &place, &attachment, say).map(|()| draft)
        };
        let first = claim("first, long").unwrap();
        assert!(claim("second").unwrap_err().msg().contains("another ADD of eth0 of container c1"));
        assert_eq!(fs::read(&place).unwrap(), b"first, long");
        drop(first);
        assert_eq!(claim("").unwrap_err().msg(), "no");
        assert_eq!(fs::read(&place).unwrap(), b"first, long", "whoever refuses has touched nothing");
        fs::write(place.with_added_extension("next"), "a crash's").unwrap();
        let third = claim("third; ").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"third; first, long");
        assert!(claim("fourth").is_err());
        drop(third);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
