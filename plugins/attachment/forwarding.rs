//! The host forwards packets. Shared by everything on it, so it is never switched off.

use cni::error::{OrFail, Result};
use ipnetwork::IpNetwork;
use linux::sysctl;

/// Switches forwarding on for the families of these addresses; where it is on, nothing is written.
///
/// # Errors
/// What the kernel says.
pub fn ensure(addresses: &[IpNetwork]) -> Result<()> {
    let families = [(true, "net/ipv4/ip_forward"), (false, "net/ipv6/conf/all/forwarding")];
    for (v4, name) in families {
        if addresses.iter().any(|address| address.is_ipv4() == v4) {
            sysctl::ensure(name, "1").doing(|| "failed to enable forwarding".into())?;
        }
    }
    Ok(())
}
