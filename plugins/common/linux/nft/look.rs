//! Questions: plain look-ups outside a batch. They cost microseconds, and the kernel waits for nobody.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};

use crate::error::{Doing, Error, Result};
use crate::nft::attribute::{Attributes, Read};
use crate::nft::object::{Element, FoundChain, FoundRule, FoundTable, Set, Table};
use crate::nft::wire::{Line, Message};
use crate::nft::{Generation, Nft};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSET: u16 = 10;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;

/// How often a dump is repeated that somebody's change has torn. A dump of our own chains takes microseconds:
/// to be torn so often it would have to be chased.
const ATTEMPTS: usize = 20;

impl Nft {
    /// The present generation of the ruleset: every committed batch, anybody's, makes a new one.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`; `EINVAL` or `EOPNOTSUPP` where the kernel has no nf_tables.
    pub fn generation(&self) -> Result<Generation> {
        let doing = "ask for the generation of the ruleset".to_owned();
        let question = Message { kind: GETGEN, flags: 0, family: 0, attributes: Attributes::new(), doing };
        let found = self.line().look_up(&question, |what| what.number(1).map(Generation))?;
        found.ok_or_else(|| Error::plain(question.doing, "the kernel does not know it"))
    }

    /// A table. None if it is not there, here and below.
    ///
    /// # Errors
    /// As [`Nft::generation`], here and below.
    pub fn table(&self, table: Table<'_>) -> Result<Option<FoundTable>> {
        let what = Attributes::new().text(1, table.name);
        self.line()
            .look_up(&question(GETTABLE, table, what, format!("look up table {table}")), FoundTable::read)
    }

    /// A chain.
    ///
    /// # Errors
    /// As above.
    pub fn chain(&self, table: Table<'_>, chain: &str) -> Result<Option<FoundChain>> {
        let what = Attributes::new().text(1, table.name).text(3, chain);
        let question = question(GETCHAIN, table, what, format!("look up chain {table} {chain}"));
        self.line().look_up(&question, |what| FoundChain::read(what).map(|(_, chain)| chain))
    }

    /// The chains of a table. Older kernels cannot choose by table and tell all chains of its family.
    ///
    /// # Errors
    /// As above.
    pub fn chains(&self, table: Table<'_>) -> Result<Vec<FoundChain>> {
        let what = Attributes::new().text(1, table.name);
        let all = self
            .dump(&question(GETCHAIN, table, what, format!("list chains of table {table}")), |what| {
                FoundChain::read(what)
            })?;
        Ok(all.into_iter().filter(|(owner, _)| owner == table.name).map(|(_, chain)| chain).collect())
    }

    /// The rules of a chain, in their order; none if there is no such chain.
    ///
    /// # Errors
    /// As above.
    pub fn rules(&self, table: Table<'_>, chain: &str) -> Result<Vec<FoundRule>> {
        let what = Attributes::new().text(1, table.name).text(2, chain);
        let question = question(GETRULE, table, what, format!("list rules of chain {table} {chain}"));
        self.dump(&question, FoundRule::read)
    }

    /// A set or map.
    ///
    /// # Errors
    /// As above.
    pub fn set(&self, table: Table<'_>, set: &str) -> Result<Option<Set>> {
        let what = Attributes::new().text(1, table.name).text(2, set);
        self.line().look_up(&question(GETSET, table, what, format!("look up set {table} {set}")), Set::read)
    }

    /// The sets and maps of a table.
    ///
    /// # Errors
    /// As above.
    pub fn sets(&self, table: Table<'_>) -> Result<Vec<Set>> {
        let what = Attributes::new().text(1, table.name);
        let question = question(GETSET, table, what, format!("list sets of table {table}"));
        // Those without a name that can be spoken are parts of rules.
        let all = self.dump(&question, Set::read)?;
        Ok(all.into_iter().filter(|set| !set.name.starts_with("__")).collect())
    }

    /// The element of a set or map that has this key.
    ///
    /// # Errors
    /// As above.
    pub fn element(&self, table: Table<'_>, set: &str, key: &[u8]) -> Result<Option<Element>> {
        let wanted = Attributes::new().nest(1, Element::write_key(key));
        let what = Attributes::new().text(1, table.name).text(2, set).nest(3, wanted);
        let question = question(GETSETELEM, table, what, format!("look up an element of {table} {set}"));
        self.line().look_up(&question, |what| elements(what).next())
    }

    /// All elements of a set or map; none if there is no such set. The one question here that costs more the
    /// more there are.
    ///
    /// An answer of several pieces may lack elements: the kernel goes on behind as many as it has told (`nft_rhash_walk`), and
    /// while it makes its table of hashes larger or smaller, which it does by itself after many have come or gone, that is
    /// somewhere else. So such an answer counts once it has come twice.
    ///
    /// # Errors
    /// As above.
    pub fn elements(&self, table: Table<'_>, set: &str) -> Result<Vec<Element>> {
        let question = all_elements(table, set);
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let pieces = self.dump(&question, |what| Some(elements(what).collect::<Vec<_>>()))?;
            let is_one = pieces.len() <= 1;
            // Some are told twice.
            let mut told = BTreeSet::new();
            let new = |element: &Element| told.insert(element.key.clone());
            let all: Vec<Element> = pieces.into_iter().flatten().filter(new).collect();
            if is_one || before.as_ref() == Some(&told) {
                return Ok(all);
            }
            before = Some(told);
        }
        Err(torn(&question))
    }

    /// The only way to dump: repeated until it is whole.
    fn dump<T>(&self, question: &Message, read: impl Fn(Read<'_>) -> Option<T>) -> Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let mut all = Vec::new();
            let mut understood = true;
            let whole = self.line().dump(question, |what| {
                match read(what) {
                    Some(one) => all.push(one),
                    None => understood = false,
                }
                ControlFlow::Continue(())
            })?;
            if !understood {
                return Err(Error::plain(&question.doing, "the kernel's answer cannot be understood"));
            }
            if whole {
                return Ok(all);
            }
        }
        Err(torn(question))
    }
}

/// A conversation for a single sort of question: whether a set has an element of some sort. It hears of one element after
/// the other, and no further than it takes to know; so it costs the same beside ten elements and beside ten thousand, as
/// long as one of the first is of that sort.
///
/// It is one of its own because the kernel prepares the next pieces of an answer while the last is read: here they are
/// small.
pub struct Glance(Line);

impl AsRawFd for Glance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Glance {
    /// Opens a conversation about the namespace that the calling thread is in, as [`Nft::here`] does.
    ///
    /// # Errors
    /// As [`Nft::here`].
    pub fn here() -> Result<Glance> {
        let line = Line::open_for_beginnings().doing(|| "open an nftables socket")?;
        Ok(Glance(line))
    }

    /// Whether some element of a set or map is so. Where there is no such set, none is.
    ///
    /// # Errors
    /// As [`Nft::generation`].
    pub fn any(
        &mut self,
        table: Table<'_>,
        set: &str,
        mut is_so: impl FnMut(&Element) -> bool,
    ) -> Result<bool> {
        let question = all_elements(table, set);
        for _ in 0..ATTEMPTS {
            let mut found = false;
            let whole = self.0.dump(&question, |what| {
                found = elements(what).any(|element| is_so(&element));
                if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if found || whole {
                return Ok(found);
            }
        }
        Err(torn(&question))
    }
}

fn all_elements(table: Table<'_>, set: &str) -> Message {
    let what = Attributes::new().text(1, table.name).text(2, set);
    question(GETSETELEM, table, what, format!("list elements of {table} {set}"))
}

fn torn(question: &Message) -> Error {
    Error::plain(&question.doing, "the ruleset changed each time while it was being read")
}

fn question(kind: u16, table: Table<'_>, attributes: Attributes, doing: String) -> Message {
    Message { kind, flags: 0, family: table.family as u8, attributes, doing }
}

/// The elements in an answer. What has no key of its own, such as a catch-all, is left out.
fn elements(what: Read<'_>) -> impl Iterator<Item = Element> {
    let list = what.nest(3).unwrap_or(Read(&[]));
    list.filter_map(|(_, one)| Element::read(Read(one)))
}
