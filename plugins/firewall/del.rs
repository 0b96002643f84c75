//! DEL and GC.

use cni::call::{Del, Gc};
use cni::error::{Faults, Result};
use cni::result::Success;

use crate::attachment::allowed::{self, Allowed, Backend, Claimed, PLUGIN};
use crate::attachment::firewalld::Firewalld;
use crate::attachment::record::{self, again};
use crate::attachment::waits::Waits;
use crate::attachment::{leased, mark, ruleset};
use crate::firewall::conf::{Choice, Conf, Named, Raw};
use crate::firewall::{plan, release};

/// Without these nobody knows whether an address was put into a zone of firewalld, and which.
const ZONES: [&str; 2] = ["backend", "firewalldZone"];

/// Ends what the container may. What somebody else has by now stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn del(del: &Del, raw: &Raw) -> Result<()> {
    let mut faults = Faults::default();
    let owner = del.attachment.owner();
    let asks_nobody = ZONES.iter().any(|key| del.call.cannot_read(key));
    let zone = || if asks_nobody { None } else { zone(raw) };
    let by_result = || del.prev.iter().flat_map(|prev| of_result(prev, zone())).collect::<Vec<_>>();
    // What cannot be read is said at the end, and stays; meanwhile the rest is looked for elsewhere.
    let written = faults.note(Claimed::of(&owner)).unwrap_or(Claimed::More(Vec::new()));
    let has_record = written != Claimed::NoRecord;
    let _turn = has_record.then(|| faults.note(again::turn_to_end()));
    if asks_nobody && !matches!(written, Claimed::These(_)) {
        faults.note(is_in_no_zone(del));
    }
    let (mut claimed, is_all) = match written {
        Claimed::These(claimed) => (claimed, true),
        Claimed::NoRecord => (by_result(), del.prev.is_some()),
        Claimed::More(claimed) => ([claimed, by_result()].concat(), false),
    };
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        let own = || claimed.iter().filter(|allowed| allowed.by == Backend::Nftables);
        if is_all {
            let addresses: Vec<_> = own().flat_map(|it| &it.addresses).copied().collect();
            let ports: Vec<_> = own().flat_map(|it| &it.ports).cloned().collect();
            faults.note(release::remove(&nft, &owner, &addresses, &ports));
        } else {
            faults.note(release::sweep(&nft, |mark| mark.is_of(&owner)));
        }
        Waits::of(&del.call).keep(nft);
    }
    // Rules that name no owner are those of whoever has the address by now.
    for allowed in claimed.iter_mut().filter(|allowed| allowed.by != Backend::Nftables) {
        allowed.addresses.retain(|address| !leased::to_another(&del.attachment, *address));
    }
    faults.note(allowed::end(&claimed, &owner));
    if faults.is_empty() {
        faults.note(record::remove(PLUGIN, &del.attachment));
    }
    faults.verdict()
}

/// No address of the result is in a zone of firewalld, where nobody can read which one ADD meant. What is in one may be an
/// administrator's.
///
/// # Errors
/// One is; firewalld does not tell.
fn is_in_no_zone(del: &Del) -> Result<()> {
    let addresses = del.prev.as_ref().map(plan::addresses).unwrap_or_default();
    if addresses.is_empty() {
        return Ok(());
    }
    let Some(mut firewalld) = Firewalld::find_to_end()? else { return Ok(()) };
    for address in addresses {
        if let Some(zone) = firewalld.zone_of(address)? {
            let what = format!("who has put the address {address} into {zone} zone");
            del.call.must_have_read(&ZONES, &what)?;
        }
    }
    Ok(())
}

/// What an ADD with this result may have claimed, ours or the Go plugin's.
fn of_result(prev: &Success, zone: Option<String>) -> Vec<Allowed> {
    let addresses = plan::addresses(prev);
    let by = |by| Allowed { addresses: addresses.clone(), ports: Vec::new(), by };
    let ports = plan::ports(prev);
    let mut all = vec![Allowed { ports, ..by(Backend::Nftables) }, by(Backend::Iptables)];
    all.extend(zone.map(|zone| by(Backend::Firewalld(zone))));
    all
}

/// The zone of firewalld, which has to run to be asked: so it is asked only where it could be meant.
fn zone(raw: &Raw) -> Option<String> {
    match Conf::meant(raw.clone()).ok()? {
        Conf { choice: Choice::FirewalldOr(_) | Choice::This(Named::Firewalld), zone, .. } => Some(zone),
        _ => None,
    }
}

/// GC: removes what belongs to no living attachment of the network. What the Go plugin made carries no owner, and stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn gc(gc: &Gc) -> Result<()> {
    let Some(is_stale) = mark::stale(gc) else { return Ok(()) };
    let (records, mut faults) = record::stale(PLUGIN, gc);
    let _turn = records.first().and_then(|_| faults.note(again::turn_to_end()));
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        faults.note(release::sweep(&nft, is_stale));
    }
    for stale in &records {
        faults.note(allowed::end_stale(&stale.attachment.owner()));
    }
    if faults.is_empty() {
        for stale in &records {
            faults.note(record::remove(PLUGIN, &stale.attachment));
        }
    }
    faults.verdict()
}
