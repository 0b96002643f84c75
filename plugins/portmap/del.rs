//! DEL and GC. Neither needs the list of ports: the record has it.

use std::net::IpAddr;

use cni::call::{Del, Gc};
use cni::error::{Faults, OrFail, Result};
use linux::nft::Nft;
use linux::nft::datatype::Part;

use crate::attachment::record::{Written, again};
use crate::attachment::ruleset::{self, TABLE, is_of};
use crate::attachment::waits::Waits;
use crate::attachment::{inherited, mark, published, record};
use crate::portmap::claim::map_of;
use crate::portmap::conf::{Conf, Raw};
use crate::portmap::holder::{self, Line};
use crate::portmap::key::Key;
use crate::portmap::release::{self, Held};
use crate::portmap::{PLUGIN, flows, iptables, loopback, plan};

/// Takes the ports back. What somebody else has by now stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn del(del: &Del, raw: &Raw) -> Result<()> {
    let mut faults = Faults::default();
    let (attachment, owner) = (&del.attachment, del.attachment.owner());
    // What cannot be read is said at the end, and stays; meanwhile its elements tell.
    let read = faults.note(record::written(PLUGIN, &owner));
    let is_unknown = read.is_none();
    let written: Option<Written<Line>> = read.flatten();
    let _turn = written.as_ref().and_then(|_| faults.note(again::turn_to_end()));
    let published = written.as_ref().map(|written| holder::published(&written.lines)).unwrap_or_default();
    let nft = faults.note(ruleset::open_if_any()).flatten();
    if !published.is_empty() || published::has(&owner) {
        faults.note(iptables::end(nft.as_ref(), attachment, &published));
    }
    if let Some(nft) = nft {
        let known = if is_unknown { Ok(None) } else { known(&nft, del, raw, written.as_ref()) };
        let gone = faults.note(known.and_then(|known| match known {
            Some((keys, addresses)) => release::remove(&nft, &owner, &keys, &addresses),
            None => release::sweep(&nft, |mark| mark.is_of(&owner)),
        }));
        faults.note(end_flows(&gone.unwrap_or_default()));
        if written.is_some() {
            faults.note(loopback::end_unguarded(&nft));
        } else {
            // Without a record it may be the Go plugin's.
            faults.note(inherited::remove_ports(&nft, attachment, &addresses_of(del)));
        }
        Waits::of(&del.call).keep(nft);
    }
    let may_have_mappings = raw.has_mappings() || del.call.cannot_read("runtimeConfig.portMappings");
    if written.is_none() && may_have_mappings {
        faults.note(inherited::remove_legacy_ports(attachment));
    }
    if faults.is_empty() {
        faults.note(record::remove(PLUGIN, attachment));
    }
    faults.verdict()
}

/// GC: removes what belongs to no living attachment of the network. What the Go plugin made carries no owner, and stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn gc(gc: &Gc) -> Result<()> {
    let Some(is_stale) = mark::stale(gc) else { return Ok(()) };
    let (records, mut faults) = record::stale(PLUGIN, gc);
    let _turn = records.first().and_then(|_| faults.note(again::turn_to_end()));
    let nft = faults.note(ruleset::open_if_any()).flatten();
    for stale in &records {
        let owner = stale.attachment.owner();
        let written: Option<Written<Line>> = faults.note(record::written(PLUGIN, &owner)).flatten();
        let published = written.as_ref().map(|written| holder::published(&written.lines)).unwrap_or_default();
        if !published.is_empty() || published::has(&owner) {
            faults.note(iptables::end(nft.as_ref(), &stale.attachment, &published));
        }
    }
    if let Some(nft) = nft {
        let gone = faults.note(release::sweep(&nft, is_stale));
        faults.note(end_flows(&gone.unwrap_or_default()));
    }
    if faults.is_empty() {
        for stale in &records {
            faults.note(record::remove(PLUGIN, &stale.attachment));
        }
    }
    faults.verdict()
}

fn end_flows(gone: &[Held]) -> Result<()> {
    flows::end(&gone.iter().filter_map(Held::port).collect::<Vec<_>>())
}

fn addresses_of(del: &Del) -> Vec<IpAddr> {
    del.prev.iter().flat_map(|prev| &prev.ips).map(|ip| ip.address.ip()).collect()
}

/// The ports and addresses that the attachment may have; `None` if only its elements can tell.
fn known(
    nft: &Nft,
    del: &Del,
    raw: &Raw,
    written: Option<&Written<Line>>,
) -> Result<Option<(Vec<Key>, Vec<IpAddr>)>> {
    if let Some(written) = written {
        let claims = holder::claims(&written.lines).filter(|_| !written.is_torn);
        let is_by_iptables = !holder::published(&written.lines).is_empty() && !written.is_torn;
        let nothing = is_by_iptables.then(|| (Vec::new(), Vec::new()));
        return Ok(claims.map(|claims| (claims.keys(), claims.addresses.clone())).or(nothing));
    }
    // A condition that nobody can read, say, leads to other maps.
    if !del.call.unread.is_empty() {
        return Ok(None);
    }
    let mut addresses = addresses_of(del);
    match Conf::meant(raw.clone()) {
        Ok(conf) if raw.has_mappings() => {
            let keys = plan::keys_of(&conf, &del.attachment);
            // Where its ports lead to is its own, though nobody may remember it.
            let led_to = release::led_to(nft, &del.attachment.owner(), &keys);
            addresses.extend(led_to.doing(|| "look up published ports".into())?);
            Ok(Some((keys, addresses)))
        }
        _ if addresses.is_empty() => Ok(None),
        // Whoever has ports has an element for an address, too.
        _ => Ok(if has_one_of(nft, del, &addresses)? { None } else { Some((Vec::new(), Vec::new())) }),
    }
}

fn has_one_of(nft: &Nft, del: &Del, addresses: &[IpAddr]) -> Result<bool> {
    for address in addresses {
        let found = nft.element(TABLE, map_of(*address), &Part::Address(*address).bytes());
        let found = found.doing(|| format!("look up the published ports of {address}"))?;
        if found.is_some_and(|found| is_of(&found, &del.attachment.owner())) {
            return Ok(true);
        }
    }
    Ok(false)
}
