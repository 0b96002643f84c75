//! Who had what, and when: what all workers saw, put together afterwards.

use std::collections::BTreeMap;
use std::time::Instant;

use super::member::ROOM;
use crate::lab::outcome::Outcome;

/// One stay of a container, from the start of its ADD to the end of its DEL.
#[derive(Debug)]
pub struct Stay {
    pub who: String,
    /// The addresses that it was given, or none if ADD failed.
    pub addresses: Vec<String>,
    /// The port of the host that it wanted.
    pub port: Option<u16>,
    /// Whether it was in the network without room for all.
    pub is_tight: bool,
    pub begun: Instant,
    /// ADD has answered.
    pub there: Instant,
    /// DEL is asked for.
    pub leaving: Instant,
    pub gone: Instant,
}

/// An ADD that failed.
pub struct Refusal {
    pub stay: Stay,
    pub answer: Outcome,
}

/// No address had two owners at any moment: between an ADD's answer and the start of its DEL nobody else had it.
pub fn no_address_twice(stays: &[Stay]) {
    let mut owners: BTreeMap<&str, Vec<&Stay>> = BTreeMap::new();
    for stay in stays {
        stay.addresses.iter().for_each(|address| owners.entry(address).or_default().push(stay));
    }
    for (address, mut all) in owners {
        all.sort_by_key(|stay| stay.there);
        for pair in all.windows(2) {
            assert!(pair[0].leaving < pair[1].there, "{address} twice: {pair:#?}");
        }
    }
}

/// There are two reasons to be refused, and both could have been seen from outside: no address was free, or the port
/// had an owner.
pub fn were_honest(stays: &[Stay], refusals: &[Refusal]) {
    for Refusal { stay, answer } in refusals {
        let others = stays.iter().chain(refusals.iter().map(|refusal| &refusal.stay));
        let meanwhile = others.filter(|other| other.begun < stay.gone && stay.begun < other.gone);
        if stay.is_tight {
            answer.fails(999).names(&["no IP addresses available in range set: 10.8.0.1-10.8.0.6"]);
            // One of those counted is this one itself.
            let there = meanwhile.filter(|other| other.is_tight).count() - 1;
            assert!(there >= ROOM, "there were {there} others\n{answer}");
        } else {
            let port = stay.port.unwrap_or_else(|| panic!("nothing to be refused for\n{answer}"));
            let has_it = |other: &&Stay| other.port == Some(port) && other.who != stay.who;
            let owners: Vec<&str> = meanwhile.filter(has_it).map(|other| other.who.as_str()).collect();
            let fault = answer.fails(999).names(&[&format!("{port}/tcp")]);
            let mut words = fault.msg.split(|c: char| !c.is_alphanumeric());
            let is_named = words.any(|word| owners.contains(&word));
            assert!(is_named, "the owners were {owners:?}\n{answer}");
        }
    }
}
