//! podman: cniVersion 0.4.0, VERSION of everything at each command, no CHECK, DEL while the namespace is still there.

use serde_json::{Value, json};

use super::{Attached, OURS, addresses, nothing_is_left};
use crate::lab::host::{Host, Pod};
use crate::lab::{lab, lab_with};

const PUBLISHED: &str = include_str!("podman-published.jsonl");
const PLAIN: &str = include_str!("podman.jsonl");
const SECOND: &str = include_str!("podman-second.jsonl");
const FIXED_AGAIN: &str = include_str!("podman-fixed-again.jsonl");
const TWO_FAMILIES: &str = include_str!("podman-two-families.jsonl");
const INTERNAL: &str = include_str!("podman-internal.jsonl");
const ISOLATED: &str = include_str!("podman-isolated.jsonl");
const MTU: &str = include_str!("podman-mtu.jsonl");

/// What podman has to say with a container that has no address of its own choice.
const NAME: &str = "IgnoreUnknown=1;K8S_POD_NAME=web";

/// The namespace that podman makes for a container.
fn pod(host: &Host) -> Pod {
    host.pod_named("netns-084a1eaa-6c79-0833-7c28-ccf64817d387")
}

/// The container, in this network.
fn web<'h>(host: &'h Host, network: &'static str, pod: &Pod) -> Attached<'h> {
    Attached {
        host,
        network,
        container: "b6d0a09187d4c5bb08e434366e58160d185d8191bd0f005ef3c4970d5b4b67b7",
        ifname: "eth0",
        netns: pod.path().to_owned(),
        args: NAME.to_owned(),
        sorts: true,
    }
}

/// Another container, with a namespace of its own.
fn other<'h>(host: &'h Host, network: &'static str) -> Attached<'h> {
    let pod = host.pod_named("netns-6481cac8-6079-88de-d19f-930989e23d6d");
    let container = "ac7505f3e76b06da72251f4abae1cabc7a1899c1dc0ed982f41fa12cc4825023";
    Attached { container, ..web(host, network, &pod) }
}

fn mac(place: &Pod, link: &str) -> Value {
    place.link(link).unwrap()["address"].clone()
}

#[test]
fn podman_asks_each_plugin_for_its_versions_and_says_dummy_everywhere() {
    lab(|host| {
        for program in
            ["bridge", "portmap", "firewall", "tuning", "host-local", "loopback", "ptp", "bandwidth"]
        {
            let call = host.call(program, "VERSION", &json!({"cniVersion": "1.0.0"}));
            let dummies = ["CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
            let call = dummies.iter().fold(call, |call, name| call.env(name, "dummy"));
            let answer = call.env("CNI_CONTAINERID", "").env("CNI_ARGS", "").run().result();
            assert_eq!(answer["cniVersion"], "1.0.0");
            let versions = answer["supportedVersions"].as_array().unwrap();
            assert!(versions.contains(&json!("0.4.0")), "{program}: {answer}");
        }
    });
}

#[test]
fn a_container_of_podman_publishes_its_ports_and_leaves_nothing() {
    lab_with(OURS, |host| {
        host.sh("ip address add 198.51.100.2/32 dev lo");
        let pod = pod(host);
        let before = (host.snapshot(), pod.snapshot());
        let web = web(host, PUBLISHED, &pod);
        let result = web.add();
        assert_eq!(addresses(&result), ["10.201.1.2/24"]);
        web.check(&result);

        let listeners = [pod.listens("tcp", 80, "web"), pod.listens("udp", 5353, "names")];
        for (to, answered) in [
            ("198.51.100.2:18080", true),
            ("198.51.100.2:18090", true),
            ("198.51.100.2:18081", true),
            ("127.0.0.1:18082", true),
            ("198.51.100.2:18082", false),
            ("127.0.0.1:18081", false),
        ] {
            assert_eq!(host.asks("tcp", to).is_some(), answered, "{to}");
        }
        assert_eq!(host.asks("udp", "198.51.100.2:15353").unwrap(), "names 198.51.100.2");

        drop(listeners);
        web.del(Some(&result));
        nothing_is_left(host, &before.0, &["cni-podman1"]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

#[test]
fn networks_of_podman_of_every_kind_come_and_go() {
    lab_with(OURS, |host| {
        for (network, bridge, address) in [
            (INTERNAL, "cni-podman6", "10.201.6.2/24"),
            (ISOLATED, "cni-podman3", "10.201.3.2/24"),
            (MTU, "cni-podman7", "10.201.7.2/24"),
        ] {
            let pod = pod(host);
            let before = host.snapshot();
            let web = web(host, network, &pod);
            let result = web.add();
            assert_eq!(pod.addresses("eth0"), [address]);
            assert_eq!(pod.routes("route show default").is_empty(), network == INTERNAL);
            assert_eq!(pod.link("eth0").unwrap()["mtu"], if network == MTU { 1400 } else { 1500 });
            web.check(&result);
            web.del(Some(&result));
            nothing_is_left(host, &before, &[bridge]);
            pod.delete();
        }
    });
}

// `podman run --ip … --mac-address …`, and each start after it.
#[test]
fn an_address_that_podman_names_twice_is_taken_once() {
    lab_with(OURS, |host| {
        let pod = pod(host);
        let before = host.snapshot();
        let args = format!("{NAME};MAC=02:aa:bb:cc:dd:01");
        for (network, all) in [
            (FIXED_AGAIN, &["10.201.1.99/24"][..]),
            (TWO_FAMILIES, &["10.201.5.40/24", "fd10:201:5::40/64"][..]),
        ] {
            let web = web(host, network, &pod).with_args(&args);
            let result = web.add();
            assert_eq!(pod.addresses("eth0"), all);
            assert_eq!(mac(&pod, "eth0"), "02:aa:bb:cc:dd:01");
            web.check(&result);
            web.del(Some(&result));
        }
        nothing_is_left(host, &before, &["cni-podman1", "cni-podman5"]);
    });
}

#[test]
fn a_container_of_podman_that_gets_no_address_is_removed_without_a_previous_result() {
    lab_with(OURS, |host| {
        let pod = pod(host);
        let fixed = format!("{NAME};MAC=02:aa:bb:cc:dd:01;IP=10.201.1.99");
        let first = web(host, PLAIN, &pod).with_args(&fixed);
        let result = first.add();
        assert_eq!(addresses(&result), ["10.201.1.99/24"]);

        let late = other(host, PLAIN).with_args("IgnoreUnknown=1;K8S_POD_NAME=late;IP=10.201.1.99");
        let before = host.snapshot();
        late.try_add().fails_somehow().names(&["10.201.1.99", "is not available in range set"]);
        late.del(None);
        nothing_is_left(host, &before, &[]);

        first.check(&result);
        assert!(host.pings("10.201.1.99"));
    });
}

// `podman network reload`: DEL, then ADD with the address and the MAC of before.
#[test]
fn a_reload_by_podman_brings_back_address_mac_and_ports() {
    lab_with(OURS, |host| {
        host.sh("ip address add 198.51.100.2/32 dev lo");
        let pod = pod(host);
        let web = web(host, PUBLISHED, &pod);
        let result = web.add();
        let was = mac(&pod, "eth0");
        web.del(Some(&result));
        let again = web.with_args(&format!("{NAME};MAC={};IP=10.201.1.2", was.as_str().unwrap()));
        let result = again.add();
        assert_eq!((mac(&pod, "eth0"), pod.addresses("eth0")), (was, vec!["10.201.1.2/24".to_owned()]));
        again.check(&result);
        let _listener = pod.listens("tcp", 80, "web");
        assert!(host.asks("tcp", "198.51.100.2:18080").is_some());
    });
}

// podman sends the published ports of a container with each of its networks.
#[test]
fn podman_connects_a_second_network_and_disconnects_the_first() {
    lab_with(OURS, |host| {
        host.sh("ip address add 198.51.100.2/32 dev lo");
        let pod = pod(host);
        let before = host.snapshot();
        let first = web(host, PUBLISHED, &pod);
        let second = first.in_network(SECOND, "eth1").with_args(&format!("{NAME};IP=10.201.2.77"));
        let (one, two) = (first.add(), second.add());
        assert_eq!(pod.addresses("eth1"), ["10.201.2.77/24"]);
        let listener = pod.listens("tcp", 80, "web");
        first.check(&one);
        second.check(&two);

        first.del(Some(&one));
        assert_eq!(pod.links(), ["eth1"]);
        second.check(&two);
        assert!(
            host.asks("tcp", "198.51.100.2:18080").is_some(),
            "the port leads to the network that is left"
        );
        drop(listener);
        second.del(Some(&two));
        nothing_is_left(host, &before, &["cni-podman1", "cni-podman2"]);
    });
}
