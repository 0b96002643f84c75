//! What all attachments share: the bridge, its addresses, forwarding. None of it is ever undone, for a neighbour may be
//! joining this instant.

use cni::error::{Error, OrFail, Result};
use ipnetwork::IpNetwork;
use linux::address::{Address, AddressFlags, Family};
use linux::bridge::{BridgeSpec, Ensured};
use linux::link::Link;
use linux::mac::Mac;
use linux::rtnl::Rtnl;
use linux::sysctl::Conf as Sysctl;

use crate::attachment::forwarding;
use crate::bridge::conf::{Conf, Reflection};

/// Looks for the bridge, before anything is touched.
///
/// # Errors
/// The name is taken by a link of another kind.
pub fn find_bridge(host: &Rtnl, conf: &Conf) -> Result<Option<Link>> {
    let name = conf.bridge.as_str();
    let found = host.link_by_name(name).doing(|| format!("look up bridge {name:?}"))?;
    match found {
        Some(link) if !link.is_kind("bridge") => Err(not_a_bridge(name)),
        found => Ok(found),
    }
}

fn not_a_bridge(name: &str) -> Error {
    Error::internal(format!("failed to create bridge {name:?}: {name:?} already exists but is not a bridge"))
}

/// Makes sure that the bridge is there and up. One that was found keeps its MTU and whatever else it has.
///
/// # Errors
/// What the kernel says.
pub fn ensure_bridge(host: &Rtnl, conf: &Conf, found: Option<Link>) -> Result<Link> {
    let name = conf.bridge.as_str();
    let doing = || format!("failed to create bridge {name:?}");
    // An explicit MAC: otherwise it would change with the ports, and systemd's MACAddressPolicy would set another.
    let wanted = BridgeSpec { name, mac: Mac::random(), mtu: conf.mtu, vlan_filtering: false };
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
    if !link.up {
        host.set_up(link.index).doing(doing)?;
    }
    if conf.reflection == Reflection::Promiscuous && link.promiscuity == 0 {
        host.set_promiscuous(link.index, true).doing(doing)?;
    }
    Ok(link)
}

/// Makes sure that the bridge has these addresses and that the host forwards for their families.
///
/// # Errors
/// The bridge has other addresses and `forceAddress` is not set; the error shows both.
pub fn ensure_gateways(host: &Rtnl, bridge: &Link, gateways: &[IpNetwork], conf: &Conf) -> Result<()> {
    if gateways.is_empty() {
        return Ok(());
    }
    let doing = || "failed to set bridge addr".to_string();
    let present = host.addresses_of(bridge.index).doing(doing)?;
    for gateway in gateways.iter().filter(|gateway| !present.iter().any(|address| address.net == **gateway)) {
        let conflicts: Vec<&Address> =
            present.iter().filter(|it| conflict(it.net, *gateway, gateways)).collect();
        if let (Some(first), false) = (conflicts.first(), conf.force_address) {
            let text = format!("{:?} already has an IP address different from {gateway}", bridge.name);
            let text = format!("failed to set bridge addr: {text}");
            return Err(
                Error::internal(text).details(format!("it has {}, and forceAddress is not set", first.net))
            );
        }
        for address in conflicts {
            host.delete_address(bridge.index, address.net).doing(doing)?;
        }
        add_gateway(host, bridge, *gateway).doing(doing)?;
    }
    forwarding::ensure(gateways)
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

fn add_gateway(host: &Rtnl, bridge: &Link, gateway: IpNetwork) -> Result<()> {
    let flags = AddressFlags { nodad: true, noprefixroute: false };
    match host.add_address(bridge.index, gateway, flags) {
        // A neighbour's ADD was faster.
        Err(error) if error.is_exists() => return Ok(()),
        added => added.doing(|| format!("could not add IP address {gateway} to {:?}", bridge.name))?,
    }
    // A bridge that somebody else made takes the lowest MAC of its ports unless it is told one; containers remember the
    // gateway's.
    match bridge.mac.filter(|mac| mac.is_usable()) {
        Some(mac) => host.set_mac(bridge.index, mac).doing(|| "could not set bridge's mac".into()),
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
