//! ADD, DEL, CHECK, STATUS and GC.

use std::rc::Rc;

use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Attachment, Check, Del, Gc};
use cni::error::{Code, Error, Faults, OrFail, Result};
use cni::log;
use cni::result::Interface;
use linux::link::Link;
use linux::netns::NetNs;
use linux::qdisc::{IfbSpec, Ingress, TokenBucket};
use linux::rtnl::{Request, Rtnl};

use crate::attachment::mark::{self, Mark};
use crate::attachment::waits::Waits;
use crate::attachment::{host_end, pair};
use crate::bandwidth::conf::{Conf, Limit, Raw};
use crate::bandwidth::path::{self, Whose};

/// Limits what is to be limited. An earlier ADD of the same attachment is replaced.
///
/// # Errors
/// Any; nothing is limited then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let conf = Conf::meant(raw)?;
    let Some(prev) = add.prev.clone() else {
        return Err(Error::config("must be called as chained plugin").details("Required prevResult missing"));
    };
    if conf.is_empty() {
        return attach(|_| Ok(prev));
    }
    let host = Rc::new(Rtnl::here().doing(|| "open the host's namespace".into())?);
    let end = path::host_end(&host, &add.netns, add.attachment.ifname.as_str(), &prev)?;
    attach(|trail| {
        let mut result = prev;
        if let Some(limit) = conf.ingress {
            slow_down(trail, &host, &end, &limit)?;
        }
        if let Some(limit) = conf.egress {
            let ifb = detour(trail, &host, &end, &add.attachment, &limit)?;
            let is_new = !result.interfaces.iter().any(|it| it.name == ifb.name && it.sandbox.is_none());
            // The Go plugin tells name and address alone.
            result.interfaces.extend(is_new.then(|| Interface { mtu: None, ..pair::on_host(&ifb) }));
        }
        Ok(result)
    })
}

/// A token bucket at the root of a link.
fn slow_down(trail: &mut Trail, host: &Rc<Rtnl>, link: &Link, limit: &Limit) -> Result<()> {
    let _step = log::step("queues");
    let bucket = limit.bucket(link.mtu);
    trail.step(|| {
        host.send(Request::set_token_bucket(link.index, &bucket))
            .doing(|| format!("create qdisc on {:?}", link.name))
    })?;
    let (host, index) = (host.clone(), link.index);
    trail.undo(move || {
        host.send(Request::delete_root_qdisc(index)).doing(|| "remove the token bucket".into())
    });
    Ok(())
}

/// What comes in from the container goes through an `ifb` with a token bucket. The detour is opened last.
fn detour(
    trail: &mut Trail,
    host: &Rc<Rtnl>,
    end: &Link,
    attachment: &Attachment,
    limit: &Limit,
) -> Result<Link> {
    let _step = log::step("queues");
    trail.step(|| end_detour(host, end, attachment))?;
    let name = trail.step(|| make_ifb(host, end, attachment))?;
    let undo = (host.clone(), name.clone());
    trail.undo(move || undo.0.delete_link_named(&undo.1).doing(|| format!("delete ifb {}", undo.1)));
    let ifb = host.link_by_name(&name).doing(|| format!("get ifb device {name}"))?;
    let ifb = ifb.ok_or_else(|| Error::internal(format!("the ifb device {name} has vanished")))?;
    trail.step(|| {
        let bucket = Request::set_token_bucket(ifb.index, &limit.bucket(ifb.mtu));
        // It carries what another link has received: an address of its own would be nobody's.
        let address = Request::without_link_local_address(ifb.index);
        host.all([address, Request::set_up(ifb.index), bucket])
            .doing(|| format!("create ifb qdisc on {name:?}"))
    })?;
    trail.step(|| {
        host.send(Request::set_ingress(end.index)).doing(|| format!("create ingress qdisc on {:?}", end.name))
    })?;
    let undo = (host.clone(), end.index);
    trail.undo(move || undo.0.send(Request::delete_ingress(undo.1)).doing(|| "remove the detour".into()));
    trail.step(|| {
        host.send(Request::redirect(end.index, ifb.index)).doing(|| format!("add filter on {:?}", end.name))
    })?;
    Ok(ifb)
}

/// Ends a detour through an `ifb` of this attachment, or through one that has vanished; what somebody else does with what
/// comes in stays.
fn end_detour(host: &Rtnl, end: &Link, attachment: &Attachment) -> Result<()> {
    let doing = || format!("free {:?}", end.name);
    let is_ours = match host.ingress(end.index).doing(doing)? {
        Ingress::Nothing | Ingress::Other => false,
        Ingress::Empty | Ingress::Redirect(0) => true,
        Ingress::Redirect(to) => path::ifbs(host, attachment)?.iter().any(|ifb| ifb.index == to),
    };
    match is_ours {
        true => host.send(Request::delete_ingress(end.index)).doing(doing),
        false => Ok(()),
    }
}

/// Lets a host end send as fast as it was born to.
fn end_bucket(host: &Rtnl, end: &Link) -> Result<()> {
    let doing = || format!("free {:?}", end.name);
    match host.token_bucket(end.index).doing(doing)? {
        Some(_) => host.send(Request::delete_root_qdisc(end.index)).doing(doing),
        None => Ok(()),
    }
}

/// Makes the attachment's `ifb` under the first name that is free. One that an earlier ADD has left is made anew: it may be
/// of another MTU.
fn make_ifb(host: &Rtnl, end: &Link, attachment: &Attachment) -> Result<String> {
    let alias = Mark::of(attachment).alias(attachment);
    let mut refused = None;
    for name in path::names(attachment) {
        let doing = || format!("adding link {name}");
        let found = host.link_by_name(&name).doing(doing)?;
        match found.as_ref().map(|link| (link, path::whose(link, attachment))) {
            None => {}
            Some((link, Whose::Ours | Whose::Unsigned)) if link.is_kind("ifb") => {
                host.delete_link(link.index).doing(doing)?;
            }
            Some((link, _)) => {
                let alias = link.alias.clone().unwrap_or_default();
                refused = Some(
                    Error::internal(format!("{}: file exists", doing()))
                        .details(format!("wanted for {attachment}; held by {alias:?}")),
                );
                continue;
            }
        }
        let ifb = IfbSpec { name: &name, mtu: end.mtu, group: mark::GROUP, alias: &alias };
        host.create_ifb(&ifb).doing(doing)?;
        return Ok(name);
    }
    Err(refused.unwrap_or_else(|| Error::internal("no name is free for an ifb device")))
}

/// Takes away what slows the container down: also where it lives on without this network.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn del(del: &Del) -> Result<()> {
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let mut faults = Faults::default();
    let ours = faults.note(host_end::find(&host, &del.attachment)).flatten();
    if let Some(end) = ours.or_else(|| theirs(&host, del)) {
        faults.note(end_detour(&host, &end, &del.attachment));
        faults.note(end_bucket(&host, &end));
    }
    let mut waits = Waits::of(&del.call);
    for ifb in faults.note(path::ifbs(&host, &del.attachment)).unwrap_or_default() {
        faults.note(waits.delete_link(&host, ifb.index).doing(|| format!("failed to delete {:?}", ifb.name)));
    }
    faults.verdict()
}

/// The host end that another plugin made, where the container lives on.
fn theirs(host: &Rtnl, del: &Del) -> Option<Link> {
    let (netns, prev) = (del.netns.as_ref()?, del.prev.as_ref()?);
    path::host_end(host, netns, del.attachment.ifname.as_str(), prev).ok()
}

/// Compares the disciplines with the configuration.
///
/// # Errors
/// The first difference.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw)?;
    if conf.is_empty() {
        return Ok(());
    }
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let end = path::host_end(&host, &check.netns, check.attachment.ifname.as_str(), &check.prev)?;
    if let Some(limit) = conf.ingress {
        has_bucket(&host, &end, &limit.bucket(end.mtu))?;
    }
    let Some(limit) = conf.egress else { return Ok(()) };
    let ifbs = path::ifbs(&host, &check.attachment)?;
    let ingress = host.ingress(end.index).doing(|| format!("look at {:?}", end.name))?;
    let Some(ifb) = ifbs.iter().find(|ifb| ingress == Ingress::Redirect(ifb.index)) else {
        let names: Vec<&str> = ifbs.iter().map(|ifb| ifb.name.as_str()).collect();
        let text = format!("what comes in on {:?} is not redirected to its ifb device", end.name);
        return Err(Error::internal(text).details(format!("ifb devices: {names:?}")));
    };
    if !ifb.up {
        return Err(Error::internal(format!("Interface {} is down", ifb.name)));
    }
    has_bucket(&host, ifb, &limit.bucket(ifb.mtu))
}

fn has_bucket(host: &Rtnl, link: &Link, wanted: &TokenBucket) -> Result<()> {
    let (name, wanted) = (&link.name, wanted.shape());
    let Some(found) = host.token_bucket(link.index).doing(|| format!("look at {name:?}"))? else {
        return Err(Error::internal(format!("Failed to find qdisc of {name}")));
    };
    let differs = |what: &str, wanted: String, found: String| {
        Err(Error::internal(format!("{what} doesn't match on {name}: it is {found}, not {wanted}")))
    };
    match found {
        it if it.rate != wanted.rate => {
            differs("Rate", format!("{} bytes per second", wanted.rate), it.rate.to_string())
        }
        it if it.limit != wanted.limit => differs("Limit", wanted.limit.to_string(), it.limit.to_string()),
        it if it.buffer != wanted.buffer => {
            differs("Buffer", wanted.buffer.to_string(), it.buffer.to_string())
        }
        _ => Ok(()),
    }
}

/// Would the kernel do it? It is tried in a namespace of its own, which nobody ever sees.
///
/// # Errors
/// [`Code::NOT_AVAILABLE`]: it would not.
pub fn status(raw: Raw) -> Result<()> {
    Conf::meant(raw)?;
    let try_it = || {
        let elsewhere = NetNs::create()?.rtnl()?;
        elsewhere.create_ifb(&IfbSpec { name: "trial", mtu: 1500, group: 0, alias: "" })?;
        let Some(ifb) = elsewhere.link_by_name("trial")? else { return Ok(()) };
        let bucket = TokenBucket { rate: 1_000_000, burst: 100_000, limit: 100_000 };
        elsewhere.all([
            Request::set_token_bucket(ifb.index, &bucket),
            Request::set_ingress(ifb.index),
            Request::redirect(ifb.index, ifb.index),
        ])
    };
    try_it().or_fail(Code::NOT_AVAILABLE, || "bandwidth cannot be limited".into())
}

/// Removes the `ifb` links of this network's attachments that do not live.
///
/// # Errors
/// What could not be removed.
pub fn gc(gc: &Gc) -> Result<()> {
    let Some(is_stale) = mark::stale(gc) else { return Ok(()) };
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let mut faults = Faults::default();
    for ifb in host.ifbs(mark::GROUP).doing(|| "list the ifb devices".into())? {
        if ifb.alias.as_deref().and_then(Mark::read).is_some_and(|mark| is_stale(&mark)) {
            faults.note(host.delete_link(ifb.index).doing(|| format!("failed to delete {:?}", ifb.name)));
        }
    }
    faults.verdict()
}
