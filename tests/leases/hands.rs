//! Other hands in the folder: the Go plugin in turn with ours, people, and what is in the way.

use std::fs;

use serde_json::Value;

use super::boots::lasting_folder;
use super::{address, container, leases, network};
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::world::Need;
use crate::switching::{OURS, THEIRS, with_both};

const NET: &str = "/run/leases/net-a";

fn call(folder: &str, verb: &str, conf: &Value, pod: &Pod, id: &str) -> Call {
    let program = std::path::Path::new(folder).join("host-local");
    Call::new(program, verb, conf, std::path::Path::new(folder)).netns(pod.path()).container(id)
}

/// Fails in the words that both use.
fn refused(call: &Call, words: &str) {
    let answer = call.run();
    assert!(!answer.succeeded() && answer.stdout().contains(words), "{answer}");
}

// IPM-12
#[test]
fn the_go_plugin_and_ours_take_turns_and_each_sees_at_once_what_the_other_did() {
    with_both("the_go_plugin_and_ours_take_turns_and_each_sees_at_once_what_the_other_did", |host| {
        let pod = host.pod();
        let conf = crate::lab::conf::with(
            &network(host, "/run/leases", "10.1.1.0/28"),
            "/cniVersion",
            "1.0.0".into(),
        );
        let mut living: Vec<(String, String)> = Vec::new();
        for n in 0..60 {
            let (one, other) = if n % 2 == 0 { (OURS, THEIRS) } else { (THEIRS, OURS) };
            let id = format!("c{n}");
            let ip = address(&call(one, "ADD", &conf, &pod, &id).run());
            assert!(living.iter().all(|(_, there)| *there != ip), "{ip} was given twice, in round {n}");
            living.push((id.clone(), ip));
            assert_eq!(leases(NET).len(), living.len());
            // The other one knows of it, and refuses a second ADD.
            refused(&call(other, "ADD", &conf, &pod, &id), "duplicate allocation is not allowed");
            if living.len() > 9 {
                let (id, ip) = living.remove(n % 9);
                call(other, "DEL", &conf, &pod, &id).run().silent();
                assert!(!leases(NET).contains(&ip), "DEL by {other} in round {n}");
            }
        }
        for (id, _) in living {
            call(OURS, "DEL", &conf, &pod, &id).run().silent();
        }
        assert!(leases(NET).is_empty());
    });
}

// IPM-09
#[test]
fn an_address_that_the_go_plugin_has_just_freed_is_there_for_ours_in_a_full_range() {
    with_both("an_address_that_the_go_plugin_has_just_freed_is_there_for_ours_in_a_full_range", |host| {
        let pod = host.pod();
        let conf = crate::lab::conf::with(
            &network(host, "/run/leases", "10.1.1.0/29"),
            "/cniVersion",
            "1.0.0".into(),
        );
        for n in 0..5 {
            call(OURS, "ADD", &conf, &pod, &format!("c{n}")).run().result();
        }
        for n in 5..30 {
            call(OURS, "ADD", &conf, &pod, "late")
                .run()
                .fails(999)
                .names(&["no IP addresses available in range set"]);
            call(THEIRS, "DEL", &conf, &pod, &format!("c{}", n - 5)).run().silent();
            let (one, other) = if n % 2 == 0 { (OURS, THEIRS) } else { (THEIRS, OURS) };
            call(one, "ADD", &conf, &pod, &format!("c{n}")).run().result();
            refused(&call(other, "ADD", &conf, &pod, "late"), "no IP addresses available in range set");
        }
    });
}

// IPM-12
#[test]
fn what_people_write_and_remove_counts_at_once() {
    lab_with(&[Need::Ours("lease-whole")], |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/29");
        let one = container(host, &pod, &conf, "one");
        assert_eq!(address(&one.add()), "10.1.1.2");
        // A word in a file reserves an address; an empty file does not.
        fs::write(format!("{NET}/10.1.1.3"), "the printer").unwrap();
        fs::write(format!("{NET}/10.1.1.4"), "").unwrap();
        assert_eq!(address(&container(host, &pod, &conf, "two").add()), "10.1.1.4");
        // A lease by hand is a lease.
        fs::write(format!("{NET}/10.1.1.5"), "by-hand\r\neth0\n").unwrap();
        container(host, &pod, &conf, "by-hand").add().fails(999).names(&["10.1.1.5", "duplicate allocation"]);
        assert_eq!(address(&container(host, &pod, &conf, "three").add()), "10.1.1.6");
        container(host, &pod, &conf, "by-hand").del().silent();
        // What somebody removes is free, and somebody else's at once; DEL for the one who had it harms nobody.
        fs::remove_file(format!("{NET}/10.1.1.2")).unwrap();
        host.sh(&format!("printf 10.1.1.6 > {NET}/last_reserved_ip.0"));
        assert_eq!(address(&container(host, &pod, &conf, "four").add()), "10.1.1.2");
        one.del().silent();
        assert_eq!(leases(NET), ["10.1.1.2", "10.1.1.3", "10.1.1.4", "10.1.1.6"]);
        fs::remove_file(format!("{NET}/10.1.1.3")).unwrap();
        fs::rename(format!("{NET}/10.1.1.2"), format!("{NET}/10.1.1.3")).unwrap();
        container(host, &pod, &conf, "four").del().silent();
        assert_eq!(leases(NET), ["10.1.1.4", "10.1.1.6"]);
    });
}

// IPM-12
#[test]
fn the_index_is_a_cache_and_nobody_misses_it() {
    lab_with(&[Need::Ours("flat-cost")], |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/24");
        for (n, harm) in [
            "rm -r /run/jackfield",
            "find /run/jackfield -name '*.index' -exec truncate -s 5000 {} ';'",
            "find /run/jackfield -name '*.index' -exec sh -c ': > $0' {} ';'",
            "find /run/jackfield -name '*.index' -exec sh -c 'head -c 8192 /dev/urandom > $0' {} ';'",
            "mount -t tmpfs -o size=4k,nr_inodes=4 full /run/jackfield",
            "mount -t tmpfs -o ro none /run/jackfield",
        ]
        .into_iter()
        .enumerate()
        {
            let web = container(host, &pod, &conf, &format!("web-{n}"));
            let first = web.add().result();
            host.sh(harm);
            web.check(&first).silent();
            web.add().fails(999).names(&["duplicate allocation is not allowed"]);
            let next = container(host, &pod, &conf, &format!("next-{n}"));
            assert_ne!(next.add().result()["ips"], first["ips"], "{harm}");
            web.del().silent();
            next.del().silent();
            assert!(leases(NET).is_empty(), "{harm}");
        }
    });
}

// IPM-09
#[test]
fn a_full_range_says_who_has_it_and_what_to_do() {
    lab_with(&[Need::Ours("full-says")], |host: &Host| {
        let folder = lasting_folder(host);
        let pod = host.pod();
        let conf = network(host, folder, "10.1.1.0/29");
        for n in 0..3 {
            container(host, &pod, &conf, &format!("c{n}")).add().result();
        }
        fs::write(format!("{folder}/net-a/10.1.1.5"), "go\r\neth0").unwrap();
        fs::write(format!("{folder}/net-a/10.1.1.6"), "the printer").unwrap();
        let words = [
            "no IP addresses available in range set: 10.1.1.1-10.1.1.6",
            "5 addresses",
            "leases of this boot in this network: 3",
            "that do not tell their boot, as another plugin writes them: 1",
            "files that are no lease: 1",
            "of an earlier boot or rubbish (they are given again): 0",
            "host-local --list /var/lib/cni/net-a",
        ];
        container(host, &pod, &conf, "late").add().fails(999).names(&words);
        host.call("host-local", "STATUS", &conf).run().fails(50).names(&words);
    });
}

// IPM-12: where a folder's time moves with the tick alone, before Linux 6.13, two changes of one tick look like one
#[test]
fn changes_in_one_tick_of_the_clock_are_told_apart() {
    lab_with(&[Need::Ours("flat-cost")], |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/24");
        let web = container(host, &pod, &conf, "web");
        let by_hand = container(host, &pod, &conf, "by-hand");
        for n in 100..140 {
            let lease = format!("{NET}/10.1.1.{n}");
            web.add().result();
            fs::write(&lease, "by-hand\r\neth0").unwrap();
            by_hand.add().fails(999).names(&["duplicate allocation", &format!("10.1.1.{n}")]);
            web.del().silent();
            fs::remove_file(&lease).unwrap();
            by_hand.check(&serde_json::json!({"cniVersion": "1.1.0", "ips": []})).fails(999);
            by_hand.add().result();
            by_hand.del().silent();
        }
        assert!(leases(NET).is_empty());
    });
}
