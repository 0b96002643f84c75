//! iptables, for an administrator who insists: the Go plugin's own rules, so that either removes what the other wrote.
//!
//! ```text
//! -A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j CNI-ISOLATION-STAGE-1
//! -A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
//! -A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
//! -A CNI-FORWARD -d 10.22.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
//! -A CNI-FORWARD -s 10.22.0.5/32 -j ACCEPT
//! -A CNI-ISOLATION-STAGE-1 -i br1 ! -o br1 -m comment --comment "… (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
//! -A CNI-ISOLATION-STAGE-1 -m comment --comment "… (ingressPolicy: same-bridge|isolated)" -j RETURN
//! -A CNI-ISOLATION-STAGE-2 -o br1 -m comment --comment "… (ingressPolicy: same-bridge|isolated)" -j DROP
//! -A CNI-ISOLATION-STAGE-2 -m comment --comment "… (ingressPolicy: same-bridge|isolated)" -j RETURN
//! ```
//!
//! What is there is told by a listing, and what is missing written by one iptables-restore, which does all or nothing. Policies
//! come before what they restrict, also where the Go plugin has put them behind it. The end of it is [`inherited`]'s.

use std::net::IpAddr;

use cni::error::{Error, OrFail, Result};
use linux::nft::{Family, Nft};

use crate::attachment::gate::stages::STAGES;
use crate::attachment::inherited;
use crate::attachment::iptables::{Iptables, can_name};
use crate::firewall::plan::{Plan, Policy};

const TABLE: &str = "filter";
const RULES: &str = "CNI firewall plugin rules";

fn find(v4: bool) -> Result<Iptables> {
    Iptables::find(
        v4,
        "backend is \"iptables\", or iptablesAdminChainName is set; \"nftables\" needs no program",
    )
}

/// The rules that a container of one family needs, each as iptables lists it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Wanted {
    chains: Vec<String>,
    /// In this order each comes before all others of its chain.
    first: Vec<String>,
    /// In this order each comes behind all others.
    last: Vec<String>,
}

impl Wanted {
    fn of(plan: &Plan, v4: bool, admin: &str) -> Wanted {
        let mut wanted = Wanted {
            chains: ["CNI-FORWARD", admin].map(String::from).into(),
            first: vec![
                format!("-A FORWARD -m comment --comment \"{RULES}\" -j CNI-FORWARD"),
                format!(
                    "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j {admin}"
                ),
            ],
            last: Vec::new(),
        };
        let own = plan.addresses.iter().filter(|address| address.is_ipv4() == v4);
        own.for_each(|address| wanted.last.extend(inherited::accepting(*address)));
        let both = "ingressPolicy: same-bridge|isolated";
        let rule = |chain: &str, links: &str, policy: &str, target: &str| {
            format!("-A {chain}{links} -m comment --comment \"{RULES} ({policy})\" -j {target}")
        };
        let (bridge, policy) = match &plan.policy {
            Policy::Open => return wanted,
            Policy::SameBridge(bridge) => (bridge, "ingressPolicy: same-bridge"),
            Policy::Isolated(bridge) => (bridge, "ingressPolicy: isolated"),
        };
        let [one, two] = STAGES;
        wanted.chains.extend(STAGES.map(String::from));
        wanted.first.push(rule("FORWARD", "", both, one));
        wanted.first.push(rule(one, &format!(" -i {bridge} ! -o {bridge}"), policy, two));
        if matches!(plan.policy, Policy::Isolated(_)) {
            wanted.first.push(rule(one, &format!(" -i {bridge} -o {bridge}"), policy, "DROP"));
        }
        wanted.first.push(rule(two, &format!(" -o {bridge}"), both, "DROP"));
        wanted.last.extend(STAGES.map(|stage| rule(stage, "", both, "RETURN")));
        wanted
    }

    fn rules(&self) -> impl Iterator<Item = &String> {
        self.first.iter().chain(&self.last)
    }

    /// What iptables-restore has to be told; nothing if all is there.
    fn orders(&self, listing: &str) -> String {
        let is_there = |line: &str| listing.lines().any(|found| found == line);
        let mut orders = String::new();
        for chain in self.chains.iter().filter(|chain| !is_there(&format!("-N {chain}"))) {
            orders.push_str(&format!("-N {chain}\n"));
        }
        for rule in &self.first {
            let is_misplaced = is_there(rule) && is_overtaken(listing, rule);
            if is_misplaced {
                orders.push_str(&format!("{}\n", rule.replacen("-A", "-D", 1)));
            }
            if is_misplaced || !is_there(rule) {
                orders.push_str(&format!("{}\n", rule.replacen("-A", "-I", 1)));
            }
        }
        for rule in self.last.iter().filter(|rule| !is_there(rule)) {
            orders.push_str(&format!("{rule}\n"));
        }
        if orders.is_empty() { orders } else { format!("*{TABLE}\n{orders}COMMIT\n") }
    }
}

/// The way through CNI-FORWARD comes before the policies: what these forbid is let through there.
fn is_overtaken(listing: &str, rule: &str) -> bool {
    let place = |wanted: &dyn Fn(&str) -> bool| listing.lines().position(wanted);
    let is_way_through = |line: &str| line.starts_with("-A FORWARD ") && line.ends_with(" -j CNI-FORWARD");
    rule.starts_with("-A FORWARD ")
        && rule.ends_with(STAGES[0])
        && place(&is_way_through) < place(&|line: &str| line == rule)
        && place(&is_way_through).is_some()
}

fn families(plan: &Plan) -> impl Iterator<Item = bool> {
    [true, false].into_iter().filter(|v4| plan.addresses.iter().any(|address| address.is_ipv4() == *v4))
}

/// Would the program do it? It is asked what ADD would ask it first.
///
/// # Errors
/// The program is missing, or what it says.
pub fn usable() -> Result<()> {
    find(true)?.list(TABLE, Some("FORWARD")).map(drop)
}

/// The programs are there.
///
/// # Errors
/// One is not; the error names it.
pub fn locate(plan: &Plan) -> Result<()> {
    plan.policy.bridge().map_or(Ok(()), speakable)?;
    families(plan).try_for_each(|v4| find(v4).map(drop))
}

fn speakable(bridge: &str) -> Result<()> {
    match can_name(bridge) {
        true => Ok(()),
        false => Err(Error::config(format!("iptables has no word for the bridge {bridge:?}"))
            .details("backend \"nftables\" has")),
    }
}

/// Lets the packets of these addresses pass. A rule that is there is not written again.
///
/// # Errors
/// A program is missing, or what it says. What was written for another family is there then.
pub fn ensure(plan: &Plan, admin: &str) -> Result<()> {
    for v4 in families(plan) {
        let wanted = Wanted::of(plan, v4, admin);
        find(v4)?
            .settle(|iptables| Ok(wanted.orders(&iptables.list(TABLE, None)?)))
            .doing(|| format!("failed to let packets of {} pass by iptables", list(&plan.addresses)))?;
    }
    Ok(())
}

/// Whether every rule is there that [`ensure`] made.
///
/// # Errors
/// The first that is missing, and what the program says.
pub fn check(plan: &Plan, admin: &str) -> Result<()> {
    compare(plan, admin, |v4| find(v4)?.list(TABLE, None))
}

/// Whether the Go plugin has written those rules, by whichever of the two programs.
pub fn is_done_by_others(nft: Option<&Nft>, plan: &Plan, admin: &str) -> bool {
    let listing = |v4| {
        let family = if v4 { Family::Ipv4 } else { Family::Ipv6 };
        let program = inherited::present::program(nft, family, TABLE, inherited::FORWARD)?;
        program.map_or(Ok(String::new()), |iptables| iptables.list(TABLE, None))
    };
    compare(plan, admin, listing).is_ok()
}

/// Whether every rule is there, in the place where it does something.
fn compare(plan: &Plan, admin: &str, listing: impl Fn(bool) -> Result<String>) -> Result<()> {
    for v4 in families(plan) {
        let wanted = Wanted::of(plan, v4, admin);
        let listing = listing(v4)?;
        for rule in wanted.rules() {
            let chain = rule.split(' ').nth(1).unwrap_or_default();
            if !listing.lines().any(|line| line == rule) {
                return Err(Error::internal(format!("expected {chain} rule {rule:?} not found")));
            }
            if is_overtaken(&listing, rule) {
                return Err(Error::internal(format!("{chain} rule {rule:?} comes behind CNI-FORWARD")));
            }
        }
    }
    Ok(())
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(policy: Policy) -> Wanted {
        let addresses = vec!["10.9.0.2".parse().unwrap(), "fd00:9::2".parse().unwrap()];
        Wanted::of(&Plan { addresses, policy, ports: Vec::new() }, true, "CNI-ADMIN")
    }

    #[test]
    fn what_is_there_is_not_ordered_again() {
        for policy in [Policy::Open, Policy::SameBridge("br0".into()), Policy::Isolated("br0".into())] {
            let wanted = wanted(policy);
            let chains: String = wanted.chains.iter().map(|chain| format!("-N {chain}\n")).collect();
            let rules: String =
                wanted.first.iter().rev().chain(&wanted.last).map(|rule| format!("{rule}\n")).collect();
            assert_eq!(wanted.orders(&format!("{chains}{rules}")), "");
            let orders = wanted.orders("-P FORWARD DROP\n");
            assert_eq!(orders.lines().count(), 2 + wanted.chains.len() + wanted.rules().count());
            assert!(!orders.contains("fd00"), "another family");
        }
    }

    #[test]
    fn a_bridge_that_means_more_to_iptables_is_refused() {
        for name in ["br+", "-j", "!br0", "b'", "b\\"] {
            assert!(speakable(name).unwrap_err().msg().contains(&format!("{name:?}")), "{name}");
        }
        assert!(speakable("br-0").is_ok() && speakable("+br!").is_ok());
    }

    #[test]
    fn a_policy_is_put_before_the_way_through() {
        let wanted = wanted(Policy::Isolated("br0".into()));
        let chains: String = wanted.chains.iter().map(|chain| format!("-N {chain}\n")).collect();
        let rules: String = wanted.rules().map(|rule| format!("{rule}\n")).collect();
        let jump = "FORWARD -m comment --comment \"CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)\" -j CNI-ISOLATION-STAGE-1";
        assert_eq!(
            wanted.orders(&format!("{chains}{rules}")),
            format!("*filter\n-D {jump}\n-I {jump}\nCOMMIT\n")
        );
    }
}
