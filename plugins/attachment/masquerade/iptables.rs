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
//! A new chain costs one listing and one iptables-restore, which does all or nothing. The end of it is [`inherited`]'s.

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, Faults, OrFail, Result};
use cni::tool::Tool;
use ipnetwork::IpNetwork;

use crate::attachment::{inherited, ruleset};

/// The table, and that somebody else who changes it is waited for.
const NAT: [&str; 3] = ["-w", "-t", "nat"];

/// How often another is let pass who makes the same chain at the same moment.
const ATTEMPTS: usize = 5;

/// The programs of a family.
struct Iptables {
    changes: Tool,
    restores: Tool,
    multicast: &'static str,
}

impl Iptables {
    fn find(v4: bool) -> Result<Iptables> {
        let (changes, restores, multicast) = match v4 {
            true => ("iptables", "iptables-restore", "224.0.0.0/4"),
            false => ("ip6tables", "ip6tables-restore", "ff00::/8"),
        };
        Ok(Iptables { changes: located(changes)?, restores: located(restores)?, multicast })
    }

    /// Says something that has to succeed, and hears the answer.
    fn say(&self, words: &[&str]) -> Result<String> {
        let arguments = [&NAT, words].concat();
        let output = self.changes.run(&arguments, b"")?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(self.changes.refusal(&arguments, &output)),
        }
    }

    fn has(&self, rule: &Rule) -> Result<bool> {
        let words = ["-C", &rule.chain].into_iter().chain(rule.words.iter().map(String::as_str));
        let arguments: Vec<&str> = NAT.into_iter().chain(words).collect();
        let output = self.changes.run(&arguments, b"")?;
        // 1 is no; whatever else is wrong has another number, or is met again by the change.
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1 | 2) => Ok(false),
            _ => Err(self.changes.refusal(&arguments, &output)),
        }
    }
}

fn located(program: &str) -> Result<Tool> {
    Tool::find(program).ok_or_else(|| {
        Error::internal(format!("failed to locate iptables: {program:?}: executable file not found in $PATH"))
            .details("ipMasqBackend is \"iptables\"; \"nftables\" needs no program")
    })
}

/// A rule, as the program is told it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// How it comes into its chain.
    place: Place,
    chain: String,
    words: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    First,
    Last,
}

impl Rule {
    fn new(attachment: &Attachment, place: Place, chain: &str, words: &[&str]) -> Rule {
        let comment = inherited::comment(attachment);
        let words = words.iter().copied().chain(["-m", "comment", "--comment", &comment]);
        Rule { place, chain: chain.into(), words: words.map(String::from).collect() }
    }

    /// The line for iptables-restore.
    fn order(&self) -> String {
        let place = if self.place == Place::First { "-I" } else { "-A" };
        let words: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        format!("{place} {} {}\n", self.chain, words.join(" "))
    }
}

/// A word as iptables-restore reads it.
fn quoted(word: &str) -> String {
    if word.contains([' ', '"']) { format!("\"{}\"", word.replace('"', "\\\"")) } else { word.into() }
}

/// The rules for addresses of one family. What is not masqueraded stands before what is: the Go plugins append, so that
/// with two subnets the second one's own traffic is masqueraded.
fn rules(attachment: &Attachment, multicast: &str, addresses: &[IpNetwork]) -> Vec<Rule> {
    let chain = inherited::chain(attachment);
    let mut rules = Vec::new();
    let mut add = |rule: Rule| {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    };
    for address in addresses {
        let subnet = format!("{}/{}", address.network(), address.prefix());
        add(Rule::new(attachment, Place::First, &chain, &["-d", &subnet, "-j", "ACCEPT"]));
    }
    add(Rule::new(attachment, Place::Last, &chain, &["!", "-d", multicast, "-j", "MASQUERADE"]));
    for address in addresses {
        let source = address.ip().to_string();
        add(Rule::new(attachment, Place::Last, "POSTROUTING", &["-s", &source, "-j", &chain]));
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
    Iptables::find(true)?.say(&["-S", "POSTROUTING"]).map(drop)
}

/// The program is there.
///
/// # Errors
/// It is not; the error names it.
pub fn locate() -> Result<()> {
    Iptables::find(true).map(drop)
}

/// Masquerades what the attachment sends from these addresses out of their subnets. A rule that is there is not written
/// again.
///
/// # Errors
/// A program is missing, or what it says. What was written for another family is there then.
pub fn ensure(attachment: &Attachment, addresses: &[IpNetwork]) -> Result<()> {
    let mut families: Vec<(Iptables, Vec<IpNetwork>)> = Vec::new();
    for (v4, addresses) in self::families(addresses) {
        families.push((Iptables::find(v4)?, addresses));
    }
    for (iptables, addresses) in &families {
        let rules = rules(attachment, iptables.multicast, addresses);
        write(iptables, &inherited::chain(attachment), &rules)
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
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let listing = iptables.say(&["-S"])?;
        let is_there = listing.lines().any(|line| line.strip_prefix("-N ") == Some(chain));
        let mut missing = Vec::new();
        for rule in rules {
            if !is_there || !iptables.has(rule)? {
                missing.push(rule);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let new_chain = if is_there { String::new() } else { format!("-N {chain}\n") };
        let orders: String = missing.iter().map(|rule| rule.order()).collect();
        let (arguments, orders) = (["-w", "--noflush"], format!("*nat\n{new_chain}{orders}COMMIT\n"));
        let output = iptables.restores.run(&arguments, orders.as_bytes())?;
        if output.status.success() {
            return Ok(());
        }
        refused = Some(iptables.restores.refusal(&arguments, &output));
    }
    refused.map_or(Ok(()), Err)
}

/// Whether every rule is there that [`ensure`] made.
///
/// # Errors
/// The first that is missing, and what the program says.
pub fn check(attachment: &Attachment, addresses: &[IpNetwork]) -> Result<()> {
    for (v4, addresses) in families(addresses) {
        let iptables = Iptables::find(v4)?;
        for rule in rules(attachment, iptables.multicast, &addresses) {
            if !iptables.has(&rule)? {
                let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                let order = rule.order();
                return Err(Error::internal(format!(
                    "{} is not masqueraded: table nat has no rule {:?}",
                    list.join(", "),
                    order.trim()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(addresses: &[&str], multicast: &str) -> String {
        let [network, container, ifname] = ["mynet", "0123456789ab", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let addresses: Vec<IpNetwork> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        rules(&attachment, multicast, &addresses).iter().map(Rule::order).collect()
    }

    #[test]
    fn the_rules_are_those_of_the_go_plugins() {
        let expected = r#"-I CNI-8b944e9033db3997b0caec66 -d 10.1.2.0/24 -j ACCEPT -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
-A CNI-8b944e9033db3997b0caec66 ! -d 224.0.0.0/4 -j MASQUERADE -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
-A POSTROUTING -s 10.1.2.3 -j CNI-8b944e9033db3997b0caec66 -m comment --comment "name: \"mynet\" id: \"0123456789ab\""
"#;
        assert_eq!(orders(&["10.1.2.3/24"], "224.0.0.0/4"), expected);
    }

    #[test]
    fn no_rule_is_written_twice_and_no_subnet_is_masqueraded_by_another() {
        let orders = orders(&["fd00::3/64", "fd00::4/64", "fd01::3/64"], "ff00::/8");
        let (targets, masquerade) = (orders.matches(" -j ACCEPT").count(), orders.find("MASQUERADE"));
        assert_eq!((targets, orders.matches("-A POSTROUTING").count()), (2, 3));
        assert!(orders.rfind("ACCEPT") < masquerade, "{orders}");
    }
}
