//! What `ip netns exec` does before the program runs: the thread moves into the namespace for good, with
//! mounts of its own in which `/sys` and `/etc` are those of the namespace.
#![expect(clippy::disallowed_methods, reason = "only a thread that becomes a program stays in a namespace")]

use super::program;
use super::{Doing, Error, Name, Result, bind, vrf};
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// A program to become.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The program: a path if it has a `/`, else it is looked for in `search`.
    pub program: &'a OsStr,
    /// Its arguments, without its name.
    pub arguments: &'a [OsString],
    /// The folders to look in, as `PATH` has them; `/bin:/usr/bin` if `None`.
    pub search: Option<&'a OsStr>,
}

/// Why [`exec`] came back.
#[derive(Debug)]
pub enum NotRun {
    /// The namespace could not be entered, or its mounts not be made.
    NotEntered(Error),
    /// The namespace was entered; the program could not be run.
    NotExecuted(Error),
}

/// Becomes a program in the namespace: no process is made, so its process ID, open files, signals and exit
/// status are the caller's. What the program can do without (a file missing from `/etc`) goes to `shrug`.
///
/// Comes back only if that failed. The calling thread, which should be the only one, may then already be in
/// the namespace.
pub fn exec(name: &Name, command: &Command, shrug: &mut dyn FnMut(Error)) -> NotRun {
    vrf::leave().unwrap_or_else(&mut *shrug);
    if let Err(e) = enter(name, shrug) {
        return NotRun::NotEntered(e);
    }
    NotRun::NotExecuted(become_program(command))
}

/// The same, where this process already is. Comes back only if that failed.
pub fn become_program(command: &Command) -> Error {
    let errno = program::replace_this_process(command);
    Error::new(format!("exec of \"{}\" failed", command.program.display()), errno)
}

/// Moves this thread, and whatever it starts or becomes, into the namespace and into mounts of its own, for good. What
/// can be done without goes to `shrug`.
///
/// The calling thread should be the only one. After a failure it may be in the namespace already.
pub fn enter(name: &Name, shrug: &mut dyn FnMut(Error)) -> Result<()> {
    let namespace = nix::fcntl::open(&name.file(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .doing(|| format!("Cannot open network namespace \"{name}\""))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)
        .doing(|| format!("setting the network namespace \"{name}\" failed"))?;
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "unshare failed".into())?;
    // A slave, not private: what the host mounts later still appears, and nothing flows back.
    mount(None::<&str>, "/", Some("none"), MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .doing(|| "\"mount --make-rslave /\" failed".into())?;
    replace_sys(name.as_os_str())?;
    show_in_etc(name, shrug)
}

/// A sysfs shows the links of the namespace in which it was mounted.
pub(super) fn replace_sys(source: &OsStr) -> Result<()> {
    let stays_beneath = umount2("/sys", MntFlags::MNT_DETACH).is_err();
    let is_read_only = || statvfs("/sys").is_ok_and(|sys| sys.flags().contains(FsFlags::ST_RDONLY));
    // The kernel refuses a writable sysfs over one that somebody made read-only, as in a container.
    let flags = if stays_beneath && is_read_only() { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    mount(Some(source), "/sys", Some("sysfs"), flags, None::<&str>).doing(|| "mount of /sys failed".into())
}

/// Mounts each entry of the name's own folder over the entry of `/etc` with the same name.
fn show_in_etc(name: &Name, shrug: &mut dyn FnMut(Error)) -> Result<()> {
    let folder = name.etc();
    let unread = || format!("Failed to open directory {}", folder.display());
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(unread)?,
    };
    for entry in entries {
        let entry = entry.doing(unread)?;
        bind(&entry.path(), &Path::new("/etc").join(entry.file_name())).unwrap_or_else(&mut *shrug);
    }
    Ok(())
}
