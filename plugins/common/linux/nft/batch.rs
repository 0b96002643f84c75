//! Changes that come into force together, or not at all.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use crate::nft::attribute::Attributes;
use crate::nft::comment;
use crate::nft::object::{Chain, Element, Rule, Set, Table};
use crate::nft::wire::Message;

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// An attribute ends at 64 KiB: so much of elements goes into one message.
const ELEMENTS: usize = 32 * 1024;

/// Changes of the ruleset, in the order in which the kernel looks at them, not yet sent.
///
/// What something refers to stands before it: the map before the rule that looks into it, the chain before the
/// element that leads to it. What is deleted is no longer referred to: the elements before the chain.
#[derive(Clone, Debug, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    pub(super) messages: Vec<Message>,
}

impl Batch {
    /// No changes.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds the changes of another batch behind these.
    pub fn append(&mut self, other: Batch) {
        self.messages.extend(other.messages);
    }

    fn push(&mut self, kind: u16, flags: u16, table: Table<'_>, attributes: Attributes, doing: String) {
        let family = table.family as u8;
        self.messages.push(Message { kind, flags, family, attributes, doing });
    }

    /// Makes the table if it is not there, and wakes it if it is dormant. To name one that is there costs
    /// nothing.
    pub fn ensure_table(&mut self, table: Table<'_>, comment: Option<&str>) {
        let what = Attributes::new().text(1, table.name).number(2, 0);
        let what = what.with(comment, |all, text| all.bytes(6, &comment::write(text)));
        self.push(NEWTABLE, NLM_F_CREATE, table, what, format!("add table {table}"));
    }

    /// Deletes the table and everything in it.
    pub fn delete_table(&mut self, table: Table<'_>) {
        let what = Attributes::new().text(1, table.name);
        self.push(DELTABLE, 0, table, what, format!("delete table {table}"));
    }

    /// Makes a chain if it is not there. To name one that is there costs 6 to 15 ms when the socket closes
    /// (the kernel waits for the packets on their way): look first.
    pub fn ensure_chain(&mut self, table: Table<'_>, chain: &Chain) {
        let what = chain.write(Attributes::new().text(1, table.name));
        self.push(NEWCHAIN, NLM_F_CREATE, table, what, format!("add chain {table} {}", chain.name));
    }

    /// Deletes a chain and its rules. Nothing may lead to it any more (`EBUSY`).
    pub fn delete_chain(&mut self, table: Table<'_>, chain: &str) {
        let what = Attributes::new().text(1, table.name).text(3, chain);
        self.push(DELCHAIN, 0, table, what, format!("delete chain {table} {chain}"));
    }

    /// Deletes the rules of a chain, which may have been made by this batch.
    pub fn flush_chain(&mut self, table: Table<'_>, chain: &str) {
        let what = Attributes::new().text(1, table.name).text(2, chain);
        self.push(DELRULE, 0, table, what, format!("flush chain {table} {chain}"));
    }

    /// Adds a rule behind the others.
    pub fn append_rule(&mut self, table: Table<'_>, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, NLM_F_APPEND);
    }

    /// Adds a rule before the others.
    pub fn insert_rule(&mut self, table: Table<'_>, chain: &str, rule: &Rule) {
        self.rule(table, chain, rule, 0);
    }

    fn rule(&mut self, table: Table<'_>, chain: &str, rule: &Rule, place: u16) {
        let what = rule.write(Attributes::new().text(1, table.name).text(2, chain));
        self.push(NEWRULE, NLM_F_CREATE | place, table, what, format!("add a rule to chain {table} {chain}"));
    }

    /// Adds a rule behind the one that has this number ([`crate::nft::Nft::rules`]).
    pub fn insert_rule_behind(&mut self, table: Table<'_>, chain: &str, rule: &Rule, handle: u64) {
        let what = rule.write(Attributes::new().text(1, table.name).text(2, chain)).long(6, handle);
        let doing = format!("add a rule behind rule {handle} of chain {table} {chain}");
        self.push(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table, what, doing);
    }

    /// Deletes a rule by the number that [`crate::nft::Nft::rules`] tells.
    pub fn delete_rule(&mut self, table: Table<'_>, chain: &str, handle: u64) {
        let what = Attributes::new().text(1, table.name).text(2, chain).long(3, handle);
        self.push(DELRULE, 0, table, what, format!("delete rule {handle} of chain {table} {chain}"));
    }

    /// Makes a set or map if it is not there. To name one that is there costs nothing.
    pub fn ensure_set(&mut self, table: Table<'_>, set: &Set) {
        // A number by which rules of the same batch could call the set; they call it by name.
        let id = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let what = set.write(Attributes::new().text(1, table.name), id);
        self.push(NEWSET, NLM_F_CREATE, table, what, format!("add {} {table} {}", set.sort(), set.name));
    }

    /// Deletes a set or map with its elements. No rule may look into it any more (`EBUSY`).
    pub fn delete_set(&mut self, table: Table<'_>, set: &str) {
        let what = Attributes::new().text(1, table.name).text(2, set);
        self.push(DELSET, 0, table, what, format!("delete set {table} {set}"));
    }

    /// Adds elements. A key that is there already and leads to the same is left as it is, comment included;
    /// one that leads elsewhere makes the batch fail (`EEXIST`).
    pub fn add_elements(&mut self, table: Table<'_>, set: &str, elements: &[Element]) {
        let elements = elements.iter().map(Element::write);
        self.elements(NEWSETELEM, NLM_F_CREATE, table, set, elements, "add elements to");
    }

    /// Adds elements. A key that is there already makes the batch fail (`EEXIST`).
    pub fn create_elements(&mut self, table: Table<'_>, set: &str, elements: &[Element]) {
        let elements = elements.iter().map(Element::write);
        self.elements(NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, table, set, elements, "create elements of");
    }

    /// Deletes the elements with these keys. One that is not there makes the batch fail (`ENOENT`).
    pub fn delete_elements<'a>(
        &mut self,
        table: Table<'_>,
        set: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let elements = keys.into_iter().map(Element::write_key);
        self.elements(DELSETELEM, 0, table, set, elements, "delete elements of");
    }

    /// Deletes all elements of a set or map.
    pub fn flush_set(&mut self, table: Table<'_>, set: &str) {
        let what = Attributes::new().text(1, table.name).text(2, set);
        self.push(DELSETELEM, 0, table, what, format!("flush set {table} {set}"));
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: Table<'_>,
        set: &str,
        elements: impl Iterator<Item = Attributes>,
        deed: &str,
    ) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let mut list = Attributes::new();
            while let Some(element) = elements.next_if(|_| list.as_slice().len() < ELEMENTS) {
                list = list.nest(1, element);
            }
            let what = Attributes::new().text(1, table.name).text(2, set).nest(3, list);
            self.push(kind, flags, table, what, format!("{deed} {table} {set}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::Family;
    use crate::nft::attribute::Read;
    use crate::nft::object::Target;

    #[test]
    fn many_elements_are_divided_among_messages_and_none_is_lost() {
        let table = Table { family: Family::Inet, name: "t" };
        let element = |n: u32| Element {
            key: n.to_be_bytes().into(),
            target: Target::Nothing,
            comment: Some("x".repeat(100)),
        };
        let elements: Vec<_> = (0..2000).map(element).collect();
        let mut batch = Batch::new();
        batch.add_elements(table, "s", &elements);
        assert!(batch.messages.len() > 1);
        let of = |message: &Message| {
            let list = Read(message.attributes.as_slice()).nest(3).unwrap();
            list.map(|(_, one)| Element::read(Read(one)).unwrap()).collect::<Vec<_>>()
        };
        let read: Vec<_> = batch.messages.iter().flat_map(of).collect();
        assert_eq!(read, elements);
        batch.delete_elements(table, "s", []);
        assert!(
            batch.messages.iter().all(|message| message.kind == NEWSETELEM),
            "nothing to delete, no message"
        );
    }
}
