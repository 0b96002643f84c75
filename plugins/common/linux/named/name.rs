//! A name, checked once.

use super::{ETC, RUN};
use std::ffi::{OsStr, OsString};
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of a network namespace: what can name a file, and nothing more (blanks, control characters and
/// bytes that are not UTF-8 are legal, as they are for `ip netns`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(OsString);

/// A word that cannot name a file in a folder: empty, `.`, `..`, longer than 255 bytes, or with `/` in it.
#[derive(Debug)]
pub struct BadName(OsString);

impl Name {
    /// The name as it was given.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// The file that carries the namespace.
    pub fn file(&self) -> PathBuf {
        Path::new(RUN).join(&self.0)
    }

    /// The folder of the files that belong into `/etc` for programs in this namespace.
    pub(super) fn etc(&self) -> PathBuf {
        Path::new(ETC).join(&self.0)
    }

    /// The name of a file that exists needs no check.
    pub(super) fn of(entry: &DirEntry) -> Name {
        Name(entry.file_name())
    }
}

impl TryFrom<&OsStr> for Name {
    type Error = BadName;

    fn try_from(word: &OsStr) -> Result<Name, BadName> {
        let bytes = word.as_bytes();
        let fits = (1..=255).contains(&bytes.len()); // NAME_MAX, limits.h
        let dots = matches!(bytes, b"." | b"..");
        let clean = !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        if fits && !dots && clean { Ok(Name(word.into())) } else { Err(BadName(word.into())) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

impl std::fmt::Display for BadName {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Invalid netns name \"{}\"", self.0.display())
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whatever_can_name_a_file() {
        let longest = [b'a'; 255];
        for legal in [&b"a b"[..], b"-x", b"*", b"...", b".hidden", b"tab\there", b"\n", b"\xff", &longest] {
            assert_eq!(Name::try_from(OsStr::from_bytes(legal)).unwrap().as_os_str().as_bytes(), legal);
        }
        let too_long = [b'a'; 256];
        for illegal in [&b""[..], b".", b"..", b"a/b", b"/a", b"a/", b"nul\0", &too_long] {
            assert!(Name::try_from(OsStr::from_bytes(illegal)).is_err(), "{illegal:?} passed");
        }
    }
}
