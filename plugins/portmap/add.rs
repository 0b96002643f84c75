//! ADD: each step is one deed with one undo.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use cni::attach::{Attached, Trail, attach};
use cni::call::Add;
use cni::error::{Error, OrFail, Result};
use cni::log;
use cni::name::NetworkName;
use cni::result::Success;
use ipnetwork::IpNetwork;
use linux::nft::Nft;
use linux::rtnl::Rtnl;

use crate::attachment::life::Life;
use crate::attachment::published;
use crate::attachment::record::claim::Claim;
use crate::attachment::record::lines::Lines;
use crate::attachment::record::{self, Written};
use crate::portmap::claim::{self, AT_ONCE, Claimant, Made};
use crate::portmap::conf::{By, Conf, Raw, Snat, Words};
use crate::portmap::holder::{self, Claims, Line};
use crate::portmap::iptables::{self, rivals};
use crate::portmap::key::{Key, Range};
use crate::portmap::layout::Way;
use crate::portmap::plan::{Plan, plan, subnet};
use crate::portmap::{PLUGIN, flows, loopback, open, release};

/// Publishes the ports, and passes on what the plugins before us have answered.
///
/// # Errors
/// Any; nothing of this call is left then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let conf = Conf::meant(raw)?;
    let Some(prev) = add.prev.clone() else {
        return Err(Error::config("must be called as chained plugin")
            .details("there is no prevResult, so nobody has attached the container"));
    };
    if conf.mappings.is_empty() {
        return attach(|_| Ok(prev));
    }
    match &conf.by {
        By::Iptables(words) => iptables::add(add, &conf, words, prev),
        By::Nftables(_) => by_nftables(add, &conf, prev),
        By::Either => {
            let error = match by_nftables(add, &conf, prev.clone()) {
                Err(error) if !is_usable(&add.call.network, &conf) => error,
                outcome => return outcome,
            };
            iptables::add(add, &conf, &Words::default(), prev)
                .map_err(|other| other.details(format!("by nftables: {}", error.msg())))
        }
    }
}

/// Whether nf_tables can do it.
fn is_usable(network: &NetworkName, conf: &Conf) -> bool {
    open().and_then(|nft| claim::rehearse(&nft, network, conf)).is_ok()
}

fn by_nftables(add: &Add, conf: &Conf, prev: Success) -> Result<Attached> {
    let plan = plan(conf, &add.attachment, &prev);
    if plan.is_empty() {
        return attach(|_| Ok(prev));
    }
    let nft = Rc::new(open()?);
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let ways = ways(&host, &plan)?;
    let life = Life::of(&host, add)?;
    attach(|trail| {
        let publishing = Publishing { add, plan: &plan, ways: &ways, nft, host: &host };
        publishing.publish(trail, life, prev)
    })
}

/// The chain of each address.
///
/// # Errors
/// What the kernel says.
pub fn ways(host: &Rtnl, plan: &Plan) -> Result<Vec<(IpNetwork, Way)>> {
    let mut ways = Vec::new();
    for address in &plan.addresses {
        let loopback_by = match plan.by_loopback && address.is_ipv4() {
            true => loopback::link_towards(host, address.ip())?,
            false => None,
        };
        let snat = plan.snat.unwrap_or(Snat::None);
        ways.push((*address, Way { subnet: subnet(*address), loopback_by, snat }));
    }
    Ok(ways)
}

fn claims(plan: &Plan) -> Claims {
    let addresses = plan.addresses.iter().map(IpNetwork::ip).collect();
    Claims { ports: Range::all(&plan.keys()), addresses }
}

/// The record comes first. `lines` is what it is to say, after what it has said until now; which comes back.
///
/// # Errors
/// Another ADD of the attachment is under way; what the file system says.
pub fn write_down(
    trail: &mut Trail,
    add: &Add,
    life: Life,
    lines: impl Fn(&[Line]) -> Vec<Line>,
) -> Result<(Claim, Vec<Line>)> {
    let _step = log::step("record");
    let mut older = Vec::new();
    let claim = trail.step(|| {
        Claim::make(PLUGIN, &add.attachment, |before: Option<Written<Line>>| {
            let mut text = Lines::default();
            text.life(&life)?;
            let is_torn = before.as_ref().is_some_and(|before| before.is_torn);
            older = before.map(|before| before.lines).unwrap_or_default();
            lines(&older).iter().try_for_each(|line| text.own(line))?;
            if is_torn {
                text.torn();
            }
            Ok(text)
        })
    })?;
    // Until all is answered, or undone, nobody else gets at what this ADD makes; but others may want to inherit from it.
    trail.forget(claim.taking_back(|line| matches!(line, Line::Heir(_))));
    Ok((claim, older))
}

struct Publishing<'a> {
    add: &'a Add,
    plan: &'a Plan,
    ways: &'a [(IpNetwork, Way)],
    nft: Rc<Nft>,
    host: &'a Rtnl,
}

impl Publishing<'_> {
    fn publish(&self, trail: &mut Trail, life: Life, prev: Success) -> Result<Success> {
        let (claim, older) = self.write_down(trail, life)?;
        let claims = holder::claims(&older);
        let beside_others = trail.step(published::beside_others)?;
        let keys = self.plan.keys();
        trail.step(|| rivals::before_nftables(self.host, &self.nft, &self.add.attachment, &keys))?;
        let claimant = Claimant {
            nft: &self.nft,
            host: self.host,
            attachment: &self.add.attachment,
            plan: self.plan,
            ways: self.ways,
        };
        let mut new: Vec<(Key, SocketAddr)> = Vec::new();
        for ports in self.plan.ports.chunks(AT_ONCE) {
            let made = trail.step(|| claimant.ensure(ports))?;
            self.take_back_if_it_fails(trail, &made);
            for sibling in &made.siblings {
                let heir = Line::Heir(self.add.attachment.owner().to_string());
                trail.step(|| record::append(PLUGIN, sibling, &[heir]))?;
            }
            new.extend(made.ports);
        }
        drop(beside_others);
        for link in self.ways.iter().filter_map(|(_, way)| way.loopback_by.as_deref()) {
            // Its undo is that of the element: the last one to leave sees to it.
            trail.step(|| loopback::allow(link))?;
        }
        trail.step(|| flows::begin_anew(self.host, &new))?;
        trail.step(|| claim.finish(self.add))?;
        trail.step(|| self.leave_what_is_not_wanted_any_more(claims))?;
        let published = holder::published(&older);
        if !published.is_empty() {
            let owner = self.add.attachment.owner();
            trail.step(|| iptables::end(Some(&self.nft), &self.add.attachment, &published))?;
            trail.step(|| record::append(PLUGIN, &owner, &[Line::Published(None)]))?;
        }
        Ok(prev)
    }

    /// A second ADD keeps in mind what the first one has claimed.
    fn write_down(&self, trail: &mut Trail, life: Life) -> Result<(Claim, Vec<Line>)> {
        write_down(trail, self.add, life, |older| {
            let mut all = claims(self.plan);
            if let Some(older) = holder::claims(older) {
                let new = older.ports.iter().filter(|range| !all.ports.contains(range));
                all.ports = all.ports.iter().chain(new).cloned().collect();
                let gone = older.addresses.iter().filter(|it| !all.addresses.contains(it));
                all.addresses = all.addresses.iter().chain(gone).copied().collect();
            }
            let others = older.iter().filter(|line| !matches!(line, Line::Claims(_))).cloned();
            [Line::Claims(all)].into_iter().chain(others).collect()
        })
    }

    fn take_back_if_it_fails(&self, trail: &mut Trail, made: &Made) {
        let keys: Vec<Key> = made.ports.iter().map(|(key, _)| key.clone()).collect();
        let (nft, owner, addresses) = (self.nft.clone(), self.add.attachment.owner(), made.addresses.clone());
        trail.undo(move || release::remove(&nft, &owner, &keys, &addresses).map(drop));
    }

    fn leave_what_is_not_wanted_any_more(&self, older: Option<&Claims>) -> Result<()> {
        let Some(older) = older else { return Ok(()) };
        let wanted: std::collections::BTreeSet<&Key> = self.plan.ports.iter().map(|(key, _)| key).collect();
        let keys: Vec<Key> = older.keys().into_iter().filter(|key| !wanted.contains(key)).collect();
        let addresses: Vec<IpAddr> = self.plan.addresses.iter().map(IpNetwork::ip).collect();
        let addresses: Vec<IpAddr> =
            older.addresses.iter().copied().filter(|it| !addresses.contains(it)).collect();
        let gone = release::remove(&self.nft, &self.add.attachment.owner(), &keys, &addresses)?;
        flows::end(&gone.iter().filter_map(release::Held::port).collect::<Vec<_>>())
    }
}
