//! CHECK: is everything there that ADD made?

use cni::call::Check;
use cni::error::{Error, OrFail, Result};

use crate::attachment::gate;
use crate::firewall::conf::{Conf, Raw};
use crate::firewall::plan::plan;
use crate::firewall::{admit, open};

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
    let nft = open()?;
    admit::check(&nft, &check.attachment, &plan, conf.mark_bit)?;
    let bit = admit::bit(&nft, conf.mark_bit).doing(|| "look up the bit of the mark".into())?;
    match gate::legacy::is_missing(bit, &admit::families(&plan.addresses))? {
        true => Err(Error::internal(format!(
            "the packets of {} do not pass: FORWARD of iptables-legacy has no rule that accepts their mark",
            check.attachment
        ))),
        false => Ok(()),
    }
}
