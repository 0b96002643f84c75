//! ADD: each step is one deed with one undo.

use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Attachment};
use cni::error::{Error, OrFail, Result};
use linux::rtnl::Rtnl;

use crate::attachment::allowed::{Allowed, Backend, Claimed, Line, PLUGIN};
use crate::attachment::life::Life;
use crate::attachment::record::claim::Claim;
use crate::attachment::record::lines::Lines;
use crate::attachment::ruleset;
use crate::firewall::backend::Keeper;
use crate::firewall::conf::{Conf, Raw};
use crate::firewall::plan::plan;
use crate::firewall::release;

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
    let keeper = Keeper::open(&conf, &plan)?;
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let life = Life::of(&host, add)?;
    attach(|trail| {
        let own = keeper.claims(&conf, &plan);
        let (claim, older) = write_down(trail, add, &own, life)?;
        keeper.ensure(trail, &add.attachment, &conf, &plan, &older)?;
        trail.step(|| claim.finish(add))?;
        trail.step(|| leave_what_is_not_wanted_any_more(&add.attachment, &own, &older))?;
        Ok(prev)
    })
}

/// The record comes first. A second ADD keeps in mind what the first one has claimed.
fn write_down(trail: &mut Trail, add: &Add, own: &[Allowed], life: Life) -> Result<(Claim, Vec<Allowed>)> {
    let attachment = &add.attachment;
    let mut before = Claimed::NoRecord;
    let claim = trail.step(|| {
        Claim::make(PLUGIN, attachment, |older| {
            before = Claimed::from(older);
            let mut lines = Lines::default();
            lines.life(&life)?;
            let older = before.these().iter().filter(|older| !own.contains(older));
            own.iter().chain(older).try_for_each(|it| lines.own(&Line::Allowed(it.clone())))?;
            if matches!(before, Claimed::More(_)) {
                lines.torn();
            }
            Ok(lines)
        })
    })?;
    // Until all is answered, or undone, nobody else gets at what this ADD makes.
    trail.forget(claim.taking_back(|_: &Line| false));
    Ok((claim, before.these().to_vec()))
}

/// What earlier ADDs have claimed, and this one has not: other addresses, or by another backend.
fn leave_what_is_not_wanted_any_more(
    attachment: &Attachment,
    own: &[Allowed],
    older: &[Allowed],
) -> Result<()> {
    let owner = attachment.owner();
    for older in older.iter().filter(|older| !own.contains(older)) {
        let own = || own.iter().filter(|own| own.by == older.by);
        let mut gone = older.clone();
        gone.addresses.retain(|address| !own().any(|own| own.addresses.contains(address)));
        gone.ports.retain(|port| !own().any(|own| own.ports.contains(port)));
        gone.end(&owner)?;
        if gone.by == Backend::Nftables
            && let Some(nft) = ruleset::open_if_any()?
        {
            release::remove(&nft, &owner, &gone.addresses, &gone.ports)?;
        }
    }
    Ok(())
}
