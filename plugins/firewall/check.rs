//! CHECK: is everything there that ADD made?

use cni::call::Check;
use cni::error::Result;

use crate::attachment::allowed::Claimed;
use crate::firewall::backend;
use crate::firewall::conf::{Conf, Raw};
use crate::firewall::plan::plan;

/// Compares the kernel with what the configuration wants.
///
/// # Errors
/// The first thing that is missing or was changed, and what the kernel says.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw)?;
    let plan = plan(&conf, &check.prev)?;
    if plan.addresses.is_empty() {
        return Ok(());
    }
    backend::check(check, &conf, &plan, Claimed::of(&check.attachment.owner())?.these())
}
