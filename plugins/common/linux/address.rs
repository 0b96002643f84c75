//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags as Bits, AddressHeaderFlags, AddressMessage, AddressScope,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::rtnl::message::RtnlMessage;
use crate::rtnl::{Part, Request, Rtnl};

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    pub(crate) fn number(self) -> AddressFamily {
        match self {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        }
    }
}

/// How an address is to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddressFlags {
    /// Do not ask the network whether somebody has this address already (`IFA_F_NODAD`): it is usable at
    /// once, not after one or two seconds. For addresses whose uniqueness is known. Means nothing to IPv4.
    pub nodad: bool,
    /// Make no route to the address's network (`IFA_F_NOPREFIXROUTE`).
    pub noprefixroute: bool,
}

impl AddressFlags {
    fn bits(self, family: Family) -> Bits {
        let mut bits = Bits::empty();
        // IPv4 would store the bit and show it in `ip address`, to no effect.
        bits.set(Bits::Nodad, self.nodad && family == Family::V6);
        bits.set(Bits::Noprefixroute, self.noprefixroute);
        bits
    }
}

/// An address as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The link that has it.
    pub link: u32,
    /// The address with its prefix length.
    pub net: IpNetwork,
    /// Duplicate detection is still under way: nothing can be sent from it (`IFA_F_TENTATIVE`).
    pub tentative: bool,
    /// Somebody else has it (`IFA_F_DADFAILED`).
    pub dadfailed: bool,
    /// How far it is valid, `RT_SCOPE_*`: 0 everywhere, 253 on the link, 254 on this host.
    pub scope: u8,
}

impl Request {
    /// Adds an address: valid everywhere, and for IPv4 with its network's broadcast address where the network
    /// has one (prefixes up to 30), as the Go plugins and `ip address add … brd +` do.
    pub fn add_address(link: u32, net: IpNetwork, flags: AddressFlags) -> Request {
        let mut message = named(link, net);
        let bits = flags.bits(Family::of(net.ip()));
        message.header.flags = AddressHeaderFlags::from_bits_truncate((bits.bits() & 0xff) as u8);
        message.attributes.push(AddressAttribute::Flags(bits));
        if let Some(last) = broadcast(net) {
            message.attributes.push(AddressAttribute::Broadcast(last));
        }
        let doing = format!("add address {net} to link {link}");
        Request::new(RtnlMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, doing)
    }

    /// Deletes an address; one already gone is deleted.
    pub fn delete_address(link: u32, net: IpNetwork) -> Request {
        let doing = format!("delete address {net} from link {link}");
        Request::new(RtnlMessage::DelAddress(named(link, net)), 0, doing)
            .forgiving(&[Errno::EADDRNOTAVAIL, Errno::ENODEV])
    }
}

impl Rtnl {
    /// Adds an address to a link, see [`Request::add_address`].
    ///
    /// # Errors
    /// `EEXIST` if the link has it already, `ENODEV` without the link, `EACCES` for IPv6 where that is off.
    pub fn add_address(&self, link: u32, net: IpNetwork, flags: AddressFlags) -> Result<()> {
        self.send(Request::add_address(link, net, flags))
    }

    /// Deletes an address from a link; one already gone is deleted.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn delete_address(&self, link: u32, net: IpNetwork) -> Result<()> {
        self.send(Request::delete_address(link, net))
    }

    /// The addresses of a link, of both families, in the kernel's order: IPv4 first.
    ///
    /// # Errors
    /// `ENODEV` without the link.
    pub fn addresses_of(&self, link: u32) -> Result<Vec<Address>> {
        self.list(link, &format!("list the addresses of link {link}"))
    }

    /// The addresses of all links.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        self.list(0, "list all addresses")
    }

    /// Link 0 is any.
    fn list(&self, link: u32, doing: &str) -> Result<Vec<Address>> {
        let mut question = AddressMessage::default();
        question.header.index = link;
        let found = self.dump(RtnlMessage::GetAddress(question), doing)?;
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// Waits until duplicate address detection is through with every address of a link, and returns those that it is
    /// not through with when the patience ends.
    ///
    /// There is no sleeping: the kernel tells of each address.
    ///
    /// # Errors
    /// `EADDRINUSE`, naming the address that somebody else has.
    pub fn wait_for_dad(&self, link: u32, patience: Duration) -> Result<Vec<IpNetwork>> {
        let doing = format!("wait for the addresses of link {link}");
        let mut pending: Vec<IpNetwork> = Vec::new();
        self.watch(Part::V6Addresses, patience, &doing, |event| {
            let changed = match event {
                None => {
                    pending.clear();
                    self.addresses_of(link)?
                }
                Some(event) => read(event).filter(|address| address.link == link).into_iter().collect(),
            };
            for Address { net, tentative, dadfailed, .. } in changed {
                if dadfailed {
                    let failed = format!("link {link} has address {} in DADFAILED state", net.ip());
                    return Err(Error::refused(failed, Errno::EADDRINUSE));
                }
                pending.retain(|other| *other != net);
                if tentative {
                    pending.push(net);
                }
            }
            Ok(pending.is_empty().then_some(()))
        })?;
        Ok(pending)
    }
}

/// A message that names an address of a link.
fn named(link: u32, net: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(net.ip()).number();
    message.header.prefix_len = net.prefix();
    message.header.scope = AddressScope::Universe;
    message.header.index = link;
    message.attributes = vec![AddressAttribute::Local(net.ip()), AddressAttribute::Address(net.ip())];
    message
}

/// The last address of an IPv4 network, unless that is too small to have a broadcast address (RFC 3021).
fn broadcast(net: IpNetwork) -> Option<Ipv4Addr> {
    match net {
        IpNetwork::V4(net) if net.prefix() < 31 => Some(net.broadcast()),
        _ => None,
    }
}

pub(crate) fn read(message: RtnlMessage) -> Option<Address> {
    let RtnlMessage::NewAddress(message) = message else { return None };
    let mut bits = Bits::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the peer's, and IFA_LOCAL ours; IPv6 may have only the
            // former (include/uapi/linux/if_addr.h).
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            AddressAttribute::Flags(all) => bits = all,
            _ => {}
        }
    }
    Some(Address {
        link: message.header.index,
        net: IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()?,
        tentative: bits.contains(Bits::Tentative),
        dadfailed: bits.contains(Bits::Dadfailed),
        scope: message.header.scope.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(net: &str, flags: AddressFlags) -> Vec<AddressAttribute> {
        match Request::add_address(3, net.parse().unwrap(), flags).what() {
            RtnlMessage::NewAddress(message) => message.attributes.clone(),
            other => panic!("{other:?} adds no address"),
        }
    }

    #[test]
    fn an_ipv4_network_has_a_broadcast_address_if_it_has_room_for_one() {
        let broadcast_of = |net: &str| broadcast(net.parse().unwrap());
        assert_eq!(broadcast_of("10.22.0.7/24"), Some(Ipv4Addr::new(10, 22, 0, 255)));
        assert_eq!(broadcast_of("10.22.0.1/30"), Some(Ipv4Addr::new(10, 22, 0, 3)));
        assert_eq!(broadcast_of("10.22.0.1/31"), None);
        assert_eq!(broadcast_of("10.22.0.1/32"), None);
        assert_eq!(broadcast_of("2001:db8::1/64"), None);
    }

    #[test]
    fn duplicate_detection_is_switched_off_for_ipv6_alone() {
        let nodad = AddressFlags { nodad: true, noprefixroute: false };
        assert!(attributes("2001:db8::1/64", nodad).contains(&AddressAttribute::Flags(Bits::Nodad)));
        assert!(attributes("10.22.0.7/24", nodad).contains(&AddressAttribute::Flags(Bits::empty())));
    }

    #[test]
    fn on_a_point_to_point_link_the_local_address_is_ours() {
        let mut message = named(3, "10.0.0.1/32".parse().unwrap());
        message.attributes[1] = AddressAttribute::Address([10, 0, 0, 2].into());
        let address = read(RtnlMessage::NewAddress(message)).unwrap();
        assert_eq!(address.net.to_string(), "10.0.0.1/32");
        assert_eq!(address.link, 3);
    }
}
