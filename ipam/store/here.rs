//! What this machine says about itself: its name, its boot, and since when that has lasted.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, StatFs, StatxFlags, statfs, statx};
use rustix::time::{ClockId, clock_gettime};

use crate::boot::{self, Age, Here, Id, Mark};

const MACHINE: &str = "/etc/machine-id";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The file system that every boot begins anew.
const RUN: &str = "/run";

/// Where indexes are kept: they end with the boot, as what they are worth does.
const INDEXES: &str = "/run/jackfield/leases";

/// A machine, as far as leases depend on it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Who it is, and in which boot.
    pub here: Here,
    /// Where it keeps what ends with that boot.
    pub indexes: PathBuf,
}

impl Machine {
    /// The one that we run on.
    pub fn this() -> Machine {
        Machine { here: Here { machine: id(MACHINE), boot: id(BOOT) }, indexes: INDEXES.into() }
    }
}

/// Tells the age of leases in one folder.
#[derive(Debug)]
pub(super) struct Clock {
    here: Here,
    kind: Option<u64>,
    start: OnceCell<Option<SystemTime>>,
}

impl Clock {
    /// That of this machine. Looks at the file system of the folder.
    pub(super) fn of(machine: &Machine, folder: &Path) -> Clock {
        Clock { here: machine.here, kind: kind(folder), start: OnceCell::new() }
    }

    /// The boot in which we are.
    pub(super) fn boot(&self) -> Option<Id> {
        self.here.boot
    }

    /// Whether the folder's time of change tells of every change: where this machine alone writes it.
    pub(super) fn tells_changes(&self) -> bool {
        self.kind.is_some_and(|kind| kind == TMPFS || LASTING.contains(&kind))
    }

    /// What a lease that is written now has to carry.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.here.mark()
    }

    /// The age of a lease, by its mark or else by the time at which it was written. Nothing on a tmpfs outlives a boot.
    pub(super) fn age(&self, mark: Option<Mark>, written: SystemTime) -> Age {
        if mark.is_none() && self.kind == Some(TMPFS) {
            return Age::Present;
        }
        self.here.age(mark, written, || *self.start.get_or_init(|| self.start()))
    }

    /// When this boot began, if that is certain: where this machine alone writes the folder, and the folder outlives a boot.
    fn start(&self) -> Option<SystemTime> {
        if !LASTING.contains(&self.kind?) || kind(Path::new(RUN))? != TMPFS {
            return None;
        }
        boot::start(birth(RUN)?, SystemTime::now(), uptime())
    }
}

/// For how long this machine has been up, asleep or not.
pub(super) fn uptime() -> Duration {
    // A time after its own beginning is never negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The number in a file. One read is enough for a line.
fn id(path: &str) -> Option<Id> {
    let mut line = [0; 64];
    let length = File::open(path).and_then(|mut file| file.read(&mut line)).ok()?;
    Id::read(std::str::from_utf8(line.get(..length)?).ok()?)
}

/// When a file was made, where its file system keeps that (tmpfs since Linux 6.0).
fn birth(path: &str) -> Option<SystemTime> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BTIME).ok()?;
    let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let since = Duration::new(found.stx_btime.tv_sec.try_into().ok()?, found.stx_btime.tv_nsec);
    UNIX_EPOCH.checked_add(since).filter(|_| known)
}

/// The kind of a file system, by its number in statfs(2).
fn kind(path: &Path) -> Option<u64> {
    // The field is signed on some machines and holds 32 bits on all.
    statfs(path).ok().map(|StatFs { f_type, .. }| u64::from(f_type as u32))
}

const TMPFS: u64 = 0x0102_1994;

/// File systems of one machine that outlive a boot. What is not here may be shared by machines: then another one's clock, or a
/// copy in some cache, would decide about a lease.
const LASTING: &[u64] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
];
