//! What holds for ranges and for the choice among them whatever the pool: in either family, up to the whole of it, at
//! its first and its last address. The tables in `range` and `choose` have the words and the cases that people meet.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use crate::choose::{self, Start, assign};
use crate::range::{Range, RangeSet, Row};

/// The choice, where single addresses are taken or not.
fn next(set: &RangeSet, last: Option<IpAddr>, taken: impl FnMut(IpAddr) -> bool) -> Option<(IpAddr, &Range)> {
    next_from(set, last.map_or(Start::First, Start::After), taken)
}

/// The choice from any start.
fn next_from(
    set: &RangeSet,
    start: Start,
    mut taken: impl FnMut(IpAddr) -> bool,
) -> Option<(IpAddr, &Range)> {
    let free = |first: IpAddr, last: IpAddr| Ok::<_, Infallible>(walk(first, last).find(|ip| !taken(*ip)));
    choose::next(set, start, free).unwrap()
}

/// From one address to another, both included.
fn walk(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    (number(first)..=number(last)).map(move |n| address(n, first.is_ipv4()))
}

fn row_contains(row: &Row, ip: IpAddr) -> bool {
    row.first() <= ip && ip <= row.last()
}

/// Every address of a range.
fn addresses(range: &Range) -> impl Iterator<Item = IpAddr> + use<> {
    walk(range.first(), range.last())
}

/// An address as a number, and back; the second argument says which family.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, is_ipv4: bool) -> IpAddr {
    match is_ipv4 {
        true => Ipv4Addr::from(u32::try_from(number).unwrap()).into(),
        false => Ipv6Addr::from(number).into(),
    }
}

/// The neighbour so many addresses further on, where the family has one.
fn neighbour(ip: IpAddr, distance: i128) -> Option<IpAddr> {
    let number = number(ip).checked_add_signed(distance)?;
    (ip.is_ipv6() || number <= u128::from(u32::MAX)).then(|| address(number, ip.is_ipv4()))
}

prop_compose! {
    /// A subnet of either family, from all of it down to the smallest with two hosts, also at both ends of the family.
    fn subnet()(
        is_ipv4 in any::<bool>(),
        bits in prop_oneof![Just(0), Just(u128::MAX), any::<u128>()],
        length in prop_oneof![Just(0), Just(1), Just(u8::MAX), any::<u8>()],
    ) -> IpNetwork {
        let bits = if is_ipv4 { bits & u128::from(u32::MAX) } else { bits };
        let longest = if is_ipv4 { 30 } else { 126 };
        let length = if length == u8::MAX { longest } else { length % (longest + 1) };
        let within = IpNetwork::new(address(bits, is_ipv4), length).unwrap();
        IpNetwork::new(within.network(), length).unwrap()
    }
}

/// An address in, at the edge of or outside a subnet; or none.
fn near(subnet: IpNetwork) -> impl Strategy<Value = Option<IpAddr>> {
    let (low, high) = (subnet.network(), subnet.broadcast());
    let edges = [(low, 0), (low, 1), (low, 2), (low, -1), (high, 0), (high, -1), (high, -2), (high, 1)];
    let edges: Vec<_> = edges.into_iter().map(|(ip, distance)| neighbour(ip, distance)).collect();
    let inside = (number(low)..=number(high)).prop_map(move |n| Some(address(n, low.is_ipv4())));
    let anywhere = (any::<u128>(), any::<bool>())
        .prop_map(|(n, is_ipv4)| Some(address(if is_ipv4 { n & u128::from(u32::MAX) } else { n }, is_ipv4)));
    prop_oneof![Just(None), prop::sample::select(edges), inside, anywhere, Just("fe80::1".parse().ok())]
}

prop_compose! {
    /// A subnet with two ends and a gateway that make sense or not.
    fn written()(subnet in subnet())(
        start in near(subnet), end in near(subnet), gateway in near(subnet), subnet in Just(subnet),
    ) -> (IpNetwork, Option<IpAddr>, Option<IpAddr>, Option<IpAddr>) {
        (subnet, start, end, gateway)
    }
}

/// First address, last address and gateway that are meant, if all that is written makes sense.
fn meant(
    subnet: IpNetwork,
    start: Option<IpAddr>,
    end: Option<IpAddr>,
    gateway: Option<IpAddr>,
) -> Option<(IpAddr, IpAddr, IpAddr)> {
    let host = neighbour(subnet.network(), 1)?;
    let highest = neighbour(subnet.broadcast(), if subnet.is_ipv4() { -1 } else { 0 })?;
    let (start, end, gateway) = (start.unwrap_or(host), end.unwrap_or(highest), gateway.unwrap_or(host));
    let on_every_link = matches!(gateway, IpAddr::V6(ip) if subnet.is_ipv6() && ip.is_unicast_link_local());
    let makes_sense = subnet.contains(start) && subnet.contains(end) && start <= end;
    (makes_sense && (subnet.contains(gateway) || on_every_link)).then_some((start, end, gateway))
}

fn is_mapped(subnet: IpNetwork) -> bool {
    matches!(subnet.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

proptest! {
    #[test]
    fn a_range_is_accepted_as_it_is_meant_or_refused((subnet, start, end, gateway) in written()) {
        prop_assume!(!is_mapped(subnet));
        let range = Range::new(subnet, start, end, gateway).ok();
        let found = range.map(|range| (range.first(), range.last(), range.gateway()));
        prop_assert_eq!(found, meant(subnet, start, end, gateway));
    }

    #[test]
    fn a_subnet_without_ends_gives_away_neither_its_network_nor_its_broadcast_address(subnet in subnet()) {
        prop_assume!(!is_mapped(subnet));
        let range = Range::new(subnet, None, None, None).unwrap();
        prop_assert!(subnet.contains(range.first()) && subnet.contains(range.last()));
        prop_assert!(!range.contains(subnet.network()));
        prop_assert!(subnet.is_ipv6() || !range.contains(subnet.broadcast()));
        prop_assert_eq!(range.gateway(), range.first());
    }

    #[test]
    fn host_bits_and_subnets_without_two_hosts_are_refused(subnet in subnet(), bits in 1..=u128::MAX, longer in 0_u8..2) {
        prop_assume!(!is_mapped(subnet));
        let host = number(subnet.network()) | (bits & (number(subnet.broadcast()) ^ number(subnet.network())));
        let with_bits = IpNetwork::new(address(host, subnet.is_ipv4()), subnet.prefix()).unwrap();
        let refused = Range::new(with_bits, None, None, None);
        prop_assert_eq!(refused.is_err(), with_bits != subnet);
        if let Err(why) = refused {
            let network = format!("the network address is {}", subnet.network());
            prop_assert!(why.to_string().ends_with(&network), "{}", why);
        }
        let narrow = IpNetwork::new(subnet.ip(), if subnet.is_ipv4() { 32 } else { 128 } - longer).unwrap();
        prop_assert!(Range::new(narrow, None, None, None).unwrap_err().to_string().contains("too small"));
    }

    #[test]
    fn a_range_holds_what_lies_between_its_ends((subnet, start, end, _) in written(), (other, ip, ..) in written()) {
        let Ok(range) = Range::new(subnet, start, end, None) else { return Ok(()) };
        for ip in [start, end, ip, Some(other.ip()), neighbour(range.last(), 1), neighbour(range.first(), -1)] {
            let Some(ip) = ip else { continue };
            let between = ip.is_ipv4() == subnet.is_ipv4() && range.first() <= ip && ip <= range.last();
            prop_assert_eq!(range.contains(ip), between);
            let held = range.within_subnet(ip).map(|held| (held.ip(), held.prefix()));
            prop_assert_eq!(held, between.then_some((ip, subnet.prefix())));
        }
    }

    #[test]
    fn a_range_is_what_comes_up_to_an_address_and_what_comes_after_it((subnet, start, end, _) in written(), place in place()) {
        let Ok(range) = Range::new(subnet, start, end, None) else { return Ok(()) };
        let ends = (range.first(), range.last());
        let size = (number(ends.1) - number(ends.0)).saturating_add(1);
        let at = address(number(ends.0) + place % size, subnet.is_ipv4());
        prop_assert_eq!(range.up_to(at), Some((ends.0, at)));
        prop_assert_eq!(range.after(at), (at < ends.1).then(|| (neighbour(at, 1).unwrap(), ends.1)));
        for outside in [neighbour(ends.0, -1), neighbour(ends.1, 1)].into_iter().flatten() {
            prop_assert_eq!((range.up_to(outside), range.after(outside)), (None, None));
        }
    }
}

/// How far into a range.
fn place() -> impl Strategy<Value = u128> {
    prop_oneof![Just(0), 0..300_u128, any::<u128>()]
}

/// Subnets small enough to walk through, at the start, in the middle and at the very end of a family.
const SMALL: [&str; 6] = [
    "0.0.0.0/24",
    "10.1.2.0/24",
    "255.255.255.0/24",
    "::/120",
    "8000::/120",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120",
];

/// The address of a small subnet with this last byte.
fn at(subnet: IpNetwork, byte: u8) -> IpAddr {
    address(number(subnet.network()) + u128::from(byte), subnet.is_ipv4())
}

/// Often one of few, so that ends meet.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![0..4_u8, 252..=255_u8, any::<u8>()]
}

prop_compose! {
    /// Up to four ranges of a small subnet, whether they overlap or not, and each as the set of its last bytes.
    fn ranges()(
        subnet in prop::sample::select(SMALL.to_vec()),
        ends in prop::collection::vec((byte(), byte()), 0..5),
    ) -> Vec<(Range, BTreeSet<u8>)> {
        let subnet: IpNetwork = subnet.parse().unwrap();
        let range = |(a, b): (u8, u8)| {
            let (start, end) = (a.min(b), a.max(b));
            let range = Range::new(subnet, Some(at(subnet, start)), Some(at(subnet, end)), None).unwrap();
            (range, (start..=end).collect())
        };
        ends.into_iter().map(range).collect()
    }
}

proptest! {
    #[test]
    fn a_set_is_refused_if_two_of_its_ranges_share_an_address(ranges in ranges()) {
        let bytes: Vec<_> = ranges.iter().flat_map(|(_, bytes)| bytes).collect();
        let distinct: BTreeSet<_> = bytes.iter().collect();
        let set = RangeSet::new(ranges.iter().map(|(range, _)| range.clone()).collect());
        prop_assert_eq!(set.is_ok(), bytes.len() == distinct.len() && !ranges.is_empty());
    }

    #[test]
    fn two_sets_overlap_if_they_share_an_address(one in ranges(), two in ranges()) {
        let set = |ranges: &[(Range, BTreeSet<u8>)]| RangeSet::new(ranges.iter().map(|(range, _)| range.clone()).collect());
        let (Ok(first), Ok(second)) = (set(&one), set(&two)) else { return Ok(()) };
        let all = |set: &RangeSet| -> BTreeSet<IpAddr> { set.ranges().iter().flat_map(addresses).collect() };
        let shared = !all(&first).is_disjoint(&all(&second));
        prop_assert_eq!((first.overlaps(&second), second.overlaps(&first)), (shared, shared));
    }
}

/// A set small enough to walk: ranges side by side, one address long or many, with gateways inside and outside; some
/// of its addresses are taken; one was given last, of the set or not.
#[derive(Debug)]
struct Pool {
    set: RangeSet,
    taken: BTreeSet<IpAddr>,
    last: Option<IpAddr>,
}

impl Pool {
    /// Every address that may be given.
    fn all(&self) -> BTreeSet<IpAddr> {
        let all = self.set.ranges().iter().flat_map(addresses);
        all.filter(|ip| !self.set.is_gateway(*ip)).collect()
    }
}

prop_compose! {
    fn pool()(
        subnet in prop::sample::select(SMALL.to_vec()),
        mut cuts in prop::collection::btree_set(any::<u8>(), 2..8),
        single in any::<bool>(),
        gateways in prop::collection::vec(any::<u8>(), 4),
        taken in prop::collection::btree_set(any::<u8>(), 0..256),
        last in prop::option::of(any::<u8>()),
    ) -> Pool {
        let subnet: IpNetwork = subnet.parse().unwrap();
        let mut ranges = Vec::new();
        for gateway in gateways {
            let Some(start) = cuts.pop_first() else { break };
            // Where the start is the end, too.
            let end = if single && ranges.is_empty() { Some(start) } else { cuts.pop_first() };
            let Some(end) = end else { break };
            let [start, end, gateway] = [start, end, gateway].map(|byte| Some(at(subnet, byte)));
            ranges.push(Range::new(subnet, start, end, gateway).unwrap());
        }
        let at = |byte| at(subnet, byte);
        Pool { set: RangeSet::new(ranges).unwrap(), taken: taken.into_iter().map(at).collect(), last: last.map(at) }
    }
}

proptest! {
    #[test]
    fn the_choice_is_the_first_free_address_going_round(pool in pool()) {
        let mut round: Vec<IpAddr> = pool.set.ranges().iter().flat_map(addresses).collect();
        if let Some(at) = round.iter().position(|ip| Some(*ip) == pool.last) {
            round.rotate_left(at + 1);
        }
        let free = round.into_iter().find(|ip| !pool.taken.contains(ip) && !pool.set.is_gateway(*ip));
        let found = next(&pool.set, pool.last, |ip| pool.taken.contains(&ip));
        prop_assert_eq!(found.map(|(ip, _)| ip), free);
        prop_assert!(found.is_none_or(|(ip, range)| range.contains(ip) && range.within_subnet(ip).is_some()));
    }

    #[test]
    fn all_addresses_are_given_once_before_one_is_given_again(pool in pool()) {
        let all = pool.all();
        let (mut last, mut given) = (pool.last, Vec::new());
        for _ in 0..all.len() {
            last = next(&pool.set, last, |_| false).map(|(ip, _)| ip);
            given.extend(last);
        }
        prop_assert_eq!(given.len(), all.len());
        prop_assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), all);
    }

    /// Neighbours may still remember the last owner of an address, so it rests while there is another.
    #[test]
    fn no_address_is_given_again_while_another_one_lay_free_all_the_time(
        pool in pool(),
        frees in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 1..200),
    ) {
        let all = pool.all();
        // When an address was given, and when it was last somebody's.
        let (mut given, mut held) = (BTreeMap::new(), BTreeMap::new());
        let (mut taken, mut last) = (BTreeSet::new(), pool.last);
        for (now, free) in frees.into_iter().enumerate() {
            held.extend(taken.iter().map(|ip| (*ip, now)));
            let Some((ip, _)) = next(&pool.set, last, |ip| taken.contains(&ip)) else {
                prop_assert_eq!(&taken, &all);
                taken.clear();
                continue;
            };
            prop_assert!(all.contains(&ip) && taken.insert(ip));
            last = Some(ip);
            if let Some(before) = given.insert(ip, now) {
                let idle = all.iter().find(|other| **other != ip && held.get(other).is_none_or(|when| *when < before));
                prop_assert_eq!(idle, None, "{} was given again", ip);
            }
            if let Some(free) = free {
                let freed = *free.get(&taken.iter().copied().collect::<Vec<_>>());
                held.insert(freed, now);
                taken.remove(&freed);
            }
        }
    }

    #[test]
    fn a_range_of_one_address_gives_that_one_or_none((subnet, start, _, last) in written(), is_taken in any::<bool>()) {
        let Some(one) = start else { return Ok(()) };
        let Ok(range) = Range::new(subnet, start, start, None) else { return Ok(()) };
        let (gateway, set) = (range.gateway(), RangeSet::new(vec![range]).unwrap());
        for last in [last, start, None] {
            let found = next(&set, last, |ip| ip == one && is_taken).map(|(ip, _)| ip);
            prop_assert_eq!(found, Some(one).filter(|ip| !is_taken && *ip != gateway));
        }
    }

    #[test]
    fn what_is_excluded_is_never_given_and_all_else_is_given_from_wherever_the_search_begins(
        pool in pool(),
        rows in prop::collection::vec((any::<u8>(), any::<u8>()), 0..4),
        begin in any::<u8>(),
    ) {
        let base = pool.set.ranges()[0].first();
        let byte = |byte: u8| address(number(base) & !0xff | u128::from(byte), base.is_ipv4());
        let rows: Vec<Row> = rows.iter().filter_map(|(a, b)| Row::new(byte(*a), byte(*b))).collect();
        let may = |ip: &IpAddr| !pool.set.is_gateway(*ip) && !rows.iter().any(|row| row_contains(row, *ip));
        let all: Vec<IpAddr> = pool.set.ranges().iter().flat_map(addresses).collect();
        let Ok(set) = pool.set.clone().without(&rows) else {
            prop_assert_eq!(all.iter().find(|ip| may(ip)), None);
            return Ok(());
        };
        prop_assert_eq!(set.size(), all.iter().filter(|ip| may(ip)).count() as u128);
        let at = all.iter().position(|ip| *ip == byte(begin)).unwrap_or(0);
        let mut round = all.clone();
        round.rotate_left(at);
        let free = round.into_iter().find(|ip| may(ip) && !pool.taken.contains(ip));
        let found = next_from(&set, Start::At(byte(begin)), |ip| pool.taken.contains(&ip)).map(|(ip, _)| ip);
        prop_assert_eq!(found, free);
        for (place, ip) in all.iter().enumerate() {
            prop_assert_eq!(set.nth(place as u128), Some(*ip));
        }
        prop_assert_eq!(set.nth(all.len() as u128), Some(all[0]));
    }

    #[test]
    fn every_place_of_a_set_has_its_address((subnet, start, end, _) in written(), place in place()) {
        let Ok(range) = Range::new(subnet, start, end, None) else { return Ok(()) };
        let set = RangeSet::new(vec![range.clone()]).unwrap();
        let Some(ip) = set.nth(place) else { return Err(TestCaseError::fail("no address")) };
        prop_assert_eq!(number(ip) - number(range.first()), place % set.addresses());
        prop_assert!(range.contains(ip) && set.size() <= set.addresses());
    }

    /// Subnets of every size, up to the whole of IPv6, half of whose addresses are taken.
    #[test]
    fn whatever_the_size_of_a_subnet_the_choice_is_the_next_free_host(
        (subnet, last, _, gateway) in written(),
        seed in any::<u128>(),
    ) {
        let Ok(range) = Range::new(subnet, None, None, gateway) else { return Ok(()) };
        let (first, end, gateway) = (range.first(), range.last(), range.gateway());
        let taken = |ip: IpAddr| (number(ip) ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 127 == 1;
        let begun = last.filter(|ip| range.contains(*ip)).and_then(|ip| neighbour(ip, 1)).filter(|ip| range.contains(*ip));
        let round = std::iter::successors(Some(begun.unwrap_or(first)), |ip| match *ip == end {
            true => Some(first),
            false => neighbour(*ip, 1),
        });
        let expected = round.take(600).find(|ip| !taken(*ip) && *ip != gateway);
        let set = RangeSet::new(vec![range]).unwrap();
        let found = next(&set, last, taken).map(|(ip, _)| ip);
        prop_assert_eq!(found, expected);
        prop_assert!(found.is_none_or(|ip| subnet.contains(ip) && ip != subnet.network() && ip != gateway));
        prop_assert!(found.is_none_or(|ip| subnet.is_ipv6() || ip != subnet.broadcast()));
    }

    #[test]
    fn a_set_serves_the_first_request_in_it_and_the_error_names_all_others(
        pools in prop::collection::vec(pool(), 0..4),
        asked in prop::collection::vec((prop::sample::select(SMALL.to_vec()), any::<u8>()), 0..6),
    ) {
        let mut sets: Vec<RangeSet> = Vec::new();
        for pool in pools {
            if !sets.iter().any(|set| set.overlaps(&pool.set)) {
                sets.push(pool.set);
            }
        }
        let requested: Vec<IpAddr> = asked.into_iter().map(|(subnet, byte)| at(subnet.parse().unwrap(), byte)).collect();
        let first_in = |set: &RangeSet| requested.iter().copied().find(|ip| set.range_of(*ip).is_some());
        let served: Vec<Option<IpAddr>> = sets.iter().map(first_in).collect();
        let left: BTreeSet<IpAddr> = requested.iter().copied().filter(|ip| !served.contains(&Some(*ip))).collect();
        match assign(&sets, &requested) {
            Ok(assigned) => prop_assert!(left.is_empty() && assigned == served),
            Err(others) => {
                let text = others.to_string();
                let (_, named) = text.split_once(": ").unwrap();
                let named: Vec<IpAddr> = named.split(' ').map(|ip| ip.parse().unwrap()).collect();
                prop_assert_eq!(named.len(), left.len());
                prop_assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), left);
            }
        }
    }
}
