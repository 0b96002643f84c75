//! The `cniVersion` of a list: any number, because a runtime may pass on what is newer than itself.

use std::fmt;

use crate::error::{Error, Result};
use crate::spec::Spec;

/// A version of the specification as a list names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    text: String,
    number: [u32; 3],
}

impl Version {
    /// Reads a version; an empty text is 0.1.0.
    ///
    /// # Errors
    /// Code 7 for anything but one to three decimal numbers with dots between them.
    pub fn parse(text: &str) -> Result<Version> {
        let text = if text.is_empty() { "0.1.0" } else { text };
        let mut number = [0; 3];
        let mut parts = text.split('.');
        for (slot, part) in number.iter_mut().zip(&mut parts) {
            let digits = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
            let value = part.parse().ok().filter(|_| digits);
            *slot = value
                .ok_or_else(|| Error::config(format!("invalid version {text:?}: {part:?} is no number")))?;
        }
        if parts.next().is_some() {
            return Err(Error::config(format!("invalid version {text:?}: too many parts")));
        }
        Ok(Version { text: text.into(), number })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version that this library knows under exactly this text.
    pub fn spec(&self) -> Option<Spec> {
        Spec::ALL.into_iter().find(|spec| spec.as_str() == self.text)
    }

    /// CHECK exists, and DEL gets the result of ADD: 0.4.0 and later.
    pub fn has_check(&self) -> bool {
        self.number >= [0, 4, 0]
    }

    /// GC and STATUS exist: 1.1.0 and later.
    pub fn has_gc(&self) -> bool {
        self.number >= [1, 1, 0]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("0.10.0").has_check() && version("0.4").has_check() && !version("0.3.1").has_check());
        assert!(version("1.1.0").has_gc() && version("1.10").has_gc() && !version("1.0.0").has_gc());
        assert_eq!((version("").as_str(), version("0.10.0").spec()), ("0.1.0", None));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in ["abc", "1.x", "1..0", "1.0.0.0", "v1.0.0", "+1", "1.0.0-rc1", "99999999999"] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }
}
