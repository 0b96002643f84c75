//! ADD of the plugins that make an interface: what is there afterwards, and what is not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::{conf, lab};

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The place that an interface of a result is in.
fn home<'a>(host: &'a Host, pod: &'a Pod, interface: &Value) -> &'a Place {
    if text(interface, "sandbox").is_empty() { host } else { pod }
}

// ADD-01, ADD-02, ADD-03, RES-11
#[test]
fn the_result_lists_exactly_the_links_that_were_made() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before: BTreeSet<_> = host.links().into_iter().collect();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            let after: BTreeSet<_> = host.links().into_iter().collect();

            let listed = list(&result, "interfaces").iter();
            let (inside, outside): (Vec<_>, Vec<_>) = listed.partition(|i| !text(i, "sandbox").is_empty());
            let outside: BTreeSet<_> = outside.into_iter().map(|i| text(i, "name").to_owned()).collect();
            assert_eq!(outside, after.difference(&before).cloned().collect(), "{program}");
            assert_eq!(inside.len(), 1, "{program}: {result}");
            assert_eq!(text(inside[0], "name"), "eth0");
            assert_eq!(text(inside[0], "sandbox"), pod.path());
            assert_eq!(pod.links(), ["eth0"]);
            web.del().silent();
        }
    });
}

// ADD-04, RES-08, RES-15
#[test]
fn the_result_tells_the_kernels_own_macs_and_mtus() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf::with(&conf, "/mtu", json!(1400)), &pod);
            let result = web.add().result();
            for interface in list(&result, "interfaces") {
                let link =
                    home(host, &pod, interface).link(text(interface, "name")).expect("listed, so there");
                assert_eq!(interface["mac"], link["address"], "{program}: {interface}");
                assert!(interface.get("mtu").is_none_or(|mtu| *mtu == link["mtu"]), "{program}: {interface}");
                assert_eq!(link["mtu"], 1400, "{program}: {interface}");
            }
            web.del().silent();
            host.try_sh("ip link del br0");
        }
    });
}

// ADD-05, ADD-06, DLG-19
#[test]
fn every_address_of_the_result_is_on_the_link_it_names() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            assert_eq!(list(&result, "ips").len(), 2);
            for ip in list(&result, "ips") {
                let index = usize::try_from(ip["interface"].as_u64().expect("an index")).unwrap();
                let interface = &list(&result, "interfaces")[index];
                assert_eq!(text(interface, "name"), "eth0");
                assert_eq!(text(interface, "sandbox"), pod.path());
                assert!(pod.addresses("eth0").iter().any(|a| a == text(ip, "address")), "{program}: {ip}");
            }
            web.del().silent();
        }
    });
}

// ADD-07
#[test]
fn a_route_without_a_gateway_goes_through_the_gateway_of_its_family() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.9.0.9"}, {"dst": "2001:db8::/32"}]);
            let web = host.attach(program, conf::with(&conf, "/ipam/routes", routes.clone()), &pod);
            let result = web.add().result();
            assert_eq!(result["routes"], routes, "reported as given");
            let hop = |arguments: &str| pod.routes(arguments).first().map(|r| text(r, "gateway").to_owned());
            assert_eq!(hop("-4 route show default").as_deref(), Some("10.9.0.1"), "{program}");
            assert_eq!(hop("-4 route show 192.0.2.0/24").as_deref(), Some("10.9.0.9"), "{program}");
            assert_eq!(hop("-6 route show 2001:db8::/32").as_deref(), Some("fd00:9::1"), "{program}");
            web.del().silent();
        }
    });
}

// ADD-07
#[test]
fn a_route_without_any_gateway_is_on_the_link() {
    lab(|host| {
        let pod = host.pod();
        let stub = host.stub("rec-ipam");
        stub.answers("ADD", r#"{"ips":[{"address":"10.44.0.2/24"}],"routes":[{"dst":"192.0.2.0/24"}]}"#);
        let conf = conf::with(&conf::bridge_with_stub(host, "rec-ipam"), "/isGateway", json!(false));
        host.attach("bridge", conf, &pod).call("ADD").env("CNI_PATH", stub.folder()).run().result();
        let route = &pod.routes("-4 route show 192.0.2.0/24")[0];
        assert!(route.get("gateway").is_none() && route["dev"] == "eth0", "{route}");
    });
}

// ADD-08
#[test]
fn a_link_that_already_has_the_name_is_left_alone() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            pod.sh("ip link add eth0 type veth peer name other");
            let before = (host.snapshot(), pod.snapshot());
            let web = host.attach(program, conf, &pod);
            web.add().fails_somehow().names(&["eth0", "exist"]);
            before.1.same_as(&pod.snapshot(), &[]);
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

// ADD-09, IPM-10
#[test]
fn a_second_add_is_refused_and_the_first_keeps_working() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            let before = (host.snapshot(), pod.snapshot());
            for _ in 0..2 {
                web.add().fails_somehow();
            }
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
            assert!(pod.pings("10.9.0.1") && pod.pings("fd00:9::1"));
            web.check(&result).silent();
            web.del().silent();
        }
    });
}

// ADD-10
#[test]
fn an_interface_cannot_be_called_lo() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            host.attach(program, conf, &pod).ifname("lo").add().fails_somehow();
            before.1.same_as(&pod.snapshot(), &[]);
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

// ADD-11, DEL-13, IPM-06
#[test]
fn one_container_has_two_interfaces_of_one_network() {
    lab(|host| {
        let pod = host.pod();
        let first = host.attach("bridge", conf::bridge(host), &pod);
        // A second default route through another link would be the second network's fault, so there is none.
        let second = first.conf(conf::with(&conf::bridge(host), "/ipam/routes", json!([]))).ifname("eth1");
        let result = first.add().result();
        second.add().result();
        assert_eq!(pod.addresses("eth0"), ["10.9.0.2/24", "fd00:9::2/64"]);
        assert_eq!(pod.addresses("eth1"), ["10.9.0.3/24", "fd00:9::3/64"]);

        second.del().silent();
        assert_eq!(pod.links(), ["eth0"]);
        first.check(&result).silent();
        assert!(pod.pings("10.9.0.1"));
        assert_eq!(
            host.snapshot().below("file/run/leases/net-a/10.9.0."),
            ["file/run/leases/net-a/10.9.0.2"]
        );
        first.del().silent();
        assert!(pod.links().is_empty());
    });
}

// ADD-12
#[test]
fn attachments_to_two_networks_are_independent() {
    lab(|host| {
        let pod = host.pod();
        let first = host.attach("bridge", conf::bridge(host), &pod);
        let other =
            conf::with(&conf::with(&conf::bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.10.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([]));
        let second = first.conf(other).ifname("eth1");
        let result = first.add().result();
        second.add().result();
        assert_eq!(pod.addresses("eth1"), ["10.10.0.2/24"]);
        second.del().silent();
        first.check(&result).silent();
        assert!(pod.pings("10.9.0.1"));
    });
}

// IPM-18
#[test]
fn a_second_network_may_bring_a_default_route_of_its_own() {
    lab(|host| {
        let pod = host.pod();
        let first = host.attach("bridge", conf::bridge(host), &pod);
        let other =
            conf::with(&conf::with(&conf::bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let ranges = json!([[{"subnet": "10.10.0.0/24"}], [{"subnet": "fd00:10::/64"}]]);
        let second = first.conf(conf::with(&other, "/ipam/ranges", ranges)).ifname("eth1");
        let results = [first.add().result(), second.add().result()];
        for (web, result) in [&first, &second].into_iter().zip(&results) {
            web.check(result).silent();
        }
        let gateways = ["10.9.0.1", "10.10.0.1", "fd00:9::1", "fd00:10::1"];
        assert!(gateways.iter().all(|gateway| pod.pings(gateway)));
        assert_eq!(pod.routes("-4 route show default").len(), 2);
        first.del().silent();
        second.check(&results[1]).silent();
        second.del().silent();
        assert!(pod.links().is_empty());
    });
}

// ADD-13, DEL-14, DLG-10
#[test]
fn an_add_that_fails_late_leaves_nothing() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            let unreachable = json!([{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]);
            let web = host.attach(program, conf::with(&conf, "/ipam/routes", unreachable), &pod);
            web.add().fails(999).names(&["192.0.2.0", "unreachable"]);
            let nothing_left = || {
                before.1.same_as(&pod.snapshot(), &[]);
                before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            };
            host.differs("failed-add", nothing_left, || ());
            web.del().silent();
            nothing_left();
        }
    });
}

// ADD-14, RTL-06
#[test]
fn nobody_stays_in_the_namespace() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let before = host.snapshot();
            web.add().result();
            assert_eq!(host.snapshot().below("process/"), before.below("process/"));
            web.del().silent();
            assert_eq!(host.snapshot().below("process/"), before.below("process/"));
            assert_eq!(host.snapshot().below("netns/"), before.below("netns/"));
        }
    });
}

// ADD-17
#[test]
fn dns_of_the_network_replaces_dns_of_the_lease() {
    lab(|host| {
        host.sh("printf 'nameserver 192.0.2.53\\nsearch lease.test\\n' > /run/resolv.conf");
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let conf = conf::with(&conf, "/ipam/resolvConf", json!("/run/resolv.conf"));
            let web = host.attach(program, conf.clone(), &pod);
            assert_eq!(
                web.add().result()["dns"],
                json!({"nameservers": ["10.9.0.1"], "search": ["rs.test"]})
            );
            web.del().silent();
            let web = web.conf(conf::without(&conf, "dns"));
            let dns = web.add().result()["dns"].clone();
            let ours = || assert_eq!(dns, json!({"nameservers": ["192.0.2.53"], "search": ["lease.test"]}));
            host.differs("lease-dns", ours, || ());
            web.del().silent();
        }
    });
}

// ADD-19, UPG-10
#[test]
fn a_result_that_cannot_be_told_in_its_version_is_refused_before_anything_is_made() {
    lab(|host| {
        for version in ["0.1.0", "0.2.0"] {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            let web = host.attach(
                "bridge",
                conf::with(&conf::bridge_l2(host), "/cniVersion", json!(version)),
                &pod,
            );
            let answer = web.add();
            let ours = || {
                answer.fails_with_one_of(&[7, 999]);
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            let theirs = || {
                answer.fails(999).names(&["cannot convert: no valid IP addresses"]);
                assert_eq!(pod.links(), ["eth0"]);
            };
            host.differs("l2-old", ours, theirs);
        }
    });
}

// ADD-20
#[test]
fn a_namespace_made_anew_under_the_same_name_is_a_new_one() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod_named("again");
            let web = host.attach(program, conf, &pod);
            web.add().result();
            web.del().silent();
            pod.delete();
            let pod = host.pod_named("again");
            web.add().result();
            assert_eq!(pod.addresses("eth0"), ["10.9.0.3/24", "fd00:9::3/64"]);
            web.del().silent();
            pod.delete();
            host.sh("rm -r /run/leases");
        }
    });
}

// ADD-20
#[test]
fn a_container_that_vanished_without_del_can_be_added_again_after_del() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod_named("again");
            let web = host.attach(program, conf, &pod);
            web.add().result();
            pod.delete();
            web.del().silent();
            let pod = host.pod_named("again");
            let result = web.add().result();
            web.check(&result).silent();
            assert!(pod.pings("10.9.0.1"));
            web.del().silent();
            pod.delete();
        }
    });
}

// ADD-21, CHK-15
#[test]
fn addresses_are_usable_the_moment_add_answers() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            for address in pod.ip("addr show dev eth0") {
                for address in list(&address, "addr_info") {
                    let flags = address.to_string();
                    assert!(
                        !flags.contains("tentative") && !flags.contains("dadfailed"),
                        "{program}: {address}"
                    );
                }
            }
            assert!(pod.pings("fd00:9::1"), "{program}: the gateway, at once");
            web.check(&result).silent();
            web.del().silent();
        }
    });
}

// STA-05
#[test]
fn two_pods_reach_each_other_and_the_gateway() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let (one, two) = (host.pod(), host.pod());
            let first = host.attach(program, conf.clone(), &one);
            let second = host.attach(program, conf, &two).container("container-2");
            let (a, b) = (first.add().result(), second.add().result());
            for (pod, result) in [(&two, &a), (&one, &b)] {
                for ip in list(result, "ips") {
                    let address = text(ip, "address").split('/').next().unwrap();
                    assert!(pod.pings(address), "{program}: {address}");
                    assert!(pod.pings(text(ip, "gateway")), "{program}: the gateway");
                    assert!(host.pings(address), "{program}: {address} from the host");
                }
            }
            first.del().silent();
            second.del().silent();
        }
    });
}
