//! Files that appear whole or not at all: written without a name (`O_TMPFILE` of open(2)), then given one. Whoever dies in
//! between leaves nothing. One that replaces another has a name of its own for an instant, so that there is always one of them.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cni::error::{OrFail, Result};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};

/// Opens a file without a name that will have one in this folder, which is made if it is not there.
///
/// # Errors
/// What the file system says; `EOPNOTSUPP` from one that knows no such files.
pub fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).mode(0o600).custom_flags(OFlags::TMPFILE.bits().cast_signed());
    match options.open(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            cni::files::folder(folder)?;
            options.open(folder)
        }
        opened => opened,
    }
}

/// Gives the file its name.
///
/// # Errors
/// `AlreadyExists`: somebody else has it.
pub fn name(file: &File, place: &Path) -> io::Result<()> {
    let by_fd = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, by_fd.as_str(), CWD, place, AtFlags::SYMLINK_FOLLOW)?)
}

/// Gives the file its name, whoever has it: there is no moment without a file of that name. Nobody else does the same just now.
///
/// # Errors
/// What the file system says; then the other one has its name still.
pub fn replace(file: &File, place: &Path) -> io::Result<()> {
    let next = next(place);
    match name(file, &next) {
        // A crash's.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(&next)?;
            name(file, &next)?;
        }
        named => named?,
    }
    let replaced = fs::rename(&next, place);
    if replaced.is_err() {
        let _ = fs::remove_file(&next);
    }
    replaced
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

/// What is in a folder; nothing, where there is no folder. One that cannot be read is not an empty one.
///
/// # Errors
/// What the file system says.
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    entries.doing(|| format!("read the folder {}", folder.display()))
}
