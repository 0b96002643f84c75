//! Policies hold between the containers of two firewalls: one by the Go plugin and one by ours, or ours by two backends.

use serde_json::json;

use super::switch::{go, in_a_world_of_both, ours};
use super::{Container, OURS, bridge, does_not_reach, drop_what_is_forwarded, filter, outside, reaches};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::lab_with;
use crate::lab::witness::OUTSIDE;

fn container<'h>(host: &'h Host, number: u8, policy: &str, name: &str) -> Container<'h> {
    Container::of(host, "bridge", bridge(host, number), name).with("ingressPolicy", json!(policy))
}

#[track_caller]
fn are_apart(one: &Container<'_>, other: &Container<'_>) {
    does_not_reach(&one.pod, other.addresses());
    does_not_reach(&other.pod, one.addresses());
}

/// How many rules of ours the Go plugin's chains have, those of both families.
fn in_the_list(host: &Host, by: Iptables) -> usize {
    let lines = filter(host, by, "-S");
    lines.lines().filter(|line| line.contains("STAGE-") && line.contains("jackfield firewall1_")).count()
}

fn a_bridge_of_theirs_and_one_of_ours_are_apart(host: &Host, by: Iptables, policy: &str) {
    let _outside = outside(host);
    // Theirs of that time has no other policy.
    let red = container(host, 9, "same-bridge", "red");
    go("ADD", &red, by).run().result();
    let before = filter(host, by, "-S");
    let blue = container(host, 8, policy, "blue");
    let plain = container(host, 7, "open", "plain");
    for of_ours in [&blue, &plain, &blue] {
        ours("ADD", of_ours, by).run().result();
        assert_eq!(in_the_list(host, by), 4, "{}", filter(host, by, "-S"));
    }
    are_apart(&red, &blue);
    reaches(&red.pod, OUTSIDE);
    reaches(&red.pod, plain.addresses());
    reaches(&plain.pod, blue.addresses());
    ours("CHECK", &blue, by).run().silent();

    // Back to theirs: a bridge that ours has never seen.
    let green = container(host, 6, "same-bridge", "green");
    go("ADD", &green, by).run().result();
    are_apart(&green, &blue);
    are_apart(&green, &red);

    // The administrator's program reads and writes what it finds.
    for program in ["iptables", "ip6tables"] {
        host.sh(&format!(
            "PATH={} sh -c '{program}-save > /run/rules; {program}-restore < /run/rules'",
            by.path()
        ));
    }
    are_apart(&red, &blue);
    ours("CHECK", &blue, by).run().silent();
    ours("DEL", &blue, by).run().silent();
    assert_eq!(in_the_list(host, by), 0);
    reaches(&red.pod, blue.addresses());
    for theirs in [&red, &green] {
        go("DEL", theirs, by).run().silent();
    }
    ours("DEL", &plain, by).run().silent();
    let listed = filter(host, by, "-S");
    let of_containers = |line: &&str| !line.contains("10.9.0.") && !line.contains("fd00:9::");
    for line in before.lines().filter(of_containers) {
        assert!(listed.contains(line), "{line} is not in {listed}");
    }
    assert!(!listed.contains("jackfield"), "{listed}");
}

#[test]
fn a_bridge_of_the_go_plugin_and_one_of_ours_are_kept_apart() {
    in_a_world_of_both("a_bridge_of_the_go_plugin_and_one_of_ours_are_kept_apart", &[], |host| {
        a_bridge_of_theirs_and_one_of_ours_are_apart(host, Iptables::Nft, "same-bridge");
    });
}

#[test]
fn a_bridge_of_the_go_plugin_and_an_isolated_one_of_ours_are_kept_apart() {
    in_a_world_of_both("a_bridge_of_the_go_plugin_and_an_isolated_one_of_ours_are_kept_apart", &[], |host| {
        a_bridge_of_theirs_and_one_of_ours_are_apart(host, Iptables::Nft, "isolated");
    });
}

/// Where the Go plugin comes for the first time after ours nobody tells us; so CHECK tells, and the next ADD mends it.
#[test]
fn chains_of_the_go_plugin_that_come_later_learn_our_bridges_with_the_next_add() {
    in_a_world_of_both(
        "chains_of_the_go_plugin_that_come_later_learn_our_bridges_with_the_next_add",
        &[],
        |host| {
            let by = Iptables::Nft;
            let blue = container(host, 8, "same-bridge", "blue").admitted();
            let red = container(host, 9, "same-bridge", "red");
            go("ADD", &red, by).run().result();
            blue.check().fails(999).names(&["CNI-ISOLATION-STAGE-1", "does not know br8"]);
            let plain = Container::of(host, "bridge", bridge(host, 7), "plain").admitted();
            are_apart(&red, &blue);
            blue.check().silent();

            // By their DEL our links go, and purge takes the rest.
            for of_ours in [&blue, &plain] {
                of_ours.pod.sh("ip link delete eth0");
            }
            let purge =
                |words: &[&str]| Call::of(host.program("cnitool"), &[&["purge"], words].concat()).run();
            let told = purge(&["--dry-run"]).stdout();
            assert!(told.contains("rule of chain CNI-ISOLATION-STAGE-2 of table ip6 filter"), "{told}");
            assert_eq!(in_the_list(host, by), 4);
            assert_eq!(purge(&[]).stdout(), told.replace("would remove", "removed"));
            assert!(!host.sh("nft list ruleset").contains("jackfield"));
        },
    );
}

/// The Go plugin's rules name an address and no owner: a DEL that comes when another container has it takes nothing from him.
#[test]
fn a_late_del_leaves_the_address_to_the_container_of_the_go_plugin_that_has_it_by_now() {
    let name = "a_late_del_leaves_the_address_to_the_container_of_the_go_plugin_that_has_it_by_now";
    in_a_world_of_both(name, &[], |host| {
        let by = Iptables::Nft;
        let _outside = outside(host);
        drop_what_is_forwarded(host, by);
        let mut conf = bridge(host, 9);
        // Where host-local keeps its leases unless it is told otherwise.
        conf["ipam"].as_object_mut().expect("an object").remove("dataDir");
        let dead = Container::of(host, "bridge", conf.clone(), "dead").admitted();
        let had = dead.addresses();
        dead.del();
        dead.pod.delete();
        host.sh("rm /var/lib/cni/networks/*/last_reserved_ip.*");
        let living = Container::of(host, "bridge", conf, "living");
        assert_eq!(living.addresses(), had);
        go("ADD", &living, by).run().result();
        reaches(&living.pod, OUTSIDE);
        let before = filter(host, by, "-S");
        dead.wall.call_with("DEL", &dead.result).netns("").run().silent();
        assert_eq!(filter(host, by, "-S"), before);
        reaches(&living.pod, OUTSIDE);
        // His own DEL takes them.
        ours("DEL", &living, by).run().silent();
        does_not_reach(&living.pod, OUTSIDE);
    });
}

#[test]
fn bridges_of_two_of_our_backends_are_kept_apart() {
    lab_with(OURS, |host| {
        for (first, second) in [("iptables", "nftables"), ("nftables", "iptables")] {
            let with = |number, name, backend: &str| {
                container(host, number, "same-bridge", name).with("backend", json!(backend)).admitted()
            };
            let (red, blue) = (with(9, "red", first), with(8, "blue", second));
            are_apart(&red, &blue);
            // Rules in FORWARD ask for ours there, which the next ADD writes.
            red.admit().result();
            are_apart(&red, &blue);
            red.check().silent();
            blue.check().silent();
            for container in [red, blue] {
                container.del();
                container.pod.delete();
            }
            assert!(!host.sh("nft list ruleset").contains("jackfield"));
            // The rules of bridges stay, as the Go plugin's do.
            host.sh("nft flush ruleset");
        }
    });
}
