//! CHECK: finds what somebody has changed behind our back.

use cni::call::Check;
use cni::delegate::Delegate;
use cni::error::{Error, OrFail, Result};
use cni::result::Route;
use ipnetwork::IpNetwork;
use linux::link::Link;
use linux::rtnl::Rtnl;

use crate::attachment::compare::{self, Container};
use crate::attachment::container_end::{KernelRoute, resolve};
use crate::attachment::host_end;
use crate::attachment::pair::PATIENCE;
use crate::bridge::conf::{Addressing, Conf, Gateway, Raw, Reflection};
use crate::bridge::spoof;

/// Compares the attachment with the result of ADD.
///
/// # Errors
/// The first difference.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw, &check.call)?;
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let container = compare::container_end(check)?;
    if let Addressing::Ipam(plugin) = &conf.addressing {
        Delegate::find(plugin, &check.call)?.check()?;
    }
    let bridge = bridge(&host, check, &conf)?;
    let port = compare::host_end(&host, check, &container)?;
    is_port(&port, &bridge, &conf)?;
    conf.tagging.check(&host, &bridge, &port)?;
    if conf.addressing != Addressing::LeftDown {
        container.is_up()?;
        forwards(&host, &port)?;
    }
    container.has_addresses(check)?;
    container.has_ways(check, |ip| Ok(on_link(ip.address)))?;
    container.has_routes(check)?;
    has_gateways(&host, &bridge, check, &container, &conf)?;
    if conf.gateway != Gateway::No {
        container.is_forwarded(check)?;
    }
    container.is_masqueraded(check, &port, conf.masquerade)?;
    if conf.spoof_check { is_guarded(check, &container, &bridge, &port) } else { Ok(()) }
}

/// The route that the kernel adds with an address; it has none for an address that is alone in its network.
fn on_link(address: IpNetwork) -> Vec<KernelRoute> {
    let alone = if address.is_ipv4() { 32 } else { 128 };
    let network = IpNetwork::new(address.network(), address.prefix()).unwrap_or(address);
    match network.prefix() {
        length if length == 0 || length == alone => Vec::new(),
        _ => resolve(&[Route::new(network, None)], &[]),
    }
}

fn bridge(host: &Rtnl, check: &Check, conf: &Conf) -> Result<Link> {
    let name = conf.bridge.as_str();
    let Some(said) = compare::named_on_host(&check.prev, name) else {
        return Err(Error::internal(format!("CNI created bridge {name} in host namespace was not found")));
    };
    let link = host
        .link_by_name(name)
        .doing(|| format!("look up bridge {name}"))?
        .ok_or_else(|| Error::internal(format!("Interface name {name} not found")))?;
    if !link.is_kind("bridge") {
        return Err(Error::internal(format!("Interface {name} does not have link type of bridge")));
    }
    if !link.up {
        return Err(Error::internal(format!("Interface {name} is down")));
    }
    if conf.reflection == Reflection::Promiscuous && link.promiscuity == 0 {
        return Err(Error::internal(format!("Bridge interface {name} is not in promiscuous mode")));
    }
    // The MTU of a bridge follows its ports, so an earlier result may have another.
    let said = cni::result::Interface { mtu: None, ..said.clone() };
    compare::same_link(&said, &link).map(|()| link)
}

fn is_port(port: &Link, bridge: &Link, conf: &Conf) -> Result<()> {
    let name = &port.name;
    if port.master != Some(bridge.index) {
        return Err(Error::internal(format!("Interface {name} is no port of bridge {}", bridge.name)));
    }
    let Some(settings) = &port.port else { return Ok(()) };
    let hairpin = conf.reflection == Reflection::Hairpin;
    if settings.hairpin != hairpin {
        return Err(Error::internal(format!(
            "port {name}: hairpin mode is {}, not {hairpin}",
            settings.hairpin
        )));
    }
    if settings.isolated != conf.isolated {
        let text = format!("port {name}: isolation is {}, not {}", settings.isolated, conf.isolated);
        return Err(Error::internal(text));
    }
    Ok(())
}

/// A port that has just come up is waited for.
fn forwards(host: &Rtnl, port: &Link) -> Result<()> {
    let link = host.wait_operational(port.index, PATIENCE).doing(|| "wait for the bridge port".into())?;
    match link.oper_up() {
        true => Ok(()),
        false => Err(Error::internal(format!("bridge port in error state: {}", link.state))),
    }
}

/// A pair that the Go plugin made has its rules.
fn is_guarded(check: &Check, container: &Container, bridge: &Link, port: &Link) -> Result<()> {
    let nft = spoof::open()?;
    if !host_end::is_ours(port) && spoof::theirs::are_there(&nft, &check.attachment)? {
        return Ok(());
    }
    if !bridge.no_linklocal_learn {
        let name = &bridge.name;
        return Err(Error::internal(format!(
            "bridge {name} learns from link-local frames, which nobody checks"
        )));
    }
    let mac = container.link.mac.ok_or_else(|| Error::internal("the container end has no MAC address"))?;
    spoof::check(&nft, &check.attachment, mac)
}

fn has_gateways(host: &Rtnl, bridge: &Link, check: &Check, container: &Container, conf: &Conf) -> Result<()> {
    if conf.gateway == Gateway::No {
        return Ok(());
    }
    let in_vlan = conf.tagging.membership().map(|vlans| vlans.check_gateway(host, bridge));
    let in_vlan = in_vlan.transpose()?.flatten();
    let (Link { name, index, .. }, place) = match &in_vlan {
        Some(link) => (link, "interface"),
        None => (bridge, "bridge"),
    };
    let present = host.addresses_of(*index).doing(|| format!("list the addresses of {name}"))?;
    for ip in container.ips(check) {
        let address = ip.gateway.and_then(|gateway| IpNetwork::new(gateway, ip.address.prefix()).ok());
        if let Some(missing) = address.filter(|address| !present.iter().any(|it| it.net == *address)) {
            return Err(Error::internal(format!("Failed to find Gateway {missing} on {place} {name}")));
        }
    }
    Ok(())
}
