//! One lease file: written whole or not at all, and read with the mark that tells its boot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cni::whole::Draft;
use rustix::fs::{OFlags, XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;

use crate::boot::{Age, Mark};
use crate::lease::{Holder, Lease, Says};
use crate::store::here::Clock;

/// The attribute in which a lease carries its [`Mark`]. The Go plugin looks at names and contents only.
const MARK: &str = "user.jackfield.boot";

/// Makes a lease appear under its name with all that belongs to it, or fails with `AlreadyExists` and changes nothing.
pub(super) fn write(folder: &Path, path: &Path, holder: &Holder, mark: Option<Mark>) -> io::Result<File> {
    // The Go plugin reads every file of the folder, whatever its name.
    let Some(mut draft) = Draft::without_a_name(folder)? else { return write_in_place(path, holder, mark) };
    draft.file().write_all(holder.text().as_bytes())?;
    set_mark(draft.file(), mark)?;
    draft.name(path)?;
    Ok(draft.into_file())
}

/// Reads a lease into a buffer that serves for all of them; `None` if it is gone, removed behind our back by somebody
/// who asks for no lock. A folder, a link or a pipe of that name cannot be read as a lease, but is in the way of one.
///
/// Few system calls, as every lease of a folder may have to be read.
pub(super) fn read(text: &mut Vec<u8>, path: &Path, clock: &Clock) -> io::Result<Option<Lease>> {
    let foreign = Lease { says: Says::Foreign, age: Age::Unknown };
    // A pipe without a writer would keep us waiting.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NXIO)) => {
            return Ok(Some(foreign));
        }
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Some(foreign));
    }
    text.clear();
    text.resize(512, 0);
    let length = file.read(text)?;
    let is_all = length < text.len();
    text.truncate(length);
    if !is_all {
        file.read_to_end(text)?;
    }
    Ok(Some(Lease { says: Says::read(text), age: clock.age(mark_of(&file), found.modified()?) }))
}

/// Removes a file; one that is not there is removed.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The same where the file system knows no file without a name (NFS, FUSE): whole unless we die in between, and
/// then the next call finds it torn.
fn write_in_place(path: &Path, holder: &Holder, mark: Option<Mark>) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    match set_mark(&file, mark).and_then(|()| file.write_all(holder.text().as_bytes())) {
        Ok(()) => Ok(file),
        Err(error) => remove_if_there(path).and(Err(error)),
    }
}

/// A file system without attributes (tmpfs before Linux 6.6), or a policy against them, is no reason to refuse a lease:
/// its age is then told by the time, like those of the Go plugin.
fn set_mark(file: &File, mark: Option<Mark>) -> io::Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    match fsetxattr(file, MARK, &mark.bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn mark_of(file: &File) -> Option<Mark> {
    let mut value = [0; 33];
    let length = fgetxattr(file, MARK, &mut value).ok()?;
    Mark::read(value.get(..length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_nameless_files_a_lease_is_still_exclusive() {
        let path = std::env::temp_dir().join(format!("ipam-in-place-{}", std::process::id()));
        let holder = |container: &str| Holder { container: container.into(), ifname: Some("eth0".into()) };
        write_in_place(&path, &holder("c1"), None).unwrap();
        let again = write_in_place(&path, &holder("c2"), None);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!((again.unwrap_err().kind(), text.as_str()), (ErrorKind::AlreadyExists, "c1\r\neth0"));
    }
}
