//! What rules are made of: steps of a small machine that load registers, compare them, and decide.
//!
//! The steps are those of `include/uapi/linux/netfilter/nf_tables.h`. Each is written and read here, so that a
//! rule in the kernel can be compared with the rule that ought to be there. [`crate::nft::phrase`] has the
//! usual sequences of them.

use crate::nft::attribute::{Attributes, Read};
use crate::nft::{Family, verdict::Verdict};

const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// A register. There are sixteen of four bytes each; what is longer takes several that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// Where the decision goes.
    pub const VERDICT: Register = Register(0);

    /// The register of four bytes with this number, below 16.
    pub const fn word(number: u32) -> Register {
        Register(8 + number)
    }

    /// The kernel answers with the old numbers, of registers of sixteen bytes, wherever one begins.
    fn read(number: u32) -> Register {
        match number {
            old @ 1..=4 => Register::word((old - 1) * 4),
            other => Register(other),
        }
    }
}

/// Where a payload's offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Header {
    /// The Ethernet header.
    Link = 0,
    /// The IP header.
    Network = 1,
    /// The TCP or UDP header.
    Transport = 2,
}

/// What is known about a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// The packet's mark.
    Mark = 3,
    /// The name of the link that it came by, 16 bytes.
    InputName = 6,
    /// The name of the link that it will leave by, 16 bytes.
    OutputName = 7,
    /// The hardware type of the link that it came by (`ARPHRD_*`), 2 bytes.
    InputType = 8,
    /// IPv4 or IPv6, in the family `inet`, 1 byte.
    Family = 15,
    /// TCP, UDP or another, 1 byte.
    Protocol = 16,
}

/// What connection tracking knows, 4 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ct {
    /// `IP_CT_*` as a bit set, see [`crate::nft::phrase::ct_state`].
    State = 0,
    /// `IPS_*`, see [`crate::nft::phrase::ct_status`].
    Status = 2,
    /// The connection's mark.
    Mark = 3,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Comparison {
    /// The rule goes on if they are the same.
    Equal = 0,
    /// The rule goes on if they differ.
    Unequal = 1,
}

/// Which end of a connection is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Nat {
    /// The source.
    Source = 0,
    /// The destination.
    Destination = 1,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the line of a step says what its fields are")]
pub enum Expression {
    /// Loads bytes of the packet.
    Payload { header: Header, offset: u32, length: u32, to: Register },
    /// Loads what is known about the packet.
    Meta { key: Meta, to: Register },
    /// Changes what is known about the packet.
    SetMeta { key: Meta, from: Register },
    /// Loads what connection tracking knows.
    Ct { key: Ct, to: Register },
    /// Changes what connection tracking knows: of these keys, only the mark can be changed.
    SetCt { key: Ct, from: Register },
    /// Loads the kind of the packet's destination (`RTN_*`: 2 is one of the host's own addresses).
    DestinationKind { to: Register },
    /// Goes on only if the register compares so.
    Compare { from: Register, how: Comparison, with: Vec<u8> },
    /// `to = (from & mask) ^ flip`, in place.
    Bits { register: Register, mask: Vec<u8>, flip: Vec<u8> },
    /// Goes on only if the set has the key; a map's value goes to `to`, a verdict map's to [`Register::VERDICT`].
    Lookup { set: String, from: Register, to: Option<Register>, unless: bool },
    /// Loads a value.
    Load { to: Register, value: Vec<u8> },
    /// Decides.
    Decide(Verdict),
    /// Counts packets and bytes. Two counters are equal whatever they have counted.
    Counter,
    /// Replaces the source by the address of the link that the packet leaves by.
    Masquerade,
    /// Replaces an end of the connection by what the registers hold.
    Translate { kind: Nat, family: Family, address: Register, port: Option<Register> },
    /// Replaces the destination by the host itself.
    Redirect { port: Option<Register> },
    /// A match of iptables, as iptables-nft puts it into a rule: its settings are what that program wrote.
    Match { name: String, revision: u32, settings: Vec<u8> },
    /// A step that nobody here writes, by its name.
    Other(String),
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(DATA_VALUE, bytes)
}

fn at(attributes: Attributes, kind: u16, register: Register) -> Attributes {
    attributes.number(kind, register.0)
}

/// The destination (2) and the sort of its address (result 3), see `nft_fib.c`.
const FIB: [(u16, u32); 2] = [(2, 3), (3, 2)];

impl Expression {
    fn write(&self) -> (&str, Attributes) {
        let new = Attributes::new();
        match self {
            Expression::Payload { header, offset, length, to } => {
                let what = at(new, 1, *to).number(2, *header as u32).number(3, *offset).number(4, *length);
                ("payload", what)
            }
            Expression::Meta { key, to } => ("meta", at(new, 1, *to).number(2, *key as u32)),
            Expression::SetMeta { key, from } => ("meta", at(new.number(2, *key as u32), 3, *from)),
            Expression::Ct { key, to } => ("ct", at(new, 1, *to).number(2, *key as u32)),
            Expression::SetCt { key, from } => ("ct", at(new.number(2, *key as u32), 4, *from)),
            Expression::DestinationKind { to } => {
                ("fib", FIB.iter().fold(at(new, 1, *to), |all, (kind, number)| all.number(*kind, *number)))
            }
            Expression::Compare { from, how, with } => {
                ("cmp", at(new, 1, *from).number(2, *how as u32).nest(3, value(with)))
            }
            Expression::Bits { register, mask, flip } => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                let ends = at(at(new, 1, *register), 2, *register).number(3, length);
                ("bitwise", ends.nest(4, value(mask)).nest(5, value(flip)))
            }
            Expression::Lookup { set, from, to, unless } => {
                let what = at(new.text(1, set), 2, *from).with(*to, |what, to| at(what, 3, to));
                ("lookup", what.number(5, u32::from(*unless)))
            }
            Expression::Load { to, value: bytes } => ("immediate", at(new, 1, *to).nest(2, value(bytes))),
            Expression::Decide(verdict) => {
                let decision = Attributes::new().nest(DATA_VERDICT, verdict.write());
                ("immediate", at(new, 1, Register::VERDICT).nest(2, decision))
            }
            Expression::Counter => ("counter", new),
            Expression::Masquerade => ("masq", new),
            Expression::Translate { kind, family, address, port } => {
                let what = new.number(1, *kind as u32).number(2, u32::from(*family as u8));
                ("nat", at(what, 3, *address).with(*port, |what, port| at(what, 5, port)))
            }
            Expression::Redirect { port } => ("redir", new.with(*port, |what, port| at(what, 1, port))),
            Expression::Match { name, revision, settings } => {
                ("match", new.text(1, name).number(2, *revision).bytes(3, settings))
            }
            Expression::Other(name) => (name, new),
        }
    }

    fn read(name: &str, what: Read<'_>) -> Option<Expression> {
        let register = |kind| what.number(kind).map(Register::read);
        let bytes = |kind| what.nest(kind)?.get(DATA_VALUE).map(<[u8]>::to_vec);
        Some(match name {
            "payload" => Expression::Payload {
                to: register(1)?,
                header: [Header::Link, Header::Network, Header::Transport]
                    .into_iter()
                    .find(|header| what.number(2) == Some(*header as u32))?,
                offset: what.number(3)?,
                length: what.number(4)?,
            },
            "meta" => read_meta(what)?,
            "ct" => read_ct(what)?,
            "fib" if FIB.iter().all(|(kind, number)| what.number(*kind) == Some(*number)) => {
                Expression::DestinationKind { to: register(1)? }
            }
            "cmp" => Expression::Compare {
                from: register(1)?,
                how: [Comparison::Equal, Comparison::Unequal]
                    .into_iter()
                    .find(|how| what.number(2) == Some(*how as u32))?,
                with: bytes(3)?,
            },
            // Kind 6 is the operation: 0, or none in older kernels, is the one above; shifts are others.
            "bitwise" if register(1) == register(2) && what.number(6).unwrap_or(0) == 0 => {
                Expression::Bits { register: register(1)?, mask: bytes(4)?, flip: bytes(5)? }
            }
            "lookup" => Expression::Lookup {
                set: what.text(1)?,
                from: register(2)?,
                to: register(3),
                unless: what.number(5).unwrap_or(0) != 0,
            },
            "immediate" => read_immediate(what)?,
            "counter" => Expression::Counter,
            "masq" if what.count() == 0 => Expression::Masquerade,
            "nat" => read_nat(what)?,
            // Flag 2, "with a port", is the kernel's own addition; the others randomize ports.
            "redir" if what.number(3).unwrap_or(0) & !2 == 0 => Expression::Redirect { port: register(1) },
            "match" => Expression::Match {
                name: what.text(1)?,
                revision: what.number(2)?,
                settings: what.get(3)?.to_vec(),
            },
            _ => return None,
        })
    }
}

fn read_meta(what: Read<'_>) -> Option<Expression> {
    let keys = [Meta::Mark, Meta::InputName, Meta::OutputName, Meta::InputType, Meta::Family, Meta::Protocol];
    let key = keys.into_iter().find(|key| what.number(2) == Some(*key as u32))?;
    let (to, from) = (what.number(1).map(Register::read), what.number(3).map(Register::read));
    match (to, from) {
        (Some(to), None) => Some(Expression::Meta { key, to }),
        (None, Some(from)) => Some(Expression::SetMeta { key, from }),
        _ => None,
    }
}

fn read_ct(what: Read<'_>) -> Option<Expression> {
    let keys = [Ct::State, Ct::Status, Ct::Mark];
    let key = keys.into_iter().find(|key| what.number(2) == Some(*key as u32))?;
    // Kind 3 is the direction, which none of these keys has.
    let (to, from) = (what.number(1).map(Register::read), what.number(4).map(Register::read));
    match (to, from, what.number(3)) {
        (Some(to), None, None) => Some(Expression::Ct { key, to }),
        (None, Some(from), None) => Some(Expression::SetCt { key, from }),
        _ => None,
    }
}

fn read_immediate(what: Read<'_>) -> Option<Expression> {
    let (to, data) = (Register::read(what.number(1)?), what.nest(2)?);
    match (data.nest(DATA_VERDICT), data.get(DATA_VALUE)) {
        (Some(verdict), _) => Verdict::read(verdict).map(Expression::Decide),
        (None, Some(bytes)) => Some(Expression::Load { to, value: bytes.to_vec() }),
        (None, None) => None,
    }
}

fn read_nat(what: Read<'_>) -> Option<Expression> {
    let kind = [Nat::Source, Nat::Destination].into_iter().find(|k| what.number(1) == Some(*k as u32))?;
    let family =
        [Family::Ipv4, Family::Ipv6].into_iter().find(|f| what.number(2) == Some(u32::from(*f as u8)))?;
    let register = |kind| what.number(kind).map(Register::read);
    let one_value = register(4).is_none_or(|last| register(3) == Some(last))
        && register(6).is_none_or(|last| register(5) == Some(last));
    // Flags 1 and 2, "with an address" and "with a port", are the kernel's own additions.
    let plain = what.number(7).unwrap_or(0) & !3 == 0;
    let (address, port) = (register(3)?, register(5));
    (one_value && plain).then_some(Expression::Translate { kind, family, address, port })
}

/// The list of a rule's expressions.
pub(super) fn write(expressions: &[Expression]) -> Attributes {
    expressions.iter().fold(Attributes::new(), |list, expression| {
        let (name, what) = expression.write();
        list.nest(LIST_ELEM, Attributes::new().text(EXPR_NAME, name).nest(EXPR_DATA, what))
    })
}

pub(super) fn read(list: Read<'_>) -> Vec<Expression> {
    let read_one = |(_, bytes)| {
        let one = Read(bytes);
        let name = one.text(EXPR_NAME).unwrap_or_default();
        let what = one.nest(EXPR_DATA).unwrap_or(Read(&[]));
        Expression::read(&name, what).unwrap_or(Expression::Other(name))
    };
    list.map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_read_as_it_was_written() {
        let (a, b) = (Register::word(0), Register::word(5));
        let all = [
            Expression::Payload { header: Header::Transport, offset: 2, length: 2, to: b },
            Expression::Meta { key: Meta::Protocol, to: a },
            Expression::SetMeta { key: Meta::Mark, from: b },
            Expression::Ct { key: Ct::Status, to: a },
            Expression::SetCt { key: Ct::Mark, from: a },
            Expression::DestinationKind { to: a },
            Expression::Compare { from: a, how: Comparison::Unequal, with: vec![1, 2] },
            Expression::Bits { register: a, mask: vec![255, 0], flip: vec![0, 1] },
            Expression::Lookup { set: "s".into(), from: a, to: None, unless: true },
            Expression::Lookup { set: "m".into(), from: a, to: Some(Register::VERDICT), unless: false },
            Expression::Load { to: b, value: vec![9; 16] },
            Expression::Decide(Verdict::Goto("c".into())),
            Expression::Counter,
            Expression::Masquerade,
            Expression::Translate { kind: Nat::Destination, family: Family::Ipv6, address: a, port: Some(b) },
            Expression::Translate { kind: Nat::Source, family: Family::Ipv4, address: a, port: None },
            Expression::Redirect { port: Some(a) },
            Expression::Redirect { port: None },
            Expression::Match { name: "comment".into(), revision: 0, settings: b"words\0".into() },
        ];
        assert_eq!(read(Read(write(&all).as_slice())), all);
    }

    #[test]
    fn the_old_numbers_of_registers_are_understood() {
        assert_eq!(Register::read(1), Register::word(0));
        assert_eq!(Register::read(2), Register::word(4));
        assert_eq!(Register::read(9), Register::word(1));
        assert_eq!(Register::read(0), Register::VERDICT);
    }

    #[test]
    fn what_differs_in_a_way_not_spoken_here_is_never_taken_for_ours() {
        let masquerade = |what| {
            let one = Attributes::new().text(EXPR_NAME, "masq").nest(EXPR_DATA, what);
            read(Read(Attributes::new().nest(LIST_ELEM, one).as_slice()))
        };
        assert_eq!(masquerade(Attributes::new()), [Expression::Masquerade]);
        let fully_random = Attributes::new().number(1, 16);
        assert_eq!(masquerade(fully_random), [Expression::Other("masq".into())]);
    }
}
