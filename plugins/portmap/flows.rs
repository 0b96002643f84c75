//! Flows that have to begin anew, because their port leads elsewhere now.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use cni::error::{OrFail, Result};
use cni::log;
use ipnetwork::IpNetwork;
use linux::address::{Address, Family};
use linux::conntrack::{Conntrack, Flows, To};
use linux::rtnl::Rtnl;

use crate::portmap::conf::Protocol;
use crate::portmap::key::Key;

/// Forgets the flows to ports that have just got a container: they go to the host, or to a container that is gone. What
/// passes through the host on its way to such a port of others goes on.
///
/// # Errors
/// What the kernel says.
pub fn begin_anew(host: &Rtnl, ports: &[(Key, SocketAddr)]) -> Result<()> {
    if ports.iter().all(|(key, _)| key.protocol == Protocol::Tcp) {
        return Ok(());
    }
    let addresses = host.addresses().doing(|| "look up the host's addresses".into())?;
    let is_loopback = |address: &Address| address.net.ip().is_loopback();
    // All of 127.0.0.0/8 is the host.
    let own = |address: Address| match is_loopback(&address) {
        true => address.net,
        false => address.net.ip().into(),
    };
    let own: Vec<IpNetwork> = addresses.into_iter().map(own).collect();
    forget(ports.iter().map(|(key, _)| (key, None)), To::OneOf(&own))
}

/// Forgets the flows to ports that led to a container until now: it would get packets still, or whoever has its address.
///
/// # Errors
/// What the kernel says.
pub fn end(ports: &[(Key, SocketAddr)]) -> Result<()> {
    forget(ports.iter().map(|(key, to)| (key, Some(to.ip()))), To::Anywhere)
}

/// What one question is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    v6: bool,
    protocol: Protocol,
    to: Option<IpAddr>,
    answered_by: Option<IpAddr>,
}

/// TCP knows by itself that a connection is at its end.
fn forget<'a>(ports: impl Iterator<Item = (&'a Key, Option<IpAddr>)>, elsewhere: To<'_>) -> Result<()> {
    let _step = log::step("flows");
    let mut alike: BTreeMap<Alike, Vec<u16>> = BTreeMap::new();
    for (key, answered_by) in ports.filter(|(key, _)| key.protocol != Protocol::Tcp) {
        let (v6, protocol, to) = (key.space.v6, key.protocol, key.host);
        alike.entry(Alike { v6, protocol, to, answered_by }).or_default().push(key.port);
    }
    if alike.is_empty() {
        return Ok(());
    }
    let doing = || "failed to forget flows to published ports".to_owned();
    let mut conntrack = Conntrack::here().doing(doing)?;
    for (Alike { v6, protocol, to, answered_by }, ports) in alike {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let to = to.map_or(elsewhere, To::One);
        let flows = Flows { family, protocol: protocol as u8, to, ports: &ports, answered_by };
        conntrack.forget(&flows).doing(doing)?;
    }
    Ok(())
}
