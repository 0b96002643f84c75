//! What all our nftables rules have in common. The rules themselves never change: a container is an element of a set or
//! map, and its comment says whose it is, as the alias of a link does. What somebody has flushed or changed is repaired
//! by the next ADD.

use cni::call::Owner;
use cni::error::{OrFail, Result};
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::object::{Chain, Element, Rule, Table};

use crate::attachment::mark::Mark;

/// What our tables say about themselves.
pub const TABLE_COMMENT: &str = "made and removed by the Jackfield CNI plugins";

/// A conversation with nf_tables; `None` where the kernel has none, so that nothing of ours can be there.
///
/// # Errors
/// What else the kernel says.
pub fn open_if_any() -> Result<Option<Nft>> {
    let opened = Nft::here().and_then(|nft| nft.generation().map(|_| nft));
    match opened {
        Err(error) if error.is_unsupported() => Ok(None),
        opened => opened.map(Some).doing(|| "open nf_tables".into()),
    }
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

/// What the comment of an element says; `None` if it is not one of ours.
pub fn mark(element: &Element) -> Option<Mark> {
    element.comment.as_deref().and_then(Mark::read)
}

/// Is this element the owner's?
pub fn is_of(element: &Element, owner: &Owner) -> bool {
    mark(element).is_some_and(|mark| mark.is_of(owner))
}
