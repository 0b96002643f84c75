//! `macspoofchk`: a container sends from its own MAC address, or not at all. Witnesses count the frames that get through.
//!
//! - here: what frames meet;
//! - [`rules`]: the rules as objects, and what others do to them;
//! - [`switching`]: what the Go plugin's check leaves.

mod rules;
mod switching;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::world::{Feature, Need};
use crate::lab::{conf, lab, lab_with};

/// The Go plugin's rules come when the container can send already, and go with the previous result alone.
const OURS: &[Need] = &[Need::Ours("spoof-first")];

/// An address that no container here was given.
const FOREIGN: &str = "02:66:00:00:00:01";

/// Another address for whoever sends from the foreign one, so that nothing but the frame's source is wrong.
const ELSEWHERE: &str = "10.9.0.66";

/// A network whose containers send from their own addresses.
fn network(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/macspoofchk", json!(true))
}

/// Attaches a container of its own.
fn attached<'h>(host: &'h Host, conf: &Value, name: &str) -> (Attach<'h>, Pod, Value) {
    let pod = host.pod_named(name);
    let attachment = host.attach("bridge", conf.clone(), &pod).container(name);
    let result = attachment.add().result();
    (attachment, pod, result)
}

/// What the container end was given.
fn mac(result: &Value) -> &str {
    result["interfaces"][2]["mac"].as_str().unwrap()
}

/// From now on this place counts the frames from the foreign address that come by a link.
fn watch(place: &Place, link: &str) {
    place.sh(&format!(
        "nft 'table netdev witness {{ chain seen {{
            type filter hook ingress device {link} priority -500; ether saddr {FOREIGN} counter;
        }}; }}'"
    ));
}

/// What the counter of a chain's only rule says.
fn counted(place: &Place, chain: &str) -> u64 {
    let listing: Value = serde_json::from_str(&place.sh(&format!("nft -j list chain {chain}"))).unwrap();
    let objects = listing["nftables"].as_array().unwrap().iter();
    let steps = objects.filter_map(|object| object["rule"]["expr"].as_array()).flatten();
    steps.filter_map(|step| step["counter"]["packets"].as_u64()).sum()
}

fn seen(place: &Place) -> u64 {
    counted(place, "netdev witness seen")
}

/// Whether an address answers one of three quick pings by this link.
fn reaches(place: &Place, link: &str, address: &str) -> bool {
    place.try_sh(&format!("ping -n -c 3 -i 0.1 -W 1 -I {link} {address}")).status.success()
}

/// The ways in which a container can send from another address: by what, its making, and its unmaking. Each also asks by
/// ARP who has the address that it pings.
fn ways(own: &str) -> [(&'static str, String, String); 3] {
    [
        (
            "eth0",
            format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"),
            format!("ip link set eth0 address {own}"),
        ),
        (
            "inner",
            format!(
                "ip link add inner type bridge; ip link set inner address {FOREIGN} up
                ip link set eth0 master inner; ip addr add {ELSEWHERE}/24 dev inner"
            ),
            "ip link delete inner".into(),
        ),
        (
            "over",
            format!(
                "ip link add link eth0 name over type macvlan mode bridge
                ip link set over address {FOREIGN} up; ip addr add {ELSEWHERE}/24 dev over"
            ),
            "ip link delete over".into(),
        ),
    ]
}

#[test]
fn a_foreign_mac_reaches_nobody_and_the_own_one_everybody() {
    lab(|host| {
        host.sh("ip link add br0 type bridge; ip link set br0 up");
        watch(host, "br0");
        for (conf, guarded) in [(conf::bridge(host), false), (network(host), true)] {
            let (red, red_pod, result) = attached(host, &conf, "red");
            let (blue, blue_pod, other) = attached(host, &conf, "blue");
            let of_blue = other["ips"][0]["address"].as_str().unwrap().trim_end_matches("/24");
            watch(&blue_pod, "eth0");
            for (link, deed, undoing) in ways(mac(&result)) {
                for address in [of_blue, "10.9.0.1", "fd00:9::1"] {
                    assert!(red_pod.pings(address), "{address} before {link}");
                }
                red_pod.sh(&deed);
                let before = (seen(&blue_pod), seen(host));
                for address in [of_blue, "10.9.0.1"] {
                    assert_eq!(reaches(&red_pod, link, address), !guarded, "{address} by {link}");
                }
                let through = (seen(&blue_pod) > before.0, seen(host) > before.1);
                assert_eq!(through, (!guarded, !guarded), "by {link}");
                let learned = host.sh("bridge fdb show br br0").contains(FOREIGN);
                assert_eq!(learned, !guarded, "the bridge has heard of it, by {link}");
                red_pod.sh(&undoing);
                host.sh("ip neigh flush dev br0; ip link set br0 type bridge fdb_flush");
                blue_pod.sh("ip neigh flush dev eth0");
            }
            red.del_with(&result).silent();
            blue.del_with(&other).silent();
            red_pod.delete();
            blue_pod.delete();
        }
    });
}

/// Two containers of a network speak in a VLAN of their own, one from the foreign address and then from its own.
fn speak_with_tags(host: &Host, conf: &Value, guarded: bool) {
    let (red, red_pod, result) = attached(host, conf, "red");
    let (blue, blue_pod, _) = attached(host, conf, "blue");
    watch(&blue_pod, "eth0");
    for (pod, number) in [(&red_pod, 1), (&blue_pod, 2)] {
        pod.sh(&format!(
            "ip link add link eth0 name tagged type vlan id 7
            ip link set tagged up; ip addr add 10.9.7.{number}/24 dev tagged"
        ));
    }
    red_pod.sh(&format!("ip link set tagged address {FOREIGN}"));
    assert_eq!(reaches(&red_pod, "tagged", "10.9.7.2"), !guarded);
    assert_eq!(seen(&blue_pod) > 0, !guarded);
    red_pod.sh(&format!("ip link set tagged address {}; ip neigh flush dev tagged", mac(&result)));
    blue_pod.sh("ip neigh flush dev tagged");
    assert!(red_pod.pings("10.9.7.2"));
    red.del().silent();
    blue.del().silent();
    red_pod.delete();
    blue_pod.delete();
}

#[test]
fn a_tag_hides_no_foreign_mac() {
    lab_with(&[Need::Has(Feature::TaggedLinks)], |host| {
        speak_with_tags(host, &conf::bridge(host), false);
        speak_with_tags(host, &network(host), true);
    });
}

#[test]
fn a_trunk_lets_no_foreign_mac_through() {
    let needs = [Need::Has(Feature::TaggedLinks), Need::Has(Feature::BridgeVlans)];
    lab_with(&[&needs, OURS].concat(), |host| {
        let trunk = |conf: &Value| conf::with(conf, "/vlanTrunk", json!([{"id": 7}]));
        speak_with_tags(host, &trunk(&conf::bridge(host)), false);
        speak_with_tags(host, &trunk(&network(host)), true);
    });
}

/// Frames for the bridge itself pass no rule of its. They reach nobody else, but the bridge would learn where their sender is.
#[test]
fn a_frame_for_the_bridge_itself_teaches_it_no_foreign_address() {
    lab_with(OURS, |host| {
        for (conf, guarded) in [(conf::bridge(host), false), (network(host), true)] {
            let (red, pod, result) = attached(host, &conf, "red");
            pod.sh(&format!("ip link set eth0 address {FOREIGN}"));
            for (number, for_bridges) in [(77, "01:80:c2:00:00:0e"), (78, "01:80:c2:00:00:03")] {
                pod.sh(&format!(
                    "ip neigh replace 10.9.0.{number} lladdr {for_bridges} dev eth0 nud permanent
                    ping -n -q -c 3 -i 0.01 -W 1 10.9.0.{number} || true"
                ));
                let learned = host.sh("bridge fdb show br br0").contains(FOREIGN);
                assert_eq!(learned, !guarded, "from a frame to {for_bridges}");
                host.sh("ip link set br0 type bridge fdb_flush");
            }
            if guarded {
                pod.sh(&format!("ip link set eth0 address {}", mac(&result)));
                red.check(&result).silent();
                host.sh("ip link set br0 type bridge no_linklocal_learn 0");
                red.check(&result).fails(999).names(&["br0", "link-local"]);
            }
            red.del().silent();
            pod.delete();
        }
    });
}

/// Somebody in the container who waits for the link, sets it up under the foreign address, and calls everybody from then on.
/// ADD announces the address that it gave, so the foreign one is set again and again.
fn flood(pod: &Pod) -> Call {
    let script = format!(
        "while [ ! -e /run/enough.{0} ]; do
            ip link set eth0 address {FOREIGN} up && ip addr replace {ELSEWHERE}/24 dev eth0 &&
            timeout 1 ping -n -q -b -i 0.002 10.9.0.255
        done >/dev/null 2>&1",
        pod.name()
    );
    Call::of("/usr/bin/nsenter", &[&format!("--net={}", pod.path()), "sh", "-c", &script])
}

/// A call in slow motion: after each word to the kernel it sleeps, so that everybody else is faster.
fn slowly(call: Call) -> Call {
    let inject = "inject=sendto,sendmsg:delay_exit=50000";
    call.under(&["strace", "-f", "-o", "/dev/null", "-e", "trace=sendto,sendmsg", "-e", inject])
}

/// Waits for others, who are at it.
pub fn until(is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < patience, "it never came");
    }
}

#[test]
fn no_frame_comes_through_before_add_has_answered_or_while_del_is_under_way() {
    lab_with(OURS, |host| {
        host.sh("ip link add br0 type bridge; ip link set br0 up");
        watch(host, "br0");
        for (name, conf, guarded) in [("red", conf::bridge(host), false), ("blue", network(host), true)] {
            let (neighbour, other, _) = attached(host, &network(host), &format!("beside-{name}"));
            watch(&other, "eth0");
            let pod = host.pod_named(name);
            let web = host.attach("bridge", conf, &pod).container(name);
            let flooder = flood(&pod).start();
            let before = seen(host);
            slowly(web.call("ADD")).run().result();
            let early = (seen(&other) > 0, seen(host) > before);
            assert_eq!(early, (!guarded, !guarded), "before ADD has answered");
            let dropped = counted(host, "bridge jackfield spoof1") > 0;
            assert_eq!(dropped, guarded, "it has tried");

            let tries = || seen(host) + counted(host, "bridge jackfield spoof1");
            let before = tries();
            until(|| tries() > before);
            let before = (seen(&other), seen(host));
            slowly(web.call("DEL")).run().silent();
            let late = (seen(&other) > before.0, seen(host) > before.1);
            assert_eq!(late, (!guarded, !guarded), "while DEL was under way");
            host.sh(&format!("touch /run/enough.{name}"));
            flooder.finish();
            neighbour.del().silent();
        }
    });
}

#[test]
fn the_address_may_be_configured_and_the_other_keys_of_a_port_hold() {
    lab(|host| {
        let wanted = "02:00:5e:10:00:07";
        for changes in [
            json!({"runtimeConfig": {"mac": wanted}}),
            json!({"args": {"cni": {"mac": wanted}}, "hairpinMode": true}),
            json!({"runtimeConfig": {"mac": wanted}, "portIsolation": true, "ipMasq": true}),
        ] {
            let mut conf = network(host);
            conf.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let (web, pod, result) = attached(host, &conf, "web");
            assert_eq!(mac(&result), wanted);
            assert!(pod.pings("10.9.0.1"), "{changes}");
            web.check(&result).silent();
            pod.sh(&format!("ip link set eth0 address {FOREIGN}"));
            assert!(!reaches(&pod, "eth0", "10.9.0.1"), "{changes}");
            web.del_with(&result).silent();
            pod.delete();
        }
    });
}

#[test]
fn a_container_end_that_is_left_down_is_guarded_when_somebody_sets_it_up() {
    lab_with(OURS, |host| {
        let conf = conf::with(&conf::bridge_l2(host), "/macspoofchk", json!(true));
        let conf = conf::with(&conf, "/disableContainerInterface", json!(true));
        let (web, pod, result) = attached(host, &conf, "web");
        host.sh("ip addr add 10.9.0.1/24 dev br0");
        pod.sh(&format!("ip link set eth0 address {FOREIGN} up; ip addr add {ELSEWHERE}/24 dev eth0"));
        assert!(!reaches(&pod, "eth0", "10.9.0.1"));
        pod.sh(&format!("ip link set eth0 address {}", mac(&result)));
        assert!(pod.pings("10.9.0.1"));
        web.check(&result).silent();
        web.del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn the_host_and_containers_of_other_networks_send_as_they_like() {
    lab(|host| {
        let (_red, red_pod, _) = attached(host, &network(host), "red");
        let (_blue, blue_pod, _) = attached(host, &conf::bridge(host), "blue");
        blue_pod.sh(&format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"));
        assert!(blue_pod.pings("10.9.0.2"), "a network without the key shares the bridge");
        host.sh("ip link set br0 address 02:66:00:00:00:02");
        red_pod.sh("ip neigh flush dev eth0");
        assert!(red_pod.pings("10.9.0.1") && host.pings("10.9.0.2"), "the gateway has another address now");
    });
}
