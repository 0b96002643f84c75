//! Ethernet addresses.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// The six octets of an Ethernet address.
///
/// Displayed in lower case with colons. Read in the forms that Go's `net.ParseMAC` accepts for six octets:
/// `02:00:5e:10:00:01`, `02-00-5e-10-00-01` and `0200.5e10.0001`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A random address, marked as locally administered and unicast (IEEE 802, section 8.2).
    pub fn random() -> Mac {
        // RandomState draws its keys from the kernel's random numbers; the hash of nothing under such keys
        // is as random, and needs neither a file nor another crate.
        let [a, b, c, d, e, f, ..] = RandomState::new().hash_one(()).to_ne_bytes();
        Mac::local([a, b, c, d, e, f])
    }

    /// These octets with the two flag bits set right: locally administered, unicast.
    pub fn local([first, rest @ ..]: [u8; 6]) -> Mac {
        let [b, c, d, e, f] = rest;
        Mac([first & 0b1111_1100 | 0b0000_0010, b, c, d, e, f])
    }

    /// A link can have it: it is neither a group address nor all zero (`is_valid_ether_addr` in the kernel's
    /// `include/linux/etherdevice.h`).
    pub fn is_usable(self) -> bool {
        let Mac([first, ..]) = self;
        first & 1 == 0 && self != Mac([0; 6])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mac([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no six-octet Ethernet address; displayed as Go says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMac(String);

impl fmt::Display for BadMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}: invalid MAC address", self.0)
    }
}

impl std::error::Error for BadMac {}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let groups = |separator: char, digits: usize| -> Option<[u8; 6]> {
            let groups: Vec<&str> = text.split(separator).collect();
            let whole = groups.len() * digits == 12
                && groups.iter().all(|g| g.len() == digits && g.bytes().all(|b| b.is_ascii_hexdigit()));
            let number = whole.then(|| u64::from_str_radix(&groups.concat(), 16).ok()).flatten()?;
            let [_, _, octets @ ..] = number.to_be_bytes();
            Some(octets)
        };
        groups(':', 2)
            .or_else(|| groups('-', 2))
            .or_else(|| groups('.', 4))
            .map(Mac)
            .ok_or_else(|| BadMac(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_forms_and_writes_one() {
        for text in ["02:00:5e:10:00:aF", "02-00-5e-10-00-AF", "0200.5E10.00af"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "02:00:5e:10:00:af");
        }
    }

    #[test]
    fn refuses_everything_else_and_says_what() {
        for text in [
            "",
            "2:00:5e:10:00:01",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02:03",
            "02:00-5e:10:00:01",
            "02005e100001",
            "02:00:5e:10:00:0g",
            "02:00:5e:10:00:+1",
            "0200.5e10",
            "02:00:5e:10:00:01 ",
        ] {
            let refusal = text.parse::<Mac>().unwrap_err();
            assert_eq!(refusal.to_string(), format!("address {text}: invalid MAC address"));
        }
    }

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let addresses: std::collections::HashSet<Mac> = (0..1000).map(|_| Mac::random()).collect();
        assert_eq!(addresses.len(), 1000);
        assert!(addresses.iter().all(|mac| mac.is_usable() && mac.0[0] & 3 == 2));
    }

    #[test]
    fn an_address_for_a_link_is_no_group_and_not_zero() {
        assert_eq!(Mac::local([0xff; 6]), Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]));
        assert!(!Mac([0; 6]).is_usable());
        assert!(!Mac([0xff; 6]).is_usable());
        assert!(!Mac([0x01, 0, 0x5e, 0, 0, 1]).is_usable());
    }
}
