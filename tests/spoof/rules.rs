//! The rules of the spoof check as objects: who makes, restores, misses and removes them.

use serde_json::{Value, json};

use super::{FOREIGN, OURS, attached, mac, network, reaches, until};
use crate::burst::{by_workers, rounds};
use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::{conf, lab_with, world};

/// An emulated kernel is ten times slower: it gets a part of the work.
fn much(here: usize, emulated: usize) -> usize {
    if world::variable("JACKFIELD_GUEST").is_some() { emulated } else { here }
}

fn ruleset(host: &Host) -> String {
    host.sh("nft list ruleset")
}

#[test]
fn the_rules_read_well_and_the_last_container_takes_them_away() {
    lab_with(OURS, |host| {
        let (red, _red_pod, result) = attached(host, &network(host), "red");
        let link = result["interfaces"][1]["name"].as_str().unwrap();
        let listing = ruleset(host);
        for line in [
            "table bridge jackfield {",
            "comment \"made and removed by the Jackfield CNI plugins\"",
            "type ifname\n",
            "type ifname . ether_addr\n",
            &format!("elements = {{ \"{link}\" comment \""),
            &format!("elements = {{ \"{link}\" . {} comment \"", mac(&result)),
            "jackfield: net-a eth0 red\" }",
            "type filter hook prerouting priority dstnat - 10; policy accept;",
            "iifname @spoof1_guarded iifname . ether saddr != @spoof1_allowed counter packets 0 bytes 0 drop",
        ] {
            assert!(listing.contains(line), "{line} is not in\n{listing}");
        }
        host.sh("nft list ruleset > /run/listing; nft flush ruleset; nft -f /run/listing");
        assert_eq!(ruleset(host), listing, "a backup of it can be restored");
        red.check(&result).silent();

        let (blue, _blue_pod, _) = attached(host, &network(host), "blue");
        red.del().silent();
        let listing = ruleset(host);
        assert!(listing.contains("net-a eth0 blue") && !listing.contains("net-a eth0 red"), "{listing}");
        blue.del().silent();
        blue.del().silent();
        assert_eq!(ruleset(host), "");
    });
}

#[test]
fn what_is_not_ours_keeps_the_table() {
    lab_with(OURS, |host| {
        for strange in [
            "nft add chain bridge jackfield strangers",
            "nft add element bridge jackfield spoof1_guarded { \"eth7\" }",
        ] {
            let (red, pod, _) = attached(host, &network(host), "red");
            host.sh(strange);
            red.del().silent();
            let listing = ruleset(host);
            assert!(listing.contains("table bridge jackfield") && !listing.contains("eth0 red"), "{listing}");
            assert!(listing.contains("strangers") || listing.contains("eth7"), "{listing}");
            // What was found again is used again.
            let (blue, blue_pod, result) = attached(host, &network(host), "blue");
            blue.check(&result).silent();
            blue.del().silent();
            host.sh("nft delete table bridge jackfield");
            [pod, blue_pod].iter().for_each(Pod::delete);
        }
    });
}

#[test]
fn whatever_somebody_did_to_the_rules_the_next_add_restores_them_for_everybody() {
    lab_with(OURS, |host| {
        let (_red, red_pod, result) = attached(host, &network(host), "red");
        for (number, deed) in [
            "nft flush table bridge jackfield",
            "nft flush chain bridge jackfield spoof1",
            "nft -f - <<E\nadd table bridge jackfield { flags dormant; }\nE",
            "nft insert rule bridge jackfield spoof1 accept",
            "nft 'delete chain bridge jackfield spoof1
                add chain bridge jackfield spoof1 { type filter hook forward priority 0; }'",
            "nft delete table bridge jackfield",
        ]
        .into_iter()
        .enumerate()
        {
            host.sh(deed);
            red_pod.sh(&format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"));
            assert!(reaches(&red_pod, "eth0", "10.9.0.1"), "{deed}: the check is off");
            let (blue, pod, other) = attached(host, &network(host), &format!("blue{number}"));
            blue.check(&other).silent();
            // What red had, nobody knows where the sets are gone.
            let forgotten = deed.contains("delete table");
            assert_eq!(reaches(&red_pod, "eth0", "10.9.0.1"), forgotten, "{deed}: the neighbour");
            pod.sh(&format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"));
            assert!(!reaches(&pod, "eth0", "10.9.0.1"), "{deed}");
            blue.del().silent();
            pod.delete();
            red_pod.sh(&format!("ip link set eth0 address {}", mac(&result)));
        }
    });
}

#[test]
fn where_the_rules_cannot_be_made_add_fails_and_nothing_is_left() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", network(host), &pod);
        host.sh("nft 'table bridge jackfield { set spoof1_allowed { type inet_service; }; }'");
        let before = host.snapshot();
        web.call("STATUS").run().fails(50).names(&["macspoofchk", "spoof1_allowed", "file exists"]);
        web.add().fails(999).names(&["failed to setup spoof-check", "spoof1_allowed", "file exists"]);
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        assert!(pod.links().is_empty());
    });
}

#[test]
fn a_failed_add_takes_its_elements_back() {
    lab_with(OURS, |host| {
        let stub = host.stub("odd");
        // The route is refused by the kernel, once everything else is there.
        let lease = json!({
            "cniVersion": "1.1.0",
            "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1"}],
            "routes": [{"dst": "198.51.100.0/24", "gw": "203.0.113.1"}]
        });
        stub.answers("ADD", &lease.to_string());
        let conf = conf::with(&network(host), "/ipam", json!({"type": "odd"}));
        let path = format!("{}:{}", stub.folder(), host.bin().display());
        for beside in [false, true] {
            let neighbour = beside.then(|| attached(host, &network(host), "beside"));
            let pod = host.pod();
            let before = host.snapshot();
            host.attach("bridge", conf.clone(), &pod)
                .path(&path)
                .add()
                .fails(999)
                .names(&["198.51.100.0/24"]);
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            drop(neighbour);
        }
    });
}

#[test]
fn del_finds_the_elements_by_record_or_by_their_owner() {
    lab_with(OURS, |host| {
        let (blue, ..) = attached(host, &network(host), "blue");
        let with_blue = ruleset(host);
        for loses in [
            "",
            "rm /run/jackfield/attachments/*",
            "for f in /run/jackfield/attachments/*; do truncate -s -3 $f; done",
            "ip link delete $(ip -j link show master br0 | jq -r .[1].ifname)",
        ] {
            let (red, pod, result) = attached(host, &network(host), "red");
            // A plugin that came later in the list has changed it.
            let moved = conf::with(&result, "/interfaces/2/mac", json!(FOREIGN));
            assert_ne!(ruleset(host), with_blue);
            host.sh(loses);
            pod.delete();
            red.del_with(&moved).silent();
            assert_eq!(ruleset(host), with_blue, "{loses:?}");
            red.del().silent();
        }
        blue.del().silent();
        assert_eq!(ruleset(host), "");
    });
}

#[test]
fn del_knows_the_elements_though_the_network_is_checked_no_more() {
    lab_with(OURS, |host| {
        let (red, ..) = attached(host, &network(host), "red");
        red.conf(conf::bridge(host)).del().silent();
        assert_eq!(ruleset(host), "");
    });
}

#[test]
fn what_an_earlier_life_has_left_is_replaced() {
    lab_with(OURS, |host| {
        let (red, pod, first) = attached(host, &network(host), "red");
        // Somebody who knows nothing of elements removed link and lease: the Go plugin, say.
        host.sh("rm -r /run/leases; ip link delete $(ip -j link show master br0 | jq -r .[0].ifname)");
        let second = red.add().result();
        assert_ne!(mac(&first), mac(&second));
        red.check(&second).silent();
        assert!(!ruleset(host).contains(mac(&first)), "the old address is allowed no more");
        assert!(pod.pings("10.9.0.1"));
        red.del().silent();
        assert_eq!(ruleset(host), "");
    });
}

#[test]
fn check_names_each_thing_that_is_gone() {
    lab_with(OURS, |host| {
        let (red, _pod, result) = attached(host, &network(host), "red");
        red.check(&result).silent();
        host.sh("nft list ruleset > /run/listing");
        let link = result["interfaces"][1]["name"].as_str().unwrap();
        let pair = format!("{link} . {}", mac(&result));
        for (deed, named) in [
            (
                format!("nft delete element bridge jackfield spoof1_guarded {{ {link} }}"),
                "is not in set spoof1_guarded",
            ),
            (
                format!("nft delete element bridge jackfield spoof1_allowed {{ {pair} }}"),
                "is not in set spoof1_allowed",
            ),
            (
                format!(
                    "nft flush set bridge jackfield spoof1_allowed; nft add element bridge jackfield spoof1_allowed {{ {pair} }}"
                ),
                "is another's",
            ),
            (
                "nft flush chain bridge jackfield spoof1".into(),
                "chain spoof1 of table bridge jackfield is gone",
            ),
            ("nft flush table bridge jackfield".into(), "is gone or changed"),
            ("nft add table bridge jackfield '{ flags dormant; }'".into(), "is dormant"),
            ("nft delete table bridge jackfield".into(), "there is no table bridge jackfield"),
        ] {
            host.sh(&deed);
            red.check(&result).fails(999).names(&["are not checked", named]);
            host.sh("nft flush ruleset; nft -f /run/listing");
            red.check(&result).silent();
        }
    });
}

#[test]
fn gc_removes_the_elements_of_its_network_whose_attachments_are_not_listed() {
    lab_with(OURS, |host| {
        let conf = network(host);
        let other = conf::with(&conf::bridge_l2(host), "/macspoofchk", json!(true));
        let (red, red_pod, result) = attached(host, &conf, "red");
        let (_blue, _blue_pod, _) = attached(host, &conf, "blue");
        let (green, _green_pod, green_result) = attached(host, &other, "green");
        let gc = |valid: Value| {
            host.call("bridge", "GC", &conf::with(&conf, "/cni.dev~1valid-attachments", valid))
                .run()
                .silent();
        };
        let all = ruleset(host);
        host.call("bridge", "GC", &conf).run().silent();
        assert_eq!(ruleset(host), all, "without a list nothing is removed");
        gc(json!([{"containerID": "red", "ifname": "eth0"}]));
        assert!(!ruleset(host).contains("eth0 blue"), "{}", ruleset(host));
        red.check(&result).silent();
        green.check(&green_result).silent();

        // Link and record are gone, only the elements are left: a crash within DEL.
        host.sh("rm /run/jackfield/attachments/*");
        red_pod.sh("ip link delete eth0");
        gc(json!([]));
        let listing = ruleset(host);
        assert!(!listing.contains("eth0 red") && listing.contains("eth0 green"), "{listing}");
        green.check(&green_result).silent();

        // A pair alone means nothing, and goes too.
        host.sh("nft flush set bridge jackfield spoof1_guarded");
        let nobody = conf::with(&other, "/cni.dev~1valid-attachments", json!([]));
        host.call("bridge", "GC", &nobody).run().silent();
        assert_eq!(ruleset(host), "");
    });
}

/// An ADD is stopped when its elements are there and its link is not: whoever collects garbage at that moment does not know
/// of it, and yet its first frame is looked at.
#[test]
fn gc_leaves_the_elements_of_an_add_that_is_under_way() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = conf::with(&conf::bridge_l2(host), "/macspoofchk", json!(true));
        let web = host.attach("bridge", conf.clone(), &pod);
        let nobody = conf::with(&conf, "/cni.dev~1valid-attachments", json!([]));
        let link_is_there = || !pod.links().is_empty();
        for _ in 0..10 {
            let inject = "inject=sendto,sendmsg:delay_exit=300000";
            let add = web.call("ADD").under(&["strace", "-f", "-o", "/dev/null", "-e", inject]).start();
            until(|| owners(host, "spoof1_allowed").len() == 1);
            add.signal("STOP");
            let in_time = !link_is_there();
            if in_time {
                host.call("bridge", "GC", &nobody).run().silent();
                assert_eq!(owners(host, "spoof1_guarded").len(), 1);
            }
            add.signal("CONT");
            let result = add.finish().result();
            web.check(&result).silent();
            web.del().silent();
            if in_time {
                return;
            }
        }
        panic!("the ADD was always faster");
    });
}

#[test]
fn status_has_the_kernel_try_the_rules_and_leaves_none() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        host.call("bridge", "STATUS", &network(host)).run().silent();
        before.same_as(&host.snapshot(), &[]);
        attached(host, &network(host), "red");
        let with_red = ruleset(host);
        host.call("bridge", "STATUS", &network(host)).run().silent();
        assert_eq!(ruleset(host), with_red);
    });
}

/// Such a kernel has no socket for nf_tables, or none of its parts answers there. The socket is the second one that bridge
/// opens; on DEL the first two words are for it.
#[test]
fn a_kernel_without_nf_tables_is_told_before_anything_is_made() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", network(host), &pod);
        let without = |call: Call, refusal: &str| {
            let inject = format!("inject={refusal}");
            call.under(&["strace", "-f", "-o", "/dev/null", "-e", &inject]).run()
        };
        let before = host.snapshot();
        let words = ["nf_tables", "macspoofchk", "protocol not supported"];
        for (verb, code) in [("ADD", 999), ("STATUS", 50)] {
            // And the next: musl asks again without flags.
            without(web.call(verb), "socket:error=EPROTONOSUPPORT:when=2+").fails(code).names(&words);
        }
        without(web.call("DEL").netns(""), "sendto:error=EOPNOTSUPP:when=1..2").silent();
        before.same_as(&host.snapshot(), &[]);
    });
}

/// The comments of all elements of a set, as nft has them.
fn owners(host: &Host, set: &str) -> Vec<String> {
    let listing = host.try_sh(&format!("nft -j list set bridge jackfield {set}"));
    let listing: Value = serde_json::from_slice(&listing.stdout).unwrap_or_default();
    let elements = listing["nftables"][1]["set"]["elem"].as_array().cloned().unwrap_or_default();
    elements.iter().map(|it| it["elem"]["comment"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn many_containers_come_and_go_by_sixteen_workers_and_each_has_its_elements() {
    lab_with(OURS, |host| {
        let count = much(200, 24);
        let pods: Vec<Pod> = (0..count).map(|_| host.pod()).collect();
        let before = host.snapshot();
        let conf = conf::with(&network(host), "/ipMasq", json!(true));
        let all: Vec<Attach<'_>> =
            pods.iter().map(|pod| host.attach("bridge", conf.clone(), pod).container(pod.name())).collect();
        let adds: Vec<Call> = all.iter().map(|web| web.call("ADD")).collect();
        let results: Vec<Value> = by_workers(16, &adds).iter().map(Outcome::result).collect();
        for set in ["spoof1_guarded", "spoof1_allowed"] {
            assert_eq!(owners(host, set).len(), count, "{set}");
        }
        let checks: Vec<Call> =
            all.iter().zip(&results).map(|(web, it)| web.call_with("CHECK", it)).collect();
        by_workers(16, &checks).iter().for_each(Outcome::silent);
        // More of them than the kernel tells in one breath: the others stay.
        let (going, staying) = all.split_at(count / 2);
        by_workers(16, &going.iter().map(|web| web.call("DEL")).collect::<Vec<_>>())
            .iter()
            .for_each(Outcome::silent);
        for set in ["spoof1_guarded", "spoof1_allowed"] {
            assert_eq!(owners(host, set).len(), staying.len(), "{set}");
        }
        by_workers(16, &staying.iter().map(|web| web.call("DEL")).collect::<Vec<_>>())
            .iter()
            .for_each(Outcome::silent);
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

#[test]
fn the_last_container_goes_while_the_first_one_comes_and_no_element_is_lost() {
    lab_with(OURS, |host| {
        let (one, other) = (host.pod(), host.pod());
        let [red, blue] = [("red", &one), ("blue", &other)]
            .map(|(id, pod)| host.attach("bridge", network(host), pod).container(id));
        red.add().result();
        let mut pair = [red, blue];
        for round in 0..rounds(300, much(50, 10)) {
            let [going, coming] = &pair;
            let mut answers = by_workers(2, &[going.call("DEL"), coming.call("ADD")]).into_iter();
            answers.next().unwrap().silent();
            answers.next().unwrap().result();
            for set in ["spoof1_guarded", "spoof1_allowed"] {
                let found = owners(host, set);
                let lives = |text: &String| text.ends_with(&format!("eth0 {}", ["blue", "red"][round % 2]));
                assert!(found.len() == 1 && found.iter().all(lives), "round {round}: {set} has {found:?}");
            }
            pair.swap(0, 1);
        }
        pair[0].del().silent();
        assert_eq!(ruleset(host), "");
    });
}

/// A call that is cut off anywhere leaves what the next DEL finds.
#[test]
fn an_add_that_is_killed_at_any_word_to_the_kernel_is_cleared_up_by_del() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", network(host), &pod);
        web.add().result();
        web.del().silent();
        let before = host.snapshot();
        let mut killed = 0;
        for word in (1..100).step_by(much(1, 5)) {
            let inject = format!("inject=sendto,sendmsg:signal=KILL:when={word}");
            let call = web.call("ADD").under(&["strace", "-f", "-o", "/dev/null", "-e", &inject]);
            let ended = call.run().succeeded();
            web.del().silent();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            if ended {
                break;
            }
            killed += 1;
        }
        assert!((much(12, 3)..60).contains(&killed), "killed at {killed} words");
    });
}
