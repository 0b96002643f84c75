//! Routes.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteProtocol, RouteType, RouteVia,
};
use nix::errno::Errno;

use crate::address::Family;
use crate::error::Result;
use crate::rtnl::message::RtnlMessage;
use crate::rtnl::{Request, Rtnl};

/// The table that routes are in unless they say otherwise (`RT_TABLE_MAIN`).
pub const MAIN: u32 = 254;

/// A unicast route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where it leads: a network, without host bits (IPv4 refuses them).
    pub dst: IpNetwork,
    /// The link it leaves by.
    pub oif: u32,
    /// The next hop; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The routing table, [`MAIN`] as a rule.
    pub table: u32,
    /// The metric: the lowest wins. None and 0 are the same to IPv4; IPv6 then takes 1024.
    pub priority: Option<u32>,
    /// `RT_SCOPE_*`: 0 anywhere, 253 on the link, 254 on this host. Means nothing to IPv6.
    pub scope: u8,
    /// The greatest packet that fits through, in bytes.
    pub mtu: Option<u32>,
    /// The greatest TCP segment to advertise, in bytes.
    pub advmss: Option<u32>,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// The gateway is taken to be on the link, whatever the addresses say.
    pub onlink: bool,
}

impl Route {
    /// A plain route in the main table.
    pub fn new(dst: IpNetwork, oif: u32) -> Route {
        Route {
            dst,
            oif,
            gateway: None,
            table: MAIN,
            priority: None,
            scope: 0,
            mtu: None,
            advmss: None,
            source: None,
            onlink: false,
        }
    }

    /// Whether it leads everywhere.
    pub fn is_default(&self) -> bool {
        self.dst.prefix() == 0
    }

    fn message(&self) -> RouteMessage {
        let mut message = question(Family::of(self.dst.ip()), self.table);
        let header = &mut message.header;
        header.destination_prefix_length = self.dst.prefix();
        header.protocol = RouteProtocol::Boot; // RTPROT_BOOT, as `ip route add` and the Go plugins say
        header.scope = self.scope.into();
        header.kind = RouteType::Unicast;
        header.flags.set(RouteFlags::Onlink, self.onlink);
        let metrics: Vec<_> = [self.mtu.map(RouteMetric::Mtu), self.advmss.map(RouteMetric::Advmss)]
            .into_iter()
            .flatten()
            .collect();
        let attributes = [
            Some(RouteAttribute::Destination(self.dst.ip().into())),
            Some(RouteAttribute::Oif(self.oif)),
            self.gateway.map(|gateway| via(gateway, self.dst)),
            self.priority.map(RouteAttribute::Priority),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
            (!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics)),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " on link {}", self.oif)?;
        if let Some(priority) = self.priority {
            write!(f, " metric {priority}")?;
        }
        if self.table != MAIN { write!(f, " table {}", self.table) } else { Ok(()) }
    }
}

/// Which routes to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteFilter {
    /// Of this family.
    pub family: Family,
    /// In this table; None for all tables.
    pub table: Option<u32>,
    /// Leaving by this link.
    pub oif: Option<u32>,
}

impl Request {
    /// Adds a route, beside others to the same destination: a second one with the same metric goes in front of an
    /// IPv4 one, and becomes a second next hop of an IPv6 one.
    pub fn add_route(route: &Route) -> Request {
        let message = RtnlMessage::NewRoute(route.message());
        // Not NLM_F_EXCL: a container on two networks has two default routes.
        Request::new(message, NLM_F_CREATE, format!("add route {route}"))
    }

    /// Deletes a route; one already gone is deleted.
    pub fn delete_route(route: &Route) -> Request {
        let message = RtnlMessage::DelRoute(route.message());
        Request::new(message, 0, format!("delete route {route}")).forgiving(&[Errno::ESRCH, Errno::ENODEV])
    }
}

impl Rtnl {
    /// Adds a route, beside others to the same destination.
    ///
    /// # Errors
    /// `EEXIST` if this very route is there, `ENETUNREACH` if the gateway is not on
    /// the link, `ENETDOWN` if the link is down, `EINVAL` for host bits.
    pub fn add_route(&self, route: &Route) -> Result<()> {
        self.send(Request::add_route(route))
    }

    /// Deletes a route; one already gone is deleted.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        self.send(Request::delete_route(route))
    }

    /// The unicast routes that fit a filter, which the kernel applies. A route with several next hops is listed once for
    /// each.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>> {
        let mut message = question(filter.family, filter.table.unwrap_or(0));
        message.attributes.extend(filter.oif.map(RouteAttribute::Oif));
        let found = match self.dump(RtnlMessage::GetRoute(message), "list routes") {
            // A table that was never used.
            Err(e) if e.errno() == Some(Errno::ENOENT) => Vec::new(),
            found => found?,
        };
        Ok(found.into_iter().flat_map(read).collect())
    }

    /// The link by which a packet of this host to the address would leave; None if there is no way, or the address is the
    /// host's own.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn link_towards(&self, address: IpAddr) -> Result<Option<u32>> {
        let mut message = question(Family::of(address), 0);
        message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(address.into()));
        let found =
            self.look_up(RtnlMessage::GetRoute(message), || format!("look up the route to {address}"));
        match found {
            Err(e) if matches!(e.errno(), Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES)) => {
                Ok(None)
            }
            found => Ok(found?.into_iter().flat_map(read).next().map(|route| route.oif)),
        }
    }

    /// The default routes of a family in the main table that win over others, one for each next hop; none, if there is none.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn default_routes(&self, family: Family) -> Result<Vec<Route>> {
        let mut routes = self.routes(RouteFilter { family, table: Some(MAIN), oif: None })?;
        routes.retain(Route::is_default);
        let metric = |route: &Route| route.priority.unwrap_or(0);
        let best = routes.iter().map(metric).min();
        routes.retain(|route| Some(metric(route)) == best);
        Ok(routes)
    }
}

/// A message about a family and table; tables beyond a byte go into an attribute.
fn question(family: Family, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family.number();
    match u8::try_from(table) {
        Ok(small) => message.header.table = small,
        Err(_) => {
            message.header.table = RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(table));
        }
    }
    message
}

/// An IPv4 route may have an IPv6 gateway (RFC 5549); that one has its own attribute.
fn via(gateway: IpAddr, dst: IpNetwork) -> RouteAttribute {
    match (gateway, dst) {
        (IpAddr::V6(gateway), IpNetwork::V4(_)) => RouteAttribute::Via(RouteVia::Inet6(gateway)),
        _ => RouteAttribute::Gateway(gateway.into()),
    }
}

/// The routes that an answer describes: one for each next hop.
pub(crate) fn read(message: RtnlMessage) -> Vec<Route> {
    let RtnlMessage::NewRoute(message) = message else { return Vec::new() };
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.clone()),
        _ => None,
    });
    let Some(route) = read_one(message) else { return Vec::new() };
    let Some(hops) = hops else { return vec![route] };
    let by = |hop: RouteNextHop| {
        let gateway = hop.attributes.into_iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(gateway) => ip(gateway),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some(gateway.into()),
            _ => None,
        });
        Route { oif: hop.interface_index, gateway, ..route.clone() }
    };
    hops.into_iter().map(by).collect()
}

fn read_one(RouteMessage { header, attributes, .. }: RouteMessage) -> Option<Route> {
    if header.kind != RouteType::Unicast {
        return None;
    }
    let everywhere = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => {
            IpNetwork::V4(Ipv4Network::new([0, 0, 0, 0].into(), 0).ok()?)
        }
        _ => IpNetwork::V6(Ipv6Network::new([0u16; 8].into(), 0).ok()?),
    };
    let mut route = Route::new(everywhere, 0);
    route.table = header.table.into();
    route.scope = header.scope.into();
    route.onlink = header.flags.contains(RouteFlags::Onlink);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Destination(dst) => {
                route.dst = IpNetwork::new(ip(dst)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Oif(oif) => route.oif = oif,
            RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => route.gateway = Some(gateway.into()),
            RouteAttribute::Priority(priority) => route.priority = Some(priority),
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(bytes) => route.mtu = Some(bytes),
                        RouteMetric::Advmss(bytes) => route.advmss = Some(bytes),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(route)
}

fn ip(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(ip.into()),
        RouteAddress::Inet6(ip) => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(route: &Route) -> Option<Route> {
        read(RtnlMessage::NewRoute(route.message())).pop()
    }

    #[test]
    fn a_route_with_two_next_hops_is_two_routes() {
        let mut message = Route::new("fd00::/64".parse().unwrap(), 0).message();
        let hop = |link| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = link;
            hop.attributes =
                vec![RouteAttribute::Gateway(RouteAddress::Inet6([0xfd00, 0, 0, 0, 0, 0, 0, 1].into()))];
            hop
        };
        message.attributes.push(RouteAttribute::MultiPath(vec![hop(2), hop(3)]));
        let routes = read(RtnlMessage::NewRoute(message));
        assert_eq!(routes.iter().map(|route| route.oif).collect::<Vec<_>>(), [2, 3]);
        assert!(routes.iter().all(|route| route.gateway.is_some()));
    }

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let plain = Route::new("10.1.0.0/16".parse().unwrap(), 7);
        let full = Route {
            gateway: Some([10, 0, 0, 1].into()),
            table: 1000,
            priority: Some(77),
            scope: 253,
            mtu: Some(1300),
            advmss: Some(1200),
            source: Some([10, 0, 0, 9].into()),
            onlink: true,
            ..plain.clone()
        };
        let sixth = Route { gateway: Some([0xfe80, 0, 0, 0, 0, 0, 0, 1].into()), ..plain.clone() };
        for route in [plain, full, sixth, Route::new("::/0".parse().unwrap(), 2)] {
            assert_eq!(there_and_back(&route).as_ref(), Some(&route), "{route}");
        }
    }

    #[test]
    fn an_ipv4_route_to_an_ipv6_gateway_says_so() {
        let mut route = Route::new("10.1.0.0/16".parse().unwrap(), 7);
        route.gateway = Some([0xfe80, 0, 0, 0, 0, 0, 0, 1].into());
        let via = RouteAttribute::Via(RouteVia::Inet6([0xfe80, 0, 0, 0, 0, 0, 0, 1].into()));
        assert!(route.message().attributes.contains(&via));
    }

    #[test]
    fn a_table_beyond_a_byte_goes_into_an_attribute() {
        let message = question(Family::V4, 256);
        assert_eq!(message.header.table, RouteHeader::RT_TABLE_UNSPEC);
        assert_eq!(message.attributes, [RouteAttribute::Table(256)]);
        assert_eq!(question(Family::V4, 255).header.table, 255);
    }

    #[test]
    fn a_route_is_named_with_what_tells_it_from_others() {
        let mut route = Route::new("10.1.0.0/16".parse().unwrap(), 7);
        route.gateway = Some([10, 0, 0, 1].into());
        assert_eq!(route.to_string(), "10.1.0.0/16 via 10.0.0.1 on link 7");
        route.priority = Some(5);
        route.table = 99;
        assert_eq!(route.to_string(), "10.1.0.0/16 via 10.0.0.1 on link 7 metric 5 table 99");
    }
}
