//! The rules that iptables-nft and `nft` wrote, over netlink.

use std::net::IpAddr;

use cni::call::Attachment;
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::expression::{Comparison, Expression, Header};
use linux::nft::object::{Rule, Table};
use linux::nft::verdict::Verdict;
use linux::nft::{Family, Nft};

use super::names::{self, CHECKS, POSTROUTING};

pub(super) const IPTABLES: [Table<'static>; 2] =
    [Table { family: Family::Ipv4, name: "nat" }, Table { family: Family::Ipv6, name: "nat" }];
pub(super) const NFTABLES: Table<'static> = Table { family: Family::Inet, name: names::TABLE };

/// Everything goes at once, and only as it was seen: iptables-nft holds no lock, and may be at work on the same chains.
pub(super) fn remove(nft: &Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Answer<()> {
    let (chain, tag) = (names::chain(attachment), names::tag(attachment));
    let comment = names::comment(attachment);
    let left = Left { from: POSTROUTING, chain: &chain, addresses, comment: Some(&comment) };
    nft.settle(|| {
        let mut batch = Batch::new();
        for table in IPTABLES {
            leave_chain(nft, &mut batch, table, left)?;
        }
        leave_checks(nft, &mut batch, &tag)?;
        Ok(batch)
    })
}

/// A chain that is to be left: the jumps there from another one, of these addresses or, where nobody knows them, of whom the
/// comment names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left<'a> {
    pub(super) from: &'a str,
    pub(super) chain: &'a str,
    pub(super) addresses: &'a [IpAddr],
    pub(super) comment: Option<&'a str>,
}

/// The jumps from a chain to a container's, and the container's itself if nothing else leads there.
pub(super) fn leave_chain(nft: &Nft, batch: &mut Batch, table: Table<'_>, left: Left<'_>) -> Answer<()> {
    let Left { from, chain, .. } = left;
    // On a node without such a chain this is all. The rules of a base chain are counted by the thousand.
    let Some(found) = nft.chain(table, chain)? else { return Ok(()) };
    let mut leading = 0;
    for jump in nft.rules(table, from)? {
        if leads_to(&jump.rule, chain) && left.is_jump(&jump.rule) {
            batch.delete_rule(table, from, jump.handle);
            leading += 1;
        }
    }
    // The kernel counts a chain's rules and what leads to it in one number.
    if found.uses as usize == leading + nft.rules(table, chain)?.len() {
        batch.delete_chain(table, chain);
    }
    Ok(())
}

/// An attachment's rules in the table of the nftables backend.
fn leave_checks(nft: &Nft, batch: &mut Batch, tag: &str) -> Answer<()> {
    if nft.chain(NFTABLES, CHECKS)?.is_none() {
        return Ok(());
    }
    for found in nft.rules(NFTABLES, CHECKS)? {
        if found.rule.comment.is_some_and(|comment| comment.starts_with(tag)) {
            batch.delete_rule(NFTABLES, CHECKS, found.handle);
        }
    }
    Ok(())
}

fn leads_to(rule: &Rule, chain: &str) -> bool {
    let target = |step: &Expression| match step {
        Expression::Decide(Verdict::Jump(to)) => to == chain,
        _ => false,
    };
    rule.expressions.iter().any(target)
}

impl Left<'_> {
    fn is_jump(self, rule: &Rule) -> bool {
        let is_anothers = || {
            self.comment.is_some_and(|own| said(rule).is_some_and(|text| names::names_another(&text, own)))
        };
        match self.addresses {
            [] => !is_anothers(),
            addresses => addresses.iter().any(|address| is_from(rule, *address)),
        }
    }
}

/// The comment of a rule by iptables: 256 bytes, of which a NUL ends the text (`xt_comment_info`).
fn said(rule: &Rule) -> Option<String> {
    rule.expressions.iter().find_map(|step| match step {
        Expression::Match { name, settings, .. } if name == "comment" => {
            let text = settings.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    })
}

/// Does the rule ask for this source? iptables loads as many of its bytes as the prefix covers, and masks the rest; plugins
/// before v0.8 asked for the whole subnet.
fn is_from(rule: &Rule, address: IpAddr) -> bool {
    let source = if address.is_ipv4() { 12 } else { 8 };
    let mut loaded: Option<Vec<u8>> = None;
    for step in &rule.expressions {
        match step {
            Expression::Payload { header: Header::Network, offset, length, .. } if *offset == source => {
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                loaded = Part::Address(address).bytes().get(..length).map(<[u8]>::to_vec);
            }
            Expression::Bits { mask, .. } => {
                loaded = loaded.map(|bytes| bytes.iter().zip(mask).map(|(byte, mask)| byte & mask).collect());
            }
            Expression::Compare { how: Comparison::Equal, with, .. } => {
                if let Some(bytes) = loaded.take() {
                    return bytes == *with;
                }
            }
            _ => loaded = None,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use linux::nft::expression::Register;
    use linux::nft::phrase::{self, End};

    use super::*;

    fn jump_from(network: &str) -> Rule {
        let mut expressions = phrase::address(End::Source, Comparison::Equal, network.parse().unwrap());
        expressions.extend([
            Expression::Match {
                name: "comment".into(),
                revision: 0,
                settings: b"name: \"n\" id: \"c\"\0x".to_vec(),
            },
            Expression::Counter,
            Expression::Decide(Verdict::Jump("CNI-x".into())),
        ]);
        Rule { expressions, comment: None }
    }

    const OWN: &str = r#"name: "n" id: "c""#;

    fn is_of(network: &str, addresses: &[&str]) -> bool {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let left = Left { from: "", chain: "CNI-x", addresses: &addresses, comment: Some(OWN) };
        left.is_jump(&jump_from(network))
    }

    #[test]
    fn a_jump_is_told_by_its_source() {
        assert!(is_of("10.1.2.3/32", &["10.9.9.9", "10.1.2.3"]));
        assert!(!is_of("10.1.2.3/32", &["10.1.2.4", "fd00::3"]));
        assert!(is_of("fd00::3/128", &["fd00::3"]));
        assert!(!is_of("fd00::3/128", &["fd00::4"]));
        assert!(is_of("10.1.2.3/32", &[]), "nobody knows the addresses");
        let another = Some(r#"name: "nc" id: """#);
        let left = Left { from: "", chain: "CNI-x", addresses: &[], comment: another };
        assert!(!left.is_jump(&jump_from("10.1.2.3/32")), "another's");
        assert!(is_of("10.1.0.0/19", &["10.1.2.3"]) && !is_of("10.1.0.0/19", &["10.1.33.3"]), "masked");
    }

    #[test]
    fn a_prefix_of_whole_bytes_is_compared_as_iptables_writes_it() {
        let load =
            Expression::Payload { header: Header::Network, offset: 12, length: 3, to: Register::word(0) };
        let with = vec![10, 1, 2];
        let compare = Expression::Compare { from: Register::word(0), how: Comparison::Equal, with };
        let rule = Rule { expressions: vec![load, compare], comment: None };
        assert!(is_from(&rule, "10.1.2.3".parse().unwrap()) && !is_from(&rule, "10.1.3.3".parse().unwrap()));
    }

    #[test]
    fn a_rule_about_anything_else_is_nobodys() {
        let to = phrase::address(End::Destination, Comparison::Equal, "10.1.2.3/32".parse().unwrap());
        let not = phrase::address(End::Source, Comparison::Unequal, "10.1.2.3/32".parse().unwrap());
        for expressions in [to, not, vec![Expression::Counter]] {
            assert!(!is_from(&Rule { expressions, comment: None }, "10.1.2.3".parse().unwrap()));
        }
        assert!(
            leads_to(&jump_from("10.1.2.3/32"), "CNI-x") && !leads_to(&jump_from("10.1.2.3/32"), "CNI-y")
        );
    }
}
