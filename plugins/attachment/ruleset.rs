//! What all our nftables rules have in common. The rules themselves never change: a container is an element of a set or
//! map, and its comment says whose it is, as the alias of a link does. What somebody has flushed or changed is repaired
//! by the next ADD.

use std::collections::{BTreeMap, BTreeSet};

use cni::call::Owner;
use cni::error::{OrFail, Result};
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::object::{Chain, Element, Rule, Table, Target};
use linux::nft::{Family, Nft};

use crate::attachment::mark::Mark;

/// The table of everything that we do with IP packets. Several plugins have their chains and maps in it.
pub const TABLE: Table<'static> = Table { family: Family::Inet, name: "jackfield" };

/// What our tables say about themselves.
pub const TABLE_COMMENT: &str = "made and removed by the Jackfield CNI plugins";

/// A conversation with nf_tables; `None` where the kernel has none, so that nothing of ours can be there.
///
/// # Errors
/// What else the kernel says.
pub fn open_if_any() -> Result<Option<Nft>> {
    match opened() {
        Err(error) if error.is_unsupported() => Ok(None),
        opened => opened.map(Some).doing(|| "open nf_tables".into()),
    }
}

/// Opens a conversation with nf_tables, which has to be there.
///
/// # Errors
/// The kernel has none, or does not let us; the error says for what it was needed.
pub fn open(purpose: &str) -> Result<Nft> {
    opened().doing(|| format!("open nf_tables for {purpose}"))
}

fn opened() -> Answer<Nft> {
    // The question makes sure that the socket leads somewhere.
    Nft::here().and_then(|nft| nft.generation().map(|_| nft))
}

/// Puts the rules of a dormant table in force. This has a batch of its own: the kernel refuses to wake a table
/// and to add a chain that it calls in one (`nft_table_pending_update` in `nf_tables_api.c`).
///
/// # Errors
/// What the kernel says.
pub fn wake(nft: &Nft, table: Table<'_>) -> Answer<()> {
    nft.settle(|| {
        let mut batch = Batch::new();
        if nft.table(table)?.is_some_and(|table| table.dormant) {
            batch.ensure_table(table, None);
        }
        Ok(batch)
    })
}

/// What is wrong with a chain.
pub enum Repair {
    /// It is not there.
    Make,
    /// Its rules are not what they should be.
    Refill,
    /// The kernel calls it from elsewhere, or does not call it.
    Replace,
}

impl Repair {
    /// What is wrong with this chain; `None` if it is there with these rules and no others.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn needed(nft: &Nft, table: Table<'_>, chain: &Chain, rules: &[Rule]) -> Answer<Option<Repair>> {
        Ok(match nft.chain(table, &chain.name)? {
            None => Some(Repair::Make),
            Some(found) if found.chain.base != chain.base => Some(Repair::Replace),
            Some(_) => {
                let found = nft.rules(table, &chain.name)?;
                let same = found.iter().map(|found| &found.rule).eq(rules);
                (!same).then_some(Repair::Refill)
            }
        })
    }

    /// Makes the chain as it should be.
    pub fn write(&self, batch: &mut Batch, table: Table<'_>, chain: &Chain, rules: &[Rule]) {
        match self {
            Repair::Make => batch.ensure_chain(table, chain),
            Repair::Refill => batch.flush_chain(table, &chain.name),
            Repair::Replace => {
                batch.delete_chain(table, &chain.name);
                batch.ensure_chain(table, chain);
            }
        }
        for rule in rules {
            batch.append_rule(table, &chain.name, rule);
        }
    }
}

/// One chain with its rules, if they are not there as they should be.
///
/// # Errors
/// What the kernel says.
pub fn lay(nft: &Nft, batch: &mut Batch, chain: &Chain, rules: &[Rule]) -> Answer<()> {
    if let Some(repair) = Repair::needed(nft, TABLE, chain, rules)? {
        repair.write(batch, TABLE, chain, rules);
    }
    Ok(())
}

/// The chains, of those whose names begin so, to which nothing but these elements leads. The kernel counts a chain's rules
/// and what leads to it in one number.
///
/// # Errors
/// What the kernel says.
pub fn unused<'a>(
    nft: &Nft,
    start: &str,
    leaving: impl IntoIterator<Item = &'a Element>,
) -> Answer<BTreeSet<&'a str>> {
    let mut leads: BTreeMap<&str, usize> = BTreeMap::new();
    for element in leaving {
        if let Target::Verdict(verdict) = &element.target
            && let Some(chain) = verdict.chain().filter(|name| name.starts_with(start))
        {
            *leads.entry(chain).or_default() += 1;
        }
    }
    let mut unused = BTreeSet::new();
    for (chain, leading) in leads {
        if let Some(found) = nft.chain(TABLE, chain)?
            && found.uses as usize == leading + nft.rules(TABLE, chain)?.len()
        {
            unused.insert(chain);
        }
    }
    Ok(unused)
}

/// Deletes chains and sets, which are there and which nothing else uses, in this order; and the table instead, if nothing
/// else is in it. The batch is one that does nothing else.
///
/// # Errors
/// What the kernel says.
pub fn take_away(nft: &Nft, batch: Batch, chains: &[&str], sets: &[&str]) -> Answer<Batch> {
    take_away_from(nft, TABLE, batch, chains, sets)
}

/// The same in another table.
///
/// # Errors
/// What the kernel says.
pub fn take_away_from(
    nft: &Nft,
    table: Table<'_>,
    mut batch: Batch,
    chains: &[&str],
    sets: &[&str],
) -> Answer<Batch> {
    let all = chains.len() + sets.len();
    if nft.table(table)?.is_some_and(|found| found.parts as usize == all) {
        let mut batch = Batch::new();
        batch.delete_table(table);
        return Ok(batch);
    }
    chains.iter().for_each(|chain| batch.delete_chain(table, chain));
    sets.iter().for_each(|set| batch.delete_set(table, set));
    Ok(batch)
}

/// What the comment of an element says; `None` if it is not one of ours.
pub fn mark(element: &Element) -> Option<Mark> {
    element.comment.as_deref().and_then(Mark::read)
}

/// Is this element the owner's?
pub fn is_of(element: &Element, owner: &Owner) -> bool {
    mark(element).is_some_and(|mark| mark.is_of(owner))
}
