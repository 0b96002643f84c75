//! ADD: each step is one deed with one undo.

use std::rc::Rc;

use cni::attach::{Attached, Trail, attach};
use cni::call::Add;
use cni::delegate::Ready;
use cni::error::{Error, OrFail, Result};
use cni::result::Success;
use linux::bridge::Port;
use linux::link::Link;
use linux::mac::Mac;
use linux::nft::Nft;
use linux::rtnl::Rtnl;
use linux::veth::Pair;

use crate::attachment::lease::{self, Lease};
use crate::attachment::masquerade::Masquerade;
use crate::attachment::pair::{Sides, Wanted, on_host};
use crate::attachment::{mark, mtu};
use crate::bridge::conf::{Addressing, Conf, Raw, Reflection};
use crate::bridge::plan::{Plan, plan};
use crate::bridge::{PLUGIN, shared, spoof};

/// Joins the container to the bridge.
///
/// # Errors
/// Any; nothing but what is shared is left then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let conf = Conf::meant(raw, &add.call)?;
    refuse_what_cannot_be_answered(add, &conf)?;
    let look = |host: &Rtnl| {
        let ipam = conf.addressing.plugin().map(|ipam| lease::call_in(ipam, PLUGIN, add)).transpose()?;
        let bridge = shared::find_bridge(host, &conf)?;
        let spoof_check = conf.spoof_check.then(spoof::open).transpose()?;
        let masquerade = conf.masquerade.map(Masquerade::open).transpose()?;
        Ok((ipam, bridge, conf.mtu.bytes(host)?, masquerade, spoof_check))
    };
    let (sides, (ipam, bridge, mtu, masquerade, spoof_check)) = Sides::open(add, PLUGIN, look)?;
    attach(|trail| {
        Joining { add, conf: &conf, sides, mtu, masquerade, spoof_check }.join(trail, ipam, bridge)
    })
}

/// Results below 0.3.0 are about addresses alone, so a network of frames has none.
fn refuse_what_cannot_be_answered(add: &Add, conf: &Conf) -> Result<()> {
    let spec = add.call.spec;
    match conf.addressing.plugin() {
        None if !spec.has_interfaces() => Err(Error::config("cannot convert: no valid IP addresses")
            .details(format!(
                "version {spec} has no result without an address; use 0.3.0 or later, or ipam"
            ))),
        _ => Ok(()),
    }
}

struct Joining<'a> {
    add: &'a Add,
    conf: &'a Conf,
    sides: Sides<'a>,
    mtu: Option<u32>,
    masquerade: Option<Masquerade>,
    spoof_check: Option<Rc<Nft>>,
}

impl Joining<'_> {
    fn join(&self, trail: &mut Trail, ipam: Option<Ready>, bridge: Option<Link>) -> Result<Success> {
        let (conf, sides) = (self.conf, &self.sides);
        let attachment = &self.add.attachment;
        let mut claim = sides
            .claim(trail, |older, waits| spoof::end(&sides.host, attachment, Some(older), true, waits))?;
        let (lease, plan) = self.obtain(trail, ipam)?;
        let bridge = trail.step(|| shared::ensure_bridge(&sides.host, conf, self.mtu, bridge))?;
        let gateways = plan.as_ref().map(|plan| plan.gateways.as_slice()).unwrap_or_default();
        let gateway = trail.step(|| shared::ensure_gateways(&sides.host, &bridge, gateways, conf))?;
        if let (Some(masquerade), Some(plan)) = (&self.masquerade, &plan) {
            masquerade.ensure(trail, &mut claim, attachment, &plan.container.addresses)?;
        }
        let mac = conf.mac.unwrap_or_else(Mac::random);
        if let Some(nft) = &self.spoof_check {
            spoof::ensure(trail, &mut claim, nft, attachment, mac)?;
        }
        let port = Port { hairpin: conf.reflection == Reflection::Hairpin, isolated: conf.isolated };
        let pair =
            sides.make_pair(trail, &Wanted { mac, mtu: self.mtu, port: Some((&bridge, port)) }, lease)?;
        trail.step(|| self.join_vlans(&bridge, &pair))?;
        let host_end = match &plan {
            Some(plan) => {
                trail.step(|| sides.configure(&plan.container, &pair))?;
                let host_end = trail.step(|| self.wait_for_port(&pair))?;
                trail.step(|| sides.announce(&pair, mac))?;
                host_end
            }
            None if conf.addressing == Addressing::LeftDown => self.look_at_port(&pair)?,
            None => {
                trail.step(|| self.set_up(&pair))?;
                trail.step(|| self.wait_for_port(&pair))?
            }
        };
        let bridge =
            sides.host.link_by_index(bridge.index).doing(|| "look at the bridge".into())?.unwrap_or(bridge);
        let container = sides.container_end(self.add, mac, host_end.mtu);
        let mut interfaces = vec![on_host(&bridge), on_host(&host_end), container];
        interfaces.extend(gateway.as_ref().map(on_host));
        let result = match plan {
            Some(Plan { ips, routes, dns, .. }) => {
                Success { interfaces, ips, routes, dns, ..Success::default() }
            }
            None => Success { interfaces, dns: conf.dns.clone(), ..Success::default() },
        };
        Ok(result.behind(self.add.prev.as_ref()))
    }

    /// IPAM first: most failures then have made nothing.
    fn obtain(&self, trail: &mut Trail, ipam: Option<Ready>) -> Result<(Lease, Option<Plan>)> {
        let Some(ipam) = ipam else { return Ok((Lease::none(), None)) };
        let (lease, given) = Lease::obtain(trail, ipam)?;
        mtu::carries(self.mtu, &given)?;
        Ok((lease, Some(plan(&self.add.attachment, self.conf, given)?)))
    }

    fn join_vlans(&self, bridge: &Link, pair: &Pair) -> Result<()> {
        let Some(vlans) = self.conf.tagging.membership() else { return Ok(()) };
        let name = mark::host_end(self.sides.attachment)?;
        vlans.join(&self.sides.host, bridge, pair.host, name.as_str())
    }

    fn set_up(&self, pair: &Pair) -> Result<()> {
        let ifname = &self.add.attachment.ifname;
        self.sides
            .container
            .set_up(pair.container)
            .doing(|| format!("failed to set {:?} up", ifname.as_str()))
    }

    /// A port forwards once the kernel has seen both ends up.
    fn wait_for_port(&self, pair: &Pair) -> Result<Link> {
        let link = self.sides.wait_for_host_end(pair)?;
        match link.oper_up() {
            true => Ok(link),
            false => Err(Error::internal(format!("bridge port in error state: {}", link.state))),
        }
    }

    /// A container end that is left down leaves its port without carrier.
    fn look_at_port(&self, pair: &Pair) -> Result<Link> {
        let link = self.sides.host.link_by_index(pair.host).doing(|| "look at the host end".into())?;
        link.ok_or_else(|| Error::internal("the host end has vanished"))
    }
}
