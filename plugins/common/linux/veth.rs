//! A veth pair, born in place.

use std::os::fd::{AsFd, AsRawFd};

use crate::rtnl::message::RtnlMessage;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::link::{self, Link};
use crate::mac::Mac;
use crate::netns::NetNs;
use crate::rtnl::{Request, Rtnl};

/// A veth pair to be made: the host end in the namespace that is spoken to, the container end in another.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The host end's name.
    pub host_name: &'a str,
    /// The host end's Ethernet address. Given, and not left to chance, because systemd's `MACAddressPolicy`
    /// replaces an address that the kernel has drawn, some time after the link was made.
    pub host_mac: Mac,
    /// The container end's name, which must be free there.
    pub container_name: &'a str,
    /// The container end's Ethernet address.
    pub container_mac: Mac,
    /// Where the container end is born.
    pub container_ns: &'a NetNs,
    /// The largest packet either end takes, in bytes; None for the kernel's 1500.
    pub mtu: Option<u32>,
    /// The bridge that the host end is born a port of.
    pub master: Option<u32>,
    /// The host end's group (`IFLA_GROUP`).
    pub group: u32,
    /// The host end is up from its first instant. Otherwise it can be given settings before it comes up.
    pub host_up: bool,
    /// Queues in each direction on each end. The kernel makes one per processor unless told, which costs
    /// memory and time and serves only where several senders share a veth.
    pub queues: u32,
}

/// The two ends of a new pair, each by its index in its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In the namespace that was spoken to.
    pub host: u32,
    /// In the other.
    pub container: u32,
}

impl Rtnl {
    /// Makes a veth pair by one message: both ends have their final names, addresses and places from their
    /// first instant, and the host end is a port and, if so wished, up. Nothing is moved or renamed, so nothing sees a link
    /// that is about to change.
    ///
    /// The container end is down: the kernel refuses to start one end before the other is known
    /// (`ENOTCONN`, after a roll-back of 16 ms). An alias and port options would be ignored in this message:
    /// see [`Request::finish_host_end`].
    ///
    /// # Errors
    /// `EEXIST` if either name is taken in its namespace; then nothing was made.
    pub fn create_veth(&self, pair: &VethPair<'_>) -> Result<Pair> {
        let doing = format!(
            "create veth {} for {} in {}",
            pair.host_name,
            pair.container_name,
            pair.container_ns.path().display()
        );
        let request = Request::new(
            RtnlMessage::NewLink(message(pair)),
            NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO,
            doing.as_str(),
        );
        let echo = self.send_for_echo(request)?.and_then(link::described);
        self.both_ends(pair, echo).map_err(|e| e.unwrap_or(Error::refused(doing, Errno::ENODEV))).inspect_err(
            |_| {
                // A pair that nobody can find would be left behind; if it cannot be deleted either, the first
                // error is still the one to tell.
                let _ = self.delete_link_named(pair.host_name);
            },
        )
    }

    fn both_ends(&self, pair: &VethPair<'_>, echo: Option<Link>) -> Result<Pair, Option<Error>> {
        let ends = |host: &Link| Some(Pair { host: host.index, container: host.peer? });
        match echo.as_ref().and_then(ends) {
            Some(both) => Ok(both),
            // Linux before 6.2 has no echo for links and has to be asked.
            None => self.link_by_name(pair.host_name)?.as_ref().and_then(ends).ok_or(None),
        }
    }
}

fn message(pair: &VethPair<'_>) -> LinkMessage {
    let mut container = LinkMessage::default();
    container.attributes = end(pair, pair.container_name, pair.container_mac);
    container.attributes.push(LinkAttribute::NetNsFd(pair.container_ns.as_fd().as_raw_fd()));

    let mut host = LinkMessage::default();
    if pair.host_up {
        host.header.flags = LinkFlags::Up;
        host.header.change_mask = LinkFlags::Up;
    }
    host.attributes = end(pair, pair.host_name, pair.host_mac);
    host.attributes.extend(pair.master.map(LinkAttribute::Controller));
    host.attributes.push(LinkAttribute::Group(pair.group));
    host.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(container))),
    ]));
    host
}

/// What both ends have.
fn end(pair: &VethPair<'_>, name: &str, mac: Mac) -> Vec<LinkAttribute> {
    let mut attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::NumTxQueues(pair.queues),
        LinkAttribute::NumRxQueues(pair.queues),
    ];
    attributes.extend(pair.mtu.map(LinkAttribute::Mtu));
    attributes
}
