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
//! by a crash of somebody else, holds no address, and makes room for the next lease. Nothing is flushed to the
//! disk: whatever loses power loses its containers, too.
//!
//! Everything that knows files is in here. Others ask who holds what, claim, release, and remember.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cni::error::{OrFail, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::{AccessFlags, access, linkat};

use crate::lease::{Holder, Lease};

/// The folder of one network, locked for as long as this value lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    leases: BTreeMap<IpAddr, Lease>,
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
        let leases = leases(folder).doing(|| format!("read the leases in {}", folder.display()))?;
        Ok(Store { folder: folder.into(), leases, _lock: lock })
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
        self.leases.get(&ip).is_some_and(|lease| *lease != Lease::Torn)
    }

    /// The addresses of this interface of this container; if there are none, those that an old plugin leased to the
    /// container as a whole.
    pub fn held_by(&self, holder: &Holder) -> Vec<IpAddr> {
        let of = |holder: Holder| {
            let lease = Lease::Held(holder);
            self.leases().filter(|(_, found)| **found == lease).map(|(ip, _)| ip).collect::<Vec<_>>()
        };
        let own = of(holder.clone());
        if own.is_empty() { of(Holder { ifname: None, ..holder.clone() }) } else { own }
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
            fs::remove_file(&path).doing(|| format!("remove the torn lease {}", path.display()))?;
        }
        match write_whole(&self.folder, &path, holder.text().as_bytes()) {
            Ok(file) => {
                self.leases.insert(ip, Lease::Held(holder.clone()));
                Ok(Some(Claim { file, path }))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.leases.insert(ip, Lease::Foreign);
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
    access(here, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(io::Error::from)
        .doing(|| format!("the lease folder {} cannot be written to", here.display()))
}

/// Takes the folder's lock, and waits for it if it must; closing the file, or dying, lets it go.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let open = || {
        let mut options = OpenOptions::new();
        // std wants a file that it creates to be opened for writing; the kernel does not, nor does the Go plugin.
        options.read(true).custom_flags(OFlag::O_CREAT.bits()).mode(0o750);
        let file = options.open(&path)?;
        file.lock()?;
        Ok::<_, io::Error>(file)
    };
    open().doing(|| format!("lock {}", path.display()))
}

fn leases(folder: &Path) -> io::Result<BTreeMap<IpAddr, Lease>> {
    let mut found = BTreeMap::new();
    let mut text = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(ip) = entry.file_name().to_str().and_then(address_of) else { continue };
        // A folder, a link or a pipe of that name cannot be read as a lease, but is in the way of one.
        let lease = if !entry.file_type()?.is_file() {
            Lease::Foreign
        } else if read_into(&mut text, &entry.path())? {
            Lease::read(&text)
        } else {
            continue;
        };
        found.insert(ip, lease);
    }
    Ok(found)
}

/// Reads a file into a buffer that serves for all of them; `false` if it is gone, removed behind our back by somebody
/// who asks for no lock.
///
/// Three system calls where `fs::read` needs five. That counts, as every lease is read.
fn read_into(text: &mut Vec<u8>, path: &Path) -> io::Result<bool> {
    text.clear();
    text.resize(512, 0);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let length = file.read(text)?;
    let is_all = length < text.len();
    text.truncate(length);
    if !is_all {
        file.read_to_end(text)?;
    }
    Ok(true)
}

/// The address for which this is the file name, in the one spelling that both plugins use.
fn address_of(name: &str) -> Option<IpAddr> {
    name.parse::<IpAddr>().ok().filter(|ip| ip.to_string() == name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Makes a file appear under its name with all its contents, or fails with `AlreadyExists` and changes nothing.
fn write_whole(folder: &Path, path: &Path, text: &[u8]) -> io::Result<File> {
    let nameless =
        OpenOptions::new().write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(folder);
    let mut file = match nameless {
        Err(error) if knows_no_nameless_file(&error) => return write_in_place(path, text),
        nameless => nameless?,
    };
    file.write_all(text)?;
    let by_fd = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(AT_FDCWD, by_fd.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
        // No /proc here. The other way asks for CAP_DAC_READ_SEARCH before Linux 6.10, so it is not the first.
        Err(Errno::ENOENT) => linkat(&file, "", AT_FDCWD, path, AtFlags::AT_EMPTY_PATH)?,
        outcome => outcome?,
    }
    Ok(file)
}

/// open(2): what a file system without O_TMPFILE says, and a kernel without it.
fn knows_no_nameless_file(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EOPNOTSUPP | Errno::EISDIR))
}

/// The same where the file system knows no file without a name (NFS, FUSE): whole unless we die in between, and
/// then the next call finds it torn.
fn write_in_place(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    match file.write_all(text) {
        Ok(()) => Ok(file),
        Err(error) => remove_if_there(path).and(Err(error)),
    }
}

#[cfg(test)]
mod tests;
