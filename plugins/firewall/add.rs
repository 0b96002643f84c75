//! ADD: each step is one deed with one undo.

use std::net::IpAddr;
use std::rc::Rc;

use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Attachment};
use cni::error::{Error, OrFail, Result};
use linux::nft::Nft;
use linux::rtnl::Rtnl;

use crate::attachment::allowed::{Allowed, Backend, Claimed, Line, PLUGIN};
use crate::attachment::gate;
use crate::attachment::life::Life;
use crate::attachment::record;
use crate::firewall::conf::{Conf, Raw};
use crate::firewall::plan::{Plan, plan};
use crate::firewall::{admit, open, release};

/// Lets the packets of the container pass, and passes on what the plugins before us have answered.
///
/// # Errors
/// Any; nothing of this call is left then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let conf = Conf::meant(raw)?;
    let Some(prev) = add.prev.clone() else {
        return Err(Error::config("missing prevResult from earlier plugin")
            .details("must be called as chained plugin: nobody has attached the container"));
    };
    let plan = plan(&conf, &prev)?;
    if plan.addresses.is_empty() {
        return attach(|_| Ok(prev));
    }
    let nft = Rc::new(open()?);
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let life = Life::of(&host, add)?;
    attach(|trail| {
        let older = write_down(trail, &add.attachment, &plan, life)?;
        let made = trail.step(|| admit::ensure(&nft, &add.attachment, &plan, conf.mark_bit))?;
        let (of_undo, owner) = (nft.clone(), add.attachment.owner());
        trail.undo(move || release::remove(&of_undo, &owner, &made.addresses, &made.ports));
        trail.step(|| pass_legacy(&nft, &plan.addresses, conf.mark_bit))?;
        trail.step(|| leave_what_is_not_wanted_any_more(&nft, &add.attachment, &plan, &older))?;
        Ok(prev)
    })
}

/// Where packets pass iptables-legacy, too.
fn pass_legacy(nft: &Nft, addresses: &[IpAddr], wanted: Option<u8>) -> Result<()> {
    let bit = admit::bit(nft, wanted).doing(|| "look up the bit of the mark".into())?;
    gate::legacy::ensure(bit, &admit::families(addresses))
}

/// The record comes first. A second ADD keeps in mind what the first one has claimed.
fn write_down(trail: &mut Trail, attachment: &Attachment, plan: &Plan, life: Life) -> Result<Vec<Allowed>> {
    let before = Claimed::of(&attachment.owner());
    let is_first = before == Claimed::NoRecord;
    let older = if let Claimed::These(older) = before { older } else { Vec::new() };
    let mut claim = trail.step(|| record::Claim::make(PLUGIN, attachment))?;
    // Until all is answered, or undone, nobody else gets at what this ADD makes.
    let (held, whose) = (claim.held()?, attachment.clone());
    trail.undo(move || {
        let removed = if is_first { record::remove(PLUGIN, &whose) } else { Ok(()) };
        drop(held);
        removed
    });
    trail.step(|| claim.note_life(life))?;
    let Plan { addresses, ports, .. } = plan.clone();
    let own = Allowed { addresses, ports, by: Backend::Nftables };
    let others = older.iter().filter(|older| **older != own).cloned();
    for allowed in [own.clone()].into_iter().chain(others) {
        trail.step(|| claim.note(&Line::Allowed(allowed)))?;
    }
    Ok(older)
}

fn leave_what_is_not_wanted_any_more(
    nft: &Nft,
    attachment: &Attachment,
    plan: &Plan,
    older: &[Allowed],
) -> Result<()> {
    let addresses = older.iter().flat_map(|older| &older.addresses).copied();
    let addresses: Vec<IpAddr> = addresses.filter(|it| !plan.addresses.contains(it)).collect();
    let ports = older.iter().flat_map(|older| &older.ports).cloned();
    let ports: Vec<String> = ports.filter(|it| !plan.ports.contains(it)).collect();
    if addresses.is_empty() && ports.is_empty() {
        return Ok(());
    }
    release::remove(nft, &attachment.owner(), &addresses, &ports)
}
