//! The gateway in a VLAN: the host's link `<bridge>.<vlan>`.

use serde_json::{Value, json};

use super::{OURS, VLANS, member, vlans};
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::world::{Feature, Need};
use crate::lab::{conf, lab_with};

/// A network of VLAN 100 on `br0` with addresses and a gateway.
fn network(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/vlan", json!(100))
}

/// What such an attachment may leave behind: the port's name is whatever the gateway's other end is called.
fn left_behind<'a>(port: &'a str) -> Vec<Shared<'a>> {
    let links = [Shared::Bridge("br0"), Shared::Link("br0.100"), Shared::Link(port)];
    links.into_iter().chain([Shared::Forwarding, Shared::Store]).collect()
}

/// The gateway's port: the other end of the pair.
fn port(host: &Host) -> String {
    host.link("br0.100").unwrap()["link"].as_str().unwrap().to_owned()
}

fn is_up(link: &Value) -> bool {
    link["flags"].to_string().contains("\"UP\"")
}

/// The Go plugin's IPv6 gateway cannot be used at once: it is looked for by duplicate address detection.
fn reaches_gateway(host: &Host, pod: &Pod) -> bool {
    pod.pings("10.9.0.1") && (host.is_reference() || pod.pings("fd00:9::1"))
}

#[test]
fn the_gateway_is_a_link_in_the_vlan_and_the_result_names_it() {
    lab_with(VLANS, |host| {
        let pod = host.pod();
        let result = host.attach("bridge", network(host), &pod).add().result();
        let gateway = host.link("br0.100").unwrap();
        let names: Vec<_> = result["interfaces"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert_eq!(
            (names.len(), names[0], names[2], names[3]),
            (4, &json!("br0"), &json!("eth0"), &json!("br0.100"))
        );
        assert_eq!(result["interfaces"][3]["mac"], gateway["address"]);
        assert!(result["interfaces"][3].get("sandbox").is_none());
        assert_eq!(result["ips"][0]["interface"], 2);
        assert_eq!(gateway["linkinfo"]["info_kind"], "veth");
        assert_eq!(host.addresses("br0.100"), ["10.9.0.1/24", "fd00:9::1/64"]);
        assert!(host.addresses("br0").is_empty());
        assert_eq!(host.link(&port(host)).unwrap()["master"], "br0");
        let listens = host.sysctl("net/ipv6/conf/br0.100/accept_ra");
        assert_eq!(listens, host.differs("vlan-gateway", || "0", || "1"));
        assert_eq!(host.sysctl("net/ipv4/ip_forward"), "1");
        assert!(is_up(&gateway) && reaches_gateway(host, &pod) && host.pings("10.9.0.2"));
        let ours: &[&str] = &["100 pvid untagged"];
        let theirs: &[&str] = &["1 untagged", "100 pvid untagged"];
        assert_eq!(vlans(host, &port(host)), host.differs("vlan-default", || ours, || theirs));
    });
}

#[test]
fn the_gateway_is_reached_from_its_vlan_alone() {
    lab_with(VLANS, |host| {
        let pod = host.pod();
        host.attach("bridge", network(host), &pod).add().result();
        assert!(reaches_gateway(host, &pod));
        for keys in [json!({"vlan": 200}), json!({})] {
            let stranger = member(host, 99, keys.clone());
            assert!(!stranger.pod.try_sh("ping -n -c 1 -W 1 10.9.0.1").status.success(), "{keys}");
            stranger.web.del().silent();
        }
    });
}

#[test]
fn containers_of_a_vlan_share_its_gateway_and_del_leaves_it_to_them() {
    lab_with(VLANS, |host| {
        let (one, two) = (host.pod(), host.pod());
        let before = host.snapshot();
        let first = host.attach("bridge", network(host), &one);
        let second = host.attach("bridge", network(host), &two).container("c2");
        let result = first.add().result();
        let gateway = result["interfaces"][3].clone();
        assert_eq!(second.add().result()["interfaces"][3], gateway);
        assert_eq!(host.links().len(), 5, "a bridge, two host ends, one pair: {:?}", host.links());
        first.del_with(&result).silent();
        assert!(reaches_gateway(host, &two));
        second.del().silent();
        let port = port(host);
        before.same_as(&host.snapshot(), &left_behind(&port));
        assert_eq!(first.add().result()["interfaces"][3], gateway, "found again");
        assert!(reaches_gateway(host, &one));
    });
}

#[test]
fn many_who_make_the_gateway_at_once_make_one() {
    lab_with(OURS, |host| {
        let pods: Vec<_> = (0..8).map(|_| host.pod()).collect();
        let all: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(n, pod)| host.attach("bridge", network(host), pod).container(&format!("c{n}")))
            .collect();
        for _ in 0..3 {
            let running: Vec<_> = all.iter().map(|web| web.call("ADD").start()).collect();
            let results: Vec<_> = running.into_iter().map(|call| call.finish().result()).collect();
            assert!(results.iter().all(|it| it["interfaces"][3] == results[0]["interfaces"][3]));
            assert!(pods.iter().all(|pod| reaches_gateway(host, pod)));
            assert_eq!(vlans(host, &port(host)), ["100 pvid untagged"]);
            assert_eq!(host.links().len(), 1 + 8 + 2);
            for (web, result) in all.iter().zip(&results) {
                web.check(result).silent();
                web.del().silent();
            }
            host.sh("ip link del br0.100; ip link del br0");
        }
    });
}

#[test]
fn a_gateway_that_was_left_half_made_is_finished() {
    lab_with(&[Need::Has(Feature::BridgeVlans), Need::Ours("vlan-gateway")], |host| {
        host.sh("ip link add br0 type bridge vlan_filtering 1 && ip link set br0 up");
        host.sh("ip link add br0.100 type veth peer name half && ip link set half master br0 up");
        assert_eq!(vlans(host, "half"), ["1 pvid untagged"]);
        let pod = host.pod();
        host.attach("bridge", network(host), &pod).add().result();
        assert_eq!((port(host).as_str(), vlans(host, "half")), ("half", vec!["100 pvid untagged".into()]));
        assert!(reaches_gateway(host, &pod));
    });
}

#[test]
fn an_administrators_own_link_of_that_name_is_the_gateway() {
    lab_with(&[Need::Has(Feature::BridgeVlans), Need::Has(Feature::TaggedLinks)], |host| {
        host.sh("ip link add br0 type bridge vlan_filtering 1 && ip link set br0 up");
        host.sh("ip link add link br0 name br0.100 type vlan id 100 && ip link set br0.100 up");
        host.sh("bridge vlan add dev br0 vid 100 self");
        let pod = host.pod();
        let web = host.attach("bridge", network(host), &pod);
        let result = web.add().result();
        assert_eq!(host.addresses("br0.100"), ["10.9.0.1/24", "fd00:9::1/64"]);
        assert_eq!(host.link("br0.100").unwrap()["linkinfo"]["info_kind"], "vlan");
        assert_eq!(host.links().len(), 3);
        assert!(reaches_gateway(host, &pod));
        web.check(&result).silent();
    });
}

#[test]
fn a_stranger_with_the_gateways_name_may_stay_where_there_is_no_gateway_in_the_vlan() {
    lab_with(VLANS, |host| {
        host.sh("ip link add br0.100 type veth peer name precious");
        let one = member(host, 1, json!({"vlan": 100}));
        assert_eq!(one.result["interfaces"].as_array().unwrap().len(), 3);
        assert!(!is_up(&host.link("br0.100").unwrap()));
    });
}

#[test]
fn a_network_of_frames_alone_has_no_gateway() {
    lab_with(VLANS, |host| {
        let one = member(host, 1, json!({"vlan": 100, "isGateway": true}));
        assert_eq!(one.result["interfaces"].as_array().unwrap().len(), 3);
        assert_eq!(host.links().len(), 2);
        host.differs("check-l2", || one.web.check(&one.result).silent(), || ());
    });
}

#[test]
fn the_gateway_of_a_trunk_alone_is_the_bridge() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = conf::with(&conf::bridge(host), "/vlanTrunk", json!([{"id": 5}]));
        let web = host.attach("bridge", conf, &pod);
        let result = web.add().result();
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
        assert_eq!(host.addresses("br0"), ["10.9.0.1/24", "fd00:9::1/64"]);
        assert!(reaches_gateway(host, &pod));
        web.check(&result).silent();
    });
}

#[test]
fn isolated_ports_reach_the_gateway_in_their_vlan_and_not_each_other() {
    lab_with(OURS, |host| {
        let conf = conf::with(&network(host), "/portIsolation", json!(true));
        let pods = [host.pod(), host.pod()];
        for (n, pod) in pods.iter().enumerate() {
            host.attach("bridge", conf.clone(), pod).container(&format!("c{n}")).add().result();
        }
        assert!(pods.iter().all(|pod| reaches_gateway(host, pod)));
        assert!(!pods[0].try_sh("ping -n -c 1 -W 1 10.9.0.3").status.success());
    });
}

#[test]
fn another_address_on_the_gateway_is_a_conflict_that_leaves_the_rest_alone() {
    lab_with(&[Need::Has(Feature::BridgeVlans), Need::Ours("failed-add")], |host| {
        host.sh("ip link add br0 type bridge vlan_filtering 1 && ip link set br0 up");
        host.sh("ip link add br0.100 type veth peer name half && ip link set half master br0 up");
        host.sh("ip addr add 10.77.0.1/24 dev br0.100");
        let pod = host.pod();
        let inside = pod.snapshot();
        let web = host.attach("bridge", network(host), &pod);
        web.add().fails(999).names(&[
            "br0.100",
            "already has an IP address different from 10.9.0.1/24",
            "10.77.0.1/24",
        ]);
        inside.same_as(&pod.snapshot(), &[]);
        web.conf(conf::with(&network(host), "/forceAddress", json!(true))).add().result();
        assert_eq!(host.addresses("br0.100"), ["10.9.0.1/24", "fd00:9::1/64"]);
        assert!(reaches_gateway(host, &pod));
    });
}

#[test]
fn check_finds_what_was_changed_about_the_gateway() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", network(host), &pod);
        let result = web.add().result();
        let port = port(host);
        web.check(&result).silent();
        for (change, back, words) in [
            (
                "ip link set br0.100 down",
                "ip link set br0.100 up; ip addr add fd00:9::1/64 dev br0.100 nodad",
                "down",
            ),
            ("ip addr del 10.9.0.1/24 dev br0.100", "ip addr add 10.9.0.1/24 dev br0.100", "10.9.0.1/24"),
            (
                "bridge vlan del dev PORT vid 100",
                "bridge vlan add dev PORT vid 100 pvid untagged",
                "VLAN 100",
            ),
            ("bridge vlan add dev PORT vid 1 untagged", "bridge vlan del dev PORT vid 1", "VLAN 100"),
            (
                "bridge vlan add dev PORT vid 100 untagged",
                "bridge vlan add dev PORT vid 100 pvid untagged",
                "VLAN 100",
            ),
        ] {
            host.sh(&change.replace("PORT", &port));
            web.check(&result).fails(999).names(&["br0.100", words]);
            host.sh(&back.replace("PORT", &port));
            web.check(&result).silent();
        }
        host.sh("ip link del br0.100");
        web.check(&result).fails(999).names(&["br0.100", "not found"]);
        // The next container brings it back for all of them.
        host.attach("bridge", network(host), &host.pod()).container("c2").add().result();
        assert!(reaches_gateway(host, &pod));
        web.del().silent();
    });
}
