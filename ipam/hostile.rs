//! What is done with bytes that anybody may have written, as functions for tests/fuzz (docs/fuzzing.md). Each panics where a
//! promise is broken; that it returns at all is the first of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::decode::decode;
use cni::env::{Env, Verb};
use cni::error::Error;
use cni::request::Request;

use crate::boot::{Id, Mark};
use crate::choose::{self, Start};
use crate::conf::Raw;
use crate::lease::Says;
use crate::range::RangeSet;
use crate::{resolver, r#static, store};

/// stdin of host-local, behind the variables of its call: what is accepted gives an address of its subnet, each set one of its
/// own, and means the same when it is read again.
pub fn host_local(bytes: &[u8]) {
    let Some(Request::Status(call)) = status(bytes) else { return };
    let Ok(raw) = decode::<Raw>(&call.config) else { return };
    assert!(raw.folder(&call.network).ends_with(call.network.as_str()));
    let _ = raw.cooldown();
    let (conf, again) = (raw.clone().meant(&call), raw.meant(&call));
    assert_eq!(format!("{conf:?}"), format!("{again:?}"), "one configuration, two meanings");
    let conf = match conf {
        Ok(conf) => conf,
        Err(error) => return refused(&error),
    };
    let firsts = conf.sets.iter().filter_map(|set| first(set, &BTreeSet::new())).collect::<Vec<_>>();
    assert_eq!(firsts.len(), conf.sets.len(), "a set without an address");
    assert_eq!(firsts.iter().collect::<BTreeSet<_>>().len(), firsts.len(), "two sets with one address");
    for (set, given) in conf.sets.iter().zip(&firsts) {
        let range = set.range_of(*given);
        let address = range.and_then(|range| range.within_subnet(*given));
        assert!(address.is_some_and(|address| address.ip() == *given), "{given} is in no subnet of {set}");
        assert!(range.is_some_and(|range| range.gateway() != *given), "{given} is the gateway");
        let next = first(set, &BTreeSet::from([*given]));
        assert_ne!(next, Some(*given));
    }
    let _ = choose::assign(&conf.sets, &conf.requested);
}

/// The first address of a set that is not one of these.
fn first(set: &RangeSet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let free = |first: IpAddr, last: IpAddr| -> Result<Option<IpAddr>, Error> {
        let next = if taken.contains(&first) { crate::range::successor(first) } else { Some(first) };
        Ok(next.filter(|next| *next <= last))
    };
    choose::next(set, Start::First, free).ok().flatten().map(|(ip, _)| ip)
}

/// stdin of static, behind the variables of its call: no address twice, and each with a gateway of its family.
pub fn fixed(bytes: &[u8]) {
    let Some(Request::Status(call)) = status(bytes) else { return };
    let lease = match r#static::conf::lease(&call) {
        Ok(lease) => lease,
        Err(error) => return refused(&error),
    };
    assert_eq!(r#static::conf::lease(&call).ok().as_ref(), Some(&lease), "one configuration, two leases");
    for (at, ip) in lease.ips.iter().enumerate() {
        assert!(
            lease.ips.iter().skip(at + 1).all(|other| other.address != ip.address),
            "{} twice",
            ip.address
        );
        assert!(ip.gateway.is_none_or(|gateway| gateway.is_ipv4() == ip.address.is_ipv4()));
        assert!(!ip.address.ip().is_unspecified() && !ip.address.ip().is_multicast());
    }
}

/// Asks for STATUS, whatever the input calls: it needs no container.
fn status(bytes: &[u8]) -> Option<Request> {
    let (variables, stdin) = fuzz::call(bytes);
    Request::read(Verb::Status, &Env::of(variables), stdin, false).ok()
}

/// Nonsense is told by whoever made it: never by an error of ours.
fn refused(error: &Error) {
    assert_ne!(error.code(), cni::error::Code::INTERNAL, "{}", error.msg());
    assert!(!error.msg().is_empty());
}

/// A lease file, its mark, the numbers of a machine, and a resolver's configuration.
pub fn lease(bytes: &[u8]) {
    if let Says::Held(holder) = Says::read(bytes) {
        assert_eq!(Says::read(holder.text().as_bytes()), Says::Held(holder), "a lease does not come back");
    }
    if let Some(mark) = Mark::read(bytes) {
        assert_eq!(mark.bytes(), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = (Id::read(&text), resolver::read(&text));
}

/// The index of a folder of leases, and the list of the addresses that rest.
pub fn index(bytes: &[u8]) {
    store::hostile::index(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_host_local_accepts_gives_addresses() {
        fuzz::attack("host-local", super::host_local);
    }

    #[test]
    fn what_static_accepts_is_a_lease() {
        fuzz::attack("static", super::fixed);
    }

    #[test]
    fn a_lease_file_may_be_anything() {
        fuzz::attack("lease", super::lease);
    }

    #[test]
    fn an_index_may_be_anything() {
        fuzz::attack("index", super::index);
    }
}
