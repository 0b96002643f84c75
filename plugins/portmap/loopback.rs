//! 127.0.0.1 as a way to a container. The kernel takes no packet for 127.0.0.0/8 from a link, unless the link's
//! `route_localnet` says so; and the answers of a container to somebody on 127.0.0.1 come by a link.
//!
//! So it is set, on the one link that leads to the container. Whoever sends packets for 127.0.0.0/8 from outside, or from
//! the container, still finds them dropped: by the chain `localnet1` of our table, which is there as long as we have it set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Error, OrFail, Result};
use linux::error::{Error as Unread, Result as Answer};
use linux::nft::Nft;
use linux::nft::object::Chain;
use linux::rtnl::Rtnl;

use crate::attachment::ruleset::TABLE;
use crate::attachment::{localnet, published};
use crate::portmap::layout::{GUARD, WAY, Way};

/// The link that leads to a container; `None` if none does.
///
/// # Errors
/// What the kernel says.
pub fn link_towards(host: &Rtnl, container: IpAddr) -> Result<Option<String>> {
    let doing = || format!("look up the link that leads to {container}");
    let Some(index) = host.link_towards(container).doing(doing)? else { return Ok(None) };
    Ok(host.link_by_index(index).doing(doing)?.map(|link| link.name))
}

/// Lets 127.0.0.0/8 be a source like any other on this link.
///
/// # Errors
/// What the kernel says.
pub fn allow(link: &str) -> Result<()> {
    localnet::allow(link).doing(|| "unable to enable route_localnet".into())
}

/// Whether it may be, on the link that leads to this container.
///
/// # Errors
/// It may not; what the kernel says.
pub fn check(attachment: &Attachment, link: &str) -> Result<()> {
    match localnet::is_allowed(link).doing(|| "look at route_localnet".into())? {
        true => Ok(()),
        false => {
            let text = format!("127.0.0.1 does not lead to {attachment}: route_localnet of {link} is 0");
            Err(Error::internal(text))
        }
    }
}

/// Ends it on the links that only these chains need, before their chain and with it ours that drops packets may go. A
/// link is `ended` from then on; if an ADD overtakes us and needs it, it is begun again.
///
/// # Errors
/// What the kernel says; a link that is gone needs nothing.
pub fn leave(going: &[&Chain], staying: &[&Chain], ended: &mut BTreeSet<String>) -> Answer<()> {
    let mut needed = links(staying);
    needed.extend(published::links().map_err(|error| Unread::plain("look up the other ports", error.msg()))?);
    for link in ended.iter().filter(|link| needed.contains(*link)) {
        unless_it_is_gone(localnet::allow(link))?;
    }
    ended.retain(|link| !needed.contains(link));
    for link in links(going).difference(&needed) {
        unless_it_is_gone(localnet::forbid(link))?;
        ended.insert(link.clone());
    }
    Ok(())
}

/// Ends it everywhere, if the chain is gone that drops packets: somebody has flushed all rules, and nobody has come since who
/// would have restored it.
///
/// # Errors
/// What the kernel says.
pub fn end_unguarded(nft: &Nft) -> Result<()> {
    let doing = || "set route_localnet back".to_owned();
    if nft.chain(TABLE, GUARD).doing(doing)?.is_some() {
        return Ok(());
    }
    let needed = published::links()?;
    let mut links = localnet::ours()?.into_iter().filter(|link| !needed.contains(link));
    links.try_for_each(|link| unless_it_is_gone(localnet::forbid(&link))).doing(doing)
}

/// The links on which our own table needs it.
///
/// # Errors
/// What the kernel says.
pub fn needed(nft: &Nft) -> Result<BTreeSet<String>> {
    let chains = nft.chains(TABLE).doing(|| "look up the chains of published ports".into())?;
    let chains: Vec<Chain> = chains.into_iter().map(|found| found.chain).collect();
    let ways = chains.iter().filter(|chain| chain.name.starts_with(WAY));
    Ok(links(&ways.collect::<Vec<_>>()))
}

/// The links of these chains.
fn links(chains: &[&Chain]) -> BTreeSet<String> {
    chains.iter().filter_map(|chain| Way::read(chain)?.loopback_by).collect()
}

fn unless_it_is_gone(outcome: Answer<()>) -> Answer<()> {
    match outcome {
        Err(error) if error.is_absent() => Ok(()),
        outcome => outcome,
    }
}
