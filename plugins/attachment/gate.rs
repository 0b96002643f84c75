//! The way through the administrator's own rules. A packet that is accepted in our table may still be dropped in another, such
//! as iptables' FORWARD, whose policy Docker sets to drop. So what is to pass carries a mark, and one rule in FORWARD accepts
//! whatever carries it:
//!
//! ```text
//! -A FORWARD -m mark --mark 0x1000/0x1000 -m comment --comment "jackfield firewall" -j ACCEPT
//! ```
//!
//! It is the same whoever is attached. Into tables of iptables-nft we write nothing that this program cannot read, such as a set:
//! it lists and restores something else. It stands behind the jumps to the chains in which
//! administrators have rules of their own.
//!
//! - [`legacy`]: the same for iptables-legacy, whose tables only that program can change;
//! - [`stages`]: the policies of bridges, in the Go plugin's own chains where these are.

pub mod legacy;
pub mod stages;

use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::expression::Expression;
use linux::nft::object::{FoundRule, Hook, Policy, Rule, Table};
use linux::nft::verdict::Verdict;
use linux::nft::{Family, Nft, phrase};

/// The bit of a packet's mark, unless the administrator has chosen another. The Go plugins' port mapping uses 13 on its way
/// to masquerade, Kubernetes 14 and 15, Cilium 8 to 11, Calico those from 16 on.
pub const MARK_BIT: u8 = 12;

/// The tables of iptables-nft.
const TABLES: [Table<'static>; 2] =
    [Table { family: Family::Ipv4, name: "filter" }, Table { family: Family::Ipv6, name: "filter" }];
const FORWARD: &str = "FORWARD";

/// By this the rule is known.
const COMMENT: &str = "jackfield firewall";

/// The chains that come before our rule, if they come at all: an administrator writes his own rules into the second one, and
/// into one that is called by the first.
const BEFORE_US: [&str; 3] = ["CNI-FORWARD", "DOCKER-USER", stages::STAGES[0]];

/// The bit as a mark.
pub fn bits(mark_bit: u8) -> u32 {
    1_u32.checked_shl(mark_bit.into()).unwrap_or_default()
}

/// Puts the rule where packets of these families could be dropped, if it is not there. One with another mark goes. Returns the
/// tables in which the Go plugin keeps bridges apart.
///
/// # Errors
/// What the kernel says.
pub fn lay(nft: &Nft, batch: &mut Batch, mark_bit: u8, families: &[Family]) -> Answer<Vec<Table<'static>>> {
    let mut staged = Vec::new();
    for table in tables(families) {
        let Some(found) = Found::look(nft, table, mark_bit)? else { continue };
        staged.extend(found.is_staged.then_some(table));
        for handle in &found.wrong {
            batch.delete_rule(table, FORWARD, *handle);
        }
        if found.is_right || !found.can_drop {
            continue;
        }
        match found.behind {
            Some(handle) => batch.insert_rule_behind(table, FORWARD, &rule(mark_bit), handle),
            None => batch.insert_rule(table, FORWARD, &rule(mark_bit)),
        }
    }
    Ok(staged)
}

/// The tables of these families in which the Go plugin keeps bridges apart.
///
/// # Errors
/// What the kernel says.
pub fn staged(nft: &Nft, families: &[Family]) -> Answer<Vec<Table<'static>>> {
    let mut staged = Vec::new();
    for table in tables(families) {
        let leads = |found: &FoundRule| leads_to(&found.rule) == Some(stages::STAGES[0]);
        staged.extend(nft.rules(table, FORWARD)?.iter().any(leads).then_some(table));
    }
    Ok(staged)
}

/// The first table in which packets of these families could be dropped that have the mark.
///
/// # Errors
/// What the kernel says.
pub fn missing(nft: &Nft, mark_bit: u8, families: &[Family]) -> Answer<Option<String>> {
    for table in tables(families) {
        if let Some(found) = Found::look(nft, table, mark_bit)?
            && found.can_drop
            && !found.is_right
        {
            let mark = bits(mark_bit);
            return Ok(Some(format!(
                "chain {FORWARD} of table {table} has no rule that accepts the mark {mark:#x}/{mark:#x}"
            )));
        }
    }
    Ok(None)
}

/// Takes the rule away. Returns the tables that have it.
///
/// # Errors
/// What the kernel says.
pub fn remove(nft: &Nft, batch: &mut Batch) -> Answer<Vec<Table<'static>>> {
    let mut having = Vec::new();
    for table in TABLES {
        if nft.chain(table, FORWARD)?.is_none() {
            continue;
        }
        for found in nft.rules(table, FORWARD)?.iter().filter(|found| is_ours(&found.rule)) {
            batch.delete_rule(table, FORWARD, found.handle);
            having.extend((!having.contains(&table)).then_some(table));
        }
    }
    Ok(having)
}

fn tables(families: &[Family]) -> impl Iterator<Item = Table<'static>> {
    TABLES.into_iter().filter(|table| families.contains(&table.family))
}

/// What is in a chain FORWARD through which packets pass.
#[derive(Default)]
struct Found {
    can_drop: bool,
    is_right: bool,
    /// The Go plugin keeps bridges apart.
    is_staged: bool,
    /// Rules of ours that are not as they should be.
    wrong: Vec<u64>,
    /// The rule behind which ours belongs.
    behind: Option<u64>,
}

impl Found {
    fn look(nft: &Nft, table: Table<'_>, mark_bit: u8) -> Answer<Option<Found>> {
        let Some(chain) = nft.chain(table, FORWARD)? else { return Ok(None) };
        let Some(base) = chain.chain.base.filter(|base| base.hook == Hook::Forward) else { return Ok(None) };
        let mut found = Found { can_drop: base.policy == Policy::Drop, ..Found::default() };
        for FoundRule { handle, rule } in nft.rules(table, FORWARD)? {
            match is_ours(&rule) {
                true if is_right(&rule, mark_bit) && !found.is_right => found.is_right = true,
                true => found.wrong.push(handle),
                false => {
                    found.can_drop = true;
                    let to = leads_to(&rule);
                    found.is_staged |= to == Some(stages::STAGES[0]);
                    if to.is_some_and(|chain| BEFORE_US.contains(&chain)) {
                        found.behind = Some(handle);
                    }
                }
            }
        }
        Ok(Some(found))
    }
}

fn rule(mark_bit: u8) -> Rule {
    let mut expressions = Vec::from(phrase::mark_has(bits(mark_bit)));
    expressions.extend([Expression::Counter, Expression::Decide(Verdict::Accept)]);
    Rule { expressions, comment: Some(COMMENT.into()) }
}

fn leads_to(rule: &Rule) -> Option<&str> {
    rule.expressions.iter().find_map(|step| match step {
        Expression::Decide(verdict) => verdict.chain(),
        _ => None,
    })
}

fn is_ours(rule: &Rule) -> bool {
    let accepts = rule.expressions.last() == Some(&Expression::Decide(Verdict::Accept));
    accepts && comment_of(rule).as_deref() == Some(COMMENT)
}

/// Our comment is where `nft` has comments; where iptables-nft has restored the rule it has become a match.
fn comment_of(rule: &Rule) -> Option<String> {
    let matched = || rule.expressions.iter().find_map(comment_in);
    rule.comment.clone().or_else(|| matched().map(|text| String::from_utf8_lossy(text).into_owned()))
}

fn is_right(rule: &Rule, mark_bit: u8) -> bool {
    let steps = rule.expressions.iter().filter(|step| !is_our_comment(step));
    steps.eq(&self::rule(mark_bit).expressions)
}

fn is_our_comment(step: &Expression) -> bool {
    comment_in(step) == Some(COMMENT.as_bytes())
}

/// 256 bytes, of which a NUL ends the text (`xt_comment_info`).
fn comment_in(step: &Expression) -> Option<&[u8]> {
    match step {
        Expression::Match { name, settings, .. } if name == "comment" => {
            settings.split(|byte| *byte == 0).next()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_known_as_written_and_as_iptables_restores_it() {
        let written = rule(MARK_BIT);
        assert!(is_ours(&written) && is_right(&written, MARK_BIT) && !is_right(&written, 13));
        let mut settings = COMMENT.as_bytes().to_vec();
        settings.resize(256, 0);
        let mut restored = Rule { comment: None, ..written.clone() };
        let comment = Expression::Match { name: "comment".into(), revision: 0, settings };
        restored.expressions.insert(3, comment);
        assert!(is_ours(&restored) && is_right(&restored, MARK_BIT));
        let anybodys = Rule { comment: None, ..written };
        assert!(!is_ours(&anybodys));
    }
}
