//! bridge: what its own keys do.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// ADD with a changed configuration; gives the result.
fn add(host: &Host, pod: &Pod, changes: &[(&str, Value)]) -> Value {
    let conf = changes
        .iter()
        .fold(conf::bridge(host), |conf, (pointer, value)| conf::with(&conf, pointer, value.clone()));
    host.attach("bridge", conf, pod).add().result()
}

fn outside(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap()
}

#[test]
fn the_bridge_is_called_cni0_unless_said_otherwise() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::without(&conf::bridge(host), "bridge");
        let result = host.attach("bridge", conf, &pod).add().result();
        assert_eq!(result["interfaces"][0]["name"], "cni0");
        assert_eq!(host.link(outside(&result)).unwrap()["master"], "cni0");
    });
}

#[test]
fn a_bridge_that_exists_is_used_as_it_is() {
    lab(|host| {
        host.sh("ip link add br0 type bridge && ip link set br0 mtu 1450 address 02:00:00:00:00:b0 up");
        let pod = host.pod();
        let result = add(host, &pod, &[("/mtu", json!(1400))]);
        let bridge = host.link("br0").unwrap();
        // A bridge whose MTU nobody has set follows its ports; this one was set by hand.
        assert_eq!((&bridge["address"], &bridge["mtu"]), (&json!("02:00:00:00:00:b0"), &json!(1450)));
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:b0");
    });
}

#[test]
fn a_bridge_that_is_down_is_set_up() {
    lab(|host| {
        host.sh("ip link add br0 type bridge");
        let pod = host.pod();
        add(host, &pod, &[]);
        assert!(host.link("br0").unwrap()["flags"].to_string().contains("\"UP\""));
        assert!(pod.pings("10.9.0.1"));
    });
}

#[test]
fn the_bridges_mac_does_not_follow_its_ports() {
    lab(|host| {
        let mut seen = Vec::new();
        for n in 0..4 {
            let pod = host.pod();
            let conf = conf::bridge_l2(host);
            let web = host.attach("bridge", conf, &pod).container(&format!("c{n}"));
            web.add().result();
            seen.push(host.link("br0").unwrap()["address"].clone());
        }
        seen.dedup();
        host.differs("mac-explicit", || assert_eq!(seen.len(), 1, "{seen:?}"), || ());
    });
}

#[test]
fn the_gateways_addresses_are_on_the_bridge_and_forwarding_is_on() {
    lab(|host| {
        host.set_sysctl("net/ipv4/ip_forward", "0");
        let pod = host.pod();
        add(host, &pod, &[]);
        assert_eq!(host.addresses("br0"), ["10.9.0.1/24", "fd00:9::1/64"]);
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(host.sysctl("net/ipv6/conf/all/forwarding"), "1");
    });
}

#[test]
fn forwarding_of_a_family_without_a_gateway_is_left_alone() {
    lab(|host| {
        let pod = host.pod();
        add(
            host,
            &pod,
            &[("/ipam/ranges", json!([[{"subnet": "10.9.0.0/24"}]])), ("/ipam/routes", json!([]))],
        );
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(host.sysctl("net/ipv6/conf/all/forwarding"), "0");
    });
}

#[test]
fn without_is_gateway_the_host_gets_neither_address_nor_forwarding() {
    lab(|host| {
        let pod = host.pod();
        let result = add(host, &pod, &[("/isGateway", json!(false)), ("/ipam/routes", json!([]))]);
        assert!(host.addresses("br0").is_empty());
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "0");
        assert_eq!(result["ips"][0]["gateway"], "10.9.0.1");
    });
}

#[test]
fn is_default_gateway_adds_the_routes_that_ipam_did_not() {
    lab(|host| {
        let pod = host.pod();
        let changes =
            [("/isGateway", json!(false)), ("/isDefaultGateway", json!(true)), ("/ipam/routes", json!([]))];
        let result = add(host, &pod, &changes);
        let expected = json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}, {"dst": "::/0", "gw": "fd00:9::1"}]);
        assert_eq!(result["routes"], expected);
        assert_eq!(pod.routes("-4 route show default")[0]["gateway"], "10.9.0.1");
        assert_eq!(pod.routes("-6 route show default")[0]["gateway"], "fd00:9::1");
        assert_eq!(host.addresses("br0"), ["10.9.0.1/24", "fd00:9::1/64"]);
    });
}

#[test]
fn is_default_gateway_leaves_ipams_own_default_route_alone() {
    lab(|host| {
        let pod = host.pod();
        let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.77"}, {"dst": "::/0", "gw": "fd00:9::77"}]);
        let result = add(host, &pod, &[("/isDefaultGateway", json!(true)), ("/ipam/routes", routes.clone())]);
        assert_eq!(result["routes"], routes);
        assert_eq!(pod.routes("-4 route show default").len(), 1);
    });
}

#[test]
fn is_default_gateway_and_a_default_route_without_gateway_mean_the_same() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::with(&conf::bridge(host), "/isDefaultGateway", json!(true));
        let answer = host.attach("bridge", conf, &pod).add();
        let ours = || {
            answer.result();
            assert_eq!(pod.routes("-4 route show default").len(), 1);
            assert_eq!(pod.routes("-6 route show default").len(), 1);
        };
        host.differs("default-twice", ours, || drop(answer.fails(999).names(&["file exists"])));
    });
}

#[test]
fn a_gateway_that_ipam_did_not_name_is_the_first_address() {
    lab(|host| {
        let pod = host.pod();
        let stub = host.stub("rec-ipam");
        stub.answers("ADD", r#"{"ips":[{"address":"10.44.3.9/22"},{"address":"fd00:44::9/64"}]}"#);
        let web = host.attach("bridge", conf::bridge_with_stub(host, "rec-ipam"), &pod).path(stub.folder());
        let result = web.add().result();
        assert_eq!(result["ips"][0]["gateway"], "10.44.0.1");
        assert_eq!(result["ips"][1]["gateway"], "fd00:44::1");
        assert_eq!(host.addresses("br0"), ["10.44.0.1/22", "fd00:44::1/64"]);
    });
}

#[test]
fn another_address_on_the_bridge_is_a_conflict_unless_forced() {
    lab(|host| {
        host.sh("ip link add br0 type bridge && ip addr add 10.9.1.1/24 dev br0 && ip link set br0 up");
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let web = host.attach("bridge", conf::bridge(host), &pod);
        web.add().fails_somehow().names(&["br0", "already has an IP address different from 10.9.0.1/24"]);
        let kept = || {
            before.1.same_as(&pod.snapshot(), &[]);
            before.0.same_as(
                &host.snapshot(),
                &[crate::lab::snapshot::Shared::Forwarding, crate::lab::snapshot::Shared::Store],
            );
        };
        host.differs("failed-add", kept, || ());
        web.del().silent();
        let forced = || {
            add(host, &pod, &[("/forceAddress", json!(true))]);
            assert_eq!(host.addresses("br0"), ["10.9.0.1/24", "fd00:9::1/64"]);
        };
        host.differs("first-add", forced, || ());
    });
}

#[test]
fn a_strangers_ipv6_network_on_the_bridge_is_no_conflict() {
    lab(|host| {
        host.sh(
            "ip link add br0 type bridge && ip addr add fd00:77::1/64 dev br0 nodad && ip link set br0 up",
        );
        add(host, &host.pod(), &[]);
        assert!(host.addresses("br0").contains(&"fd00:77::1/64".to_owned()));
        assert!(host.addresses("br0").contains(&"fd00:9::1/64".to_owned()));
    });
}

#[test]
fn hairpin_mode_lets_a_port_answer_itself() {
    lab(|host| {
        for (mode, expected) in [(json!(true), true), (json!(false), false)] {
            let pod = host.pod();
            let result = add(
                host,
                &pod,
                &[
                    ("/hairpinMode", mode),
                    ("/name", json!(format!("net-{expected}"))),
                    ("/bridge", json!(format!("br{expected}"))),
                ],
            );
            let port = host.link(outside(&result)).unwrap();
            assert_eq!(port["linkinfo"]["info_slave_data"]["hairpin"], expected);
            host.sh("rm -r /run/leases; ip link del type bridge 2>/dev/null || :");
            host.sh(&format!("ip link del br{expected}"));
        }
    });
}

#[test]
fn promisc_mode_is_the_bridges() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::with(&conf::bridge(host), "/promiscMode", json!(true)), &pod);
        let result = web.add().result();
        assert!(host.link("br0").unwrap()["flags"].to_string().contains("PROMISC"));
        web.check(&result).silent();
    });
}

// INP-20
#[test]
fn hairpin_and_promisc_mode_exclude_each_other() {
    lab(|host| {
        let pod = host.pod();
        let before = host.snapshot();
        let both = conf::with(
            &conf::with(&conf::bridge(host), "/hairpinMode", json!(true)),
            "/promiscMode",
            json!(true),
        );
        let fault = host.attach("bridge", both, &pod).add().fails_or("config-code", 7, 999);
        fault.names(&["cannot set hairpin mode and promiscuous mode at the same time"]);
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn a_container_interface_may_be_left_down() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::with(&conf::bridge_l2(host), "/disableContainerInterface", json!(true));
        let web = host.attach("bridge", conf, &pod);
        let result = web.add().result();
        let down = || assert!(!pod.link("eth0").unwrap()["flags"].to_string().contains("\"UP\""));
        host.differs("disable-container-interface", down, || ());
        host.differs("disable-container-interface", || web.check(&result).silent(), || ());
        web.del().silent();
        let both = conf::with(&conf::bridge(host), "/disableContainerInterface", json!(true));
        let answer = host.attach("bridge", both, &pod).add();
        let ours =
            || drop(answer.fails(7).names(&["cannot use IPAM when DisableContainerInterface flag is set"]));
        host.differs("disable-container-interface", ours, || ());
    });
}

#[test]
fn a_container_on_layer_2_is_up_when_add_answers() {
    lab(|host| {
        let (one, two) = (host.pod(), host.pod());
        for (n, pod) in [&one, &two].into_iter().enumerate() {
            let web = host.attach("bridge", conf::bridge_l2(host), pod).container(&format!("c{n}"));
            let result = web.add().result();
            assert_eq!(host.link(outside(&result)).unwrap()["operstate"], "UP");
            pod.sh(&format!("ip addr add 192.0.2.{}/24 dev eth0", n + 1));
        }
        assert!(two.pings("192.0.2.1") && one.pings("192.0.2.2"));
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "0");
    });
}

// CON-05, and two gateways on one bridge
#[test]
fn two_networks_share_a_bridge_when_their_gateways_agree() {
    lab(|host| {
        let (one, two) = (host.pod(), host.pod());
        let ranges = |start: &str, end: &str| json!([[{"subnet": "10.9.0.0/24", "rangeStart": start, "rangeEnd": end}]]);
        add(host, &one, &[("/ipam/ranges", ranges("10.9.0.10", "10.9.0.19")), ("/ipam/routes", json!([]))]);
        let changes = [
            ("/name", json!("net-b")),
            ("/ipam/ranges", ranges("10.9.0.20", "10.9.0.29")),
            ("/ipam/routes", json!([])),
        ];
        add(host, &two, &changes);
        assert!(two.pings("10.9.0.10") && one.pings("10.9.0.20"));
    });
}

#[test]
fn the_host_ends_name_is_the_same_at_every_add() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let mut names = Vec::new();
        for _ in 0..3 {
            let result = web.add().result();
            names.push(outside(&result).to_owned());
            web.del().silent();
        }
        names.dedup();
        let other = web.ifname("eth1").add().result();
        let ours = || {
            assert_eq!(names.len(), 1);
            assert_ne!(outside(&other), names[0]);
            assert!(
                names[0].len() == 15
                    && names[0].strip_prefix("veth").unwrap().bytes().all(|b| b.is_ascii_hexdigit())
            );
        };
        host.differs("host-end-name", ours, || assert!(names.len() > 1));
    });
}

#[test]
fn a_port_has_its_owner_and_its_settings_before_it_is_up() {
    lab_with(&[Need::Ours("host-end-name")], |host| {
        host.sh("ip -d -o monitor link > /run/events 2>&1 & echo $! > /run/monitor
            until [ -s /run/events ]; do ip link set lo alias a; ip link set lo alias b; done");
        let result = add(host, &host.pod(), &[("/hairpinMode", json!(true))]);
        let is_up = format!("' {}@.*[<,]UP.* bridge_slave '", outside(&result));
        let told = host.sh(&format!("until grep {is_up} /run/events; do :; done; kill $(cat /run/monitor)"));
        for event in told.lines() {
            assert!(event.contains(" alias ") && event.contains(" hairpin on "), "{event}");
        }
    });
}

#[test]
fn a_stranger_with_the_host_ends_name_is_named_and_kept() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let result = web.add().result();
        let name = outside(&result).to_owned();
        web.del().silent();
        host.sh(&format!("ip link add {name} type veth peer name precious"));
        let before = (host.snapshot(), pod.snapshot());
        let ours = || {
            web.add().fails_somehow().names(&[&name]);
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pod.snapshot(), &[]);
            web.del().silent();
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        };
        host.differs("host-end-name", ours, || ());
    });
}
