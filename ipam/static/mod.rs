//! static: the addresses, routes and name servers that somebody wrote down, as a lease.
//!
//! Nothing is kept, so nothing is looked up, freed or collected: whoever writes an address down twice has two
//! containers with it. The same configuration and words as the Go plugin of this name; docs/differences.md lists where
//! we differ.

pub mod conf;

use cni::Plugin;
use cni::attach::{Attached, attach};
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Error, Result};
use cni::result::Ip;
use serde::de::IgnoredAny;

/// The plugin.
pub struct Static;

impl Plugin for Static {
    /// Read by the verbs that need it. DEL does not, and must not fail by it.
    type Conf = IgnoredAny;
    const ENTERS: bool = false;
    const NEEDS: &'static [Capability] = &[];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, _: IgnoredAny) -> Result<Attached> {
        let lease = conf::lease(&add.call)?;
        attach(|_| Ok(lease))
    }

    /// Nothing was kept.
    fn del(_: &Del, _: IgnoredAny) -> Result<()> {
        Ok(())
    }

    /// Every address that is written is in the result, with its gateway. Routes and name servers are not looked at:
    /// a later plugin of the list may have changed them.
    fn check(check: &Check, _: IgnoredAny) -> Result<()> {
        let lease = conf::lease(&check.call)?;
        match lease.ips.iter().find_map(|ip| difference(ip, &check.prev.ips)) {
            Some((ip, difference)) => Err(Error::internal(format!(
                "static: Failed to match addr {} on interface {}: {difference}",
                ip.address.ip(),
                check.attachment.ifname
            ))),
            None => Ok(()),
        }
    }

    /// ADD works wherever the configuration makes sense.
    fn status(call: &Call, _: IgnoredAny) -> Result<()> {
        conf::lease(call).map(drop)
    }

    /// Nothing was kept.
    fn gc(_: &Gc, _: IgnoredAny) -> Result<()> {
        Ok(())
    }
}

/// How the result differs from what is written about one address. An address without a gateway may have been given
/// one by the interface plugin.
fn difference<'a>(ip: &'a Ip, result: &[Ip]) -> Option<(&'a Ip, String)> {
    let Some(found) = result.iter().find(|found| found.address == ip.address) else {
        return Some((ip, format!("the previous result has no {}", ip.address)));
    };
    let gateway = ip.gateway.filter(|gateway| found.gateway != Some(*gateway))?;
    let there = found.gateway.map_or("none".into(), |there| there.to_string());
    Some((ip, format!("its gateway is {there} in the previous result, not {gateway}")))
}
