//! veth, also installed as ptp: a routed pair.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::{conf, lab};

fn outside(result: &Value) -> &str {
    result["interfaces"][0]["name"].as_str().unwrap()
}

#[test]
fn the_pair_is_routed_by_host_addresses() {
    lab(|host| {
        let pod = host.pod();
        let result = host.attach("veth", conf::veth(host), &pod).add().result();
        let outside = outside(&result);
        assert_eq!(host.addresses(outside), ["10.9.0.1/32", "fd00:9::1/128"]);
        let route = &host.routes("-4 route show 10.9.0.2")[0];
        assert_eq!((&route["dev"], &route["scope"]), (&json!(outside), &json!("host")));
        assert_eq!(host.routes("-6 route show fd00:9::2")[0]["dev"], outside);
        // Neighbours of the subnet are reached through the gateway, which is on the link.
        let gateway = &pod.routes("-4 route show 10.9.0.1")[0];
        assert_eq!(
            (&gateway["dev"], &gateway["scope"], &gateway["prefsrc"]),
            (&json!("eth0"), &json!("link"), &json!("10.9.0.2"))
        );
        let subnet = &pod.routes("-4 route show 10.9.0.0/24")[0];
        assert_eq!((&subnet["gateway"], &subnet["prefsrc"]), (&json!("10.9.0.1"), &json!("10.9.0.2")));
        assert_eq!(pod.routes("-6 route show fd00:9::/64")[0]["gateway"], "fd00:9::1");
    });
}

#[test]
fn forwarding_is_on_for_the_families_in_use_alone() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::with(&conf::veth(host), "/ipam/ranges", json!([[{"subnet": "10.9.0.0/24"}]]));
        let web = host.attach("veth", conf::with(&conf, "/ipam/routes", json!([])), &pod);
        web.add().result();
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(host.sysctl("net/ipv6/conf/all/forwarding"), "0");
        web.del().silent();
    });
}

#[test]
fn it_is_one_program_under_two_names() {
    lab(|host| {
        let (one, two) = (host.pod(), host.pod());
        let first = host.attach("veth", conf::veth(host), &one);
        let result = first.add().result();
        // What one name added the other removes.
        let as_ptp = host.attach("ptp", conf::veth(host), &one);
        as_ptp.check(&result).silent();
        as_ptp.del_with(&result).silent();
        assert!(one.links().is_empty() && host.links().is_empty());
        host.attach("ptp", conf::veth(host), &two).container("container-2").add().result();
        assert!(two.pings("10.9.0.1"));
    });
}

// IPM-08, WKK
#[test]
fn a_routed_pair_needs_ipam() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for conf in
            [conf::without(&conf::veth(host), "ipam"), conf::with(&conf::veth(host), "/ipam", json!({}))]
        {
            host.attach("veth", conf, &pod)
                .add()
                .fails_or("config-code", 7, 999)
                .ours_names("config-code", &["ipam"]);
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

fn with_answer(
    host: &Host,
    answer: &str,
    test: impl Fn(&crate::lab::outcome::Outcome, &crate::lab::host::Pod),
) {
    let stub = host.stub("rec-ipam");
    stub.answers("ADD", answer);
    let pod = host.pod();
    let conf = conf::with(&conf::veth(host), "/ipam", json!({"type": "rec-ipam"}));
    let web = host.attach("veth", conf, &pod).path(stub.folder());
    test(&web.add(), &pod);
    web.del();
}

#[test]
fn an_address_without_a_gateway_is_refused() {
    lab(|host| {
        let before = host.snapshot();
        with_answer(host, r#"{"ips":[{"address":"10.44.0.2/24"}]}"#, |answer, pod| {
            let ours = || {
                answer.fails_somehow().names(&["10.44.0.2", "gateway"]);
                assert!(pod.links().is_empty());
            };
            host.differs("ptp-gateway", ours, || ());
        });
        let clean = || {
            let found = before.differences(&host.snapshot(), conf::LEFT_BEHIND);
            assert!(found.iter().all(|line| line.starts_with("+ netns/")), "{found:#?}");
        };
        host.differs("ptp-gateway", clean, || ());
    });
}

#[test]
fn two_addresses_may_share_subnet_and_gateway() {
    lab(|host| {
        let answer = r#"{"ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"},{"address":"10.44.0.3/24","gateway":"10.44.0.1"}]}"#;
        with_answer(host, answer, |answer, pod| {
            let ours = || {
                answer.result();
                assert_eq!(pod.addresses("eth0"), ["10.44.0.2/24", "10.44.0.3/24"]);
                assert!(host.pings("10.44.0.2") && host.pings("10.44.0.3") && pod.pings("10.44.0.1"));
            };
            host.differs("ptp-one-subnet", ours, || drop(answer.fails(999)));
        });
    });
}

#[test]
fn the_mtu_is_that_of_both_ends() {
    lab(|host| {
        let pod = host.pod();
        let result =
            host.attach("veth", conf::with(&conf::veth(host), "/mtu", json!(1400)), &pod).add().result();
        assert_eq!(host.link(outside(&result)).unwrap()["mtu"], 1400);
        assert_eq!(pod.link("eth0").unwrap()["mtu"], 1400);
    });
}

// CHK-07
#[test]
fn check_sees_that_the_hosts_route_or_address_is_gone() {
    lab(|host| {
        for fault in [
            "ip route del 10.9.0.2",
            "ip -6 route del fd00:9::2",
            "ip addr del 10.9.0.1/32 dev $V",
            "ip addr del fd00:9::1/128 dev $V",
        ] {
            let pod = host.pod();
            let web = host.attach("veth", conf::veth(host), &pod);
            let result = web.add().result();
            web.check(&result).silent();
            host.sh(&fault.replace("$V", outside(&result)));
            let check = web.check(&result);
            host.differs("ptp-check", || drop(check.fails_somehow()), || check.silent());
            web.del().silent();
            host.sh("rm -r /run/leases");
        }
    });
}
