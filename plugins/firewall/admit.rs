//! Elements come into the maps, and what they need is there: all in one step, on one state of the ruleset.

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, OrFail, Result};
use cni::log;
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::object::{Chain, Element, Rule, Table};
use linux::nft::{Family, Nft, phrase};

use crate::attachment::gate::stages::{self, Apart};
use crate::attachment::gate::{self, MARK_BIT};
use crate::attachment::ruleset::{self, Repair, TABLE, TABLE_COMMENT, is_of};
use crate::firewall::layout::{self, FORWARD, FRAMES, ISOLATED, START};
use crate::firewall::plan::{Plan, Policy};
use crate::firewall::release;

/// What a change has made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Made {
    /// The addresses that were not this attachment's before.
    pub addresses: Vec<IpAddr>,
    /// The ports that were not.
    pub ports: Vec<String>,
}

/// Lets the packets of an attachment pass. Rules that somebody has flushed or changed are restored, and an element that an
/// earlier owner of an address left is replaced. Returns what was not this attachment's before.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn ensure(nft: &Nft, attachment: &Attachment, plan: &Plan, wanted: Option<u8>) -> Result<Made> {
    let _step = log::step("rules");
    let doing = || format!("failed to let the packets of {attachment} pass");
    for table in [TABLE, FRAMES] {
        ruleset::wake(nft, table).doing(doing)?;
    }
    let mut made = Made::default();
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        let bit = bit(nft, wanted)?;
        let (mut elements, mut replaced) = (Batch::new(), Vec::new());
        made = Made::default();
        for address in &plan.addresses {
            let element = layout::element(attachment, *address, &plan.policy);
            let map = layout::map_of(*address);
            if put(nft, &mut elements, (TABLE, map), &element, attachment, &mut replaced)? {
                made.addresses.push(*address);
            }
        }
        for port in &plan.ports {
            let element = layout::port(attachment, port);
            if put(nft, &mut elements, (FRAMES, ISOLATED), &element, attachment, &mut replaced)? {
                made.ports.push(port.clone());
            }
        }
        let mut going = ruleset::unused(nft, START, &replaced)?;
        going.remove(layout::chain_of(&plan.policy).name.as_str());
        let going: Vec<&str> = going.into_iter().collect();
        lay(nft, &mut batch, &plan.policy, &going, bit)?;
        let staged = gate::lay(nft, &mut batch, bit, &families(&plan.addresses))?;
        if !staged.is_empty() {
            let policies = in_force(nft, Some(&plan.policy), &going)?;
            stages::lay(nft, &mut batch, &staged, &policies)?;
        }
        if !plan.ports.is_empty() {
            lay_apart(nft, &mut batch)?;
        }
        batch.append(elements);
        release::end_policies(nft, &mut batch, &going, plan.policy.bridge())?;
        Ok(batch)
    });
    settled.doing(doing)?;
    Ok(made)
}

/// The policies of bridges: this one, and those of others that are not `going`.
fn in_force(nft: &Nft, own: Option<&Policy>, going: &[&str]) -> Answer<Vec<Apart>> {
    let there = nft.chains(TABLE)?.into_iter().map(|found| found.chain);
    let mut chains: Vec<Chain> = there.filter(|chain| layout::is_of_a_policy(&chain.name)).collect();
    chains.retain(|chain| !going.contains(&chain.name.as_str()));
    if let Some(own) = own.map(layout::chain_of)
        && !chains.iter().any(|chain| chain.name == own.name)
    {
        chains.push(own);
    }
    let apart = |chain: &Chain| {
        let bridge = layout::bridge_of(chain)?.to_owned();
        Some(Apart { chain: chain.name.clone(), bridge })
    };
    Ok(chains.iter().filter_map(apart).collect())
}

/// Has the Go plugin's chains know the bridges that we keep apart, where somebody has made these chains since: our iptables
/// backend, for one.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn tell_stages(nft: &Nft, families: &[Family]) -> Result<()> {
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        let policies = in_force(nft, None, &[])?;
        if !policies.is_empty() {
            stages::lay(nft, &mut batch, &gate::staged(nft, families)?, &policies)?;
        }
        Ok(batch)
    });
    settled.doing(|| "failed to keep the bridges of both backends apart".into())
}

/// The families of these addresses.
pub fn families(addresses: &[IpAddr]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for family in addresses.iter().map(|address| phrase::family_of(*address)) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

/// The bit of the mark. The node has one; who does not mind takes the one that is there.
///
/// # Errors
/// What the kernel says.
pub fn bit(nft: &Nft, wanted: Option<u8>) -> Answer<u8> {
    if let Some(bit) = wanted {
        return Ok(bit);
    }
    let rules: Vec<Rule> = nft.rules(TABLE, FORWARD)?.into_iter().map(|found| found.rule).collect();
    Ok(layout::mark_bit_of(&rules).unwrap_or(MARK_BIT))
}

/// Adds the element to the batch if it is not there. True if it was not the attachment's.
fn put(
    nft: &Nft,
    batch: &mut Batch,
    (table, set): (Table<'_>, &str),
    wanted: &Element,
    attachment: &Attachment,
    replaced: &mut Vec<Element>,
) -> Answer<bool> {
    let found = nft.element(table, set, &wanted.key)?;
    let ours = found.as_ref().is_some_and(|found| is_of(found, &attachment.owner()));
    if ours && found.as_ref().is_some_and(|found| found.target == wanted.target) {
        return Ok(false);
    }
    if let Some(found) = found {
        batch.delete_elements(table, set, [wanted.key.as_slice()]);
        replaced.push(found);
    }
    batch.add_elements(table, set, std::slice::from_ref(wanted));
    Ok(!ours)
}

/// Everything but the containers' elements.
fn lay(nft: &Nft, batch: &mut Batch, policy: &Policy, going: &[&str], bit: u8) -> Answer<()> {
    if nft.table(TABLE)?.is_none() {
        batch.ensure_table(TABLE, Some(TABLE_COMMENT));
    }
    let mut repairs = Vec::new();
    for (chain, rules) in layout::frame(bit) {
        let repair = Repair::needed(nft, TABLE, &chain, &rules)?;
        repairs.extend(repair.map(|repair| (repair, chain, rules)));
    }
    let own = layout::chain_of(policy);
    let mut chains: Vec<Chain> = Vec::new();
    if !repairs.is_empty() {
        layout::sets().iter().for_each(|set| batch.ensure_set(TABLE, set));
        repairs.iter().for_each(|(repair, chain, rules)| repair.write(batch, TABLE, chain, rules));
        // Who flushed the frame has flushed these too, and their containers may see no ADD for long.
        let there = nft.chains(TABLE)?.into_iter().map(|found| found.chain);
        let stays = |name: &str| name != own.name && !going.contains(&name);
        chains.extend(there.filter(|chain| layout::is_of_a_policy(&chain.name) && stays(&chain.name)));
    }
    chains.push(own);
    for chain in &chains {
        ruleset::lay(nft, batch, chain, &layout::pass(bit))?;
    }
    know(nft, batch, &strictest(nft, policy, going)?)
}

/// The strictest policy of a bridge: of this one, and of the other one that its containers may have. The chains that are
/// `going` do not count.
fn strictest(nft: &Nft, policy: &Policy, going: &[&str]) -> Answer<Policy> {
    if let Policy::SameBridge(bridge) = policy {
        let isolated = Policy::Isolated(bridge.clone());
        let chain = layout::chain_of(&isolated).name;
        if !going.contains(&chain.as_str()) && nft.chain(TABLE, &chain)?.is_some() {
            return Ok(isolated);
        }
    }
    Ok(policy.clone())
}

/// The bridge of a policy is known, and by this policy.
///
/// # Errors
/// What the kernel says.
pub fn know(nft: &Nft, batch: &mut Batch, policy: &Policy) -> Answer<()> {
    for (set, wanted) in layout::bridge_elements(policy).into_iter().flatten() {
        let found = nft.element(TABLE, set, &wanted.key)?;
        if found.as_ref() == Some(&wanted) {
            continue;
        }
        if found.is_some() {
            batch.delete_elements(TABLE, set, [wanted.key.as_slice()]);
        }
        batch.add_elements(TABLE, set, std::slice::from_ref(&wanted));
    }
    Ok(())
}

/// The chain that keeps ports of a bridge apart.
fn lay_apart(nft: &Nft, batch: &mut Batch) -> Answer<()> {
    if nft.table(FRAMES)?.is_none() {
        batch.ensure_table(FRAMES, Some(TABLE_COMMENT));
    }
    let (chain, rules) = layout::apart();
    if let Some(repair) = Repair::needed(nft, FRAMES, &chain, &rules)? {
        batch.ensure_set(FRAMES, &layout::isolated());
        repair.write(batch, FRAMES, &chain, &rules);
    }
    Ok(())
}

/// Whether all is there that [`ensure`] made.
///
/// # Errors
/// What is missing or was changed, and what the kernel says.
pub fn check(nft: &Nft, attachment: &Attachment, plan: &Plan, wanted: Option<u8>) -> Result<()> {
    let missing = missing(nft, attachment, plan, wanted)
        .doing(|| format!("failed to look up what {attachment} may"))?;
    match missing {
        Some(what) => Err(Error::internal(format!("the packets of {attachment} do not pass: {what}"))),
        None => Ok(()),
    }
}

fn missing(nft: &Nft, attachment: &Attachment, plan: &Plan, wanted: Option<u8>) -> Answer<Option<String>> {
    let bit = bit(nft, wanted)?;
    let own = layout::chain_of(&plan.policy);
    let mut chains = layout::frame(bit);
    chains.push((own, layout::pass(bit)));
    if let Some(what) = missing_chain(nft, TABLE, &chains)? {
        return Ok(Some(what));
    }
    for address in &plan.addresses {
        let element = layout::element(attachment, *address, &plan.policy);
        let what = missing_element(nft, TABLE, layout::map_of(*address), &element, attachment)?;
        if let Some(what) = what {
            return Ok(Some(format!("{address} {what}")));
        }
    }
    for (set, wanted) in layout::bridge_elements(&strictest(nft, &plan.policy, &[])?).into_iter().flatten() {
        if nft.element(TABLE, set, &wanted.key)?.as_ref() != Some(&wanted) {
            let bridge = plan.policy.bridge().unwrap_or_default();
            return Ok(Some(format!(
                "{bridge} is not in {set} of table {TABLE}, or as another policy has it"
            )));
        }
    }
    if !plan.ports.is_empty() {
        let (chain, rules) = layout::apart();
        if let Some(what) = missing_chain(nft, FRAMES, &[(chain, rules)])? {
            return Ok(Some(what));
        }
    }
    for port in &plan.ports {
        let element = layout::port(attachment, port);
        if let Some(what) = missing_element(nft, FRAMES, ISOLATED, &element, attachment)? {
            return Ok(Some(format!("{port} {what}")));
        }
    }
    if let Some(bridge) = plan.policy.bridge() {
        let policy = Apart { chain: layout::chain_of(&plan.policy).name, bridge: bridge.to_owned() };
        let staged = gate::staged(nft, &families(&plan.addresses))?;
        if let Some(what) = stages::missing(nft, &staged, &[policy])? {
            return Ok(Some(what));
        }
    }
    gate::missing(nft, bit, &families(&plan.addresses))
}

fn missing_chain(nft: &Nft, table: Table<'_>, chains: &[(Chain, Vec<Rule>)]) -> Answer<Option<String>> {
    match nft.table(table)? {
        None => return Ok(Some(format!("there is no table {table}"))),
        Some(found) if found.dormant => return Ok(Some(format!("the table {table} is dormant"))),
        Some(_) => {}
    }
    for (chain, rules) in chains {
        if Repair::needed(nft, table, chain, rules)?.is_some() {
            return Ok(Some(format!("chain {} of table {table} is gone or changed", chain.name)));
        }
    }
    Ok(None)
}

fn missing_element(
    nft: &Nft,
    table: Table<'_>,
    set: &str,
    wanted: &Element,
    attachment: &Attachment,
) -> Answer<Option<String>> {
    Ok(match nft.element(table, set, &wanted.key)? {
        None => Some(format!("is not in {set} of table {table}")),
        Some(found) if !is_of(&found, &attachment.owner()) => {
            let whose = found.comment.unwrap_or_default();
            Some(format!("is another's in {set} of table {table}: {whose:?}"))
        }
        Some(found) if found.target != wanted.target => {
            Some(format!("has another policy in {set} of table {table}"))
        }
        Some(_) => None,
    })
}

/// Has the kernel try what [`ensure`] would write, and forget it again.
///
/// # Errors
/// What the kernel cannot do.
pub fn rehearse(nft: &Nft, isolates: bool, bit: u8) -> Result<()> {
    let mut batch = Batch::new();
    let table = Table { name: "jackfield_rehearsal", ..TABLE };
    batch.ensure_table(table, Some(TABLE_COMMENT));
    layout::sets().iter().for_each(|set| batch.ensure_set(table, set));
    let mut chains = layout::frame(bit);
    chains.push((layout::chain_of(&Policy::Open), layout::pass(bit)));
    for (chain, rules) in &chains {
        Repair::Make.write(&mut batch, table, chain, rules);
    }
    if isolates {
        let table = Table { name: "jackfield_rehearsal", ..FRAMES };
        batch.ensure_table(table, Some(TABLE_COMMENT));
        batch.ensure_set(table, &layout::isolated());
        let (chain, rules) = layout::apart();
        Repair::Make.write(&mut batch, table, &chain, &rules);
    }
    nft.rehearse(&batch).doing(|| "try the rules".into())
}
