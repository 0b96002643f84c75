//! Who may run plugins now (spec, section "Lifecycle & Ordering"): one operation a container at a time, containers
//! beside each other, and a GC alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest, Sha256};

use crate::error::{Code, OrFail, Result};
use crate::files;
use crate::name::ContainerId;

/// A turn; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

impl Turn {
    /// Waits until nobody else works on this container and no GC runs.
    pub(super) fn of_container(folder: &Path, container: &ContainerId) -> Result<Turn> {
        // Two containers on one byte merely wait for each other. 62 bits: an offset is signed, and has to have an end.
        let digest = Sha256::digest(container.as_str());
        let place = digest.iter().take(8).fold(0u64, |place, byte| place << 8 | u64::from(*byte)) >> 2;
        Turn::take(folder, place.cast_signed(), 1)
    }

    /// Waits until nobody else does anything.
    pub(super) fn of_everybody(folder: &Path) -> Result<Turn> {
        Turn::take(folder, 0, 0)
    }

    /// One file is enough for any number of containers, and none is left behind for any of them: each has a byte in
    /// it, far beyond its end, and a GC has them all (length 0). Open file description locks (fcntl(2)) belong to this
    /// opening and not to the process, so that threads too wait for each other, and the plugins, which do not inherit
    /// the file, cannot keep it.
    fn take(folder: &Path, start: i64, length: i64) -> Result<Turn> {
        let path = folder.join("lock");
        let lock = || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            let file = files::open(&path, options).or_else(|error| {
                if error.kind() != ErrorKind::NotFound {
                    return Err(error);
                }
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                files::open(&path, options)
            })?;
            let range = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: start,
                l_len: length,
                l_pid: 0,
            };
            while let Err(errno) = fcntl(&file, FcntlArg::F_OFD_SETLKW(&range)) {
                if errno != Errno::EINTR {
                    return Err(errno.into());
                }
            }
            Ok::<_, std::io::Error>(Turn { _file: file })
        };
        lock().or_fail(Code::IO, || format!("lock {}", path.display()))
    }
}
