//! ADD, DEL, CHECK and GC. The program has nothing to do on the host, so it enters the container's namespace for good.

use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;

use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Check, Del, Gc};
use cni::error::{Code, Error, Faults, OrFail, Result};
use cni::log;
use cni::result::Success;
use linux::link::Link;
use linux::mac::Mac;
use linux::netns::{NetNs, OpenError};
use linux::rtnl::{Request, Rtnl};
use linux::sysctl;

use crate::attachment::host_end::open_netns;
use crate::attachment::mtu;
use crate::tuning::allowlist;
use crate::tuning::backup::{self, Backup, Before};
use crate::tuning::conf::{Conf, LinkChanges, Raw};
use crate::tuning::setting::Setting;

/// Changes what is to be changed, in the order in which it is written.
///
/// # Errors
/// Any; everything is as it was then.
pub fn add(add: &Add, raw: Raw) -> Result<Attached> {
    let ifname = &add.attachment.ifname;
    let conf = Conf::meant(raw, &add.call, ifname.as_str())?;
    allowlist::permit(&conf.sysctls)?;
    let Some(prev) = add.prev.clone() else { return Err(Error::config("Required prevResult missing")) };
    // The kernel would take all of IPv6 away from the link, and give nothing back for a larger MTU.
    mtu::carries(conf.link.mtu, &prev)?;
    if conf.sysctls.is_empty() && conf.link.is_empty() {
        // As podman's networks have it.
        return attach(|_| Ok(prev));
    }
    let container = Rc::new(enter(&add.netns)?);
    attach(|trail| {
        let link = find(&container, ifname.as_str())?;
        let backup = Backup::of(&conf.data_dir, &add.attachment.container, ifname);
        let mut before = before(&conf, &link)?;
        before.network = Some(add.attachment.network.to_string());
        before.container = Some(add.attachment.container.to_string());
        before.ifname = Some(ifname.to_string());
        if trail.step(|| backup.keep(&before))? {
            trail.undo(move || backup.remove());
        }
        for setting in &conf.sysctls {
            apply(trail, setting)?;
        }
        change(trail, &container, &link, conf.link)?;
        Ok(changed(prev, ifname.as_str(), conf.link))
    })
}

/// Puts back what was there, where it still is: what ADD wrote down says so, and not what anybody wants today.
///
/// # Errors
/// What could not be put back; the file that says what it was stays then.
pub fn del(del: &Del, raw: &Raw) -> Result<()> {
    let (container, ifname) = (&del.attachment.container, &del.attachment.ifname);
    let backup = Backup::of(&raw.data_dir(), container, ifname);
    if let (Some(before), Some(netns)) = (backup.read()?, enter_if_there(del)?) {
        restore(&netns, ifname.as_str(), &before)?;
    }
    backup.remove()
}

/// Compares link and settings with the configuration.
///
/// # Errors
/// The first difference.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let ifname = check.attachment.ifname.as_str();
    let conf = Conf::meant(raw, &check.call, ifname)?;
    let container = enter(&check.netns)?;
    let link = find(&container, ifname)
        .map_err(|_| Error::internal(format!("Cannot find container link {ifname}")))?;
    conf.sysctls.iter().try_for_each(Setting::check)?;
    let differs = |what: &str, said: String, is: String| {
        Err(Error::internal(format!(
            "Error: Tuning configured {what} of {ifname} is {said}, current value is {is}"
        )))
    };
    let on = |it: bool| if it { "on" } else { "off" }.to_string();
    match conf.link {
        LinkChanges { mac: Some(mac), .. } if link.mac != Some(mac) => {
            differs("MAC address", mac.to_string(), link.mac.map(|mac| mac.to_string()).unwrap_or_default())
        }
        LinkChanges { mtu: Some(mtu), .. } if link.mtu != mtu => {
            differs("MTU", mtu.to_string(), link.mtu.to_string())
        }
        LinkChanges { promiscuous: true, .. } if !link.promiscuous => {
            differs("Promiscuous Mode", on(true), on(false))
        }
        LinkChanges { all_multicast: Some(all), .. } if link.all_multicast != all => {
            differs("All-Multicast mode", on(all), on(!all))
        }
        LinkChanges { queue: Some(queue), .. } if link.queue != queue => {
            differs("Transmit Queue Length", queue.to_string(), link.queue.to_string())
        }
        _ => Ok(()),
    }
}

/// Removes what was kept for attachments that do not live.
///
/// # Errors
/// What could not be removed.
pub fn gc(gc: &Gc, raw: &Raw) -> Result<()> {
    match &gc.valid {
        Some(_) => backup::sweep(&raw.data_dir(), gc),
        None => Ok(()),
    }
}

fn enter(path: &Path) -> Result<Rtnl> {
    let text = path.display().to_string();
    open_netns(path)?
        .enter()
        .and_then(|()| Rtnl::here())
        .or_fail(Code::ENVIRONMENT, || format!("failed to open netns {text:?}"))
        .map_err(|error| error.details("variable CNI_NETNS"))
}

/// On DEL: nothing is to be put back in a namespace that is gone.
fn enter_if_there(del: &Del) -> Result<Option<Rtnl>> {
    let Some(path) = &del.netns else { return Ok(None) };
    let doing = || format!("failed to open netns {:?}", path.display().to_string());
    let netns = match NetNs::open(path) {
        Err(OpenError::Absent(_) | OpenError::NotANamespace(..)) => return Ok(None),
        opened => opened.doing(doing)?,
    };
    match netns.enter() {
        // A namespace of another kind.
        Err(error) if error.is_invalid() => Ok(None),
        entered => entered.and_then(|()| Rtnl::here()).map(Some).doing(doing),
    }
}

fn find(container: &Rtnl, ifname: &str) -> Result<Link> {
    let doing = || format!("failed to get {ifname:?}");
    container
        .link_by_name(ifname)
        .doing(doing)?
        .ok_or_else(|| Error::internal(format!("{}: Link not found", doing())))
}

/// What there is of that which will be changed.
fn before(conf: &Conf, link: &Link) -> Result<Before> {
    let LinkChanges { mac, promiscuous, mtu, all_multicast, queue } = conf.link;
    let held = |setting: &Setting| {
        let value = setting.current();
        value.map(|value| Some((setting.file.clone(), value?))).transpose()
    };
    Ok(Before {
        mac: mac.and(link.mac).map(|mac| mac.to_string()),
        promisc: promiscuous.then_some(link.promiscuous),
        mtu: mtu.map(|_| link.mtu),
        allmulti: all_multicast.map(|_| link.all_multicast),
        tx_q_len: queue.map(|_| link.queue),
        sysctls: conf.sysctls.iter().filter_map(held).collect::<Result<_>>()?,
        ..Before::default()
    })
}

fn apply(trail: &mut Trail, setting: &Setting) -> Result<()> {
    let _step = log::step("settings");
    let before = trail.step(|| setting.apply())?;
    let Setting { file, key, .. } = setting.clone();
    trail.undo(move || match before {
        Some(value) => sysctl::write(&file, &value).doing(|| format!("put back sysctl {key}")),
        None => Ok(()),
    });
    Ok(())
}

/// One request for each change, and one that takes it back.
fn change(trail: &mut Trail, container: &Rc<Rtnl>, link: &Link, wanted: LinkChanges) -> Result<()> {
    let _step = log::step("settings");
    let index = link.index;
    let mut steps = Vec::new();
    if let (Some(mac), Some(old)) = (wanted.mac, link.mac) {
        steps.push((Request::set_mac(index, mac), Request::set_mac(index, old)));
    }
    if wanted.promiscuous {
        steps
            .push((Request::set_promiscuous(index, true), Request::set_promiscuous(index, link.promiscuous)));
    }
    if let Some(mtu) = wanted.mtu {
        steps.push((Request::set_mtu(index, mtu), Request::set_mtu(index, link.mtu)));
    }
    if let Some(all) = wanted.all_multicast {
        steps.push((
            Request::set_all_multicast(index, all),
            Request::set_all_multicast(index, link.all_multicast),
        ));
    }
    if let Some(queue) = wanted.queue {
        steps.push((Request::set_queue(index, queue), Request::set_queue(index, link.queue)));
    }
    for (there, back) in steps {
        trail.step(|| container.send(there).doing(|| format!("failed to tune {:?}", link.name)))?;
        let container = container.clone();
        trail.undo(move || container.send(back).doing(|| "put the link back".into()));
    }
    Ok(())
}

/// The result tells what the link is like now.
fn changed(mut result: Success, ifname: &str, link: LinkChanges) -> Success {
    let ours = result.interfaces.iter_mut().filter(|it| it.name == ifname && it.sandbox.is_some());
    for interface in ours {
        interface.mac = link.mac.map(|mac| mac.to_string()).or(interface.mac.take());
        interface.mtu = interface.mtu.map(|was| link.mtu.unwrap_or(was));
    }
    result
}

fn restore(container: &Rtnl, ifname: &str, before: &Before) -> Result<()> {
    let _step = log::step("settings");
    let Some(link) = container.link_by_name(ifname).doing(|| format!("failed to get {ifname:?}"))? else {
        return Ok(());
    };
    let index = link.index;
    let mac = before.mac.as_deref().and_then(|mac| Mac::from_str(mac).ok());
    let requests = [
        before.mtu.map(|mtu| Request::set_mtu(index, mtu)),
        mac.map(|mac| Request::set_mac(index, mac)),
        before.promisc.map(|on| Request::set_promiscuous(index, on)),
        before.allmulti.map(|on| Request::set_all_multicast(index, on)),
        before.tx_q_len.map(|length| Request::set_queue(index, length)),
    ];
    let mut faults = Faults::default();
    for (file, value) in before.sysctls.iter().rev() {
        faults.note(Setting::meant(file, value, ifname).and_then(|setting| setting.put_back()));
    }
    for request in requests.into_iter().flatten() {
        faults.note(container.send(request).doing(|| format!("put back what {ifname:?} was")));
    }
    faults.verdict()
}
