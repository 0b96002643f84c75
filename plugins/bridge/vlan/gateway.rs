//! The gateway's link in a VLAN, `<bridge>.<vlan>`: a veth pair of the host whose other end is a port of the bridge. It is
//! shared by all containers there, so it is never undone.

use std::fmt::Write as _;

use cni::error::{Error, OrFail, Result};
use cni::name::IfName;
use linux::address::Family;
use linux::link::Link;
use linux::mac::Mac;
use linux::netns::NetNs;
use linux::rtnl::{Request, Rtnl};
use linux::sysctl::Conf as Sysctl;
use linux::veth::VethPair;
use linux::vlan::{VlanId, Vlans};
use sha2::{Digest, Sha256};

use super::{Membership, default_of};
use crate::attachment::pair::high;

/// Its name, which is that of the Go plugin.
///
/// # Errors
/// [`cni::error::Code::CONFIG`]: it is too long for a link.
pub fn name(bridge: &IfName, vlan: VlanId) -> Result<IfName> {
    let name = format!("{bridge}.{vlan}");
    name.parse().map_err(|error: Error| {
        Error::config(format!("the gateway's link {name:?}: {error}"))
            .details(format!("bridge: {bridge}, vlan: {vlan}"))
    })
}

impl Membership {
    /// Finds the gateway's link, or makes it. `None` if the bridge itself is the gateway.
    ///
    /// Any link of that name will do, as for the Go plugin: an administrator may have made one of another kind.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ensure_gateway(&self, host: &Rtnl, bridge: &Link) -> Result<Option<Link>> {
        let Some(name) = self.gateway.as_ref().map(IfName::as_str) else { return Ok(None) };
        let doing = || format!("failed to create vlan interface {name:?}");
        let link = match look(host, name)? {
            Some(link) => link,
            None => self.make(host, bridge, name)?,
        };
        // Whoever made it may have come no further yet, or have died there: what is left to do everybody does.
        if let Some(port) = port(host, &link, bridge)? {
            if !self.serves(host, bridge, &port)? {
                let alone = Membership { trunk: Default::default(), ..self.clone() };
                alone.join(host, bridge, port.index, &port.name)?;
            }
            // As on the bridge: no router is listened to, and its addresses can be used at once.
            for key in ["accept_ra", "accept_dad"].iter().filter(|_| !link.up) {
                let _ = Sysctl { family: Family::V6, link: name, key }.write("0");
            }
        }
        if !link.up {
            host.set_up(link.index).doing(doing)?;
        }
        Ok(Some(link))
    }

    /// CHECK of the gateway's link; gives it. `None` if the bridge itself is the gateway.
    ///
    /// # Errors
    /// It is gone, down, or not in its VLAN any more.
    pub fn check_gateway(&self, host: &Rtnl, bridge: &Link) -> Result<Option<Link>> {
        let Some(name) = self.gateway.as_ref().map(IfName::as_str) else { return Ok(None) };
        let link =
            look(host, name)?.ok_or_else(|| Error::internal(format!("Interface name {name} not found")))?;
        if !link.up {
            return Err(Error::internal(format!("Interface {name} is down")));
        }
        match port(host, &link, bridge)? {
            Some(port) if !self.serves(host, bridge, &port)? => {
                let text = format!("the gateway {name} is not in VLAN {} alone", self.native);
                Err(Error::internal(text).details(format!("its port is {}", port.name)))
            }
            _ => Ok(Some(link)),
        }
    }

    /// The port is up from its birth, but nothing passes it until the gateway's end is up too.
    fn make(&self, host: &Rtnl, bridge: &Link, name: &str) -> Result<Link> {
        let doing = || format!("failed to create vlan gateway {name:?}");
        let pair = VethPair {
            host_name: &port_name(name),
            host_mac: high(Mac::random()),
            container_name: name,
            container_mac: Mac::random(),
            container_ns: &NetNs::here().doing(doing)?,
            mtu: Some(bridge.mtu),
            master: Some(bridge.index),
            group: 0,
            host_up: true,
            queues: 1,
        };
        match host.create_veth(&pair) {
            // A neighbour's ADD was faster; or somebody else has the port's name, and the look-up finds no gateway.
            Err(error) if error.is_exists() && look(host, name)?.is_some() => {}
            made => {
                let alias = format!("jackfield: the gateway {name} is behind this port");
                made.and_then(|pair| host.send(Request::set_alias(pair.host, &alias))).doing(doing)?;
            }
        }
        look(host, name)?.ok_or_else(|| Error::internal(format!("{}: it has vanished", doing())))
    }

    /// The gateway's port is in the VLAN, and not in the default one unless that is wished. Another network may have wished
    /// otherwise, so more is no fault.
    fn serves(&self, host: &Rtnl, bridge: &Link, port: &Link) -> Result<bool> {
        let doing = || format!("list the VLANs of port {}", port.name);
        let Vlans { pvid, untagged, .. } = host.vlans_of(port.index).doing(doing)?;
        let stranger = default_of(bridge).filter(|default| !self.keeps_default && *default != self.native);
        Ok(pvid == Some(self.native)
            && untagged.contains(&self.native)
            && !stranger.is_some_and(|stranger| untagged.contains(&stranger)))
    }
}

fn look(host: &Rtnl, name: &str) -> Result<Option<Link>> {
    host.link_by_name(name).doing(|| format!("failed to find interface {name:?}"))
}

/// The port behind the gateway's link, if it is such a pair.
fn port(host: &Rtnl, link: &Link, bridge: &Link) -> Result<Option<Link>> {
    let Some(peer) = link.peer.filter(|_| link.is_kind("veth") && link.peer_nsid.is_none()) else {
        return Ok(None);
    };
    let port = host.link_by_index(peer).doing(|| format!("look up the other end of {}", link.name))?;
    Ok(port.filter(|port| port.master == Some(bridge.index) && port.peer == Some(link.index)))
}

/// The port's name can be derived, so that two who make it at once collide instead of making two.
fn port_name(gateway: &str) -> String {
    Sha256::digest(gateway).iter().take(6).fold("vgw".into(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_name_fits_and_follows_from_the_gateways() {
        let name = port_name("br0.100");
        assert!(name.len() == 15 && name.starts_with("vgw"), "{name}");
        assert_eq!(name, port_name("br0.100"));
        assert_ne!(name, port_name("br0.101"));
    }
}
