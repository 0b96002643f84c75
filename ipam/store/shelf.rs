//! Where an index lies between calls, and how the next call knows that it still fits its folder.
//!
//! After a change of ours the folder's time of change is set to this very nanosecond, and the index keeps that value: its
//! stamp. Whoever else makes or removes a file in the folder, the Go plugin or a person, in the same tick of the clock or
//! years later, sets another time, so an index whose stamp is not the folder's time is thrown away. (The time that the kernel
//! sets would not do: on tmpfs, and everywhere before Linux 6.13, two changes of one tick leave it the same.)
//!
//! Before the folder is changed the stamp is taken off, and put on again when everything is done. So whatever dies in
//! between leaves an index without a stamp.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cni::files;

use crate::boot::Id;
use crate::store::file::remove_if_there;
use crate::store::index::{Counts, Index};
use crate::store::table::Table;

/// The layout of the file, and how we know ours: the first eight bytes.
const LAYOUT: u64 = u64::from_be_bytes(*b"leases 1");

/// The index of one folder: a file that is named by the folder's own number.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    boot: Id,
}

/// A folder's time of last change: seconds and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp(i64, i64);

/// An index as it lay there.
#[derive(Debug)]
pub(super) struct Found {
    /// What it knows.
    pub(super) index: Index,
    /// The folder's time to which it belongs.
    pub(super) stamp: Stamp,
    /// When the folder was last read as a whole, in seconds since this machine was started.
    pub(super) read: u64,
}

impl Shelf {
    /// The place for the index of this folder.
    pub(super) fn of(indexes: &Path, folder: &File, boot: Id) -> io::Result<Shelf> {
        Ok(Shelf { path: indexes.join(format!("{}.index", key(folder)?)), boot })
    }

    /// What lies there, if it was written in this boot and is stamped with this time.
    pub(super) fn find(&self, now: Stamp) -> io::Result<Option<Found>> {
        let file = match files::open_own(&self.path, File::options().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut head = [0; Head::SIZE];
        file.read_exact_at(&mut head, 0)?;
        let Some(head) = Head::read(&head) else { return Ok(None) };
        if head.boot != self.boot.bytes() || head.stamp != Some(now) {
            return Ok(None);
        }
        let table = Table::of(file, head.buckets, head.records)?;
        Ok(table.map(|table| Found { index: Index::of(table, head.counts), stamp: now, read: head.read }))
    }

    /// Takes the stamp off, before the folder changes.
    pub(super) fn unstamp(&self, index: &mut Index) -> io::Result<()> {
        match index.table().file() {
            Some(file) => file.write_all_at(&[0; Head::STAMP.1], Head::STAMP.0),
            None => Ok(()), // the file that lies there belongs to an earlier time of the folder
        }
    }

    /// Puts the index there. One without a record is not worth a file.
    pub(super) fn keep(&self, index: &mut Index, stamp: Stamp, read: u64) -> io::Result<()> {
        let counts = index.counts();
        let table = index.table();
        if table.records() == 0 {
            return remove_if_there(&self.path);
        }
        let (buckets, records) = (table.buckets(), table.records());
        let head = Head { boot: self.boot.bytes(), stamp: Some(stamp), buckets, records, read, counts };
        // The head goes last: until then the file has none, or one without a stamp.
        table.write(|| self.make())?.write_all_at(&head.bytes(), 0)
    }

    /// Removes what lies there.
    pub(super) fn clear(&self) {
        // What cannot be removed has no stamp.
        let _ = fs::remove_file(&self.path);
    }

    fn make(&self) -> io::Result<File> {
        match files::anew(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::folder(self.path.parent().unwrap_or(Path::new("/")))?;
                files::anew(&self.path)
            }
            file => file,
        }
    }
}

/// The folder's own number, by which we name what we keep about it.
pub(super) fn key(folder: &File) -> io::Result<String> {
    let folder = folder.metadata()?;
    Ok(format!("{:x}-{:x}", folder.dev(), folder.ino()))
}

impl Stamp {
    /// The folder's time as it is.
    pub(super) fn of(folder: &File) -> io::Result<Stamp> {
        let found = folder.metadata()?;
        Ok(Stamp(found.mtime(), found.mtime_nsec()))
    }

    /// Sets the folder's time to this nanosecond. `None` if its file system cannot keep that.
    pub(super) fn set(folder: &File) -> io::Result<Option<Stamp>> {
        let now = SystemTime::now();
        folder.set_times(FileTimes::new().set_modified(now))?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let meant = Stamp(since.as_secs().cast_signed(), since.subsec_nanos().into());
        Ok(Some(meant).filter(|meant| Stamp::of(folder).is_ok_and(|kept| kept == *meant)))
    }
}

/// The first bytes of an index, all numbers with their highest byte first.
pub(super) struct Head {
    boot: [u8; 16],
    stamp: Option<Stamp>,
    pub(super) buckets: u32,
    pub(super) records: u64,
    read: u64,
    pub(super) counts: Counts,
}

impl Head {
    const SIZE: usize = 128;

    /// Offset and length of the stamp.
    const STAMP: (u64, usize) = (24, 16);

    fn bytes(&self) -> [u8; Head::SIZE] {
        let Stamp(seconds, nanoseconds) = self.stamp.unwrap_or(Stamp(0, 0));
        let counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        let parts: [&[u8]; 8] = [
            &LAYOUT.to_be_bytes(),
            &self.boot,
            &seconds.to_be_bytes(),
            &nanoseconds.to_be_bytes(),
            &self.records.to_be_bytes(),
            &self.read.to_be_bytes(),
            &self.buckets.to_be_bytes(),
            &counts,
        ];
        let mut page = [0; Head::SIZE];
        page.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        page
    }

    pub(super) fn read(bytes: &[u8; Head::SIZE]) -> Option<Head> {
        let (layout, rest) = bytes.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanoseconds, rest) = rest.split_first_chunk()?;
        let (records, rest) = rest.split_first_chunk()?;
        let (read, rest) = rest.split_first_chunk()?;
        let (buckets, rest) = rest.split_first_chunk()?;
        let mut counts = Counts::default();
        let (words, _) = rest.as_chunks();
        counts.iter_mut().zip(words).for_each(|(count, word)| *count = u64::from_be_bytes(*word));
        let stamp = Stamp(i64::from_be_bytes(*seconds), i64::from_be_bytes(*nanoseconds));
        (u64::from_be_bytes(*layout) == LAYOUT).then_some(Head {
            boot: *boot,
            stamp: Some(stamp).filter(|stamp| *stamp != Stamp(0, 0)),
            buckets: u32::from_be_bytes(*buckets),
            records: u64::from_be_bytes(*records),
            read: u64::from_be_bytes(*read),
            counts,
        })
    }
}
