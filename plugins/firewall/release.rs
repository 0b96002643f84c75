//! Elements leave the maps, and with the last of them what they needed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::call::Owner;
use cni::error::{OrFail, Result};
use cni::log;
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::look::Glance;
use linux::nft::object::{Chain, Element};

use crate::attachment::gate::{self, stages};
use crate::attachment::mark::Mark;
use crate::attachment::ruleset::{self, TABLE, is_of, mark};
use crate::firewall::admit::know;
use crate::firewall::layout::{self, APART, BRIDGES, CHAINS, FORWARD, FRAMES, ISOLATED, MAPS, START, WITHIN};
use crate::firewall::plan::Policy;

/// What leaves: elements of the maps of addresses, each with its map, and elements of the set of ports.
#[derive(Default)]
struct Leaving {
    addresses: Vec<(&'static str, Element)>,
    ports: Vec<Element>,
}

/// Removes the owner's own elements among these; those that are not there, or another's by now, are removed. The undo of an
/// ADD, and what DEL does.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove(nft: &Nft, owner: &Owner, addresses: &[IpAddr], ports: &[String]) -> Result<()> {
    let _step = log::step("rules");
    let addresses: BTreeSet<&IpAddr> = addresses.iter().collect();
    let ports: BTreeSet<&String> = ports.iter().collect();
    depart(nft, || {
        let mut leaving = Leaving::default();
        for address in &addresses {
            let map = layout::map_of(**address);
            let found = nft.element(TABLE, map, &Part::Address(**address).bytes())?;
            leaving.addresses.extend(found.filter(|it| is_of(it, owner)).map(|element| (map, element)));
        }
        for port in &ports {
            let found = nft.element(FRAMES, ISOLATED, &Part::IfName(port).bytes())?;
            leaving.ports.extend(found.filter(|it| is_of(it, owner)));
        }
        Ok(leaving)
    })
    .doing(|| "failed to end what a container may".into())
}

/// Removes every element whose owner is stale. For GC; and for a DEL that knows nothing, which looks at all elements for its
/// own.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn sweep(nft: &Nft, is_stale: impl Fn(&Mark) -> bool) -> Result<()> {
    let _step = log::step("rules");
    let stale = |element: &Element| mark(element).is_some_and(|mark| is_stale(&mark));
    depart(nft, || {
        let mut leaving = Leaving::default();
        for (_, map, _) in MAPS {
            let elements = nft.elements(TABLE, map)?.into_iter().filter(stale);
            leaving.addresses.extend(elements.map(|element| (map, element)));
        }
        leaving.ports = nft.elements(FRAMES, ISOLATED)?.into_iter().filter(stale).collect();
        Ok(leaving)
    })
    .doing(|| "failed to end what is gone may".into())
}

fn depart(nft: &Nft, select: impl Fn() -> Answer<Leaving>) -> Result<()> {
    let mut glance = None;
    let mut is_last = false;
    let settled = nft.settle(|| {
        let leaving = select()?;
        let mut batch = Batch::new();
        is_last = release(nft, &mut batch, &leaving.addresses)?;
        if !leaving.ports.is_empty() {
            let glance = match &mut glance {
                Some(glance) => glance,
                none => none.insert(Glance::here()?),
            };
            release_ports(nft, glance, &mut batch, &leaving.ports)?;
        }
        Ok(batch)
    });
    settled.doing(|| "change the rules".into())?;
    match is_last {
        true => leave_legacy(nft),
        false => Ok(()),
    }
}

/// What iptables-legacy has goes behind our own rules, unless somebody has come in between who relies on it.
fn leave_legacy(nft: &Nft) -> Result<()> {
    let has_come = || Ok(nft.chain(TABLE, FORWARD).doing(|| "look who has come".into())?.is_some());
    gate::legacy::remove(has_come).map(drop)
}

/// Deletes elements, the chains that nothing leads to any more, and with the last of them everything. True if it was the last.
fn release(nft: &Nft, batch: &mut Batch, leaving: &[(&'static str, Element)]) -> Answer<bool> {
    for (_, map, _) in MAPS {
        let of_map = leaving.iter().filter(|(of, _)| *of == map);
        batch.delete_elements(TABLE, map, of_map.map(|(_, element)| element.key.as_slice()));
    }
    let unused = ruleset::unused(nft, START, leaving.iter().map(|(_, element)| element))?;
    if unused.is_empty() {
        return Ok(false);
    }
    let chains: Vec<Chain> = nft.chains(TABLE)?.into_iter().map(|found| found.chain).collect();
    let mut gone: Vec<&str> = unused.into_iter().collect();
    let stays = |chain: &&Chain| layout::is_of_a_policy(&chain.name) && !gone.contains(&chain.name.as_str());
    let is_last = !chains.iter().any(|chain| stays(&chain));
    for chain in chains.iter().filter(|chain| gone.contains(&chain.name.as_str())) {
        forget(nft, batch, chain, &gone)?;
    }
    let mut sets = Vec::new();
    if is_last {
        gone.extend(CHAINS.into_iter().filter(|name| chains.iter().any(|chain| chain.name == *name)));
        for set in layout::sets() {
            sets.extend(nft.set(TABLE, &set.name)?.map(|set| set.name));
        }
    }
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    *batch = ruleset::take_away(nft, std::mem::take(batch), &gone, &sets)?;
    if is_last {
        gate::remove(nft, batch)?;
    }
    let of_bridges: Vec<&Chain> = chains.iter().filter(|chain| layout::bridge_of(chain).is_some()).collect();
    let ended = |name: &str| gone.contains(&name) && of_bridges.iter().any(|chain| chain.name == name);
    if of_bridges.iter().any(|chain| ended(&chain.name)) {
        stages::leave(nft, batch, ended)?;
    }
    Ok(is_last)
}

/// Nothing leads to these chains any more. `known` is the bridge whose policy is seen to by the caller.
///
/// # Errors
/// What the kernel says.
pub fn end_policies(nft: &Nft, batch: &mut Batch, going: &[&str], known: Option<&str>) -> Answer<()> {
    for name in going {
        if let Some(found) = nft.chain(TABLE, name)?
            && layout::bridge_of(&found.chain) != known
        {
            forget(nft, batch, &found.chain, going)?;
        }
        batch.delete_chain(TABLE, name);
    }
    if going.iter().any(|name| *name != layout::chain_of(&Policy::Open).name) {
        stages::leave(nft, batch, |chain| going.contains(&chain))?;
    }
    Ok(())
}

/// A policy of a bridge ends. The bridge is known as long as another one is in force there.
fn forget(nft: &Nft, batch: &mut Batch, chain: &Chain, gone: &[&str]) -> Answer<()> {
    let Some(bridge) = layout::bridge_of(chain) else { return Ok(()) };
    for other in [Policy::Isolated(bridge.to_owned()), Policy::SameBridge(bridge.to_owned())] {
        let name = layout::chain_of(&other).name;
        if !gone.contains(&name.as_str()) && nft.chain(TABLE, &name)?.is_some() {
            return know(nft, batch, &other);
        }
    }
    let [known, within] = layout::bridge_keys(bridge);
    for (set, key) in [(BRIDGES, known), (WITHIN, within)] {
        if nft.element(TABLE, set, &key)?.is_some() {
            batch.delete_elements(TABLE, set, [key.as_slice()]);
        }
    }
    Ok(())
}

/// The same for ports of a bridge.
fn release_ports(nft: &Nft, glance: &mut Glance, batch: &mut Batch, leaving: &[Element]) -> Answer<()> {
    let mut own = Batch::new();
    own.delete_elements(FRAMES, ISOLATED, leaving.iter().map(|element| element.key.as_slice()));
    if glance.any(FRAMES, ISOLATED, |other| !leaving.contains(other))? {
        batch.append(own);
        return Ok(());
    }
    let chain = nft.chain(FRAMES, APART)?.map(|_| APART);
    let rest = ruleset::take_away_from(nft, FRAMES, own, chain.as_slice(), &[ISOLATED])?;
    batch.append(rest);
    Ok(())
}
