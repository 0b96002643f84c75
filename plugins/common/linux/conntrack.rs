//! The connections that the kernel tracks, spoken about by ctnetlink.
//!
//! A connection is translated as its first packet was. For TCP that is as it should be; but a flow of UDP packets goes on
//! as long as somebody sends, past every change of the rules: to a container that is gone, or to the host itself although
//! the port is a container's by now. Such flows are forgotten, so that their next packet is a first one again.

use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use crate::address::Family;
use crate::error::{Doing, Result};
use crate::nft::attribute::{Attributes, Read};
use crate::nft::wire::{Line, Message, Part};

/// include/uapi/linux/netfilter/nfnetlink_conntrack.h: messages, then attributes.
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;

/// What of a tuple is compared (`CTA_FILTER_F_*` in net/netfilter/nf_internals.h).
const BY_SOURCE: u32 = 1 << 0;
const BY_DESTINATION: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;

/// So many ports are worth a walk of the kernel through its table each; for more, the table is read once.
const FEW: usize = 4;

/// Flows, by their first packet and by who answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flows<'a> {
    /// IPv4 or IPv6.
    pub family: Family,
    /// `IPPROTO_*`: 17 is UDP.
    pub protocol: u8,
    /// Where the first packet was sent to.
    pub to: To<'a>,
    /// To which ports.
    pub ports: &'a [u16],
    /// Who answers, where the destination was translated; None is anybody.
    pub answered_by: Option<IpAddr>,
}

/// Where a packet was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To<'a> {
    /// Anywhere.
    Anywhere,
    /// To this address.
    One(IpAddr),
    /// To an address of one of these networks. The kernel cannot choose by several.
    OneOf(&'a [IpNetwork]),
}

impl To<'_> {
    fn one(self) -> Option<IpAddr> {
        match self {
            To::One(address) => Some(address),
            To::Anywhere | To::OneOf(_) => None,
        }
    }

    fn fits(self, address: IpAddr) -> bool {
        match self {
            To::Anywhere => true,
            To::One(one) => one == address,
            To::OneOf(networks) => networks.iter().any(|network| network.contains(address)),
        }
    }
}

/// A conversation with the kernel about the connections of one namespace.
pub struct Conntrack(Line);

impl Conntrack {
    /// Opens a conversation about the namespace that the calling thread is in.
    ///
    /// # Errors
    /// `EMFILE` and the like, and `EPROTONOSUPPORT` where the kernel has no nfnetlink.
    pub fn here() -> Result<Conntrack> {
        Line::open(Part::Conntrack).doing(|| "open a conntrack socket").map(Conntrack)
    }

    /// Forgets these flows: the next packet of each begins a new one. A kernel that cannot be asked about its
    /// connections (no ctnetlink) keeps them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&mut self, flows: &Flows<'_>) -> Result<()> {
        if flows.ports.len() <= FEW && flows.can_be_told() {
            let mut ports = flows.ports.iter();
            match ports.try_for_each(|port| self.0.order(&flows.question(DELETE, Some(*port)))) {
                // Before Linux 6.12 nothing can be deleted by a filter.
                Err(error) if error.is_unsupported() => {}
                done => return done,
            }
        }
        match self.forget_each(flows) {
            Err(error) if error.is_unsupported() => Ok(()),
            done => done,
        }
    }

    /// Reads the flows that fit, and deletes those of the right ports, one after the other.
    fn forget_each(&mut self, flows: &Flows<'_>) -> Result<()> {
        let mut found = Vec::new();
        // A list that others change meanwhile may lack what has just come; that was not meant.
        let only = flows.ports.first().filter(|_| flows.ports.len() == 1).copied();
        self.0.dump(&flows.question(GET, only), |flow| {
            found.extend(Found::read(flow));
            ControlFlow::Continue(())
        })?;
        for flow in found.into_iter().filter(|flow| flows.have(flow)) {
            match self.0.order(&flow.farewell(flows.family)) {
                Err(error) if error.errno() == Some(Errno::ENOENT) => {}
                done => done?,
            }
        }
        Ok(())
    }
}

impl Flows<'_> {
    /// An address that the kernel can choose by. Of two IPv6 addresses it takes those for the same that differ
    /// (`ctnetlink_filter_match_tuple`, seen in 6.18).
    fn told(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.filter(IpAddr::is_ipv4)
    }

    /// Whether a question can say all of it.
    fn can_be_told(&self) -> bool {
        !matches!(self.to, To::OneOf(_))
            && self.told(self.to.one()) == self.to.one()
            && self.told(self.answered_by) == self.answered_by
    }

    fn have(&self, flow: &Found) -> bool {
        self.ports.contains(&flow.port)
            && self.to.fits(flow.to)
            && self.answered_by.is_none_or(|from| from == flow.answered_by)
    }

    /// A message about the flows to this port, or to any.
    fn question(&self, kind: u16, port: Option<u16>) -> Message {
        let (to, answered_by) = (self.told(self.to.one()), self.told(self.answered_by));
        let proto = Attributes::new().bytes(PROTO_NUM, &[self.protocol]);
        let proto = proto.with(port, |all, port| all.bytes(PROTO_DST_PORT, &port.to_be_bytes()));
        let asked = Attributes::new().with(to, |all, to| all.nest(TUPLE_IP, address(to, BY_DESTINATION)));
        let asked = asked.nest(TUPLE_PROTO, proto);
        let by_port = port.map_or(0, |_| BY_DESTINATION_PORT);
        let by_address = to.map_or(0, |_| BY_DESTINATION);
        let by = Attributes::new()
            .bytes(FILTER_ORIG_FLAGS, &(BY_PROTOCOL | by_port | by_address).to_ne_bytes())
            .with(answered_by, |all, _| all.bytes(FILTER_REPLY_FLAGS, &BY_SOURCE.to_ne_bytes()));
        let what = Attributes::new().nest(TUPLE_ORIG, asked).with(answered_by, |all, from| {
            all.nest(TUPLE_REPLY, Attributes::new().nest(TUPLE_IP, address(from, BY_SOURCE)))
        });
        Message {
            kind,
            flags: 0,
            family: number(self.family),
            attributes: what.nest(FILTER, by),
            doing: format!("forget the flows of protocol {}", self.protocol),
        }
    }
}

fn number(family: Family) -> u8 {
    family.number().into()
}

/// `CTA_IP_*`: sources have odd numbers, those of IPv6 come second.
fn address(address: IpAddr, by: u32) -> Attributes {
    let destination = u16::from(by == BY_DESTINATION);
    match address {
        IpAddr::V4(address) => Attributes::new().bytes(1 + destination, &address.octets()),
        IpAddr::V6(address) => Attributes::new().bytes(3 + destination, &address.octets()),
    }
}

fn read_address(tuple: Read<'_>, by: u32) -> Option<IpAddr> {
    let destination = u16::from(by == BY_DESTINATION);
    let v4 = tuple.get(1 + destination).and_then(|it| <[u8; 4]>::try_from(it).ok()).map(IpAddr::from);
    let v6 = || tuple.get(3 + destination).and_then(|it| <[u8; 16]>::try_from(it).ok()).map(IpAddr::from);
    v4.or_else(v6)
}

/// A flow in the kernel's list.
struct Found {
    to: IpAddr,
    answered_by: IpAddr,
    port: u16,
    tuple: Vec<u8>,
    id: Vec<u8>,
}

impl Found {
    fn read(flow: Read<'_>) -> Option<Found> {
        let tuple = flow.nest(TUPLE_ORIG)?;
        let port = tuple.nest(TUPLE_PROTO)?.get(PROTO_DST_PORT)?;
        Some(Found {
            to: read_address(tuple.nest(TUPLE_IP)?, BY_DESTINATION)?,
            answered_by: read_address(flow.nest(TUPLE_REPLY)?.nest(TUPLE_IP)?, BY_SOURCE)?,
            port: port.try_into().ok().map(u16::from_be_bytes)?,
            tuple: flow.get(TUPLE_ORIG)?.to_vec(),
            id: flow.get(ID)?.to_vec(),
        })
    }

    /// The number makes sure that it is this flow, and no later one between the same ends.
    fn farewell(&self, family: Family) -> Message {
        const NESTED: u16 = 0x8000;
        Message {
            kind: DELETE,
            flags: 0,
            family: number(family),
            attributes: Attributes::new().bytes(TUPLE_ORIG | NESTED, &self.tuple).bytes(ID, &self.id),
            doing: format!("forget a flow to port {}", self.port),
        }
    }
}

/// What is done with a flow of an answer ([`crate::hostile`]).
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let Some(found) = Found::read(Read(bytes)) else { return };
    for family in [Family::V4, Family::V6] {
        assert_eq!(found.farewell(family).attributes.as_slice().len() % 4, 0);
    }
    let flows =
        Flows { family: Family::V4, protocol: 17, to: To::Anywhere, ports: &[found.port], answered_by: None };
    assert!(flows.have(&found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_described_by_what_is_asked_for_and_by_nothing_else() {
        let flows = Flows {
            family: Family::V4,
            protocol: 17,
            to: To::One([192, 0, 2, 1].into()),
            ports: &[53],
            answered_by: None,
        };
        let what = flows.question(DELETE, Some(53)).attributes;
        let what = Read(what.as_slice());
        let tuple = what.nest(TUPLE_ORIG).unwrap();
        assert_eq!(tuple.nest(TUPLE_IP).unwrap().get(2), Some(&[192, 0, 2, 1][..]));
        assert_eq!(tuple.nest(TUPLE_PROTO).unwrap().get(PROTO_DST_PORT), Some(&[0, 53][..]));
        assert!(what.get(TUPLE_REPLY).is_none());
        let flags =
            |kind| what.nest(FILTER).unwrap().get(kind).map(|it| u32::from_ne_bytes(it.try_into().unwrap()));
        assert_eq!(flags(FILTER_ORIG_FLAGS), Some(BY_DESTINATION | BY_PROTOCOL | BY_DESTINATION_PORT));
        assert_eq!(flags(FILTER_REPLY_FLAGS), None);
    }

    #[test]
    fn any_port_and_who_answers_are_told_apart() {
        let answered_by = Some([10, 0, 0, 2].into());
        let flows = Flows { family: Family::V4, protocol: 132, to: To::Anywhere, ports: &[], answered_by };
        assert!(flows.can_be_told());
        let what = flows.question(GET, None).attributes;
        let what = Read(what.as_slice());
        assert!(what.nest(TUPLE_ORIG).unwrap().get(TUPLE_IP).is_none());
        assert_eq!(what.nest(TUPLE_REPLY).unwrap().nest(TUPLE_IP).unwrap().get(1), Some(&[10, 0, 0, 2][..]));
        assert!(what.nest(FILTER).unwrap().get(FILTER_REPLY_FLAGS).is_some());
    }

    #[test]
    fn the_kernel_is_not_told_of_ipv6_addresses() {
        let [to, answered_by] = ["fd00::1", "fd00::2"].map(|it| it.parse().unwrap());
        let flows = Flows {
            family: Family::V6,
            protocol: 17,
            to: To::One(to),
            ports: &[53],
            answered_by: Some(answered_by),
        };
        assert!(!flows.can_be_told());
        let what = flows.question(GET, Some(53)).attributes;
        let what = Read(what.as_slice());
        assert!(what.nest(TUPLE_ORIG).unwrap().get(TUPLE_IP).is_none() && what.get(TUPLE_REPLY).is_none());
        let found = |to, answered_by| Found { to, answered_by, port: 53, tuple: vec![], id: vec![] };
        assert!(flows.have(&found(to, answered_by)));
        assert!(!flows.have(&found(to, to)) && !flows.have(&found(answered_by, answered_by)));
    }
}
