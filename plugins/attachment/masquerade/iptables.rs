//! Masquerade by iptables, for an administrator who insists: in the tables that he looks into, by the program that he uses,
//! and the Go plugins' own rules, so that either removes what the other wrote.
//!
//! ```text
//! -N CNI-8b944e9033db3997b0caec66                              one per network and container
//! -A CNI-8b944e9033db3997b0caec66 -d 10.22.0.5/16 -j ACCEPT
//! -A CNI-8b944e9033db3997b0caec66 ! -d 224.0.0.0/4 -j MASQUERADE
//! -A POSTROUTING -s 10.22.0.5 -j CNI-8b944e9033db3997b0caec66
//! ```
//!
//! The end of it is [`inherited`]'s.

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, Faults, OrFail, Result};
use ipnetwork::IpNetwork;
use linux::nft::{Family, Nft};

use crate::attachment::iptables::{Iptables, Rule};
use crate::attachment::{inherited, ruleset};

const TABLE: &str = "nat";

/// The program of a family.
fn find(v4: bool) -> Result<Iptables> {
    Iptables::find(v4, "ipMasqBackend is \"iptables\"; \"nftables\" needs no program")
}

/// The rules for addresses of one family. What is not masqueraded stands before what is: the Go plugins append, so that
/// with two subnets the second one's own traffic is masqueraded.
fn rules(attachment: &Attachment, v4: bool, addresses: &[IpNetwork]) -> Vec<Rule> {
    let (chain, comment) = (inherited::chain(attachment), inherited::comment(attachment));
    let said = |words: &[&str]| -> Vec<String> {
        words.iter().copied().chain(["-m", "comment", "--comment", &comment]).map(String::from).collect()
    };
    let multicast = if v4 { "224.0.0.0/4" } else { "ff00::/8" };
    let mut rules = Vec::new();
    let mut add = |rule: Rule| {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    };
    for address in addresses {
        let subnet = format!("{}/{}", address.network(), address.prefix());
        add(Rule::first(&chain, said(&["-d", &subnet, "-j", "ACCEPT"])));
    }
    add(Rule::last(&chain, said(&["!", "-d", multicast, "-j", "MASQUERADE"])));
    for address in addresses {
        let source = address.ip().to_string();
        add(Rule::last("POSTROUTING", said(&["-s", &source, "-j", &chain])));
    }
    rules
}

/// The families of these addresses, with the addresses of each.
fn families(addresses: &[IpNetwork]) -> impl Iterator<Item = (bool, Vec<IpNetwork>)> {
    let of = |v4| (v4, addresses.iter().copied().filter(|address| address.is_ipv4() == v4).collect());
    [true, false].map(of).into_iter().filter(|(_, addresses): &(bool, Vec<_>)| !addresses.is_empty())
}

/// Would the program do it? It is asked what ADD would ask it first.
///
/// # Errors
/// The program is missing, or what it says.
pub fn usable() -> Result<()> {
    find(true)?.list(TABLE, Some("POSTROUTING")).map(drop)
}

/// The program is there.
///
/// # Errors
/// It is not; the error names it.
pub fn locate() -> Result<()> {
    find(true).map(drop)
}

/// Masquerades what the attachment sends from these addresses out of their subnets. A rule that is there is not written
/// again.
///
/// # Errors
/// A program is missing, or what it says. What was written for another family is there then.
pub fn ensure(attachment: &Attachment, addresses: &[IpNetwork]) -> Result<()> {
    let mut families: Vec<(Iptables, Vec<Rule>)> = Vec::new();
    for (v4, addresses) in self::families(addresses) {
        families.push((find(v4)?, rules(attachment, v4, &addresses)));
    }
    for (iptables, rules) in &families {
        write(iptables, &inherited::chain(attachment), rules)
            .doing(|| format!("failed to masquerade {attachment} by iptables"))?;
    }
    Ok(())
}

/// Removes the rules for these addresses; if there are none, those of the container in this network. Which of its two tables
/// iptables writes to is a matter of the day, so both are looked into.
///
/// # Errors
/// What the kernel or the program says, after both were tried.
pub fn remove(attachment: &Attachment, addresses: &[IpAddr]) -> Result<()> {
    let mut faults = Faults::default();
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        faults.note(inherited::remove(&nft, attachment, addresses));
    }
    faults.note(inherited::remove_legacy(attachment, addresses));
    faults.verdict()
}

fn write(iptables: &Iptables, chain: &str, rules: &[Rule]) -> Result<()> {
    iptables.settle(|iptables| {
        let listing = iptables.list(TABLE, None)?;
        let is_there = listing.lines().any(|line| line.strip_prefix("-N ") == Some(chain));
        let mut missing = Vec::new();
        for rule in rules {
            if !is_there || iptables.missing(TABLE, std::slice::from_ref(rule))?.is_some() {
                missing.push(rule);
            }
        }
        if missing.is_empty() {
            return Ok(String::new());
        }
        let new_chain = if is_there { String::new() } else { format!("-N {chain}\n") };
        let orders: String = missing.iter().map(|rule| rule.order()).collect();
        Ok(format!("*{TABLE}\n{new_chain}{orders}COMMIT\n"))
    })
}

/// Whether every rule is there that [`ensure`] made.
///
/// # Errors
/// The first that is missing, and what the program says.
pub fn check(attachment: &Attachment, addresses: &[IpNetwork]) -> Result<()> {
    for (v4, addresses) in families(addresses) {
        let rules = rules(attachment, v4, &addresses);
        if let Some(rule) = find(v4)?.missing(TABLE, &rules)? {
            let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            let order = rule.order();
            return Err(Error::internal(format!(
                "{} is not masqueraded: table nat has no rule {:?}",
                list.join(", "),
                order.trim()
            )));
        }
    }
    Ok(())
}

/// Whether the Go plugins have written those rules, by whichever of the two programs.
///
/// # Errors
/// What the kernel or the program says.
pub fn is_done_by_others(
    nft: Option<&Nft>,
    attachment: &Attachment,
    addresses: &[IpNetwork],
) -> Result<bool> {
    let chain = inherited::chain(attachment);
    for (v4, addresses) in families(addresses) {
        let family = if v4 { Family::Ipv4 } else { Family::Ipv6 };
        let Some(iptables) = inherited::present::program(nft, family, TABLE, &chain)? else {
            return Ok(false);
        };
        if iptables.missing(TABLE, &rules(attachment, v4, &addresses))?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(addresses: &[&str], v4: bool) -> String {
        let [network, container, ifname] = ["mynet", "0123456789ab", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let addresses: Vec<IpNetwork> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        rules(&attachment, v4, &addresses).iter().map(Rule::order).collect()
    }

    #[test]
    fn the_rules_are_those_of_the_go_plugins() {
        let expected = r#"-I CNI-8b944e9033db3997b0caec66 -d 10.1.2.0/24 -j ACCEPT -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
-A CNI-8b944e9033db3997b0caec66 ! -d 224.0.0.0/4 -j MASQUERADE -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
-A POSTROUTING -s 10.1.2.3 -j CNI-8b944e9033db3997b0caec66 -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
"#;
        assert_eq!(orders(&["10.1.2.3/24"], true), expected);
    }

    #[test]
    fn no_rule_is_written_twice_and_no_subnet_is_masqueraded_by_another() {
        let orders = orders(&["fd00::3/64", "fd00::4/64", "fd01::3/64"], false);
        let (targets, masquerade) = (orders.matches(" -j ACCEPT").count(), orders.find("MASQUERADE"));
        assert_eq!((targets, orders.matches("-A POSTROUTING").count()), (2, 3));
        assert!(orders.rfind("ACCEPT") < masquerade, "{orders}");
    }
}
