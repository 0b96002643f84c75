//! Masquerade by nf_tables, in a table of ours.
//!
//! ```text
//! table inet jackfield {
//!     map masquerade1_ip {
//!         type ipv4_addr : verdict
//!         elements = { 10.22.0.5 comment "<owner>-<network> …" : goto masquerade1_7f3a… }
//!     }
//!     chain masquerade1 {
//!         type nat hook postrouting priority srcnat + 1; policy accept;
//!         ip saddr vmap @masquerade1_ip
//!         ip6 saddr vmap @masquerade1_ip6
//!     }
//!     chain masquerade1_7f3a… {                  one per network and subnet
//!         ip daddr 10.22.0.0/16 return
//!         ip daddr 224.0.0.0/4 return
//!         masquerade
//!     }
//! }
//! ```
//!
//! The rules never change; a container is an element of a map, so it costs the same beside ten others and
//! beside ten thousand. An element belongs to whom its comment names. The priority is behind everybody's, so
//! that a translation by kube-proxy, Docker or the Go plugins comes first.
//!
//! A network's chain goes with its last container, the table with the last of all. Each function acts on the
//! state of the ruleset that it has seen, and looks again if somebody was faster ([`Nft::settle`]).
//!
//! The number in the names is that of the layout: whoever changes what an element leads to, or what the rules
//! do, counts on, and removes the earlier layouts' elements too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cni::call::{Attachment, Owner};
use cni::error::{Error, OrFail, Result};
use ipnetwork::IpNetwork;
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::object::{Chain, Element, Rule, Table};
use linux::nft::phrase;

use super::layout::{
    Claim, MAPS, OF_A_NETWORK, POSTROUTING, claims, frame, map_of, maps, rules_of, subnet_of, way_out,
};
use crate::attachment::mark::Mark;
use crate::attachment::ruleset::{self, Repair, TABLE, TABLE_COMMENT, is_of, mark};

/// Masquerades what the attachment sends from these addresses out of their subnets. Rules that somebody has
/// flushed or changed are restored, and an element that an earlier owner of an address left is replaced.
///
/// Returns the addresses that were not masqueraded for this attachment before: [`remove`] takes them back.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn ensure(nft: &Nft, attachment: &Attachment, addresses: &[IpNetwork]) -> Result<Vec<IpAddr>> {
    let claims = claims(attachment, addresses);
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let doing = || format!("failed to masquerade {}", list(addresses));
    ruleset::wake(nft, TABLE).doing(doing)?;
    let mut made = Vec::new();
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        let mut chains: BTreeMap<String, (Chain, Vec<Rule>)> = BTreeMap::new();
        if lay_the_frame(nft, &mut batch)? {
            chains.extend(neighbours(nft)?);
        }
        let own = |claim: &Claim| (claim.chain.name.clone(), (claim.chain.clone(), claim.rules.clone()));
        chains.extend(claims.iter().map(own));
        for (chain, rules) in chains.values() {
            ruleset::lay(nft, &mut batch, chain, rules)?;
        }
        made = Vec::new();
        for claim in &claims {
            if claim.put(nft, &mut batch, &attachment.owner())? {
                made.push(claim.address);
            }
        }
        Ok(batch)
    });
    settled.doing(doing)?;
    Ok(made)
}

/// Removes the owner's own elements for these addresses; those that are not there, or another's by now, are
/// removed. The undo of an ADD, and what DEL does.
///
/// When its socket closes the kernel waits some 6 ms for the packets on their way: keep it until the answer
/// is written, or close it beside something else that waits.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove(nft: &Nft, owner: &Owner, addresses: &[IpAddr]) -> Result<()> {
    let unique: BTreeSet<&IpAddr> = addresses.iter().collect();
    let settled = nft.settle(|| {
        let mut leaving = Vec::new();
        for address in &unique {
            let map = map_of(phrase::family_of(**address));
            let found = nft.element(TABLE, map, &Part::Address(**address).bytes())?;
            leaving.extend(found.filter(|it| is_of(it, owner)).map(|element| (map, element)));
        }
        release(nft, &leaving)
    });
    settled.doing(|| format!("failed to end the masquerade of {}", list(addresses)))
}

/// Removes every element whose owner is stale. For GC; and for a DEL that knows no address, which looks at
/// all elements for its own.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn sweep(nft: &Nft, is_stale: impl Fn(&Mark) -> bool) -> Result<()> {
    let settled = nft.settle(|| {
        let mut leaving = Vec::new();
        for (_, map, _) in MAPS {
            let stale = |element: &Element| mark(element).is_some_and(|mark| is_stale(&mark));
            leaving.extend(nft.elements(TABLE, map)?.into_iter().filter(stale).map(|element| (map, element)));
        }
        release(nft, &leaving)
    });
    settled.doing(|| "failed to end the masquerade of what is gone".into())
}

/// Whether all is there that [`ensure`] made.
///
/// # Errors
/// What is missing or was changed, and what the kernel says.
pub fn check(nft: &Nft, attachment: &Attachment, addresses: &[IpNetwork]) -> Result<()> {
    for claim in claims(attachment, addresses) {
        let missing = missing(nft, &claim, &attachment.owner())
            .doing(|| format!("failed to look up the masquerade of {}", claim.address))?;
        if let Some(what) = missing {
            let whose = claim.address;
            return Err(Error::internal(format!("{whose} is not masqueraded: {what}")));
        }
    }
    Ok(())
}

impl Claim {
    /// Adds the element to the batch if it is not there. False if it is.
    fn put(&self, nft: &Nft, batch: &mut Batch, owner: &Owner) -> Answer<bool> {
        let found = nft.element(TABLE, self.map, &self.element.key)?;
        let ours = found.as_ref().is_some_and(|found| is_of(found, owner));
        if ours && found.as_ref().is_some_and(|found| found.target == self.element.target) {
            return Ok(false);
        }
        if found.is_some() {
            batch.delete_elements(TABLE, self.map, [self.element.key.as_slice()]);
        }
        batch.add_elements(TABLE, self.map, std::slice::from_ref(&self.element));
        Ok(!ours)
    }
}

/// The table, the maps, and the chain that the kernel calls. True if something of it was missing.
fn lay_the_frame(nft: &Nft, batch: &mut Batch) -> Answer<bool> {
    if nft.table(TABLE)?.is_none() {
        batch.ensure_table(TABLE, Some(TABLE_COMMENT));
    }
    let (chain, rules) = frame();
    // The rules look into both maps, so where the rules are right the maps are there.
    let Some(repair) = Repair::needed(nft, TABLE, &chain, &rules)? else { return Ok(false) };
    for map in maps() {
        batch.ensure_set(TABLE, &map);
    }
    repair.write(batch, TABLE, &chain, &rules);
    Ok(true)
}

/// The chains of all networks. Who flushed the frame has flushed them too, and the containers behind them
/// may see no ADD for long.
fn neighbours(nft: &Nft) -> Answer<impl Iterator<Item = (String, (Chain, Vec<Rule>))>> {
    let chains = nft.chains(TABLE)?.into_iter().map(|found| found.chain);
    let of_networks = chains.filter(|chain| chain.name.starts_with(OF_A_NETWORK));
    Ok(of_networks.filter_map(|chain| {
        let rules = rules_of(subnet_of(&chain)?);
        Some((chain.name.clone(), (chain, rules)))
    }))
}

/// Has the kernel try what [`ensure`] would write for each family, and forget it again.
///
/// # Errors
/// What the kernel cannot do.
pub fn rehearse(nft: &Nft) -> Result<()> {
    let mut batch = Batch::new();
    let table = Table { family: TABLE.family, name: "jackfield_rehearsal" };
    batch.ensure_table(table, Some(TABLE_COMMENT));
    for map in maps() {
        batch.ensure_set(table, &map);
    }
    for (chain, rules) in [frame(), way_out()] {
        Repair::Make.write(&mut batch, table, &chain, &rules);
    }
    nft.rehearse(&batch).doing(|| "try the rules".into())
}

/// Deletes elements, the chains that nothing leads to any more, and with the last of them everything.
fn release(nft: &Nft, leaving: &[(&'static str, Element)]) -> Answer<Batch> {
    let mut batch = Batch::new();
    for (_, map, _) in MAPS {
        let of_map = leaving.iter().filter(|(of, _)| *of == map);
        batch.delete_elements(TABLE, map, of_map.map(|(_, element)| element.key.as_slice()));
    }
    let chains = ruleset::unused(nft, OF_A_NETWORK, leaving.iter().map(|(_, element)| element))?;
    if chains.is_empty() {
        return Ok(batch);
    }
    let others = nft.chains(TABLE)?.into_iter().map(|found| found.chain.name);
    let others: Vec<String> = others.filter(|name| !chains.contains(name.as_str())).collect();
    let last = !others.iter().any(|name| name.starts_with(OF_A_NETWORK));
    let mut chains: Vec<&str> = chains.into_iter().collect();
    let mut sets = Vec::new();
    if last {
        chains.extend(others.iter().map(String::as_str).find(|name| *name == POSTROUTING));
        for (_, map, _) in MAPS {
            sets.extend(nft.set(TABLE, map)?.map(|_| map));
        }
    }
    ruleset::take_away(nft, batch, &chains, &sets)
}

/// The first thing that a claim lacks.
fn missing(nft: &Nft, claim: &Claim, owner: &Owner) -> Answer<Option<String>> {
    match nft.table(TABLE)? {
        None => return Ok(Some(format!("there is no table {TABLE}"))),
        Some(table) if table.dormant => return Ok(Some(format!("the table {TABLE} is dormant"))),
        Some(_) => {}
    }
    let (chain, rules) = frame();
    for (chain, rules) in [(&chain, &rules), (&claim.chain, &claim.rules)] {
        if Repair::needed(nft, TABLE, chain, rules)?.is_some() {
            return Ok(Some(format!("chain {} of table {TABLE} is gone or changed", chain.name)));
        }
    }
    let (key, map) = (&claim.element.key, claim.map);
    Ok(match nft.element(TABLE, map, key)? {
        None => Some(format!("it is not in map {map} of table {TABLE}")),
        Some(found) if !is_of(&found, owner) => {
            let whose = found.comment.unwrap_or_default();
            Some(format!("in map {map} of table {TABLE} it is another's: {whose:?}"))
        }
        Some(found) if found.target != claim.element.target => {
            Some(format!("in map {map} of table {TABLE} it is another network's"))
        }
        Some(_) => None,
    })
}

fn list<T: ToString>(addresses: &[T]) -> String {
    addresses.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
