//! CHECK: finds what somebody has changed behind our back.

use cni::call::Check;
use cni::delegate::Delegate;
use cni::error::{Error, OrFail, Result};
use cni::result::Ip;
use linux::address::Family;
use linux::link::Link;
use linux::route::{self, RouteFilter};
use linux::rtnl::Rtnl;

use crate::attachment::compare::{self, Container};
use crate::veth::conf::{Conf, Raw};
use crate::veth::plan::routes_by;

/// Compares the attachment with the result of ADD.
///
/// # Errors
/// The first difference.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw)?;
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let container = compare::container_end(check)?;
    Delegate::find(&conf.ipam, &check.call)?.check()?;
    let host_end = compare::host_end(&host, check, &container)?;
    container.is_up()?;
    container.has_addresses(check)?;
    container.has_routes(check)?;
    let by_gateway = |ip: &Ip| ip.gateway.map_or(Ok(Vec::new()), |gateway| routes_by(gateway, ip.address));
    container.has_ways(check, by_gateway)?;
    has_gateways(&host, &host_end, check, &container)?;
    is_reached(&host, &host_end, check, &container)?;
    container.is_forwarded(check)?;
    container.is_masqueraded(check, &host_end, conf.masquerade)
}

fn has_gateways(host: &Rtnl, host_end: &Link, check: &Check, container: &Container) -> Result<()> {
    let name = &host_end.name;
    let present = host.addresses_of(host_end.index).doing(|| format!("list the addresses of {name}"))?;
    let mut gateways = container.ips(check).filter_map(|ip| ip.gateway);
    match gateways.find(|gateway| !present.iter().any(|it| it.net.ip() == *gateway)) {
        Some(missing) => {
            Err(Error::internal(format!("Failed to find Gateway {missing} on interface {name}")))
        }
        None => Ok(()),
    }
}

/// The host has its route to every address of the container.
fn is_reached(host: &Rtnl, host_end: &Link, check: &Check, container: &Container) -> Result<()> {
    let name = &host_end.name;
    for ip in container.ips(check) {
        let address = ip.address.ip();
        let filter =
            RouteFilter { family: Family::of(address), table: Some(route::MAIN), oif: Some(host_end.index) };
        let present = host.routes(filter).doing(|| format!("list the routes of {name}"))?;
        if !present.iter().any(|it| it.dst.ip() == address) {
            return Err(Error::internal(format!(
                "Expected Route to {address} through {name} not found on host"
            )));
        }
    }
    Ok(())
}
