//! Who else has the ports that somebody wants, where iptables is in play: a port belongs to one container, whoever keeps its
//! rules.
//!
//! nftables sees to it by one state of its ruleset. Rules of iptables tell nobody, so their owners' records do; and while one
//! of them looks around, nobody claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cni::call::Attachment;
use cni::error::{OrFail, Result};
use linux::nft::Nft;
use linux::rtnl::Rtnl;

use super::end;
use crate::attachment::ruleset::TABLE;
use crate::attachment::{published, record, ruleset};
use crate::portmap::PLUGIN;
use crate::portmap::claim::{self, Around};
use crate::portmap::conf::Protocol;
use crate::portmap::holder::{self, Holders, Line, Standing};
use crate::portmap::key::{Key, Space};
use crate::portmap::release::{self, conditional_spaces};

/// Makes sure of the ports for nftables: none is one that somebody has by iptables and lives. What one has who is gone is
/// removed.
///
/// # Errors
/// A living container has one of the ports, and the error names it; what the kernel or the program says.
pub fn before_nftables(host: &Rtnl, nft: &Nft, attachment: &Attachment, keys: &[Key]) -> Result<()> {
    by_iptables(host, Some(nft), attachment, keys, |wanted, held| {
        // The rules of iptables come first, so a condition of nftables makes no difference to them.
        held.condition.is_none() || wanted == held
    })
}

/// Makes sure of the ports for iptables: none is one that somebody has, by either, and lives. What one has who is gone is
/// removed.
///
/// # Errors
/// A living container has one of the ports, and the error names it; what the kernel or the program says.
pub fn before_iptables(
    host: &Rtnl,
    nft: Option<&Nft>,
    attachment: &Attachment,
    ports: &[(Key, SocketAddr)],
) -> Result<()> {
    let keys: Vec<Key> = ports.iter().map(|(key, _)| key.clone()).collect();
    by_iptables(host, nft, attachment, &keys, |wanted, held| wanted == held)?;
    nft.map_or(Ok(()), |nft| by_nftables(host, nft, attachment, &keys))
}

/// Which keys are about the same port of the same family, whatever the address and the condition.
type Alike = (bool, Protocol, u16);

fn by_iptables(
    host: &Rtnl,
    nft: Option<&Nft>,
    attachment: &Attachment,
    keys: &[Key],
    is_one_space: impl Fn(&Space, &Space) -> bool,
) -> Result<()> {
    let others: Vec<_> = published::all()?.into_iter().filter(|owner| *owner != attachment.owner()).collect();
    if others.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeMap<Alike, Vec<&Key>> = BTreeMap::new();
    for key in keys {
        wanted.entry((key.space.v6, key.protocol, key.port)).or_default().push(key);
    }
    let meets = |wanted: &Key, held: &Key| {
        let is_one_place = wanted.host.is_none() || held.host.is_none() || wanted.host == held.host;
        is_one_place && is_one_space(&wanted.space, &held.space)
    };
    for owner in others {
        let Some(written) = record::written::<Line>(PLUGIN, &owner)? else { continue };
        let whose = &written.attachment;
        let theirs = holder::published(&written.lines);
        let ports: Vec<_> = theirs.iter().flat_map(|theirs| theirs.ports(whose)).collect();
        let conflict = ports.iter().find_map(|(held, _)| {
            let alike = wanted.get(&(held.space.v6, held.protocol, held.port)).into_iter().flatten();
            alike.copied().find(|wanted| meets(wanted, held)).map(|wanted| (wanted, held))
        });
        let Some((wanted, held)) = conflict else { continue };
        let standing = holder::standing(host, &owner, attachment);
        match standing.doing(|| format!("look up {whose}"))? {
            Standing::Living => return Err(claim::conflict(wanted, held, &whose.to_string())),
            Standing::Gone => end(nft, whose, &theirs)?,
            // The rules of a container's networks stand one behind the other.
            Standing::Same | Standing::Sibling => {}
        }
    }
    Ok(())
}

fn by_nftables(host: &Rtnl, nft: &Nft, attachment: &Attachment, keys: &[Key]) -> Result<()> {
    let doing = || format!("look up who has the ports of {attachment}");
    let unconditional: Vec<&Key> = keys.iter().filter(|key| key.space.condition.is_none()).collect();
    if unconditional.is_empty() || nft.table(TABLE).doing(doing)?.is_none() {
        return Ok(());
    }
    let chains: Vec<_> = nft.chains(TABLE).doing(doing)?.into_iter().map(|found| found.chain).collect();
    // The rules of iptables come first, so those of networks with conditions would not be asked any more.
    let mut wanted: Vec<Key> = unconditional.iter().map(|key| (*key).clone()).collect();
    for space in conditional_spaces(&chains) {
        let of_family = unconditional.iter().filter(|key| key.space.v6 == space.v6);
        wanted.extend(of_family.map(|key| Key { space: space.clone(), ..(*key).clone() }));
    }
    let around = Around::look(nft, &wanted.iter().collect::<Vec<_>>()).doing(doing)?;
    let holders = Holders::new(host);
    let mut gone = BTreeMap::new();
    for key in &wanted {
        for (held, element) in around.meeting(key) {
            match holders.standing(element, attachment).doing(doing)? {
                Standing::Living => return Err(claim::conflict(key, held, &holder::name(element))),
                Standing::Gone => {
                    let owner = ruleset::mark(element).map(|mark| mark.owner().clone());
                    gone.entry(owner).or_insert_with(BTreeSet::new).insert(held.clone());
                }
                Standing::Same | Standing::Sibling => {}
            }
        }
    }
    for (owner, keys) in gone {
        let Some(owner) = owner else { continue };
        let nowhere: [IpAddr; 0] = [];
        release::remove(nft, &owner, &keys.into_iter().collect::<Vec<_>>(), &nowhere)?;
    }
    Ok(())
}
