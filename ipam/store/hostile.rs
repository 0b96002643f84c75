//! Files beside the leases that are not as we wrote them ([`crate::hostile`]).

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::boot::Age;
use crate::lease::{Holder, Lease, Says};
use crate::store::index::Index;
use crate::store::record::{Record, SIZE};
use crate::store::shelf::Head;
use crate::store::table::{PAGE, Table};

/// No index of a test is larger.
const MOST: u32 = 64;

/// The head of an index and its records: it may say anything about leases, which are read before anybody believes it; but it
/// can be asked and changed, and grows no more than by what is put in.
pub(crate) fn index(bytes: &[u8]) {
    let Some((head, records)) = bytes.split_first_chunk() else { return };
    for record in records.as_chunks::<SIZE>().0 {
        if let Some(read) = Record::read(record) {
            assert_eq!(Record::read(&read.bytes()), Some(read), "a record does not come back");
        }
    }
    let Some(head) = Head::read(head).filter(|head| head.buckets <= MOST) else { return };
    let Ok(file) = memfd_create("index", MemfdFlags::CLOEXEC).map(File::from) else { return };
    let length = (u64::from(head.buckets) + 1) * PAGE as u64;
    if file.write_all_at(records, PAGE as u64).and_then(|()| file.set_len(length)).is_err() {
        return;
    }
    let Ok(Some(table)) = Table::of(file, head.buckets, head.records) else { return };
    let before = head.buckets;
    let mut index = Index::of(table, head.counts);
    let holder = Holder { container: "c1".into(), ifname: Some("eth0".into()) };
    let held = Lease { says: Says::Held(holder.clone()), age: Age::Present };
    let [first, last] = [[10, 9, 0, 1], [10, 9, 0, 254]].map(IpAddr::from);
    for ip in [first, last] {
        let free = index.first_free(first, last);
        assert!(free.is_ok_and(|free| free.is_none_or(|free| (first..=last).contains(&free))));
        let _ = index.note(ip, &held);
        assert!(index.of_holder(&holder).is_ok_and(|theirs| theirs.contains(&ip)));
        let _ = index.forget(ip, &held);
        let _ = index.disown(ip, &holder);
    }
    assert!(index.all().is_ok());
    assert!(index.table().buckets() <= before * 16, "{} buckets out of {before}", index.table().buckets());
}
