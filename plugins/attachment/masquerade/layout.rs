//! The names, rules and elements of masquerade, decided before anything is asked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::call::Attachment;
use cni::name::NetworkName;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use linux::nft::Family;
use linux::nft::datatype::{Part, Type};
use linux::nft::expression::{Comparison, Expression};
use linux::nft::object::{Base, Chain, Element, Hook, Kind, Policy, Rule, Set, SetTarget, Target};
use linux::nft::phrase::{self, End};
use linux::nft::verdict::Verdict;
use sha2::{Digest, Sha256};

use crate::attachment::mark::Mark;
use crate::attachment::ruleset::TABLE_COMMENT;

/// The chain that the kernel calls.
pub(super) const POSTROUTING: &str = "masquerade1";
/// What the names of the networks' chains begin with.
pub(super) const OF_A_NETWORK: &str = "masquerade1_";
/// `srcnat` is 100.
pub(super) const PRIORITY: i32 = 101;
/// The families, and the map of each.
pub(super) const MAPS: [(Family, &str, Type); 2] =
    [(Family::Ipv4, "masquerade1_ip", Type::Ipv4), (Family::Ipv6, "masquerade1_ip6", Type::Ipv6)];

/// What one address needs.
pub(super) struct Claim {
    pub(super) address: IpAddr,
    pub(super) map: &'static str,
    pub(super) chain: Chain,
    pub(super) rules: Vec<Rule>,
    pub(super) element: Element,
}

pub(super) fn claims(attachment: &Attachment, addresses: &[IpNetwork]) -> Vec<Claim> {
    let unique: BTreeSet<&IpNetwork> = addresses.iter().collect();
    unique.into_iter().map(|address| Claim::new(attachment, *address)).collect()
}

impl Claim {
    fn new(attachment: &Attachment, address: IpNetwork) -> Claim {
        let (network, subnet) = (&attachment.network, subnet(address));
        let chain = Chain {
            name: chain_of(network, subnet),
            base: None,
            comment: Some(chain_comment(network, subnet)),
        };
        let element = Element {
            key: Part::Address(address.ip()).bytes(),
            target: Target::Verdict(Verdict::Goto(chain.name.clone())),
            comment: Some(Mark::of(attachment).alias(attachment)),
        };
        let map = map_of(phrase::family_of(address.ip()));
        Claim { address: address.ip(), map, chain, rules: rules_of(subnet), element }
    }
}

/// The chain that the kernel calls, and its rules.
pub(super) fn frame() -> (Chain, Vec<Rule>) {
    let (kind, hook) = (Kind::Nat, Hook::Postrouting);
    let base = Base { kind, hook, priority: PRIORITY, policy: Policy::Accept };
    let chain = Chain { name: POSTROUTING.into(), base: Some(base), comment: None };
    let rule = |(family, map, _)| Rule {
        expressions: phrase::address_decides(family, End::Source, map),
        comment: None,
    };
    (chain, MAPS.map(rule).into())
}

/// The map of each family.
pub(super) fn maps() -> [Set; 2] {
    MAPS.map(|(family, map, key)| Set {
        name: map.into(),
        key: vec![key],
        target: SetTarget::Verdict,
        comment: Some(format!("{family} addresses to masquerade, and how")),
    })
}

/// What is not for the own subnet and not for many is masqueraded.
pub(super) fn rules_of(subnet: IpNetwork) -> Vec<Rule> {
    let multicast = match subnet {
        IpNetwork::V4(_) => Ipv4Network::new([224, 0, 0, 0].into(), 4).ok().map(IpNetwork::V4),
        IpNetwork::V6(_) => Ipv6Network::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).ok().map(IpNetwork::V6),
    };
    let stays = |to: IpNetwork| {
        let mut steps = phrase::address(End::Destination, Comparison::Equal, to);
        steps.push(Expression::Decide(Verdict::Return));
        steps
    };
    let kept = [Some(subnet), multicast].into_iter().flatten().map(stays);
    let rules = kept.chain([vec![Expression::Masquerade]]);
    rules.map(|expressions| Rule { expressions, comment: None }).collect()
}

/// A chain that has everything in it that the chains of networks have, for the kernel to try.
pub(super) fn way_out() -> (Chain, Vec<Rule>) {
    let v4 = Ipv4Network::from(std::net::Ipv4Addr::LOCALHOST).into();
    let v6 = Ipv6Network::from(std::net::Ipv6Addr::LOCALHOST).into();
    let chain = Chain { name: OF_A_NETWORK.into(), base: None, comment: Some(TABLE_COMMENT.into()) };
    (chain, [rules_of(v4), rules_of(v6)].concat())
}

/// The subnet of an address with its prefix.
fn subnet(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

fn chain_of(network: &NetworkName, subnet: IpNetwork) -> String {
    // A network's name has no line's end.
    let hash = Sha256::digest(format!("{network}\n{subnet}"));
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{OF_A_NETWORK}{digits}")
}

/// What a network's chain says about itself: the subnet is read again by [`subnet_of`].
fn chain_comment(network: &NetworkName, subnet: IpNetwork) -> String {
    format!("{subnet} of network {network}")
}

pub(super) fn subnet_of(chain: &Chain) -> Option<IpNetwork> {
    let (subnet, _) = chain.comment.as_deref()?.split_once(' ')?;
    subnet.parse().ok()
}

pub(super) fn map_of(family: Family) -> &'static str {
    let [(_, ipv4, _), (_, ipv6, _)] = MAPS;
    if family == Family::Ipv6 { ipv6 } else { ipv4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::ruleset::is_of;

    fn attachment(network: &str, container: &str) -> Attachment {
        let (network, container) = (network.parse().unwrap(), container.parse().unwrap());
        Attachment { network, container, ifname: "eth0".parse().unwrap() }
    }

    fn claim(network: &str, address: &str) -> Claim {
        Claim::new(&attachment(network, "c1"), address.parse().unwrap())
    }

    #[test]
    fn containers_of_one_network_and_subnet_share_a_chain() {
        let chain = |network, address| claim(network, address).chain.name;
        let first = chain("net", "10.22.0.5/16");
        assert_eq!(first, chain("net", "10.22.7.9/16"));
        for other in
            [chain("net", "10.22.0.5/24"), chain("other", "10.22.0.5/16"), chain("net", "fd00::5/64")]
        {
            assert_ne!(first, other);
        }
    }

    /// A live node has these names: a change needs a new layout number.
    #[test]
    fn the_names_of_this_layout_stay() {
        assert_eq!(claim("net", "10.22.0.5/16").chain.name, "masquerade1_d08f1b82e613e301");
        assert_eq!((map_of(Family::Ipv4), map_of(Family::Ipv6)), ("masquerade1_ip", "masquerade1_ip6"));
    }

    #[test]
    fn an_element_leads_to_the_chain_of_its_subnet_and_names_its_owner() {
        let Claim { element, chain, map, .. } = claim("net", "10.22.0.5/16");
        assert_eq!((element.key.as_slice(), map), (&[10, 22, 0, 5][..], "masquerade1_ip"));
        assert_eq!(element.target, Target::Verdict(Verdict::Goto(chain.name)));
        assert!(is_of(&element, &attachment("net", "c1").owner()));
        assert!(!is_of(&element, &attachment("net", "c2").owner()));
    }

    #[test]
    fn the_own_subnet_and_multicast_come_before_masquerade() {
        for (address, subnet, multicast) in
            [("10.22.0.5/16", "10.22.0.0/16", "224.0.0.0/4"), ("fd00::5/64", "fd00::/64", "ff00::/8")]
        {
            let rules = claim("net", address).rules;
            let kept = |to: &str| {
                let mut steps = phrase::address(End::Destination, Comparison::Equal, to.parse().unwrap());
                steps.push(Expression::Decide(Verdict::Return));
                steps
            };
            let found: Vec<_> = rules.into_iter().map(|rule| rule.expressions).collect();
            assert_eq!(found, [kept(subnet), kept(multicast), vec![Expression::Masquerade]]);
        }
    }

    #[test]
    fn a_chain_tells_its_subnet() {
        for address in ["10.22.0.5/16", "fd00::5/64"] {
            let address: IpNetwork = address.parse().unwrap();
            let chain = Claim::new(&attachment("net", "c1"), address).chain;
            assert_eq!(subnet_of(&chain), Some(subnet(address)));
        }
    }

    #[test]
    fn an_address_named_twice_is_claimed_once() {
        let twice = ["10.22.0.5/16".parse().unwrap(), "10.22.0.5/16".parse().unwrap()];
        assert_eq!(claims(&attachment("net", "c1"), &twice).len(), 1);
    }
}
