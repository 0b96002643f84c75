//! The rules that let a container's packets pass, as iptables-nft and iptables-legacy have them.
//!
//! ```text
//! table ip filter {                        ip6 for IPv6
//!     chain CNI-FORWARD {
//!         ip daddr 10.22.0.5 ct state related,established accept
//!         ip saddr 10.22.0.5 accept
//!     }
//! }
//! ```
//!
//! They say nothing of whose they are: the addresses of the attachment are all that leads to them. The chain and the jumps to it
//! and to the administrator's stay, as they do after the Go plugin's own DEL, and so do the rules of bridges.

use std::net::IpAddr;

use cni::error::{Faults, Result};
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::expression::{Comparison, Expression};
use linux::nft::object::{Rule, Table};
use linux::nft::phrase::{self, End};
use linux::nft::verdict::Verdict;
use linux::nft::{Family, Nft};

use super::legacy::Legacy;
use super::names::FORWARD;

const TABLES: [Table<'static>; 2] =
    [Table { family: Family::Ipv4, name: "filter" }, Table { family: Family::Ipv6, name: "filter" }];

/// As often as anybody may have written the same rule.
pub(super) fn remove(nft: &Nft, addresses: &[IpAddr], is_anothers: &dyn Fn(IpAddr) -> bool) -> Answer<()> {
    nft.settle(|| {
        let mut batch = Batch::new();
        for table in TABLES {
            let of_family: Vec<&IpAddr> =
                addresses.iter().filter(|it| phrase::family_of(**it) == table.family).collect();
            if of_family.is_empty() || nft.chain(table, FORWARD)?.is_none() {
                continue;
            }
            let rules = nft.rules(table, FORWARD)?;
            for address in of_family {
                let own: Vec<_> = rules.iter().filter(|found| accepts(&found.rule, *address)).collect();
                if !own.is_empty() && !is_anothers(*address) {
                    own.iter().for_each(|found| batch.delete_rule(table, FORWARD, found.handle));
                }
            }
        }
        Ok(batch)
    })
}

/// Is this one of the two rules of the address?
fn accepts(rule: &Rule, address: IpAddr) -> bool {
    let loads = |end| {
        phrase::load_address(phrase::family_of(address), end, linux::nft::expression::Register::word(0))
    };
    let mut steps = rule.expressions.iter().filter(|step| **step != Expression::Counter);
    let from_or_to = match steps.next() {
        Some(step) if *step == loads(End::Source) => End::Source,
        Some(step) if *step == loads(End::Destination) => End::Destination,
        _ => return false,
    };
    let with = Part::Address(address).bytes();
    let is_the_address = |step: &Expression| matches!(step, Expression::Compare { how: Comparison::Equal, with: found, .. } if *found == with);
    if !steps.next().is_some_and(is_the_address) {
        return false;
    }
    let is_answer = |step: &Expression| matches!(step, Expression::Match { name, .. } if name == "conntrack");
    let rest: Vec<&Expression> = steps.collect();
    match (from_or_to, rest.as_slice()) {
        (End::Source, [verdict]) => **verdict == Expression::Decide(Verdict::Accept),
        (End::Destination, [state, verdict]) => {
            is_answer(state) && **verdict == Expression::Decide(Verdict::Accept)
        }
        _ => false,
    }
}

/// The two rules of an address, as iptables lists them.
pub(super) fn lines(address: IpAddr) -> [String; 2] {
    let length = if address.is_ipv4() { 32 } else { 128 };
    [
        format!("-A {FORWARD} -d {address}/{length} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        format!("-A {FORWARD} -s {address}/{length} -j ACCEPT"),
    ]
}

pub(super) fn remove_legacy(addresses: &[IpAddr], is_anothers: &dyn Fn(IpAddr) -> bool) -> Result<()> {
    let mut faults = Faults::default();
    for (family, legacy) in Legacy::families() {
        let own: Vec<IpAddr> =
            addresses.iter().copied().filter(|it| phrase::family_of(*it) == family).collect();
        if !own.is_empty()
            && let Some(iptables) = legacy.of("filter")
        {
            let settled =
                iptables.settle(|iptables| Ok(deletions(&iptables.list("filter", None)?, &own, is_anothers)));
            faults.note(settled);
        }
    }
    faults.verdict()
}

/// What iptables-restore has to be told; nothing if there is nothing of these addresses.
fn deletions(listing: &str, addresses: &[IpAddr], is_anothers: &dyn Fn(IpAddr) -> bool) -> String {
    let mut orders = String::new();
    for address in addresses {
        let wanted = lines(*address);
        let found: Vec<&str> = listing.lines().filter(|line| wanted.iter().any(|it| it == line)).collect();
        if !found.is_empty() && !is_anothers(*address) {
            orders.extend(found.iter().map(|line| format!("{}\n", line.replacen("-A", "-D", 1))));
        }
    }
    if orders.is_empty() { orders } else { format!("*filter\n{orders}COMMIT\n") }
}

#[cfg(test)]
mod tests {
    use linux::nft::expression::Register;

    use super::*;

    fn rule(end: End, address: &str, state: bool) -> Rule {
        let address: IpAddr = address.parse().unwrap();
        let mut expressions = vec![phrase::load_address(phrase::family_of(address), end, Register::word(0))];
        let with = Part::Address(address).bytes();
        expressions.push(Expression::Compare { from: Register::word(0), how: Comparison::Equal, with });
        if state {
            let settings = vec![0; 8];
            expressions.push(Expression::Match { name: "conntrack".into(), revision: 3, settings });
        }
        expressions.extend([Expression::Counter, Expression::Decide(Verdict::Accept)]);
        Rule { expressions, comment: None }
    }

    #[test]
    fn the_two_rules_of_an_address_are_known_and_no_others() {
        for address in ["10.22.0.5", "fd00:22::5"] {
            let own = address.parse().unwrap();
            assert!(accepts(&rule(End::Source, address, false), own));
            assert!(accepts(&rule(End::Destination, address, true), own));
            assert!(!accepts(&rule(End::Destination, address, false), own), "it lets anybody in");
            assert!(!accepts(&rule(End::Source, address, true), own));
            for other in ["10.22.0.6", "fd00:22::6"] {
                assert!(!accepts(&rule(End::Source, other, false), own));
            }
            let mut drops = rule(End::Source, address, false);
            drops.expressions.pop();
            drops.expressions.push(Expression::Decide(Verdict::Drop));
            assert!(!accepts(&drops, own));
        }
    }
}
