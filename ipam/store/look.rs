//! A folder as somebody finds it who only looks: nothing is made, changed or stamped.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use cni::error::{OrFail, Result};
use cni::files;

use crate::lease::Lease;
use crate::store::here::{Clock, Machine};
use crate::store::record::Record;
use crate::store::shelf::{Shelf, Stamp};
use crate::store::{LOCK, address_of, file};

/// What lies in a folder of leases.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The lease files, in the order of addresses.
    pub leases: Vec<Seen>,
    /// How many sets of ranges have given addresses here.
    pub sets: usize,
    /// Files that are nobody's: neither leases nor the plugin's own.
    pub strangers: Vec<String>,
    /// Addresses about which the index says something else than the files, where there is an index that fits the folder.
    pub misled: Vec<IpAddr>,
}

/// A lease file.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub ip: IpAddr,
    /// What it says.
    pub lease: Lease,
    /// When it was last written.
    pub written: SystemTime,
}

/// Looks at a folder while no call changes it.
///
/// # Errors
/// A folder or a file that cannot be read; a folder that is not there is one.
pub fn look(machine: &Machine, folder: &Path) -> Result<Look> {
    let reading = || format!("read the leases in {}", folder.display());
    let _lock = match files::open(&folder.join(LOCK), File::options().read(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        lock => Some(
            lock.and_then(|lock| lock.lock_shared().map(|()| lock))
                .doing(|| format!("lock {}", folder.display()))?,
        ),
    };
    let clock = Clock::of(machine, folder);
    let (mut look, mut buffer) = (Look::default(), Vec::new());
    for entry in fs::read_dir(folder).doing(reading)? {
        let entry = entry.doing(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match address_of(&name) {
            Some(ip) => {
                let path = entry.path();
                let reading = || format!("read the lease {}", path.display());
                let written = match entry.metadata() {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    found => found.and_then(|found| found.modified()).doing(reading)?,
                };
                let lease = file::read(&mut buffer, &path, &clock).doing(reading)?;
                look.leases.extend(lease.map(|lease| Seen { ip, lease, written }));
            }
            None if name == LOCK => {}
            None if name.starts_with("last_reserved_ip.") => look.sets += 1,
            None => look.strangers.push(name),
        }
    }
    look.leases.sort_by_key(|seen| seen.ip);
    look.strangers.sort();
    look.misled = misled(machine, folder, &look.leases).unwrap_or_default();
    Ok(look)
}

/// Where the index differs from the files; `None` where none fits the folder.
fn misled(machine: &Machine, folder: &Path, leases: &[Seen]) -> Option<Vec<IpAddr>> {
    let folder = File::open(folder).ok()?;
    let shelf = Shelf::of(&machine.indexes, &folder, machine.here.boot?).ok()?;
    let found = shelf.find(Stamp::of(&folder).ok()?).ok()??;
    let noted: BTreeSet<_> = found.index.all().ok()?.into_iter().collect();
    let seen = leases.iter().filter_map(|seen| match Record::of(seen.ip, &seen.lease) {
        Record::Lease { owner, state, .. } => Some((seen.ip, owner, state)),
        Record::Stretch { .. } => None,
    });
    let seen: BTreeSet<_> = seen.collect();
    let mut misled: Vec<IpAddr> = noted.symmetric_difference(&seen).map(|(ip, ..)| *ip).collect();
    misled.dedup();
    Some(misled)
}
