//! Containers in a VLAN, both ways. The bridge with its filter and the gateway's link are shared, and stay.

use serde_json::{Value, json};

use super::{OURS, STAYS, THEIRS, call, with_both_and, with_result};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::world::{Feature, Need};

const NEEDS: &[Need] = &[Need::Has(Feature::BridgeVlans)];

/// A network in a VLAN, with a gateway there, which is a link of its own.
fn network() -> (&'static str, Value) {
    ("bridge", conf::with(&conf::bridge_at("1.0.0"), "/vlan", json!(5)))
}

fn of(folder: &str, verb: &str, network: &(&'static str, Value), pod: &Pod) -> Call {
    call(folder, verb, network, pod).container(pod.name())
}

/// A container that stays, with it what is shared, and another one.
fn beside_a_living_one(host: &Host, made_by: &str, test: impl Fn(&Pod, &dyn Fn() -> Vec<String>)) {
    let [old, red] = ["old", "red"].map(|name| host.pod_named(name));
    of(made_by, "ADD", &network(), &old).run().result();
    let before = host.snapshot();
    test(&red, &|| before.differences(&host.snapshot(), STAYS));
    assert!(old.pings("10.9.0.1"), "the living one has its gateway in the VLAN");
}

#[test]
fn what_the_go_plugin_put_into_a_vlan_is_taken_down_by_ours() {
    with_both_and("what_the_go_plugin_put_into_a_vlan_is_taken_down_by_ours", NEEDS, |host| {
        beside_a_living_one(host, THEIRS, |red, differences| {
            for (has_netns, has_result) in [(true, true), (true, false), (false, true)] {
                let result = of(THEIRS, "ADD", &network(), red).run().result();
                assert!(red.pings("10.9.0.1"));
                let remembered = if has_result { with_result(&network(), &result) } else { network() };
                let del = of(OURS, "DEL", &remembered, red);
                let del = if has_netns { del } else { del.netns("") };
                del.run().silent();
                assert_eq!(differences(), Vec::<String>::new(), "{has_netns} {has_result}");
            }
        });
    });
}

#[test]
fn what_ours_put_into_a_vlan_is_taken_down_by_the_go_plugin_and_purge() {
    with_both_and("what_ours_put_into_a_vlan_is_taken_down_by_the_go_plugin_and_purge", NEEDS, |host| {
        beside_a_living_one(host, OURS, |red, differences| {
            let result = of(OURS, "ADD", &network(), red).run().result();
            of(THEIRS, "DEL", &with_result(&network(), &result), red).run().silent();
            let purge = Call::of(format!("{OURS}/cnitool"), &["purge"]).run();
            assert!(purge.stdout().ends_with(" of eth0 of container red in network net-a\n"), "{purge}");
            assert_eq!(differences(), Vec::<String>::new());
        });
    });
}

/// Either finds the other's gateway in the VLAN.
#[test]
fn containers_of_both_kinds_share_a_vlan() {
    with_both_and("containers_of_both_kinds_share_a_vlan", NEEDS, |host| {
        let [old, red] = ["old", "red"].map(|name| host.pod_named(name));
        for (first, second) in [(THEIRS, OURS), (OURS, THEIRS)] {
            let result = of(first, "ADD", &network(), &old).run().result();
            of(second, "ADD", &network(), &red).run().result();
            for ip in result["ips"].as_array().unwrap() {
                let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
                assert!(red.pings(address), "{address}");
            }
            of(OURS, "DEL", &network(), &old).run().silent();
            of(OURS, "DEL", &network(), &red).run().silent();
            host.sh("ip link delete br0.5; ip link delete br0");
        }
    });
}
