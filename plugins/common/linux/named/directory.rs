//! The folder of the names, and its mount: names made in one mount namespace appear in the others only if
//! the folder is a shared mount.
#![expect(clippy::disallowed_methods, reason = "the folder of the names is a mount")]

use super::{Doing, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use std::fs::File;
use std::path::Path;

/// Makes the folder, if it is not there.
pub(super) fn ensure(folder: &Path) -> Result<()> {
    match nix::unistd::mkdir(folder, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => Ok(()),
        made => made.doing(|| format!("mkdir {} failed", folder.display())),
    }
}

/// Makes the folder, and makes it a shared mount of its own, unless it is one already.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    ensure(folder)?;
    let open = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let turnstile = nix::fcntl::open(folder, open, Mode::empty())
        .map(File::from)
        .doing(|| format!("Cannot open netns runtime directory \"{}\"", folder.display()))?;
    // One at a time until `turnstile` is closed: two first users at boot would each bind the folder onto
    // itself, and each bind doubles the mounts below. Without the lock, going on is still better than not.
    let _ = turnstile.lock();
    share(folder)
}

fn share(folder: &Path) -> Result<()> {
    let shown = folder.display();
    let make_shared = || remount(None, folder, MsFlags::MS_SHARED);
    let shared = match make_shared() {
        // Not a mount yet. It is made private before it is made shared, because a bind joins the peers of
        // the mount it came from: under a shared /run each namespace would then be mounted twice.
        Err(Errno::EINVAL) => {
            remount(Some(folder), folder, MsFlags::MS_BIND)
                .doing(|| format!("mount --bind {shown} {shown} failed"))?;
            remount(Some(folder), folder, MsFlags::MS_PRIVATE)
                .doing(|| format!("mount --make-private {shown} failed"))?;
            make_shared()
        }
        answer => answer,
    };
    shared.doing(|| format!("mount --make-shared {shown} failed"))
}

fn remount(source: Option<&Path>, target: &Path, what: MsFlags) -> nix::Result<()> {
    mount(source, target, Some("none"), what | MsFlags::MS_REC, None::<&str>)
}
