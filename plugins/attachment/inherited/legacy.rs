//! The rules that iptables-legacy wrote. Its tables are one block of bytes each, which only a program that knows every
//! match and target can change: so it is executed, but only where the kernel says that its tables are in use.

use std::net::IpAddr;

use cni::error::{Faults, Result};
use ipnetwork::IpNetwork;
use linux::nft::Family;

use super::names::names_another;
use super::rules::Left;
use crate::attachment::iptables::Iptables;

/// What speaks for a family: the tables in use, and the programs, each to list and to restore.
pub(in crate::attachment) struct Legacy {
    tables: &'static str,
    programs: [&'static str; 2],
    /// Their names where no other iptables is installed.
    plain: [&'static str; 2],
}

const FAMILIES: [Legacy; 2] = [
    Legacy {
        tables: "/proc/net/ip_tables_names",
        programs: ["iptables-legacy", "iptables-legacy-restore"],
        plain: ["iptables", "iptables-restore"],
    },
    Legacy {
        tables: "/proc/net/ip6_tables_names",
        programs: ["ip6tables-legacy", "ip6tables-legacy-restore"],
        plain: ["ip6tables", "ip6tables-restore"],
    },
];

/// Removes the jumps of these addresses from a chain of a table to a container's, of both families; the container's goes
/// with the last.
pub(super) fn remove(table: &str, left: Left<'_>) -> Result<()> {
    let mut faults = Faults::default();
    for iptables in FAMILIES.iter().filter_map(|family| family.of(table)) {
        faults.note(iptables.settle(|iptables| {
            let orders = orders(&iptables.list(table, None)?, left);
            Ok(orders.map(|orders| format!("*{table}\n{orders}COMMIT\n")).unwrap_or_default())
        }));
    }
    faults.verdict()
}

impl Legacy {
    /// Both families.
    pub(in crate::attachment) fn families() -> impl Iterator<Item = (Family, &'static Legacy)> {
        [Family::Ipv4, Family::Ipv6].into_iter().zip(&FAMILIES)
    }

    /// The programs that change a table, if it is in use. Where they are not installed it is somebody else's: the Go plugins had
    /// none to write with either.
    pub(in crate::attachment) fn of(&self, table: &str) -> Option<Iptables> {
        // A kernel without these tables has no such file.
        let names = std::fs::read_to_string(self.tables).unwrap_or_default();
        if !names.lines().any(|used| used == table) {
            return None;
        }
        Iptables::of(self.programs).or_else(|| Iptables::of(self.plain).filter(Iptables::is_legacy))
    }
}

/// What iptables-restore has to be told about the table; `None` if the listing says nothing of the chain. The listing's own
/// lines are given back, so that nobody has to know how it quotes a comment.
fn orders(listing: &str, left: Left<'_>) -> Option<String> {
    let chain = left.chain;
    if !listing.lines().any(|line| line.strip_prefix("-N ") == Some(chain)) {
        return None;
    }
    let leading: Vec<&str> = listing.lines().filter(|line| leads_to(line, chain)).collect();
    let leaving: Vec<&str> = leading.iter().filter_map(|line| jump(line, left)).collect();
    let mut orders = String::new();
    for jump in &leaving {
        orders.push_str(&format!("-D {jump}\n"));
    }
    if leaving.len() == leading.len() {
        orders.push_str(&format!("-F {chain}\n-X {chain}\n"));
    } else if leaving.is_empty() {
        return None;
    }
    Some(orders)
}

/// `-A POSTROUTING -s 10.1.2.3/32 … -j CHAIN`: a target that is a chain ends the line.
fn leads_to(line: &str, chain: &str) -> bool {
    let target = line.strip_suffix(chain);
    line.starts_with("-A ") && target.is_some_and(|rest| rest.ends_with(" -j ") || rest.ends_with(" -g "))
}

/// The jump without its `-A`, if it is one of those that are to go.
fn jump<'a>(line: &'a str, left: Left<'_>) -> Option<&'a str> {
    let jump = line.strip_prefix("-A ")?;
    let (chain, rest) = jump.split_once(' ')?;
    let source = rest.strip_prefix("-s ").and_then(|rest| rest.split(' ').next()?.parse::<IpNetwork>().ok());
    let is_of = |address: &IpAddr| source.is_some_and(|source| source.contains(*address));
    let is_anothers = || {
        let text = rest.replace("\\\"", "\"");
        left.comment.is_some_and(|own| names_another(&text, own))
    };
    let goes = match left.addresses {
        [] => !is_anothers(),
        addresses => addresses.iter().any(is_of),
    };
    (chain == left.from && goes).then_some(jump)
}

#[cfg(test)]
mod tests {
    use super::super::names::POSTROUTING;
    use super::*;

    const CHAIN: &str = "CNI-2bbe0c48b91a7d1b8a6753a8";

    const LISTING: &str = r#"-P POSTROUTING ACCEPT
-N CNI-2bbe0c48b91a7d1b8a6753a8
-N CNI-0000000000000000000000ff
-A POSTROUTING -s 10.1.2.9/32 -m comment --comment "name: \"test\" id: \"9\"" -j CNI-0000000000000000000000ff
-A POSTROUTING -s 10.1.2.3/32 -m comment --comment "name: \"test\" id: \"1234\"" -j CNI-2bbe0c48b91a7d1b8a6753a8
-A POSTROUTING -s 10.1.2.4/32 -m comment --comment "name: \"test\" id: \"1234\"" -j CNI-2bbe0c48b91a7d1b8a6753a8
-A CNI-2bbe0c48b91a7d1b8a6753a8 -d 10.1.2.0/24 -m comment --comment "name: \"test\" id: \"1234\"" -j ACCEPT
"#;

    const JUMP: [&str; 2] = [
        r#"-D POSTROUTING -s 10.1.2.3/32 -m comment --comment "name: \"test\" id: \"1234\"" -j CNI-2bbe0c48b91a7d1b8a6753a8"#,
        r#"-D POSTROUTING -s 10.1.2.4/32 -m comment --comment "name: \"test\" id: \"1234\"" -j CNI-2bbe0c48b91a7d1b8a6753a8"#,
    ];

    fn left<'a>(addresses: &'a [IpAddr], comment: &'a str) -> Left<'a> {
        Left { from: POSTROUTING, chain: CHAIN, addresses, comment: Some(comment) }
    }

    fn orders_for(addresses: &[&str]) -> Option<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        orders(LISTING, left(&addresses, r#"name: "test" id: "1234""#))
    }

    #[test]
    fn the_chain_goes_with_the_last_jump_to_it() {
        let [first, second] = JUMP;
        assert_eq!(orders_for(&["10.1.2.3"]).unwrap(), format!("{first}\n"));
        let all = format!("{first}\n{second}\n-F {CHAIN}\n-X {CHAIN}\n");
        assert_eq!(orders_for(&["10.1.2.3", "10.1.2.4"]).unwrap(), all);
        assert_eq!(orders_for(&[]).unwrap(), all, "nobody knows the addresses");
    }

    #[test]
    fn where_nothing_is_of_this_attachment_nothing_is_ordered() {
        assert_eq!(orders_for(&["10.1.2.9"]), None);
        assert_eq!(orders("-P POSTROUTING ACCEPT\n", left(&[], "")), None);
        let another = r#"name: "test1" id: "234""#;
        assert_eq!(orders(LISTING, left(&[], another)), None, "another attachment shares the chain");
    }

    #[test]
    fn a_chain_that_somebody_else_uses_too_stays() {
        let listing = format!("{LISTING}-A OUTPUT -j {CHAIN}\n");
        let [first, second] = JUMP;
        let own = r#"name: "test" id: "1234""#;
        assert_eq!(orders(&listing, left(&[], own)).unwrap(), format!("{first}\n{second}\n"));
    }
}
