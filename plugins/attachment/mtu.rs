//! The largest packet of a pair.

use std::fmt;

use cni::error::{Error, OrFail, Result};
use cni::result::Success;
use linux::address::Family;
use linux::rtnl::Rtnl;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The word for the MTU of the way to the outside.
const AUTO: &str = "auto";

/// The range of a veth pair, in bytes (`dev_validate_mtu` in net/core/dev.c).
const LEAST: u32 = 68;
const MOST: u32 = 65535;

/// RFC 8200, section 5. The kernel has no IPv6 on a link below it (`IPV6_MIN_MTU`).
const LEAST_FOR_IPV6: u32 = 1280;

/// The key `mtu` as it is written: a number, or a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// Bytes.
    Number(i128),
    /// `auto`, if it is right.
    Word(String),
}

impl Default for Written {
    fn default() -> Written {
        Written::Number(0)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Written, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer or {AUTO:?}")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
                Ok(Written::Number(number.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written::Number(number.into()))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Written, E> {
                Ok(Written::Word(word.into()))
            }
        }
        from.deserialize_any(Either)
    }
}

/// The MTU that a configuration means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mtu {
    /// The kernel's default.
    Default,
    /// So many bytes.
    Bytes(u32),
    /// That of the host's default route.
    Outside,
}

impl Mtu {
    /// What is written means; zero is the kernel's default.
    ///
    /// # Errors
    /// Out of the range of a veth pair, 68 to 65535, or another word than `auto`.
    pub fn meant(written: &Written) -> Result<Mtu> {
        let number = match written {
            Written::Number(number) => *number,
            Written::Word(word) if word == AUTO => return Ok(Mtu::Outside),
            Written::Word(word) => {
                let range = format!("must be {AUTO:?}, 0 or between {LEAST} and {MOST}");
                return Err(Error::config(format!("invalid mtu {word:?} ({range})")));
            }
        };
        Ok(meant(number)?.map_or(Mtu::Default, Mtu::Bytes))
    }

    /// The same in bytes, as the host is now; `None` is the kernel's default.
    ///
    /// # Errors
    /// There is no default route; what the kernel says.
    pub fn bytes(self, host: &Rtnl) -> Result<Option<u32>> {
        match self {
            Mtu::Default => Ok(None),
            Mtu::Bytes(bytes) => Ok(Some(bytes)),
            Mtu::Outside => outside(host).map(Some),
        }
    }
}

/// The bytes that a number means; zero is the kernel's default.
///
/// # Errors
/// Out of the range of a veth pair.
pub fn meant(number: impl Into<i128>) -> Result<Option<u32>> {
    let number = number.into();
    match u32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(fits @ LEAST..=MOST) => Ok(Some(fits)),
        _ => {
            let range = format!("must be 0 or between {LEAST} and {MOST}");
            Err(Error::config(format!("invalid mtu {number} ({range})")))
        }
    }
}

/// The MTU of the way to the outside: that of the default route, or of its link; the least, if there are several ways.
fn outside(host: &Rtnl) -> Result<u32> {
    let doing = || format!("look up the default route for mtu {AUTO:?}");
    let mut least: Option<u32> = None;
    for family in [Family::V4, Family::V6] {
        for route in host.default_routes(family).doing(doing)? {
            let link = host.link_by_index(route.oif).doing(doing)?.map(|link| link.mtu);
            let way = [route.mtu.filter(|mtu| *mtu != 0), link, least].into_iter().flatten().min();
            least = way;
        }
    }
    match least {
        Some(mtu) => Ok(mtu.clamp(LEAST, MOST)),
        None => Err(Error::internal(format!("mtu {AUTO:?}: the host has no default route"))
            .details("the MTU would be that of the way to the outside; a number needs none")),
    }
}

/// Whether links of this MTU can have the addresses and routes of a lease.
///
/// # Errors
/// One of them is IPv6, which needs more.
pub fn carries(mtu: Option<u32>, lease: &Success) -> Result<()> {
    let Some(mtu) = mtu.filter(|mtu| *mtu < LEAST_FOR_IPV6) else { return Ok(()) };
    let addresses = lease.ips.iter().map(|ip| ("address", ip.address));
    let mut all = addresses.chain(lease.routes.iter().map(|route| ("route", route.dst)));
    match all.find(|(_, network)| network.is_ipv6()) {
        Some((what, network)) => {
            let text = format!("invalid mtu {mtu}: the {what} {network} needs {LEAST_FOR_IPV6} or more");
            Err(Error::config(text))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_a_number_is_meant() {
        let meant = |json: &str| Mtu::meant(&serde_json::from_str(json).unwrap());
        assert_eq!(meant("0").unwrap(), Mtu::Default);
        assert_eq!(meant("1400").unwrap(), Mtu::Bytes(1400));
        assert_eq!(meant(r#""auto""#).unwrap(), Mtu::Outside);
        for (bad, words) in [
            ("67", "invalid mtu 67 (must be 0"),
            ("18446744073709551615", "invalid mtu 18446744073709551615 "),
            (r#""""#, r#"invalid mtu "" (must be "auto", 0"#),
            (r#""Auto""#, r#"invalid mtu "Auto" "#),
            (r#""1500""#, r#"invalid mtu "1500" "#),
        ] {
            let error = meant(bad).unwrap_err();
            assert!(error.msg().starts_with(words), "{bad} gives {}", error.msg());
        }
        assert!(serde_json::from_str::<Written>("true").is_err());
        assert!(serde_json::from_str::<Written>("1500.5").is_err());
    }
}
