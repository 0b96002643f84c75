//! What operators may ask of the choice beyond its ranges. Pure.

use std::net::IpAddr;
use std::time::Duration;

use cni::env::Args;
use cni::error::{Error, Result};
use cni::value::parse_cidr;

use crate::caller::address;
use crate::choose::Start;
use crate::hash;
use crate::range::{RangeSet, Row};

/// How addresses are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where the search begins for a container that has no place of its own.
    pub allocation: Allocation,
    /// The number of the container's name, where that decides about its place.
    pub name: Option<u64>,
    /// For how long a freed address is not given again.
    pub cooldown: Option<Duration>,
}

/// Where the search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Behind the address that was given last.
    RoundRobin,
    /// Anywhere.
    Random,
}

impl Allocation {
    /// Reads the word of the configuration; none means round robin.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] for any other word.
    pub fn read(word: &str) -> Result<Allocation> {
        match word {
            "" | "round-robin" => Ok(Allocation::RoundRobin),
            "random" => Ok(Allocation::Random),
            other => {
                Err(Error::config(format!("allocation {other:?} is neither \"round-robin\" nor \"random\"")))
            }
        }
    }
}

impl Policy {
    /// Where the search in this set begins; `last` is what it gave last, and `dice` any number.
    pub fn start(
        &self,
        set: &RangeSet,
        last: impl FnOnce() -> Option<IpAddr>,
        dice: impl FnOnce() -> u128,
    ) -> Start {
        let place = match (self.name, self.allocation) {
            (Some(name), _) => u128::from(name),
            (None, Allocation::Random) => dice(),
            (None, Allocation::RoundRobin) => return last().map_or(Start::First, Start::After),
        };
        set.nth(place).map_or(Start::First, Start::At)
    }

    /// Whether the next search begins behind the address that this one finds.
    pub fn goes_round(&self) -> bool {
        self.name.is_none() && self.allocation == Allocation::RoundRobin
    }
}

/// The number of the container's name, where the runtime tells it: Kubernetes' pod, which keeps its name when it is
/// replaced, and not the container ID, which never comes again.
pub fn name(args: &Args) -> Option<u64> {
    Some(hash::of(&[args.get("K8S_POD_NAMESPACE").unwrap_or_default(), args.get("K8S_POD_NAME")?]))
}

/// Addresses that are never given: `A`, `A/LENGTH` or `A-B`.
///
/// # Errors
/// [`cni::error::Code::CONFIG`], naming the value.
pub fn excluded(text: &str) -> Result<Row> {
    let wrong = || {
        Error::config(format!(
            "exclude {text:?} is no address, no subnet and no row of addresses (first-last)"
        ))
    };
    if let Some((first, last)) = text.split_once('-') {
        let (Ok(first), Ok(last)) = (address(first.trim()), address(last.trim())) else {
            return Err(wrong());
        };
        return Row::new(first, last).ok_or_else(wrong);
    }
    if let Ok(ip) = address(text) {
        return Row::new(ip, ip).ok_or_else(wrong);
    }
    let subnet = parse_cidr(text).ok_or_else(wrong)?;
    if subnet.ip() != subnet.network() {
        let meant = subnet.network();
        return Err(Error::config(format!(
            "exclude {text:?} is an address in {meant}/{}: which is meant?",
            subnet.prefix()
        )));
    }
    Row::new(subnet.network(), subnet.broadcast()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Range;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_excluded_is_an_address_a_subnet_or_a_row() {
        for (text, first, last) in [
            ("10.1.0.5", "10.1.0.5", "10.1.0.5"),
            ("10.1.0.8/30", "10.1.0.8", "10.1.0.11"),
            ("10.1.0.5-10.1.0.9", "10.1.0.5", "10.1.0.9"),
            ("10.1.0.5 - 10.1.0.5", "10.1.0.5", "10.1.0.5"),
            ("fd00::/120", "fd00::", "fd00::ff"),
            ("::ffff:10.1.0.5", "10.1.0.5", "10.1.0.5"),
        ] {
            assert_eq!(excluded(text).unwrap(), Row::new(ip(first), ip(last)).unwrap(), "{text}");
        }
        for text in
            ["", "x", "10.1.0.9-10.1.0.5", "10.1.0.5-fd00::1", "10.1.0.5-", "10.1.0.5/30", "10.1.0.0/33"]
        {
            let error = excluded(text).unwrap_err();
            assert_eq!(error.code(), cni::error::Code::CONFIG);
            assert!(error.msg().contains(&format!("{text:?}")), "{}", error.msg());
        }
    }

    #[test]
    fn the_search_begins_where_the_policy_says() {
        let range = Range::new("10.1.0.0/24".parse().unwrap(), None, None, None).unwrap();
        let set = RangeSet::new(vec![range]).unwrap();
        let start = |policy: Policy, last| policy.start(&set, || last, || 99);
        let plain = Policy { allocation: Allocation::RoundRobin, name: None, cooldown: None };
        let last = Some(ip("10.1.0.7"));
        assert_eq!(start(plain, last), Start::After(ip("10.1.0.7")));
        assert_eq!(start(plain, None), Start::First);
        let random = Policy { allocation: Allocation::Random, ..plain };
        assert_eq!(start(random, last), Start::At(ip("10.1.0.100")));
        // A name has its place, whatever else holds.
        for policy in [plain, random] {
            let named = Policy { name: Some(254 + 3), ..policy };
            assert_eq!(start(named, last), Start::At(ip("10.1.0.4")));
            assert!(!named.goes_round());
        }
        assert!(plain.goes_round() && !random.goes_round());
    }
}
