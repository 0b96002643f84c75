//! The names, rules and elements of published ports, decided before anything is asked.
//!
//! ```text
//! table inet jackfield {
//!     map ports1_ip {                     a port at one address of the host; ports1_ip6 for IPv6
//!         type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
//!         elements = { 192.0.2.1 . tcp . 8080 comment "<owner>-<network> …" : 10.22.0.5 . 80 }
//!     }
//!     map ports1_any_ip {                 a port at whatever address; ports1_any_ip6 for IPv6
//!         type inet_proto . inet_service : ipv4_addr . inet_service
//!     }
//!     map hairpin1_ip {                   where a container's address has its chain; hairpin1_ip6 for IPv6
//!         type ipv4_addr : verdict
//!     }
//!     chain ports1_prerouting {
//!         type nat hook prerouting priority dstnat + 1; policy accept;
//!         fib daddr type local jump ports1
//!     }
//!     chain ports1_output { type nat hook output priority -99; … the same … }
//!     chain ports1 {
//!         ip6 daddr ::1 return
//!         ct mark set ct mark | 0x00002000
//!         jump ports1_conditions
//!         meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ports1_ip    … three more
//!         ct mark set ct mark & 0xffffdfff
//!     }
//!     chain ports1_conditions {
//!         <condition> jump ports1_7f3a…                                  one per network that sets a condition
//!     }
//!     chain hairpin1 {
//!         type nat hook postrouting priority srcnat - 1; policy accept;
//!         ct mark & 0x00002000 == 0x00000000 return
//!         ct mark set ct mark & 0xffffdfff
//!         ip daddr vmap @hairpin1_ip
//!         ip6 daddr vmap @hairpin1_ip6
//!     }
//!     chain hairpin1_deaa… {                                             one per network, subnet and link
//!         ip saddr 10.22.0.0/16 masquerade
//!         ip saddr 127.0.0.0/8 masquerade
//!     }
//!     chain localnet1 {
//!         type filter hook prerouting priority raw; policy accept;
//!         iifname != "lo" ip daddr 127.0.0.0/8 drop
//!         iifname != "lo" ip saddr 127.0.0.0/8 drop
//!     }
//! }
//! ```
//!
//! Only what is for an address of this host gets so far as to be looked up (CVE-2025-67499). What was translated earlier, by
//! kube-proxy, Docker or the Go plugins, is not looked up either.
//!
//! Between the translation and the last hook of the first packet, a bit of the connection's mark says that it was we who
//! translated it: what kube-proxy sends to the same container from the same subnet must keep its source. It is not the
//! packet's mark, by which routes may be chosen; and the rules that the Go plugin leaves behind ask for that one.
//!
//! The number in the names is that of the layout: whoever changes what an element leads to, or what the rules do, counts on,
//! and removes the earlier layouts' elements too.

use std::net::{IpAddr, Ipv6Addr};

use cni::name::NetworkName;
use ipnetwork::{IpNetwork, Ipv4Network};
use linux::nft::Family;
use linux::nft::datatype::Type;
use linux::nft::expression::{Comparison, Expression, Meta};
use linux::nft::object::{Base, Chain, Hook, Kind, Policy, Rule, Set, SetTarget};
use linux::nft::phrase::{self, End};
use linux::nft::verdict::Verdict;
use sha2::{Digest, Sha256};

use crate::portmap::conf::Snat;
use crate::portmap::key::Space;

/// The chain in which ports are looked up.
pub const PORTS: &str = "ports1";
/// The chain that has the conditions of networks.
pub const CONDITIONS: &str = "ports1_conditions";
/// The chain that finds out whose source is to be replaced.
pub const HAIRPIN: &str = "hairpin1";
/// What the names of the chains begin with to which addresses lead.
pub const WAY: &str = "hairpin1_";
/// The maps of these addresses.
pub const WAYS: [(Family, &str, Type); 2] =
    [(Family::Ipv4, "hairpin1_ip", Type::Ipv4), (Family::Ipv6, "hairpin1_ip6", Type::Ipv6)];
/// The chain that keeps 127.0.0.0/8 inside.
pub const GUARD: &str = "localnet1";
/// The chains that the kernel calls, and those that these call, in the order in which they can be deleted.
pub const CHAINS: [&str; 6] = ["ports1_prerouting", "ports1_output", PORTS, CONDITIONS, HAIRPIN, GUARD];

/// The bit of a connection's mark, unless the administrator has chosen another: the Go plugin's number.
pub const MARK_BIT: u8 = 13;

/// The spaces of everybody.
pub fn shared_spaces() -> [Space; 2] {
    [false, true].map(|v6| Space { v6, condition: None })
}

/// A short hash for names.
pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The map of a space that has the ports at single addresses, or at any.
pub fn map_of(space: &Space, is_exact: bool) -> String {
    let condition = space.condition.as_ref().map(|hash| format!("_{hash}")).unwrap_or_default();
    let any = if is_exact { "" } else { "_any" };
    format!("{PORTS}{condition}{any}_{}", space.family())
}

/// The space whose map has this name, and whether it has the ports at single addresses.
pub fn space_of(map: &str) -> Option<(Space, bool)> {
    let rest = map.strip_prefix(PORTS)?.strip_prefix('_')?;
    let (rest, v6) = match rest.rsplit_once('_') {
        Some((rest, "ip")) => (rest, false),
        Some((rest, "ip6")) => (rest, true),
        None => (
            "",
            match rest {
                "ip" => false,
                "ip6" => true,
                _ => return None,
            },
        ),
        Some(_) => return None,
    };
    let (condition, is_exact) = match rest {
        "" => (None, true),
        "any" => (None, false),
        hash => match hash.strip_suffix("_any") {
            Some(hash) => (Some(hash), false),
            None => (Some(hash), true),
        },
    };
    Some((Space { v6, condition: condition.map(String::from) }, is_exact))
}

/// The chain of a space with a condition.
pub fn chain_of(space: &Space) -> Option<String> {
    space.condition.as_ref().map(|hash| format!("{PORTS}_{hash}"))
}

/// The hash of a space whose chain has this name.
pub fn condition_of(chain: &str) -> Option<&str> {
    let hash = chain.strip_prefix(PORTS)?.strip_prefix('_')?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

/// The maps of a space.
pub fn maps_of(space: &Space) -> [Set; 2] {
    let address = if space.v6 { Type::Ipv6 } else { Type::Ipv4 };
    [true, false].map(|is_exact| {
        let place = [Type::Protocol, Type::Port];
        let (key, comment) = match is_exact {
            true => (
                [&[address], place.as_slice()].concat(),
                "ports at one address of this host, and where they lead",
            ),
            false => (place.to_vec(), "ports at every address of this host, and where they lead"),
        };
        Set {
            name: map_of(space, is_exact),
            key,
            target: SetTarget::Value(vec![address, Type::Port]),
            comment: Some(comment.into()),
        }
    })
}

/// The maps that lead an address to its chain.
pub fn ways() -> [Set; 2] {
    WAYS.map(|(family, map, key)| Set {
        name: map.into(),
        key: vec![key],
        target: SetTarget::Verdict,
        comment: Some(format!("{family} addresses with published ports, and whose source is replaced there")),
    })
}

/// The rules of one space: an address of its own comes before any.
pub fn lookups(space: &Space) -> [Rule; 2] {
    let family = space.family();
    [
        rule(phrase::destination_by_map(family, &map_of(space, true))),
        rule(phrase::port_by_map(family, &map_of(space, false))),
    ]
}

/// The jump to a space's chain, and the chain.
pub fn conditional(
    space: &Space,
    condition: &[Expression],
    network: &NetworkName,
) -> Option<(Rule, Chain, [Rule; 2])> {
    let name = chain_of(space)?;
    let mut steps = condition.to_vec();
    steps.push(Expression::Decide(Verdict::Jump(name.clone())));
    let chain =
        Chain { name, base: None, comment: Some(format!("{} ports of network {network}", space.family())) };
    Some((rule(steps), chain, lookups(space)))
}

/// The chains that never change, with their rules, in the order in which they can be made.
pub fn frame(mark_bit: u8) -> Vec<(Chain, Vec<Rule>)> {
    let nat = |hook, priority| Some(Base { kind: Kind::Nat, hook, priority, policy: Policy::Accept });
    let chain = |name: &str, base| Chain { name: name.into(), base, comment: None };
    let to_ports = || vec![rule(decided(phrase::is_for_this_host().into(), Verdict::Jump(PORTS.into())))];
    let guard = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: -300, policy: Policy::Accept };
    let [prerouting, output, ports, conditions, hairpin, localnet] = CHAINS;
    vec![
        (chain(conditions, None), Vec::new()),
        (chain(ports, None), lookup_rules(mark_bit)),
        // One behind `dstnat`, so that everybody else comes first.
        (chain(prerouting, nat(Hook::Prerouting, -99)), to_ports()),
        (chain(output, nat(Hook::Output, -99)), to_ports()),
        // One before `srcnat`: the answers of our own connections must come back here, whatever others want.
        (chain(hairpin, nat(Hook::Postrouting, 99)), hairpin_rules(mark_bit)),
        (chain(localnet, Some(guard)), [End::Destination, End::Source].map(stays_inside).into()),
    ]
}

fn lookup_rules(mark_bit: u8) -> Vec<Rule> {
    let loopback = IpNetwork::from(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let to_loopback = phrase::address(End::Destination, Comparison::Equal, loopback);
    let mut rules = vec![
        // There is no way back to ::1: better no port than one that does not answer.
        rule(decided(to_loopback, Verdict::Return)),
        rule(phrase::set_ct_mark(bits(mark_bit)).into()),
        rule(vec![Expression::Decide(Verdict::Jump(CONDITIONS.into()))]),
    ];
    let [exact, any]: [Vec<Rule>; 2] = [0, 1].map(|which| {
        shared_spaces().iter().flat_map(|space| lookups(space).into_iter().nth(which)).collect()
    });
    rules.extend(exact.into_iter().chain(any));
    rules.push(rule(phrase::clear_ct_mark(bits(mark_bit)).into()));
    rules
}

fn hairpin_rules(mark_bit: u8) -> Vec<Rule> {
    let mut rules = vec![
        rule(decided(phrase::ct_mark_lacks(bits(mark_bit)).into(), Verdict::Return)),
        rule(phrase::clear_ct_mark(bits(mark_bit)).into()),
    ];
    rules.extend(WAYS.map(|(family, map, _)| rule(phrase::address_decides(family, End::Destination, map))));
    rules
}

/// What comes from elsewhere neither is of 127.0.0.0/8 nor goes there.
fn stays_inside(end: End) -> Rule {
    let mut steps = Vec::from(phrase::link_name(Meta::InputName, Comparison::Unequal, "lo"));
    steps.extend(phrase::address(end, Comparison::Equal, loopback_network()));
    rule(decided(steps, Verdict::Drop))
}

/// 127.0.0.0/8
fn loopback_network() -> IpNetwork {
    let address = std::net::Ipv4Addr::LOCALHOST;
    Ipv4Network::new(address, 8).map_or(IpNetwork::from(IpAddr::V4(address)), IpNetwork::V4)
}

fn bits(mark_bit: u8) -> u32 {
    1_u32.checked_shl(mark_bit.into()).unwrap_or_default()
}

/// The bit that rules of the lookup chain use; `None` if they are not right for any.
pub fn mark_bit_of(rules: &[Rule]) -> Option<u8> {
    (0..32).find(|bit| lookup_rules(*bit) == rules)
}

/// The chain to which a rule jumps.
pub fn leads_to(rule: &Rule) -> Option<&str> {
    rule.expressions.iter().find_map(|step| match step {
        Expression::Decide(verdict) => verdict.chain(),
        _ => None,
    })
}

fn rule(expressions: Vec<Expression>) -> Rule {
    Rule { expressions, comment: None }
}

fn decided(mut steps: Vec<Expression>, verdict: Verdict) -> Vec<Expression> {
    steps.push(Expression::Decide(verdict));
    steps
}

/// The chain of a network's containers in one subnet behind one link: whose source is replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The subnet of the containers.
    pub subnet: IpNetwork,
    /// The link on which 127.0.0.0/8 has to be a source like any other; `None` where that is not needed.
    pub loopback_by: Option<String>,
    /// Whose source.
    pub snat: Snat,
}

impl Way {
    /// Its chain.
    pub fn chain(&self, network: &NetworkName) -> Chain {
        // A network's name is the last word, and the only one that could be cut.
        let comment = format!(
            "{} by {} {} of network {network}",
            self.subnet,
            self.loopback_by.as_deref().unwrap_or("-"),
            word_of(self.snat)
        );
        Chain { name: format!("{WAY}{}", hash(&comment)), base: None, comment: Some(comment) }
    }

    /// Reads what a chain says of itself.
    pub fn read(chain: &Chain) -> Option<Way> {
        let mut words = chain.comment.as_deref()?.split(' ');
        let (subnet, _, link, snat) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let snat = [Snat::None, Snat::Local, Snat::All].into_iter().find(|it| word_of(*it) == snat)?;
        let loopback_by = (link != "-").then(|| link.to_owned());
        Some(Way { subnet: subnet.parse().ok()?, loopback_by, snat })
    }

    /// Its rules.
    pub fn rules(&self) -> Vec<Rule> {
        let from = |network| {
            let mut steps = phrase::address(End::Source, Comparison::Equal, network);
            steps.push(Expression::Masquerade);
            rule(steps)
        };
        match self.snat {
            Snat::None => Vec::new(),
            Snat::All => vec![rule(vec![Expression::Masquerade])],
            Snat::Local if self.subnet.is_ipv6() => vec![from(self.subnet)],
            Snat::Local => vec![from(self.subnet), from(loopback_network())],
        }
    }
}

fn word_of(snat: Snat) -> &'static str {
    match snat {
        Snat::None => "kept",
        Snat::Local => "local",
        Snat::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A live node has these names: a change needs a new layout number.
    #[test]
    fn the_names_of_this_layout_stay() {
        let hash = Some("0123456789abcdef".to_owned());
        for (v6, condition, maps) in [
            (false, None, ["ports1_ip", "ports1_any_ip"]),
            (true, None, ["ports1_ip6", "ports1_any_ip6"]),
            (false, hash.clone(), ["ports1_0123456789abcdef_ip", "ports1_0123456789abcdef_any_ip"]),
            (true, hash, ["ports1_0123456789abcdef_ip6", "ports1_0123456789abcdef_any_ip6"]),
        ] {
            let space = Space { v6, condition };
            assert_eq!(maps_of(&space).map(|map| map.name), maps.map(String::from));
            for (map, is_exact) in maps.into_iter().zip([true, false]) {
                assert_eq!(space_of(map), Some((space.clone(), is_exact)), "{map}");
            }
        }
        for other in ["ports1", "ports1_", "ports1_x", "masquerade1_ip", "hairpin1_ip"] {
            assert_eq!(space_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_chain_tells_its_way() {
        let network = "n".repeat(200).parse().unwrap();
        for (subnet, link, snat) in [
            ("10.9.0.0/24", Some("br0"), Snat::Local),
            ("fd00:9::/64", None, Snat::All),
            ("10.9.0.0/24", None, Snat::None),
        ] {
            let way = Way { subnet: subnet.parse().unwrap(), loopback_by: link.map(String::from), snat };
            assert_eq!(Way::read(&way.chain(&network)), Some(way));
        }
    }

    #[test]
    fn the_bit_is_told_by_the_rules() {
        for bit in [0, 13, 31] {
            assert_eq!(mark_bit_of(&lookup_rules(bit)), Some(bit));
        }
        assert_eq!(mark_bit_of(&[]), None);
    }

    #[test]
    fn only_what_is_for_this_host_is_looked_up() {
        let jumps = frame(MARK_BIT).into_iter().filter(|(chain, _)| {
            chain.base.is_some_and(|base| matches!(base.hook, Hook::Prerouting | Hook::Output))
                && chain.base.is_some_and(|base| base.kind == Kind::Nat)
        });
        for (chain, rules) in jumps {
            let [only] = rules.as_slice() else { panic!("{} has other rules", chain.name) };
            assert_eq!(only.expressions.get(..2), Some(&phrase::is_for_this_host()[..]));
        }
    }
}
