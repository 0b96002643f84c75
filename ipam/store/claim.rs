//! A lease that may have to go again.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cni::error::Result;

use crate::store::{Machine, Store, lock};

/// A lease that this process has just made. The open file stands for it: its inode cannot become another lease's
/// while we hold it.
#[derive(Debug)]
pub struct Claim {
    file: File,
    ip: IpAddr,
    folder: PathBuf,
    machine: Machine,
}

impl Claim {
    /// The lease in this file, which has just appeared in this store.
    pub(super) fn new(file: File, ip: IpAddr, store: &Store) -> Claim {
        Claim { file, ip, folder: store.folder.clone(), machine: store.machine.clone() }
    }

    /// Gives the address back, unless the file that now has this name is a later lease.
    ///
    /// # Errors
    /// A folder that cannot be locked, or a file that cannot be removed.
    pub fn give_back(self) -> Result<()> {
        let mut store = Store::locked(&self.machine, &self.folder, lock(&self.folder))?;
        let path = store.path_of(self.ip);
        let is_ours = match (self.file.metadata(), fs::symlink_metadata(&path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        };
        match store.read_one(self.ip)? {
            Some(lease) if is_ours => store.release(self.ip, &lease),
            _ => Ok(()),
        }
    }
}
