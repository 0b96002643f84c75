//! Ranges and sets of them, by what they mean and what they refuse.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(subnet: &str, start: &str, end: &str, gateway: &str) -> Result<Range, BadRange> {
    let given = |text: &str| (!text.is_empty()).then(|| ip(text));
    Range::new(subnet.parse().unwrap(), given(start), given(end), given(gateway))
}

#[test]
fn a_subnet_alone_means_its_hosts_with_the_first_one_as_gateway() {
    for (subnet, shown, gateway) in [
        ("10.1.2.0/24", "10.1.2.1-10.1.2.254", "10.1.2.1"),
        ("10.1.2.4/30", "10.1.2.5-10.1.2.6", "10.1.2.5"),
        ("0.0.0.0/0", "0.0.0.1-255.255.255.254", "0.0.0.1"),
        ("2001:db8:1::/64", "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1::1"),
        ("8000::/1", "8000::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::1"),
        ("::/0", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"),
    ] {
        let range = range(subnet, "", "", "").unwrap();
        assert_eq!((range.to_string().as_str(), range.gateway()), (shown, ip(gateway)), "{subnet}");
    }
}

#[test]
fn ends_that_are_given_count_even_where_no_host_would_be() {
    let all = range("10.1.2.0/24", "10.1.2.0", "10.1.2.255", "").unwrap();
    assert_eq!((all.first(), all.last()), (ip("10.1.2.0"), ip("10.1.2.255")));
    let one = range("10.1.2.0/24", "10.1.2.9", "10.1.2.9", "10.1.2.254").unwrap();
    assert_eq!((one.first(), one.last()), (ip("10.1.2.9"), ip("10.1.2.9")));
    assert_eq!(one.within_subnet(ip("10.1.2.9")).unwrap().to_string(), "10.1.2.9/24");
    assert_eq!(one.within_subnet(ip("10.1.2.8")), None);
}

#[test]
fn a_gateway_is_one_that_a_container_can_reach() {
    assert_eq!(range("fd00::/64", "", "", "fe80::1").unwrap().gateway(), ip("fe80::1"));
    for (subnet, gateway) in
        [("10.1.2.0/24", "fe80::1"), ("10.1.2.0/24", "10.1.3.1"), ("fd00::/64", "fd01::1")]
    {
        let words = format!("Gateway {gateway} not in network {subnet}");
        assert_eq!(range(subnet, "", "", gateway).unwrap_err().to_string(), words);
    }
}

#[test]
fn nonsense_is_refused_in_the_go_plugins_words() {
    let too_small = "too small to allocate from";
    let host_bits =
        "Network has host bits set. For a subnet mask of length 24 the network address is 192.0.2.0";
    for (subnet, start, end, words) in [
        ("192.0.2.0/31", "", "", &*format!("Network 192.0.2.0/31 {too_small}")),
        ("192.0.2.1/32", "", "", &*format!("Network 192.0.2.1/32 {too_small}")),
        ("fd00::/127", "", "", &*format!("Network fd00::/127 {too_small}")),
        ("192.0.2.7/24", "", "", host_bits),
        ("::ffff:10.0.0.0/120", "", "", "IPNet IP and Mask version mismatch"),
        ("192.0.2.0/24", "192.0.3.1", "", "RangeStart 192.0.3.1 not in network 192.0.2.0/24"),
        ("192.0.2.0/24", "fd00::1", "", "RangeStart fd00::1 not in network 192.0.2.0/24"),
        ("192.0.2.0/24", "", "192.0.3.1", "RangeEnd 192.0.3.1 not in network 192.0.2.0/24"),
        ("192.0.2.0/24", "", "192.0.2.0", "RangeEnd 192.0.2.0 not in network 192.0.2.0/24"),
        ("192.0.2.0/24", "192.0.2.9", "192.0.2.8", "RangeStart 192.0.2.9 not in network 192.0.2.0/24"),
        ("192.0.2.0/24", "192.0.2.255", "", "RangeStart 192.0.2.255 not in network 192.0.2.0/24"),
    ] {
        assert_eq!(range(subnet, start, end, "").unwrap_err().to_string(), words);
    }
}

#[test]
fn a_set_has_one_family_and_no_address_twice() {
    let lower = range("10.0.0.0/24", "", "10.0.0.127", "").unwrap();
    let upper = range("10.0.0.0/24", "10.0.0.128", "", "").unwrap();
    let middle = range("10.0.0.0/24", "10.0.0.100", "10.0.0.200", "").unwrap();
    let six = range("fd00::/64", "", "", "").unwrap();
    let halves = RangeSet::new(vec![lower.clone(), upper.clone()]).unwrap();
    assert_eq!(halves.to_string(), "10.0.0.1-10.0.0.127,10.0.0.128-10.0.0.254");
    assert!(halves.overlaps(&RangeSet::new(vec![middle.clone()]).unwrap()));
    for (ranges, words) in [
        (vec![], "empty range set"),
        (vec![lower.clone(), six], "mixed address families"),
        (vec![lower, middle], "subnets 10.0.0.1-10.0.0.127 and 10.0.0.100-10.0.0.200 overlap"),
    ] {
        assert_eq!(RangeSet::new(ranges).unwrap_err().to_string(), words);
    }
}
