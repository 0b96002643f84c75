//! The part of rtnetlink(7) that is spoken here.

use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
    Parseable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::nsid::NsidMessage;
use netlink_packet_route::route::RouteMessage;

use crate::link::described::{self, Described};
use crate::qdisc::message::Tc;
use crate::vlan::{self, Vlans};

/// A request or an answer. The library's own type of this kind can also read and write traffic control, statistics, rules
/// and more, and every program would carry all of that: two hundred kilobytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RtnlMessage {
    NewLink(LinkMessage),
    /// A bridge's port, or a bridge as one of its own.
    SetLink(LinkMessage),
    DelLink(LinkMessage),
    GetLink(LinkMessage),
    NewAddress(AddressMessage),
    DelAddress(AddressMessage),
    GetAddress(AddressMessage),
    NewRoute(RouteMessage),
    DelRoute(RouteMessage),
    GetRoute(RouteMessage),
    NewNeighbour(NeighbourMessage),
    NewNsId(NsidMessage),
    GetNsId(NsidMessage),
    NewQdisc(Tc),
    DelQdisc(Tc),
    GetQdisc(Tc),
    NewFilter(Tc),
    GetFilter(Tc),
    GetVlans(vlan::Question),
    /// An answer: RTM_NEWVLAN as we read it, with the index of the link that it is about.
    Vlans(u32, Vlans),
    /// An answer: RTM_NEWLINK as we read it.
    Link(Described),
    /// An event: RTM_DELLINK as we read it.
    LinkGone(Described),
}

/// include/uapi/linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const RTM_NEWVLAN: u16 = 112;
const RTM_GETVLAN: u16 = 114;

impl RtnlMessage {
    /// What to send; nothing, for what is only ever read.
    fn body(&self) -> Option<&dyn Emitable> {
        Some(match self {
            RtnlMessage::NewLink(link) | RtnlMessage::SetLink(link) => link,
            RtnlMessage::DelLink(link) | RtnlMessage::GetLink(link) => link,
            RtnlMessage::NewAddress(it) | RtnlMessage::DelAddress(it) | RtnlMessage::GetAddress(it) => it,
            RtnlMessage::NewRoute(route) | RtnlMessage::DelRoute(route) | RtnlMessage::GetRoute(route) => {
                route
            }
            RtnlMessage::NewNeighbour(neighbour) => neighbour,
            RtnlMessage::NewNsId(nsid) | RtnlMessage::GetNsId(nsid) => nsid,
            RtnlMessage::NewQdisc(tc) | RtnlMessage::DelQdisc(tc) | RtnlMessage::GetQdisc(tc) => tc,
            RtnlMessage::NewFilter(tc) | RtnlMessage::GetFilter(tc) => tc,
            RtnlMessage::GetVlans(question) => question,
            RtnlMessage::Link(_) | RtnlMessage::LinkGone(_) | RtnlMessage::Vlans(..) => return None,
        })
    }
}

impl NetlinkSerializable for RtnlMessage {
    fn message_type(&self) -> u16 {
        match self {
            RtnlMessage::NewLink(_) | RtnlMessage::Link(_) => RTM_NEWLINK,
            RtnlMessage::SetLink(_) => RTM_SETLINK,
            RtnlMessage::DelLink(_) | RtnlMessage::LinkGone(_) => RTM_DELLINK,
            RtnlMessage::GetLink(_) => RTM_GETLINK,
            RtnlMessage::NewAddress(_) => RTM_NEWADDR,
            RtnlMessage::DelAddress(_) => RTM_DELADDR,
            RtnlMessage::GetAddress(_) => RTM_GETADDR,
            RtnlMessage::NewRoute(_) => RTM_NEWROUTE,
            RtnlMessage::DelRoute(_) => RTM_DELROUTE,
            RtnlMessage::GetRoute(_) => RTM_GETROUTE,
            RtnlMessage::NewNeighbour(_) => RTM_NEWNEIGH,
            RtnlMessage::NewQdisc(_) => RTM_NEWQDISC,
            RtnlMessage::DelQdisc(_) => RTM_DELQDISC,
            RtnlMessage::GetQdisc(_) => RTM_GETQDISC,
            RtnlMessage::NewFilter(_) => RTM_NEWTFILTER,
            RtnlMessage::GetFilter(_) => RTM_GETTFILTER,
            RtnlMessage::NewNsId(_) => RTM_NEWNSID,
            RtnlMessage::GetNsId(_) => RTM_GETNSID,
            RtnlMessage::GetVlans(_) => RTM_GETVLAN,
            RtnlMessage::Vlans(..) => RTM_NEWVLAN,
        }
    }

    fn buffer_len(&self) -> usize {
        self.body().map_or(0, Emitable::buffer_len)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some(body) = self.body() {
            body.emit(buffer);
        }
    }
}

impl NetlinkDeserializable for RtnlMessage {
    type Error = DecodeError;

    /// Reads what the kernel may answer to the requests above. Anything else was not asked for.
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<RtnlMessage, DecodeError> {
        match header.message_type {
            RTM_NEWLINK => described::read(payload).map(RtnlMessage::Link),
            RTM_DELLINK => described::read(payload).map(RtnlMessage::LinkGone),
            RTM_NEWADDR => AddressMessage::parse(payload).map(RtnlMessage::NewAddress),
            RTM_NEWROUTE => RouteMessage::parse(payload).map(RtnlMessage::NewRoute),
            RTM_NEWQDISC => Tc::read(payload).map(RtnlMessage::NewQdisc),
            RTM_NEWTFILTER => Tc::read(payload).map(RtnlMessage::NewFilter),
            RTM_NEWNSID => NsidMessage::parse(payload).map(RtnlMessage::NewNsId),
            RTM_NEWVLAN => vlan::read(payload).map(|(link, vlans)| RtnlMessage::Vlans(link, vlans)),
            other => Err(DecodeError::from(format!("message type {other} was not asked for"))),
        }
    }
}

impl From<RtnlMessage> for NetlinkPayload<RtnlMessage> {
    fn from(message: RtnlMessage) -> NetlinkPayload<RtnlMessage> {
        NetlinkPayload::InnerMessage(message)
    }
}
