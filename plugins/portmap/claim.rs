//! Elements come into the maps, and what they need is there: all in one step, on one state of the ruleset.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cni::call::{Attachment, Owner};
use cni::error::{Error, OrFail, Result};
use cni::log;
use cni::name::NetworkName;
use ipnetwork::IpNetwork;
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::expression::Expression;
use linux::nft::object::{Chain, Element, Rule, Table, Target};
use linux::nft::phrase;
use linux::nft::verdict::Verdict;
use linux::rtnl::Rtnl;

use crate::attachment::mark::Mark;
use crate::attachment::ruleset::{self, Repair, TABLE, TABLE_COMMENT, is_of};
use crate::portmap::conf::Conf;
use crate::portmap::holder::{self, Holders, Standing};
use crate::portmap::key::{Key, Space, target};
use crate::portmap::layout::{self, CONDITIONS, MARK_BIT, PORTS, WAY, WAYS, Way};
use crate::portmap::plan::Plan;

/// So many ports go into one change: a batch has to fit a socket that nobody may enlarge.
pub const AT_ONCE: usize = 1000;

/// More keys than this are not looked up one by one.
const MANY: usize = 64;

/// Who claims, and what he needs beside the ports.
pub struct Claimant<'a> {
    /// A conversation with nf_tables.
    pub nft: &'a Nft,
    /// A conversation with the host.
    pub host: &'a Rtnl,
    /// Whose the ports are to be.
    pub attachment: &'a Attachment,
    /// What is wanted.
    pub plan: &'a Plan,
    /// The chain of each address.
    pub ways: &'a [(IpNetwork, Way)],
}

/// What a change has made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The ports that were not this attachment's before.
    pub ports: Vec<(Key, SocketAddr)>,
    /// The addresses that were not.
    pub addresses: Vec<IpAddr>,
    /// The owners whose ports this attachment would have, too.
    pub siblings: BTreeSet<Owner>,
}

impl Claimant<'_> {
    /// Claims these ports. Rules that somebody has flushed or changed are restored. What a holder has left who is gone is
    /// replaced; what another attachment of the same container holds stays with it.
    ///
    /// # Errors
    /// A living container has one of the ports, and the error names it; what the kernel says. Then nothing was changed.
    pub fn ensure(&self, ports: &[(Key, SocketAddr)]) -> Result<Made> {
        let _step = log::step("rules");
        let doing = || format!("failed to publish ports of {}", self.attachment);
        ruleset::wake(self.nft, TABLE).doing(doing)?;
        let holders = Holders::new(self.host);
        let (mut made, mut conflict) = (Made::default(), None);
        let settled = self.nft.settle(|| {
            let mut change = Change::default();
            conflict = self.ports(&holders, ports, &mut change)?;
            if conflict.is_some() {
                return Ok(Batch::new());
            }
            let mut batch = Batch::new();
            self.lay(&mut batch)?;
            self.addresses(&mut change)?;
            made = change.write(&mut batch);
            Ok(batch)
        });
        settled.doing(doing)?;
        conflict.map_or(Ok(made), Err)
    }

    /// Everything but elements.
    fn lay(&self, batch: &mut Batch) -> Answer<()> {
        let network = &self.attachment.network;
        let mut chains: BTreeMap<String, (Chain, Vec<Rule>)> = BTreeMap::new();
        let mut keep = |chain: Chain, way: &Way| chains.insert(chain.name.clone(), (chain, way.rules()));
        if lay_the_frame(self.nft, batch, self.plan.mark_bit)? {
            // Who flushed the frame has flushed these too, and their containers may see no ADD for long.
            for chain in self.nft.chains(TABLE)?.into_iter().map(|found| found.chain) {
                if let Some(way) = Way::read(&chain).filter(|_| chain.name.starts_with(WAY)) {
                    keep(chain, &way);
                }
            }
        }
        for (_, way) in self.ways {
            keep(way.chain(network), way);
        }
        for (chain, rules) in chains.values() {
            ruleset::lay(self.nft, batch, chain, rules)?;
        }
        for (space, condition) in &self.plan.spaces {
            lay_space(self.nft, batch, network, space, &condition.steps)?;
        }
        Ok(())
    }

    /// The elements that lead each address to its chain.
    fn addresses(&self, change: &mut Change) -> Answer<()> {
        for (address, way) in self.ways {
            let map = map_of(address.ip());
            let wanted = Element {
                key: Part::Address(address.ip()).bytes(),
                target: Target::Verdict(Verdict::Goto(way.chain(&self.attachment.network).name)),
                comment: Some(Mark::of(self.attachment).alias(self.attachment)),
            };
            let found = self.nft.element(TABLE, map, &wanted.key)?;
            let ours = found.as_ref().is_some_and(|found| is_of(found, &self.attachment.owner()));
            if ours && found.as_ref().is_some_and(|found| found.target == wanted.target) {
                continue;
            }
            change.replace(map.to_owned(), found.is_some(), wanted);
            change.made.addresses.extend((!ours).then_some(address.ip()));
        }
        Ok(())
    }

    /// The elements of the ports; or the conflict, if one is another's.
    fn ports(
        &self,
        holders: &Holders<'_>,
        ports: &[(Key, SocketAddr)],
        change: &mut Change,
    ) -> Answer<Option<Error>> {
        let keys: Vec<&Key> = ports.iter().map(|(key, _)| key).collect();
        let around = Around::look(self.nft, &keys)?;
        for (key, to) in ports {
            let mut is_siblings = false;
            for (other, element) in around.meeting(key) {
                match holders.standing(element, self.attachment)? {
                    Standing::Living => return Ok(Some(conflict(key, other, &holder::name(element)))),
                    Standing::Sibling => {
                        is_siblings = true;
                        change.made.siblings.extend(ruleset::mark(element).map(|mark| mark.owner().clone()));
                    }
                    Standing::Gone => change.gone(other),
                    Standing::Same => {}
                }
            }
            if !is_siblings {
                self.port(around.at(key), key, *to, change);
            }
        }
        Ok(None)
    }

    fn port(&self, found: Option<&Element>, key: &Key, to: SocketAddr, change: &mut Change) {
        let wanted = Element {
            key: key.bytes(),
            target: target(to),
            comment: Some(Mark::of(self.attachment).alias(self.attachment)),
        };
        let ours = found.is_some_and(|found| is_of(found, &self.attachment.owner()));
        if ours && found.is_some_and(|found| found.target == wanted.target) {
            return;
        }
        change.replace(key.map(), found.is_some(), wanted);
        change.made.ports.extend((!ours).then(|| (key.clone(), to)));
    }
}

/// The map that leads an address to its chain.
pub fn map_of(address: IpAddr) -> &'static str {
    let family = phrase::family_of(address);
    WAYS.iter().find(|(of, ..)| *of == family).map_or("", |(_, map, _)| map)
}

/// The error for a port that somebody has who lives.
pub fn conflict(wanted: &Key, held: &Key, holder: &str) -> Error {
    Error::internal(format!("host port {wanted} is taken: {held} belongs to {holder}"))
        .details("the port is free again after the DEL of its holder, or when its link is gone")
}

/// What is to be deleted and what is to be added, map by map.
#[derive(Default)]
struct Change {
    leaving: BTreeMap<String, BTreeSet<Vec<u8>>>,
    coming: BTreeMap<String, Vec<Element>>,
    made: Made,
}

impl Change {
    fn gone(&mut self, key: &Key) {
        self.leaving.entry(key.map()).or_default().insert(key.bytes());
    }

    fn replace(&mut self, map: String, is_there: bool, wanted: Element) {
        if is_there {
            self.leaving.entry(map.clone()).or_default().insert(wanted.key.clone());
        }
        self.coming.entry(map).or_default().push(wanted);
    }

    fn write(self, batch: &mut Batch) -> Made {
        for (map, keys) in &self.leaving {
            batch.delete_elements(TABLE, map, keys.iter().map(Vec::as_slice));
        }
        for (map, elements) in &self.coming {
            batch.add_elements(TABLE, map, elements);
        }
        self.made
    }
}

/// What holds the ports that somebody wants, or meets them: a port at one address meets the same port at any.
pub struct Around {
    found: BTreeMap<Key, Element>,
    at_one_address: BTreeMap<Key, Vec<Key>>,
}

impl Around {
    /// Looks at the maps. Who wants a port at any address has to know all that are at one: the kernel cannot choose them by
    /// the port.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(nft: &Nft, keys: &[&Key]) -> Answer<Around> {
        let mut around = Around { found: BTreeMap::new(), at_one_address: BTreeMap::new() };
        let spaces: BTreeSet<&Space> = keys.iter().map(|key| &key.space).collect();
        for space in spaces {
            let own: Vec<&Key> = keys.iter().filter(|key| key.space == *space).copied().collect();
            let exact: Vec<Key> =
                own.iter().filter(|key| key.host.is_some()).map(|&key| key.clone()).collect();
            let any = own.iter().map(|key| Key { host: None, ..(*key).clone() }).collect::<BTreeSet<_>>();
            around.some(nft, space, false, &any.into_iter().collect::<Vec<_>>())?;
            if exact.len() < own.len() {
                around.all(nft, space, true)?;
            } else {
                around.some(nft, space, true, &exact)?;
            }
        }
        for key in around.found.keys() {
            if let Some(anywhere) = key.anywhere() {
                around.at_one_address.entry(anywhere).or_default().push(key.clone());
            }
        }
        Ok(around)
    }

    fn some(&mut self, nft: &Nft, space: &Space, is_exact: bool, keys: &[Key]) -> Answer<()> {
        if keys.len() > MANY {
            return self.all(nft, space, is_exact);
        }
        for key in keys {
            let element = nft.element(TABLE, &key.map(), &key.bytes())?;
            self.found.extend(element.map(|element| (key.clone(), element)));
        }
        Ok(())
    }

    fn all(&mut self, nft: &Nft, space: &Space, is_exact: bool) -> Answer<()> {
        for element in nft.elements(TABLE, &layout::map_of(space, is_exact))? {
            if let Some(key) = Key::read(space, is_exact, &element.key) {
                self.found.insert(key, element);
            }
        }
        Ok(())
    }

    /// The element that has this very key.
    pub fn at(&self, key: &Key) -> Option<&Element> {
        self.found.get(key)
    }

    /// Everything that stands in the way of whoever wants this key.
    pub fn meeting<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = (&'a Key, &'a Element)> {
        let narrower = self.at_one_address.get(key).into_iter().flatten().cloned();
        let keys = [Some(key.clone()), key.anywhere()].into_iter().flatten().chain(narrower);
        keys.filter_map(|key| self.found.get_key_value(&key))
    }
}

/// The table, the maps, and the chains that never change. True if something of it was missing.
fn lay_the_frame(nft: &Nft, batch: &mut Batch, wanted: Option<u8>) -> Answer<bool> {
    if nft.table(TABLE)?.is_none() {
        batch.ensure_table(TABLE, Some(TABLE_COMMENT));
    }
    let bit = match wanted {
        Some(bit) => bit,
        // The node has one bit; who does not mind takes the one that is there.
        None => mark_bit(nft)?.unwrap_or(MARK_BIT),
    };
    let mut repairs = Vec::new();
    for (chain, rules) in layout::frame(bit) {
        // The conditions of networks are added to it one by one.
        let found = if chain.name == CONDITIONS { nft.chain(TABLE, CONDITIONS)? } else { None };
        let repair = match found {
            Some(_) => None,
            None => Repair::needed(nft, TABLE, &chain, &rules)?,
        };
        repairs.extend(repair.map(|repair| (repair, chain, rules)));
    }
    if repairs.is_empty() {
        return Ok(false);
    }
    let spaces = layout::shared_spaces();
    for map in spaces.iter().flat_map(layout::maps_of).chain(layout::ways()) {
        batch.ensure_set(TABLE, &map);
    }
    for (repair, chain, rules) in &repairs {
        repair.write(batch, TABLE, chain, rules);
    }
    Ok(true)
}

/// The bit of the connection's mark that the rules in the kernel use.
///
/// # Errors
/// What the kernel says.
pub fn mark_bit(nft: &Nft) -> Answer<Option<u8>> {
    let rules: Vec<_> = nft.rules(TABLE, PORTS)?.into_iter().map(|found| found.rule).collect();
    Ok(layout::mark_bit_of(&rules))
}

/// The maps and the chain of a space with a condition, and the jump to it.
fn lay_space(
    nft: &Nft,
    batch: &mut Batch,
    network: &NetworkName,
    space: &Space,
    condition: &[Expression],
) -> Answer<()> {
    let Some((jump, chain, rules)) = layout::conditional(space, condition, network) else { return Ok(()) };
    if let Some(repair) = Repair::needed(nft, TABLE, &chain, &rules)? {
        for map in layout::maps_of(space) {
            batch.ensure_set(TABLE, &map);
        }
        repair.write(batch, TABLE, &chain, &rules);
    }
    if !nft.rules(TABLE, CONDITIONS)?.iter().any(|found| found.rule == jump) {
        batch.append_rule(TABLE, CONDITIONS, &jump);
    }
    Ok(())
}

/// Has the kernel try what [`Claimant::ensure`] would write for this network, and forget it again.
///
/// # Errors
/// What the kernel cannot do.
pub fn rehearse(nft: &Nft, network: &NetworkName, conf: &Conf) -> Result<()> {
    let table = Table { name: "jackfield_rehearsal", ..TABLE };
    let mut batch = Batch::new();
    batch.ensure_table(table, Some(TABLE_COMMENT));
    let spaces = layout::shared_spaces();
    for map in spaces.iter().flat_map(layout::maps_of).chain(layout::ways()) {
        batch.ensure_set(table, &map);
    }
    for (chain, rules) in layout::frame(conf.mark_bit.unwrap_or(MARK_BIT)) {
        Repair::Make.write(&mut batch, table, &chain, &rules);
    }
    for (space, condition) in spaces.iter().zip(conf.conditions()) {
        let Some(condition) = condition else { continue };
        let space = Space::of(network, space.family(), Some(&condition.text));
        for map in layout::maps_of(&space) {
            batch.ensure_set(table, &map);
        }
        if let Some((jump, chain, rules)) = layout::conditional(&space, &condition.steps, network) {
            Repair::Make.write(&mut batch, table, &chain, &rules);
            batch.append_rule(table, CONDITIONS, &jump);
        }
    }
    let subnets = [IpAddr::from([127, 0, 0, 0]), IpAddr::from([0_u16; 8])];
    for subnet in subnets {
        let way = Way { subnet: subnet.into(), loopback_by: None, snat: conf.snat };
        Repair::Make.write(&mut batch, table, &way.chain(network), &way.rules());
    }
    nft.rehearse(&batch).doing(|| "try the rules".into())
}
