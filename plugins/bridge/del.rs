//! DEL and GC.

use cni::call::{Del, Gc};
use cni::error::{Faults, Result};
use linux::link::Link;
use linux::rtnl::Rtnl;

use crate::attachment::record::Record;
use crate::attachment::release::{self, Leaving};
use crate::bridge::conf::{Conf, Raw};
use crate::bridge::{PLUGIN, spoof};

/// Takes the container off the bridge.
///
/// # Errors
/// What could not be removed.
pub fn del(del: &Del, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw, &del.call)?;
    // A host end that the Go plugin made for this network is a port of its bridge.
    let is_theirs = |host: &Rtnl, link: &Link| {
        let master = link.master.and_then(|master| host.link_by_index(master).ok().flatten());
        master.is_some_and(|master| master.name == conf.bridge.as_str())
    };
    let mut is_known = false;
    let first = |host: &Rtnl, record: Option<&Record>| {
        is_known = record.is_some();
        spoof::end(host, &del.attachment, record, conf.spoof_check)
    };
    let mut faults = Faults::default();
    faults.note(release::del(del, &leaving(&conf), is_theirs, first));
    // What the Go plugin wrote stays in force until its link is gone.
    if !is_known {
        faults.note(spoof::theirs::remove(&del.attachment));
    }
    faults.verdict()
}

/// Removes what belongs to no living attachment.
///
/// # Errors
/// What could not be removed.
pub fn gc(gc: &Gc, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw, &gc.call)?;
    release::gc(gc, &leaving(&conf), |host, is_stale| spoof::sweep(host, is_stale))
}

fn leaving(conf: &Conf) -> Leaving<'_> {
    Leaving { plugin: PLUGIN, ipam: conf.addressing.plugin(), masquerade: conf.masquerade }
}
