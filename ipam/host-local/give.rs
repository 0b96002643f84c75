//! Which addresses an ADD gets, and that it gets all of them or none.

use std::net::IpAddr;

use cni::attach::Trail;
use cni::error::{Code, Error, OrFail, Result};
use cni::result::Ip;

use crate::choose;
use crate::host_local::full;
use crate::lease::Holder;
use crate::range::{Range, RangeSet};
use crate::store::Store;
use crate::store::claim::Claim;

/// One lease from each set. What was taken is given back if a later one cannot be had, or the answer not be given.
pub(super) fn lease_all(
    trail: &mut Trail,
    store: &mut Store,
    sets: &[RangeSet],
    wishes: &[Option<IpAddr>],
    holder: &Holder,
) -> Result<Vec<Ip>> {
    let in_set = |i: usize| move || format!("failed to allocate for range {i}");
    let held = store.held_by(holder)?;
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
    loop {
        match choose::next(set, last, |first, last| store.first_free(first, last))? {
            // Somebody who asks for no lock may have taken it since we looked. Then it counts as taken from here on.
            Some((ip, range)) => {
                if let Some(claim) = store.claim(ip, holder)? {
                    return Ok((ip, range, claim));
                }
            }
            None if store.look_again()? => {}
            None => return Err(full::error(store, set, Code::INTERNAL)),
        }
    }
}
