//! Bridges and their ports.

use crate::rtnl::message::RtnlMessage;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::link::{
    BridgeBooleanOptionFlags, BridgeBooleanOptions, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::link::{self, Link};
use crate::mac::Mac;
use crate::rtnl::{Request, Rtnl};

/// A bridge to be made if there is none of this name.
#[derive(Clone, Copy, Debug)]
pub struct BridgeSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address. Without one of its own a bridge takes the lowest of its ports' addresses, and
    /// changes it whenever that port goes.
    pub mac: Mac,
    /// The largest packet it takes, in bytes; None for the kernel's 1500.
    pub mtu: Option<u32>,
    /// Tell VLANs apart.
    pub vlan_filtering: bool,
}

/// What [`Rtnl::ensure_bridge`] met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was not there; it is now, as specified and down, so that it can be given settings before it comes up.
    Made(Link),
    /// A link of this name was there, and was left as it is: look at its kind and at whether it is up.
    Found(Link),
}

impl Ensured {
    /// The link, whoever made it.
    pub fn link(&self) -> &Link {
        match self {
            Ensured::Made(link) | Ensured::Found(link) => link,
        }
    }
}

/// The options of a bridge's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Frames may leave by the port that they came in by.
    pub hairpin: bool,
    /// Isolated ports do not reach each other.
    pub isolated: bool,
}

impl Port {
    fn attribute(&self) -> LinkAttribute {
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![
                InfoBridgePort::HairpinMode(self.hairpin),
                InfoBridgePort::Isolated(self.isolated),
            ])),
        ])
    }
}

impl Request {
    /// Has a bridge learn nothing from frames that are for a bridge itself: those to the group addresses 01:80:c2:00:00:00
    /// to 0f, such as LLDP's. A bridge hands them to its port without asking any filter, and would remember the sender's
    /// address (`br_handle_frame` in `net/bridge/br_input.c`).
    pub fn set_no_linklocal_learn(bridge: u32) -> Request {
        let flag = BridgeBooleanOptionFlags::NoLinkLocalLearn;
        let mut message = link::about(bridge);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MultiBoolOpt(BridgeBooleanOptions {
                value: flag,
                mask: flag,
            })])),
        ]));
        let doing = format!("have bridge {bridge} learn nothing from link-local frames");
        Request::new(RtnlMessage::NewLink(message), 0, doing)
    }

    /// Sets the options of a bridge's port.
    pub fn set_port(link: u32, port: &Port) -> Request {
        let mut message = link::about(link);
        message.attributes.push(port.attribute());
        Request::new(RtnlMessage::NewLink(message), 0, format!("set options of port {link}"))
    }

    /// Sets the options of a new port, if it is one, and the alias of its link, by one message.
    ///
    /// The kernel ignores both in the message that creates a link. Nor can this message go into the same
    /// datagram: it would have to call the link by its name, and if that name is taken, so that the creation
    /// fails, it would change somebody else's link.
    pub fn finish_host_end(link: u32, port: Option<&Port>, alias: &str) -> Request {
        let mut message = link::about(link);
        message.attributes.push(LinkAttribute::IfAlias(alias.into()));
        message.attributes.extend(port.map(Port::attribute));
        Request::new(RtnlMessage::NewLink(message), 0, format!("set alias and options of link {link}"))
    }
}

impl Rtnl {
    /// Sees to it that there is a link of this name, and makes a bridge if there is none.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no bridges.
    pub fn ensure_bridge(&self, bridge: &BridgeSpec<'_>) -> Result<Ensured> {
        if let Some(found) = self.link_by_name(bridge.name)? {
            return Ok(Ensured::Found(found));
        }
        match self.create_bridge(bridge) {
            Ok(made) => Ok(Ensured::Made(made)),
            // Somebody was quicker.
            Err(e) if e.is_exists() => self.link_by_name(bridge.name)?.map(Ensured::Found).ok_or(e),
            Err(e) => Err(e),
        }
    }

    /// Makes a bridge, down: settings such as `accept_dad` have to be there before it comes up.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, `EOPNOTSUPP` where the kernel has no bridges.
    pub fn create_bridge(&self, bridge: &BridgeSpec<'_>) -> Result<Link> {
        let doing = format!("create bridge {}", bridge.name);
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
        let request = Request::new(RtnlMessage::NewLink(message(bridge)), flags, doing.as_str());
        // Linux before 6.2 has no echo for links and has to be asked.
        match self.send_for_echo(request)?.and_then(link::described) {
            Some(made) => Ok(made),
            None => self.link_by_name(bridge.name)?.ok_or_else(|| Error::refused(doing, Errno::ENODEV)),
        }
    }

    /// Sets the options of a bridge's port.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the link is no port of a bridge.
    pub fn set_port(&self, link: u32, port: &Port) -> Result<()> {
        self.send(Request::set_port(link, port))
    }
}

fn message(bridge: &BridgeSpec<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    let options = if bridge.vlan_filtering { vec![InfoBridge::VlanFiltering(true)] } else { Vec::new() };
    message.attributes = vec![
        LinkAttribute::IfName(bridge.name.into()),
        LinkAttribute::Address(bridge.mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(options)),
        ]),
    ];
    message.attributes.extend(bridge.mtu.map(LinkAttribute::Mtu));
    message
}
