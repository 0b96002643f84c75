//! What the Go plugins wrote for an attachment that lives: is it there, whole, and is it asked?
//!
//! For CHECK of a container that they attached, after nothing of ours was found. Rules that `nft` wrote are read over netlink;
//! those of iptables can be told by that program alone, which is executed only where a chain of theirs is.

use std::net::{IpAddr, SocketAddr};

use cni::call::Attachment;
use cni::error::{OrFail, Result};
use ipnetwork::IpNetwork;
use linux::error::Result as Answer;
use linux::nft::datatype::Part;
use linux::nft::expression::{Comparison, Expression, Meta, Nat, Register};
use linux::nft::object::{Hook, Rule, Table};
use linux::nft::phrase::{self, End};
use linux::nft::verdict::Verdict;
use linux::nft::{Family, Nft};

use super::legacy::Legacy;
use super::names::{self, CHECKS};
use super::rules;
use crate::attachment::iptables::Iptables;

/// The one of its two programs by which iptables has this chain; `None` if it has none by either.
///
/// # Errors
/// What the kernel or the program says.
pub fn program(nft: Option<&Nft>, family: Family, table: &str, chain: &str) -> Result<Option<Iptables>> {
    let there = nft.map(|nft| nft.chain(Table { family, name: table }, chain)).transpose();
    if there.doing(|| format!("look up chain {chain} of table {table}"))?.flatten().is_some() {
        return Ok(Iptables::of_nft(family));
    }
    let Some((_, legacy)) = Legacy::families().find(|(of, _)| *of == family) else { return Ok(None) };
    let Some(iptables) = legacy.of(table) else { return Ok(None) };
    let listing = iptables.list(table, None)?;
    Ok(listing.lines().any(|line| line.strip_prefix("-N ") == Some(chain)).then_some(iptables))
}

/// Does their nftables backend masquerade all of these addresses of the attachment?
///
/// # Errors
/// What the kernel says.
pub fn masquerades(nft: &Nft, attachment: &Attachment, addresses: &[IpNetwork]) -> Result<bool> {
    let look = || -> Answer<bool> {
        if !is_asked(nft, rules::NFTABLES, Hook::Postrouting, CHECKS, &[])? {
            return Ok(false);
        }
        let tag = names::tag(attachment);
        let found = nft.rules(rules::NFTABLES, CHECKS)?;
        let of_attachment = |rule: &&Rule| rule.comment.as_ref().is_some_and(|said| said.starts_with(&tag));
        let own: Vec<_> = found.iter().map(|found| &found.rule).filter(of_attachment).map(meaning).collect();
        Ok(addresses.iter().all(|address| own.contains(&of_masquerade(*address))))
    };
    look().doing(|| format!("look up the masquerade that another plugin wrote for {attachment}"))
}

/// `ip saddr 10.22.0.5 ip daddr != 10.22.0.0/16 masquerade`
fn of_masquerade(address: IpNetwork) -> Vec<Expression> {
    let mut steps = phrase::address(End::Source, Comparison::Equal, address.ip().into());
    steps.extend(phrase::address(End::Destination, Comparison::Unequal, address));
    steps.push(Expression::Masquerade);
    without_family(&steps)
}

/// A port that is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// At this address, or at every one of the family.
    pub host: Option<IpAddr>,
    /// The protocol's number.
    pub protocol: u8,
    /// The port of the host.
    pub port: u16,
    /// Where it leads.
    pub to: SocketAddr,
}

/// What is published in one family.
#[derive(Clone, Copy, Debug)]
pub struct Publishing<'a> {
    /// The ports.
    pub ports: &'a [Port],
    /// From where to where packets get the host's source, for their answers would not come back otherwise.
    pub masqueraded: &'a [[IpAddr; 2]],
    /// What a packet has to be, to meet one of them.
    pub condition: &'a [Expression],
}

/// Does their nftables backend publish all of these ports of the attachment's container, under this condition and no other?
///
/// # Errors
/// What the kernel says.
pub fn publishes(
    nft: &Nft,
    attachment: &Attachment,
    family: Family,
    publishing: Publishing<'_>,
) -> Result<bool> {
    let look = || -> Answer<bool> {
        let table = Table { family, name: names::PORTS_TABLE };
        let own = |chain: &str| -> Answer<Vec<Vec<Expression>>> {
            let found = nft.rules(table, chain)?.into_iter().map(|found| found.rule);
            let own = found.filter(|it| it.comment.as_deref() == Some(attachment.container.as_str()));
            Ok(own.map(|rule| meaning(&rule)).collect())
        };
        let condition = without_family(publishing.condition);
        let mut missing: Vec<Vec<Expression>> = publishing.ports.iter().map(of_port).collect();
        for chain in names::PUBLISHED {
            let own = own(chain)?;
            let (there, rest): (Vec<_>, Vec<_>) = missing.into_iter().partition(|port| own.contains(port));
            missing = rest;
            for hook in [Hook::Prerouting, Hook::Output] {
                if !there.is_empty() && !is_asked(nft, table, hook, chain, &condition)? {
                    return Ok(false);
                }
            }
        }
        let masquerading = own(names::MASQUERADING)?;
        let is_there = |ends: &[IpAddr; 2]| masquerading.contains(&of_source(*ends));
        Ok(missing.is_empty() && publishing.masqueraded.iter().all(is_there))
    };
    look().doing(|| format!("look up the ports that another plugin published for {attachment}"))
}

/// `ip daddr 192.0.2.1 tcp dport 8080 dnat to 10.22.0.5:80`
fn of_port(port: &Port) -> Vec<Expression> {
    let host = port.host.map(|host| phrase::address(End::Destination, Comparison::Equal, host.into()));
    let mut steps = host.unwrap_or_default();
    steps.extend(phrase::protocol(port.protocol));
    let number = Part::Port(port.port).bytes();
    let (how, from) = (Comparison::Equal, Register::word(0));
    steps
        .extend([phrase::load_port(End::Destination, from), Expression::Compare { from, how, with: number }]);
    let [address, to] = [Part::Address(port.to.ip()), Part::Port(port.to.port())].map(|part| part.bytes());
    steps.extend(translates(phrase::family_of(port.to.ip()), address, to));
    without_family(&steps)
}

/// `ip saddr 10.22.0.5 ip daddr 10.22.0.5 masquerade`
fn of_source([from, to]: [IpAddr; 2]) -> Vec<Expression> {
    let of = |end, address: IpAddr| phrase::address(end, Comparison::Equal, address.into());
    let mut steps = [of(End::Source, from), of(End::Destination, to)].concat();
    steps.push(Expression::Masquerade);
    without_family(&steps)
}

/// Does the kernel ask this chain at a hook: a rule of a base chain leads there, or to one that leads there, under this condition
/// and, at most, that the packet is for this host?
fn is_asked(nft: &Nft, table: Table<'_>, hook: Hook, to: &str, condition: &[Expression]) -> Answer<bool> {
    let name = match hook {
        Hook::Prerouting => "prerouting",
        Hook::Output => "output",
        _ => "postrouting",
    };
    let base = nft.chain(table, name)?.and_then(|found| found.chain.base);
    if base.is_none_or(|base| base.hook != hook) || nft.table(table)?.is_none_or(|table| table.dormant) {
        return Ok(false);
    }
    for found in nft.rules(table, name)? {
        let steps = meaning(&found.rule);
        let Some(rest) = steps.strip_prefix(condition) else { continue };
        let rest = rest.strip_prefix(phrase::is_for_this_host().as_slice()).unwrap_or(rest);
        let [Expression::Decide(Verdict::Jump(first) | Verdict::Goto(first))] = rest else { continue };
        let leads_on = |rule: &Rule| meaning(rule) == [Expression::Decide(Verdict::Jump(to.to_owned()))];
        if first == to || nft.rules(table, first)?.iter().any(|found| leads_on(&found.rule)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The steps of a rule that matter, the same in whichever registers `nft` had them done.
fn meaning(rule: &Rule) -> Vec<Expression> {
    let mut loaded: Vec<(Register, &Vec<u8>)> = Vec::new();
    let mut steps = Vec::new();
    for step in &rule.expressions {
        match step {
            Expression::Counter => {}
            Expression::Load { to, value } => loaded.push((*to, value)),
            Expression::Translate { kind: Nat::Destination, family, address, port: Some(port) } => {
                let of = |register| loaded.iter().rev().find(|(to, _)| *to == register);
                match (of(*address), of(*port)) {
                    (Some((_, address)), Some((_, port))) => {
                        steps.extend(translates(*family, address.to_vec(), port.to_vec()));
                    }
                    _ => steps.push(step.clone()),
                }
            }
            _ => steps.push(step.clone()),
        }
    }
    without_family(&steps)
}

/// `dnat to 10.22.0.5:80`
fn translates(family: Family, address: Vec<u8>, port: Vec<u8>) -> [Expression; 3] {
    let [first, second] = [Register::word(0), Register::word(4)];
    [
        Expression::Load { to: first, value: address },
        Expression::Load { to: second, value: port },
        Expression::Translate { kind: Nat::Destination, family, address: first, port: Some(second) },
    ]
}

/// Without the looks at the family, which a table of one family does not need.
fn without_family(steps: &[Expression]) -> Vec<Expression> {
    let mut kept = Vec::new();
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        match step {
            // And what it is compared with.
            Expression::Meta { key: Meta::Family, .. } => drop(steps.next()),
            _ => kept.push(step.clone()),
        }
    }
    kept
}
