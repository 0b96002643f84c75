//! Tables, chains, rules, sets and elements as values: written into a batch, and read from an answer.

use crate::nft::Family;
use crate::nft::attribute::{Attributes, Read};
use crate::nft::comment;
use crate::nft::datatype::{self, Type};
use crate::nft::expression::{self, Expression};
use crate::nft::verdict::Verdict;

/// A table, by its family and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// The packets that it sees.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

impl std::fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// What the kernel says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// None of its rules is in force (`flags dormant`).
    pub dormant: bool,
    /// How many chains, sets, maps and other objects it has.
    pub parts: u32,
    /// Its comment.
    pub comment: Option<String>,
}

impl FoundTable {
    pub(super) fn read(what: Read<'_>) -> Option<FoundTable> {
        Some(FoundTable {
            dormant: what.number(2)? & 1 != 0,
            parts: what.number(3)?,
            comment: what.get(6).and_then(comment::read),
        })
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name: a letter, then letters, digits, `_`, `.`, `/` or `-`, so that `nft` can speak of it.
    pub name: String,
    /// Where it is called from by the kernel; None if only by rules.
    pub base: Option<Base>,
    /// A comment. Kernels before 5.10 do not keep it.
    pub comment: Option<String>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What may be done there.
    pub kind: Kind,
    /// When.
    pub hook: Hook,
    /// Before or after whom: the smaller comes first. `nft` writes 100 as `srcnat`, -100 as `dstnat`.
    pub priority: i32,
    /// What happens to a packet that no rule decides on.
    pub policy: Policy,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `type filter`
    Filter,
    /// `type nat`: asked for the first packet of a connection only.
    Nat,
    /// `type route`
    Route,
}

/// The hook of a base chain, in the families that see IP packets and in `bridge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Come in, not yet routed.
    Prerouting = 0,
    /// For this host.
    Input = 1,
    /// For others.
    Forward = 2,
    /// From this host.
    Output = 3,
    /// Going out.
    Postrouting = 4,
}

/// The policy of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// Thrown away.
    Drop = 0,
    /// Let through.
    Accept = 1,
}

impl Kind {
    const ALL: [(Kind, &'static str); 3] =
        [(Kind::Filter, "filter"), (Kind::Nat, "nat"), (Kind::Route, "route")];
}

impl Base {
    fn write(&self, attributes: Attributes) -> Attributes {
        let hook = Attributes::new().number(1, self.hook as u32).bytes(2, &self.priority.to_be_bytes());
        let kind = Kind::ALL.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        attributes.nest(4, hook).number(5, self.policy as u32).text(7, kind)
    }

    fn read(what: Read<'_>) -> Option<Base> {
        let hook = what.nest(4)?;
        let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        let kind = what.text(7)?;
        Some(Base {
            kind: Kind::ALL.iter().find(|(_, name)| *name == kind)?.0,
            hook: hooks.into_iter().find(|h| hook.number(1) == Some(*h as u32))?,
            priority: hook.get(2)?.try_into().ok().map(i32::from_be_bytes)?,
            policy: if what.number(5)? == Policy::Drop as u32 { Policy::Drop } else { Policy::Accept },
        })
    }
}

/// What the kernel says of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundChain {
    /// The chain.
    pub chain: Chain,
    /// How many rules it has and how many rules and elements lead to it, together.
    pub uses: u32,
}

impl Chain {
    pub(super) fn write(&self, attributes: Attributes) -> Attributes {
        let attributes = attributes.text(3, &self.name).with(self.base.as_ref(), |all, base| base.write(all));
        attributes.with(self.comment.as_deref(), |all, text| all.bytes(12, &comment::write(text)))
    }
}

impl FoundChain {
    /// The chain, with the name of its table.
    pub(super) fn read(what: Read<'_>) -> Option<(String, FoundChain)> {
        let comment = what.get(12).and_then(comment::read);
        let chain = Chain { name: what.text(3)?, base: Base::read(what), comment };
        Some((what.text(1)?, FoundChain { chain, uses: what.number(6)? }))
    }
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its steps.
    pub expressions: Vec<Expression>,
    /// A comment.
    pub comment: Option<String>,
}

/// What the kernel says of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRule {
    /// The number by which it can be deleted.
    pub handle: u64,
    /// The rule.
    pub rule: Rule,
}

impl Rule {
    pub(super) fn write(&self, attributes: Attributes) -> Attributes {
        let attributes = attributes.nest(4, expression::write(&self.expressions));
        attributes.with(self.comment.as_deref(), |all, text| all.bytes(7, &comment::write(text)))
    }
}

impl FoundRule {
    pub(super) fn read(what: Read<'_>) -> Option<FoundRule> {
        let expressions = what.nest(4).map(expression::read).unwrap_or_default();
        let rule = Rule { expressions, comment: what.get(7).and_then(comment::read) };
        Some(FoundRule { handle: what.long(3)?, rule })
    }
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The parts of a key.
    pub key: Vec<Type>,
    /// What a key leads to.
    pub target: SetTarget,
    /// A comment. Kernels before 5.10 do not keep it.
    pub comment: Option<String>,
}

/// What the keys of a set lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetTarget {
    /// Nothing: it is a set.
    Nothing,
    /// A decision: it is a verdict map.
    Verdict,
    /// A value of these parts: it is a map.
    Value(Vec<Type>),
}

/// `NFT_SET_MAP`
const MAP: u32 = 8;
/// `NFT_DATA_VERDICT`
const VERDICT: u32 = 0xffff_ff00;

impl Set {
    pub(super) fn write(&self, attributes: Attributes, id: u32) -> Attributes {
        let (flags, data) = match &self.target {
            SetTarget::Nothing => (0, None),
            SetTarget::Verdict => (MAP, Some((VERDICT, 0, 0))),
            SetTarget::Value(types) => {
                let number = datatype::number(types);
                (MAP, Some((number, datatype::length(types), datatype::byte_order(types))))
            }
        };
        let attributes = attributes.text(2, &self.name).number(3, flags);
        let attributes =
            attributes.number(4, datatype::number(&self.key)).number(5, datatype::length(&self.key));
        let attributes =
            attributes.with(data, |all, (number, length, _)| all.number(6, number).number(7, length));
        let key_order = datatype::byte_order(&self.key);
        let notes = comment::write_of_set(key_order, data.map(|(.., order)| order), self.comment.as_deref());
        attributes.number(10, id).bytes(13, &notes)
    }

    /// The set; with what was not written by [`Set::write`], such as a timeout, left out.
    pub(super) fn read(what: Read<'_>) -> Option<Set> {
        let target = match (what.number(3).unwrap_or(0) & MAP, what.number(6)) {
            (0, _) => SetTarget::Nothing,
            (_, Some(VERDICT)) => SetTarget::Verdict,
            (_, number) => SetTarget::Value(datatype::types(number?)),
        };
        let comment = what.get(13).and_then(comment::read_of_set);
        Some(Set { name: what.text(2)?, key: datatype::types(what.number(4)?), target, comment })
    }

    /// The word for it.
    pub(super) fn sort(&self) -> &'static str {
        if self.target == SetTarget::Nothing { "set" } else { "map" }
    }
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its key, see [`datatype::concatenated`].
    pub key: Vec<u8>,
    /// What it leads to.
    pub target: Target,
    /// A comment.
    pub comment: Option<String>,
}

/// What an element leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing: it is in a set.
    Nothing,
    /// A decision.
    Verdict(Verdict),
    /// A value, see [`datatype::concatenated`].
    Value(Vec<u8>),
}

impl Element {
    pub(super) fn write(&self) -> Attributes {
        let element = Attributes::new().nest(1, Attributes::new().bytes(1, &self.key));
        let element = match &self.target {
            Target::Nothing => element,
            Target::Verdict(verdict) => element.nest(2, Attributes::new().nest(2, verdict.write())),
            Target::Value(bytes) => element.nest(2, Attributes::new().bytes(1, bytes)),
        };
        element.with(self.comment.as_deref(), |all, text| all.bytes(6, &comment::write(text)))
    }

    pub(super) fn write_key(key: &[u8]) -> Attributes {
        Attributes::new().nest(1, Attributes::new().bytes(1, key))
    }

    pub(super) fn read(what: Read<'_>) -> Option<Element> {
        let target = match what.nest(2) {
            None => Target::Nothing,
            Some(data) => match (data.nest(2), data.get(1)) {
                (Some(verdict), _) => Target::Verdict(Verdict::read(verdict)?),
                (None, bytes) => Target::Value(bytes?.to_vec()),
            },
        };
        let key = what.nest(1)?.get(1)?.to_vec();
        Some(Element { key, target, comment: what.get(6).and_then(comment::read) })
    }
}
