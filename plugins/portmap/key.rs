//! A port of the host as a key of a map, and what it leads to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use cni::name::NetworkName;
use linux::nft::Family;
use linux::nft::datatype::{Part, concatenated};
use linux::nft::object::{Element, Target};
use serde::{Deserialize, Serialize};

use crate::portmap::conf::Protocol;
use crate::portmap::layout;

/// Where ports are looked for. Within one space a port belongs to one container; the ports of networks that set a condition
/// are a space of their own, so that two networks may share a port, each for its own clients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Space {
    /// IPv6, or IPv4.
    pub v6: bool,
    /// The condition of a network, hashed; `None` is the space of everybody.
    pub condition: Option<String>,
}

impl Space {
    /// The space of a network that may set a condition, which is known by its text.
    pub fn of(network: &NetworkName, family: Family, condition: Option<&str>) -> Space {
        let hash = |condition: &str| layout::hash(&format!("{network}\n{family}\n{condition}"));
        Space { v6: family == Family::Ipv6, condition: condition.map(hash) }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        if self.v6 { Family::Ipv6 } else { Family::Ipv4 }
    }
}

/// A port of the host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Where it is looked for.
    pub space: Space,
    /// At this address of the host, or at all that have nothing of their own.
    pub host: Option<IpAddr>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

impl Key {
    /// The map that it is in.
    pub fn map(&self) -> String {
        layout::map_of(&self.space, self.host.is_some())
    }

    /// As it stands in the map.
    pub fn bytes(&self) -> Vec<u8> {
        let rest = [Part::Protocol(self.protocol as u8), Part::Port(self.port)];
        match self.host {
            Some(host) => concatenated(&[&[Part::Address(host)], rest.as_slice()].concat()),
            None => concatenated(&rest),
        }
    }

    /// Reads it; `None` if nobody here could have written it.
    pub fn read(space: &Space, is_exact: bool, bytes: &[u8]) -> Option<Key> {
        let (host, rest) = match is_exact {
            true => {
                let (host, rest) = read_address(space.v6, bytes)?;
                (Some(host), rest)
            }
            false => (None, bytes),
        };
        let &[number, _, _, _, high, low, ..] = rest else { return None };
        let protocol = Protocol::ALL.into_iter().find(|protocol| *protocol as u8 == number)?;
        Some(Key { space: space.clone(), host, protocol, port: u16::from_be_bytes([high, low]) })
    }

    /// The same port at any address, where this one is at one.
    pub fn anywhere(&self) -> Option<Key> {
        self.host.map(|_| Key { host: None, ..self.clone() })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.unwrap_or(match self.space.family() {
            Family::Ipv6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        });
        write!(f, "{}/{}", SocketAddr::new(host, self.port), self.protocol)
    }
}

/// As it stands in a map.
pub fn target(to: SocketAddr) -> Target {
    Target::Value(concatenated(&[Part::Address(to.ip()), Part::Port(to.port())]))
}

/// Where an element leads to.
pub fn read_target(element: &Element, v6: bool) -> Option<SocketAddr> {
    let Target::Value(bytes) = &element.target else { return None };
    let (address, rest) = read_address(v6, bytes)?;
    let &[high, low, ..] = rest else { return None };
    Some(SocketAddr::new(address, u16::from_be_bytes([high, low])))
}

fn read_address(v6: bool, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    match v6 {
        true => bytes.split_first_chunk::<16>().map(|(address, rest)| ((*address).into(), rest)),
        false => bytes.split_first_chunk::<4>().map(|(address, rest)| ((*address).into(), rest)),
    }
}

/// Ports that follow one another, as a record has them: ten thousand are one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    space: Space,
    host: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Range {
    /// The same ports, in as few ranges as there are without reordering.
    pub fn all(keys: &[Key]) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for key in keys {
            match ranges.last_mut() {
                Some(range) if range.is_before(key) => range.last = key.port,
                _ => ranges.push(Range {
                    space: key.space.clone(),
                    host: key.host,
                    protocol: key.protocol,
                    first: key.port,
                    last: key.port,
                }),
            }
        }
        ranges
    }

    fn is_before(&self, key: &Key) -> bool {
        (&self.space, self.host, self.protocol, self.last.checked_add(1))
            == (&key.space, key.host, key.protocol, Some(key.port))
    }

    /// Its ports.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let Range { space, host, protocol, first, last } = self.clone();
        (first..=last).map(move |port| Key { space: space.clone(), host, protocol, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: Option<&str>, v6: bool, port: u16) -> Key {
        let space = Space { v6, condition: None };
        Key { space, host: host.map(|host| host.parse().unwrap()), protocol: Protocol::Udp, port }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for key in [
            key(None, false, 80),
            key(Some("192.0.2.1"), false, 65535),
            key(None, true, 1),
            key(Some("fd00::1"), true, 443),
        ] {
            assert_eq!(Key::read(&key.space, key.host.is_some(), &key.bytes()), Some(key));
        }
        assert_eq!(key(Some("192.0.2.1"), false, 80).bytes(), [192, 0, 2, 1, 17, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(Key::read(&Space { v6: false, condition: None }, false, &[1, 0, 0, 0, 0, 80, 0, 0]), None);
    }

    #[test]
    fn a_key_is_called_as_people_write_it() {
        assert_eq!(key(None, false, 80).to_string(), "0.0.0.0:80/udp");
        assert_eq!(key(Some("fd00::1"), true, 80).to_string(), "[fd00::1]:80/udp");
    }

    #[test]
    fn a_target_is_read_as_it_was_written() {
        for to in ["10.9.0.2:80", "[fd00::2]:8080"] {
            let to: SocketAddr = to.parse().unwrap();
            let element = Element { key: vec![], target: target(to), comment: None };
            assert_eq!(read_target(&element, to.is_ipv6()), Some(to));
        }
    }

    #[test]
    fn ports_that_follow_one_another_are_one_range() {
        let keys: Vec<Key> = (10..20).chain([30, 31]).map(|port| key(None, false, port)).collect();
        let ranges = Range::all(&keys);
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges.iter().flat_map(Range::keys).collect::<Vec<_>>(), keys);
        let end = [key(None, false, 65535), key(None, false, 1)];
        assert_eq!(Range::all(&end).len(), 2);
    }
}
