//! The largest packet of a pair.

use cni::error::{Error, Result};

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
