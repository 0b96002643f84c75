//! DEL and GC.

use cni::call::{Del, Gc};
use cni::error::Result;
use linux::link::Link;
use linux::rtnl::Rtnl;

use crate::attachment::record::Record;
use crate::attachment::release;
use crate::attachment::waits::Waits;
use crate::bridge::conf::Raw;
use crate::bridge::spoof;

/// Takes the container off the bridge.
///
/// # Errors
/// What could not be removed.
pub fn del(del: &Del, raw: Raw) -> Result<()> {
    // A host end that the Go plugin made for this network is a port of its bridge, if anybody can say which that is.
    let is_theirs = |host: &Rtnl, link: &Link| {
        if del.call.cannot_read("bridge") {
            return false;
        }
        let master = link.master.and_then(|master| host.link_by_index(master).ok().flatten());
        master.is_some_and(|master| master.name == raw.bridge())
    };
    let may_check = raw.spoof_check() || del.call.cannot_read("macspoofchk");
    let first = |host: &Rtnl, record: Option<&Record>, waits: &mut Waits| {
        spoof::end(host, &del.attachment, record, may_check, waits)
    };
    // Without a record it may be the Go plugin's.
    let last = |record: Option<&Record>| match record {
        Some(_) => Ok(()),
        None => spoof::theirs::remove(&del.attachment),
    };
    release::del(del, &raw.leaving(), is_theirs, first, last)
}

/// Removes what belongs to no living attachment.
///
/// # Errors
/// What could not be removed.
pub fn gc(gc: &Gc, raw: Raw) -> Result<()> {
    release::gc(gc, &raw.leaving(), |host, is_stale| spoof::sweep(host, is_stale))
}
