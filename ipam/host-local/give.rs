//! Which addresses an ADD gets, and that it gets all of them or none.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use cni::attach::Trail;
use cni::error::{Code, Error, OrFail, Result};
use cni::result::Ip;

use crate::choose;
use crate::conf::Conf;
use crate::host_local::full;
use crate::lease::Holder;
use crate::policy::Policy;
use crate::range::{Range, RangeSet, successor};
use crate::store::Store;
use crate::store::claim::Claim;
use crate::store::rest::Resting;

/// One lease from each set. What was taken is given back if a later one cannot be had, or the answer not be given.
pub(super) fn lease_all(
    trail: &mut Trail,
    store: &mut Store,
    conf: &Conf,
    wishes: &[Option<IpAddr>],
    holder: &Holder,
) -> Result<Vec<Ip>> {
    let in_set = |i: usize| move || format!("failed to allocate for range {i}");
    let held = store.held_by(holder, &[])?;
    for (i, set) in conf.sets.iter().enumerate() {
        refuse_second(set, &held, holder).doing(in_set(i))?;
    }
    let resting = resting(store, &conf.policy)?;
    let mut ips = Vec::new();
    for (i, (set, wish)) in conf.sets.iter().zip(wishes).enumerate() {
        let (ip, range, claim) = trail
            .step(|| match wish {
                Some(ip) => lease_requested(store, set, *ip, holder),
                None => lease_next(store, (i, set), &conf.policy, &resting, holder),
            })
            .doing(in_set(i))?;
        trail.undo(move || claim.give_back());
        let address =
            range.within_subnet(ip).ok_or_else(|| Error::internal(format!("{ip} is not in {range}")))?;
        ips.push(Ip::new(address, Some(range.gateway())));
    }
    for (i, (ip, wish)) in ips.iter().zip(wishes).enumerate() {
        if wish.is_some() || conf.policy.goes_round() {
            trail.step(|| store.remember(i, ip.address.ip()))?;
        }
    }
    Ok(ips)
}

/// What may not be given yet.
pub(super) fn resting(store: &Store, policy: &Policy) -> Result<Resting> {
    if policy.cooldown.is_some() { store.resting() } else { Ok(Resting::default()) }
}

/// The address of this set that comes next.
pub(super) fn find<'a>(
    store: &mut Store,
    (i, set): (usize, &'a RangeSet),
    policy: &Policy,
    resting: &Resting,
) -> Result<Option<(IpAddr, &'a Range)>> {
    let start = policy.start(set, || store.last_given(i), dice);
    choose::next(set, start, |mut first, last| {
        loop {
            match store.first_free(first, last)? {
                Some(ip) if resting.keeps(ip, policy.name) => {
                    match successor(ip).filter(|next| *next <= last) {
                        Some(next) => first = next,
                        None => return Ok(None),
                    }
                }
                found => return Ok(found),
            }
        }
    })
}

/// Any number. (The standard library has no other dice than the keys that it makes for each hash map.)
fn dice() -> u128 {
    let roll = || u128::from(RandomState::new().hash_one(()));
    roll() << 64 | roll()
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
    if set.is_excluded(ip) {
        return Err(Error::config(format!("requested ip {ip} is excluded")));
    }
    let taken = || Error::internal(format!("requested IP address {ip} is not available in range set {set}"));
    let range = set.range_of(ip).ok_or_else(taken)?;
    Ok((ip, range, store.claim(ip, holder)?.ok_or_else(taken)?))
}

fn lease_next<'a>(
    store: &mut Store,
    (i, set): (usize, &'a RangeSet),
    policy: &Policy,
    resting: &Resting,
    holder: &Holder,
) -> Result<(IpAddr, &'a Range, Claim)> {
    loop {
        match find(store, (i, set), policy, resting)? {
            // Somebody who asks for no lock may have taken it since we looked. Then it counts as taken from here on.
            Some((ip, range)) => {
                if let Some(claim) = store.claim(ip, holder)? {
                    return Ok((ip, range, claim));
                }
            }
            None if store.look_again()? => {}
            None => return Err(full::error(store, set, resting, Code::INTERNAL)),
        }
    }
}
