//! Inside the container: settings, addresses, routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use cni::error::{Error, OrFail, Result};
use cni::name::IfName;
use cni::result::{Ip, Route};
use ipnetwork::IpNetwork;
use linux::address::AddressFlags;
use linux::route;
use linux::rtnl::{Request, Rtnl};
use linux::sysctl::Folder;

/// How the container's end of an attachment is to be.
#[derive(Clone, PartialEq, Debug)]
pub struct ContainerEnd {
    /// Its name.
    pub ifname: IfName,
    /// Its addresses, in the order in which IPAM gave them.
    pub addresses: Vec<IpNetwork>,
    /// The kernel adds no route for the addresses' own networks: the plugin has others in mind.
    pub without_prefix_routes: bool,
    /// Its routes, in the order in which they are added.
    pub routes: Vec<KernelRoute>,
    /// IPv6 duplicate address detection takes place. Otherwise addresses can be used at once.
    pub dad: bool,
    /// Router advertisements are listened to.
    pub listens_to_routers: bool,
}

/// A route as the kernel gets it: all that the result leaves to be inferred has been.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelRoute {
    /// As in the result.
    pub route: Route,
    /// The next hop; `None` is on-link.
    pub gateway: Option<IpAddr>,
    /// The preferred source address.
    pub source: Option<IpAddr>,
    /// The next hop is on the link, whatever the other routes say (`RTNH_F_ONLINK`).
    pub onlink: bool,
}

/// `RT_SCOPE_LINK` of rtnetlink(7): a route of this scope or a narrower one has no next hop.
pub const LINK_SCOPE: u8 = 253;

/// `RT_SCOPE_NOWHERE`: a destination that does not exist.
const NOWHERE: u8 = 255;

/// The default route of a gateway's family, by that gateway.
pub fn default_route(gateway: IpAddr) -> Option<Route> {
    let anywhere = match gateway {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(Route::new(IpNetwork::new(anywhere, 0).ok()?, Some(gateway)))
}

/// What each route of a result means: one without a next hop goes by the first gateway of its family, and on-link where
/// there is none (as the Go plugins do it).
pub fn resolve(routes: &[Route], ips: &[Ip]) -> Vec<KernelRoute> {
    let gateway_of =
        |v4: bool| ips.iter().filter_map(|ip| ip.gateway).find(|gateway| gateway.is_ipv4() == v4);
    let resolved = |route: &Route| {
        let is_direct = route.scope.is_some_and(|scope| scope >= LINK_SCOPE);
        let gateway = route.gw.or_else(|| gateway_of(route.dst.is_ipv4()).filter(|_| !is_direct));
        KernelRoute { route: route.clone(), gateway, source: None, onlink: false }
    };
    routes.iter().map(resolved).collect()
}

/// Each route once. What differs in its source alone is one route: two addresses of one network share those of the first.
///
/// # Errors
/// [`cni::error::Code::CONFIG`] for what no kernel takes: a scope that is nowhere, a next hop of a route whose scope has none,
/// and an IPv6 route that is there with other values.
pub fn once_each(routes: Vec<KernelRoute>) -> Result<Vec<KernelRoute>> {
    let mut once: Vec<(route::Route, KernelRoute)> = Vec::new();
    for route in routes {
        let scope = route.route.scope.unwrap_or_default();
        if scope == NOWHERE || (scope >= LINK_SCOPE && route.route.gw.is_some() && route.route.dst.is_ipv4())
        {
            let gateway = route.route.gw.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            return Err(Error::config(format!("route {}{gateway}: invalid scope {scope}", route.route.dst)));
        }
        let mut told = route::Route { source: None, ..route.through(0) };
        if told.dst.is_ipv6() {
            told.scope = 0; // which says nothing of an IPv6 route
        }
        if once.iter().any(|(other, _)| *other == told) {
            continue;
        }
        let is_same = |other: &route::Route| {
            (other.dst, other.gateway, other.table, other.priority)
                == (told.dst, told.gateway, told.table, told.priority)
        };
        if told.dst.is_ipv6() && once.iter().any(|(other, _)| is_same(other)) {
            return Err(Error::config(format!(
                "route {} is there twice, with other values",
                route.route.dst
            )));
        }
        once.push((told, route));
    }
    Ok(once.into_iter().map(|(_, route)| route).collect())
}

impl ContainerEnd {
    fn has_v6(&self) -> bool {
        self.addresses.iter().any(IpNetwork::is_ipv6)
    }

    /// Writes the settings that have to be there before the link comes up. `v6` is what a kernel without IPv6 does not have.
    ///
    /// # Errors
    /// IPv6 cannot be switched on though an IPv6 address was given. Other settings are as they may be.
    pub fn write_settings(&self, v6: Option<&Folder>) -> Result<()> {
        let ifname = self.ifname.as_str();
        let Some(v6) = v6 else { return Ok(()) };
        if self.has_v6() {
            for link in ["lo", ifname] {
                v6.ensure(link, "disable_ipv6", "0")
                    .doing(|| format!("failed to enable IPv6 for interface {link:?}"))?;
            }
            v6.write(ifname, "keep_addr_on_down", "1")
                .doing(|| format!("failed to enable keep_addr_on_down for interface {ifname:?}"))?;
            // Each of these is a wish: an older kernel without the key does as well as it can.
            let _ = v6.write(ifname, "ndisc_notify", "1");
            let _ = v6.write(ifname, "accept_dad", if self.dad { "1" } else { "0" });
        }
        if self.dad {
            let _ = v6.write(ifname, "enhanced_dad", "1");
        }
        if !self.listens_to_routers {
            let _ = v6.write(ifname, "accept_ra", "0");
        }
        Ok(())
    }

    /// Sets the link up and gives it its addresses and routes: one datagram, for the link's removal undoes it all.
    ///
    /// # Errors
    /// The first thing that the kernel refused.
    pub fn configure(&self, container: &Rtnl, index: u32) -> Result<()> {
        let ifname = self.ifname.as_str();
        // Up before it has an address: the announcement comes later, when frames pass, and once.
        let up = Request::set_up(index).in_order_to(format!("failed to set {ifname:?} UP"));
        let notify = self.addresses.iter().any(IpNetwork::is_ipv4).then(|| Request::set_arp_notify(index));
        let flags = AddressFlags { nodad: !self.dad, noprefixroute: self.without_prefix_routes };
        let addresses = self.addresses.iter().map(|address| {
            let doing = format!("failed to add IP addr {address} to {ifname:?}");
            Request::add_address(index, *address, flags).in_order_to(doing)
        });
        let routes = self.routes.iter().map(|route| route.request(index, ifname));
        container
            .all([up].into_iter().chain(notify).chain(addresses).chain(routes))
            .doing(|| format!("failed to configure the container's interface {ifname:?}"))?;
        if self.dad { self.settle(container, index) } else { Ok(()) }
    }

    /// Waits until nobody has objected to the addresses, for as long as the Go plugins do.
    fn settle(&self, container: &Rtnl, index: u32) -> Result<()> {
        let ifname = self.ifname.as_str();
        let doing = || format!("failed to settle addresses for {ifname:?}");
        let pending = container.wait_for_dad(index, Duration::from_secs(5)).doing(doing)?;
        match pending.first() {
            Some(address) => {
                let text = format!("link {ifname} still has tentative addresses after 5 seconds: {address}");
                Err(Error::internal(text)).doing(doing)
            }
            None => Ok(()),
        }
    }
}

impl KernelRoute {
    /// The route through a link.
    pub fn through(&self, index: u32) -> route::Route {
        let Route { dst, mtu, advmss, priority, table, scope, .. } = self.route;
        // The kernel refuses host bits in a destination; their writer means the network.
        let dst = IpNetwork::new(dst.network(), dst.prefix()).unwrap_or(dst);
        route::Route {
            gateway: self.gateway,
            table: table.filter(|table| *table != 0).unwrap_or(route::MAIN),
            priority: priority.filter(|metric| *metric != 0),
            scope: scope.unwrap_or(0),
            mtu: mtu.filter(|mtu| *mtu != 0),
            advmss: advmss.filter(|mss| *mss != 0),
            source: self.source,
            onlink: self.onlink,
            ..route::Route::new(dst, index)
        }
    }

    fn request(&self, index: u32, ifname: &str) -> Request {
        let via = self.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let doing = format!("failed to add route '{}{via} dev {ifname}'", self.route.dst);
        Request::add_route(&self.through(index)).in_order_to(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str, gateway: Option<&str>) -> Ip {
        Ip::new(address.parse().unwrap(), gateway.map(|gateway| gateway.parse().unwrap()))
    }

    fn route(dst: &str, gw: Option<&str>) -> Route {
        Route::new(dst.parse().unwrap(), gw.map(|gw| gw.parse().unwrap()))
    }

    #[test]
    fn a_route_without_a_next_hop_goes_by_the_first_gateway_of_its_family() {
        let ips = [ip("10.0.0.2/24", None), ip("10.1.0.2/24", Some("10.1.0.1")), ip("fd00::2/64", None)];
        let routes = [route("0.0.0.0/0", None), route("10.9.0.0/16", Some("10.0.0.9")), route("::/0", None)];
        let gateways: Vec<_> = resolve(&routes, &ips).into_iter().map(|route| route.gateway).collect();
        assert_eq!(gateways, [Some("10.1.0.1".parse().unwrap()), Some("10.0.0.9".parse().unwrap()), None]);
    }

    #[test]
    fn host_bits_in_a_destination_are_taken_for_its_network() {
        let route =
            KernelRoute { route: route("10.9.1.2/16", None), gateway: None, source: None, onlink: false };
        assert_eq!(route.through(3).dst.to_string(), "10.9.0.0/16");
    }

    #[test]
    fn a_default_route_is_of_its_gateways_family() {
        assert_eq!(default_route("fd00::1".parse().unwrap()).unwrap(), route("::/0", Some("fd00::1")));
    }

    #[test]
    fn a_route_is_told_once_and_never_with_what_no_kernel_takes() {
        let told = |routes: &[Route]| once_each(resolve(routes, &[])).map(|once| once.len());
        let plain = route("10.9.0.0/16", None);
        let wordy = Route { scope: Some(0), table: Some(254), mtu: Some(0), ..route("10.9.1.1/16", None) };
        let other = Route { mtu: Some(1400), ..plain.clone() };
        assert_eq!(told(&[plain.clone(), wordy, other]).unwrap(), 2);
        let sixth = route("fd00::/64", None);
        let other = Route { mtu: Some(1400), ..sixth.clone() };
        assert_eq!(told(&[sixth.clone(), sixth.clone()]).unwrap(), 1);
        assert!(told(&[sixth, other]).unwrap_err().msg().contains("fd00::/64 is there twice"));
        let nowhere = Route { scope: Some(255), ..plain };
        assert_eq!(told(&[nowhere]).unwrap_err().msg(), "route 10.9.0.0/16: invalid scope 255");
        let next_hop = Route { scope: Some(253), ..route("10.9.0.0/16", Some("10.1.0.1")) };
        assert!(told(&[next_hop]).unwrap_err().msg().contains("via 10.1.0.1: invalid scope 253"));
    }
}
