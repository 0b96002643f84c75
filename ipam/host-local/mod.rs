//! host-local: one address from each set of ranges, leased to one interface of one container.
//!
//! The same configuration, files and words as the Go plugin of this name; docs/differences.md lists where we differ.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use cni::Plugin;
use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Attachment, Call, Check, Del, Gc};
use cni::error::{Code, Error, Faults, OrFail, Result};
use cni::name::{ContainerId, IfName};
use cni::result::{Dns, Ip, Success};

use crate::choose;
use crate::conf::{Conf, Raw};
use crate::lease::{Holder, Says};
use crate::range::{Range, RangeSet};
use crate::resolver;
use crate::store::{self, Claim, Store};

/// The plugin.
pub struct HostLocal;

impl Plugin for HostLocal {
    type Conf = Raw;
    const ENTERS: bool = false;

    /// Leases an address from every set, or none at all.
    fn add(add: &Add, raw: Raw) -> Result<Attached> {
        let conf = raw.meant(&add.call)?;
        let wishes =
            choose::assign(&conf.sets, &conf.requested).map_err(|left| Error::config(left.to_string()))?;
        let dns = dns(&conf)?;
        attach(|trail| {
            let mut store = trail.step(|| Store::open(&conf.folder))?;
            let ips = lease_all(trail, &mut store, &conf.sets, &wishes, &holder(&add.attachment))?;
            Ok(Success { ips, routes: conf.routes.clone(), dns, ..Success::default() })
        })
    }

    /// Frees whatever the attachment has. The folder is enough: ranges that make no sense any more do not matter.
    fn del(del: &Del, raw: Raw) -> Result<()> {
        let Some(mut store) = Store::open_existing(&raw.folder(&del.call.network))? else { return Ok(()) };
        let mut faults = Faults::default();
        for ip in store.written_for(&holder(&del.attachment)) {
            faults.note(store.release(ip));
        }
        faults.verdict()
    }

    /// The attachment has a lease, and no address of the result that comes from our ranges is somebody else's.
    fn check(check: &Check, raw: Raw) -> Result<()> {
        let conf = raw.meant(&check.call)?;
        let container = &check.attachment.container;
        let store = Store::open_existing(&conf.folder)?;
        let leased = store.map(|store| store.held_by(&holder(&check.attachment))).unwrap_or_default();
        if leased.is_empty() {
            let text = format!("host-local: Failed to find address added by container {container}");
            return Err(Error::internal(text));
        }
        let ours = |ip: &IpAddr| conf.sets.iter().any(|set| set.range_of(*ip).is_some());
        match check.prev.ips.iter().map(|ip| ip.address.ip()).filter(ours).find(|ip| !leased.contains(ip)) {
            Some(ip) => Err(Error::internal(format!(
                "host-local: address {ip} is not leased to container {container}"
            ))),
            None => Ok(()),
        }
    }

    /// Would ADD find an address in every set, its resolver configuration, and a folder that it may write to?
    fn status(call: &Call, raw: Raw) -> Result<()> {
        let conf = raw.meant(call)?;
        let store = ready(&conf).map_err(|why| Error::new(Code::NOT_AVAILABLE, why.msg()))?;
        let Some(store) = store else { return Ok(()) };
        match conf.sets.iter().find(|set| choose::next(set, None, |ip| store.is_taken(ip)).is_none()) {
            Some(full) => Err(no_address(full, &conf.folder, Code::NOT_AVAILABLE)),
            None => Ok(()),
        }
    }

    /// Frees the leases of this network whose attachment is not among the living, and clears rubbish away.
    fn gc(gc: &Gc, raw: Raw) -> Result<()> {
        let Some(living) = &gc.valid else { return Ok(()) };
        let Some(mut store) = Store::open_existing(&raw.folder(&gc.call.network))? else { return Ok(()) };
        let stale: Vec<IpAddr> =
            store.leases().filter(|(_, lease)| is_stale(&lease.says, living)).map(|(ip, _)| ip).collect();
        let mut faults = Faults::default();
        for ip in stale {
            faults.note(store.release(ip));
        }
        faults.verdict()
    }
}

/// One lease from each set. What was taken is given back if a later one cannot be had, or the answer not be given.
fn lease_all(
    trail: &mut Trail,
    store: &mut Store,
    sets: &[RangeSet],
    wishes: &[Option<IpAddr>],
    holder: &Holder,
) -> Result<Vec<Ip>> {
    let in_set = |i: usize| move || format!("failed to allocate for range {i}");
    let held = store.held_by(holder);
    for (i, set) in sets.iter().enumerate() {
        refuse_second(set, &held, holder).doing(in_set(i))?;
    }
    let mut ips = Vec::new();
    for (i, (set, wish)) in sets.iter().zip(wishes).enumerate() {
        let (ip, range, claim) = trail
            .step(|| match wish {
                Some(ip) => lease_requested(store, set, *ip, holder),
                None => lease_next(store, set, store.last_given(i), holder),
            })
            .doing(in_set(i))?;
        trail.undo(move || claim.give_back());
        let address =
            range.within_subnet(ip).ok_or_else(|| Error::internal(format!("{ip} is not in {range}")))?;
        ips.push(Ip::new(address, Some(range.gateway())));
    }
    for (i, ip) in ips.iter().enumerate() {
        trail.step(|| store.remember(i, ip.address.ip()))?;
    }
    Ok(ips)
}

/// A second ADD without a DEL between them is a mistake of the caller. The first one's lease is in use.
fn refuse_second(set: &RangeSet, held: &[IpAddr], holder: &Holder) -> Result<()> {
    let Some(ip) = held.iter().find(|ip| set.range_of(**ip).is_some()) else { return Ok(()) };
    let id = &holder.container;
    Err(Error::internal(format!("{ip} has been allocated to {id}, duplicate allocation is not allowed")))
}

fn lease_requested<'a>(
    store: &mut Store,
    set: &'a RangeSet,
    ip: IpAddr,
    holder: &Holder,
) -> Result<(IpAddr, &'a Range, Claim)> {
    if set.is_gateway(ip) {
        return Err(Error::config(format!("requested ip {ip} is subnet's gateway")));
    }
    let taken = || Error::internal(format!("requested IP address {ip} is not available in range set {set}"));
    let range = set.range_of(ip).ok_or_else(taken)?;
    Ok((ip, range, store.claim(ip, holder)?.ok_or_else(taken)?))
}

fn lease_next<'a>(
    store: &mut Store,
    set: &'a RangeSet,
    last: Option<IpAddr>,
    holder: &Holder,
) -> Result<(IpAddr, &'a Range, Claim)> {
    while let Some((ip, range)) = choose::next(set, last, |ip| store.is_taken(ip)) {
        // Somebody who asks for no lock may have taken it since we looked. Then it counts as taken from here on.
        if let Some(claim) = store.claim(ip, holder)? {
            return Ok((ip, range, claim));
        }
    }
    Err(no_address(set, store.folder(), Code::INTERNAL))
}

/// The words that everybody searches for.
fn no_address(set: &RangeSet, folder: &Path, code: Code) -> Error {
    Error::new(code, format!("no IP addresses available in range set: {set}"))
        .details(format!("every address is leased; the leases are the files in {}", folder.display()))
}

/// What ADD needs besides an address. `None` where there is no folder yet, and hence no lease.
fn ready(conf: &Conf) -> Result<Option<Store>> {
    dns(conf)?;
    store::is_writable(&conf.folder)?;
    Store::open_existing(&conf.folder)
}

fn dns(conf: &Conf) -> Result<Dns> {
    let Some(path) = &conf.resolv_conf else { return Ok(Dns::default()) };
    let text = fs::read(path).doing(|| format!("open {}", path.display()))?;
    Ok(resolver::read(&String::from_utf8_lossy(&text)))
}

fn holder(attachment: &Attachment) -> Holder {
    Holder { container: attachment.container.to_string(), ifname: Some(attachment.ifname.to_string()) }
}

/// A lease without an interface lives as long as any attachment of its container. What is not a lease stays.
fn is_stale(says: &Says, living: &[(ContainerId, IfName)]) -> bool {
    let lives = |holder: &Holder| {
        living.iter().any(|(id, name)| {
            id.as_str() == holder.container
                && holder.ifname.as_deref().is_none_or(|ifname| ifname == name.as_str())
        })
    };
    match says {
        Says::Held(holder) => !lives(holder),
        Says::Torn => true,
        Says::Foreign => false,
    }
}
