//! Reads the kernel's description of a link: the attributes that we look at, and no others.
//!
//! The netlink library reads every attribute of every kind of link, and fails on a length that it does not expect. A kernel
//! newer than the library must not stop a container from getting its address, and the code for all of it would be a tenth
//! of each program.

use netlink_packet_core::{
    DecodeError, NlasIterator, parse_i32, parse_string, parse_u8, parse_u16, parse_u32,
};

use crate::bridge::Port;
use crate::link::{Link, OperState, Stacked};
use crate::mac::Mac;
use crate::vlan::{Filtering, VlanId};

/// include/uapi/linux/if_link.h, if.h and if_bridge.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
const ETH_P_8021Q: u16 = 0x8100;
const BR_BOOLOPT_NO_LL_LEARN: u32 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFF_UP: u32 = 1;
const IFF_PROMISC: u32 = 0x100;
const IFF_ALLMULTI: u32 = 0x200;
const IFF_LOWER_UP: u32 = 0x1_0000;
const AF_UNSPEC: u8 = 0;

/// The length of a `struct ifinfomsg`.
const HEADER: usize = 16;

/// What RTM_NEWLINK and RTM_DELLINK are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Described {
    /// A link.
    Link(Link),
    /// A port, as its bridge sees it: the bridge speaks of its ports in link messages of its own, also when one leaves it.
    PortOfBridge,
}

/// Reads the payload of a message about a link.
///
/// # Errors
/// The message is cut short, or an attribute that we look at is.
pub(crate) fn read(payload: &[u8]) -> Result<Described, DecodeError> {
    let (header, attributes) =
        payload.split_at_checked(HEADER).ok_or_else(|| DecodeError::from("a link without a header"))?;
    let word = |at: usize| parse_u32(header.get(at..at + 4).unwrap_or_default());
    if header.first() != Some(&AF_UNSPEC) {
        return Ok(Described::PortOfBridge);
    }
    let mut link = Link {
        index: word(4)?,
        name: String::new(),
        odd_name: None,
        kind: None,
        mac: None,
        mtu: 0,
        up: word(8)? & IFF_UP != 0,
        state: OperState::Unknown,
        carrier: word(8)? & IFF_LOWER_UP != 0,
        master: None,
        peer: None,
        peer_nsid: None,
        alias: None,
        stacked: None,
        promiscuous: word(8)? & IFF_PROMISC != 0,
        all_multicast: word(8)? & IFF_ALLMULTI != 0,
        queue: 0,
        promiscuity: 0,
        group: 0,
        port: None,
        filtering: None,
        no_linklocal_learn: false,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            IFLA_IFNAME => (link.name, link.odd_name) = text(value),
            IFLA_MTU => link.mtu = parse_u32(value)?,
            IFLA_LINK => link.peer = Some(parse_u32(value)?),
            IFLA_TXQLEN => link.queue = parse_u32(value)?,
            IFLA_MASTER => link.master = Some(parse_u32(value)?),
            IFLA_OPERSTATE => link.state = oper_state(parse_u8(value)?),
            IFLA_LINKINFO => read_kind(&mut link, value)?,
            IFLA_IFALIAS => link.alias = Some(text(value).0),
            IFLA_GROUP => link.group = parse_u32(value)?,
            IFLA_PROMISCUITY => link.promiscuity = parse_u32(value)?,
            IFLA_LINK_NETNSID => link.peer_nsid = Some(parse_i32(value)?),
            _ => {}
        }
    }
    Ok(Described::Link(link))
}

/// A text of somebody's own choice, and its bytes where it is not UTF-8. The kernel takes nearly any, so that one link with
/// an odd name must not hide the others.
fn text(value: &[u8]) -> (String, Option<Vec<u8>>) {
    let bytes = value.strip_suffix(b"\0").unwrap_or(value);
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(bytes.to_vec())),
    }
}

fn read_kind(link: &mut Link, parts: &[u8]) -> Result<(), DecodeError> {
    let mut is_bridge_port = false;
    for part in NlasIterator::new(parts) {
        let part = part?;
        match part.kind() {
            IFLA_INFO_KIND => link.kind = Some(parse_string(part.value())?),
            IFLA_INFO_DATA => match link.kind.as_deref() {
                Some("bridge") => read_bridge(link, part.value())?,
                Some("vlan") => link.stacked = Some(read_vlan(part.value())?),
                Some("macvlan" | "macvtap") => link.stacked = read_macvlan(part.value())?,
                _ => {}
            },
            IFLA_INFO_SLAVE_KIND => is_bridge_port = parse_string(part.value())? == "bridge",
            IFLA_INFO_SLAVE_DATA if is_bridge_port => link.port = Some(read_port(part.value())?),
            _ => {}
        }
    }
    Ok(())
}

/// A kernel whose bridges cannot tell VLANs apart says so of each bridge, but has no word for what only the others have.
fn read_bridge(link: &mut Link, options: &[u8]) -> Result<(), DecodeError> {
    let mut on = false;
    let mut default_pvid = None;
    for option in NlasIterator::new(options) {
        let option = option?;
        match option.kind() {
            IFLA_BR_VLAN_FILTERING => on = parse_u8(option.value())? != 0,
            IFLA_BR_VLAN_DEFAULT_PVID => default_pvid = Some(VlanId::new(parse_u16(option.value())?)),
            IFLA_BR_MULTI_BOOLOPT => {
                let values = parse_u32(option.value().get(..4).unwrap_or_default())?;
                link.no_linklocal_learn = values & BR_BOOLOPT_NO_LL_LEARN != 0;
            }
            _ => {}
        }
    }
    link.filtering = default_pvid.map(|default_pvid| Filtering { on, default_pvid });
    Ok(())
}

fn read_vlan(options: &[u8]) -> Result<Stacked, DecodeError> {
    let (mut id, mut protocol) = (0, ETH_P_8021Q);
    for option in NlasIterator::new(options) {
        let option = option?;
        match option.kind() {
            IFLA_VLAN_ID => id = parse_u16(option.value())?,
            IFLA_VLAN_PROTOCOL => protocol = u16::from_be(parse_u16(option.value())?), // as on the wire
            _ => {}
        }
    }
    Ok(Stacked::Vlan { id, protocol })
}

fn read_macvlan(options: &[u8]) -> Result<Option<Stacked>, DecodeError> {
    for option in NlasIterator::new(options) {
        let option = option?;
        if option.kind() == IFLA_MACVLAN_MODE {
            return Ok(Some(Stacked::Macvlan(parse_u32(option.value())?)));
        }
    }
    Ok(None)
}

fn read_port(options: &[u8]) -> Result<Port, DecodeError> {
    let mut port = Port::default();
    for option in NlasIterator::new(options) {
        let option = option?;
        match option.kind() {
            IFLA_BRPORT_MODE => port.hairpin = parse_u8(option.value())? != 0,
            IFLA_BRPORT_ISOLATED => port.isolated = parse_u8(option.value())? != 0,
            _ => {}
        }
    }
    Ok(port)
}

/// `IF_OPER_*` of include/uapi/linux/if.h.
fn oper_state(number: u8) -> OperState {
    match number {
        1 => OperState::NotPresent,
        2 => OperState::Down,
        3 => OperState::LowerLayerDown,
        4 => OperState::Testing,
        5 => OperState::Dormant,
        6 => OperState::Up,
        _ => OperState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let header = [&[family, 0, 1, 0][..], &7u32.to_ne_bytes(), &IFF_UP.to_ne_bytes(), &[0; 4]].concat();
        [header, attributes.concat()].concat()
    }

    #[test]
    fn a_port_of_a_bridge_is_described_with_its_options() {
        let options = [attribute(IFLA_BRPORT_MODE, &[1]), attribute(IFLA_BRPORT_ISOLATED, &[0])].concat();
        let parts = [
            attribute(IFLA_INFO_KIND, b"veth\0"),
            attribute(IFLA_INFO_SLAVE_KIND, b"bridge\0"),
            attribute(IFLA_INFO_SLAVE_DATA, &options),
        ];
        let bytes = message(
            AF_UNSPEC,
            &[
                attribute(IFLA_IFNAME, b"veth0\0"),
                attribute(IFLA_OPERSTATE, &[6]),
                attribute(IFLA_LINKINFO, &parts.concat()),
                attribute(4321, b"what no library knows yet"),
            ],
        );
        let Described::Link(link) = read(&bytes).unwrap() else { panic!("not a link") };
        assert_eq!((link.index, link.name.as_str(), link.up, link.oper_up()), (7, "veth0", true, true));
        assert!(link.is_kind("veth"));
        assert_eq!(link.port, Some(Port { hairpin: true, isolated: false }));
    }

    #[test]
    fn a_bridge_says_what_it_does_with_vlans_where_the_kernel_can() {
        let described = |options: &[Vec<u8>]| {
            let parts =
                [attribute(IFLA_INFO_KIND, b"bridge\0"), attribute(IFLA_INFO_DATA, &options.concat())];
            match read(&message(AF_UNSPEC, &[attribute(IFLA_LINKINFO, &parts.concat())])) {
                Ok(Described::Link(link)) => link.filtering,
                other => panic!("{other:?} is no link"),
            }
        };
        let on = |value| attribute(IFLA_BR_VLAN_FILTERING, &[value]);
        let pvid = |value: u16| attribute(IFLA_BR_VLAN_DEFAULT_PVID, &value.to_ne_bytes());
        assert_eq!(described(&[on(0)]), None);
        let usual = Filtering { on: false, default_pvid: Some(VlanId::USUAL) };
        assert_eq!(described(&[on(0), pvid(1)]), Some(usual));
        assert_eq!(described(&[on(1), pvid(0)]), Some(Filtering { on: true, default_pvid: None }));
    }

    #[test]
    fn a_bridge_says_whether_it_learns_from_what_is_for_itself() {
        for (values, mask, learns) in [(1_u32, 1_u32, false), (2, 3, true), (0, 3, true)] {
            let options = [values.to_ne_bytes(), mask.to_ne_bytes()].concat();
            let options = attribute(IFLA_BR_MULTI_BOOLOPT, &options);
            let parts = [attribute(IFLA_INFO_KIND, b"bridge\0"), attribute(IFLA_INFO_DATA, &options)];
            let described = read(&message(AF_UNSPEC, &[attribute(IFLA_LINKINFO, &parts.concat())]));
            let Ok(Described::Link(link)) = described else { panic!("not a link") };
            assert_eq!(link.no_linklocal_learn, !learns);
        }
    }

    #[test]
    fn a_name_and_an_alias_may_be_any_bytes() {
        let bytes = message(
            AF_UNSPEC,
            &[attribute(IFLA_IFNAME, b"caf\xe9\0"), attribute(IFLA_IFALIAS, b"\xff\xfe\0")],
        );
        let Described::Link(link) = read(&bytes).unwrap() else { panic!("not a link") };
        assert_eq!((link.name.as_str(), link.odd_name.as_deref()), ("caf\u{fffd}", Some(&b"caf\xe9"[..])));
        assert_eq!(link.alias.as_deref(), Some("\u{fffd}\u{fffd}"));
    }

    #[test]
    fn a_link_on_top_of_another_says_how() {
        let stacked = |kind: &[u8], options: &[Vec<u8>]| {
            let parts = [attribute(IFLA_INFO_KIND, kind), attribute(IFLA_INFO_DATA, &options.concat())];
            match read(&message(AF_UNSPEC, &[attribute(IFLA_LINKINFO, &parts.concat())])) {
                Ok(Described::Link(link)) => link.stacked,
                other => panic!("{other:?} is no link"),
            }
        };
        let vlan = [
            attribute(IFLA_VLAN_ID, &100u16.to_ne_bytes()),
            attribute(IFLA_VLAN_PROTOCOL, &0x88a8u16.to_be_bytes()),
        ];
        assert_eq!(stacked(b"vlan\0", &vlan), Some(Stacked::Vlan { id: 100, protocol: 0x88a8 }));
        let mode = [attribute(IFLA_MACVLAN_MODE, &4u32.to_ne_bytes())];
        assert_eq!(stacked(b"macvlan\0", &mode), Some(Stacked::Macvlan(4)));
        assert_eq!(stacked(b"ipvlan\0", &mode), None);
    }

    #[test]
    fn what_a_bridge_says_of_its_port_is_no_link() {
        assert_eq!(read(&message(7, &[])).unwrap(), Described::PortOfBridge);
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error() {
        let whole = message(AF_UNSPEC, &[attribute(IFLA_MTU, &1500u32.to_ne_bytes())]);
        for length in [0, 3, HEADER - 1, whole.len() - 1, whole.len() - 4] {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(read(&message(AF_UNSPEC, &[attribute(IFLA_MTU, &[1])])).is_err());
    }
}
