//! Records in buckets by their place: what is asked for by its place costs the same whatever else there is.
//!
//! In a file a bucket is one page of 4096 bytes, behind a first page that is not ours. Only the buckets that are asked for
//! are read, and only those that changed are written. When one is full, the number of buckets doubles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::store::record::{Record, SIZE};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Records that fit into a bucket.
const CAPACITY: usize = PAGE / SIZE;

/// The records. Those of a file are read when they are needed.
#[derive(Debug)]
pub(super) struct Table {
    file: Option<File>,
    buckets: u32,
    records: u64,
    read: BTreeMap<u32, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    records: Vec<Record>,
    changed: bool,
}

impl Table {
    /// One without records, that lies in no file.
    pub(super) fn empty() -> Table {
        let bucket = Bucket { records: Vec::new(), changed: true };
        Table { file: None, buckets: 1, records: 0, read: BTreeMap::from([(0, bucket)]) }
    }

    /// The one in a file that was written with so many buckets and records; `None` if it cannot be.
    pub(super) fn of(file: File, buckets: u32, records: u64) -> io::Result<Option<Table>> {
        let whole = file.metadata()?.len() == (u64::from(buckets) + 1) * PAGE as u64;
        // More than there is room for would have the table doubled without end.
        let fits = records <= u64::from(buckets) * CAPACITY as u64;
        let table = Table { file: Some(file), buckets, records, read: BTreeMap::new() };
        Ok((whole && fits && buckets.is_power_of_two()).then_some(table))
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> u32 {
        self.buckets
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The records of a bucket: all with this place, and others.
    pub(super) fn near(&mut self, place: u64) -> io::Result<&[Record]> {
        Ok(&self.at(place)?.records)
    }

    /// Puts a record in, in the place of an earlier one about the same thing, which comes back.
    pub(super) fn put(&mut self, record: Record) -> io::Result<Option<Record>> {
        let bucket = self.at(record.place())?;
        bucket.changed = true;
        if let Some(there) = bucket.records.iter_mut().find(|there| there.is_about(&record)) {
            return Ok(Some(std::mem::replace(there, record)));
        }
        bucket.records.push(record);
        self.records += 1;
        // Where the others are nearly empty it is one owner with very many addresses, and doubling would not help.
        while self.at(record.place())?.records.len() > CAPACITY
            && self.records > u64::from(self.buckets) * (CAPACITY as u64 / 8)
        {
            self.double()?;
        }
        Ok(None)
    }

    /// Takes away what there is about the same thing, whatever it says.
    pub(super) fn take(&mut self, record: &Record) -> io::Result<Option<Record>> {
        let bucket = self.at(record.place())?;
        let Some(at) = bucket.records.iter().position(|there| there.is_about(record)) else {
            return Ok(None);
        };
        bucket.changed = true;
        let taken = bucket.records.swap_remove(at);
        // One that was not counted may lie in a file that somebody else has written to.
        self.records = self.records.saturating_sub(1);
        Ok(Some(taken))
    }

    /// Shows every record to `look`, and keeps none of them in memory.
    pub(super) fn each(&self, mut look: impl FnMut(&Record)) -> io::Result<()> {
        for number in 0..self.buckets {
            match self.read.get(&number) {
                Some(bucket) => bucket.records.iter().for_each(&mut look),
                None => self.load(number)?.records.iter().for_each(&mut look),
            }
        }
        Ok(())
    }

    /// Writes what has changed into its file; for one that lies in none, into this one.
    ///
    /// # Errors
    /// What the file says, or a bucket with more records than a page has room for.
    pub(super) fn write(&mut self, new: impl FnOnce() -> io::Result<File>) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => new()?,
        };
        for (number, bucket) in self.read.iter_mut().filter(|(_, bucket)| bucket.changed) {
            let mut page = [0; PAGE];
            let places = page.chunks_exact_mut(SIZE);
            if bucket.records.len() > places.len() {
                return Err(ErrorKind::StorageFull.into());
            }
            places.zip(&bucket.records).for_each(|(place, record)| place.copy_from_slice(&record.bytes()));
            file.write_all_at(&page, offset(*number))?;
            bucket.changed = false;
        }
        Ok(self.file.insert(file))
    }

    /// The file, if it lies in one.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// The bucket of this place. The number of buckets is a power of two.
    fn at(&mut self, place: u64) -> io::Result<&mut Bucket> {
        self.bucket(place as u32 & (self.buckets - 1))
    }

    fn bucket(&mut self, number: u32) -> io::Result<&mut Bucket> {
        if !self.read.contains_key(&number) {
            let bucket = self.load(number)?;
            self.read.insert(number, bucket);
        }
        self.read.get_mut(&number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn load(&self, number: u32) -> io::Result<Bucket> {
        let Some(file) = &self.file else { return Ok(Bucket::default()) };
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, offset(number))?;
        let (places, _) = page.as_chunks();
        Ok(Bucket { records: places.iter().filter_map(Record::read).collect(), changed: false })
    }

    /// Makes two buckets of each: the next bit of the place says into which of them a record goes.
    fn double(&mut self) -> io::Result<()> {
        for number in 0..self.buckets {
            self.bucket(number)?;
        }
        let new_bit = u64::from(self.buckets);
        let old = std::mem::take(&mut self.read);
        for (number, bucket) in old {
            let (stays, moves): (Vec<_>, Vec<_>) =
                bucket.records.into_iter().partition(|record| record.place() & new_bit == 0);
            self.read.insert(number, Bucket { records: stays, changed: true });
            self.read.insert(number + self.buckets, Bucket { records: moves, changed: true });
        }
        self.buckets *= 2;
        Ok(())
    }
}

fn offset(number: u32) -> u64 {
    (u64::from(number) + 1) * PAGE as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::record::State;

    /// A file without a name.
    fn file() -> File {
        let path = std::env::temp_dir();
        let mut options = File::options();
        options.read(true).write(true);
        let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags).open(path).unwrap()
    }

    fn lease(owner: u64, ip: u128, state: State) -> Record {
        Record::Lease { owner, state, ip }
    }

    fn all(table: &Table) -> Vec<Record> {
        let mut all = Vec::new();
        table.each(|record| all.push(*record)).unwrap();
        all
    }

    /// The same file, read again by somebody who knows nothing yet.
    fn again(table: &mut Table) -> Table {
        let (buckets, records) = (table.buckets(), table.records());
        let file = table.write(|| Ok(file())).unwrap().try_clone().unwrap();
        Table::of(file, buckets, records).unwrap().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Few owners, so that some have many addresses and some share a bucket.
        #[test]
        fn a_table_holds_what_a_map_would(
            deeds in prop::collection::vec((0..6_u64, 0..400_u128, any::<bool>(), 0..40_u8), 1..1500),
        ) {
            let mut table = Table::empty();
            let mut map = BTreeMap::new();
            for (owner, ip, is_put, rest) in deeds {
                let record = lease(owner, ip, if ip % 2 == 0 { State::Foreign } else { State::Torn });
                if is_put || rest > 20 {
                    table.put(record).unwrap();
                    map.insert((owner, ip), record);
                } else {
                    table.take(&record).unwrap();
                    map.remove(&(owner, ip));
                }
                if rest == 0 && map.len() < 100 {
                    table = again(&mut table);
                }
                let near: Vec<_> = table.near(owner).unwrap().iter().filter(|r| r.place() == owner).copied().collect();
                prop_assert_eq!(near.len(), map.range((owner, 0)..(owner + 1, 0)).count());
            }
            let mut all = all(&table);
            all.sort_by_key(|record| match record { Record::Lease { owner, ip, .. } => (*owner, *ip), _ => (0, 0) });
            prop_assert_eq!(all, map.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_more_touches_two_pages_of_many() {
        let mut table = Table::empty();
        let place = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..60_000 {
            table.put(lease(place(n), n.into(), State::Torn)).unwrap();
        }
        assert!(table.buckets() < 4096, "{} buckets", table.buckets());
        let mut table = again(&mut table);
        table.put(lease(place(60_000), 60_000, State::Torn)).unwrap();
        assert_eq!(table.near(place(5)).unwrap().iter().filter(|r| r.place() == place(5)).count(), 1);
        assert!(table.read.len() <= 2);
        let mut table = again(&mut table);
        table.put(lease(place(60_001), 60_001, State::Torn)).unwrap();
        assert_eq!((all(&table).len(), table.records()), (60_002, 60_002));
        assert!(table.read.len() <= 2);
    }

    #[test]
    fn one_owner_of_too_many_addresses_does_not_fit_into_a_file() {
        let mut table = Table::empty();
        (0..1000).for_each(|ip| assert_eq!(table.put(lease(7, ip, State::Torn)).unwrap(), None));
        assert!(table.buckets() <= 64 && table.near(7).unwrap().len() == 1000);
        assert_eq!(table.write(|| Ok(file())).unwrap_err().kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_file_that_lies_about_its_records_neither_stops_a_call_nor_grows() {
        let mut table = Table::empty();
        (0..128).for_each(|ip| assert_eq!(table.put(lease(7, ip, State::Torn)).unwrap(), None));
        let buckets = table.buckets();
        let file = table.write(|| Ok(file())).unwrap().try_clone().unwrap();
        let lying = |records| Table::of(file.try_clone().unwrap(), buckets, records).unwrap();
        assert!(lying(u64::MAX).is_none());
        let mut table = lying(0).unwrap();
        assert!(table.take(&lease(7, 5, State::Torn)).unwrap().is_some());
        assert_eq!(table.records(), 0);
    }

    #[test]
    fn a_file_of_another_length_is_no_table() {
        let mut table = Table::empty();
        let file = table.write(|| Ok(file())).unwrap().try_clone().unwrap();
        for (length, buckets) in [(PAGE, 1), (2 * PAGE - 1, 1), (4 * PAGE, 3)] {
            file.set_len(length as u64).unwrap();
            assert!(Table::of(file.try_clone().unwrap(), buckets, 0).unwrap().is_none());
        }
    }
}
