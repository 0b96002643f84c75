//! DEL and GC.

use cni::call::{Del, Gc};
use cni::error::{Faults, Result};
use cni::result::Success;

use crate::attachment::allowed::{Allowed, Backend, Claimed, PLUGIN};
use crate::attachment::{mark, record, ruleset};
use crate::firewall::{plan, release};

/// Ends what the container may. What somebody else has by now stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn del(del: &Del) -> Result<()> {
    let mut faults = Faults::default();
    let owner = del.attachment.owner();
    let claimed = match Claimed::of(&owner) {
        Claimed::These(claimed) => Some(claimed),
        Claimed::NoRecord => del.prev.as_ref().map(|prev| vec![of_result(prev)]),
        Claimed::Torn => None,
    };
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        match &claimed {
            Some(claimed) => {
                let addresses: Vec<_> = claimed.iter().flat_map(|it| &it.addresses).copied().collect();
                let ports: Vec<_> = claimed.iter().flat_map(|it| &it.ports).cloned().collect();
                faults.note(release::remove(&nft, &owner, &addresses, &ports));
            }
            None => {
                faults.note(release::sweep(&nft, |mark| mark.is_of(&owner)));
            }
        }
    }
    if faults.is_empty() {
        faults.note(record::remove(PLUGIN, &del.attachment));
    }
    faults.verdict()
}

/// What an ADD with this result may have claimed.
fn of_result(prev: &Success) -> Allowed {
    Allowed { addresses: plan::addresses(prev), ports: plan::ports(prev), by: Backend::Nftables }
}

/// GC: removes what belongs to no living attachment of the network. What the Go plugin made carries no owner, and stays.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn gc(gc: &Gc) -> Result<()> {
    let Some(is_stale) = mark::stale(gc) else { return Ok(()) };
    let (records, mut faults) = record::stale(PLUGIN, gc);
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        faults.note(release::sweep(&nft, is_stale));
    }
    if faults.is_empty() {
        for stale in &records {
            faults.note(record::remove(PLUGIN, &stale.attachment));
        }
    }
    faults.verdict()
}
