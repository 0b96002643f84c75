//! Ports are given back: by DEL, whatever it knows; by GC; by an ADD that fails.

use serde_json::json;

use super::{Container, OURS, listed, network, port};
use crate::lab::snapshot::Shared;
use crate::lab::{conf, lab_with};

/// What other plugins of the list may leave.
const SHARED: &[Shared<'_>] = conf::LEFT_BEHIND;

// CAP-08
#[test]
fn del_finds_the_ports_by_record_by_configuration_by_result_or_by_their_owner() {
    lab_with(OURS, |host| {
        let blue = Container::published(host, "blue", &[port("tcp", 81)]);
        let with_blue = host.snapshot();
        let lists =
            [vec![port("tcp", 80), port("sctp", 80)], (1000..1100).map(|it| port("udp", it)).collect()];
        for mappings in lists {
            for loses in [
                ":",
                "rm /run/jackfield/attachments/*.portmap",
                "for f in /run/jackfield/attachments/*.portmap; do truncate -s -3 $f; done",
            ] {
                for (knows_ports, knows_result) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    let red = Container::published(host, "red", &mappings);
                    red.check(&mappings).silent();
                    let kept =
                        host.sh("d=/run/jackfield/attachments; mkdir -p /run/kept; cp $d/* /run/kept; ls $d");
                    assert_eq!(kept.lines().filter(|it| it.ends_with(".portmap")).count(), 2, "{kept}");
                    host.sh(loses);
                    let del = if knows_ports { red.wanting(&mappings) } else { red.ports.clone() };
                    let del = if knows_result { del.call_with("DEL", &red.result) } else { del.call("DEL") };
                    del.clone().netns("").run().silent();
                    del.netns("").run().silent();
                    red.link.del().silent();
                    red.pod.delete();
                    // Blue's record was lost with red's: it comes back as it was.
                    let owner = "$(basename $(ls /run/kept/*.portmap | xargs grep -l blue))";
                    host.sh(&format!("cp /run/kept/{owner} /run/jackfield/attachments; rm -r /run/kept"));
                    let shared = [SHARED, &[Shared::Records]].concat();
                    with_blue.same_as(&host.snapshot(), &shared);
                }
            }
        }
        host.sh("nft flush ruleset");
        blue.del();
        assert_eq!(host.sh("nft list ruleset; cat /proc/sys/net/ipv4/conf/br0/route_localnet"), "0\n");
    });
}

// DEL-10
#[test]
fn del_without_a_record_finds_the_ports_where_a_key_cannot_be_read() {
    lab_with(OURS, |host| {
        let mappings = [port("tcp", 80), port("udp", 81)];
        let some = json!(["ip", "saddr", "192.0.2.2"]);
        for (pointer, value, told) in [
            ("/runtimeConfig", json!(5), "runtimeConfig"),
            ("/runtimeConfig/portMappings", json!([port("tcp", 80), "81"]), "portMappings[1]"),
            ("/conditionsV4", json!(5), "conditionsV4"),
            ("/backend", json!(["iptables"]), "backend"),
        ] {
            let web = Container::new(host, "web").with("/conditionsV4", some.clone());
            let bad = web.wanting(&mappings);
            let bad = bad.conf(conf::with(bad.configuration(), pointer, value));
            for knows_result in [true, false] {
                web.publishes(&mappings);
                host.sh("rm /run/jackfield/attachments/*.portmap");
                let del = if knows_result { bad.del_with(&web.result) } else { bad.del() };
                assert!(del.stderr().contains(told), "{del}");
                del.silent();
                assert_eq!(host.sh("nft list ruleset"), "", "{pointer} {knows_result}");
            }
            web.del();
            web.pod.delete();
        }
    });
}

#[test]
fn a_del_of_what_was_never_published_does_nothing() {
    lab_with(OURS, |host| {
        let web = Container::published(host, "web", &[port("tcp", 80)]);
        let never = Container::new(host, "never");
        let before = host.snapshot();
        for mappings in [vec![], vec![port("tcp", 80)]] {
            never.wanting(&mappings).del().silent();
            never.wanting(&mappings).del_with(&never.result).silent();
        }
        before.same_as(&host.snapshot(), &[]);
        web.check(&[port("tcp", 80)]).silent();
    });
}

#[test]
fn gc_removes_the_ports_of_its_network_whose_attachments_are_not_listed() {
    lab_with(OURS, |host| {
        let mappings = |number| [port("tcp", number), port("udp", number)];
        let red = Container::published(host, "red", &mappings(80));
        let blue = Container::published(host, "blue", &mappings(81));
        let other =
            conf::with(&conf::with(&super::bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([]));
        let green = Container::of(host, "bridge", other, "green");
        green.publishes(&mappings(82));
        let before = host.snapshot();
        let gc = |valid: Option<serde_json::Value>| {
            let conf = network(host);
            let conf = valid
                .into_iter()
                .fold(conf, |conf, valid| conf::with(&conf, "/cni.dev~1valid-attachments", valid));
            host.call("portmap", "GC", &conf).run().silent();
        };
        gc(None);
        before.same_as(&host.snapshot(), &[]);
        gc(Some(json!([{"containerID": "red", "ifname": "eth0"}])));
        let holders = || {
            listed(host)
                .iter()
                .map(|row| row["container"].as_str().unwrap().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(holders(), ["green", "red"].map(String::from).into());
        red.check(&mappings(80)).silent();
        blue.ports.del().silent();

        // The record is gone, only the elements are left: a crash within DEL.
        host.sh("rm /run/jackfield/attachments/*.portmap");
        gc(Some(json!([])));
        assert_eq!(holders(), ["green"].map(String::from).into());
        green.del();
        assert_eq!(
            host.sh("nft list ruleset; cat /proc/sys/net/ipv4/conf/*/route_localnet | sort -u"),
            "0\n"
        );
    });
}

#[test]
fn an_add_that_cannot_hand_over_its_result_leaves_nothing() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        let before = host.snapshot();
        let mappings = [port("tcp", 80), port("udp", 81)];
        let add = web.wanting(&mappings).call_with("ADD", &web.result).stdout_to("/dev/full").run();
        assert!(!add.succeeded());
        before.same_as(&host.snapshot(), &[]);
        // The kernel refuses what the link's folder of settings does not have.
        let nowhere = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.7/24"}]});
        host.sh("mount -t tmpfs none /proc/sys/net/ipv4/conf");
        let add = web.wanting(&mappings).call_with("ADD", &nowhere).run();
        host.sh("umount /proc/sys/net/ipv4/conf");
        add.fails(999).names(&["unable to enable route_localnet"]);
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn a_stranger_s_element_is_neither_taken_nor_removed() {
    lab_with(OURS, |host| {
        let web = Container::published(host, "web", &[port("tcp", 80)]);
        host.sh(
            "nft 'add element inet jackfield ports1_any_ip { tcp . 81 comment \"by hand\" : 10.0.0.1 . 81 }'",
        );
        let other = Container::new(host, "other");
        other.publish(&[port("tcp", 81)]).fails(999).names(&["81/tcp", "by hand"]);
        web.del();
        assert!(host.sh("nft list ruleset").contains("by hand"));
        host.sh("nft delete table inet jackfield");
    });
}
