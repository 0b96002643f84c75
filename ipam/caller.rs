//! What whoever calls an IPAM plugin may ask of it, whichever plugin it is.

use std::net::IpAddr;

use cni::error::{Error, Result};
use cni::spec::Spec;
use serde::Deserialize;

/// `args` of the configuration, as far as it is about addresses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Args {
    cni: CniArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Ips,
}

/// Addresses as they are written; `null` in the list is an item, and one that says nothing.
pub type Ips = Vec<Option<String>>;

/// Who asks for addresses in the configuration, the strongest first: the runtime (`runtimeConfig.ips`), then
/// `args.cni.ips`. The first who does is heard alone.
pub fn heard<'a>(runtime: &'a Ips, args: &'a Args) -> Option<&'a Ips> {
    [runtime, &args.cni.ips].into_iter().find(|asked| !asked.is_empty())
}

/// An address without a prefix, as Go reads it: an IPv4-mapped one is IPv4.
///
/// # Errors
/// `invalid IP address: X`.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| format!("invalid IP address: {text}"))
}

/// Whether a result of this version can hold addresses of these families; below 0.3.0 it has one place for each.
///
/// # Errors
/// [`cni::error::Code::CONFIG`] in the words of the Go plugins.
pub fn fit(spec: Spec, are_ipv4: impl Iterator<Item = bool>) -> Result<()> {
    let (v4, v6): (Vec<bool>, Vec<bool>) = are_ipv4.partition(|is_ipv4| *is_ipv4);
    if spec.has_interfaces() || v4.len().max(v6.len()) < 2 {
        return Ok(());
    }
    Err(Error::config(format!("CNI version {spec} does not support more than 1 address per family")))
}
