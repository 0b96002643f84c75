//! What keys and values are made of. The kernel knows only lengths; the numbers of the types are `nft`'s
//! (`enum datatypes` in its `include/datatype.h`), and make it print an address as an address.

use std::net::IpAddr;

use crate::mac::Mac;

/// A type of which keys and values are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `ether_addr`
    Ether,
    /// `inet_proto`: 6 for TCP
    Protocol,
    /// `inet_service`: a port
    Port,
    /// `mark`, in host byte order
    Mark,
    /// `ifname`, padded with zeroes
    IfName,
    /// A type that nobody here writes, by its number.
    Other(u32),
}

/// How many bits of the number of a concatenation belong to each of its types.
const BITS: u32 = 6;

impl Type {
    fn number(self) -> u32 {
        match self {
            Type::Ipv4 => 7,
            Type::Ipv6 => 8,
            Type::Ether => 9,
            Type::Protocol => 12,
            Type::Port => 13,
            Type::Mark => 19,
            Type::IfName => 41,
            Type::Other(number) => number,
        }
    }

    fn length(self) -> u32 {
        match self {
            Type::Ipv4 | Type::Mark => 4,
            Type::Ipv6 | Type::IfName => 16,
            Type::Ether => 6,
            Type::Protocol => 1,
            Type::Port => 2,
            Type::Other(_) => 0,
        }
    }

    fn text(self, bytes: &[u8]) -> Option<String> {
        Some(match self {
            Type::Ipv4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
            Type::Ipv6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
            Type::Ether => Mac(bytes.try_into().ok()?).to_string(),
            Type::Protocol => match bytes.first()? {
                6 => "tcp".into(),
                17 => "udp".into(),
                132 => "sctp".into(),
                other => other.to_string(),
            },
            Type::Port => u16::from_be_bytes(bytes.try_into().ok()?).to_string(),
            Type::Mark => format!("{:#010x}", u32::from_ne_bytes(bytes.try_into().ok()?)),
            Type::IfName => String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next()?).into_owned(),
            Type::Other(_) => return None,
        })
    }

    fn of(number: u32) -> Type {
        let known =
            [Type::Ipv4, Type::Ipv6, Type::Ether, Type::Protocol, Type::Port, Type::Mark, Type::IfName];
        known.into_iter().find(|known| known.number() == number).unwrap_or(Type::Other(number))
    }
}

/// The number of a type or of a concatenation of types.
pub(super) fn number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, part| (number << BITS) | part.number())
}

/// The types of which a number speaks.
pub(super) fn types(mut number: u32) -> Vec<Type> {
    let mut types = Vec::new();
    while number != 0 {
        types.push(Type::of(number & ((1 << BITS) - 1)));
        number >>= BITS;
    }
    types.reverse();
    types
}

/// Its length in bytes: each part of a concatenation fills registers of four bytes.
pub(super) fn length(types: &[Type]) -> u32 {
    match types {
        [one] => one.length(),
        several => several.iter().map(|part| part.length().next_multiple_of(4)).sum(),
    }
}

/// The byte order in which `nft` reads it: none for a concatenation.
pub(super) fn byte_order(types: &[Type]) -> u32 {
    match types {
        [Type::Mark | Type::IfName] => 1,
        [_] => 2,
        _ => 0,
    }
}

/// A part of a key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// For [`Type::Ipv4`] or [`Type::Ipv6`].
    Address(IpAddr),
    /// For [`Type::Ether`].
    Ether(Mac),
    /// For [`Type::Protocol`].
    Protocol(u8),
    /// For [`Type::Port`].
    Port(u16),
    /// For [`Type::Mark`].
    Mark(u32),
    /// For [`Type::IfName`]: at most 15 bytes.
    IfName(&'a str),
}

impl Part<'_> {
    /// The bytes as they stand in a register.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Part::Address(IpAddr::V4(address)) => address.octets().into(),
            Part::Address(IpAddr::V6(address)) => address.octets().into(),
            Part::Ether(mac) => mac.0.into(),
            Part::Protocol(number) => vec![number],
            Part::Port(number) => number.to_be_bytes().into(),
            Part::Mark(mark) => mark.to_ne_bytes().into(),
            Part::IfName(name) => {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(16, 0);
                bytes
            }
        }
    }
}

/// A key or value of one part, or the concatenation of several.
pub fn concatenated(parts: &[Part<'_>]) -> Vec<u8> {
    let [one] = parts else {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(part.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        return bytes;
    };
    one.bytes()
}

/// A key or value of these parts, as `nft` writes it; in hexadecimal digits where it is of another kind.
pub fn text(types: &[Type], bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for part in types {
        let (Ok(length), Ok(room)) =
            (usize::try_from(part.length()), usize::try_from(part.length().next_multiple_of(4)))
        else {
            break;
        };
        parts.extend(rest.get(..length).and_then(|bytes| part.text(bytes)));
        rest = rest.get(room..).unwrap_or_default();
    }
    match parts.len() == types.len() {
        true => parts.join(" . "),
        false => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT_MAP: [Type; 3] = [Type::Ipv4, Type::Protocol, Type::Port];

    #[test]
    fn numbers_are_those_that_nft_writes() {
        assert_eq!(number(&[Type::Ipv4, Type::Port]), 0x1cd);
        assert_eq!(number(&[Type::Ipv4, Type::Mark]), 0x1d3);
        assert_eq!(types(number(&PORT_MAP)), PORT_MAP);
        assert_eq!(types(0x29), [Type::IfName]);
        assert_eq!(types(26), [Type::Other(26)], "ct_state");
    }

    #[test]
    fn each_part_of_a_concatenation_fills_registers() {
        assert_eq!(
            (length(&PORT_MAP), length(&[Type::Port]), length(&[Type::IfName, Type::Ether])),
            (12, 2, 24)
        );
        let key = [Part::Address("1.2.3.4".parse().unwrap()), Part::Protocol(6), Part::Port(80)];
        assert_eq!(concatenated(&key), [1, 2, 3, 4, 6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(text(&PORT_MAP, &concatenated(&key)), "1.2.3.4 . tcp . 80");
        assert_eq!(concatenated(&[Part::Port(80)]), [0, 80]);
        let link = concatenated(&[Part::IfName("eth0"), Part::Ether(Mac([2, 0, 0, 0, 0, 1]))]);
        assert_eq!(text(&[Type::IfName, Type::Ether], &link), "eth0 . 02:00:00:00:00:01");
        assert_eq!(
            (text(&[Type::Other(26)], &[1, 0xab]), text(&[Type::Ipv4], &[1])),
            ("01ab".into(), "01".into())
        );
        assert_eq!(concatenated(&[Part::IfName("eth0")]), b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
    }
}
