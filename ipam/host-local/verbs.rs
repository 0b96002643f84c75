//! What the plugin does, verb by verb, on some machine.

use std::net::IpAddr;

use cni::attach::{Attached, attach};
use cni::call::{Add, Attachment, Call, Check, Del, Gc};
use cni::error::{Code, Error, Faults, OrFail, Result};
use cni::files;
use cni::log;
use cni::result::{Dns, Success};

use crate::choose;
use crate::conf::{Conf, Raw};
use crate::host_local::{full, give};
use crate::lease::{Holder, Lease};
use crate::policy;
use crate::resolver;
use crate::store::census::Living;
use crate::store::{self, Machine, Store};

/// Leases an address from every set, or none at all.
pub(super) fn add(machine: &Machine, add: &Add, raw: Raw) -> Result<Attached> {
    let conf = raw.meant(&add.call)?;
    let wishes =
        choose::assign(&conf.sets, &conf.requested).map_err(|left| Error::config(left.to_string()))?;
    let dns = dns(&conf)?;
    attach(|trail| {
        let _step = log::step("leases");
        let mut store = trail.step(|| Store::open(machine, &conf.folder))?;
        let ips = give::lease_all(trail, &mut store, &conf, &wishes, &holder(&add.attachment))?;
        Ok(Success { ips, routes: conf.routes.clone(), dns, ..Success::default() })
    })
}

/// Frees whatever the attachment has. The folder is enough: ranges that make no sense any more do not matter.
pub(super) fn del(machine: &Machine, del: &Del, raw: Raw) -> Result<()> {
    let _step = log::step("leases");
    let Some(mut store) = Store::open_existing(machine, &raw.folder(&del.call.network))? else {
        return Ok(());
    };
    let mut faults = Faults::default();
    let known: Vec<IpAddr> = del.prev.iter().flat_map(|prev| &prev.ips).map(|ip| ip.address.ip()).collect();
    let written = store.written_for(&holder(&del.attachment), &known)?;
    lay_to_rest(&store, &raw, &written, policy::name(&del.call.args));
    for (ip, lease) in written {
        faults.note(store.release(ip, &lease));
    }
    faults.verdict()
}

/// The attachment has a lease, and no address of the result that comes from our ranges is somebody else's.
pub(super) fn check(machine: &Machine, check: &Check, raw: Raw) -> Result<()> {
    let conf = raw.meant(&check.call)?;
    let container = &check.attachment.container;
    let store = Store::open_existing(machine, &conf.folder)?;
    let known: Vec<IpAddr> = check.prev.ips.iter().map(|ip| ip.address.ip()).collect();
    let held = |mut store: Store| store.held_by(&holder(&check.attachment), &known);
    let leased = store.map(held).transpose()?.unwrap_or_default();
    if leased.is_empty() {
        let text = format!("host-local: Failed to find address added by container {container}");
        return Err(Error::internal(text));
    }
    let ours = |ip: &IpAddr| conf.sets.iter().any(|set| set.range_of(*ip).is_some());
    match known.iter().filter(|ip| ours(ip)).find(|ip| !leased.contains(ip)) {
        Some(ip) => {
            Err(Error::internal(format!("host-local: address {ip} is not leased to container {container}")))
        }
        None => Ok(()),
    }
}

/// Would ADD find an address in every set, its resolver configuration, and a folder that it may write to?
pub(super) fn status(machine: &Machine, call: &Call, raw: Raw) -> Result<()> {
    let conf = raw.meant(call)?;
    let store = ready(machine, &conf).map_err(|why| Error::new(Code::NOT_AVAILABLE, why.msg()))?;
    let Some(mut store) = store else { return Ok(()) };
    let resting = give::resting(&store, &conf.policy)?;
    for (i, set) in conf.sets.iter().enumerate() {
        if give::find(&mut store, (i, set), &conf.policy, &resting)?.is_none() {
            return Err(full::error(&store, set, &resting, Code::NOT_AVAILABLE));
        }
    }
    Ok(())
}

/// Frees the leases of this network whose attachment is not among the living, and clears rubbish away.
pub(super) fn gc(machine: &Machine, gc: &Gc, raw: Raw) -> Result<()> {
    let Some(living) = &gc.valid else { return Ok(()) };
    let Some(mut store) = Store::open_existing(machine, &raw.folder(&gc.call.network))? else {
        return Ok(());
    };
    let living = Living::of(living.names());
    let mut faults = Faults::default();
    let dead = store.dead(&living)?;
    lay_to_rest(&store, &raw, &dead, None);
    for (ip, lease) in dead {
        faults.note(store.release(ip, &lease));
    }
    faults.verdict()
}

/// Freed addresses rest for a while, if the configuration says so. An address that cannot be laid to rest must be freed all
/// the same: a lease that stays is the greater evil.
fn lay_to_rest(store: &Store, raw: &Raw, freed: &[(IpAddr, Lease)], name: Option<u64>) {
    if let Some(cooldown) = raw.cooldown() {
        let held: Vec<IpAddr> = freed.iter().filter(|(_, lease)| lease.holds()).map(|(ip, _)| *ip).collect();
        let _ = store.lay_to_rest(&held, name, cooldown);
    }
}

/// What ADD needs besides an address. `None` where there is no folder yet, and hence no lease.
fn ready(machine: &Machine, conf: &Conf) -> Result<Option<Store>> {
    dns(conf)?;
    store::is_writable(&conf.folder)?;
    Store::open_existing(machine, &conf.folder)
}

fn dns(conf: &Conf) -> Result<Dns> {
    let Some(path) = &conf.resolv_conf else { return Ok(Dns::default()) };
    let text = files::read_anybodys(path).doing(|| format!("open {}", path.display()))?;
    Ok(resolver::read(&String::from_utf8_lossy(&text)))
}

fn holder(attachment: &Attachment) -> Holder {
    Holder { container: attachment.container.to_string(), ifname: Some(attachment.ifname.to_string()) }
}
