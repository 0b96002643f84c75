//! CHECK finds each single thing that somebody changed behind our back, names it, and changes nothing itself.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::{Shared, Snapshot};
use crate::lab::{conf, lab};

/// The host end of an attachment, by the result.
fn host_end(result: &Value) -> &str {
    let links = result["interfaces"].as_array().unwrap().iter().filter(|link| link.get("sandbox").is_none());
    links.filter_map(|link| link["name"].as_str()).find(|name| name.starts_with("veth")).unwrap()
}

/// Where somebody does something. `HOST_END` in a script is the name of the host end.
#[derive(Clone, Copy)]
enum Deed {
    Outside(&'static str),
    Inside(&'static str),
}

use Deed::{Inside, Outside};

impl Deed {
    fn is_done(self, host: &Host, pod: &Pod, result: &Value) {
        match self {
            Outside(script) => host.sh(&script.replace("HOST_END", host_end(result))),
            Inside(script) => pod.sh(script),
        };
    }
}

/// A container is added and checked, something is done to it, and CHECK says what `then` wants to hear.
fn after(program: &str, changes: &[(&str, Value)], deed: Deed, then: impl Fn(&Host, &Attach<'_>, &Value)) {
    lab(|host| {
        let (_, conf) = conf::interfaces(host).into_iter().find(|(name, _)| *name == program).unwrap();
        let change = |conf, (pointer, value): &(&str, Value)| conf::with(&conf, pointer, value.clone());
        let pod = host.pod();
        let web = host.attach(program, changes.iter().fold(conf, change), &pod);
        let result = web.add().result();
        web.check(&result).silent();
        deed.is_done(host, &pod, &result);
        let before = (host.snapshot(), pod.snapshot());
        then(host, &web, &result);
        untouched(&before.0, &host.snapshot());
        untouched(&before.1, &pod.snapshot());
        web.del().silent();
    });
}

/// CHECK has changed nothing. A link that came up a moment ago may have got its link-local address meanwhile.
fn untouched(before: &Snapshot, after: &Snapshot) {
    let by_the_kernel = |line: &&String| ["fe80:", "ff00::/8"].iter().any(|prefix| line.contains(prefix));
    let found = before.differences(after, &[Shared::Index]);
    assert!(found.iter().all(|line| by_the_kernel(&line)), "something changed: {found:#?}");
}

/// CHECK finds a fault that names these words; the Go plugins answer one way or the other, under this key.
fn found(key: &str, program: &str, changes: &[(&str, Value)], deed: Deed, words: &[&str]) {
    after(program, changes, deed, |host, web, result| {
        let answer = web.check(result);
        let ours = || {
            let words: Vec<_> = words.iter().map(|word| word.replace("HOST_END", host_end(result))).collect();
            answer.fails(999).names(&words.iter().map(String::as_str).collect::<Vec<_>>());
        };
        host.differs(key, ours, || ());
    });
}

fn found_in_both(key: &str, changes: &[(&str, Value)], deed: Deed, words: &[&str]) {
    found(key, "bridge", changes, deed, words);
    found(key, "veth", changes, deed, words);
}

/// What is none of our business, or fits in another way.
fn passes(program: &str, changes: &[(&str, Value)], deed: Deed) {
    after(program, changes, deed, |_, web, result| web.check(result).silent());
}

const CLOSER: &str = "check-closer";

// CHK-12
#[test]
fn the_bridge_has_another_mac() {
    let deed = Outside("ip link set br0 address 02:00:00:00:00:b1");
    found(CLOSER, "bridge", &[], deed, &["br0", "02:00:00:00:00:b1"]);
}

// CHK-12
#[test]
fn the_bridges_name_belongs_to_a_link_of_another_kind() {
    let deed = Outside("ip link del br0; ip link add br0 type ifb; ip link set br0 up");
    found(CLOSER, "bridge", &[], deed, &["br0", "bridge"]);
}

// CHK-12
#[test]
fn the_bridge_is_not_promiscuous_any_more() {
    let promiscuous = [("/promiscMode", json!(true))];
    found(CLOSER, "bridge", &promiscuous, Outside("ip link set br0 promisc off"), &["br0", "promiscuous"]);
}

// CHK-12
#[test]
fn the_bridge_has_the_gateways_address_with_another_prefix() {
    let v4 = Outside("ip addr del 10.9.0.1/24 dev br0; ip addr add 10.9.0.1/25 dev br0");
    found(CLOSER, "bridge", &[], v4, &["10.9.0.1/24", "br0"]);
    let v6 = Outside("ip addr del fd00:9::1/64 dev br0");
    found(CLOSER, "bridge", &[], v6, &["fd00:9::1/64", "br0"]);
}

// CHK-07
#[test]
fn the_host_end_is_a_port_of_another_bridge() {
    let deed = Outside("ip link add br1 type bridge; ip link set br1 up; ip link set HOST_END master br1");
    found(CLOSER, "bridge", &[], deed, &["HOST_END", "br0"]);
}

// CHK-07
#[test]
fn the_port_has_another_hairpin_mode() {
    let on = Outside("ip link set HOST_END type bridge_slave hairpin on");
    found(CLOSER, "bridge", &[], on, &["HOST_END", "hairpin mode is true, not false"]);
    let off = Outside("ip link set HOST_END type bridge_slave hairpin off");
    let hairpin = [("/hairpinMode", json!(true))];
    found(CLOSER, "bridge", &hairpin, off, &["HOST_END", "hairpin mode is false, not true"]);
}

// CHK-07
#[test]
fn the_port_has_another_isolation() {
    let on = Outside("ip link set HOST_END type bridge_slave isolated on");
    found(CLOSER, "bridge", &[], on, &["HOST_END", "isolation is true, not false"]);
    let off = Outside("ip link set HOST_END type bridge_slave isolated off");
    let isolated = [("/portIsolation", json!(true))];
    found(CLOSER, "bridge", &isolated, off, &["HOST_END", "isolation is false, not true"]);
}

// CHK-07
#[test]
fn the_host_end_has_another_mac() {
    let deed = Outside("ip link set HOST_END address 02:00:00:00:00:b2");
    found_in_both(CLOSER, &[], deed, &["HOST_END", "02:00:00:00:00:b2"]);
}

// CHK-07
#[test]
fn the_host_end_has_another_mtu() {
    found_in_both(CLOSER, &[], Outside("ip link set HOST_END mtu 1400"), &["HOST_END", "1500", "1400"]);
}

// CHK-07
#[test]
fn the_container_end_has_another_mtu() {
    let mtu = [("/mtu", json!(1450))];
    found_in_both(CLOSER, &mtu, Inside("ip link set eth0 mtu 1400"), &["eth0", "1450", "1400"]);
}

// CHK-04
#[test]
fn the_container_end_is_that_of_another_pair_with_everything_that_the_first_one_had() {
    const DISGUISE: &str = "
        mac=$(ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\) .*/\\1/')
        ip link del eth0
        ip link add eth0 address $mac type veth peer name other
        ip link set other up; ip link set eth0 up
        ip addr add 10.9.0.2/24 dev eth0; ip addr add fd00:9::2/64 dev eth0 nodad
        ip route add default via 10.9.0.1; ip -6 route add default via fd00:9::1";
    found_in_both(CLOSER, &[], Inside(DISGUISE), &["eth0", "host end"]);
}

// CHK-07
#[test]
fn the_host_end_is_that_of_another_pair_under_the_name_the_mac_and_the_marks_of_the_first_one() {
    const DISGUISE: &str = "
        mac() { sed 's/.*ether \\([^ ]*\\) .*/\\1/'; }
        outside=$(ip -o link show HOST_END | mac); inside=$(ip -n pod1 -o link show eth0 | mac)
        alias=$(ip link show HOST_END | sed -n 's/.*alias //p')
        ip link del HOST_END
        ip link add HOST_END address $outside type veth peer name stranger
        ip link set HOST_END group 27238 alias \"$alias\" master br0 up; ip link set stranger up
        ip -n pod1 link add eth0 address $inside type veth peer name other
        ip -n pod1 link set other up; ip -n pod1 link set eth0 up
        ip -n pod1 addr add 10.9.0.2/24 dev eth0; ip -n pod1 addr add fd00:9::2/64 dev eth0 nodad
        ip -n pod1 route add default via 10.9.0.1; ip -n pod1 route add default via fd00:9::1";
    found(CLOSER, "bridge", &[], Outside(DISGUISE), &["eth0", "host end"]);
}

// CHK-06
#[test]
fn a_route_is_gone() {
    let routes =
        json!([{"dst": "192.0.2.0/24", "gw": "10.9.0.1"}, {"dst": "2001:db8::/32", "gw": "fd00:9::1"}]);
    let changes = [("/ipam/routes", routes)];
    found_in_both(CLOSER, &changes, Inside("ip route del 192.0.2.0/24"), &["192.0.2.0/24", "10.9.0.1"]);
    found_in_both(CLOSER, &changes, Inside("ip -6 route del 2001:db8::/32"), &["2001:db8::/32", "fd00:9::1"]);
}

// CHK-06, CHK-18
#[test]
fn a_route_has_another_metric_or_mtu() {
    let routes = json!([{"dst": "192.0.2.0/24", "gw": "10.9.0.1", "priority": 5, "mtu": 1400}]);
    let changes = [("/ipam/routes", routes)];
    let metric = "ip route del 192.0.2.0/24; ip route add 192.0.2.0/24 via 10.9.0.1 metric 6 mtu 1400";
    found_in_both("check-routes", &changes, Inside(metric), &["192.0.2.0/24"]);
    let mtu = "ip route del 192.0.2.0/24; ip route add 192.0.2.0/24 via 10.9.0.1 metric 5 mtu 1300";
    found_in_both("check-routes", &changes, Inside(mtu), &["192.0.2.0/24"]);
}

// CHK-06
#[test]
fn the_default_route_of_ipv6_goes_by_another_gateway() {
    let deed = Inside("ip -6 route del default; ip -6 route add default via fd00:9::77 dev eth0 onlink");
    found_in_both(CLOSER, &[], deed, &["::/0", "fd00:9::1"]);
}

// CHK-06
#[test]
fn a_container_on_a_bridge_lost_its_way_into_its_network() {
    for (deed, words) in [
        ("ip route del 10.9.0.0/24", "Failed to find Gateway 10.9.0.1 for interface eth0"),
        ("ip -6 route del fd00:9::/64 dev eth0", "Failed to find Gateway fd00:9::1 for interface eth0"),
    ] {
        after("bridge", &[], Inside(deed), |_, web, result| {
            web.check(result).fails(999).names(&[words]);
        });
    }
}

// CHK-06
#[test]
fn a_routed_pair_lost_its_way_to_the_gateway_or_by_it_to_its_network() {
    for (deed, words) in [
        ("ip route del 10.9.0.1", "10.9.0.1/32"),
        ("ip route del 10.9.0.0/24", "10.9.0.0/24 via 10.9.0.1"),
        ("ip -6 route del fd00:9::1", "fd00:9::1/128"),
        ("ip -6 route del fd00:9::/64", "fd00:9::/64 via fd00:9::1"),
        ("ip route del 10.9.0.0/24; ip route add 10.9.0.0/24 dev eth0", "10.9.0.0/24 via 10.9.0.1"),
    ] {
        found(CLOSER, "veth", &[], Inside(deed), &[words, "eth0"]);
    }
}

// CHK-13, CHK-18: a plugin for source routing moves them
#[test]
fn what_leads_to_the_gateway_may_be_in_another_table() {
    const MOVED: &str = "
        ip route add 10.9.0.1 dev eth0 scope link table 100; ip route add 10.9.0.0/24 via 10.9.0.1 table 100
        ip rule add from 10.9.0.2 table 100
        ip route del 10.9.0.0/24; ip route del 10.9.0.1";
    after("veth", &[], Inside(MOVED), |host, web, result| {
        let answer = web.check(result);
        host.differs("check-routes", || answer.silent(), || drop(answer.fails(999)));
    });
}

// CHK-12
#[test]
fn the_host_does_not_forward_any_more() {
    let v4 = Outside("echo 0 > /proc/sys/net/ipv4/ip_forward");
    found_in_both(CLOSER, &[], v4, &["net/ipv4/ip_forward is 0"]);
    let v6 = Outside("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
    found_in_both(CLOSER, &[], v6, &["net/ipv6/conf/all/forwarding is 0"]);
}

// CHK-14
#[test]
fn forwarding_is_no_business_of_a_bridge_that_is_no_gateway() {
    let changes = [("/isGateway", json!(false)), ("/ipam/routes", json!([]))];
    let off = "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding";
    passes("bridge", &changes, Outside(off));
}

// CHK-14: nor is a family of which there is no address
#[test]
fn forwarding_of_another_family_is_no_business_of_ours() {
    let ranges = json!([[{"subnet": "10.9.0.0/24"}]]);
    let changes = [("/ipam/ranges", ranges), ("/ipam/routes", json!([]))];
    let off = Outside("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
    passes("bridge", &changes, off);
    passes("veth", &changes, off);
}

// CHK-10
#[test]
fn the_address_is_leased_to_another_container() {
    let deed = Outside("for lease in /run/leases/net-*/10.9.0.2; do printf 'other\\r\\neth0' > $lease; done");
    found_in_both("check-address", &[], deed, &["10.9.0.2", "container-1"]);
}
