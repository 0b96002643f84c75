//! Who has what and what is free, without looking at every file. It never decides alone: a lease that it names is read
//! before anybody acts upon it.

use std::io;
use std::net::IpAddr;

use crate::lease::{Holder, Lease};
use crate::store::record::{Record, STRETCH, State, address, number, owner};
use crate::store::table::Table;

/// All lease files of a folder, as they were when it last looked.
#[derive(Debug)]
pub(super) struct Index {
    table: Table,
    counts: Counts,
}

/// How many lease files there are in each [`State`], in the order of their numbers.
pub(super) type Counts = [u64; State::ALL.len()];

impl Index {
    /// That of an empty folder.
    pub(super) fn empty() -> Index {
        Index::of(Table::empty(), Counts::default())
    }

    /// The one whose records are these, and who has so many of each.
    pub(super) fn of(table: Table, counts: Counts) -> Index {
        Index { table, counts }
    }

    /// How many lease files there are of each kind.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Its records, for whoever writes them down.
    pub(super) fn table(&mut self) -> &mut Table {
        &mut self.table
    }

    /// There is such a lease file.
    pub(super) fn note(&mut self, ip: IpAddr, lease: &Lease) -> io::Result<()> {
        let record = Record::of(ip, lease);
        let before = self.table.put(record)?;
        self.count(before, u64::saturating_sub);
        self.count(Some(record), u64::saturating_add);
        self.set(ip, lease.holds())
    }

    /// Such a lease file is there no more, or says something else by now.
    pub(super) fn forget(&mut self, ip: IpAddr, lease: &Lease) -> io::Result<()> {
        self.take(ip, &Record::of(ip, lease))
    }

    /// This holder has no lease of this address, whatever was noted.
    pub(super) fn disown(&mut self, ip: IpAddr, holder: &Holder) -> io::Result<()> {
        // What kind of lease it was is no part of the question.
        self.take(ip, &Record::Lease { owner: owner(holder), state: State::Torn, ip: number(ip) })
    }

    fn take(&mut self, ip: IpAddr, record: &Record) -> io::Result<()> {
        let before = self.table.take(record)?;
        self.count(before, u64::saturating_sub);
        self.set(ip, false)
    }

    fn count(&mut self, record: Option<Record>, one: impl Fn(u64, u64) -> u64) {
        let Some(Record::Lease { state, .. }) = record else { return };
        if let Some(count) = self.counts.get_mut(usize::from(state.byte())) {
            *count = one(*count, 1);
        }
    }

    /// The addresses whose files may be this holder's; all that are, and perhaps others.
    pub(super) fn of_holder(&mut self, holder: &Holder) -> io::Result<Vec<IpAddr>> {
        let asked = owner(holder);
        let theirs = |record: &Record| match record {
            Record::Lease { owner, ip, .. } if *owner == asked => Some(address(*ip)),
            _ => None,
        };
        let mut found: Vec<IpAddr> = self.table.near(asked)?.iter().filter_map(theirs).collect();
        found.sort();
        Ok(found)
    }

    /// Every lease file: its address, the number of its owner, what to think of it. In the order of addresses.
    pub(super) fn all(&self) -> io::Result<Vec<(IpAddr, u64, State)>> {
        self.those(|_, _| true)
    }

    /// Those lease files of which `wanted` wants the owner and the state.
    pub(super) fn those(&self, wanted: impl Fn(u64, State) -> bool) -> io::Result<Vec<(IpAddr, u64, State)>> {
        let mut those = Vec::new();
        self.table.each(|record| match record {
            Record::Lease { owner, state, ip } if wanted(*owner, *state) => {
                those.push((address(*ip), *owner, *state));
            }
            _ => {}
        })?;
        those.sort_unstable();
        Ok(those)
    }

    /// The first address from `first` to `last` that nobody has.
    pub(super) fn first_free(&mut self, first: IpAddr, last: IpAddr) -> io::Result<Option<IpAddr>> {
        let (mut at, last) = (number(first), number(last));
        while at <= last {
            let base = at & !(STRETCH - 1);
            let skipped = u128::from((self.taken(base)? >> (at - base)).trailing_ones());
            if skipped < STRETCH - (at - base) {
                let free = at + skipped;
                return Ok((free <= last).then(|| address(free)));
            }
            let Some(next) = base.checked_add(STRETCH) else { break };
            at = next;
        }
        Ok(None)
    }

    fn set(&mut self, ip: IpAddr, is_taken: bool) -> io::Result<()> {
        let base = number(ip) & !(STRETCH - 1);
        let bit = 1_u128 << (number(ip) - base);
        let before = self.taken(base)?;
        let taken = if is_taken { before | bit } else { before & !bit };
        let record = Record::Stretch { base, taken };
        match taken {
            _ if taken == before => Ok(()),
            0 => self.table.take(&record).map(drop),
            _ => self.table.put(record).map(drop),
        }
    }

    /// Which addresses of a stretch are taken.
    fn taken(&mut self, base: u128) -> io::Result<u128> {
        let asked = Record::Stretch { base, taken: 0 };
        let near = self.table.near(asked.place())?;
        Ok(near
            .iter()
            .find_map(|record| match record {
                Record::Stretch { taken, .. } if record.is_about(&asked) => Some(*taken),
                _ => None,
            })
            .unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::boot::Age;
    use crate::lease::Says;

    fn held(container: u8, age: Age) -> Lease {
        let holder = Holder { container: format!("c{container}"), ifname: Some("eth0".into()) };
        Lease { says: Says::Held(holder), age }
    }

    /// Where stretches begin and end, in both families and at the very end of one.
    fn ip() -> impl Strategy<Value = IpAddr> {
        let bases = ["10.0.0.0", "255.255.255.0", "fd00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"];
        let base = prop::sample::select(bases.map(|base| base.parse::<IpAddr>().unwrap()).to_vec());
        (base, 0..=255_u8).prop_map(|(base, byte)| address(number(base) + u128::from(byte)))
    }

    fn lease() -> impl Strategy<Value = Lease> {
        let ages = prop::sample::select(vec![Age::Present, Age::Earlier, Age::Unknown]);
        prop_oneof![
            8 => (0..3_u8, ages.clone()).prop_map(|(c, age)| held(c, age)),
            1 => Just(Lease { says: Says::Foreign, age: Age::Unknown }),
            1 => Just(Lease { says: Says::Torn, age: Age::Unknown }),
        ]
    }

    proptest! {
        #[test]
        fn an_index_says_what_a_table_would(
            deeds in prop::collection::vec((ip(), lease(), any::<bool>()), 0..400),
            (a, b) in (ip(), ip()),
        ) {
            let (mut index, mut table) = (Index::empty(), BTreeMap::new());
            for (ip, lease, comes) in deeds {
                if let Some(was) = table.remove(&ip) {
                    index.forget(ip, &was).unwrap();
                }
                if comes {
                    index.note(ip, &lease).unwrap();
                    table.insert(ip, lease);
                }
            }
            let all: Vec<IpAddr> = index.all().unwrap().into_iter().map(|(ip, ..)| ip).collect();
            let mut counts = Counts::default();
            index.all().unwrap().iter().for_each(|(_, _, state)| counts[usize::from(state.byte())] += 1);
            prop_assert_eq!(index.counts(), counts);
            prop_assert_eq!(&all, &table.keys().copied().collect::<Vec<_>>());
            for c in 0..3 {
                let Says::Held(holder) = held(c, Age::Present).says else { unreachable!() };
                let is_theirs = |lease: &Lease| lease.says == Says::Held(holder.clone());
                let theirs: Vec<_> = table.iter().filter(|(_, lease)| is_theirs(lease)).map(|(ip, _)| *ip).collect();
                prop_assert_eq!(index.of_holder(&holder).unwrap(), theirs);
            }
            let mut walk = (number(a)..=number(b)).take(1000).map(address);
            let free = walk.find(|ip| !table.get(ip).is_some_and(Lease::holds));
            prop_assert_eq!(index.first_free(a, b).unwrap(), free);
        }
    }

    #[test]
    fn a_long_row_of_taken_addresses_is_passed_by_stretches() {
        let mut index = Index::empty();
        let at = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        (0..60_000).for_each(|n| index.note(at(n), &held((n % 250) as u8, Age::Present)).unwrap());
        assert_eq!(index.first_free(at(0), at(65_535)).unwrap(), Some(at(60_000)));
        assert_eq!(index.first_free(at(0), at(59_999)).unwrap(), None);
        index.disown(at(7), &Holder { container: "c7".into(), ifname: Some("eth0".into()) }).unwrap();
        assert_eq!(index.first_free(at(0), at(59_999)).unwrap(), Some(at(7)));
    }
}
