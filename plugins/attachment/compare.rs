//! CHECK: the kernel against the result of ADD. Nothing is changed.
//!
//! The result is that of the whole list: a later plugin may have changed a MAC or an MTU and said so there. What is in
//! the namespace beside it is not ours to judge.

use std::net::IpAddr;

use cni::call::Check;
use cni::error::{Error, OrFail, Result};
use cni::result::{Interface, Ip, Route, Success};
use linux::address::Family;
use linux::link::Link;
use linux::netns::NetNs;
use linux::route::{self, RouteFilter};
use linux::rtnl::Rtnl;

use crate::attachment::container_end::{KernelRoute, resolve};
use crate::attachment::forwarding;
use crate::attachment::host_end::{self, converse, open_netns};
use crate::attachment::masquerade::{self, Backend};

/// The kernel keeps no larger ones for a route, whatever it was told (net/ipv4/metrics.c).
const MOST_MTU: u32 = 65535 - 15;
const MOST_ADVMSS: u32 = 65535 - 40;

/// The container's side of an attachment, as the kernel has it.
pub struct Container {
    /// A conversation about its namespace.
    pub rtnl: Rtnl,
    /// The container end.
    pub link: Link,
    /// Where it is.
    netns: NetNs,
    /// Its place in the result's `interfaces`.
    position: usize,
}

/// Finds the container end and compares it with the result.
///
/// # Errors
/// The first difference.
pub fn container_end(check: &Check) -> Result<Container> {
    let netns = open_netns(&check.netns)?;
    let ifname = check.attachment.ifname.as_str();
    let (position, said) = entry(check, &netns)?;
    let rtnl = converse(&netns)?;
    let link = rtnl
        .link_by_name(ifname)
        .doing(|| format!("look up {ifname}"))?
        .ok_or_else(|| Error::internal(format!("Interface name {ifname} not found")))?;
    if !link.is_kind("veth") {
        return Err(Error::internal(format!("Error: Container interface {ifname} not of type veth")));
    }
    same_link(said, &link)?;
    Ok(Container { rtnl, link, netns, position })
}

/// The result's entry for the container end. Two paths to one namespace are one sandbox.
fn entry<'a>(check: &'a Check, netns: &NetNs) -> Result<(usize, &'a Interface)> {
    let ifname = check.attachment.ifname.as_str();
    let named = |(_, it): &(usize, &Interface)| it.name == ifname && it.sandbox.is_some();
    let Some((position, said)) = check.prev.interfaces.iter().enumerate().find(named) else {
        return Err(Error::internal(format!("CNI created interface in container {ifname} not found")));
    };
    let sandbox = said.sandbox.as_deref().unwrap_or_default();
    let configured = check.netns.display().to_string();
    let same = sandbox == configured || NetNs::open(sandbox.as_ref()).is_ok_and(|it| it.is_same(netns));
    if !same {
        let text = format!("Sandbox in prevResult {sandbox} doesn't match configured netns: {configured}");
        return Err(Error::internal(text));
    }
    Ok((position, said))
}

/// A link against its entry: what the result does not say may be anything.
///
/// # Errors
/// The MAC or the MTU is another.
pub fn same_link(said: &Interface, link: &Link) -> Result<()> {
    let (name, mac) = (&said.name, link.mac.map(|mac| mac.to_string()).unwrap_or_default());
    if let Some(said) = said.mac.as_ref().filter(|said| !said.eq_ignore_ascii_case(&mac)) {
        return Err(Error::internal(format!(
            "Interface {name} Mac doesn't match: the result has {said}, it is {mac}"
        )));
    }
    match said.mtu.filter(|said| *said != 0 && *said != link.mtu) {
        Some(said) => {
            let text =
                format!("Interface {name} MTU doesn't match: the result has {said}, it is {}", link.mtu);
            Err(Error::internal(text))
        }
        None => Ok(()),
    }
}

/// Finds the host end, and compares it with the result.
///
/// # Errors
/// The first difference.
pub fn host_end(host: &Rtnl, check: &Check, container: &Container) -> Result<Link> {
    let ifname = &check.attachment.ifname;
    let Container { link: inner, netns, .. } = container;
    let found = match host_end::find(host, &check.attachment)? {
        Some(ours) => host_end::is_other_end(host, &ours, inner, netns)?.then_some(ours),
        None => host_end::other_end(host, inner, netns)?,
    };
    let link = found.ok_or_else(|| Error::internal(format!("the host end of {ifname} was not found")))?;
    if !link.up {
        return Err(Error::internal(format!("Interface {} is down", link.name)));
    }
    match named_on_host(&check.prev, &link.name) {
        Some(said) => same_link(said, &link).map(|()| link),
        None => Ok(link),
    }
}

/// The result's entry for a link of the host.
pub fn named_on_host<'a>(result: &'a Success, name: &str) -> Option<&'a Interface> {
    result.interfaces.iter().find(|it| it.name == name && it.sandbox.is_none())
}

impl Container {
    /// The container end is up.
    ///
    /// # Errors
    /// It is down.
    pub fn is_up(&self) -> Result<()> {
        match self.link.up {
            true => Ok(()),
            false => Err(Error::internal(format!("Interface {} is down", self.link.name))),
        }
    }

    /// The addresses that the result gives to this link; one without an index is taken for this link's.
    pub fn ips<'a>(&self, check: &'a Check) -> impl Iterator<Item = &'a Ip> {
        let position = i64::try_from(self.position).ok();
        check.prev.ips.iter().filter(move |ip| ip.interface.is_none() || ip.interface == position)
    }

    /// Every address of the result is on the link.
    ///
    /// # Errors
    /// The first that is not.
    pub fn has_addresses(&self, check: &Check) -> Result<()> {
        let name = &self.link.name;
        let present =
            self.rtnl.addresses_of(self.link.index).doing(|| format!("list the addresses of {name}"))?;
        match self.ips(check).find(|ip| !present.iter().any(|it| it.net == ip.address)) {
            Some(ip) => {
                Err(Error::internal(format!("Failed to match addr {} on interface {name}", ip.address)))
            }
            None => Ok(()),
        }
    }

    /// What the link sends from its addresses is masqueraded, where the configuration wants it. A pair that the Go plugin made
    /// has its rules.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn is_masqueraded(&self, check: &Check, host_end: &Link, by: Option<Backend>) -> Result<()> {
        let addresses: Vec<_> = self.ips(check).map(|ip| ip.address).collect();
        let Err(missing) = by.map_or(Ok(()), |backend| backend.check(check, &addresses)) else {
            return Ok(());
        };
        let by_others =
            || masquerade::is_done_by_others(&check.attachment, &addresses).is_ok_and(|is_done| is_done);
        if !host_end::is_ours(host_end) && by_others() { Ok(()) } else { Err(missing) }
    }

    /// The routes are there that lead from each address into its network. No result has them, so a later plugin may have
    /// moved them to a table of its own.
    ///
    /// # Errors
    /// The first that is not.
    pub fn has_ways(&self, check: &Check, ways: impl Fn(&Ip) -> Result<Vec<KernelRoute>>) -> Result<()> {
        let name = &self.link.name;
        for ip in self.ips(check) {
            let family = Family::of(ip.address.ip());
            let filter = RouteFilter { family, table: None, oif: Some(self.link.index) };
            let present = self.rtnl.routes(filter).doing(|| format!("list the routes of {name}"))?;
            let is_there = |way: &KernelRoute| {
                present.iter().any(|it| (it.dst, it.gateway) == (way.route.dst, way.gateway))
            };
            if let Some(missing) = ways(ip)?.iter().find(|way| !is_there(way)) {
                let gateway = ip.gateway.map_or("<nil>".into(), |gateway| gateway.to_string());
                let via = missing.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                return Err(Error::internal(format!(
                    "Failed to find Gateway {gateway} for interface {name}: no route {}{via}",
                    missing.route.dst
                )));
            }
        }
        Ok(())
    }

    /// The host forwards for the families in which it is the link's gateway.
    ///
    /// # Errors
    /// It does not.
    pub fn is_forwarded(&self, check: &Check) -> Result<()> {
        let led = self.ips(check).filter(|ip| ip.gateway.is_some());
        forwarding::check(&led.map(|ip| ip.address).collect::<Vec<_>>())
    }

    /// Every route of the result is there, in its table.
    ///
    /// # Errors
    /// The first that is not.
    pub fn has_routes(&self, check: &Check) -> Result<()> {
        for KernelRoute { route: said, gateway, .. } in resolve(&check.prev.routes, &check.prev.ips) {
            let family = Family::of(said.dst.ip());
            let table = said.table.filter(|table| *table != 0).unwrap_or(route::MAIN);
            let filter = RouteFilter { family, table: Some(table), oif: None };
            let present = self.rtnl.routes(filter).doing(|| format!("list the routes of table {table}"))?;
            // Which of several gateways of a family a route without one went by, only its plugin knew.
            let may_go_by = |hop: Option<IpAddr>| {
                hop == gateway || said.gw.is_none() && check.prev.ips.iter().any(|ip| ip.gateway == hop)
            };
            if !present.iter().any(|it| may_go_by(it.gateway) && fits(&said, it)) {
                let via = gateway.map(|gw| format!(" via {gw}")).unwrap_or_default();
                let text = format!("Expected Route {}{via} not found in routing table {table}", said.dst);
                return Err(Error::internal(text));
            }
        }
        Ok(())
    }
}

/// What the result says of a route, the kernel's has too.
fn fits(said: &Route, present: &route::Route) -> bool {
    fn agrees<T: PartialEq>(said: Option<T>, present: Option<T>) -> bool {
        said.is_none() || said == present
    }
    said.dst.network() == present.dst.network()
        && said.dst.prefix() == present.dst.prefix()
        && agrees(said.priority.filter(|metric| *metric != 0), present.priority)
        && agrees(said.mtu.filter(|mtu| *mtu != 0).map(|mtu| mtu.min(MOST_MTU)), present.mtu)
        && agrees(said.advmss.filter(|mss| *mss != 0).map(|mss| mss.min(MOST_ADVMSS)), present.advmss)
}
