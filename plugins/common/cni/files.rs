//! Files of ours, in folders where somebody may have put something else in their place: a link, by which we would read or
//! overwrite what is not ours; a pipe, whose opening waits for ever; a device that has no end.
//!
//! Only the file itself is meant. Folders are the administrator's: he may have moved one and left a link.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::error::{OrFail, Result};

/// Nothing that we write, or that an administrator writes for us, is longer, in bytes.
const LONGEST: u64 = 32 << 20;

/// Opens what is there, or is made, if it is a regular file. A link is not followed, and nobody is waited for.
///
/// # Errors
/// It is something else; what the file system says.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    regular(path, options, OFlag::O_NOFOLLOW)
}

/// The same, and nobody else's: a file that has another name somewhere may be anybody's. What is ours to make anew is
/// written to through this alone.
///
/// # Errors
/// As [`open`]; it has another name.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options)?;
    match file.metadata()?.nlink() {
        0 | 1 => Ok(file),
        _ => Err(io::Error::other("it has another name, and may be somebody else's")),
    }
}

/// Opens a file for reading that nobody but us has written, or may write.
///
/// # Errors
/// As [`open_own`]; it is somebody else's.
pub fn open_trusted(path: &Path) -> io::Result<File> {
    let file = open_own(path, File::options().read(true))?;
    let found = file.metadata()?;
    let is_ours = found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    if is_ours { Ok(file) } else { Err(io::Error::other("it is somebody else's")) }
}

/// Reads a file of ours whole.
///
/// # Errors
/// As [`open`]; it is longer than anything that we write.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    whole(&open(path, File::options().read(true))?)
}

/// Reads an administrator's file whole, wherever a link may lead.
///
/// # Errors
/// It is no regular file, or longer than 32 MiB; what the file system says.
pub fn read_anybodys(path: &Path) -> io::Result<Vec<u8>> {
    whole(&regular(path, File::options().read(true), OFlag::empty())?)
}

/// A new file, to be read and written by us alone. Whatever has the name loses it: of a link, the link itself.
///
/// # Errors
/// What the file system says; a folder stays.
pub fn anew(path: &Path) -> io::Result<File> {
    let make = || File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    match make() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        made => made,
    }
}

/// Makes a folder, with those above it, that nobody else may look into: who can open one of ours could lock it, too, and keep
/// us waiting for ever.
///
/// # Errors
/// What the file system says; one that is there is made.
pub fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What is in a folder; nothing, where there is no folder. One that cannot be read is not an empty one.
///
/// # Errors
/// What the file system says.
pub fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    entries.doing(|| format!("read the folder {}", folder.display()))
}

/// From here on the caller's mask keeps others from what we make, and never us; and that others may write to it, no mask can
/// grant. The programs that we start inherit this.
pub fn keep_others_out() {
    let others = Mode::S_IWGRP | Mode::S_IWOTH;
    let meant = (umask(others) | others) - Mode::S_IRWXU;
    if meant != others {
        umask(meant);
    }
}

fn regular(path: &Path, options: &mut OpenOptions, more: OFlag) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | more;
    let irregular = || io::Error::other("it is no regular file");
    let file = match options.custom_flags(flags.bits()).open(path) {
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ELOOP) if more.contains(OFlag::O_NOFOLLOW) => {
                return Err(io::Error::other("it is a symbolic link, which is not followed"));
            }
            // A pipe without a reader, a socket.
            Some(Errno::ENXIO) => return Err(irregular()),
            _ => return Err(error),
        },
        Ok(file) => file,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
}

/// Reads a file of ours that is open, from where it stands.
///
/// # Errors
/// It is longer than anything that we write; what the file system says.
pub fn whole(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(LONGEST)).unwrap_or(0) + 1);
    match file.take(LONGEST + 1).read_to_end(&mut bytes)? as u64 {
        0..=LONGEST => Ok(bytes),
        _ => Err(io::Error::other("it is longer than 32 MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<T: std::fmt::Debug>(outcome: io::Result<T>) -> String {
        outcome.unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_file_of_ours_is_neither_read_nor_written() {
        let folder = std::env::temp_dir().join(format!("jackfield-files-{}", std::process::id()));
        super::folder(&folder).unwrap();
        let place = |name: &str| folder.join(name);
        fs::write(place("other"), "precious").unwrap();
        std::os::unix::fs::symlink(place("other"), place("link")).unwrap();
        std::os::unix::fs::symlink(place("nowhere"), place("dangling")).unwrap();
        nix::unistd::mkfifo(&place("pipe"), Mode::S_IRWXU).unwrap();
        let make = || File::options().write(true).create(true).to_owned();
        for name in ["link", "dangling"] {
            assert!(words(read(&place(name))).contains("symbolic link"), "{name}");
            assert!(words(open(&place(name), &mut make())).contains("symbolic link"), "{name}");
        }
        assert!(words(read(&place("pipe"))).contains("no regular file"));
        assert!(words(open(&place("pipe"), &mut make())).contains("no regular file"));
        assert!(words(read_anybodys(Path::new("/dev/zero"))).contains("no regular file"));
        assert!(words(read(&folder)).contains("no regular file"));
        assert_eq!(read_anybodys(&place("link")).unwrap(), b"precious");
        fs::hard_link(place("other"), place("name")).unwrap();
        assert!(words(open_own(&place("name"), &mut make())).contains("another name"));
        for name in ["link", "dangling", "pipe", "name"] {
            anew(&place(name)).unwrap();
            assert!(read(&place(name)).unwrap().is_empty(), "{name}");
        }
        assert_eq!(fs::read(place("other")).unwrap(), b"precious");
        assert!(!place("nowhere").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
