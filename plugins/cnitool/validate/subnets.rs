//! Subnets, and what they overlap: each other, and the routes of the host.

use std::path::PathBuf;

use cni::value::parse_cidr;
use ipnetwork::IpNetwork;
use linux::address::Family;
use linux::error::Result;
use linux::link::Link;
use linux::route::{MAIN, RouteFilter};
use linux::rtnl::Rtnl;

use super::finding::{Finding, Findings, Level};
use super::located::{Node, Place};

/// A subnet of a network.
#[derive(Debug)]
pub(crate) struct Subnet {
    net: IpNetwork,
    network: String,
    bridge: Option<String>,
    file: PathBuf,
    place: Place,
    /// Who has written addresses down may share a subnet with others: that is his to arrange.
    shared: bool,
}

/// A way that the host's packets go.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    dst: IpNetwork,
    link: String,
    /// A pair's host end: the way to a container.
    to_container: bool,
}

/// The subnets of one plugin.
pub(crate) fn of_plugin(plugin: &Node, network: &str, found: &Findings<'_>) -> Vec<Subnet> {
    let bridge = plugin.get("bridge").and_then(|member| member.node.text()).map(str::to_owned);
    let is_bridge = plugin.get("type").and_then(|member| member.node.text()) == Some("bridge");
    let bridge = bridge.or_else(|| is_bridge.then(|| "cni0".to_owned()));
    let Some(ipam) = plugin.get("ipam").map(|member| &member.node) else { return Vec::new() };
    let text = |node: &Node, key| {
        let node = &node.get(key)?.node;
        Some((node.text()?.to_owned(), node.at))
    };
    let ranges = ipam.get("ranges").map_or(&[][..], |ranges| ranges.node.items());
    let sets = ranges.iter().flat_map(Node::items).filter_map(|range| text(range, "subnet"));
    let addresses = ipam.get("addresses").map_or(&[][..], |addresses| addresses.node.items());
    let addresses = addresses.iter().filter_map(|address| text(address, "address"));
    let own = text(ipam, "subnet").into_iter().chain(sets).map(|text| (text, false));
    let all = own.chain(addresses.map(|text| (text, true)));
    let subnet = |((text, at), shared): ((String, usize), bool)| {
        let written = parse_cidr(&text)?;
        let net = IpNetwork::new(written.network(), written.prefix()).ok()?;
        let (network, bridge) = (network.to_owned(), bridge.clone());
        Some(Subnet { net, network, bridge, file: found.file().to_owned(), place: found.place(at), shared })
    };
    all.filter_map(subnet).collect()
}

/// Those that overlap another network's.
pub(crate) fn among_themselves(subnets: &[Subnet]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, later) in subnets.iter().enumerate() {
        let earlier = subnets.iter().take(number).find(|earlier| {
            let apart = (&earlier.file, &earlier.network) != (&later.file, &later.network);
            let arranged = (earlier.shared || later.shared) && earlier.bridge == later.bridge;
            apart && !arranged && overlap(earlier.net, later.net)
        });
        if let Some(earlier) = earlier {
            let Place { line, column } = earlier.place;
            let text = format!(
                "{} overlaps {} of network {:?} ({}:{line}:{column})",
                later.net,
                earlier.net,
                earlier.network,
                earlier.file.display()
            );
            found.push(later.finding(text));
        }
    }
    found
}

/// Those that overlap a way which the host's packets go, other than to the network itself.
pub(crate) fn with_ways(subnets: &[Subnet], ways: &[Way]) -> Vec<Finding> {
    let clashes = |subnet: &Subnet| {
        let way = ways.iter().find(|way| overlap(way.dst, subnet.net) && !subnet.owns(way))?;
        let text = format!("{} overlaps the host's route to {} on {}", subnet.net, way.dst, way.link);
        Some(subnet.finding(text))
    };
    subnets.iter().filter_map(clashes).collect()
}

/// The ways of the host that we are in, without the default routes.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn ways() -> Result<Vec<Way>> {
    let host = Rtnl::here()?;
    let mut ways = Vec::new();
    for family in [Family::V4, Family::V6] {
        for route in host.routes(RouteFilter { family, table: Some(MAIN), oif: None })? {
            // Every link has its own, and no container is reached by it.
            let of_links = route.dst.is_ipv6() && (route.dst.ip().to_string().starts_with("fe80:"));
            if route.is_default() || of_links {
                continue;
            }
            let link = host.link_by_index(route.oif)?;
            let to_container = link.as_ref().is_some_and(|link: &Link| link.is_kind("veth"));
            let link = link.map_or_else(|| format!("link {}", route.oif), |link| link.name);
            ways.push(Way { dst: route.dst, link, to_container });
        }
    }
    Ok(ways)
}

impl Subnet {
    fn finding(&self, text: String) -> Finding {
        Finding { file: self.file.clone(), place: Some(self.place), level: Level::Warning, text }
    }

    /// Is this the way that the network itself has made, or will make?
    fn owns(&self, way: &Way) -> bool {
        let own = |bridge: &String| way.link == *bridge || way.link.starts_with(&format!("{bridge}."));
        let inside = way.dst.prefix() >= self.net.prefix();
        self.bridge.as_ref().is_some_and(own) || (inside && way.to_container)
    }
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    let (wide, narrow) = if one.prefix() <= other.prefix() { (one, other) } else { (other, one) };
    wide.contains(narrow.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(net: &str, network: &str, bridge: Option<&str>) -> Subnet {
        Subnet {
            net: net.parse().unwrap(),
            network: network.into(),
            bridge: bridge.map(str::to_owned),
            file: "x".into(),
            place: Place { line: 1, column: 2 },
            shared: false,
        }
    }

    fn way(dst: &str, link: &str, to_container: bool) -> Way {
        Way { dst: dst.parse().unwrap(), link: link.into(), to_container }
    }

    #[test]
    fn one_subnet_within_another_networks_is_found_once() {
        let net = |net, network| subnet(net, network, None);
        let nets = [
            net("10.1.0.0/16", "a"),
            net("10.1.2.0/24", "b"),
            net("fd00::/64", "b"),
            net("10.1.2.0/25", "a"),
        ];
        let found = among_themselves(&nets);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].text.contains("10.1.2.0/24 overlaps 10.1.0.0/16 of network \"a\" (x:1:2)"),
            "{found:?}"
        );
        assert!(found[1].text.contains("10.1.2.0/25 overlaps 10.1.2.0/24"), "{found:?}");
    }

    #[test]
    fn a_networks_own_bridge_and_containers_are_no_clash() {
        let net = subnet("10.1.0.0/16", "a", Some("br0"));
        for own in [
            way("10.1.0.0/16", "br0", false),
            way("10.1.0.0/16", "br0.7", false),
            way("10.1.0.9/32", "veth1", true),
            way("10.2.0.0/16", "eth0", false),
        ] {
            assert_eq!(with_ways(std::slice::from_ref(&net), std::slice::from_ref(&own)), [], "{own:?}");
        }
        for other in [way("10.1.0.0/16", "br1", false), way("10.0.0.0/8", "tun0", false)] {
            assert_eq!(
                with_ways(std::slice::from_ref(&net), std::slice::from_ref(&other)).len(),
                1,
                "{other:?}"
            );
        }
    }
}
