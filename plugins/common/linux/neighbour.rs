//! Neighbours: which Ethernet address an IP address has, told by us or to them.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::address::Family;
use crate::error::Result;
use crate::mac::Mac;
use crate::rtnl::{Request, Rtnl};

impl Request {
    /// Fixes the Ethernet address of a neighbour for good (`NUD_PERMANENT`), in place of what was known.
    pub fn set_neighbour(link: u32, ip: IpAddr, mac: Mac) -> Request {
        let mut message = NeighbourMessage::default();
        message.header.family = Family::of(ip).number();
        message.header.ifindex = link;
        message.header.state = NeighbourState::Permanent;
        let ip_attribute = match ip {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(ip_attribute),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        let doing = format!("set neighbour {ip} at {mac} on link {link}");
        Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, doing)
    }

    /// Makes the kernel announce the addresses of a link: see [`Rtnl::announce`].
    pub fn announce(link: u32, mac: Mac) -> Request {
        Request::set_mac(link, mac).in_order_to(format!("announce the addresses of link {link}"))
    }
}

impl Rtnl {
    /// Fixes the Ethernet address of a neighbour.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn set_neighbour(&self, link: u32, ip: IpAddr, mac: Mac) -> Result<()> {
        self.send(Request::set_neighbour(link, ip, mac))
    }

    /// Tells the neighbours of a link where its addresses are now: a gratuitous ARP for each IPv4 address, an
    /// unsolicited neighbour advertisement for each IPv6 address.
    ///
    /// The kernel does it, when a link is given a MAC address and even if that is the one which it has
    /// (`NETDEV_CHANGEADDR` in net/ipv4/devinet.c and net/ipv6/ndisc.c), provided that the link's `arp_notify` and
    /// `ndisc_notify` are 1. So pass the link's own address; the link has to be up, and the port at its other
    /// end forwarding.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn announce(&self, link: u32, mac: Mac) -> Result<()> {
        self.send(Request::announce(link, mac))
    }
}
