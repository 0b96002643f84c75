//! Elements leave the maps, and with the last of them what they needed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cni::call::Owner;
use cni::error::{OrFail, Result};
use cni::log;
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::object::{Chain, Element};

use crate::attachment::mark::Mark;
use crate::attachment::record;
use crate::attachment::ruleset::{self, TABLE, is_of, mark};
use crate::portmap::claim::{self, Around, map_of};
use crate::portmap::holder::{self, Line};
use crate::portmap::key::{self, Key, Space};
use crate::portmap::layout::{self, CHAINS, CONDITIONS, WAY, WAYS};
use crate::portmap::{PLUGIN, loopback};

/// So many elements leave in one change: a key is short, but the element of an heir is not.
const AT_ONCE: usize = 8000;

/// An element, and the map that it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The map.
    pub map: String,
    /// The element.
    pub element: Element,
}

impl Held {
    /// The port, and where it leads to; `None` if the element is none of a port.
    pub fn port(&self) -> Option<(Key, SocketAddr)> {
        let (space, is_exact) = layout::space_of(&self.map)?;
        let key = Key::read(&space, is_exact, &self.element.key)?;
        Some((key, key::read_target(&self.element, space.v6)?))
    }
}

/// Removes the owner's own elements among these; those that are not there, or another's by now, are removed. Returns the
/// ports that led somewhere until now.
///
/// # Errors
/// What the kernel says.
pub fn remove(nft: &Nft, owner: &Owner, keys: &[Key], addresses: &[IpAddr]) -> Result<Vec<Held>> {
    let _step = log::step("rules");
    let keys: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
    depart(nft, |nft| {
        let around = Around::look(nft, &keys)?;
        let own = |key: &&&Key| around.at(key).is_some_and(|found| is_of(found, owner));
        let held = |key: &&Key| Some(Held { map: key.map(), element: around.at(key)?.clone() });
        let mut leaving: Vec<Held> = keys.iter().filter(own).filter_map(held).collect();
        for address in addresses.iter().collect::<BTreeSet<_>>() {
            let map = map_of(*address);
            let found = nft.element(TABLE, map, &Part::Address(*address).bytes())?;
            let own = found.filter(|found| is_of(found, owner));
            leaving.extend(own.map(|element| Held { map: map.to_owned(), element }));
        }
        Ok(leaving)
    })
    .doing(|| "failed to take published ports back".into())
}

/// The addresses to which those of these ports lead that are the owner's.
///
/// # Errors
/// What the kernel says.
pub fn led_to(nft: &Nft, owner: &Owner, keys: &[Key]) -> Answer<Vec<IpAddr>> {
    let around = Around::look(nft, &keys.iter().collect::<Vec<_>>())?;
    let own = |key: &Key| {
        let found = around.at(key).filter(|found| is_of(found, owner))?;
        key::read_target(found, key.space.v6).map(|to| to.ip())
    };
    Ok(keys.iter().filter_map(own).collect::<BTreeSet<_>>().into_iter().collect())
}

/// Removes every element whose owner is stale. For GC; and for a DEL that knows nothing, which looks at all elements for its
/// own.
///
/// # Errors
/// What the kernel says.
pub fn sweep(nft: &Nft, is_stale: impl Fn(&Mark) -> bool) -> Result<Vec<Held>> {
    let _step = log::step("rules");
    let stale = |held: &Held| mark(&held.element).is_some_and(|mark| is_stale(&mark));
    depart(nft, |nft| Ok(everything(nft)?.into_iter().filter(stale).collect()))
        .doing(|| "failed to take the ports back of what is gone".into())
}

/// Every element of ours, of ports and of addresses.
///
/// # Errors
/// What the kernel says.
pub fn everything(nft: &Nft) -> Answer<Vec<Held>> {
    let mut all = Vec::new();
    for map in maps(nft)? {
        let elements = nft.elements(TABLE, &map)?.into_iter();
        all.extend(elements.map(|element| Held { map: map.clone(), element }));
    }
    Ok(all)
}

/// Our maps, of those that are there: the spaces with conditions are known by their chains.
fn maps(nft: &Nft) -> Answer<Vec<String>> {
    let mut maps: Vec<String> = WAYS.map(|(_, map, _)| map.to_owned()).into();
    maps.extend(layout::shared_spaces().iter().flat_map(names_of));
    let chains: Vec<Chain> = nft.chains(TABLE)?.into_iter().map(|found| found.chain).collect();
    maps.extend(conditional_spaces(&chains).iter().flat_map(names_of));
    Ok(maps)
}

fn names_of(space: &Space) -> [String; 2] {
    [true, false].map(|is_exact| layout::map_of(space, is_exact))
}

/// Lets elements go, as many at once as fit. What was seen and what is done belong to one state of the ruleset.
fn depart(nft: &Nft, select: impl Fn(&Nft) -> Answer<Vec<Held>>) -> Answer<Vec<Held>> {
    let mut gone = Vec::new();
    loop {
        let (mut leaving, mut is_last) = (Vec::new(), true);
        let loopbacks = RefCell::new(BTreeSet::new());
        nft.settle(|| {
            leaving = select(nft)?;
            // The addresses leave last: by them it is known what else may go.
            leaving.sort_by_key(|held| held.map.starts_with(WAY));
            let most = if inherit(&leaving).is_empty() { AT_ONCE } else { claim::AT_ONCE };
            is_last = leaving.len() <= most;
            leaving.truncate(most);
            release(nft, &leaving, &mut loopbacks.borrow_mut())
        })?;
        gone.append(&mut leaving);
        if is_last {
            return Ok(gone);
        }
    }
}

/// Deletes elements, the chains that nothing leads to any more, and with the last of them everything.
///
/// `loopbacks` are the links on which an earlier attempt has ended that 127.0.0.0/8 is a source like any other.
fn release(nft: &Nft, leaving: &[Held], loopbacks: &mut BTreeSet<String>) -> Answer<Batch> {
    let mut batch = Batch::new();
    let maps: BTreeSet<&str> = leaving.iter().map(|held| held.map.as_str()).collect();
    for map in &maps {
        let of_map = leaving.iter().filter(|held| held.map == *map);
        batch.delete_elements(TABLE, map, of_map.map(|held| held.element.key.as_slice()));
    }
    let heirlooms = inherit(leaving);
    for (map, elements) in &heirlooms {
        batch.add_elements(TABLE, map, elements);
    }
    let unused = ruleset::unused(nft, WAY, leaving.iter().map(|held| &held.element))?;
    if unused.is_empty() && loopbacks.is_empty() {
        return Ok(batch);
    }
    let chains: Vec<Chain> = nft.chains(TABLE)?.into_iter().map(|found| found.chain).collect();
    let ways = chains.iter().filter(|chain| chain.name.starts_with(WAY));
    let (going, staying): (Vec<_>, Vec<_>) = ways.partition(|chain| unused.contains(chain.name.as_str()));
    loopback::leave(&going, &staying, loopbacks)?;
    if unused.is_empty() {
        return Ok(batch);
    }
    let mut gone: Vec<&str> = unused.into_iter().collect();
    let mut sets = Vec::new();
    let spaces = match staying.is_empty() && heirlooms.is_empty() && is_all(nft, leaving)? {
        true => {
            let is_there = |name: &&str| chains.iter().any(|chain| chain.name == **name);
            gone.extend(CHAINS.into_iter().filter(is_there));
            sets.extend(WAYS.map(|(_, map, _)| map.to_owned()));
            sets.extend(layout::shared_spaces().iter().flat_map(names_of));
            conditional_spaces(&chains)
        }
        false => empty_spaces(nft, &mut batch, &maps, leaving)?,
    };
    sets.extend(spaces.iter().flat_map(names_of));
    let conditional: BTreeSet<String> = spaces.iter().filter_map(layout::chain_of).collect();
    gone.extend(conditional.iter().map(String::as_str));
    let mut there = Vec::new();
    for set in &sets {
        there.extend(nft.set(TABLE, set)?.map(|_| set.as_str()));
    }
    ruleset::take_away(nft, batch, &gone, &there)
}

/// Whether nothing but this is in the maps of ports.
fn is_all(nft: &Nft, leaving: &[Held]) -> Answer<bool> {
    let ports = everything(nft)?;
    let stays = |held: &&Held| !WAYS.iter().any(|(_, map, _)| *map == held.map) && !leaving.contains(held);
    Ok(ports.iter().find(stays).is_none())
}

/// The spaces whose chains these are, in both families: the name does not tell.
pub fn conditional_spaces(chains: &[Chain]) -> Vec<Space> {
    let hashes = chains.iter().filter_map(|chain| layout::condition_of(&chain.name));
    hashes.flat_map(|hash| [false, true].map(|v6| Space { v6, condition: Some(hash.to_owned()) })).collect()
}

/// The spaces with conditions that these elements leave empty. Nothing leads there any more.
fn empty_spaces(nft: &Nft, batch: &mut Batch, maps: &BTreeSet<&str>, leaving: &[Held]) -> Answer<Vec<Space>> {
    let spaces = maps.iter().filter_map(|map| layout::space_of(map)).map(|(space, _)| space);
    let spaces: BTreeSet<Space> = spaces.filter(|space| space.condition.is_some()).collect();
    let mut empty = Vec::new();
    for space in spaces {
        let mut stays = false;
        for map in names_of(&space) {
            let elements = nft.elements(TABLE, &map)?;
            stays |=
                elements.into_iter().any(|element| !leaving.contains(&Held { map: map.clone(), element }));
        }
        if stays {
            continue;
        }
        let chain = layout::chain_of(&space);
        for found in nft.rules(TABLE, CONDITIONS)? {
            if layout::leads_to(&found.rule) == chain.as_deref() {
                batch.delete_rule(TABLE, CONDITIONS, found.handle);
            }
        }
        empty.push(space);
    }
    Ok(empty)
}

/// What another attachment of the same container gets of what leaves: the same port, at its own address.
fn inherit(leaving: &[Held]) -> BTreeMap<String, Vec<Element>> {
    let mut heirs: BTreeMap<Owner, Vec<Heir>> = BTreeMap::new();
    let mut heirlooms: BTreeMap<String, Vec<Element>> = BTreeMap::new();
    for held in leaving {
        let (Some(mark), Some((key, to))) = (mark(&held.element), held.port()) else { continue };
        let heirs = heirs.entry(mark.owner().clone()).or_insert_with(|| Heir::all(mark.owner()));
        let address = |heir: &Heir| heir.addresses.iter().copied().find(|it| it.is_ipv4() == to.is_ipv4());
        let heir = heirs
            .iter()
            .filter(|heir| heir.keys.contains(&key))
            .find_map(|heir| Some((heir, address(heir)?)));
        if let Some((heir, address)) = heir {
            heirlooms.entry(held.map.clone()).or_default().push(Element {
                key: held.element.key.clone(),
                target: key::target(SocketAddr::new(address, to.port())),
                comment: Some(heir.comment.clone()),
            });
        }
    }
    heirlooms
}

/// Another attachment of a container, which has its own claim to ports.
struct Heir {
    keys: BTreeSet<Key>,
    addresses: Vec<IpAddr>,
    comment: String,
}

impl Heir {
    /// Who can be read. A port that goes on leading to an address that may be anybody's tomorrow is worse than one that an heir
    /// gets by his next ADD.
    fn all(owner: &Owner) -> Vec<Heir> {
        let read = |heir: Owner| {
            let written = record::written::<Line>(PLUGIN, &heir).ok()??;
            let claims = holder::claims(&written.lines)?;
            Some(Heir {
                keys: claims.keys().into_iter().collect(),
                addresses: claims.addresses.clone(),
                comment: Mark::of(&written.attachment).alias(&written.attachment),
            })
        };
        holder::heirs(owner).unwrap_or_default().into_iter().filter_map(read).collect()
    }
}
