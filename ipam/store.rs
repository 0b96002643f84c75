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
//! - `file`: one lease file, written and read;
//! - `here`: what this machine says about its boot.

mod file;
mod here;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cni::error::{OrFail, Result};
use rustix::fs::{Access, OFlags, access};

use crate::boot::Age;
use crate::lease::{Holder, Lease, Says};
use file::remove_if_there;
use here::Clock;

/// The folder of one network, locked for as long as this value lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    leases: BTreeMap<IpAddr, Lease>,
    clock: Clock,
    _lock: File,
}

impl Store {
    /// Locks the folder and reads it. Makes it, with its parents, if it is not there yet.
    ///
    /// # Errors
    /// A folder that cannot be made, locked or read, with the kernel's reason.
    pub fn open(folder: &Path) -> Result<Store> {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.doing(|| format!("make the lease folder {}", folder.display()))?;
        Store::read(folder)
    }

    /// Locks the folder and reads it; a folder that is not there has no leases, and is not made.
    ///
    /// # Errors
    /// A folder that cannot be locked or read.
    pub fn open_existing(folder: &Path) -> Result<Option<Store>> {
        match fs::metadata(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error).doing(|| format!("look for the lease folder {}", folder.display())),
            Ok(_) => Store::read(folder).map(Some),
        }
    }

    fn read(folder: &Path) -> Result<Store> {
        let lock = lock(folder)?;
        let clock = Clock::of(folder);
        let leases = leases(folder, &clock)?;
        Ok(Store { folder: folder.into(), leases, clock, _lock: lock })
    }

    /// Where the leases are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every file that is named like an address.
    pub fn leases(&self) -> impl Iterator<Item = (IpAddr, &Lease)> {
        self.leases.iter().map(|(ip, lease)| (*ip, lease))
    }

    /// Whether the address is somebody's.
    pub fn is_taken(&self, ip: IpAddr) -> bool {
        self.leases.get(&ip).is_some_and(Lease::holds)
    }

    /// The files of this interface of this container, of whatever boot; if there are none, those that an old plugin wrote
    /// for the container as a whole.
    pub fn written_for(&self, holder: &Holder) -> Vec<IpAddr> {
        let of = |holder: Holder| {
            let says = Says::Held(holder);
            self.leases().filter(|(_, found)| found.says == says).map(|(ip, _)| ip).collect::<Vec<_>>()
        };
        let own = of(holder.clone());
        if own.is_empty() { of(Holder { ifname: None, ..holder.clone() }) } else { own }
    }

    /// The addresses that are this interface's now.
    pub fn held_by(&self, holder: &Holder) -> Vec<IpAddr> {
        let mut held = self.written_for(holder);
        held.retain(|ip| self.is_taken(*ip));
        held
    }

    /// Leases the address to the holder; `None` if somebody else has it.
    ///
    /// # Errors
    /// A lease that cannot be written. Nothing of it is left then.
    pub fn claim(&mut self, ip: IpAddr, holder: &Holder) -> Result<Option<Claim>> {
        if self.is_taken(ip) {
            return Ok(None);
        }
        let path = self.path_of(ip);
        if self.leases.contains_key(&ip) {
            remove_if_there(&path).doing(|| format!("remove the dead lease {}", path.display()))?;
        }
        match file::write(&self.folder, &path, holder, self.clock.mark()) {
            Ok(file) => {
                self.leases.insert(ip, Lease { says: Says::Held(holder.clone()), age: Age::Present });
                Ok(Some(Claim { file, path }))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.leases.insert(ip, Lease { says: Says::Foreign, age: Age::Unknown });
                Ok(None)
            }
            Err(error) => Err(error).doing(|| format!("write the lease {}", path.display())),
        }
    }

    /// Frees the address; one that is free already stays so.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn release(&mut self, ip: IpAddr) -> Result<()> {
        let path = self.path_of(ip);
        remove_if_there(&path).doing(|| format!("remove the lease {}", path.display()))?;
        self.leases.remove(&ip);
        Ok(())
    }

    /// The address that this set of ranges gave last, if the folder says so in words that can be read.
    pub fn last_given(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.path_of_last(set)).ok()?.parse().ok()
    }

    /// Notes the address that this set of ranges gave last.
    ///
    /// Overwrites the old text in place, which even a full disk has room for. What a crash can tear here is only
    /// where the next search begins.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn remember(&self, set: usize, ip: IpAddr) -> Result<()> {
        let path = self.path_of_last(set);
        let text = ip.to_string();
        let write = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.write_all_at(text.as_bytes(), 0)?;
            file.set_len(text.len() as u64)
        };
        write().doing(|| format!("write {}", path.display()))
    }

    fn path_of(&self, ip: IpAddr) -> PathBuf {
        self.folder.join(ip.to_string())
    }

    fn path_of_last(&self, set: usize) -> PathBuf {
        self.folder.join(format!("last_reserved_ip.{set}"))
    }
}

/// A lease that this process has just made. The open file stands for it: its inode cannot become another lease's
/// while we hold it.
#[derive(Debug)]
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Gives the address back, unless the file that now has this name is a later lease.
    ///
    /// # Errors
    /// A folder that cannot be locked, or a file that cannot be removed.
    pub fn give_back(self) -> Result<()> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let _lock = lock(folder)?;
        let give = || match (self.file.metadata()?, fs::symlink_metadata(&self.path)) {
            (ours, Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) => {
                remove_if_there(&self.path)
            }
            _ => Ok(()),
        };
        give().doing(|| format!("give back the lease {}", self.path.display()))
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
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let open = || {
        let mut options = OpenOptions::new();
        // std wants a file that it creates to be opened for writing; the kernel does not, nor does the Go plugin.
        options.read(true).custom_flags(OFlags::CREATE.bits().cast_signed()).mode(0o750);
        let file = options.open(&path)?;
        file.lock()?;
        Ok::<_, io::Error>(file)
    };
    open().doing(|| format!("lock {}", path.display()))
}

fn leases(folder: &Path, clock: &Clock) -> Result<BTreeMap<IpAddr, Lease>> {
    let reading = || format!("read the leases in {}", folder.display());
    let mut found = BTreeMap::new();
    let mut text = Vec::new();
    for entry in fs::read_dir(folder).doing(reading)? {
        let entry = entry.doing(reading)?;
        let Some(ip) = entry.file_name().to_str().and_then(address_of) else { continue };
        let path = entry.path();
        // A folder, a link or a pipe of that name cannot be read as a lease, but is in the way of one.
        let lease = match entry.file_type().doing(reading)?.is_file() {
            true => {
                file::read(&mut text, &path, clock).doing(|| format!("read the lease {}", path.display()))?
            }
            false => Some(Lease { says: Says::Foreign, age: Age::Unknown }),
        };
        found.extend(lease.map(|lease| (ip, lease)));
    }
    Ok(found)
}

/// The address for which this is the file name, in the one spelling that both plugins use.
fn address_of(name: &str) -> Option<IpAddr> {
    name.parse::<IpAddr>().ok().filter(|ip| ip.to_string() == name)
}

#[cfg(test)]
mod tests;
