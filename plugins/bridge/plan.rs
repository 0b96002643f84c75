//! What ADD will do, decided before anything is touched: pure, and tested by table.

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, Result};
use cni::result::{Dns, Ip, Route, Success};
use ipnetwork::IpNetwork;

use crate::attachment::container_end::{ContainerEnd, default_route, once_each, resolve};
use crate::bridge::conf::{Conf, Gateway};

/// An attachment with addresses.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The container's end.
    pub container: ContainerEnd,
    /// The addresses that the bridge has to have: IPv4 first.
    pub gateways: Vec<IpNetwork>,
    /// For the result: the addresses with their gateways.
    pub ips: Vec<Ip>,
    /// For the result: the routes.
    pub routes: Vec<Route>,
    /// For the result.
    pub dns: Dns,
}

/// Decides, from the configuration and from what IPAM gave.
///
/// # Errors
/// IPAM gave no address, or routes that no kernel takes.
pub fn plan(attachment: &Attachment, conf: &Conf, lease: Success) -> Result<Plan> {
    if lease.ips.is_empty() {
        return Err(Error::internal("IPAM plugin returned missing IP config"));
    }
    let ips = lease.ips.into_iter().map(|ip| with_gateway(ip, conf.gateway)).collect::<Result<Vec<Ip>>>()?;
    let mut routes = lease.routes;
    if conf.gateway == Gateway::DefaultRoute {
        add_default_routes(&mut routes, &ips);
    }
    let has_v6 = ips.iter().any(|ip| ip.address.is_ipv6());
    let container = ContainerEnd {
        ifname: attachment.ifname.clone(),
        addresses: ips.iter().map(|ip| ip.address).collect(),
        without_prefix_routes: false,
        routes: once_each(resolve(&routes, &ips))?,
        dad: conf.dad,
        listens_to_routers: !has_v6 && conf.gateway == Gateway::No,
    };
    let dns = if conf.dns.is_empty() { lease.dns } else { conf.dns.clone() };
    Ok(Plan { container, gateways: gateways(conf.gateway, &ips), ips, routes, dns })
}

/// Where the bridge is the gateway and IPAM named none, it has the first address of the container's network.
fn with_gateway(mut ip: Ip, gateway: Gateway) -> Result<Ip> {
    if gateway > Gateway::No && ip.gateway.is_none() {
        let first = match ip.address {
            IpNetwork::V4(net) => IpAddr::V4((u32::from(net.network()).saturating_add(1)).into()),
            IpNetwork::V6(net) => IpAddr::V6((u128::from(net.network()).saturating_add(1)).into()),
        };
        if gateway == Gateway::DefaultRoute && !ip.address.contains(first) {
            let text =
                format!("isDefaultGateway: IPAM names no gateway, and {} has room for none", ip.address);
            return Err(Error::config(text));
        }
        ip.gateway = Some(first);
    }
    ip.interface = Some(2);
    Ok(ip)
}

/// One default route per family, unless IPAM's routes have it already: with the same next hop it would be refused by the
/// kernel as there already.
fn add_default_routes(routes: &mut Vec<Route>, ips: &[Ip]) {
    for gateway in ips.iter().filter_map(|ip| ip.gateway) {
        let is_there = |route: &Route| route.dst.prefix() == 0 && route.dst.is_ipv4() == gateway.is_ipv4();
        if !routes.iter().any(is_there) {
            routes.extend(default_route(gateway));
        }
    }
}

fn gateways(gateway: Gateway, ips: &[Ip]) -> Vec<IpNetwork> {
    if gateway == Gateway::No {
        return Vec::new();
    }
    let mut gateways: Vec<IpNetwork> = Vec::new();
    for v4 in [true, false] {
        for ip in ips.iter().filter(|ip| ip.address.is_ipv4() == v4) {
            let address = ip.gateway.and_then(|gateway| IpNetwork::new(gateway, ip.address.prefix()).ok());
            gateways.extend(address.filter(|address| !gateways.contains(address)));
        }
    }
    gateways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::mtu::Mtu;
    use crate::bridge::conf::{Addressing, Reflection};
    use crate::bridge::vlan::Tagging;

    fn conf(gateway: Gateway) -> Conf {
        Conf {
            bridge: "br0".parse().unwrap(),
            gateway,
            force_address: false,
            mtu: Mtu::Default,
            reflection: Reflection::None,
            isolated: false,
            spoof_check: false,
            masquerade: None,
            tagging: Tagging::None,
            dad: false,
            mac: None,
            addressing: Addressing::Ipam("x".parse().unwrap()),
            dns: Dns::default(),
        }
    }

    fn attachment() -> Attachment {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn lease(addresses: &[(&str, Option<&str>)], routes: &[(&str, Option<&str>)]) -> Success {
        let address = |text: &Option<&str>| text.map(|text| text.parse().unwrap());
        Success {
            ips: addresses
                .iter()
                .map(|(net, gateway)| Ip::new(net.parse().unwrap(), address(gateway)))
                .collect(),
            routes: routes.iter().map(|(dst, gw)| Route::new(dst.parse().unwrap(), address(gw))).collect(),
            ..Success::default()
        }
    }

    fn texts<T: ToString>(items: &[T]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_gateway_that_ipam_does_not_name_is_the_networks_first_address() {
        let given = lease(&[("10.1.2.3/24", None), ("fd00::5/64", None)], &[]);
        let planned = plan(&attachment(), &conf(Gateway::Address), given.clone()).unwrap();
        assert_eq!(texts(&planned.gateways), ["10.1.2.1/24", "fd00::1/64"]);
        assert!(planned.routes.is_empty());
        let without = plan(&attachment(), &conf(Gateway::No), given).unwrap();
        assert!(without.gateways.is_empty() && without.ips[0].gateway.is_none());
    }

    #[test]
    fn a_default_gateway_gives_one_default_route_per_family() {
        let given =
            lease(&[("10.1.2.3/24", None), ("10.1.3.3/24", None), ("fd00::5/64", Some("fd00::9"))], &[]);
        let planned = plan(&attachment(), &conf(Gateway::DefaultRoute), given).unwrap();
        let routes: Vec<String> =
            planned.routes.iter().map(|it| format!("{} {}", it.dst, it.gw.unwrap())).collect();
        assert_eq!(routes, ["0.0.0.0/0 10.1.2.1", "::/0 fd00::9"]);
    }

    #[test]
    fn a_default_route_that_ipam_gives_is_not_doubled() {
        for gw in [None, Some("10.1.2.9")] {
            let given = lease(&[("10.1.2.3/24", None)], &[("0.0.0.0/0", gw)]);
            let planned = plan(&attachment(), &conf(Gateway::DefaultRoute), given).unwrap();
            assert_eq!(planned.routes.len(), 1);
            let hop = planned.container.routes[0].gateway.unwrap().to_string();
            assert_eq!(hop, gw.unwrap_or("10.1.2.1"));
        }
    }

    #[test]
    fn routers_are_listened_to_only_where_nobody_else_gives_ipv6() {
        let listens = |address: &str, gateway| {
            plan(&attachment(), &conf(gateway), lease(&[(address, None)], &[]))
                .unwrap()
                .container
                .listens_to_routers
        };
        assert!(listens("10.1.2.3/24", Gateway::No));
        assert!(!listens("10.1.2.3/24", Gateway::Address));
        assert!(!listens("fd00::5/64", Gateway::No));
    }

    #[test]
    fn without_an_address_there_is_no_attachment() {
        let error = plan(&attachment(), &conf(Gateway::No), Success::default()).unwrap_err();
        assert_eq!(error.msg(), "IPAM plugin returned missing IP config");
    }

    #[test]
    fn an_address_alone_in_its_network_has_no_default_route_of_our_own_making() {
        let alone =
            |gateway, named| plan(&attachment(), &conf(gateway), lease(&[("fd00::6/128", named)], &[]));
        let error = alone(Gateway::DefaultRoute, None).unwrap_err();
        assert_eq!(error.code(), cni::error::Code::CONFIG);
        assert!(error.msg().contains("fd00::6/128 has room for none"), "{}", error.msg());
        assert!(
            alone(Gateway::DefaultRoute, Some("fe80::1")).is_ok() && alone(Gateway::Address, None).is_ok()
        );
    }
}
