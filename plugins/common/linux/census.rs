//! Which process is in which network namespace, by `/proc/<pid>/ns/net` (proc_pid_ns(5)).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{FileStat, stat};

use crate::error::{Doing, Result};

/// A namespace's file: its device and inode number are those of no other namespace that lives at the same time
/// (namespaces(7)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The number of the device.
    pub device: u64,
    /// The number of the inode, as in `net:[4026531840]`.
    pub inode: u64,
}

impl Identity {
    pub(crate) fn of(file: &FileStat) -> Identity {
        Identity { device: file.st_dev, inode: file.st_ino }
    }

    /// That of the file which a path leads to.
    ///
    /// # Errors
    /// `EACCES` for a process that may not be looked at, `ENOENT` for one that has ended.
    pub fn of_path(path: &Path) -> Result<Identity> {
        stat(path).map(|file| Identity::of(&file)).doing(|| format!("look at {}", path.display()))
    }
}

/// Who is where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The processes of each namespace by their numbers, lowest first.
    pub processes: BTreeMap<Identity, Vec<u32>>,
    /// How many processes may not be looked at, because they are somebody else's.
    pub hidden: usize,
}

/// Counts all processes that `/proc` has. One that ends meanwhile is not counted; nor are threads that have gone elsewhere
/// on their own.
///
/// # Errors
/// `/proc` is not mounted, or cannot be read.
pub fn census() -> Result<Census> {
    let unread = || "list the processes in /proc";
    let mut census = Census::default();
    for entry in std::fs::read_dir("/proc").doing(unread)? {
        let name = entry.doing(unread)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        match Identity::of_path(&namespace_of(pid)) {
            Ok(namespace) => census.processes.entry(namespace).or_default().push(pid),
            Err(e) if matches!(e.errno(), Some(Errno::EACCES | Errno::EPERM)) => census.hidden += 1,
            Err(_) => {} // it has ended
        }
    }
    census.processes.values_mut().for_each(|pids| pids.sort_unstable());
    Ok(census)
}

/// The file of the namespace that a process is in.
pub fn namespace_of(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// What a process calls itself (`/proc/<pid>/comm`): up to 15 bytes of its own choice.
///
/// # Errors
/// `ENOENT` or `ESRCH` if it has ended.
pub fn command_of(pid: u32) -> io::Result<Vec<u8>> {
    let mut command = std::fs::read(format!("/proc/{pid}/comm"))?;
    if command.last() == Some(&b'\n') {
        command.pop();
    }
    Ok(command)
}

/// Lifts this process's limit of open files as far as it may by itself, for who holds many namespaces at once. The usual
/// limit of 1024 is for programs that use `select(2)`.
///
/// # Errors
/// None that is known.
pub fn allow_many_files() -> Result<()> {
    let doing = || "lift the limit of open files";
    let (_, highest) = getrlimit(Resource::RLIMIT_NOFILE).doing(doing)?;
    setrlimit(Resource::RLIMIT_NOFILE, highest, highest).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::NetNs;

    #[test]
    fn this_process_is_counted_where_it_is() {
        let here = NetNs::here().unwrap().identity().unwrap();
        let pid = std::process::id();
        assert!(census().unwrap().processes[&here].contains(&pid));
        assert_eq!(Identity::of_path(&namespace_of(pid)).unwrap(), here);
        assert!(!command_of(pid).unwrap().contains(&b'\n'));
    }

    #[test]
    fn who_has_ended_is_absent() {
        // Above the greatest number that a process can have (PID_MAX_LIMIT).
        assert!(Identity::of_path(&namespace_of(1 << 22)).unwrap_err().is_absent());
    }
}
