//! The host forwards packets. Shared by everything on it, so it is never switched off.

use cni::error::{Error, OrFail, Result};
use ipnetwork::IpNetwork;
use linux::sysctl;

/// Switches forwarding on for the families of these addresses; where it is on, nothing is written.
///
/// # Errors
/// What the kernel says.
pub fn ensure(addresses: &[IpNetwork]) -> Result<()> {
    for name in switches(addresses) {
        sysctl::ensure(name, "1").doing(|| "failed to enable forwarding".into())?;
    }
    Ok(())
}

/// Whether forwarding is still on for the families of these addresses.
///
/// # Errors
/// It is off; or what the kernel says.
pub fn check(addresses: &[IpNetwork]) -> Result<()> {
    for name in switches(addresses) {
        let value = sysctl::read(name).doing(|| "look at forwarding".into())?;
        if value == "0" {
            return Err(Error::internal(format!("the host does not forward: {name} is {value}")));
        }
    }
    Ok(())
}

fn switches(addresses: &[IpNetwork]) -> impl Iterator<Item = &'static str> {
    let families = [(true, "net/ipv4/ip_forward"), (false, "net/ipv6/conf/all/forwarding")];
    let in_use = |v4: bool| addresses.iter().any(|address| address.is_ipv4() == v4);
    families.into_iter().filter(move |(v4, _)| in_use(*v4)).map(|(_, name)| name)
}
