//! What all attachments share: the bridge, its addresses, forwarding. None of it is ever undone, for a neighbour may be
//! joining this instant.

use cni::error::{Error, OrFail, Result};
use cni::log;
use ipnetwork::IpNetwork;
use linux::address::{Address, AddressFlags, Family};
use linux::bridge::{BridgeSpec, Ensured};
use linux::link::Link;
use linux::mac::Mac;
use linux::rtnl::{Request, Rtnl};
use linux::sysctl::Conf as Sysctl;

use crate::attachment::forwarding;
use crate::bridge::conf::{Conf, Reflection};

/// Looks for the bridge, before anything is touched.
///
/// # Errors
/// The name is taken by a link of another kind; the network has VLANs, and the kernel's bridges have none.
pub fn find_bridge(host: &Rtnl, conf: &Conf) -> Result<Option<Link>> {
    let name = conf.bridge.as_str();
    let found = host.link_by_name(name).doing(|| format!("look up bridge {name:?}"))?;
    match found {
        Some(link) if !link.is_kind("bridge") => Err(not_a_bridge(name)),
        found => conf.tagging.refuse_kernel_without(found.as_ref()).map(|()| found),
    }
}

fn not_a_bridge(name: &str) -> Error {
    Error::internal(format!("failed to create bridge {name:?}: {name:?} already exists but is not a bridge"))
}

/// Makes sure that the bridge is there and up, with this MTU if it is made. One that was found keeps its own and whatever else it has.
///
/// # Errors
/// What the kernel says.
pub fn ensure_bridge(host: &Rtnl, conf: &Conf, mtu: Option<u32>, found: Option<Link>) -> Result<Link> {
    let _step = log::step("bridge");
    let name = conf.bridge.as_str();
    let doing = || format!("failed to create bridge {name:?}");
    // An explicit MAC: otherwise it would change with the ports, and systemd's MACAddressPolicy would set another.
    let wanted = BridgeSpec { name, mac: Mac::random(), mtu, vlan_filtering: conf.tagging.filters() };
    let ensured = found.map_or_else(|| host.ensure_bridge(&wanted), |link| Ok(Ensured::Found(link)));
    let link = match ensured.doing(doing)? {
        Ensured::Made(link) => {
            // It listens to no router, and its addresses can be used at once: nobody else can have them yet. A kernel
            // without IPv6 does not have these keys, nor the need.
            for key in ["accept_ra", "accept_dad"] {
                let _ = Sysctl { family: Family::V6, link: name, key }.write("0");
            }
            link
        }
        Ensured::Found(link) if link.is_kind("bridge") => link,
        Ensured::Found(_) => return Err(not_a_bridge(name)),
    };
    conf.tagging.ensure_filtering(host, &link)?;
    if conf.spoof_check && !link.no_linklocal_learn {
        host.send(Request::set_no_linklocal_learn(link.index)).doing(doing)?;
    }
    if !link.up {
        host.set_up(link.index).doing(doing)?;
    }
    if conf.reflection == Reflection::Promiscuous && link.promiscuity == 0 {
        host.set_promiscuous(link.index, true).doing(doing)?;
    }
    Ok(link)
}

/// Makes sure that the host has these addresses, on the bridge or on its link in the VLAN, which it gives, and that it
/// forwards for their families.
///
/// # Errors
/// There are other addresses and `forceAddress` is not set; the error shows both.
pub fn ensure_gateways(
    host: &Rtnl,
    bridge: &Link,
    gateways: &[IpNetwork],
    conf: &Conf,
) -> Result<Option<Link>> {
    let _step = log::step("bridge");
    if gateways.is_empty() {
        return Ok(None);
    }
    let in_vlan = conf.tagging.membership().map(|vlans| vlans.ensure_gateway(host, bridge));
    let in_vlan = in_vlan.transpose()?.flatten();
    let (link, deed) = match &in_vlan {
        Some(link) => (link, "failed to set vlan interface for bridge with addr"),
        None => (bridge, "failed to set bridge addr"),
    };
    ensure_addresses(host, link, gateways, conf.force_address, deed)?;
    forwarding::ensure(gateways).map(|()| in_vlan)
}

fn ensure_addresses(
    host: &Rtnl,
    link: &Link,
    gateways: &[IpNetwork],
    force: bool,
    deed: &'static str,
) -> Result<()> {
    let doing = || deed.to_string();
    let present = host.addresses_of(link.index).doing(doing)?;
    for gateway in gateways.iter().filter(|gateway| !present.iter().any(|address| address.net == **gateway)) {
        let conflicts: Vec<&Address> =
            present.iter().filter(|it| conflict(it.net, *gateway, gateways)).collect();
        if let (Some(first), false) = (conflicts.first(), force) {
            let text = format!("{deed}: {:?} already has an IP address different from {gateway}", link.name);
            return Err(
                Error::internal(text).details(format!("it has {}, and forceAddress is not set", first.net))
            );
        }
        for address in conflicts {
            host.delete_address(link.index, address.net).doing(doing)?;
        }
        add_gateway(host, link, *gateway).doing(doing)?;
    }
    Ok(())
}

/// IPv4: any other address is in the way. IPv6: one of an overlapping network. What we are about to add is not.
fn conflict(present: IpNetwork, wanted: IpNetwork, ours: &[IpNetwork]) -> bool {
    if ours.contains(&present) {
        return false;
    }
    match (present, wanted) {
        (IpNetwork::V4(_), IpNetwork::V4(_)) => true,
        (IpNetwork::V6(a), IpNetwork::V6(b)) => a.contains(b.ip()) || b.contains(a.ip()),
        _ => false,
    }
}

fn add_gateway(host: &Rtnl, link: &Link, gateway: IpNetwork) -> Result<()> {
    let flags = AddressFlags { nodad: true, noprefixroute: false };
    match host.add_address(link.index, gateway, flags) {
        // A neighbour's ADD was faster.
        Err(error) if error.is_exists() => return Ok(()),
        added => added.doing(|| format!("could not add IP address {gateway} to {:?}", link.name))?,
    }
    // A bridge that somebody else made takes the lowest MAC of its ports unless it is told one; containers remember the
    // gateway's.
    match link.mac.filter(|mac| mac.is_usable() && link.is_kind("bridge")) {
        Some(mac) => host.set_mac(link.index, mac).doing(|| "could not set bridge's mac".into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::conflict;

    #[test]
    fn another_ipv4_address_is_in_the_way_and_an_ipv6_one_only_if_it_overlaps() {
        let conflict = |present: &str, wanted: &str, ours: &[&str]| {
            let ours: Vec<_> = ours.iter().map(|net| net.parse().unwrap()).collect();
            conflict(present.parse().unwrap(), wanted.parse().unwrap(), &ours)
        };
        assert!(conflict("10.0.0.1/24", "10.1.0.1/24", &[]));
        assert!(!conflict("10.0.0.1/24", "10.1.0.1/24", &["10.0.0.1/24"]));
        assert!(!conflict("fd00:1::1/64", "fd00:2::1/64", &[]));
        assert!(conflict("fd00:1::9/64", "fd00:1::1/64", &[]));
        assert!(!conflict("10.0.0.1/24", "fd00:1::1/64", &[]));
        assert!(!conflict("fe80::1/64", "fd00:1::1/64", &[]));
    }
}
