//! ADD: each step is one deed with one undo.

use cni::attach::{Attached, Trail, attach};
use cni::call::Add;
use cni::delegate::Ready;
use cni::error::{OrFail, Result};
use cni::log;
use cni::result::Success;
use linux::address::{AddressFlags, Family};
use linux::mac::Mac;
use linux::rtnl::{Request, Rtnl};
use linux::sysctl::Conf as Sysctl;

use crate::attachment::lease::{self, Lease};
use crate::attachment::masquerade::Masquerade;
use crate::attachment::pair::{Sides, Wanted, on_host};
use crate::attachment::{forwarding, mark, mtu};
use crate::veth::PLUGIN;
use crate::veth::conf::{Conf, Raw};
use crate::veth::plan::{Plan, plan, to_container};

/// Connects the container to the host by a routed pair.
///
/// # Errors
/// Any; nothing but forwarding, which is shared, is left then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let conf = Conf::meant(raw)?;
    let look = |host: &Rtnl| {
        let ipam = lease::call_in(&conf.ipam, PLUGIN, add)?;
        let masquerade = conf.masquerade.map(Masquerade::open).transpose()?;
        Ok((ipam, conf.mtu.bytes(host)?, masquerade))
    };
    let (sides, (ipam, mtu, masquerade)) = Sides::open(add, PLUGIN, look)?;
    attach(|trail| connect(trail, ipam, add, &conf, &sides, mtu, masquerade.as_ref()))
}

fn connect(
    trail: &mut Trail,
    ipam: Ready,
    add: &Add,
    conf: &Conf,
    sides: &Sides<'_>,
    mtu: Option<u32>,
    masquerade: Option<&Masquerade>,
) -> Result<Success> {
    let mut claim = sides.claim(trail, |_, _| Ok(()))?;
    let (lease, given) = Lease::obtain(trail, ipam)?;
    mtu::carries(mtu, &given)?;
    let plan = plan(&add.attachment, conf, given)?;
    trail.step(|| forwarding::ensure(&plan.gateways).doing(|| "Could not enable IP forwarding".into()))?;
    if let Some(masquerade) = masquerade {
        masquerade.ensure(trail, &mut claim, &add.attachment, &plan.container.addresses)?;
    }
    let mac = Mac::random();
    let pair = sides.make_pair(trail, &Wanted { mac, mtu, port: None }, lease)?;
    trail.step(|| {
        configure_host_end(&sides.host, &plan, pair.host, mark::host_end(&add.attachment)?.as_str())
    })?;
    trail.step(|| sides.configure(&plan.container, &pair))?;
    let host_end = trail.step(|| sides.wait_for_host_end(&pair))?;
    trail.step(|| sides.announce(&pair, mac))?;
    let interfaces = vec![on_host(&host_end), sides.container_end(add, mac, host_end.mtu)];
    let Plan { ips, routes, dns, .. } = plan;
    let result = Success { interfaces, ips, routes, dns, ..Success::default() };
    Ok(result.behind(add.prev.as_ref()))
}

/// The gateways become addresses of the host end, and the container's addresses lie behind it.
fn configure_host_end(host: &Rtnl, plan: &Plan, index: u32, name: &str) -> Result<()> {
    let _step = log::step("addresses");
    // The host takes no routes from a container, and can ask for its address at once: a tentative link-local address would
    // keep it from doing so for a second or two. A kernel without IPv6 does not have these keys, nor the need.
    for key in ["accept_ra", "accept_dad"] {
        let _ = Sysctl { family: Family::V6, link: name, key }.write("0");
    }
    let alone = AddressFlags { nodad: true, noprefixroute: true };
    let addresses = plan.gateways.iter().map(|gateway| {
        Request::add_address(index, *gateway, alone)
            .in_order_to(format!("failed to add IP addr {gateway} to veth"))
    });
    let routes = plan.destinations.iter().map(|destination| {
        let doing = format!("failed to add route on host to {destination}");
        Request::add_route(&to_container(*destination, index)).in_order_to(doing)
    });
    host.all(addresses.chain([Request::set_up(index)]).chain(routes))
        .doing(|| format!("failed to configure host end {name}"))
}
