//! Addresses that were freed a short while ago and may not be given yet.
//!
//! They are in a file beside the index, and end with the boot as it does: records of 32 bytes behind the boot's number, each
//! with the time until which it rests (nanoseconds since this machine was started, which no clock steps), the number of the
//! name that had the address, and the address. It is shortened when most of it is over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::error::{OrFail, Result};
use cni::files;

use crate::store::record::{address, number};
use crate::store::shelf::key;
use crate::store::{Store, here};

/// Bytes of a record, and of what stands before the first.
const SIZE: u64 = 32;
const HEAD: u64 = 16;

/// The number of a name that was not told.
const NOBODY: u64 = 0;

/// What rests at this moment, each address with its last rest.
#[derive(Clone, Debug, Default)]
pub struct Resting(BTreeMap<u128, Rest>);

#[derive(Clone, Copy, Debug)]
struct Rest {
    ip: u128,
    name: u64,
    until: u64,
}

impl Resting {
    /// Whether the address may not be given to a container with this name. The name that had it may have it back.
    pub fn keeps(&self, ip: IpAddr, name: Option<u64>) -> bool {
        self.0.get(&number(ip)).is_some_and(|rest| rest.name == NOBODY || Some(rest.name) != name)
    }

    /// How many addresses rest of those that are meant.
    pub fn count(&self, is_meant: impl Fn(IpAddr) -> bool) -> usize {
        self.0.keys().filter(|ip| is_meant(address(**ip))).count()
    }
}

impl Rest {
    fn bytes(self) -> [u8; SIZE as usize] {
        let mut bytes = [0; SIZE as usize];
        let parts =
            self.until.to_be_bytes().into_iter().chain(self.name.to_be_bytes()).chain(self.ip.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    fn read(bytes: &[u8; SIZE as usize]) -> Option<Rest> {
        let (until, rest) = bytes.split_first_chunk()?;
        let (name, ip) = rest.split_first_chunk()?;
        let ip = u128::from_be_bytes(ip.try_into().ok()?);
        Some(Rest { ip, name: u64::from_be_bytes(*name), until: u64::from_be_bytes(*until) })
    }
}

impl Store {
    /// What rests at this moment.
    ///
    /// # Errors
    /// A list of resting addresses that is there and cannot be read.
    pub fn resting(&self) -> Result<Resting> {
        let Some((path, boot)) = self.list() else { return Ok(Resting::default()) };
        let (_, all) = read(&path, &boot).doing(|| format!("read {}", path.display()))?;
        // In the order in which they were laid to rest, so the last one counts.
        Ok(Resting(still(all).into_iter().map(|rest| (rest.ip, rest)).collect()))
    }

    /// These addresses, which are about to be freed by a container of this name, rest from now on.
    ///
    /// # Errors
    /// A list that cannot be written.
    pub fn lay_to_rest(&self, freed: &[IpAddr], name: Option<u64>, cooldown: Duration) -> Result<()> {
        let Some((path, boot)) = self.list().filter(|_| !freed.is_empty()) else { return Ok(()) };
        let until = now().saturating_add(u64::try_from(cooldown.as_nanos()).unwrap_or(u64::MAX));
        let new: Vec<Rest> =
            freed.iter().map(|ip| Rest { ip: number(*ip), name: name.unwrap_or(NOBODY), until }).collect();
        write(&path, &boot, &new).doing(|| format!("write {}", path.display()))
    }

    /// Where the list is, and the boot's number that it begins with.
    fn list(&self) -> Option<(PathBuf, [u8; HEAD as usize])> {
        let name = format!("{}.resting", key(&self.handle).ok()?);
        Some((self.machine.indexes.join(name), self.clock.boot()?.bytes()))
    }
}

fn now() -> u64 {
    here::uptime().as_nanos().try_into().unwrap_or(u64::MAX)
}

fn still(all: Vec<Rest>) -> Vec<Rest> {
    let now = now();
    all.into_iter().filter(|rest| rest.until > now).collect()
}

/// Every record of the list, and the file, if there is one of this boot.
fn read(path: &Path, boot: &[u8]) -> io::Result<(Option<File>, Vec<Rest>)> {
    // What is no file of ours, or is none, has nothing to say, and gives way to the next list.
    let Ok(file) = files::open_own(path, File::options().read(true).write(true)) else {
        return Ok((None, Vec::new()));
    };
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    let Some(records) = bytes.strip_prefix(boot) else { return Ok((None, Vec::new())) };
    // What a crash has torn at the end is no record, and the next one is written over it.
    let (records, _) = records.as_chunks();
    Ok((Some(file), records.iter().filter_map(Rest::read).collect()))
}

/// Adds to the list; where most of it is over, makes it anew.
fn write(path: &Path, boot: &[u8], new: &[Rest]) -> io::Result<()> {
    let (file, all) = read(path, boot)?;
    let length = all.len();
    let mut kept = still(all);
    if let Some(file) = file.filter(|_| kept.len() * 2 + 64 > length) {
        let bytes: Vec<u8> = new.iter().flat_map(|rest| rest.bytes()).collect();
        return file.write_all_at(&bytes, HEAD + length as u64 * SIZE);
    }
    kept.extend_from_slice(new);
    let bytes: Vec<u8> = boot.iter().copied().chain(kept.iter().flat_map(|rest| rest.bytes())).collect();
    let beside = path.with_extension("resting-new");
    let file = files::anew(&beside).or_else(|_| {
        files::folder(path.parent().unwrap_or(Path::new("/")))?;
        files::anew(&beside)
    })?;
    file.write_all_at(&bytes, 0)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Machine;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// A folder with its store; gone with the test.
    fn with_store(test: impl FnOnce(&Store, &Path)) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("ipam-rest-{}-{next}", std::process::id()));
        let folder = top.join("net");
        fs::create_dir_all(&folder).unwrap();
        let machine = Machine { indexes: top.join("indexes"), ..Machine::this() };
        let store = Store::locked(&machine, &folder, crate::store::lock(&folder)).unwrap();
        let (path, _) = store.list().unwrap();
        test(&store, &path);
        drop(store);
        fs::remove_dir_all(&top).unwrap();
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_freed_address_rests_for_all_but_the_name_that_had_it() {
        with_store(|store, _| {
            assert_eq!(store.resting().unwrap().count(|_| true), 0);
            store.lay_to_rest(&[ip(2), ip(3)], Some(7), HOUR).unwrap();
            store.lay_to_rest(&[ip(4)], None, HOUR).unwrap();
            store.lay_to_rest(&[ip(5)], Some(7), Duration::ZERO).unwrap();
            let resting = store.resting().unwrap();
            for (address, name, keeps) in [
                (2, None, true),
                (2, Some(8), true),
                (3, Some(7), false),
                (4, None, true),
                (4, Some(7), true),
                (5, None, false),
                (6, None, false),
            ] {
                assert_eq!(resting.keeps(ip(address), name), keeps, "{address} for {name:?}");
            }
            assert_eq!((resting.count(|_| true), resting.count(|found| found == ip(2))), (3, 1));
            // Who had it last counts.
            store.lay_to_rest(&[ip(2)], Some(8), HOUR).unwrap();
            let resting = store.resting().unwrap();
            assert!(resting.keeps(ip(2), Some(7)) && !resting.keeps(ip(2), Some(8)));
        });
    }

    #[test]
    fn the_list_is_made_shorter_when_most_of_it_is_over() {
        with_store(|store, path| {
            store.lay_to_rest(&[ip(1)], None, HOUR).unwrap();
            for round in 0..50 {
                store.lay_to_rest(&[2, 3, 4, 5].map(ip), None, Duration::from_nanos(round)).unwrap();
            }
            let length = fs::metadata(path).unwrap().len();
            assert!(length <= HEAD + 80 * SIZE, "{length}");
            assert!(store.resting().unwrap().keeps(ip(1), None));
        });
    }

    #[test]
    fn a_list_that_is_torn_or_of_another_boot_says_no_more_than_it_can() {
        with_store(|store, path| {
            store.lay_to_rest(&[ip(1), ip(2)], None, HOUR).unwrap();
            let whole = fs::read(path).unwrap();
            fs::write(path, &whole[..whole.len() - 5]).unwrap();
            assert_eq!(store.resting().unwrap().count(|_| true), 1);
            store.lay_to_rest(&[ip(3)], None, HOUR).unwrap();
            let resting = store.resting().unwrap();
            assert!(resting.keeps(ip(1), None) && !resting.keeps(ip(2), None) && resting.keeps(ip(3), None));
            let mut other = whole;
            other[0] ^= 1;
            fs::write(path, other).unwrap();
            assert_eq!(store.resting().unwrap().count(|_| true), 0);
            store.lay_to_rest(&[ip(4)], None, HOUR).unwrap();
            assert_eq!(store.resting().unwrap().count(|_| true), 1);
        });
    }
}
