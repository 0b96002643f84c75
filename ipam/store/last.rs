//! Which address each set of ranges gave last, so that the next search begins behind it.

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use cni::error::{OrFail, Result};
use cni::files;

use crate::store::Store;

impl Store {
    /// The address that this set of ranges gave last, if the folder says so in words that can be read.
    pub fn last_given(&self, set: usize) -> Option<IpAddr> {
        std::str::from_utf8(&files::read(&self.path_of_last(set)).ok()?).ok()?.parse().ok()
    }

    /// Notes the address that this set of ranges gave last.
    ///
    /// Overwrites the old text in place, which even a full disk has room for. What a crash can tear here is only
    /// where the next search begins. What is no file of ours loses its name.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn remember(&self, set: usize, ip: IpAddr) -> Result<()> {
        let path = self.path_of_last(set);
        let text = ip.to_string();
        let write = || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            let file = files::open_own(&path, options).or_else(|_| files::anew(&path))?;
            file.write_all_at(text.as_bytes(), 0)?;
            file.set_len(text.len() as u64)
        };
        write().doing(|| format!("write {}", path.display()))
    }

    fn path_of_last(&self, set: usize) -> PathBuf {
        self.folder.join(format!("last_reserved_ip.{set}"))
    }
}
