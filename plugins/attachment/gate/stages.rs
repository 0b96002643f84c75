//! The policies of bridges, where the Go plugin's chains are in force. It keeps a bridge apart by rules of iptables, and we by
//! elements of our own table, so each has a list of bridges that the other one does not read: a container of theirs and one
//! of ours would meet, though both their networks have a policy. So as long as a policy of ours is in force, its bridge is in
//! their list too:
//!
//! ```text
//! -A CNI-ISOLATION-STAGE-1 -i br1 ! -o br1 -m comment --comment "jackfield firewall1_7f3a…" -j CNI-ISOLATION-STAGE-2
//! -A CNI-ISOLATION-STAGE-2 -o br1 -m comment --comment "jackfield firewall1_7f3a…" -j DROP
//! ```
//!
//! The comment names the chain of the policy, and the rules go with it. They are not those that the Go plugin looks for, so it
//! writes its own beside them. A bridge whose name iptables reads as a pattern is not in the list.

use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::expression::{Comparison, Expression, Meta, Register};
use linux::nft::object::{FoundRule, Rule, Table};
use linux::nft::verdict::Verdict;

use super::{TABLES, comment_of};
use crate::attachment::iptables;

/// What the kernel's FORWARD leads to, and what that leads to.
pub const STAGES: [&str; 2] = ["CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];

/// What the comment of our rules begins with.
const OURS: &str = "jackfield ";

/// A policy that is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Apart {
    /// The chain that is there as long as it is.
    pub chain: String,
    /// The bridge that it is about.
    pub bridge: String,
}

/// Puts the bridges into the list of these tables, where they are missing.
///
/// # Errors
/// What the kernel says.
pub fn lay(nft: &Nft, batch: &mut Batch, tables: &[Table<'_>], policies: &[Apart]) -> Answer<()> {
    for table in tables {
        for (stage, rules) in stages(nft, *table)? {
            for policy in policies.iter().filter(|policy| iptables::can_name(&policy.bridge)) {
                let wanted = rule(stage, policy);
                let own = rules.iter().filter(|found| chain_of(&found.rule) == Some(policy.chain.clone()));
                let (right, wrong): (Vec<_>, Vec<_>) = own.partition(|found| is_right(&found.rule, &wanted));
                wrong.iter().for_each(|found| batch.delete_rule(*table, stage, found.handle));
                if right.is_empty() {
                    batch.insert_rule(*table, stage, &wanted);
                }
            }
        }
    }
    Ok(())
}

/// The first of these bridges that is not in the list of one of these tables.
///
/// # Errors
/// What the kernel says.
pub fn missing(nft: &Nft, tables: &[Table<'_>], policies: &[Apart]) -> Answer<Option<String>> {
    for table in tables {
        for (stage, rules) in stages(nft, *table)? {
            for policy in policies.iter().filter(|policy| iptables::can_name(&policy.bridge)) {
                let wanted = rule(stage, policy);
                if !rules.iter().any(|found| is_right(&found.rule, &wanted)) {
                    let bridge = &policy.bridge;
                    return Ok(Some(format!("chain {stage} of table {table} does not know {bridge}")));
                }
            }
        }
    }
    Ok(None)
}

/// Takes the bridges out of the list whose policies' chains are these. Returns a line for each rule.
///
/// # Errors
/// What the kernel says.
pub fn leave(nft: &Nft, batch: &mut Batch, is_gone: impl Fn(&str) -> bool) -> Answer<Vec<String>> {
    let mut lines = Vec::new();
    for table in TABLES {
        for (stage, rules) in stages(nft, table)? {
            for found in rules.iter().filter(|found| chain_of(&found.rule).is_some_and(|it| is_gone(&it))) {
                batch.delete_rule(table, stage, found.handle);
                lines.push(format!("rule of chain {stage} of table {table}"));
            }
        }
    }
    Ok(lines)
}

/// The chains of a table with their rules; none where the Go plugin has not been.
fn stages(nft: &Nft, table: Table<'_>) -> Answer<Vec<(&'static str, Vec<FoundRule>)>> {
    let [first, second] = STAGES;
    if nft.chain(table, second)?.is_none() || nft.chain(table, first)?.is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![(first, nft.rules(table, first)?), (second, nft.rules(table, second)?)])
}

fn rule(stage: &str, policy: &Apart) -> Rule {
    let link = |key, how| {
        // To the byte as iptables writes it: all that it leaves out may be anything.
        let with = [policy.bridge.as_bytes(), b"\0"].concat();
        let from = Register::word(0);
        [Expression::Meta { key, to: from }, Expression::Compare { from, how, with }]
    };
    let [first, second] = STAGES;
    let mut expressions = Vec::new();
    if stage == first {
        expressions.extend(link(Meta::InputName, Comparison::Equal));
        expressions.extend(link(Meta::OutputName, Comparison::Unequal));
        expressions.extend([Expression::Counter, Expression::Decide(Verdict::Jump(second.into()))]);
    } else {
        expressions.extend(link(Meta::OutputName, Comparison::Equal));
        expressions.extend([Expression::Counter, Expression::Decide(Verdict::Drop)]);
    }
    Rule { expressions, comment: Some(format!("{OURS}{}", policy.chain)) }
}

/// The chain that a rule of ours goes with.
fn chain_of(rule: &Rule) -> Option<String> {
    comment_of(rule)?.strip_prefix(OURS).map(str::to_owned)
}

fn is_right(rule: &Rule, wanted: &Rule) -> bool {
    let said = |step: &&Expression| !matches!(step, Expression::Match { name, .. } if name == "comment");
    rule.expressions.iter().filter(said).eq(&wanted.expressions) && comment_of(rule) == comment_of(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_as_written_and_as_iptables_restores_it() {
        let policy = Apart { chain: "firewall1_0".into(), bridge: "br0".into() };
        for stage in STAGES {
            let written = rule(stage, &policy);
            assert_eq!(chain_of(&written).as_deref(), Some("firewall1_0"));
            let mut settings = b"jackfield firewall1_0".to_vec();
            settings.resize(256, 0);
            let mut restored = Rule { comment: None, ..written.clone() };
            let comment = Expression::Match { name: "comment".into(), revision: 0, settings };
            restored.expressions.insert(2, comment);
            assert!(is_right(&written, &written) && is_right(&restored, &written));
            let other = rule(stage, &Apart { bridge: "br01".into(), ..policy.clone() });
            assert!(!is_right(&other, &written));
            assert_eq!(chain_of(&Rule { comment: None, ..written }), None, "anybody's");
        }
    }
}
