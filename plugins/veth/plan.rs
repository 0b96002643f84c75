//! What ADD will do, decided before anything is touched: pure, and tested by table.
//!
//! The pair is routed, not switched. The container reaches its whole network by the gateway, which is an address of the
//! host end; the host reaches the container's address, and nothing else, through the pair.

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, Result};
use cni::result::{Dns, Ip, Route, Success};
use ipnetwork::IpNetwork;
use linux::route;

use crate::attachment::container_end::{ContainerEnd, KernelRoute, LINK_SCOPE, once_each, resolve};
use crate::veth::conf::Conf;

/// `RT_SCOPE_HOST` of rtnetlink(7).
const HOST_SCOPE: u8 = 254;

/// A routed pair.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The container's end.
    pub container: ContainerEnd,
    /// The host end's addresses: the gateways, alone in their networks.
    pub gateways: Vec<IpNetwork>,
    /// What the host reaches through the pair: the container's addresses, alone in their networks.
    pub destinations: Vec<IpNetwork>,
    /// For the result: the addresses.
    pub ips: Vec<Ip>,
    /// For the result: the routes.
    pub routes: Vec<Route>,
    /// For the result.
    pub dns: Dns,
}

/// Decides, from the configuration and from what IPAM gave.
///
/// # Errors
/// IPAM gave no address, or one without a gateway, or routes that no kernel takes.
pub fn plan(attachment: &Attachment, conf: &Conf, lease: Success) -> Result<Plan> {
    if lease.ips.is_empty() {
        return Err(Error::internal("IPAM plugin returned missing IP config"));
    }
    let (mut gateways, mut destinations, mut routes) = (Vec::new(), Vec::new(), Vec::new());
    for ip in &lease.ips {
        let Some(gateway) = ip.gateway else {
            let text = format!("IPAM plugin returned no gateway for {}", ip.address);
            return Err(Error::config(text).details("a routed pair reaches everything by its gateway"));
        };
        routes.extend(routes_by(gateway, ip.address)?);
        let gateway = alone(gateway)?;
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
        destinations.push(alone(ip.address.ip())?);
    }
    for route in resolve(&lease.routes, &lease.ips) {
        // Another station of the container's network: it too lies behind the pair's gateway, but is asked for directly.
        let is_station = |hop: IpAddr| {
            lease.ips.iter().any(|ip| ip.address.contains(hop)) && !gateways.iter().any(|it| it.ip() == hop)
        };
        routes.push(KernelRoute { onlink: route.gateway.is_some_and(is_station), ..route });
    }
    let container = ContainerEnd {
        ifname: attachment.ifname.clone(),
        addresses: lease.ips.iter().map(|ip| ip.address).collect(),
        without_prefix_routes: true,
        routes: once_each(routes)?,
        dad: false,
        listens_to_routers: !lease.ips.iter().any(|ip| ip.address.is_ipv6()),
    };
    let dns = if conf.dns.is_empty() { lease.dns } else { conf.dns.clone() };
    let ips = lease.ips.into_iter().map(|ip| Ip { interface: Some(1), ..ip }).collect();
    Ok(Plan { container, gateways, destinations, ips, routes: lease.routes, dns })
}

/// The gateway is on the link, and everything else of the container's network behind it.
///
/// # Errors
/// None that an address could cause.
pub fn routes_by(gateway: IpAddr, address: IpNetwork) -> Result<Vec<KernelRoute>> {
    let source = Some(address.ip());
    let on_link = Route { scope: Some(LINK_SCOPE), ..Route::new(alone(gateway)?, None) };
    let network = IpNetwork::new(address.network(), address.prefix()).unwrap_or(address);
    let direct = KernelRoute { route: on_link, gateway: None, source, onlink: false };
    let mut routes = vec![direct.clone()];
    if alone(address.ip()).ok() != Some(network) {
        routes.push(KernelRoute { route: Route::new(network, None), gateway: Some(gateway), ..direct });
    }
    Ok(routes)
}

/// An address as a network of its own.
fn alone(address: IpAddr) -> Result<IpNetwork> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    IpNetwork::new(address, length).map_err(|error| Error::internal(format!("{address}: {error}")))
}

/// The host's way to an address of the container.
pub fn to_container(destination: IpNetwork, host_end: u32) -> route::Route {
    route::Route { scope: HOST_SCOPE, ..route::Route::new(destination, host_end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::mtu::Mtu;

    fn lease(ips: &[(&str, Option<&str>)], routes: &[&str]) -> Success {
        Success {
            ips: ips
                .iter()
                .map(|(net, gw)| Ip::new(net.parse().unwrap(), gw.map(|gw| gw.parse().unwrap())))
                .collect(),
            routes: routes.iter().map(|dst| Route::new(dst.parse().unwrap(), None)).collect(),
            ..Success::default()
        }
    }

    fn planned(lease: Success) -> Result<Plan> {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let conf =
            Conf { mtu: Mtu::Default, masquerade: None, ipam: "x".parse().unwrap(), dns: Dns::default() };
        plan(&attachment, &conf, lease)
    }

    fn texts(routes: &[KernelRoute]) -> Vec<String> {
        let text = |it: &KernelRoute| {
            let via = it.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            let from = it.source.map(|source| format!(" from {source}")).unwrap_or_default();
            format!("{}{via}{from}", it.route.dst)
        };
        routes.iter().map(text).collect()
    }

    #[test]
    fn the_container_reaches_its_network_by_the_gateway_alone() {
        let plan = planned(lease(
            &[("10.1.2.3/24", Some("10.1.2.1")), ("fd00::3/64", Some("fd00::1"))],
            &["0.0.0.0/0"],
        ))
        .unwrap();
        let expected = [
            "10.1.2.1/32 from 10.1.2.3",
            "10.1.2.0/24 via 10.1.2.1 from 10.1.2.3",
            "fd00::1/128 from fd00::3",
            "fd00::/64 via fd00::1 from fd00::3",
            "0.0.0.0/0 via 10.1.2.1",
        ];
        assert_eq!(texts(&plan.container.routes), expected);
        assert_eq!(
            plan.destinations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.1.2.3/32", "fd00::3/128"]
        );
    }

    #[test]
    fn another_station_of_the_network_may_be_a_next_hop_and_a_stranger_may_not() {
        let onlink = |hop: &str| {
            let mut lease = lease(&[("10.1.2.3/24", Some("10.1.2.1"))], &["192.0.2.0/24"]);
            lease.routes[0].gw = Some(hop.parse().unwrap());
            planned(lease).unwrap().container.routes.pop().unwrap().onlink
        };
        assert!(onlink("10.1.2.9"));
        assert!(!onlink("10.1.2.1") && !onlink("203.0.113.1"));
    }

    #[test]
    fn two_addresses_of_one_network_share_gateway_and_routes() {
        let plan =
            planned(lease(&[("10.1.2.3/24", Some("10.1.2.1")), ("10.1.2.4/24", Some("10.1.2.1"))], &[]))
                .unwrap();
        assert_eq!(texts(&plan.container.routes).len(), 2);
        assert_eq!((plan.gateways.len(), plan.destinations.len()), (1, 2));
    }

    #[test]
    fn an_address_alone_in_its_network_needs_no_route_to_it() {
        let plan = planned(lease(&[("10.1.2.3/32", Some("169.254.1.1"))], &["0.0.0.0/0"])).unwrap();
        assert_eq!(
            texts(&plan.container.routes),
            ["169.254.1.1/32 from 10.1.2.3", "0.0.0.0/0 via 169.254.1.1"]
        );
    }

    #[test]
    fn an_address_without_a_gateway_is_refused_by_name() {
        let error = planned(lease(&[("10.1.2.3/24", None)], &[])).unwrap_err();
        assert!(error.msg().contains("10.1.2.3/24"));
        assert!(planned(lease(&[], &[])).unwrap_err().msg().contains("missing IP config"));
    }
}
