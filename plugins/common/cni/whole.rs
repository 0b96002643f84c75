//! Files that appear whole or not at all: written without a name (`O_TMPFILE` of open(2)), then given one. Whoever dies in
//! between leaves nothing. One that replaces another has a name of its own for an instant, so that there is always one of them.
//!
//! Some file systems know no such files (NFS; overlayfs and FUSE before Linux 6). There they have a name that begins with a dot
//! and that nobody looks for, until they get the right one: only who is killed in between leaves it.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;

use crate::error::{OrFail, Result};
use crate::files;

/// A file that nobody finds yet, to be written by us alone.
#[derive(Debug)]
pub struct Draft {
    file: File,
    aside: Option<Aside>,
}

/// The name that a draft has where it cannot be without one; it goes with this value.
#[derive(Debug)]
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Draft {
    /// A file that will have a name in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(folder: &Path) -> io::Result<Draft> {
        let begin = || Draft::without_a_name(folder)?.map_or_else(|| Draft::aside(folder), Ok);
        match begin() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                files::folder(folder)?;
                begin()
            }
            begun => begun,
        }
    }

    /// The same in a folder that is there, in which nothing may have another name than its own; `None` where a file cannot be
    /// without one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn without_a_name(folder: &Path) -> io::Result<Option<Draft>> {
        let open = File::options().write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(folder);
        match open {
            Ok(file) => Ok(Some(Draft { file, aside: None })),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                // open(2): what a file system says that knows none, and a kernel.
                Some(Errno::EOPNOTSUPP | Errno::EISDIR) => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn aside(folder: &Path) -> io::Result<Draft> {
        let number = RandomState::new().hash_one(std::process::id());
        let name = folder.join(format!(".{number:016x}.draft"));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&name)?;
        Ok(Draft { file, aside: Some(Aside(name)) })
    }

    /// The file, to be written to, or locked.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// `AlreadyExists`: something else has it. It may then be tried again.
    pub fn name(&mut self, place: &Path) -> io::Result<()> {
        match &self.aside {
            None => link(&self.file, place)?,
            Some(Aside(name)) => fs::hard_link(name, place)?,
        }
        self.aside = None;
        Ok(())
    }

    /// Gives it its name, whoever has it: there is no moment without a file of that name. Nobody else does the same just now.
    ///
    /// # Errors
    /// What the file system says; then the other one has its name still.
    pub fn replace(&mut self, place: &Path) -> io::Result<()> {
        self.replace_by(&next(place), place)
    }

    /// The same, and says how the file is called for the instant before.
    ///
    /// # Errors
    /// As above.
    pub fn replace_by(&mut self, next: &Path, place: &Path) -> io::Result<()> {
        if let Some(Aside(name)) = self.aside.take().as_ref() {
            return fs::rename(name, place);
        }
        match link(&self.file, next) {
            // A crash's.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_file(next)?;
                link(&self.file, next)?;
            }
            linked => linked?,
        }
        let replaced = fs::rename(next, place);
        if replaced.is_err() {
            let _ = fs::remove_file(next);
        }
        replaced
    }

    /// The file, for whoever goes on holding it.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Removes a file that is replaced in this way, and what a crash has left that was about to replace it. One that is not there
/// is removed.
///
/// # Errors
/// What the file system says, with the name of the file.
pub fn remove(place: &Path) -> Result<()> {
    [next(place), place.to_owned()].into_iter().try_for_each(|file| match fs::remove_file(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    })
}

/// How a file is called for the instant in which it is about to replace another.
fn next(place: &Path) -> PathBuf {
    place.with_added_extension("next")
}

fn link(file: &File, place: &Path) -> io::Result<()> {
    let by_fd = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(AT_FDCWD, by_fd.as_str(), AT_FDCWD, place, AtFlags::AT_SYMLINK_FOLLOW) {
        // No /proc here. The other way asks for CAP_DAC_READ_SEARCH before Linux 6.10, so it is not the first.
        Err(Errno::ENOENT) => Ok(linkat(file, "", AT_FDCWD, place, AtFlags::AT_EMPTY_PATH)?),
        linked => Ok(linked?),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn with_and_without_a_name_a_file_appears_whole_and_is_nobody_elses() {
        let folder = std::env::temp_dir().join(format!("jackfield-whole-{}", std::process::id()));
        let place = folder.join("place");
        let said = || fs::read_to_string(&place).unwrap();
        let count = || fs::read_dir(&folder).unwrap().count();
        for begin in [Draft::begin, Draft::aside] {
            let draft = |text: &str| {
                files::folder(&folder).unwrap();
                let draft = begin(&folder).unwrap();
                draft.file().write_all(text.as_bytes()).unwrap();
                draft
            };
            let (mut first, mut second) = (draft("first"), draft("second"));
            first.name(&place).unwrap();
            assert_eq!(second.name(&place).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(said(), "first");
            fs::write(next(&place), "a crash's").unwrap();
            second.replace(&place).unwrap();
            assert_eq!(said(), "second");
            drop((first, second, draft("third")));
            fs::write(next(&place), "a crash's").unwrap();
            (0..2).for_each(|_| remove(&place).unwrap());
            assert_eq!(count(), 0, "nothing is left");
            draft("last").name(&place).unwrap();
            let mut fourth = draft("fourth");
            fs::remove_file(&place).unwrap();
            fs::create_dir_all(place.join("in the way")).unwrap();
            assert!(fourth.replace(&place).is_err());
            drop(fourth);
            assert_eq!(count(), 1, "what could not be named is gone");
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}
