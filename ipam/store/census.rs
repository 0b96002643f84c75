//! All lease files together: which of them nobody needs any more, and how many there are of each kind.

use std::net::IpAddr;

use cni::error::Result;

use crate::boot::Age;
use crate::lease::Lease;
use crate::store::Store;
use crate::store::index::Index;
use crate::store::record::{Record, State, owner_of};

/// Those who may hold a lease.
#[derive(Clone, Debug)]
pub struct Living(Vec<u64>);

impl Living {
    /// These interfaces of these containers. A lease without an interface lives as long as any of its container.
    pub fn of<'a>(attachments: impl Iterator<Item = (&'a str, &'a str)>) -> Living {
        let owners = attachments
            .flat_map(|(container, ifname)| [Some(ifname), None].map(|ifname| owner_of(container, ifname)));
        let mut owners: Vec<u64> = owners.collect();
        owners.sort_unstable();
        Living(owners)
    }

    /// Whether nobody needs a lease file any more: rubbish, or one whose holder is not of us.
    fn outlives(&self, owner: u64, state: State) -> bool {
        match state {
            State::Held(_) => self.0.binary_search(&owner).is_err(),
            State::Foreign => false,
            State::Torn => true,
        }
    }
}

/// Lease files, counted by what to think of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Leases of this boot.
    pub present: u64,
    /// Leases that do not tell their boot.
    pub unknown: u64,
    /// Leases of another machine.
    pub elsewhere: u64,
    /// What is no lease and in the way of one.
    pub foreign: u64,
    /// Leases of an earlier boot, and rubbish: their addresses are free.
    pub dead: u64,
}

impl Store {
    /// The files of holders that are not among the living, and rubbish.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn dead(&mut self, living: &Living) -> Result<Vec<(IpAddr, Lease)>> {
        let mut dead = Vec::new();
        let those = |index: &mut Index| index.those(|owner, state| living.outlives(owner, state));
        for (ip, ..) in self.ask(those)? {
            // The file has the last word.
            let lease = self.read_one(ip)?;
            dead.extend(lease.map(|lease| (ip, lease)).filter(|(ip, lease)| match Record::of(*ip, lease) {
                Record::Lease { owner, state, .. } => living.outlives(owner, state),
                Record::Stretch { .. } => false,
            }));
        }
        Ok(dead)
    }

    /// What the lease files of this network are.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (state, count) in State::ALL.into_iter().zip(self.index.counts()) {
            let kind = match state {
                State::Held(Age::Present) => &mut tally.present,
                State::Held(Age::Unknown) => &mut tally.unknown,
                State::Held(Age::Elsewhere) => &mut tally.elsewhere,
                State::Held(Age::Earlier) | State::Torn => &mut tally.dead,
                State::Foreign => &mut tally.foreign,
            };
            *kind += count;
        }
        tally
    }
}
