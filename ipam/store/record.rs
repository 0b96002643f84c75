//! What the index holds: one record for each lease file, and one for each stretch of 128 addresses of which some are
//! taken. Pure.

use std::net::{IpAddr, Ipv6Addr};

use crate::boot::Age;
use crate::hash::{self, spread};
use crate::lease::{Holder, Lease, Says};

/// Bytes of a record.
pub(super) const SIZE: usize = 32;

/// Addresses of a stretch.
pub(super) const STRETCH: u128 = 128;

/// Stretches that lie in one bucket of the index: a search for a free address walks through them.
const NEIGHBOURS: u32 = 4;

/// One thing that the index knows. Two records with one key are one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// A lease file: whose it is, what to think of it, and its address.
    Lease { owner: u64, state: State, ip: u128 },
    /// Which of the 128 addresses from `base` on are taken, the first one being the lowest bit.
    Stretch { base: u128, taken: u128 },
}

/// What to think of a lease file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum State {
    /// Somebody's lease, of this age.
    Held(Age),
    /// No lease, and in the way of one.
    Foreign,
    /// Rubbish of a crash.
    Torn,
}

impl Record {
    /// The record of a lease file.
    pub(super) fn of(ip: IpAddr, lease: &Lease) -> Record {
        let ip = number(ip);
        let (owner, state) = match &lease.says {
            Says::Held(holder) => (owner(holder), State::Held(lease.age)),
            // Nobody's, so nobody asks for them; each a different nobody, or one bucket would hold them all.
            Says::Foreign => (spread(ip as u64), State::Foreign),
            Says::Torn => (spread(ip as u64), State::Torn),
        };
        Record::Lease { owner, state, ip }
    }

    /// Whether the two are about the same thing.
    pub(super) fn is_about(&self, other: &Record) -> bool {
        match (self, other) {
            (Record::Lease { owner, ip, .. }, Record::Lease { owner: other, ip: there, .. }) => {
                (owner, ip) == (other, there)
            }
            (Record::Stretch { base, .. }, Record::Stretch { base: other, .. }) => base == other,
            _ => false,
        }
    }

    /// Where in the index it lies: with all others of its owner, or with the stretches beside it.
    pub(super) fn place(&self) -> u64 {
        match self {
            Record::Lease { owner, .. } => *owner,
            Record::Stretch { base, .. } => {
                let neighbourhood = base >> (STRETCH.trailing_zeros() + NEIGHBOURS);
                spread((neighbourhood >> 64) as u64 ^ spread(neighbourhood as u64))
            }
        }
    }

    /// The record in its 32 bytes, of which the sixteenth tells the kind.
    pub(super) fn bytes(&self) -> [u8; SIZE] {
        let (head, tail) = match self {
            Record::Lease { owner, state, ip } => {
                ((u128::from(*owner) << 64) | u128::from(state.byte()) << 8 | LEASE, ip)
            }
            // The base of a stretch ends in seven zero bits.
            Record::Stretch { base, taken } => (base | TAKEN, taken),
        };
        let mut bytes = [0; SIZE];
        for (to, from) in bytes.iter_mut().zip(head.to_be_bytes().into_iter().chain(tail.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    /// Reads a record; an empty place holds none, nor does one that we have not written.
    pub(super) fn read(bytes: &[u8; SIZE]) -> Option<Record> {
        let (head, tail) = bytes.split_first_chunk::<16>()?;
        let (head, tail) = (u128::from_be_bytes(*head), u128::from_be_bytes(tail.try_into().ok()?));
        match head & 0x7f {
            LEASE => {
                let state = State::of((head >> 8) as u8)?;
                Some(Record::Lease { owner: (head >> 64) as u64, state, ip: tail })
            }
            TAKEN => Some(Record::Stretch { base: head & !0x7f, taken: tail }),
            _ => None,
        }
    }
}

const LEASE: u128 = 1;
const TAKEN: u128 = 2;

impl State {
    /// All there are; the place of each is its number.
    pub(super) const ALL: [State; 6] = [
        State::Held(Age::Present),
        State::Held(Age::Earlier),
        State::Held(Age::Elsewhere),
        State::Held(Age::Unknown),
        State::Foreign,
        State::Torn,
    ];

    /// Its number.
    pub(super) fn byte(self) -> u8 {
        State::ALL.iter().zip(0..).find(|(state, _)| **state == self).map_or(u8::MAX, |(_, byte)| byte)
    }

    fn of(byte: u8) -> Option<State> {
        State::ALL.get(usize::from(byte)).copied()
    }
}

/// A number for whoever holds leases. Two of them may have one number: who looks for a holder's leases reads the files.
pub(super) fn owner(holder: &Holder) -> u64 {
    owner_of(&holder.container, holder.ifname.as_deref())
}

/// The same by the names of container and interface.
pub(super) fn owner_of(container: &str, ifname: Option<&str>) -> u64 {
    match ifname {
        Some(ifname) => hash::of(&[container, ifname]),
        None => hash::of(&[container]),
    }
}

/// An address of either family as one number: IPv4 as it is mapped into IPv6, which no pool may use.
pub(super) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The address of that number.
pub(super) fn address(number: u128) -> IpAddr {
    Ipv6Addr::from_bits(number).to_canonical()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<u64>(), prop::sample::select(State::ALL.to_vec()), any::<u128>())
                .prop_map(|(owner, state, ip)| Record::Lease { owner, state, ip }),
            (any::<u128>(), any::<u128>())
                .prop_map(|(base, taken)| Record::Stretch { base: base & !(STRETCH - 1), taken }),
        ]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_is_written(record in record()) {
            prop_assert_eq!(Record::read(&record.bytes()), Some(record));
        }

        #[test]
        fn an_address_is_its_number(bits in any::<u128>(), v4 in any::<u32>()) {
            for ip in [IpAddr::V4(v4.into()), IpAddr::V6(bits.into()).to_canonical()] {
                prop_assert_eq!(address(number(ip)), ip);
            }
        }
    }

    #[test]
    fn an_empty_place_holds_no_record() {
        assert_eq!(Record::read(&[0; SIZE]), None);
        assert_eq!(Record::read(&[0xff; SIZE]), None);
    }

    #[test]
    fn neighbours_lie_together_and_others_elsewhere() {
        let stretch = |base: u128| Record::Stretch { base, taken: 1 };
        assert_eq!(stretch(0).place(), stretch(15 * STRETCH).place());
        assert_ne!(stretch(0).place(), stretch(16 * STRETCH).place());
        assert_ne!(stretch(0).place(), stretch(1 << 80).place());
    }
}
