//! The largest packet of a pair.

use cni::error::{Error, Result};
use cni::result::Ip;

/// The MTU in bytes that a configuration means; zero is the kernel's default.
///
/// # Errors
/// Out of the range of a veth pair, 68 to 65535 (`dev_validate_mtu` in net/core/dev.c).
pub fn meant(mtu: i64) -> Result<Option<u32>> {
    match u32::try_from(mtu) {
        Ok(0) => Ok(None),
        Ok(fits @ 68..=65535) => Ok(Some(fits)),
        _ => Err(Error::config(format!("invalid mtu {mtu} (must be 0 or between 68 and 65535)"))),
    }
}

/// RFC 8200, section 5. The kernel has no IPv6 on a link below it (`IPV6_MIN_MTU`).
const LEAST_FOR_IPV6: u32 = 1280;

/// Whether links of this MTU can have these addresses.
///
/// # Errors
/// One of them is IPv6, which needs more.
pub fn carries(mtu: Option<u32>, ips: &[Ip]) -> Result<()> {
    let Some(mtu) = mtu.filter(|mtu| *mtu < LEAST_FOR_IPV6) else { return Ok(()) };
    match ips.iter().find(|ip| ip.address.is_ipv6()) {
        Some(ip) => {
            let text =
                format!("invalid mtu {mtu}: the address {} needs {LEAST_FOR_IPV6} or more", ip.address);
            Err(Error::config(text))
        }
        None => Ok(()),
    }
}
