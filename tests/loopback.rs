//! loopback: `lo` is up, and the result says so.

use serde_json::json;

use crate::lab::snapshot::Shared;
use crate::lab::{conf, lab};

// LOO-01
#[test]
fn lo_is_set_up_whatever_the_interface_is_called() {
    lab(|host| {
        for name in ["lo", "eth0", "whatever"] {
            let pod = host.pod();
            assert!(pod.does_not_ping("127.0.0.1"));
            host.attach("loopback", conf::loopback(host), &pod).ifname(name).add().result();
            assert!(pod.pings("127.0.0.1") && pod.pings("::1"));
            assert_eq!(pod.addresses("lo"), ["127.0.0.1/8", "::1/128"]);
            assert!(pod.links().is_empty());
        }
    });
}

// LOO-04
#[test]
fn del_sets_lo_down_and_forgives_a_missing_namespace() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let lo = host.attach("loopback", conf::loopback(host), &pod);
        let result = lo.add().result();
        lo.del_with(&result).silent();
        lo.del().silent();
        before.0.same_as(&host.snapshot(), &[]);
        // The kernel keeps 127.0.0.1 on a link that has once been up.
        before.1.same_as(&pod.snapshot(), &[Shared::Link("lo")]);
        assert!(!pod.link("lo").unwrap()["flags"].to_string().contains("\"UP\""));
        lo.call("DEL").without("CNI_NETNS").run().silent();
        lo.call("DEL").netns("").run().silent();
        pod.delete();
        lo.del().silent();
    });
}

// LOO-05, CHK-04
#[test]
fn check_fails_when_lo_is_down() {
    lab(|host| {
        let pod = host.pod();
        let lo = host.attach("loopback", conf::loopback(host), &pod);
        let result = lo.add().result();
        lo.check(&result).silent();
        pod.sh("ip link set lo down");
        let before = pod.snapshot();
        lo.check(&result).fails_somehow().names(&["loopback interface is down"]);
        before.same_as(&pod.snapshot(), &[]);
    });
}

// CHK-03
#[test]
fn check_of_lo_needs_the_previous_result_too() {
    lab(|host| {
        let pod = host.pod();
        let lo = host.attach("loopback", conf::loopback(host), &pod);
        lo.add().result();
        let check = lo.call("CHECK").run();
        host.differs("check-prev", || drop(check.fails(7).names(&["prevResult"])), || check.silent());
    });
}

// LOO-06
#[test]
fn lo_may_be_up_already() {
    lab(|host| {
        let pod = host.pod();
        pod.sh("ip link set lo up");
        let lo = host.attach("loopback", conf::loopback(host), &pod);
        let first = lo.add().result();
        assert_eq!(lo.add().result(), first);
    });
}

// LOO-06
#[test]
fn an_address_that_is_none_of_los_is_refused() {
    lab(|host| {
        for address in ["192.0.2.1/32", "2001:db8::1/128"] {
            let pod = host.pod();
            pod.sh(&format!("ip addr add {address} dev lo"));
            let words = ["non-loopback address", address.split('/').next().unwrap()];
            host.attach("loopback", conf::loopback(host), &pod).add().fails(999).names(&words);
        }
    });
}

// LOO-02: an interface of the result is not made up
#[test]
fn without_ipv6_the_result_has_no_ipv6() {
    lab(|host| {
        let pod = host.pod();
        pod.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1");
        let result = host.attach("loopback", conf::loopback(host), &pod).add().result();
        assert_eq!(result["ips"], json!([{"address": "127.0.0.1/8", "interface": 0}]));
    });
}
