//! A namespace without a name, for a caller without privileges: in a user namespace of his own, in which he is who he was.
#![expect(clippy::disallowed_methods, reason = "only a thread that becomes a program stays in a namespace")]

use super::enter::replace_sys;
use super::{Doing, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::ffi::OsStr;

/// Moves this process, and whatever it starts or becomes, into a new network namespace with mounts of its own, for good. The
/// namespace ends with its last process. The process must have but one thread.
///
/// # Errors
/// `EPERM` or `ENOSPC` where the system does not let users make user namespaces (user_namespaces(7)).
pub fn enter_nameless() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(kinds).doing(|| "Failed to create a user namespace".into())?;
    // In this order: who may drop groups could get at what a group is kept from.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{group} {group} 1")),
        ("uid_map", format!("{user} {user} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).doing(|| format!("Failed to write {path}"))?;
    }
    mount(None::<&str>, "/", Some("none"), MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .doing(|| "\"mount --make-rslave /\" failed".into())?;
    // A host may keep parts of its /sys covered; then the kernel keeps a new one from whoever is not root there. What shows
    // the wrong links in it is no reason not to run.
    let _ = replace_sys(OsStr::new("nameless"));
    Ok(())
}
