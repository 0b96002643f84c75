//! The names, rules and elements of the way through the host, decided before anything is asked.
//!
//! ```text
//! table inet jackfield {
//!     map firewall1_ip {                  the containers; firewall1_ip6 for IPv6
//!         type ipv4_addr : verdict
//!         elements = { 10.22.0.5 comment "<owner>-<network> …" : goto firewall1_open }
//!     }
//!     set firewall1_bridges {             the bridges that have a policy
//!         type ifname
//!         elements = { "br1" comment "firewall1_7f3a…" }
//!     }
//!     map firewall1_within {              what goes on within them: accepted as elsewhere, or dropped
//!         type ifname . ifname : verdict
//!         elements = { "br1" . "br1" comment "firewall1_7f3a…" : goto firewall1_allow }
//!     }
//!     chain firewall1 {
//!         type filter hook forward priority filter - 10; policy accept;
//!         meta mark set meta mark & 0xffffefff
//!         iifname . oifname vmap @firewall1_within
//!         iifname @firewall1_bridges oifname @firewall1_bridges drop
//!         goto firewall1_allow
//!     }
//!     chain firewall1_allow {
//!         ip saddr vmap @firewall1_ip
//!         ip6 saddr vmap @firewall1_ip6
//!         ct state established,related goto firewall1_replies
//!         ct status dnat goto firewall1_replies
//!     }
//!     chain firewall1_replies {
//!         ip daddr vmap @firewall1_ip
//!         ip6 daddr vmap @firewall1_ip6
//!     }
//!     chain firewall1_open {              where the containers of one policy and bridge lead to
//!         meta mark set meta mark | 0x00001000
//!     }
//!     chain firewall1_after {
//!         type filter hook forward priority filter + 10; policy accept;
//!         meta mark set meta mark & 0xffffefff
//!     }
//! }
//! table bridge jackfield {
//!     set firewall1_isolated {
//!         type ifname
//!         elements = { "veth7f3a…" comment "<owner>-<network> …" }
//!     }
//!     chain firewall1 {
//!         type filter hook forward priority filter; policy accept;
//!         iifname @firewall1_isolated oifname @firewall1_isolated drop
//!     }
//! }
//! ```
//!
//! An accept in our table would not save a packet from a drop in another. So it marks what is to pass, and one rule in the
//! administrator's own chain accepts the mark ([`crate::attachment::gate`]).
//!
//! A bridge is known as long as a container is: both are counted by the chain that containers of one policy and bridge lead to,
//! and whose name is the comment of the bridge's elements.
//!
//! The number in the names is that of the layout: whoever changes what an element leads to, or what the rules do, counts on,
//! and removes the earlier layouts' elements too.

use std::net::IpAddr;

use cni::call::Attachment;
use linux::nft::Family;
use linux::nft::datatype::{Part, Type, concatenated};
use linux::nft::expression::{Expression, Meta};
use linux::nft::object::{Base, Chain, Element, Hook, Kind, Policy, Rule, Set, SetTarget, Table, Target};
use linux::nft::phrase::{self, End, state, status};
use linux::nft::verdict::Verdict;
use sha2::{Digest, Sha256};

use crate::attachment::gate::bits;
use crate::attachment::mark::Mark;
use crate::firewall::plan;

/// The chain that the kernel calls.
pub const FORWARD: &str = "firewall1";
/// What the names of all others begin with.
pub const START: &str = "firewall1_";
/// Who is let through.
pub const ALLOW: &str = "firewall1_allow";
const REPLIES: &str = "firewall1_replies";
const AFTER: &str = "firewall1_after";
/// The chains that are there as long as anything is, in the order in which they can be deleted.
pub const CHAINS: [&str; 4] = [FORWARD, AFTER, ALLOW, REPLIES];
/// The containers.
pub const MAPS: [(Family, &str, Type); 2] =
    [(Family::Ipv4, "firewall1_ip", Type::Ipv4), (Family::Ipv6, "firewall1_ip6", Type::Ipv6)];
/// The bridges that have a policy.
pub const BRIDGES: &str = "firewall1_bridges";
/// What goes on within them.
pub const WITHIN: &str = "firewall1_within";

/// The table of what we do with frames on their way through a bridge.
pub const FRAMES: Table<'static> = Table { family: Family::Bridge, name: "jackfield" };
/// The chain there that the kernel calls.
pub const APART: &str = "firewall1";
/// The ports that hear nothing of each other.
pub const ISOLATED: &str = "firewall1_isolated";

/// Before everybody who begins at 0 (`filter`), iptables among them; and behind them.
const PRIORITIES: [i32; 2] = [-10, 10];

/// The chains that never change, with their rules, in the order in which they can be made.
pub fn frame(mark_bit: u8) -> Vec<(Chain, Vec<Rule>)> {
    let forward =
        |priority| Some(Base { kind: Kind::Filter, hook: Hook::Forward, priority, policy: Policy::Accept });
    let chain = |name: &str, base| Chain { name: name.into(), base, comment: None };
    let [before, after] = PRIORITIES;
    let mut apart = Vec::from(phrase::link_name_in(Meta::InputName, BRIDGES));
    apart.extend(phrase::link_name_in(Meta::OutputName, BRIDGES));
    // Nobody but us sets the bit, and nobody sees it afterwards.
    let clear = || rule(phrase::clear_mark(bits(mark_bit)).into());
    vec![
        (chain(REPLIES, None), addresses_decide(End::Destination).collect()),
        (chain(ALLOW, None), addresses_decide(End::Source).chain(answers()).collect()),
        (
            chain(FORWARD, forward(before)),
            vec![
                clear(),
                rule(phrase::link_names_decide(WITHIN).into()),
                rule(decided(apart, Verdict::Drop)),
                rule(vec![Expression::Decide(Verdict::Goto(ALLOW.into()))]),
            ],
        ),
        (chain(AFTER, forward(after)), vec![clear()]),
    ]
}

fn addresses_decide(end: End) -> impl Iterator<Item = Rule> {
    MAPS.into_iter().map(move |(family, map, _)| rule(phrase::address_decides(family, end, map)))
}

/// What a container gets is an answer, or for a port that somebody has published.
fn answers() -> [Rule; 2] {
    let conditions = [phrase::ct_state(state::ESTABLISHED | state::RELATED), phrase::ct_status(status::DNAT)];
    conditions.map(|condition| rule(decided(condition.into(), Verdict::Goto(REPLIES.into()))))
}

/// What the chains look into.
pub fn sets() -> Vec<Set> {
    let set = |name: &str, key, target, comment: &str| Set {
        name: name.into(),
        key,
        target,
        comment: Some(comment.into()),
    };
    let maps = MAPS.map(|(family, map, key)| {
        set(map, vec![key], SetTarget::Verdict, &format!("{family} addresses whose packets pass"))
    });
    let pair = vec![Type::IfName, Type::IfName];
    let mut sets = Vec::from(maps);
    sets.push(set(BRIDGES, vec![Type::IfName], SetTarget::Nothing, "bridges that are kept apart"));
    sets.push(set(WITHIN, pair, SetTarget::Verdict, "what goes on within them"));
    sets
}

/// The chain of a policy, to which its containers lead.
pub fn chain_of(policy: &plan::Policy) -> Chain {
    let comment = policy.to_string();
    let name = match policy {
        plan::Policy::Open => format!("{START}open"),
        _ => {
            let hash = Sha256::digest(&comment);
            let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("{START}{digits}")
        }
    };
    Chain { name, base: None, comment: Some(comment) }
}

/// Whether a chain of this name is one of a policy.
pub fn is_of_a_policy(name: &str) -> bool {
    name.starts_with(START) && !CHAINS.contains(&name)
}

/// The bridge that a policy's chain is about.
pub fn bridge_of(chain: &Chain) -> Option<&str> {
    chain.comment.as_deref()?.split_once(' ').map(|(_, bridge)| bridge)
}

/// The rule of every policy's chain.
pub fn pass(mark_bit: u8) -> Vec<Rule> {
    vec![rule(phrase::set_mark(bits(mark_bit)).into())]
}

/// The bit that this rule sets.
pub fn mark_bit_of(rules: &[Rule]) -> Option<u8> {
    (0..32).find(|bit| frame(*bit).iter().any(|(chain, of_bit)| chain.name == FORWARD && of_bit == rules))
}

/// The map of an address.
pub fn map_of(address: IpAddr) -> &'static str {
    let family = phrase::family_of(address);
    MAPS.iter().find(|(of, ..)| *of == family).map_or("", |(_, map, _)| map)
}

/// The element of an address, which leads to the chain of its policy.
pub fn element(attachment: &Attachment, address: IpAddr, policy: &plan::Policy) -> Element {
    Element {
        key: Part::Address(address).bytes(),
        target: Target::Verdict(Verdict::Goto(chain_of(policy).name)),
        comment: Some(Mark::of(attachment).alias(attachment)),
    }
}

/// The elements by which a bridge is known: its sets, and what stands in each. `policy` is the strictest of those that its
/// containers have.
pub fn bridge_elements(policy: &plan::Policy) -> Option<[(&'static str, Element); 2]> {
    let bridge = policy.bridge()?;
    let verdict = match policy {
        plan::Policy::Isolated(_) => Verdict::Drop,
        _ => Verdict::Goto(ALLOW.into()),
    };
    let comment = Some(chain_of(policy).name);
    let [known, within] = bridge_keys(bridge);
    Some([
        (BRIDGES, Element { key: known, target: Target::Nothing, comment: comment.clone() }),
        (WITHIN, Element { key: within, target: Target::Verdict(verdict), comment }),
    ])
}

/// The keys of these elements.
pub fn bridge_keys(bridge: &str) -> [Vec<u8>; 2] {
    let name = Part::IfName(bridge);
    [name.bytes(), concatenated(&[name, name])]
}

/// The chain that keeps ports of a bridge apart, with its rule.
pub fn apart() -> (Chain, Vec<Rule>) {
    let (kind, hook) = (Kind::Filter, Hook::Forward);
    // `filter` is -200 on a bridge.
    let base = Base { kind, hook, priority: -200, policy: Policy::Accept };
    let mut steps = Vec::from(phrase::link_name_in(Meta::InputName, ISOLATED));
    steps.extend(phrase::link_name_in(Meta::OutputName, ISOLATED));
    (Chain { name: APART.into(), base: Some(base), comment: None }, vec![rule(decided(steps, Verdict::Drop))])
}

/// What it looks into.
pub fn isolated() -> Set {
    Set {
        name: ISOLATED.into(),
        key: vec![Type::IfName],
        target: SetTarget::Nothing,
        comment: Some("host ends that hear nothing of each other".into()),
    }
}

/// The element of a port that is kept from others.
pub fn port(attachment: &Attachment, port: &str) -> Element {
    let comment = Some(Mark::of(attachment).alias(attachment));
    Element { key: Part::IfName(port).bytes(), target: Target::Nothing, comment }
}

fn rule(expressions: Vec<Expression>) -> Rule {
    Rule { expressions, comment: None }
}

fn decided(mut steps: Vec<Expression>, verdict: Verdict) -> Vec<Expression> {
    steps.push(Expression::Decide(verdict));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A live node has these names: a change needs a new layout number.
    #[test]
    fn the_names_of_this_layout_stay() {
        let [open, same, isolated] = [
            plan::Policy::Open,
            plan::Policy::SameBridge("br0".into()),
            plan::Policy::Isolated("br0".into()),
        ]
        .map(|policy| chain_of(&policy));
        assert_eq!(open.name, "firewall1_open");
        assert_ne!(same.name, isolated.name);
        assert_eq!(
            (bridge_of(&open), bridge_of(&same), bridge_of(&isolated)),
            (None, Some("br0"), Some("br0"))
        );
        assert!([open, same, isolated].iter().all(|chain| is_of_a_policy(&chain.name)));
        assert!(!CHAINS.iter().any(|name| is_of_a_policy(name)));
    }

    #[test]
    fn the_bit_is_told_by_the_rules() {
        for bit in [0, 12, 31] {
            let (_, rules) = frame(bit).into_iter().find(|(chain, _)| chain.name == FORWARD).unwrap();
            assert_eq!(mark_bit_of(&rules), Some(bit));
        }
        assert_eq!(mark_bit_of(&[]), None);
    }

    #[test]
    fn nothing_is_dropped_within_a_bridge_unless_it_is_isolated() {
        let verdict = |policy: plan::Policy| match &bridge_elements(&policy).unwrap()[1].1.target {
            Target::Verdict(verdict) => verdict.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(verdict(plan::Policy::SameBridge("br0".into())), Verdict::Goto(ALLOW.into()));
        assert_eq!(verdict(plan::Policy::Isolated("br0".into())), Verdict::Drop);
        assert!(bridge_elements(&plan::Policy::Open).is_none());
    }
}
