//! Which process is in which namespace. A namespace is known by its file: two names are of one namespace if they are of
//! one file.

use super::{Error, Name, Result, names};
use crate::census::{Identity, census};
use nix::errno::Errno;
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
}

/// The names of the namespace that a process is in, in the order in which the folder gives them.
pub fn names_of(process: &Process) -> Result<Vec<Name>> {
    let wanted = identity(&process.0.join("ns/net"))?;
    let same = |name: &Name| identity(&name.file()).is_ok_and(|found| found == wanted);
    Ok(names()?.into_iter().filter(same).collect())
}

/// Who is in a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    /// Their numbers, ascending. A process of which only a thread is there is not among them.
    pub processes: Vec<u32>,
    /// How many others the caller may not look at: they may be in it, too.
    pub hidden: usize,
}

/// The processes in a namespace.
pub fn processes_in(name: &Name) -> Result<Members> {
    let wanted = identity(&name.file())?;
    let mut everybody = census().map_err(|error| in_ips_words("Failed to open directory /proc", &error))?;
    let processes = everybody.processes.remove(&wanted).unwrap_or_default();
    Ok(Members { processes, hidden: everybody.hidden })
}

fn identity(file: &Path) -> Result<Identity> {
    Identity::of_path(file).map_err(|error| in_ips_words("Cannot open network namespace", &error))
}

fn in_ips_words(doing: &str, error: &crate::error::Error) -> Error {
    Error::new(doing.into(), error.errno().unwrap_or(Errno::UnknownErrno))
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
