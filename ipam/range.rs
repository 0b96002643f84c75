//! Ranges and sets of ranges: arithmetic on addresses, and nothing else.
//!
//! Both families are computed as `u128`, so there is one set of rules and no wrap at the end of a family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// Addresses of one subnet, from a first to a last, both included. Never empty, always inside its subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    subnet: IpNetwork,
    first: u128,
    last: u128,
    gateway: IpAddr,
}

impl Range {
    /// The range that somebody means by a subnet and, if they care, by its ends and its gateway.
    ///
    /// Without ends the whole subnet is used but for its network address and, in IPv4, its broadcast address.
    /// Whoever names these as an end gets them. The gateway is the first address after the network address,
    /// unless one is given. That lies in the subnet, too, or is a link-local address of IPv6, which is on every link.
    ///
    /// # Errors
    /// Whatever of this makes no sense.
    pub fn new(
        subnet: IpNetwork,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Range, BadRange> {
        let (lowest, highest) = bounds(subnet)?;
        let gateway = gateway.unwrap_or(address(lowest + 1, subnet.ip()));
        let inside = |ip: IpAddr| same_family(ip, subnet.ip()) && (lowest..=highest).contains(&number(ip));
        let link_local = subnet.is_ipv6() && matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !inside(gateway) && !link_local {
            return Err(BadRange::Gateway(gateway, subnet));
        }
        let first = start.map_or(lowest + 1, number);
        let last = end.map_or(if subnet.is_ipv4() { highest - 1 } else { highest }, number);
        if let Some(start) = start.filter(|start| !inside(*start)) {
            return Err(BadRange::Start(start, subnet));
        }
        if let Some(end) = end.filter(|end| !inside(*end)) {
            return Err(BadRange::End(end, subnet));
        }
        match start {
            Some(start) if first > last => Err(BadRange::Start(start, subnet)),
            None if first > last => Err(BadRange::End(address(last, subnet.ip()), subnet)),
            _ => Ok(Range { subnet, first, last, gateway }),
        }
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        address(self.first, self.subnet.ip())
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        address(self.last, self.subnet.ip())
    }

    /// What containers of this range use as their gateway; it is never given to one of them.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether the address lies between the ends.
    pub fn contains(&self, ip: IpAddr) -> bool {
        same_family(ip, self.subnet.ip()) && (self.first..=self.last).contains(&number(ip))
    }

    /// An address of this range as a container holds it: with the length of the subnet's prefix.
    pub fn within_subnet(&self, ip: IpAddr) -> Option<IpNetwork> {
        let held = IpNetwork::new(ip, self.subnet.prefix()).ok()?;
        self.contains(ip).then_some(held)
    }

    /// The first and the last of the addresses that come after this one; none if it is the last or lies elsewhere.
    pub fn after(&self, ip: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let next = self.contains(ip).then(|| number(ip)).filter(|number| *number < self.last)? + 1;
        Some((address(next, self.subnet.ip()), self.last()))
    }

    /// The first and the last of the addresses up to this one, itself included; none if it lies elsewhere.
    pub fn up_to(&self, ip: IpAddr) -> Option<(IpAddr, IpAddr)> {
        self.contains(ip).then(|| (self.first(), ip))
    }

    /// The first and the last of the addresses from this one on, itself included; none if it lies elsewhere.
    pub fn from(&self, ip: IpAddr) -> Option<(IpAddr, IpAddr)> {
        self.contains(ip).then(|| (ip, self.last()))
    }

    /// The first and the last of the addresses before this one; none if it is the first or lies elsewhere.
    pub fn before(&self, ip: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let previous = self.contains(ip).then(|| number(ip)).filter(|number| *number > self.first)? - 1;
        Some((self.first(), address(previous, self.subnet.ip())))
    }

    /// How many there are. All of IPv6 counts as one less than it is.
    pub fn addresses(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether the row and the range's subnet, between the range's ends or not, have an address in common.
    fn is_beside(&self, row: &Row) -> bool {
        let (lowest, highest) = (self.subnet.network(), self.subnet.broadcast());
        same_family(lowest, row.first) && lowest <= row.last && row.first <= highest
    }

    fn overlaps(&self, other: &Range) -> bool {
        same_family(self.subnet.ip(), other.subnet.ip())
            && self.first <= other.last
            && other.first <= self.last
    }
}

/// `start-end`, the form in which errors name a range.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first(), self.last())
    }
}

/// A row of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    first: IpAddr,
    last: IpAddr,
}

impl Row {
    /// From one address to another; `None` if they are of two families or in the wrong order.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Row> {
        (same_family(first, last) && first <= last).then_some(Row { first, last })
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    fn contains(&self, ip: IpAddr) -> bool {
        same_family(ip, self.first) && (self.first..=self.last).contains(&ip)
    }
}

/// Ranges of one family that do not overlap; a container gets one address from each set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<Range>,
    excluded: Vec<Row>,
}

impl RangeSet {
    /// A set of these ranges.
    ///
    /// # Errors
    /// An empty list, two families in one set, ranges that overlap.
    pub fn new(ranges: Vec<Range>) -> Result<RangeSet, BadRange> {
        let Some(head) = ranges.first() else { return Err(BadRange::Empty) };
        if ranges.iter().any(|range| !same_family(range.subnet.ip(), head.subnet.ip())) {
            return Err(BadRange::Families);
        }
        for (i, one) in ranges.iter().enumerate() {
            if let Some(other) = ranges.iter().skip(i + 1).find(|other| one.overlaps(other)) {
                return Err(BadRange::Overlap(one.to_string(), other.to_string()));
            }
        }
        Ok(RangeSet { ranges, excluded: Vec::new() })
    }

    /// The same set, of which these addresses are never given to anybody.
    ///
    /// # Errors
    /// None is left.
    pub fn without(self, excluded: &[Row]) -> Result<RangeSet, BadRange> {
        let excluded =
            excluded.iter().filter(|row| same_family(row.first, self.first_address())).copied().collect();
        let set = RangeSet { excluded, ..self };
        if set.size() == 0 { Err(BadRange::AllExcluded(set.to_string())) } else { Ok(set) }
    }

    /// The ranges in the order in which they are used up.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether the addresses are IPv4; a set has one family.
    pub fn is_ipv4(&self) -> bool {
        self.ranges.iter().all(|range| range.subnet.is_ipv4())
    }

    /// The range in which the address lies.
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.contains(ip))
    }

    /// Whether the address is the gateway of one of the ranges.
    pub fn is_gateway(&self, ip: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.gateway == ip)
    }

    /// Whether the address is one that is never given.
    pub fn is_excluded(&self, ip: IpAddr) -> bool {
        self.excluded.iter().any(|row| row.contains(ip))
    }

    /// Whether a subnet of the set has an address of this row.
    pub fn is_beside(&self, row: &Row) -> bool {
        self.ranges.iter().any(|range| range.is_beside(row))
    }

    /// The last address of a row that begins with this one and of which none may be given; `None` if this one may.
    pub fn withheld(&self, ip: IpAddr) -> Option<IpAddr> {
        let excluded = self.excluded.iter().filter(|row| row.contains(ip)).map(|row| row.last).max();
        excluded.or_else(|| self.is_gateway(ip).then_some(ip))
    }

    /// How many addresses lie in the ranges, whether they may be given or not. All of IPv6 counts as one less than it is.
    pub fn addresses(&self) -> u128 {
        self.ranges.iter().map(Range::addresses).fold(0, u128::saturating_add)
    }

    /// The address with this place in the set, counted from 0 and from the start again behind the end.
    pub fn nth(&self, place: u128) -> Option<IpAddr> {
        let mut place = place.checked_rem(self.addresses())?;
        for range in &self.ranges {
            match place.checked_sub(range.addresses()) {
                Some(rest) => place = rest,
                None => return Some(address(range.first + place, range.subnet.ip())),
            }
        }
        None
    }

    /// How many addresses may be given to containers.
    pub fn size(&self) -> u128 {
        let gateways = self.gateways().filter(|ip| self.range_of(*ip).is_some());
        let mut withheld: Vec<(u128, u128)> = gateways.map(|ip| (number(ip), number(ip))).collect();
        for (row, range) in
            self.excluded.iter().flat_map(|row| self.ranges.iter().map(move |range| (row, range)))
        {
            let (first, last) = (number(row.first).max(range.first), number(row.last).min(range.last));
            withheld.extend((first <= last).then_some((first, last)));
        }
        withheld.sort_unstable();
        let (mut count, mut counted) = (0_u128, None::<u128>);
        for (first, last) in withheld {
            // What two rows share is counted with the first of them.
            let first = counted.map_or(first, |counted| first.max(counted.saturating_add(1)));
            if first <= last && counted.is_none_or(|counted| counted < last) {
                count = count.saturating_add((last - first).saturating_add(1));
                counted = Some(last);
            }
        }
        self.addresses().saturating_sub(count)
    }

    /// The gateways, each once.
    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let is_first = |(i, range): &(usize, &Range)| {
            !self.ranges.iter().take(*i).any(|before| before.gateway == range.gateway)
        };
        self.ranges.iter().enumerate().filter(is_first).map(|(_, range)| range.gateway)
    }

    fn first_address(&self) -> IpAddr {
        self.ranges.first().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Range::first)
    }

    /// Whether the two sets have an address in common.
    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.ranges.iter().any(|one| other.ranges.iter().any(|two| one.overlaps(two)))
    }
}

/// The ranges, joined by commas.
impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.ranges.iter().enumerate() {
            write!(f, "{}{range}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Why a range or a set of ranges makes no sense. The words are those of the Go plugin: people search for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRange {
    /// Less than four addresses leave none to give away.
    TooSmall(IpNetwork),
    /// An IPv4-mapped subnet: an address of one family and a prefix of the other.
    Mapped,
    /// The subnet is the address of a host in it; holds the network that was meant.
    HostBits(IpNetwork),
    /// The gateway lies outside the subnet, where no container could reach it.
    Gateway(IpAddr, IpNetwork),
    /// The start lies outside the subnet or after the end.
    Start(IpAddr, IpNetwork),
    /// The end lies outside the subnet or before the start.
    End(IpAddr, IpNetwork),
    /// A set without ranges.
    Empty,
    /// A set with ranges of both families.
    Families,
    /// Two ranges of a set have addresses in common.
    Overlap(String, String),
    /// No address of the set may be given.
    AllExcluded(String),
}

impl fmt::Display for BadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRange::TooSmall(subnet) => write!(f, "Network {subnet} too small to allocate from"),
            BadRange::Mapped => write!(f, "IPNet IP and Mask version mismatch"),
            BadRange::HostBits(meant) => write!(
                f,
                "Network has host bits set. For a subnet mask of length {} the network address is {}",
                meant.prefix(),
                meant.ip()
            ),
            BadRange::Gateway(ip, subnet) => write!(f, "Gateway {ip} not in network {subnet}"),
            BadRange::Start(ip, subnet) => write!(f, "RangeStart {ip} not in network {subnet}"),
            BadRange::End(ip, subnet) => write!(f, "RangeEnd {ip} not in network {subnet}"),
            BadRange::Empty => write!(f, "empty range set"),
            BadRange::Families => write!(f, "mixed address families"),
            BadRange::AllExcluded(set) => write!(f, "exclude leaves no address of {set}"),
            BadRange::Overlap(one, other) => write!(f, "subnets {one} and {other} overlap"),
        }
    }
}

impl std::error::Error for BadRange {}

/// The network address and the last address of a subnet from which addresses can be given.
fn bounds(subnet: IpNetwork) -> Result<(u128, u128), BadRange> {
    let bits: u8 = if subnet.is_ipv4() { 32 } else { 128 };
    let host_bits = bits - subnet.prefix();
    if host_bits < 2 {
        return Err(BadRange::TooSmall(subnet));
    }
    if matches!(subnet.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Err(BadRange::Mapped);
    }
    // A shift by all 128 bits is no shift at all to the processor, so Rust refuses it.
    let host_mask = 1_u128.checked_shl(host_bits.into()).unwrap_or(0).wrapping_sub(1);
    let lowest = number(subnet.ip()) & !host_mask;
    if lowest != number(subnet.ip()) {
        let meant = IpNetwork::new(address(lowest, subnet.ip()), subnet.prefix());
        return Err(BadRange::HostBits(meant.unwrap_or(subnet)));
    }
    Ok((lowest, lowest | host_mask))
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// The address that follows, where its family has one.
pub(crate) fn successor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The address with this number, of the family of `like`. Numbers come from addresses of that family.
pub(crate) fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests;
