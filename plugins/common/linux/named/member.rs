//! Which process is in which namespace. A namespace is known by the device and inode number of its file
//! (namespaces(7)): two names are of one namespace if they are of one file.

use super::{Doing, Name, Result, names};
use nix::errno::Errno;
use nix::sys::stat::stat;
use std::path::{Path, PathBuf};

/// A process, by the folder that `/proc` has of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process(PathBuf);

impl Process {
    /// The calling one.
    pub fn this() -> Process {
        Process("/proc/self".into())
    }

    /// A process by its number, in the words of whoever asks for it; none for what is no number. The digits are kept
    /// as they are, as in `ip netns identify`: `007` is nobody.
    pub fn numbered(digits: &str) -> Option<Process> {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| Process(Path::new("/proc").join(digits)))
    }

    /// The file of the namespace that its first thread is in.
    fn namespace(&self) -> PathBuf {
        self.0.join("ns/net")
    }
}

/// Device and inode number.
type Identity = (u64, u64);

fn identity(file: &Path) -> Result<Identity, Errno> {
    stat(file).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The names of the namespace that a process is in, in the order in which the folder gives them.
pub fn names_of(process: &Process) -> Result<Vec<Name>> {
    let wanted = identity(&process.namespace()).doing(|| "Cannot open network namespace".into())?;
    let same = |name: &Name| identity(&name.file()).is_ok_and(|found| found == wanted);
    Ok(names()?.into_iter().filter(same).collect())
}

/// The numbers of the processes in a namespace, ascending. What the caller may not look at is not in it, nor is a process
/// of which only a thread is there.
pub fn processes_in(name: &Name) -> Result<Vec<u32>> {
    let wanted = identity(&name.file()).doing(|| "Cannot open network namespace".into())?;
    let entries = std::fs::read_dir("/proc").doing(|| "Failed to open directory /proc".into())?;
    let number =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<u32>().ok();
    let inside = |number: &u32| {
        let process = Process(Path::new("/proc").join(number.to_string()));
        identity(&process.namespace()).is_ok_and(|found| found == wanted)
    };
    let mut found: Vec<u32> = entries.filter_map(number).filter(inside).collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_digits_alone() {
        assert_eq!(Process::numbered("42"), Some(Process("/proc/42".into())));
        for no_number in ["self", "0x10", "+1", "1 ", "1/../2", "-1"] {
            assert_eq!(Process::numbered(no_number), None, "{no_number}");
        }
    }
}
