//! The versions of the specification, in order.

use std::fmt;
use std::str::FromStr;

use crate::error::{Code, Error};

/// A version of the CNI specification.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Spec {
    /// 0.1.0: one address per family; the meaning of an absent `cniVersion`.
    V0_1_0,
    /// 0.2.0: VERSION.
    V0_2_0,
    /// 0.3.0: interfaces, several addresses, lists of plugins.
    V0_3_0,
    /// 0.3.1: the same with its text mended.
    V0_3_1,
    /// 0.4.0: CHECK, and prevResult for DEL.
    V0_4_0,
    /// 1.0.0: addresses without `version`.
    V1_0_0,
    /// 1.1.0: GC, STATUS, more about interfaces and routes.
    V1_1_0,
}

impl Spec {
    /// Every version, oldest first.
    pub const ALL: [Spec; 7] =
        [Spec::V0_1_0, Spec::V0_2_0, Spec::V0_3_0, Spec::V0_3_1, Spec::V0_4_0, Spec::V1_0_0, Spec::V1_1_0];

    /// The version in which results are kept inside.
    pub const NEWEST: Spec = Spec::V1_1_0;

    /// The text of `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Spec::V0_1_0 => "0.1.0",
            Spec::V0_2_0 => "0.2.0",
            Spec::V0_3_0 => "0.3.0",
            Spec::V0_3_1 => "0.3.1",
            Spec::V0_4_0 => "0.4.0",
            Spec::V1_0_0 => "1.0.0",
            Spec::V1_1_0 => "1.1.0",
        }
    }

    /// CHECK exists.
    pub fn has_check(self) -> bool {
        self >= Spec::V0_4_0
    }

    /// GC and STATUS exist.
    pub fn has_gc(self) -> bool {
        self >= Spec::V1_1_0
    }

    /// Results speak of interfaces and of any number of addresses.
    pub fn has_interfaces(self) -> bool {
        self >= Spec::V0_3_0
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Exact, as in the Go plugins: "0.3" is not 0.3.0. An empty text is 0.1.0.
impl FromStr for Spec {
    type Err = Error;

    fn from_str(version: &str) -> Result<Spec, Error> {
        if version.is_empty() {
            return Ok(Spec::V0_1_0);
        }
        Spec::ALL.into_iter().find(|spec| spec.as_str() == version).ok_or_else(|| {
            let known: Vec<String> = Spec::ALL.iter().map(|spec| format!("\"{spec}\"")).collect();
            Error::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .details(format!("config is {version:?}, plugin supports [{}]", known.join(" ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_exactly_and_compared_in_order() {
        assert_eq!("".parse::<Spec>().unwrap(), Spec::V0_1_0);
        for spec in Spec::ALL {
            assert_eq!(spec.as_str().parse::<Spec>().unwrap(), spec);
        }
        for bad in ["0.3", "v1.0.0", "1.0", "1.1.0-rc1", "99.0.0", "abc"] {
            let error = bad.parse::<Spec>().unwrap_err();
            assert_eq!(error.code(), Code::INCOMPATIBLE_VERSION, "{bad:?}");
            assert!(error.more().is_some_and(|details| details.contains("\"1.1.0\"")));
        }
        assert!(!Spec::V0_3_1.has_check() && Spec::V0_4_0.has_check() && !Spec::V1_0_0.has_gc());
    }
}
