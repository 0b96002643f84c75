//! Bursts: a node that starts everything at once, and the last container that goes while the first one comes.

mod ledger;
mod member;
mod mixed;
mod strangers;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab_with};

/// The Go plugins fail here: a bridge that two make at once, iptables that is busy.
const OURS: &[Need] = &[Need::Ours("masquerade")];

/// What takes long is done in full once, without root, and in part wherever else.
pub fn rounds(in_full: usize, in_part: usize) -> usize {
    if world::is_root_lab() { in_part } else { in_full }
}

fn masquerading(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/ipMasq", json!(true))
}

/// So many workers, each making the next call that nobody makes yet.
pub fn by_workers(workers: usize, calls: &[Call]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((place, call)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            calls.get(place).map(|call| (place, call))
        } {
            done.push((place, call.run()));
        }
        done
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The comments of all masqueraded addresses, as nft has them; the kernel may tell it one twice.
fn masqueraded(host: &Host, map: &str) -> BTreeSet<String> {
    let listing = host.try_sh(&format!("nft -j list map inet jackfield {map}"));
    let listing: Value = serde_json::from_slice(&listing.stdout).unwrap_or_default();
    let elements = listing["nftables"][1]["map"]["elem"].as_array().cloned().unwrap_or_default();
    elements.iter().map(|pair| pair[0]["elem"]["comment"].as_str().unwrap().to_owned()).collect()
}

// CON-01, CON-02
#[test]
fn a_hundred_containers_come_and_go_by_sixteen_workers_on_a_fresh_host() {
    lab_with(OURS, |host| {
        let count = 100;
        let pods: Vec<Pod> = (0..count).map(|_| host.pod()).collect();
        let before = host.snapshot();
        let all: Vec<Attach<'_>> = pods
            .iter()
            .map(|pod| host.attach("bridge", masquerading(host), pod).container(pod.name()))
            .collect();
        let adds: Vec<Call> = all.iter().map(|web| web.call("ADD")).collect();
        let results: Vec<Value> = by_workers(16, &adds).iter().map(Outcome::result).collect();
        for family in 0..2 {
            let given: BTreeSet<_> =
                results.iter().map(|it| it["ips"][family]["address"].to_string()).collect();
            assert_eq!(given.len(), count, "no address is given twice");
        }
        let bridges: BTreeSet<_> = results.iter().map(|it| it["interfaces"][0]["mac"].to_string()).collect();
        assert_eq!(bridges.len(), 1, "one bridge, one MAC: {bridges:?}");
        assert_eq!(masqueraded(host, "masquerade1_ip").len(), count);
        assert_eq!(masqueraded(host, "masquerade1_ip6").len(), count);
        assert!(pods[0].pings("10.9.0.1") && pods[count - 1].pings("fd00:9::1"));

        let checks: Vec<Call> =
            all.iter().zip(&results).map(|(web, it)| web.call_with("CHECK", it)).collect();
        by_workers(16, &checks).iter().for_each(Outcome::silent);
        let dels: Vec<Call> = all.iter().zip(&results).map(|(web, it)| web.call_with("DEL", it)).collect();
        by_workers(16, &dels).iter().for_each(Outcome::silent);
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

#[test]
fn the_last_container_goes_while_the_first_one_comes_and_no_element_is_lost() {
    lab_with(OURS, |host| {
        let (one, other) = (host.pod(), host.pod());
        let [red, blue] = [("red", &one), ("blue", &other)]
            .map(|(id, pod)| host.attach("bridge", masquerading(host), pod).container(id));
        red.add().result();
        let mut pair = [red, blue];
        for round in 0..rounds(1000, 50) {
            let [going, coming] = &pair;
            let calls = [going.call("DEL"), coming.call("ADD")];
            let mut answers = by_workers(2, &calls).into_iter();
            answers.next().unwrap().silent();
            let result = answers.next().unwrap().result();
            for map in ["masquerade1_ip", "masquerade1_ip6"] {
                let found = masqueraded(host, map);
                let lives = |text: &String| text.contains(&format!("eth0 {}", ["blue", "red"][round % 2]));
                assert!(found.len() == 1 && found.iter().all(lives), "round {round}: {found:?} for {result}");
            }
            pair.swap(0, 1);
        }
        pair[0].del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

/// Somebody changes the ruleset all the time: every change of ours is decided on a state that is gone when it arrives.
#[test]
fn a_neighbour_who_changes_the_ruleset_all_the_time_makes_nobody_fail() {
    lab_with(OURS, |host| {
        let pods: Vec<Pod> = (0..16).map(|_| host.pod()).collect();
        let all: Vec<Attach<'_>> = pods
            .iter()
            .map(|pod| host.attach("bridge", masquerading(host), pod).container(pod.name()))
            .collect();
        let mut neighbour = Call::of(
            "/bin/sh",
            &[
                "-c",
                "while [ ! -e /run/enough ]; do
                nft -f - <<E || exit 1
                    add table inet neighbour
                    add chain inet neighbour c { type filter hook forward priority 0; }
                    add rule inet neighbour c ip saddr 192.0.2.7 counter
                    delete table inet neighbour
E
            done",
            ],
        )
        .start();
        for _ in 0..rounds(4, 2) {
            let adds: Vec<Call> = all.iter().map(|web| web.call("ADD")).collect();
            let results: Vec<Value> = by_workers(16, &adds).iter().map(Outcome::result).collect();
            let checks: Vec<Call> =
                all.iter().zip(&results).map(|(web, it)| web.call_with("CHECK", it)).collect();
            by_workers(16, &checks).iter().for_each(Outcome::silent);
            let dels: Vec<Call> = all.iter().map(|web| web.call("DEL")).collect();
            by_workers(16, &dels).iter().for_each(Outcome::silent);
            assert!(!neighbour.has_ended(), "the neighbour is busy all the while");
        }
        host.sh("touch /run/enough");
        assert!(neighbour.finish().succeeded(), "nor does the neighbour fail");
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}
