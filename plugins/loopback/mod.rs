//! `loopback`: sets `lo` up in the container. Nearly every runtime calls it before anything else.

use std::rc::Rc;

use cni::Plugin;
use cni::attach::{Attached, attach};
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Code, Error, OrFail, Result};
use cni::result::{Interface, Ip, Success};
use ipnetwork::IpNetwork;
use linux::link::Link;
use linux::netns::{NetNs, OpenError};
use linux::rtnl::Rtnl;
use serde::Deserialize;

use crate::attachment::host_end::open_netns;

/// The link, whatever `CNI_IFNAME` says.
const LO: &str = "lo";

/// The plugin.
pub struct Loopback;

/// It has no configuration of its own.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Conf {}

impl Plugin for Loopback {
    type Conf = Conf;
    const ENTERS: bool = true;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin, Capability::SysAdmin];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, _: Conf) -> Result<Attached> {
        let lo = Rc::new(converse(&open_netns(&add.netns)?)?);
        let link = look_up(&lo)?;
        attach(|trail| {
            if !link.up {
                trail.step(|| lo.set_up(link.index).doing(|| "failed to set \"lo\" up".into()))?;
                let undo = (lo.clone(), link.index);
                trail.undo(move || undo.0.set_down(undo.1).doing(|| "set \"lo\" down again".into()));
            }
            let addresses = addresses(&lo, &link)?;
            Ok(match &add.prev {
                Some(prev) => prev.clone(),
                None => result(add, &link, &addresses),
            })
        })
    }

    fn del(del: &Del, _: Conf) -> Result<()> {
        let Some(path) = &del.netns else { return Ok(()) };
        let doing = || format!("failed to open netns {:?}", path.display().to_string());
        let netns = match NetNs::open(path) {
            Err(OpenError::Absent(_) | OpenError::NotANamespace(..)) => return Ok(()),
            opened => opened.doing(doing)?,
        };
        let lo = match netns.enter() {
            // A namespace of another kind.
            Err(error) if error.is_invalid() => return Ok(()),
            entered => entered.and_then(|()| Rtnl::here()).doing(doing)?,
        };
        let link = look_up(&lo)?;
        lo.set_down(link.index).doing(|| "failed to set \"lo\" down".into())
    }

    fn check(check: &Check, _: Conf) -> Result<()> {
        let lo = converse(&open_netns(&check.netns)?)?;
        match look_up(&lo)?.up {
            true => Ok(()),
            false => Err(Error::internal("loopback interface is down")),
        }
    }

    fn status(_: &Call, _: Conf) -> Result<()> {
        // Every namespace has a `lo`, and ADD needs nothing else.
        Ok(())
    }

    fn gc(_: &Gc, _: Conf) -> Result<()> {
        // Nothing of ours outlives its namespace.
        Ok(())
    }
}

/// Goes into the container's namespace for good: this program has nothing to do anywhere else.
fn converse(netns: &NetNs) -> Result<Rtnl> {
    let path = netns.path().display().to_string();
    netns
        .enter()
        .and_then(|()| Rtnl::here())
        .or_fail(Code::ENVIRONMENT, || format!("failed to open netns {path:?}"))
        .map_err(|error| error.details("variable CNI_NETNS"))
}

fn look_up(lo: &Rtnl) -> Result<Link> {
    let link = lo.link_by_name(LO).doing(|| "failed to lookup \"lo\"".into())?;
    link.ok_or_else(|| Error::internal("failed to lookup \"lo\": Link not found"))
}

/// The addresses of `lo`.
///
/// # Errors
/// One of them is of no loopback network: somebody uses `lo` for something of his own.
fn addresses(lo: &Rtnl, link: &Link) -> Result<Vec<IpNetwork>> {
    let present = lo.addresses_of(link.index).doing(|| "list the addresses of \"lo\"".into())?;
    match present.iter().find(|address| !address.net.ip().is_loopback()) {
        Some(foreign) => {
            let text =
                format!("loopback interface found with non-loopback address {:?}", foreign.net.to_string());
            Err(Error::new(Code::INTERNAL, text))
        }
        None => Ok(present.into_iter().map(|address| address.net).collect()),
    }
}

/// `lo`, and its first address of each family.
fn result(add: &Add, link: &Link, addresses: &[IpNetwork]) -> Success {
    let lo = Interface {
        name: LO.into(),
        mac: Some(link.mac.map_or_else(|| "00:00:00:00:00:00".into(), |mac| mac.to_string())),
        mtu: Some(link.mtu),
        sandbox: Some(add.netns.display().to_string()),
        ..Interface::default()
    };
    let first = |v4: bool| addresses.iter().find(|net| net.is_ipv4() == v4);
    let ips = [first(true), first(false)].into_iter().flatten();
    let ips = ips.map(|net| Ip { interface: Some(0), ..Ip::new(*net, None) }).collect();
    Success { interfaces: vec![lo], ips, ..Success::default() }
}
