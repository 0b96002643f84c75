//! Many at once, and calls that are cut off.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::stub::Stub;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// `count` containers of one network, each in its own pod.
fn containers<'h>(host: &'h Host, program: &str, conf: &Value, count: usize) -> Vec<(Pod, Attach<'h>)> {
    let one = |n| {
        let pod = host.pod();
        let web = host.attach(program, conf.clone(), &pod).container(&format!("c{n}"));
        (pod, web)
    };
    (0..count).map(one).collect()
}

fn at_once(all: &[(Pod, Attach<'_>)], verb: &str) -> Vec<Outcome> {
    let running: Vec<_> = all.iter().map(|(_, web)| web.call(verb).start()).collect();
    running.into_iter().map(|call| call.finish()).collect()
}

// CON-01, CON-02
#[test]
fn sixteen_at_once_on_a_fresh_host_all_get_their_address() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let before = host.snapshot();
            let all = containers(host, program, &conf, 16);
            let results: Vec<Value> = at_once(&all, "ADD").iter().map(|answer| answer.result()).collect();
            let given = |n: usize| {
                results.iter().map(move |r| r["ips"][n]["address"].as_str().unwrap()).collect::<BTreeSet<_>>()
            };
            assert_eq!((given(0).len(), given(1).len()), (16, 16));
            for ((pod, web), result) in all.iter().zip(&results) {
                assert!(pod.pings("10.9.0.1") && pod.pings("fd00:9::1"));
                web.check(result).silent();
            }
            let macs: BTreeSet<_> = results.iter().map(|r| r["interfaces"][0]["mac"].to_string()).collect();
            assert!(
                program != "bridge" || macs.len() == 1 || host.is_reference(),
                "one bridge, one MAC: {macs:?}"
            );
            at_once(&all, "DEL").iter().for_each(|answer| answer.silent());
            let found = before.differences(&host.snapshot(), conf::LEFT_BEHIND);
            assert!(found.iter().all(|line| line.starts_with("+ netns/")), "{program}: {found:#?}");
            host.try_sh("ip link del br0");
        }
    });
}

// CON-02, CON-03
#[test]
fn containers_come_while_others_go() {
    lab(|host| {
        for (program, conf) in conf::interfaces_in_full(host) {
            let (even, odd) = (containers(host, program, &conf, 6), containers(host, program, &conf, 6));
            let odd: Vec<_> = odd.into_iter().map(|(pod, web)| (pod, web.ifname("eth1"))).collect();
            at_once(&even, "ADD").iter().for_each(|answer| drop(answer.result()));
            for round in 0..4 {
                let (going, coming) = if round % 2 == 0 { (&even, &odd) } else { (&odd, &even) };
                let dels: Vec<_> = going.iter().map(|(_, web)| web.call("DEL").start()).collect();
                let adds: Vec<_> = coming.iter().map(|(_, web)| web.call("ADD").start()).collect();
                dels.into_iter().for_each(|call| call.finish().silent());
                adds.into_iter().for_each(|call| drop(call.finish().result()));
            }
            assert!(even.iter().all(|(pod, _)| pod.pings("10.9.0.1")));
            at_once(&even, "DEL").iter().for_each(|answer| answer.silent());
            assert!(
                host.snapshot()
                    .below("file/run/leases/net-")
                    .iter()
                    .all(|f| f.ends_with("lock") || f.contains("last_reserved"))
            );
        }
    });
}

// CON-05
#[test]
fn two_networks_on_one_bridge_do_not_hinder_each_other() {
    lab(|host| {
        let l2 = |name: &str| conf::with(&conf::bridge_l2(host), "/name", json!(name));
        let (a, b) =
            (containers(host, "bridge", &l2("net-a"), 6), containers(host, "bridge", &l2("net-b"), 6));
        let running: Vec<_> = a.iter().chain(&b).map(|(_, web)| web.call("ADD").start()).collect();
        running.into_iter().for_each(|call| drop(call.finish().result()));
        assert_eq!(host.ip("link show type veth").len(), 12);
        let running: Vec<_> = a.iter().chain(&b).map(|(_, web)| web.call("DEL").start()).collect();
        running.into_iter().for_each(|call| call.finish().silent());
        assert!(host.ip("link show type veth").is_empty());
    });
}

// ADD-09: the same attachment twice, at the same time
#[test]
fn of_two_equal_adds_at_once_one_wins_and_works() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let ours = || {
                for round in 0..5 {
                    let pod = host.pod();
                    let web = host.attach(program, conf.clone(), &pod).container(&format!("twin-{round}"));
                    let twins = [web.call("ADD").start(), web.call("ADD").start()];
                    let answers = twins.map(|call| call.finish());
                    let winners: Vec<_> = answers.iter().filter(|answer| answer.succeeded()).collect();
                    assert_eq!(winners.len(), 1, "{}\n{}", answers[0], answers[1]);
                    web.check(&winners[0].result()).silent();
                    assert!(pod.pings("10.9.0.1"));
                    web.del().silent();
                    assert!(pod.links().is_empty());
                }
            };
            host.differs("failed-add", ours, || ());
        }
    });
}

/// ADD whose IPAM plugin hangs, cut off by a signal.
fn cut_off(signal: &str, test: impl Fn(&Host, &Pod, &Attach<'_>, &str, Outcome)) {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let stub = host.stub(&format!("rec-{program}"));
            stub.hangs("ADD");
            let pod = host.pod();
            let conf = conf::with(&conf, "/ipam", json!({"type": stub.name()}));
            let web = host.attach(program, conf, &pod).path(stub.folder());
            let mut running = web.call("ADD").start();
            stub.wait_for(&mut running);
            running.signal(signal);
            test(host, &pod, &web, program, running.finish());
        }
    });
}

// ADD-13
#[test]
fn an_add_that_is_asked_to_end_undoes_itself() {
    for signal in ["TERM", "INT", "HUP"] {
        cut_off(signal, |host, pod, web, _, answer| {
            let ours = || {
                let fault = answer.fails_somehow();
                fault.names(&["signal"]);
                assert!(pod.links().is_empty());
                let after = host.snapshot();
                assert!(
                    after.below("link/").iter().all(|link| link.ends_with("/lo")),
                    "{:?}",
                    after.below("link/")
                );
                assert!(after.below("process/").is_empty(), "{:?}", after.below("process/"));
                assert!(after.below("file/run/jackfield/attachments").is_empty());
            };
            host.differs("signals", ours, || ());
            web.del();
        });
    }
}

// CON-04, DLG-15
#[test]
fn del_cleans_up_behind_an_add_that_was_killed_while_it_delegated() {
    cut_off("KILL", |host, pod, web, program, answer| {
        assert!(!answer.succeeded());
        let stub = Stub::reopen(&format!("rec-{program}"));
        stub.release();
        while !host.snapshot().below("process/").is_empty() {}
        stub.works("ADD");
        web.del().silent();
        assert!(pod.links().is_empty());
        host.differs("first-add", || (), || drop(host.try_sh("ip link del br0")));
        let result = web.add().result();
        web.check(&result).silent();
        web.del().silent();
        host.try_sh("ip link del br0");
    });
}

// host-local must not commit a lease for a caller that is gone
#[test]
fn host_local_dies_with_the_plugin_that_called_it() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            host.sh("mkdir -p /run/leases/net-a /run/leases/net-v && touch /run/leases/net-a/lock /run/leases/net-v/lock");
            let held = ["a", "v"].map(|n| std::fs::File::open(format!("/run/leases/net-{n}/lock")).unwrap());
            held.iter().for_each(|lock| lock.lock().unwrap());
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let mut running = web.call("ADD").start();
            while !std::fs::read_to_string("/proc/locks").unwrap().contains("->") {
                assert!(!running.has_ended(), "ADD ended without asking host-local");
            }
            running.signal("KILL");
            assert!(!running.finish().succeeded());
            let ours = || {
                while !host.snapshot().below("process/").is_empty() {}
                drop(held);
                assert!(host.snapshot().below("file/run/leases/").iter().all(|file| file.ends_with("/lock")));
            };
            host.differs("delegate-orphan", ours, || ());
            web.del().silent();
        }
    });
}

// the same for one that was so late that its caller had died before it could ask who that is
#[test]
fn host_local_leases_nothing_to_a_caller_whom_it_has_not_met() {
    lab_with(&[Need::Ours("delegate-orphan")], |host| {
        let pod = host.pod();
        let before = host.snapshot();
        let stdin = conf::leases(host).to_string();
        let web = host.attach("host-local", conf::leases(host), &pod);
        // The test is the parent, so to the program the one that asked is gone, or a stranger stands between them.
        let orphan = |verb| web.call(verb).env("JACKFIELD_PARENT", i32::MAX.to_string());
        let (answer, pipe) = std::io::pipe().unwrap();
        let stdout = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        let mut late = orphan("ADD").stdin_left_open(stdin).stdout_to(stdout).start();
        drop((answer, pipe));
        late.close_stdin();
        let late = late.finish();
        assert!(!late.succeeded() && late.stderr().contains("the plugin that asked has died"), "{late}");
        before.same_as(&host.snapshot(), &[]);
        assert_eq!(orphan("ADD").run().result()["ips"][0]["address"], "10.9.0.2/24", "a stranger is heard");
        orphan("DEL").run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

// a signal that comes when the answer is given
#[test]
fn a_signal_at_any_moment_leaves_all_or_nothing() {
    lab(|host| {
        let ours = || {
            for (program, conf) in conf::interfaces_in_full(host) {
                let pod = host.pod();
                let web = host.attach(program, conf, &pod);
                let before = host.snapshot();
                for round in 0..40 {
                    let running = web.call("ADD").start();
                    // Later in each round: the measure of time is another program's start and end.
                    (0..round % 5).for_each(|_| drop(host.sh(":")));
                    running.signal("TERM");
                    let answer = running.finish();
                    if answer.succeeded() {
                        web.check(&answer.result()).silent();
                        web.del().silent();
                    } else if !answer.stdout().is_empty() {
                        answer.fails_somehow();
                    }
                    assert!(pod.links().is_empty(), "{answer}");
                    before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                }
            }
        };
        host.differs("signals", ours, || ());
    });
}

// DEL after a kill at any moment
#[test]
fn del_cleans_up_behind_an_add_that_was_killed_at_any_moment() {
    lab(|host| {
        for (program, conf) in conf::interfaces_in_full(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let before = (host.snapshot(), pod.snapshot());
            for round in 0..25 {
                let running = web.call("ADD").start();
                // Later in each round: the measure of time is another program's start and end.
                (0..round % 5).for_each(|_| drop(host.sh(":")));
                running.signal("KILL");
                drop(running.finish());
                web.del().silent();
                before.1.same_as(&pod.snapshot(), &[]);
            }
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            host.try_sh("ip link del br0");
        }
    });
}
