//! bridge: VLANs. Who hears whom is told by packets, who is a member of what by `bridge vlan`.

mod gateway;
mod refused;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::world::{Feature, Need};
use crate::lab::{conf, lab_with};

/// Most of this needs a kernel that can; the machine's own may not, so that it runs in the guest (tests/guest).
const VLANS: &[Need] = &[Need::Has(Feature::BridgeVlans)];
/// Keys that the Go plugins of 1.1.1 do not know.
const TRUNKS: &[Need] =
    &[Need::Has(Feature::BridgeVlans), Need::Has(Feature::TaggedLinks), Need::Ours("vlan-trunk")];
const OURS: &[Need] = &[Need::Has(Feature::BridgeVlans), Need::Ours("vlan-default")];

/// A network of frames alone on `br0` with these keys. Its name follows from them: they are one network if they are alike.
fn frames(host: &Host, keys: Value) -> Value {
    let mut conf = conf::bridge_l2(host);
    let letters = keys.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    conf["name"] = json!(format!("net{letters}"));
    conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    conf
}

/// A container of such a network, whose `eth0` has the address 10.9.0.N.
struct Member<'h> {
    pod: Pod,
    web: Attach<'h>,
    result: Value,
    address: String,
}

fn member<'h>(host: &'h Host, n: u8, keys: Value) -> Member<'h> {
    let pod = host.pod();
    let web = host.attach("bridge", frames(host, keys), &pod).container(&format!("c{n}"));
    let result = web.add().result();
    let address = format!("10.9.0.{n}");
    pod.sh(&format!("ip addr add {address}/24 dev eth0"));
    Member { pod, web, result, address }
}

impl Member<'_> {
    fn port(&self) -> &str {
        self.result["interfaces"][1]["name"].as_str().unwrap()
    }

    fn mac(&self) -> &str {
        self.result["interfaces"][2]["mac"].as_str().unwrap()
    }

    fn reaches(&self, other: &Member<'_>) -> bool {
        self.pod.pings(&other.address)
    }

    /// Counts from now on what comes in at `eth0`, one rule for each of these matches.
    fn watch(&self, matches: &[&str]) {
        let rules: Vec<_> = matches.iter().map(|it| format!("{it} counter;")).collect();
        let chain = "type filter hook ingress device eth0 priority 0;";
        self.pod.sh(&format!("nft 'table netdev witness {{ chain in {{ {chain} {} }}; }}'", rules.join(" ")));
    }

    /// How many packets each of the rules has seen.
    fn seen(&self) -> Vec<u64> {
        let listing = self.pod.sh("nft -j list chain netdev witness in");
        let listing: Value = serde_json::from_str(&listing).unwrap();
        let packets = |object: &Value| {
            object["rule"]["expr"].as_array()?.iter().find_map(|part| part["counter"]["packets"].as_u64())
        };
        listing["nftables"].as_array().unwrap().iter().filter_map(packets).collect()
    }
}

/// The VLANs of a link as `bridge vlan` tells them: `1 PVID untagged`.
fn vlans(host: &Host, link: &str) -> Vec<String> {
    let listing: Value =
        serde_json::from_str(&host.sh(&format!("bridge -j vlan show dev {link}"))).expect("JSON");
    let told = |entry: &Value| {
        let flags = entry["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let flags = flags.map(|flag| flag.trim_start_matches("Egress ").to_lowercase());
        std::iter::once(entry["vlan"].to_string()).chain(flags).collect::<Vec<_>>().join(" ")
    };
    listing[0]["vlans"].as_array().into_iter().flatten().map(told).collect()
}

fn filters(host: &Host) -> bool {
    host.link("br0").unwrap()["linkinfo"]["info_data"]["vlan_filtering"] == 1
}

#[test]
fn containers_of_one_vlan_hear_each_other_and_nobody_else() {
    lab_with(VLANS, |host| {
        let (one, two) = (member(host, 1, json!({"vlan": 100})), member(host, 2, json!({"vlan": 100})));
        let strangers = [member(host, 3, json!({"vlan": 200})), member(host, 4, json!({}))];
        let arp = format!("ether type arp ether saddr {}", one.mac());
        strangers.iter().chain([&two]).for_each(|it| it.watch(&[&arp]));
        assert!(one.reaches(&two));
        // The question who has the address was a broadcast: each port had its copy before the answer could come.
        assert_eq!(two.seen(), [1]);
        for stranger in &strangers {
            assert_eq!(stranger.seen(), [0], "{}", stranger.web.configuration());
        }
        assert!(filters(host));
    });
}

#[test]
fn a_port_is_in_the_vlans_of_its_network_and_in_no_other() {
    lab_with(OURS, |host| {
        let trunk = json!([{"minID": 200, "maxID": 202}, {"id": 300}]);
        let all = json!([{"minID": 1, "maxID": 4094}]);
        let cases: &[(Value, &[&str])] = &[
            (json!({"vlan": 100}), &["100 pvid untagged"]),
            (json!({"vlan": 1}), &["1 pvid untagged"]),
            (json!({"vlan": 4094}), &["4094 pvid untagged"]),
            (json!({"vlan": 100, "preserveDefaultVlan": true}), &["1 untagged", "100 pvid untagged"]),
            (json!({"vlanTrunk": trunk}), &["1 pvid untagged", "200", "201", "202", "300"]),
            (json!({"vlan": 201, "vlanTrunk": trunk}), &["200", "201 pvid untagged", "202", "300"]),
            (
                json!({"vlan": 7, "vlanTrunk": [{"id": 1}, {"id": 8}], "preserveDefaultVlan": true}),
                &["1", "7 pvid untagged", "8"],
            ),
            (json!({"vlanTrunk": []}), &["1 pvid untagged"]),
            (json!({"vlanTrunk": [{}]}), &["1 pvid untagged"]),
            (json!({}), &["1 pvid untagged"]),
        ];
        for (n, (keys, expected)) in cases.iter().enumerate() {
            let it = member(host, u8::try_from(n + 1).unwrap(), keys.clone());
            assert_eq!(vlans(host, it.port()), *expected, "{keys}");
        }
        let everything = member(host, 99, json!({"vlan": 5, "vlanTrunk": all}));
        let told = vlans(host, everything.port());
        assert_eq!((told.len(), told[4].as_str(), told[5].as_str()), (4094, "5 pvid untagged", "6"));
        host.differs("vlan-native", || everything.web.del().silent(), || ());
    });
}

// What 1.1.1 can: the key `vlan`, with the bridge's default VLAN beside it.
#[test]
fn the_default_vlan_goes_unless_it_is_preserved() {
    lab_with(VLANS, |host| {
        let it = member(host, 1, json!({"vlan": 100}));
        let ours: &[&str] = &["100 pvid untagged"];
        let theirs: &[&str] = &["1 untagged", "100 pvid untagged"];
        assert_eq!(vlans(host, it.port()), host.differs("vlan-default", || ours, || theirs));
    });
}

#[test]
fn a_port_leaves_whatever_vlan_its_bridge_puts_every_port_into() {
    lab_with(OURS, |host| {
        for (default, kept) in [(0, vec!["100 pvid untagged"]), (7, vec!["7 untagged", "100 pvid untagged"])]
        {
            host.sh(&format!("ip link add br0 address 02:00:00:00:00:b0 type bridge vlan_filtering 1 vlan_default_pvid {default}"));
            let one = member(host, 1, json!({"vlan": 100}));
            let two = member(host, 2, json!({"vlan": 100, "preserveDefaultVlan": true}));
            assert_eq!(vlans(host, one.port()), ["100 pvid untagged"]);
            assert_eq!(vlans(host, two.port()), kept);
            assert!(one.reaches(&two) && two.reaches(&one));
            for it in [one, two] {
                it.web.check(&it.result).silent();
                it.web.del().silent();
            }
            host.sh("ip link del br0");
        }
    });
}

#[test]
fn a_preserved_default_vlan_is_heard_and_cannot_be_answered() {
    lab_with(OURS, |host| {
        let one = member(host, 1, json!({}));
        let kept = member(host, 2, json!({"vlan": 100, "preserveDefaultVlan": true}));
        let gone = member(host, 3, json!({"vlan": 100}));
        let arp = format!("ether type arp ether saddr {}", one.mac());
        [&kept, &gone].iter().for_each(|it| it.watch(&[&arp]));
        assert!(!one.pod.try_sh("ping -n -c 1 -W 1 10.9.0.2").status.success());
        assert!(kept.seen()[0] > 0);
        assert_eq!(gone.seen(), [0]);
        assert!(kept.reaches(&gone));
    });
}

#[test]
fn a_trunk_carries_its_own_tags_and_no_others() {
    lab_with(TRUNKS, |host| {
        let trunk =
            member(host, 1, json!({"vlan": 100, "vlanTrunk": [{"id": 200}, {"minID": 300, "maxID": 310}]}));
        let tagged = [200, 300, 310, 299, 311, 1];
        for id in tagged {
            trunk.pod.sh(&format!(
                "ip link add link eth0 name t{id} type vlan id {id} && \
                 ip addr add 10.{}.{}.1/24 dev t{id} && ip link set t{id} up",
                id / 100 + 10,
                id % 100
            ));
        }
        let native = member(host, 2, json!({"vlan": 100}));
        assert!(native.reaches(&trunk) && trunk.reaches(&native), "frames of the native VLAN have no tag");
        for id in tagged {
            let other = member(host, 3, json!({"vlan": id}));
            let (net, third) = (id / 100 + 10, id % 100);
            other.pod.sh(&format!("ip addr add 10.{net}.{third}.2/24 dev eth0"));
            let arp = format!("ether type arp ether saddr {}", trunk.mac());
            other.watch(&[&arp]);
            let heard = trunk.pod.try_sh(&format!("ping -n -c 1 -W 1 10.{net}.{third}.2")).status.success();
            let passes = [200, 300, 310].contains(&id);
            assert_eq!((heard, other.seen()[0] > 0), (passes, passes), "{id}");
            other.web.del().silent();
        }
    });
}

#[test]
fn a_trunk_without_vlan_has_1_for_its_native_one() {
    lab_with(TRUNKS, |host| {
        let trunk = member(host, 1, json!({"vlanTrunk": [{"id": 200}]}));
        let plain = member(host, 2, json!({}));
        assert!(plain.reaches(&trunk) && trunk.reaches(&plain));
    });
}

#[test]
fn a_bridge_that_exists_begins_to_tell_vlans_apart() {
    lab_with(VLANS, |host| {
        let plain = [member(host, 1, json!({})), member(host, 2, json!({}))];
        assert!(!filters(host));
        let one = member(host, 3, json!({"vlan": 100}));
        let ours = || {
            assert!(filters(host));
            assert!(!one.pod.try_sh("ping -n -c 1 -W 1 10.9.0.1").status.success());
            one.web.check(&one.result).silent();
            let (two, tags) =
                (member(host, 4, json!({"vlan": 100})), member(host, 5, json!({"vlanTrunk": []})));
            assert!(one.reaches(&two) && tags.reaches(&plain[0]));
        };
        host.differs("vlan-filtering", ours, || assert!(!filters(host)));
        assert!(plain[0].reaches(&plain[1]), "who was there before goes on");
    });
}

#[test]
fn an_empty_trunk_asks_for_a_bridge_that_tells_vlans_apart_and_for_nothing_else() {
    lab_with(TRUNKS, |host| {
        let one = member(host, 1, json!({"vlanTrunk": []}));
        assert!(filters(host));
        one.web.check(&one.result).silent();
        host.sh("ip link set br0 type bridge vlan_filtering 0");
        one.web.check(&one.result).fails(999).names(&["br0", "vlan_filtering"]);
    });
}

// The port is in its VLANs before the container's end comes up: its first frames are heard there and nowhere else.
#[test]
fn not_even_the_first_frame_is_heard_in_another_vlan() {
    lab_with(VLANS, |host| {
        let (default, same) = (member(host, 1, json!({})), member(host, 2, json!({"vlan": 100})));
        host.sh("ip link set br0 type bridge vlan_filtering 1");
        let macs: Vec<String> = (0..10).map(|n| format!("02:00:00:00:01:{n:02x}")).collect();
        let from = format!("ether saddr {{ {} }}", macs.join(", "));
        [&default, &same].iter().for_each(|it| it.watch(&[&from]));
        for (n, mac) in macs.iter().enumerate() {
            let pod = host.pod();
            let conf = conf::with(&frames(host, json!({"vlan": 100})), "/args", json!({"cni": {"mac": mac}}));
            host.attach("bridge", conf, &pod).container(&format!("x{n}")).add().result();
        }
        // IPv6 greets the link as soon as it is up: that it was heard where it belongs shows that there was something to hear.
        while same.seen()[0] < 10 {}
        assert_eq!(default.seen(), [0]);
    });
}

#[test]
fn hairpin_mode_reflects_within_the_vlan() {
    lab_with(VLANS, |host| {
        let one = member(host, 1, json!({"vlan": 100, "hairpinMode": true}));
        let two = member(host, 2, json!({"vlan": 100}));
        let own = |it: &Member<'_>| format!("ether type arp ether saddr {}", it.mac());
        [&one, &two].iter().for_each(|it| it.watch(&[&own(it)]));
        assert!(one.reaches(&two) && two.reaches(&one));
        two.pod.sh("ip neigh flush dev eth0");
        one.pod.sh("ip neigh flush dev eth0");
        assert!(two.reaches(&one) && one.reaches(&two));
        assert!(one.seen()[0] > 0 && two.seen() == [0], "{:?} {:?}", one.seen(), two.seen());
    });
}

#[test]
fn a_promiscuous_bridge_keeps_vlans_apart() {
    lab_with(VLANS, |host| {
        let one = member(host, 1, json!({"vlan": 100, "promiscMode": true}));
        let two = member(host, 2, json!({"vlan": 100, "promiscMode": true}));
        let stranger = member(host, 3, json!({"vlan": 200, "promiscMode": true}));
        stranger.watch(&[&format!("ether saddr {}", one.mac())]);
        assert!(one.reaches(&two));
        assert_eq!(stranger.seen(), [0]);
        assert!(host.link("br0").unwrap()["flags"].to_string().contains("PROMISC"));
    });
}

#[test]
fn del_leaves_the_bridge_and_nothing_else() {
    lab_with(VLANS, |host| {
        let trunk = json!({"vlan": 100, "vlanTrunk": [{"minID": 2, "maxID": 4000}]});
        for keys in [json!({"vlan": 100}), host.differs("vlan-trunk", || trunk, || json!({"vlan": 7}))] {
            let pod = host.pod();
            let web = host.attach("bridge", frames(host, keys), &pod);
            let before = (host.snapshot(), pod.snapshot());
            for _ in 0..2 {
                let result = web.add().result();
                web.del_with(&result).silent();
                web.del().silent();
            }
            before.0.same_as(&host.snapshot(), &[Shared::Bridge("br0"), Shared::Records]);
            before.1.same_as(&pod.snapshot(), &[]);
        }
    });
}

#[test]
fn an_add_that_fails_leaves_no_port_in_the_vlan() {
    lab_with(OURS, |host| {
        let stub = host.stub("rec-ipam");
        stub.answers("ADD", r#"{"ips":[{"address":"ff02::1/64"}]}"#);
        let conf = conf::with(&frames(host, json!({"vlan": 100})), "/ipam", json!({"type": "rec-ipam"}));
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        host.attach("bridge", conf, &pod).path(stub.folder()).add().fails_somehow();
        before.0.same_as(&host.snapshot(), &[Shared::Bridge("br0"), Shared::Records]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

#[test]
fn check_finds_what_was_changed_behind_our_back() {
    lab_with(OURS, |host| {
        let it = member(host, 1, json!({"vlan": 100, "vlanTrunk": [{"minID": 200, "maxID": 203}]}));
        let port = it.port();
        it.web.check(&it.result).silent();
        for (change, back, words) in [
            ("vlan del dev PORT vid 100", "vlan add dev PORT vid 100 pvid untagged", "200-203 tagged"),
            ("vlan add dev PORT vid 100 untagged", "vlan add dev PORT vid 100 pvid untagged", "without pvid"),
            (
                "vlan add dev PORT vid 100 pvid",
                "vlan add dev PORT vid 100 pvid untagged",
                "100,200-203 tagged",
            ),
            ("vlan add dev PORT vid 1 untagged", "vlan del dev PORT vid 1", "1,100 untagged"),
            ("vlan add dev PORT vid 204", "vlan del dev PORT vid 204", "200-204 tagged"),
            ("vlan del dev PORT vid 202", "vlan add dev PORT vid 202", "200-201,203 tagged"),
        ] {
            host.sh(&format!("bridge {}", change.replace("PORT", port)));
            let wanted = "not 100 untagged (pvid 100), 200-203 tagged";
            it.web.check(&it.result).fails(999).names(&[port, words, wanted]);
            host.sh(&format!("bridge {}", back.replace("PORT", port)));
            it.web.check(&it.result).silent();
        }
        host.sh("ip link set br0 type bridge vlan_filtering 0");
        it.web.check(&it.result).fails(999).names(&["br0", "vlan_filtering"]);
    });
}
