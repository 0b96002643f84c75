//! The leases of one network: a folder that this program and the Go plugin may use in the same minute.
//!
//! ```text
//! /var/lib/cni/networks/<network>/
//!     lock                  empty; whoever reads or changes the folder holds a flock(2) on it
//!     10.1.2.2              a lease: "<container id>\r\n<interface>", without a newline at the end
//!     2001:db8:1::2         the same
//!     last_reserved_ip.0    the address that the first set of ranges gave last
//! ```
//!
//! A lease appears whole or not at all: it is written without a name and then linked. A torn or empty file was left
//! by a crash of somebody else, holds no address, and makes room for the next lease; so does a lease of an earlier boot.
//! Nothing is flushed to the disk: whatever loses power loses its containers, too.
//!
//! Everything that knows files is in here. Others ask who holds what, claim, release, and remember.
//!
//! - `file`: one lease file, written and read; [`claim`]: one that was just written, and may have to go again;
//! - [`census`]: all lease files together; [`look`]: the same for people;
//! - `last`: which address was given last;
//! - `here`: what this machine says about its boot;
//! - `record`, `table`, `index`: who has what, without reading sixty thousand files;
//! - [`rest`]: which addresses were freed a short while ago;
//! - `shelf`: where the index lies between calls.
//!
//! **Invariant**: the index is a cache. Whoever acts upon a lease has read its file; whoever makes one asks the kernel, which
//! refuses a name that is taken. Without the index everything is as right, and slower.

pub mod census;
pub mod claim;
mod file;
mod here;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod index;
mod last;
pub mod look;
mod record;
pub mod rest;
mod shelf;
mod table;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cni::error::{OrFail, Result};
use rustix::fs::{Access, OFlags, access};

use crate::boot::Age;
use crate::lease::{Holder, Lease, Says};
use claim::Claim;
use file::remove_if_there;
use here::Clock;
pub use here::Machine;
use index::Index;
use shelf::{Shelf, Stamp};

/// Whoever reads or changes the folder holds a lock on this file.
const LOCK: &str = "lock";

/// A full range is believed to be full for so many seconds; then the whole folder is read again before it is said.
const TRUSTED: u64 = 60;

/// The folder of one network, locked for as long as this value lives.
#[derive(Debug)]
pub struct Store {
    machine: Machine,
    folder: PathBuf,
    handle: File,
    clock: Clock,
    index: Index,
    shelf: Option<Shelf>,
    fits: Option<Stamp>,
    read: u64,
    done: Done,
    begun: bool,
    _lock: File,
}

/// How far this call has come with changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    /// The index lies on its shelf as it was found.
    Nothing,
    /// The index has no stamp; the folder is as it was.
    Learnt,
    /// The folder has changed.
    Changed,
}

impl Store {
    /// Locks the folder. Makes it, with its parents, if it is not there yet.
    ///
    /// # Errors
    /// A folder that cannot be made, locked or read, with the kernel's reason.
    pub fn open(machine: &Machine, folder: &Path) -> Result<Store> {
        let make = || {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.doing(|| format!("make the lease folder {}", folder.display()))
        };
        let lock = match lock(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => make().map(|()| self::lock(folder))?,
            lock => lock,
        };
        Store::locked(machine, folder, lock)
    }

    /// Locks the folder; one that is not there has no leases, and is not made.
    ///
    /// # Errors
    /// A folder that cannot be locked or read.
    pub fn open_existing(machine: &Machine, folder: &Path) -> Result<Option<Store>> {
        match fs::metadata(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error).doing(|| format!("look for the lease folder {}", folder.display())),
            Ok(_) => Store::locked(machine, folder, lock(folder)).map(Some),
        }
    }

    fn locked(machine: &Machine, folder: &Path, lock: io::Result<File>) -> Result<Store> {
        let lock = lock.doing(|| format!("lock {}", folder.join(LOCK).display()))?;
        let opening = || format!("open the lease folder {}", folder.display());
        let handle = File::open(folder).doing(opening)?;
        let clock = Clock::of(machine, folder);
        let keeps = clock.boot().filter(|_| clock.tells_changes());
        let shelf = keeps.and_then(|boot| Shelf::of(&machine.indexes, &handle, boot).ok());
        let now = Stamp::of(&handle).doing(opening)?;
        let found = shelf.as_ref().and_then(|shelf| shelf.find(now).ok().flatten());
        let is_found = found.is_some();
        let (index, fits, read) = match found {
            Some(found) => (found.index, Some(found.stamp), found.read),
            None => (Index::empty(), None, 0),
        };
        let (machine, folder) = (machine.clone(), folder.to_owned());
        let done = Done::Nothing;
        let mut store = Store {
            machine,
            folder,
            handle,
            clock,
            index,
            shelf,
            fits,
            read,
            done,
            begun: false,
            _lock: lock,
        };
        if !is_found {
            store.read_all()?;
        }
        Ok(store)
    }

    /// Where the leases are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first address from `first` to `last` that nobody has.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn first_free(&mut self, first: IpAddr, last: IpAddr) -> Result<Option<IpAddr>> {
        self.ask(|index| index.first_free(first, last))
    }

    /// The files of this interface of this container, of whatever boot; if there are none, those that an old plugin wrote
    /// for the container as a whole. Where the caller knows addresses that may be the container's, their files are
    /// looked at, too.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn written_for(&mut self, holder: &Holder, known: &[IpAddr]) -> Result<Vec<(IpAddr, Lease)>> {
        let own = self.written(holder, known)?;
        let whole = Holder { ifname: None, ..holder.clone() };
        if own.is_empty() { self.written(&whole, known) } else { Ok(own) }
    }

    fn written(&mut self, holder: &Holder, known: &[IpAddr]) -> Result<Vec<(IpAddr, Lease)>> {
        let noted = self.ask(|index| index.of_holder(holder))?;
        let mut all: Vec<IpAddr> = noted.iter().chain(known).copied().collect();
        all.sort();
        all.dedup();
        let mut written = Vec::new();
        for ip in all {
            match self.read_one(ip)? {
                Some(lease) if lease.says == Says::Held(holder.clone()) => written.push((ip, lease)),
                other if noted.contains(&ip) => self.correct(ip, holder, other)?,
                _ => {}
            }
        }
        Ok(written)
    }

    /// The addresses that are this interface's now, `known` as above.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn held_by(&mut self, holder: &Holder, known: &[IpAddr]) -> Result<Vec<IpAddr>> {
        let written = self.written_for(holder, known)?;
        Ok(written.into_iter().filter(|(_, lease)| lease.holds()).map(|(ip, _)| ip).collect())
    }

    /// Leases the address to the holder; `None` if somebody else has it.
    ///
    /// # Errors
    /// A lease that cannot be written. Nothing of it is left then.
    pub fn claim(&mut self, ip: IpAddr, holder: &Holder) -> Result<Option<Claim>> {
        let path = self.path_of(ip);
        self.begin();
        loop {
            match file::write(&self.folder, &path, holder, self.clock.mark()) {
                Ok(file) => {
                    self.done = Done::Changed;
                    let lease = Lease { says: Says::Held(holder.clone()), age: Age::Present };
                    self.tell(|index| index.note(ip, &lease))?;
                    return Ok(Some(Claim::new(file, ip, self)));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).doing(|| format!("write the lease {}", path.display())),
            }
            match self.read_one(ip)? {
                Some(lease) if lease.holds() => {
                    self.tell(|index| index.note(ip, &lease))?;
                    return Ok(None);
                }
                Some(lease) => self.release(ip, &lease)?,
                None => {} // gone again, by somebody who asks for no lock
            }
        }
    }

    /// Frees the address by removing its file, which says this; one that is gone already stays so.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn release(&mut self, ip: IpAddr, lease: &Lease) -> Result<()> {
        let path = self.path_of(ip);
        self.begin();
        remove_if_there(&path).doing(|| format!("remove the lease {}", path.display()))?;
        self.done = Done::Changed;
        self.tell(|index| index.forget(ip, lease))
    }

    /// Reads the whole folder again, unless that was done a short while ago: before a range is called full. Says whether it
    /// did.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn look_again(&mut self) -> Result<bool> {
        let is_due = here::uptime().as_secs() >= self.read + TRUSTED;
        if is_due {
            self.read_all()?;
        }
        Ok(is_due)
    }

    fn path_of(&self, ip: IpAddr) -> PathBuf {
        self.folder.join(ip.to_string())
    }

    /// Asks the index. One that cannot be read is made anew from the folder.
    fn ask<T>(&mut self, question: impl Fn(&mut Index) -> io::Result<T>) -> Result<T> {
        match question(&mut self.index) {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.read_all()?;
                question(&mut self.index).doing(|| format!("look through {}", self.folder.display()))
            }
        }
    }

    /// Tells the index what has changed. One that cannot take it in is made anew from the folder, which has it already.
    fn tell(&mut self, news: impl FnOnce(&mut Index) -> io::Result<()>) -> Result<()> {
        news(&mut self.index).or_else(|_| self.read_all())
    }

    /// The index had this wrong: somebody has written into a file that was there.
    fn correct(&mut self, ip: IpAddr, holder: &Holder, found: Option<Lease>) -> Result<()> {
        self.begin();
        self.tell(|index| index.disown(ip, holder))?;
        match found {
            Some(lease) => self.tell(|index| index.note(ip, &lease)),
            None => Ok(()),
        }
    }

    /// Takes the stamp off the index before something changes. From here on only the end of this value puts it on again.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.learn();
        // Somebody who asks for no lock has been here since we looked.
        self.fits = self.fits.filter(|fits| Stamp::of(&self.handle).is_ok_and(|now| now == *fits));
        let off = self.shelf.as_ref().map(|shelf| shelf.unstamp(&mut self.index));
        if self.fits.is_none() || off.is_some_and(|off| off.is_err()) {
            self.give_up();
        }
    }

    fn learn(&mut self) {
        if self.done == Done::Nothing {
            self.done = Done::Learnt;
        }
    }

    /// Keeps no index this time.
    fn give_up(&mut self) {
        if let Some(shelf) = self.shelf.take() {
            shelf.clear();
        }
    }

    /// Reads every lease into a new index.
    fn read_all(&mut self) -> Result<()> {
        // Stamped before: what changes while we read makes the stamp void.
        self.fits = self.shelf.as_ref().and_then(|_| Stamp::set(&self.handle).ok().flatten());
        self.learn();
        self.index = Index::empty();
        self.read = here::uptime().as_secs();
        let reading = || format!("read the leases in {}", self.folder.display());
        let mut buffer = Vec::new();
        for entry in fs::read_dir(&self.folder).doing(reading)? {
            let name = entry.doing(reading)?.file_name();
            let Some(ip) = name.to_str().and_then(address_of) else { continue };
            let path = self.folder.join(name);
            let lease = file::read(&mut buffer, &path, &self.clock);
            if let Some(lease) = lease.doing(|| format!("read the lease {}", path.display()))? {
                self.index.note(ip, &lease).doing(reading)?;
            }
        }
        Ok(())
    }

    fn read_one(&self, ip: IpAddr) -> Result<Option<Lease>> {
        let path = self.path_of(ip);
        file::read(&mut Vec::new(), &path, &self.clock).doing(|| format!("read the lease {}", path.display()))
    }
}

/// Puts the index back. It is a cache, so what goes wrong here is only slow the next time.
impl Drop for Store {
    fn drop(&mut self) {
        let Some(shelf) = self.shelf.take() else { return };
        let stamp = match self.done {
            Done::Nothing => return,
            Done::Learnt => self.fits.filter(|fits| Stamp::of(&self.handle).is_ok_and(|now| now == *fits)),
            Done::Changed => self.fits.and_then(|_| Stamp::set(&self.handle).ok().flatten()),
        };
        match stamp.map(|stamp| shelf.keep(&mut self.index, stamp, self.read)) {
            Some(Ok(())) => {}
            _ => shelf.clear(),
        }
    }
}

/// Whether a lease could be written, found out without writing.
///
/// # Errors
/// Names the folder, or the nearest of its parents that exists, and the kernel's reason.
pub fn is_writable(folder: &Path) -> Result<()> {
    let here = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    access(here, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(io::Error::from)
        .doing(|| format!("the lease folder {} cannot be written to", here.display()))
}

/// Takes the folder's lock, and waits for it if it must; closing the file, or dying, lets it go.
fn lock(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // std wants a file that it creates to be opened for writing; the kernel does not, nor does the Go plugin.
    // A link would have it made elsewhere, and a pipe without a writer keep us waiting.
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed()).mode(0o750);
    let file = options.open(folder.join(LOCK))?;
    file.lock().map(|()| file)
}

/// The address for which this is the file name, in the one spelling that both plugins use. (An IPv4 address that is mapped
/// into IPv6 is no address of a pool.)
fn address_of(name: &str) -> Option<IpAddr> {
    name.parse::<IpAddr>().ok().filter(|ip| ip.to_string() == name && *ip == ip.to_canonical())
}

#[cfg(test)]
mod tests;
