//! The usual sequences of expressions, as `nft` writes and prints them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::nft::Family;
use crate::nft::datatype::Part;
use crate::nft::expression::{Comparison, Ct, Expression, Header, Meta, Nat, Register};

/// The register that short phrases use.
const FIRST: Register = Register::word(0);

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Compares the first register.
fn compare(how: Comparison, with: Vec<u8>) -> Expression {
    Expression::Compare { from: FIRST, how, with }
}

/// The family of an address.
pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

/// `meta nfproto ipv4` or `ipv6`: in the family `inet`, what comes before every look at an address. `nft` does
/// not print it.
pub fn is_family(family: Family) -> [Expression; 2] {
    [Expression::Meta { key: Meta::Family, to: FIRST }, compare(Comparison::Equal, vec![family as u8])]
}

/// Loads an address of a packet that is known to be of the family.
pub fn load_address(family: Family, end: End, to: Register) -> Expression {
    let (offset, length) = match (family, end) {
        (Family::Ipv6, End::Source) => (8, 16),
        (Family::Ipv6, End::Destination) => (24, 16),
        (_, End::Source) => (12, 4),
        (_, End::Destination) => (16, 4),
    };
    Expression::Payload { header: Header::Network, offset, length, to }
}

/// `ip saddr 10.22.0.0/16`, `ip6 daddr != 2001:db8::/64` and the like. A network of whole bytes is compared by these
/// bytes alone, as `nft` does it: what it restores from a listing is what we would write.
pub fn address(end: End, how: Comparison, network: IpNetwork) -> Vec<Expression> {
    let family = family_of(network.ip());
    let mut steps = Vec::from(is_family(family));
    let mut wanted = Part::Address(network.network()).bytes();
    let bytes = usize::from(network.prefix() / 8);
    if network.prefix().is_multiple_of(8) && bytes > 0 {
        wanted.truncate(bytes);
        steps.push(load_start_of_address(family, end, bytes));
    } else {
        steps.push(load_address(family, end, FIRST));
        let mask = match network {
            IpNetwork::V4(v4) => Part::Address(v4.mask().into()).bytes(),
            IpNetwork::V6(v6) => Part::Address(v6.mask().into()).bytes(),
        };
        let flip = vec![0; mask.len()];
        steps.push(Expression::Bits { register: FIRST, mask, flip });
    }
    steps.push(compare(how, wanted));
    steps
}

fn load_start_of_address(family: Family, end: End, bytes: usize) -> Expression {
    match load_address(family, end, FIRST) {
        Expression::Payload { header, offset, to, length: all } => {
            let length = bytes.try_into().map_or(all, |bytes| all.min(bytes));
            Expression::Payload { header, offset, length, to }
        }
        other => other,
    }
}

/// `ip saddr vmap @map` or `ip6 saddr vmap @map`.
pub fn address_decides(family: Family, end: End, map: &str) -> Vec<Expression> {
    let mut steps = Vec::from(is_family(family));
    steps.push(load_address(family, end, FIRST));
    let (set, to) = (map.to_owned(), Some(Register::VERDICT));
    steps.push(Expression::Lookup { set, from: FIRST, to, unless: false });
    steps
}

/// `dnat ip to ip daddr . meta l4proto . th dport map @map`: the packet goes to the address and port to which the map leads
/// from its destination; where there is none, the rule does nothing.
pub fn destination_by_map(family: Family, map: &str) -> Vec<Expression> {
    let address = load_address(family, End::Destination, FIRST);
    by_map(family, Some(address), words_of_address(family), map)
}

/// `dnat ip to meta l4proto . th dport map @map`: the same, whatever address the packet is for.
pub fn port_by_map(family: Family, map: &str) -> Vec<Expression> {
    by_map(family, None, 0, map)
}

/// The key begins in the first register, and gives way there to what it leads to.
fn by_map(family: Family, address: Option<Expression>, words: u32, map: &str) -> Vec<Expression> {
    let [protocol, port] = [Register::word(words), Register::word(words + 1)];
    let mut steps = Vec::from(is_family(family));
    steps.extend(address);
    steps.extend([
        Expression::Meta { key: Meta::Protocol, to: protocol },
        load_port(End::Destination, port),
        Expression::Lookup { set: map.to_owned(), from: FIRST, to: Some(FIRST), unless: false },
        Expression::Translate {
            kind: Nat::Destination,
            family,
            address: FIRST,
            port: Some(Register::word(words_of_address(family))),
        },
    ]);
    steps
}

/// How many registers of four bytes an address fills.
fn words_of_address(family: Family) -> u32 {
    if family == Family::Ipv6 { 4 } else { 1 }
}

/// `meta l4proto 6`: TCP is 6, UDP 17.
pub fn protocol(number: u8) -> [Expression; 2] {
    [Expression::Meta { key: Meta::Protocol, to: FIRST }, compare(Comparison::Equal, vec![number])]
}

/// Loads the port of a packet that is known to have ports: TCP, UDP, SCTP or DCCP.
pub fn load_port(end: End, to: Register) -> Expression {
    let offset = if end == End::Source { 0 } else { 2 };
    Expression::Payload { header: Header::Transport, offset, length: 2, to }
}

/// `iifname "eth0"`, or `oifname` with [`Meta::OutputName`].
pub fn link_name(key: Meta, how: Comparison, name: &str) -> [Expression; 2] {
    [Expression::Meta { key, to: FIRST }, compare(how, Part::IfName(name).bytes())]
}

/// `iifname @set`, or `oifname` with [`Meta::OutputName`].
pub fn link_name_in(key: Meta, set: &str) -> [Expression; 2] {
    let look = Expression::Lookup { set: set.to_owned(), from: FIRST, to: None, unless: false };
    [Expression::Meta { key, to: FIRST }, look]
}

/// `iifname . oifname vmap @map`: the links that a packet comes and leaves by decide together.
pub fn link_names_decide(map: &str) -> [Expression; 3] {
    // A link's name fills four registers.
    let behind = Register::word(4);
    let (set, to) = (map.to_owned(), Some(Register::VERDICT));
    [
        Expression::Meta { key: Meta::InputName, to: FIRST },
        Expression::Meta { key: Meta::OutputName, to: behind },
        Expression::Lookup { set, from: FIRST, to, unless: false },
    ]
}

/// `iifname . ether saddr != @set`, in the family `bridge`: what a set of links and their addresses does not have.
pub fn link_and_ether_source_not_in(set: &str) -> [Expression; 3] {
    // A link's name fills four registers.
    let behind = Register::word(4);
    [
        Expression::Meta { key: Meta::InputName, to: FIRST },
        Expression::Payload { header: Header::Link, offset: 6, length: 6, to: behind },
        Expression::Lookup { set: set.to_owned(), from: FIRST, to: None, unless: true },
    ]
}

/// `ether saddr 02:00:5e:10:00:01`, in the family `bridge`.
pub fn ether_source(how: Comparison, mac: crate::mac::Mac) -> [Expression; 2] {
    [
        Expression::Payload { header: Header::Link, offset: 6, length: 6, to: FIRST },
        compare(how, Part::Ether(mac).bytes()),
    ]
}

/// A connection's state, for [`ct_state`] (`NF_CT_STATE_BIT`).
pub mod state {
    /// Belongs to no connection and begins none.
    pub const INVALID: u32 = 1;
    /// Has been answered.
    pub const ESTABLISHED: u32 = 2;
    /// Begun by another connection, or an error message about one.
    pub const RELATED: u32 = 4;
    /// Begins one.
    pub const NEW: u32 = 8;
}

/// A connection's status, for [`ct_status`] (`enum ip_conntrack_status`).
pub mod status {
    /// Its source is translated.
    pub const SNAT: u32 = 1 << 4;
    /// Its destination is translated.
    pub const DNAT: u32 = 1 << 5;
}

/// `ct state established,related`: one of these bits is set.
pub fn ct_state(one_of: u32) -> [Expression; 3] {
    ct_bits(Ct::State, one_of)
}

/// `ct status dnat`: one of these bits is set.
pub fn ct_status(one_of: u32) -> [Expression; 3] {
    ct_bits(Ct::Status, one_of)
}

fn ct_bits(key: Ct, one_of: u32) -> [Expression; 3] {
    let none = 0_u32.to_ne_bytes().to_vec();
    [
        Expression::Ct { key, to: FIRST },
        Expression::Bits { register: FIRST, mask: one_of.to_ne_bytes().into(), flip: none.clone() },
        compare(Comparison::Unequal, none),
    ]
}

/// `fib daddr type local`: the packet is for one of the host's own addresses.
pub fn is_for_this_host() -> [Expression; 2] {
    const RTN_LOCAL: u32 = 2;
    [Expression::DestinationKind { to: FIRST }, compare(Comparison::Equal, RTN_LOCAL.to_ne_bytes().into())]
}

/// `meta mark and <bits> == <bits>`.
pub fn mark_has(bits: u32) -> [Expression; 3] {
    mark(bits, Comparison::Equal, bits)
}

/// `meta mark and <mask> == <value>`, or `!=`.
pub fn mark(mask: u32, how: Comparison, value: u32) -> [Expression; 3] {
    [
        Expression::Meta { key: Meta::Mark, to: FIRST },
        Expression::Bits { register: FIRST, mask: mask.to_ne_bytes().into(), flip: vec![0; 4] },
        compare(how, value.to_ne_bytes().into()),
    ]
}

/// `ct mark and <bits> == 0`: the connection's mark has none of these bits.
pub fn ct_mark_lacks(bits: u32) -> [Expression; 3] {
    let none = 0_u32.to_ne_bytes().to_vec();
    [
        Expression::Ct { key: Ct::Mark, to: FIRST },
        Expression::Bits { register: FIRST, mask: bits.to_ne_bytes().into(), flip: none.clone() },
        compare(Comparison::Equal, none),
    ]
}

/// `ct mark set ct mark or <bits>`.
pub fn set_ct_mark(bits: u32) -> [Expression; 3] {
    change_ct_mark(bits, bits)
}

/// `ct mark set ct mark and <all but these bits>`.
pub fn clear_ct_mark(bits: u32) -> [Expression; 3] {
    change_ct_mark(bits, 0)
}

fn change_ct_mark(bits: u32, to: u32) -> [Expression; 3] {
    [
        Expression::Ct { key: Ct::Mark, to: FIRST },
        Expression::Bits {
            register: FIRST,
            mask: (!bits).to_ne_bytes().into(),
            flip: to.to_ne_bytes().into(),
        },
        Expression::SetCt { key: Ct::Mark, from: FIRST },
    ]
}

/// `meta mark set meta mark or <bits>`.
pub fn set_mark(bits: u32) -> [Expression; 3] {
    change_mark(bits, bits)
}

/// `meta mark set meta mark and <all but these bits>`.
pub fn clear_mark(bits: u32) -> [Expression; 3] {
    change_mark(bits, 0)
}

fn change_mark(bits: u32, to: u32) -> [Expression; 3] {
    let (mask, flip) = ((!bits).to_ne_bytes().into(), to.to_ne_bytes().into());
    [
        Expression::Meta { key: Meta::Mark, to: FIRST },
        Expression::Bits { register: FIRST, mask, flip },
        Expression::SetMeta { key: Meta::Mark, from: FIRST },
    ]
}
