//! The configuration of static: as written, and as meant, which is the result of ADD.

use std::net::IpAddr;

use cni::call::Call;
use cni::decode::decode;
use cni::env;
use cni::error::{Code, Error, OrFail, Result};
use cni::result::{Dns, Ip, Route, Success};
use cni::value::parse_cidr;
use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::caller;

/// As written.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    ipam: Option<RawIpam>,
    runtime_config: RawRuntime,
    args: caller::Args,
}

/// The section `ipam`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RawIpam {
    addresses: Vec<Option<RawAddress>>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawAddress {
    address: String,
    #[serde(deserialize_with = "cni::value::ip")]
    gateway: Option<IpAddr>,
}

/// What the capability `ips` puts in.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RawRuntime {
    ips: caller::Ips,
}

/// The lease that is meant.
///
/// Addresses are those of `ipam.addresses` and, behind them, of `CNI_ARGS`; but if the runtime or `args` ask for some,
/// these alone.
///
/// # Errors
/// [`Code::CONFIG`] with the Go plugin's words for what makes no sense, [`Code::ENVIRONMENT`] for `CNI_ARGS` that make
/// none, [`Code::DECODE`] for a value of the wrong type.
pub fn lease(call: &Call) -> Result<Success> {
    let raw: Raw = decode(&call.config).doing(|| "failed to load netconf".into())?;
    let Some(ipam) = raw.ipam else { return Err(Error::config("IPAM config missing 'ipam' key")) };
    let by_variable =
        of_variable(&call.args).map_err(|why| Error::new(Code::ENVIRONMENT, format!("CNI_ARGS: {why}")))?;
    let ips: Result<Vec<Ip>, String> = match caller::heard(&raw.runtime_config.ips, &raw.args) {
        Some(asked) => asked.iter().map(|text| asked_for(text.as_deref().unwrap_or_default())).collect(),
        None => {
            let written = ipam.addresses.into_iter().map(|written| configured(written.unwrap_or_default()));
            written.chain(by_variable.into_iter().map(Ok)).collect()
        }
    };
    let ips = ips.and_then(each_once).map_err(Error::config)?;
    caller::fit(call.spec, ips.iter().map(|ip| ip.address.is_ipv4()))?;
    Ok(Success { ips, routes: ipam.routes, dns: ipam.dns, ..Success::default() })
}

/// `IP=` and `GATEWAY=`, each a list with commas. A gateway counts for the addresses of `IP=` whose subnet it is in.
fn of_variable(args: &env::Args) -> Result<Vec<Ip>, String> {
    let list = |key: &str| args.get(key).into_iter().flat_map(|list| list.split(',').map(str::trim));
    let of_list = |text: &str| {
        let why = || format!("the 'ip' field is expected to be in CIDR notation, got: '{text}'");
        Ok(Ip::new(address(text, why)?, None))
    };
    let mut ips = list("IP").map(of_list).collect::<Result<Vec<Ip>, String>>()?;
    for text in list("GATEWAY") {
        let gateway = caller::address(text).map_err(|_| format!("invalid gateway address: {text}"))?;
        ips.iter_mut().filter(|ip| ip.address.contains(gateway)).for_each(|ip| ip.gateway = Some(gateway));
    }
    Ok(ips)
}

/// An entry of `runtimeConfig.ips` or `args.cni.ips`.
fn asked_for(text: &str) -> Result<Ip, String> {
    let why = || format!("an entry in the 'ips' field is NOT in CIDR notation, got: '{text}'");
    Ok(Ip::new(address(text, why)?, None))
}

/// An entry of `ipam.addresses`. Its gateway may lie outside the subnet, as routed networks with /32 addresses have it.
fn configured(RawAddress { address: text, gateway }: RawAddress) -> Result<Ip, String> {
    let why = || format!("the 'address' field is expected to be in CIDR notation, got: '{text}'");
    let address = address(&text, why)?;
    match gateway.filter(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
        Some(other) => Err(format!("gateway {other} is of another family than the address {address}")),
        None => Ok(Ip::new(address, gateway)),
    }
}

/// An address with its prefix, one that a link can hold.
fn address(text: &str, is_none: impl FnOnce() -> String) -> Result<IpNetwork, String> {
    let address = canonical(text).ok_or_else(is_none)?;
    match address.ip().is_unspecified() || address.ip().is_multicast() {
        true => Err(format!("no link can have the address {text}")),
        false => Ok(address),
    }
}

/// An IPv4-mapped address is IPv4, as in Go, and then has the length of a prefix of IPv4.
fn canonical(text: &str) -> Option<IpNetwork> {
    let written = parse_cidr(text)?;
    match written.ip().to_canonical() {
        v4 @ IpAddr::V4(_) if written.is_ipv6() => IpNetwork::new(v4, written.prefix().checked_sub(96)?).ok(),
        _ => Some(written),
    }
}

/// An address that is written twice is one address: a link can hold it once. Two gateways for it make no sense.
fn each_once(ips: Vec<Ip>) -> Result<Vec<Ip>, String> {
    let mut once: Vec<Ip> = Vec::new();
    for ip in ips {
        match once.iter_mut().find(|known| known.address == ip.address) {
            None => once.push(ip),
            Some(known) => match (known.gateway, ip.gateway) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!("{} has two gateways, {one} and {other}", ip.address));
                }
                (known_gateway, gateway) => known.gateway = known_gateway.or(gateway),
            },
        }
    }
    Ok(once)
}
