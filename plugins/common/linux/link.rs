//! Links: network interfaces, looked up by name or index, and what can be changed about any of them.

pub(crate) mod described;

use std::fmt;
use std::time::Duration;

use crate::rtnl::message::RtnlMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage,
};
use nix::errno::Errno;

use crate::bridge::Port;
use crate::error::{Error, Result};
use crate::link::described::Described;
use crate::mac::Mac;
use crate::rtnl::{Part, Request, Rtnl};
use crate::vlan::Filtering;

/// A link as the kernel described it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name in its namespace; what is not UTF-8 of it is replaced.
    pub name: String,
    /// The name's very bytes, where it is not UTF-8: a name is whatever has no `/`, `:` or blank in it.
    pub odd_name: Option<Vec<u8>>,
    /// What it is: `veth`, `bridge` …; none for hardware and for `lo`.
    pub kind: Option<String>,
    /// Its Ethernet address, if it is that kind of link.
    pub mac: Option<Mac>,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// Switched on by the administrator (`IFF_UP`).
    pub up: bool,
    /// Whether it works, which takes more than being switched on.
    pub state: OperState,
    /// There is somebody at the other end (`IFF_LOWER_UP`): known at once, where the state may follow a second later.
    pub carrier: bool,
    /// The bridge (or bond, or VRF) that it is a port of.
    pub master: Option<u32>,
    /// The other end's index, in the other end's namespace (`IFLA_LINK`); for a link on top of another, that one's.
    pub peer: Option<u32>,
    /// The other end's namespace, as a number that means something in this namespace; none if it is this one.
    pub peer_nsid: Option<i32>,
    /// Free text (`IFLA_IFALIAS`); what is not UTF-8 of it is replaced.
    pub alias: Option<String>,
    /// What only a link on top of another has.
    pub stacked: Option<Stacked>,
    /// Told to take every frame (`IFF_PROMISC`).
    pub promiscuous: bool,
    /// Told to take every multicast frame (`IFF_ALLMULTI`).
    pub all_multicast: bool,
    /// The length of its queue, in packets.
    pub queue: u32,
    /// How many want every frame, whoever it is for: sniffers, and [`Rtnl::set_promiscuous`].
    pub promiscuity: u32,
    /// The group (`IFLA_GROUP`); 0 unless somebody set it.
    pub group: u32,
    /// Its options as a port of a bridge.
    pub port: Option<Port>,
    /// What it does with VLANs, if it is a bridge, and the kernel's bridges can tell them apart.
    pub filtering: Option<Filtering>,
    /// As a bridge it learns nothing from frames that are for a bridge itself, see
    /// [`Request::set_no_linklocal_learn`].
    pub no_linklocal_learn: bool,
}

impl Link {
    /// Ready to carry packets.
    pub fn oper_up(&self) -> bool {
        self.state == OperState::Up
    }

    /// Whether it is of this kind.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// How a link shares the one below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacked {
    /// By a tag (`vlan`): the number in it, and its protocol, 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    Vlan {
        /// The number, 0 to 4094.
        id: u16,
        /// The EtherType of the tag.
        protocol: u16,
    },
    /// By Ethernet addresses (`macvlan`, `macvtap`), in this mode (`MACVLAN_MODE_*`).
    Macvlan(u32),
}

/// The operational state of a link (RFC 2863, `IFLA_OPERSTATE`). Displayed as the Go plugins and the kernel's
/// documentation spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperState {
    /// The link does not tell; `lo` never does.
    Unknown,
    /// Some part of it is missing.
    NotPresent,
    /// No carrier, or switched off.
    Down,
    /// The link below it is down.
    LowerLayerDown,
    /// Under test.
    Testing,
    /// Waiting for something outside.
    Dormant,
    /// Ready to carry packets.
    Up,
}

impl fmt::Display for OperState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OperState::Unknown => "unknown",
            OperState::NotPresent => "not-present",
            OperState::Down => "down",
            OperState::LowerLayerDown => "lower-layer-down",
            OperState::Testing => "testing",
            OperState::Dormant => "dormant",
            OperState::Up => "up",
        })
    }
}

/// Which links to list. The kernel looks for the kind and the master, this library for the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFilter<'a> {
    /// Of this kind, such as `veth`.
    pub kind: Option<&'a str>,
    /// Ports of this bridge.
    pub master: Option<u32>,
    /// In this group.
    pub group: Option<u32>,
}

impl Request {
    /// Switches a link on.
    pub fn set_up(link: u32) -> Request {
        switch(link, LinkFlags::Up, true, format!("set link {link} up"))
    }

    /// Switches a link off.
    pub fn set_down(link: u32) -> Request {
        switch(link, LinkFlags::Up, false, format!("set link {link} down"))
    }

    /// Makes a link take every frame, or only its own. The kernel counts the wishes: see `ip -d link`.
    pub fn set_promiscuous(link: u32, on: bool) -> Request {
        let doing = format!("set promiscuous mode of link {link} {}", if on { "on" } else { "off" });
        switch(link, LinkFlags::Promisc, on, doing)
    }

    /// Makes a link take every multicast frame, or only those that somebody listens to.
    pub fn set_all_multicast(link: u32, on: bool) -> Request {
        let doing = format!("set all-multicast mode of link {link} {}", if on { "on" } else { "off" });
        switch(link, LinkFlags::Allmulti, on, doing)
    }

    /// Sets the length of a link's queue, in packets.
    pub fn set_queue(link: u32, length: u32) -> Request {
        set(link, LinkAttribute::TxQueueLen(length), format!("set queue length of link {link} to {length}"))
    }

    /// Sets the largest packet a link takes, in bytes.
    pub fn set_mtu(link: u32, mtu: u32) -> Request {
        set(link, LinkAttribute::Mtu(mtu), format!("set mtu of link {link} to {mtu}"))
    }

    /// Sets a link's Ethernet address.
    pub fn set_mac(link: u32, mac: Mac) -> Request {
        set(link, LinkAttribute::Address(mac.0.to_vec()), format!("set address of link {link} to {mac}"))
    }

    /// Makes a link a port of a bridge.
    pub fn set_master(link: u32, master: u32) -> Request {
        set(link, LinkAttribute::Controller(master), format!("make link {link} a port of link {master}"))
    }

    /// Sets a link's free text, of at most 255 bytes.
    pub fn set_alias(link: u32, alias: &str) -> Request {
        set(link, LinkAttribute::IfAlias(alias.into()), format!("set alias of link {link}"))
    }

    /// Has a link come up without a link-local address, and so without most of the routes that IPv6 makes for a link. Where there
    /// is no IPv6 there is nothing to do.
    pub fn without_link_local_address(link: u32) -> Request {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let family = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        set(link, family, format!("have link {link} come up without a link-local address"))
            .forgiving(&[Errno::EAFNOSUPPORT])
    }

    /// Deletes a link, and with a veth its other end; a link already gone is deleted.
    pub fn delete_link(link: u32) -> Request {
        let message = RtnlMessage::DelLink(about(link));
        Request::new(message, 0, format!("delete link {link}")).forgiving(&[Errno::ENODEV])
    }

    /// Deletes the link of this name, without a look-up; a link already gone is deleted.
    pub fn delete_link_named(name: &str) -> Request {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        Request::new(RtnlMessage::DelLink(message), 0, format!("delete link {name}"))
            .forgiving(&[Errno::ENODEV])
    }
}

impl Rtnl {
    /// The link of this name, if there is one. An alternative name that fits into 15 bytes finds it, too.
    ///
    /// # Errors
    /// `ERANGE` for a name of more than 15 bytes.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>> {
        let mut question = question();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        let doing = || format!("look up link {name}");
        Ok(self.look_up(RtnlMessage::GetLink(question), doing)?.and_then(described))
    }

    /// The link with this number, if there is one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn link_by_index(&self, link: u32) -> Result<Option<Link>> {
        let mut question = question();
        question.header.index = link;
        let doing = || format!("look up link {link}");
        Ok(self.look_up(RtnlMessage::GetLink(question), doing)?.and_then(described))
    }

    /// The links that fit a filter. Where links come and go all the time, one may be among them that has gone meanwhile.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn links(&self, filter: LinkFilter<'_>) -> Result<Vec<Link>> {
        let mut question = question();
        if let Some(kind) = filter.kind {
            let kind = LinkInfo::Kind(InfoKind::from(kind));
            question.attributes.push(LinkAttribute::LinkInfo(vec![kind]));
        }
        question.attributes.extend(filter.master.map(LinkAttribute::Controller));
        let index = |answer: &RtnlMessage| match answer {
            RtnlMessage::Link(Described::Link(link)) => Some(link.index),
            _ => None,
        };
        let found = self.dump_moving(RtnlMessage::GetLink(question), "list links", index)?;
        // The kernel takes the filter as a wish: for a kind that it does not know it lists everything.
        let fits = |link: &Link| {
            filter.kind.is_none_or(|kind| link.is_kind(kind))
                && filter.master.is_none_or(|master| link.master == Some(master))
                && filter.group.is_none_or(|group| link.group == group)
        };
        Ok(found.into_iter().filter_map(described).filter(fits).collect())
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// `ENODEV` without the link; what its driver says.
    pub fn set_up(&self, link: u32) -> Result<()> {
        self.send(Request::set_up(link))
    }

    /// Switches a link off.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn set_down(&self, link: u32) -> Result<()> {
        self.send(Request::set_down(link))
    }

    /// Sets the largest packet a link takes, in bytes.
    ///
    /// # Errors
    /// `EINVAL` outside of what the link can do.
    pub fn set_mtu(&self, link: u32, mtu: u32) -> Result<()> {
        self.send(Request::set_mtu(link, mtu))
    }

    /// Sets a link's Ethernet address. A bridge that was given one keeps it, whatever its ports have.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for a group address or zero.
    pub fn set_mac(&self, link: u32, mac: Mac) -> Result<()> {
        self.send(Request::set_mac(link, mac))
    }

    /// Makes a link a port of a bridge.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the other is no bridge, `EBUSY` or `ELOOP` if the link cannot be a port.
    pub fn set_master(&self, link: u32, master: u32) -> Result<()> {
        self.send(Request::set_master(link, master))
    }

    /// Makes a link take every frame, or only its own.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn set_promiscuous(&self, link: u32, on: bool) -> Result<()> {
        self.send(Request::set_promiscuous(link, on))
    }

    /// Sets a link's free text, of at most 255 bytes.
    ///
    /// # Errors
    /// `EINVAL` or `ERANGE` for a longer text.
    pub fn set_alias(&self, link: u32, alias: &str) -> Result<()> {
        self.send(Request::set_alias(link, alias))
    }

    /// Deletes a link, and with a veth its other end; a link already gone is deleted.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a link that cannot be deleted, such as `lo`.
    pub fn delete_link(&self, link: u32) -> Result<()> {
        self.send(Request::delete_link(link))
    }

    /// Deletes the link of this name, without a look-up; a link already gone is deleted.
    ///
    /// # Errors
    /// As [`Rtnl::delete_link`].
    pub fn delete_link_named(&self, name: &str) -> Result<()> {
        self.send(Request::delete_link_named(name))
    }

    /// Waits until a link is ready to carry packets, and returns it as it was seen last: ready, or not within
    /// the time.
    ///
    /// There is no sleeping: since Linux 6.8 the look-up itself brings the state up to date, so that the
    /// first look is nearly always enough; before that the kernel tells of the change within a second.
    ///
    /// # Errors
    /// `ENODEV` if the link is not there or goes away.
    pub fn wait_operational(&self, link: u32, patience: Duration) -> Result<Link> {
        let doing = format!("wait for link {link} to come up");
        let gone = || Error::refused(doing.as_str(), Errno::ENODEV);
        let first = self.link_by_index(link)?.ok_or_else(gone)?;
        if first.oper_up() {
            return Ok(first);
        }
        let came_up = self.watch(Part::Links, patience, &doing, |event| {
            let seen = match event {
                None => Some(self.link_by_index(link)?.ok_or_else(gone)?),
                Some(RtnlMessage::LinkGone(Described::Link(it))) if it.index == link => return Err(gone()),
                Some(event) => described(event).filter(|seen| seen.index == link),
            };
            Ok(seen.filter(Link::oper_up))
        })?;
        match came_up {
            Some(seen) => Ok(seen),
            None => self.link_by_index(link)?.ok_or_else(gone),
        }
    }
}

/// A message about a link.
pub(crate) fn about(link: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link;
    message
}

/// A question about links. The counters of IPv6 are not asked for: they are the greatest part of an answer.
fn question() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn switch(link: u32, flag: LinkFlags, on: bool, doing: String) -> Request {
    let mut message = about(link);
    message.header.change_mask = flag;
    message.header.flags.set(flag, on);
    Request::new(RtnlMessage::NewLink(message), 0, doing)
}

fn set(link: u32, attribute: LinkAttribute, doing: String) -> Request {
    let mut message = about(link);
    message.attributes.push(attribute);
    Request::new(RtnlMessage::NewLink(message), 0, doing)
}

/// The link that an answer describes.
pub(crate) fn described(answer: RtnlMessage) -> Option<Link> {
    match answer {
        RtnlMessage::Link(Described::Link(link)) => Some(link),
        _ => None,
    }
}
