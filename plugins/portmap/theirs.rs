//! What the Go plugin has published for a container that lives: CHECK looks for it where nothing of ours is.

use std::net::{IpAddr, Ipv4Addr};

use cni::call::Check;
use cni::error::{OrFail, Result};
use linux::nft::phrase::family_of;
use linux::nft::{Family, Nft};
use linux::rtnl::Rtnl;

use crate::attachment::inherited::present::{self, Port, Publishing};
use crate::attachment::ruleset;
use crate::portmap::conf::{By, Conf, Snat};
use crate::portmap::plan::{Plan, plan};
use crate::portmap::{iptables, loopback};

/// Are the ports that this configuration wants published by the Go plugin? By which of its backends nobody has to say.
///
/// # Errors
/// What the kernel says.
pub fn are_published(check: &Check, conf: &Conf) -> Result<bool> {
    let nft = ruleset::open_if_any()?;
    if let Some(nft) = &nft
        && are_published_by_nftables(nft, check, conf)?
    {
        return Ok(true);
    }
    Ok(conf.by == By::Either && iptables::check_others(nft.as_ref(), check, conf).is_ok())
}

fn are_published_by_nftables(nft: &Nft, check: &Check, conf: &Conf) -> Result<bool> {
    let plan = plan(conf, &check.attachment, &check.prev);
    // What `masqAll` asks for, that backend passes over.
    if conf.snat == Snat::All {
        return Ok(false);
    }
    for (family, condition) in [Family::Ipv4, Family::Ipv6].into_iter().zip(conf.conditions()) {
        let ports = ports(&plan, family);
        let masqueraded = if conf.snat == Snat::Local { masqueraded(&plan, family) } else { Vec::new() };
        let condition = condition.map(|condition| condition.steps.as_slice()).unwrap_or_default();
        let publishing = Publishing { ports: &ports, masqueraded: &masqueraded, condition };
        if !ports.is_empty() && !present::publishes(nft, &check.attachment, family, publishing)? {
            return Ok(false);
        }
    }
    leads_from_loopback(check, &plan)
}

fn ports(plan: &Plan, family: Family) -> Vec<Port> {
    let of_family = plan.ports.iter().filter(|(key, _)| key.space.family() == family);
    let port = |(key, to): &(crate::portmap::key::Key, _)| Port {
        host: key.host,
        protocol: key.protocol as u8,
        port: key.port,
        to: *to,
    };
    of_family.map(port).collect()
}

/// What a container sends to itself by its port, and what the host does from 127.0.0.1.
fn masqueraded(plan: &Plan, family: Family) -> Vec<[IpAddr; 2]> {
    let addresses = plan.addresses.iter().map(|address| address.ip());
    let of_family = addresses.filter(|address| family_of(*address) == family);
    let sources = |to: IpAddr| {
        let loopback = (family == Family::Ipv4).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        [Some(to), loopback].into_iter().flatten().map(move |from| [from, to])
    };
    of_family.flat_map(sources).collect()
}

/// Is 127.0.0.1 a way to the container, where a port is to be met there?
fn leads_from_loopback(check: &Check, plan: &Plan) -> Result<bool> {
    let container = plan.addresses.iter().map(|address| address.ip()).find(|address| address.is_ipv4());
    let Some(container) = container.filter(|_| plan.by_loopback) else { return Ok(true) };
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let link = loopback::link_towards(&host, container)?;
    Ok(link.is_none_or(|link| loopback::check(&check.attachment, &link).is_ok()))
}
