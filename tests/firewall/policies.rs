//! `ingressPolicy`: bridges, and what is on them, are kept from each other.

use serde_json::json;

use super::{Container, OURS, bridge, does_not_reach, drop_what_is_forwarded, outside, reaches};
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::lab_with;
use crate::lab::witness::OUTSIDE;

const CALLS: &str = "net/bridge/bridge-nf-call-iptables";

/// Whether frames within a bridge come to the rules about IP packets, where the kernel can be told.
fn frames_are_filtered(host: &Host, really: bool) {
    for key in [CALLS, "net/bridge/bridge-nf-call-ip6tables"] {
        if host.try_sh(&format!("test -e /proc/sys/{key}")).status.success() {
            host.set_sysctl(key, if really { "1" } else { "0" });
        }
    }
}

fn container<'h>(host: &'h Host, number: u8, policy: &str, name: &str) -> Container<'h> {
    Container::of(host, "bridge", bridge(host, number), name).with("ingressPolicy", json!(policy)).admitted()
}

#[test]
fn bridges_with_a_policy_do_not_reach_each_other_and_everything_else_goes_on() {
    lab_with(OURS, |host| {
        let outside = outside(host);
        for filtered in [false, true] {
            frames_are_filtered(host, filtered);
            let red = container(host, 9, "same-bridge", "red");
            let beside = container(host, 9, "same-bridge", "beside");
            let blue = container(host, 8, "same-bridge", "blue");
            let plain = container(host, 7, "open", "plain");
            reaches(&red.pod, beside.addresses());
            does_not_reach(&red.pod, blue.addresses());
            does_not_reach(&blue.pod, red.addresses());
            reaches(&red.pod, plain.addresses());
            reaches(&plain.pod, blue.addresses());
            reaches(&red.pod, OUTSIDE);
            reaches(&outside, red.addresses());
            reaches(host, blue.addresses());
            for container in [&red, &beside, &blue, &plain] {
                container.check().silent();
            }
            // Another address does not help. In each turn another one: the host remembers whose the last one was.
            let foreign = if filtered { ["10.9.0.78", "fd00:9::78"] } else { ["10.9.0.77", "fd00:9::77"] };
            let [v4, v6] = foreign;
            red.pod.sh(&format!("ip address add {v4}/24 dev eth0; ip address add {v6}/64 dev eth0 nodad"));
            for (address, to) in foreign.iter().zip(blue.addresses()) {
                assert!(!red.pod.try_sh(&format!("ping -n -c 1 -W 1 -I {address} {to}")).status.success());
            }
            blue.del();
            beside.del();
            let known = host.sh("nft list set inet jackfield firewall1_bridges");
            assert!(known.contains("br0") && !known.contains("br8"), "{known}");
            let green = container(host, 8, "open", "green");
            reaches(&red.pod, green.addresses());
            for container in [&red, &plain, &green] {
                container.del();
            }
            assert!(!host.sh("nft list ruleset").contains("jackfield"));
            for container in [red, beside, blue, plain, green] {
                container.pod.delete();
            }
        }
    });
}

#[test]
fn isolated_containers_reach_the_world_and_not_each_other() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        for filtered in [false, true] {
            frames_are_filtered(host, filtered);
            let red = container(host, 9, "isolated", "red");
            let beside = container(host, 9, "isolated", "beside");
            let blue = container(host, 8, "isolated", "blue");
            does_not_reach(&red.pod, beside.addresses());
            does_not_reach(&red.pod, blue.addresses());
            reaches(&red.pod, OUTSIDE);
            reaches(&red.pod, ["10.9.0.1", "fd00:9::1"]);
            reaches(host, beside.addresses());
            for container in [&red, &beside, &blue] {
                container.check().silent();
            }
            let ports = host.sh("nft list set bridge jackfield firewall1_isolated");
            assert_eq!(ports.matches("jackfield: ").count(), 3, "{ports}");
            for container in [&red, &beside, &blue] {
                container.del();
                container.pod.delete();
            }
            assert!(!host.sh("nft list ruleset").contains("jackfield"));
        }
    });
}

/// The strictest holds as long as somebody has it.
#[test]
fn two_policies_of_one_bridge() {
    lab_with(OURS, |host| {
        frames_are_filtered(host, true);
        let within = || host.sh("nft list map inet jackfield firewall1_within");
        for order in [["same-bridge", "isolated"], ["isolated", "same-bridge"]] {
            let first = container(host, 9, order[0], "first");
            let second = container(host, 9, order[1], "second");
            assert!(within().contains(": drop"), "{}", within());
            first.check().silent();
            second.check().silent();
            let [same, isolated] = if order[0] == "isolated" { [&second, &first] } else { [&first, &second] };
            isolated.del();
            assert!(within().contains("goto firewall1_allow"), "{}", within());
            same.check().silent();
            let again = container(host, 9, "isolated", "again");
            same.del();
            assert!(within().contains(": drop"), "{}", within());
            again.del();
            for container in [first, second, again] {
                container.pod.delete();
            }
            assert!(!host.sh("nft list ruleset").contains("jackfield"));
        }
    });
}

/// Its rules and those of the spoof check share a table.
#[test]
fn isolation_and_the_spoof_check_leave_each_other_in_peace() {
    lab_with(OURS, |host| {
        let spoof = crate::lab::conf::with(&bridge(host, 9), "/macspoofchk", json!(true));
        for isolated_first in [false, true] {
            let red = Container::of(host, "bridge", spoof.clone(), "red");
            let red = red.with("ingressPolicy", json!("isolated")).admitted();
            red.check().silent();
            if isolated_first {
                red.del();
            } else {
                red.link.del().silent();
                red.wall.del().silent();
            }
            red.pod.delete();
            assert!(!host.sh("nft list ruleset").contains("jackfield"), "isolated first: {isolated_first}");
        }
    });
}
