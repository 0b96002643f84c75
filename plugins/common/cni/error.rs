//! What went wrong, in three parts: the code for the runtime, the deed with its nouns, the cause untouched.

use std::error::Error as StdError;
use std::fmt;

use nix::errno::Errno;

/// The `code` of an error object (CNI spec 1.1.0, section "Error"); 0 to 99 belong to the specification.
///
/// A number and not an enum, because a delegate's error travels up unchanged, whatever its code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Code(pub u32);

impl Code {
    /// The configuration's `cniVersion` is none of ours.
    pub const INCOMPATIBLE_VERSION: Code = Code(1);
    /// A field of the configuration is not supported; the message holds key and value.
    pub const UNSUPPORTED_FIELD: Code = Code(2);
    /// The container is unknown, and the runtime need not send DEL. No ADD of ours says so.
    pub const UNKNOWN_CONTAINER: Code = Code(3);
    /// A `CNI_*` variable is missing or makes no sense; the message names it.
    pub const ENVIRONMENT: Code = Code(4);
    /// Reading stdin or writing stdout failed.
    pub const IO: Code = Code(5);
    /// Bytes that are no JSON, or JSON of the wrong type.
    pub const DECODE: Code = Code(6);
    /// A configuration that can be read and makes no sense.
    pub const CONFIG: Code = Code(7);
    /// `CNI_NETNS` is the plugin's own namespace. Not in the specification; the Go plugins' number for it.
    pub const OWN_NETNS: Code = Code(8);
    /// A passing trouble: the same call may succeed later.
    pub const TRY_AGAIN: Code = Code(11);
    /// STATUS: ADD would fail.
    pub const NOT_AVAILABLE: Code = Code(50);
    /// STATUS: ADD would fail, and attached containers may have lost connectivity.
    pub const LIMITED: Code = Code(51);
    /// Everything that the specification does not name; the Go plugins' number for it.
    pub const INTERNAL: Code = Code(999);
}

/// An error on its way to the runtime.
#[derive(Debug)]
pub struct Error {
    code: Code,
    doing: String,
    details: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// `std::result::Result` with this crate's [`Error`] as default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that starts here: no cause below it.
    pub fn new(code: Code, msg: impl Into<String>) -> Error {
        Error { code, doing: msg.into(), details: None, source: None }
    }

    /// Code 999.
    pub fn internal(msg: impl Into<String>) -> Error {
        Error::new(Code::INTERNAL, msg)
    }

    /// Code 7.
    pub fn config(msg: impl Into<String>) -> Error {
        Error::new(Code::CONFIG, msg)
    }

    /// Puts `details` on the error object; a second text goes behind the first.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Error {
        let more = details.into();
        self.details = match self.details.take() {
            _ if more.is_empty() => None,
            None => Some(more),
            Some(first) => Some(format!("{first}; {more}")),
        };
        self
    }

    /// The code for the runtime.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the runtime: the deed, then each cause below it, once.
    pub fn msg(&self) -> String {
        let mut text = self.doing.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&words(error));
            cause = error.source();
        }
        text
    }

    /// What is worth knowing beyond the message.
    pub fn more(&self) -> Option<&str> {
        self.details.as_deref()
    }
}

/// The words of a cause. An error number is spelled as Go's `syscall` package does it: runtimes know "no such file or
/// directory" by its lower case.
fn words(cause: &(dyn StdError + 'static)) -> String {
    let number = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let errno = number.map(Errno::from_raw).or_else(|| cause.downcast_ref::<Errno>().copied());
    match errno {
        Some(Errno::EIO) => "input/output error".into(),
        Some(errno) => errno.desc().to_lowercase(),
        None => cause.to_string(),
    }
}

/// The deed alone: a cause is printed by whoever walks the chain.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Says what we were doing when something failed. There is no blanket conversion into [`Error`], so that nobody
/// can leave it out.
pub trait OrFail<T> {
    /// Fails with `code`, unless the cause already is an [`Error`]: then its own code stays, for the runtime acts
    /// on the code of what really happened.
    fn or_fail(self, code: Code, doing: impl FnOnce() -> String) -> Result<T>;

    /// The same with [`Code::INTERNAL`].
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: Code, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| {
            let mut cause: Box<dyn StdError + Send + Sync> = Box::new(cause);
            let (code, details) = match cause.downcast_mut::<Error>() {
                Some(ours) => (ours.code, ours.details.take()),
                None => (code, None),
            };
            Error { code, doing: doing(), details, source: Some(cause) }
        })
    }

    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.or_fail(Code::INTERNAL, doing)
    }
}

/// What went wrong while everything was tried all the same: DEL and GC never stop at the first trouble.
#[derive(Debug, Default)]
pub struct Faults(Vec<Error>);

impl Faults {
    /// Remembers a failure and goes on; what succeeded is handed through.
    pub fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.0.push(error)).ok()
    }

    /// Nothing has failed so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first error, with all others in its details.
    pub fn verdict(self) -> Result<()> {
        let mut faults = self.0.into_iter();
        let Some(first) = faults.next() else { return Ok(()) };
        Err(faults.fold(first, |error, next| error.details(format!("also: {}", next.msg()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_the_deed_and_every_cause_once() {
        let io = Err::<(), _>(std::io::Error::from_raw_os_error(2));
        let error = io.doing(|| "open the lease".into()).doing(|| "free 10.0.0.2".into()).unwrap_err();
        assert_eq!(error.msg(), "free 10.0.0.2: open the lease: no such file or directory");
        assert_eq!(error.code(), Code::INTERNAL);
    }

    #[test]
    fn a_wrapped_error_keeps_the_code_and_the_details_of_what_really_happened() {
        let inner = Err::<(), _>(Error::config("bad range").details("10.0.0.0/33"));
        let outer = inner.or_fail(Code::INTERNAL, || "allocate".into()).unwrap_err();
        assert_eq!((outer.code(), outer.more()), (Code::CONFIG, Some("10.0.0.0/33")));
    }

    #[test]
    fn the_verdict_of_several_faults_names_them_all() {
        let mut faults = Faults::default();
        faults.note(Err::<(), _>(Error::new(Code::TRY_AGAIN, "first")));
        faults.note(Ok(()));
        faults.note(Err::<(), _>(Error::internal("second")));
        let verdict = faults.verdict().unwrap_err();
        assert_eq!((verdict.code(), verdict.msg().as_str()), (Code::TRY_AGAIN, "first"));
        assert_eq!(verdict.more(), Some("also: second"));
    }
}
