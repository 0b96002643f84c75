//! Which address is next. Pure: the folder, or a test, says what is taken.

use std::fmt;
use std::net::IpAddr;

use crate::range::{Range, RangeSet};

/// Where in a set the search for a free address begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first address of the first range.
    First,
    /// Behind the address that was given last: a freed address so rests as long as possible before somebody else gets it,
    /// and with it the neighbour-table entries that others still have.
    After(IpAddr),
    /// At this address.
    At(IpAddr),
}

/// The next free address of a set and its range, going round once from the start. A start that lies in no range is
/// the first address.
///
/// `free` says which is the first free address from one to another, both included.
///
/// # Errors
/// Those of `free`.
pub fn next<E>(
    set: &RangeSet,
    start: Start,
    mut free: impl FnMut(IpAddr, IpAddr) -> Result<Option<IpAddr>, E>,
) -> Result<Option<(IpAddr, &Range)>, E> {
    for (range, (first, last)) in round(set, start) {
        let mut rest = Some((first, last));
        while let Some((first, last)) = rest {
            let Some(ip) = free(first, last)? else { break };
            let Some(withheld) = set.withheld(ip) else { return Ok(Some((ip, range))) };
            rest = range.after(withheld).map(|(next, _)| (next, last)).filter(|(next, last)| next <= last);
        }
    }
    Ok(None)
}

/// A row of addresses by its ends.
type Ends = (IpAddr, IpAddr);

/// Every address of the set once: from the start to the end of its range, the ranges that follow, the ranges before,
/// and what comes before the start at the very end.
fn round(set: &RangeSet, start: Start) -> impl Iterator<Item = (&Range, Ends)> {
    let ranges = set.ranges();
    let place = match start {
        Start::First => None,
        Start::After(ip) | Start::At(ip) => ranges.iter().position(|range| range.contains(ip)),
    };
    let (before, after) = ranges.split_at(place.unwrap_or(0));
    let (split, whole) = after.split_at(usize::from(place.is_some()).min(after.len()));
    let (from, to) = match (split.first(), start) {
        (Some(range), Start::After(ip)) => (range.after(ip), range.up_to(ip)),
        (Some(range), Start::At(ip)) => (range.from(ip), range.before(ip)),
        _ => (None, None),
    };
    let split = |ends: Option<Ends>| split.first().zip(ends);
    let others = whole.iter().chain(before).map(|range| (range, (range.first(), range.last())));
    split(from).into_iter().chain(others).chain(split(to))
}

/// For each set, the requested address that lies in it, if there is one. No set can serve two requests.
///
/// Whoever asks for the same address twice asks for it once: podman does so when it is given an address and a
/// MAC.
///
/// # Errors
/// The requests that are left over.
pub fn assign(sets: &[RangeSet], requested: &[IpAddr]) -> Result<Vec<Option<IpAddr>>, Unassigned> {
    let serves = |set: &RangeSet| requested.iter().copied().find(|ip| set.range_of(*ip).is_some());
    let assigned: Vec<_> = sets.iter().map(serves).collect();
    let mut left: Vec<IpAddr> = Vec::new();
    for ip in requested {
        if !assigned.contains(&Some(*ip)) && !left.contains(ip) {
            left.push(*ip);
        }
    }
    if left.is_empty() { Ok(assigned) } else { Err(Unassigned(left)) }
}

/// Requested addresses that lie in no range, or in the range of another request.
#[derive(Debug, PartialEq, Eq)]
pub struct Unassigned(Vec<IpAddr>);

impl fmt::Display for Unassigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to allocate all requested IPs:")?;
        self.0.iter().try_for_each(|ip| write!(f, " {ip}"))
    }
}

impl std::error::Error for Unassigned {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;
    use crate::range::{address, number};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn set(subnets: &[&str]) -> RangeSet {
        let range = |subnet: &&str| Range::new(subnet.parse().unwrap(), None, None, None).unwrap();
        RangeSet::new(subnets.iter().map(range).collect()).unwrap()
    }

    fn next_ip(set: &RangeSet, last: Option<IpAddr>, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let free = |first, last| {
            let walk = (number(first)..=number(last)).map(|n| address(n, first));
            Ok::<_, Infallible>(walk.into_iter().find(|ip| !taken.contains(ip)))
        };
        next(set, last.map_or(Start::First, Start::After), free).unwrap().map(|(ip, _)| ip)
    }

    #[test]
    fn the_next_address_is_the_one_that_the_go_plugin_would_give() {
        let three: &[&str] = &["10.0.0.0/30", "10.0.1.0/30", "10.0.2.0/30"];
        for (subnets, last, taken, expected) in [
            (&["10.0.0.0/29"][..], "", "", "10.0.0.2"),
            (&["10.0.0.0/29"], "10.0.0.5", "", "10.0.0.6"),
            (&["10.0.0.0/29"], "10.0.0.5", "10.0.0.6", "10.0.0.2"),
            (&["10.0.0.0/29"], "10.0.0.128", "10.0.0.2", "10.0.0.3"),
            (&["10.0.0.0/29"], "10.0.0.3", "10.0.0.2 10.0.0.4 10.0.0.5 10.0.0.6", "10.0.0.3"),
            (&["10.0.0.0/30", "10.0.1.0/30"], "10.0.0.2", "", "10.0.1.2"),
            (three, "10.0.2.2", "", "10.0.0.2"),
            (three, "10.0.1.2", "10.0.2.2", "10.0.0.2"),
            (&["2001:db8:1::/64"], "", "", "2001:db8:1::2"),
            (&["8000::/1"], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "8000::2"),
            (&["192.168.1.0/29"], "", "192.168.1.2 192.168.1.3 192.168.1.4 192.168.1.5 192.168.1.6", ""),
        ] {
            let taken = taken.split_whitespace().map(ip).collect();
            let found = next_ip(&set(subnets), last.parse().ok(), &taken);
            assert_eq!(found, expected.parse().ok(), "{subnets:?} after {last:?} without {taken:?}");
        }
    }

    #[test]
    fn every_request_needs_a_set_of_its_own() {
        let sets = [set(&["10.0.0.0/24"]), set(&["fd00::/64"])];
        let (four, five, six, far) = (ip("10.0.0.4"), ip("10.0.0.5"), ip("fd00::6"), ip("192.0.2.1"));
        assert_eq!(assign(&sets, &[]).unwrap(), [None, None]);
        assert_eq!(assign(&sets, &[six, four]).unwrap(), [Some(four), Some(six)]);
        assert_eq!(assign(&sets, &[four, four]).unwrap(), [Some(four), None]);
        let words = assign(&sets, &[four, five, far, far]).unwrap_err().to_string();
        assert_eq!(words, "failed to allocate all requested IPs: 10.0.0.5 192.0.2.1");
    }
}
