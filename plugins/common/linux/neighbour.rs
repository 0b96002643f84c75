//! Neighbours: which Ethernet address an IP address has, told by us or to them.

use std::net::IpAddr;

use crate::rtnl::message::RtnlMessage;
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::link::{AfSpecInet, AfSpecUnspec, LinkAttribute};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::address::Family;
use crate::error::Result;
use crate::link;
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
        Request::new(RtnlMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, doing)
    }

    /// Makes a link send a gratuitous ARP whenever its address changes or it comes up: what the sysctl
    /// `net/ipv4/conf/<link>/arp_notify` does, without a visit to the link's namespace. (IPv6 has no such
    /// message: its `ndisc_notify` can only be reached through `/proc/sys`.)
    pub fn set_arp_notify(link: u32) -> Request {
        // include/uapi/linux/if_link.h and ip.h; net/ipv4/devinet.c, inet_set_link_af().
        const IFLA_INET_CONF: u16 = 1;
        const IPV4_DEVCONF_ARP_NOTIFY: u16 = 22;
        let length = 8u16;
        let setting =
            [&length.to_ne_bytes()[..], &IPV4_DEVCONF_ARP_NOTIFY.to_ne_bytes(), &1u32.to_ne_bytes()];
        let settings = AfSpecInet::Other(DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, setting.concat()));
        let mut message = link::about(link);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![settings])]));
        Request::new(RtnlMessage::NewLink(message), 0, format!("set arp_notify of link {link}"))
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
    /// The kernel does it when a link is given an Ethernet address, even the one that it has
    /// (`NETDEV_CHANGEADDR` in net/ipv4/devinet.c and net/ipv6/ndisc.c), provided that the link's
    /// `arp_notify` and `ndisc_notify` are 1. So pass the link's own address; the link has to be up, and the
    /// port at its other end forwarding.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn announce(&self, link: u32, mac: Mac) -> Result<()> {
        self.send(Request::announce(link, mac))
    }
}
