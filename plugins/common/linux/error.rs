//! One error for the whole library: the deed with its nouns, the kernel's number, the kernel's words.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// The result of a deed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A deed that failed.
///
/// Displayed as `<deed>: <words>` or `<deed>: <words> (<the kernel's own sentence>)`, as in
/// `create bridge cni0: operation not supported (Unknown device type)`. The words are those of Go's
/// `syscall` package, lower case: operators and their scripts know them from the Go plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    doing: String,
    errno: Option<Errno>,
    said: Option<String>,
}

impl Error {
    /// The kernel refused, by number.
    pub(crate) fn refused(doing: impl Into<String>, errno: Errno) -> Error {
        Error { doing: doing.into(), errno: Some(errno), said: None }
    }

    /// Something is wrong for which there is no number.
    pub fn plain(doing: impl Into<String>, said: impl Into<String>) -> Error {
        Error { doing: doing.into(), errno: None, said: Some(said.into()) }
    }

    /// Adds the sentence that the kernel's extended acknowledgement carried, if it carried one.
    pub(crate) fn saying(mut self, sentence: Option<String>) -> Error {
        self.said = sentence.or(self.said);
        self
    }

    /// The kernel's error number; none where the failure is not the kernel's.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }

    /// The kernel's own sentence, where it had one to say.
    pub fn sentence(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// The thing to act on is not there: `ENODEV`, `ENOENT`, `ESRCH`, or `EADDRNOTAVAIL` for an address.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno, Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL))
    }

    /// The caller may not do this: `EPERM` or `EACCES`.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno, Some(Errno::EPERM | Errno::EACCES))
    }

    /// The thing may not be touched in this way, whoever asks: `EACCES`.
    pub fn is_denied(&self) -> bool {
        self.errno == Some(Errno::EACCES)
    }

    /// The request makes no sense for what it was about: `EINVAL`, such as a namespace of another kind.
    pub fn is_invalid(&self) -> bool {
        self.errno == Some(Errno::EINVAL)
    }

    /// The kernel has nothing of the kind: `EOPNOTSUPP`, `EPROTONOSUPPORT`, `EAFNOSUPPORT`, or `EINVAL`, which nfnetlink
    /// answers for a part of it that is not built in.
    pub fn is_unsupported(&self) -> bool {
        let numbers = [Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT, Errno::EINVAL];
        self.errno.is_some_and(|errno| numbers.contains(&errno))
    }

    /// The thing to create is there already: `EEXIST`.
    pub fn is_exists(&self) -> bool {
        self.errno == Some(Errno::EEXIST)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        match (self.errno, &self.said) {
            (Some(errno), Some(said)) => write!(f, ": {} ({said})", words(errno)),
            (Some(errno), None) => write!(f, ": {}", words(errno)),
            (None, Some(said)) => write!(f, ": {said}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Turns the failure into an [`Error`] that names the deed; the closure runs only then.
    fn doing<S: Into<String>>(self, deed: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing<S: Into<String>>(self, deed: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::refused(deed(), errno))
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<S: Into<String>>(self, deed: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| match e.raw_os_error() {
            Some(number) => Error::refused(deed(), Errno::from_raw(number)),
            None => Error::plain(deed(), e.to_string()),
        })
    }
}

/// The words for an error number, as Go's `syscall` package spells them.
///
/// `nix` has its own words for a few numbers; those that a network operation can meet are corrected here.
fn words(errno: Errno) -> String {
    let words = match errno {
        Errno::EAGAIN => "resource temporarily unavailable",
        Errno::EDEADLK => "resource deadlock avoided",
        Errno::EIO => "input/output error",
        Errno::ELOOP => "too many levels of symbolic links",
        Errno::ENOTTY => "inappropriate ioctl for device",
        Errno::EOPNOTSUPP => "operation not supported",
        Errno::ERANGE => "numerical result out of range",
        Errno::ESTALE => "stale file handle",
        Errno::EXDEV => "invalid cross-device link",
        other => other.desc(),
    };
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_deed_the_words_of_go_and_the_sentence_of_the_kernel() {
        let e = Error::refused("create bridge cni0", Errno::EOPNOTSUPP);
        assert_eq!(e.to_string(), "create bridge cni0: operation not supported");
        let e = e.saying(Some("Unknown device type".into()));
        assert_eq!(e.to_string(), "create bridge cni0: operation not supported (Unknown device type)");
        assert_eq!(Error::plain("list links", "torn").to_string(), "list links: torn");
    }

    #[test]
    fn words_are_those_that_go_prints() {
        for (errno, go) in [
            (Errno::EPERM, "operation not permitted"),
            (Errno::ENOENT, "no such file or directory"),
            (Errno::ESRCH, "no such process"),
            (Errno::EACCES, "permission denied"),
            (Errno::EBUSY, "device or resource busy"),
            (Errno::EEXIST, "file exists"),
            (Errno::ENODEV, "no such device"),
            (Errno::EINVAL, "invalid argument"),
            (Errno::ENOSPC, "no space left on device"),
            (Errno::EROFS, "read-only file system"),
            (Errno::ERANGE, "numerical result out of range"),
            (Errno::ENOBUFS, "no buffer space available"),
            (Errno::EADDRNOTAVAIL, "cannot assign requested address"),
            (Errno::ENETDOWN, "network is down"),
            (Errno::ENETUNREACH, "network is unreachable"),
            (Errno::EHOSTUNREACH, "no route to host"),
            (Errno::ENOTCONN, "transport endpoint is not connected"),
            (Errno::ETIMEDOUT, "connection timed out"),
            (Errno::EAGAIN, "resource temporarily unavailable"),
            (Errno::EAFNOSUPPORT, "address family not supported by protocol"),
        ] {
            assert_eq!(words(errno), go);
        }
    }

    #[test]
    fn absence_and_presence_are_told_by_number() {
        assert!(Error::refused("x", Errno::ENODEV).is_absent());
        assert!(Error::refused("x", Errno::EEXIST).is_exists());
        assert!(!Error::plain("x", "no such device").is_absent());
    }
}
