//! STATUS says whether ADD would work; GC removes what no container owns any more.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const NEW: &[Need] = &[Need::Ours("spec-1.1.0")];

/// GC with this list of valid attachments.
fn gc(host: &Host, program: &str, conf: &Value, valid: Value) -> Call {
    host.call(program, "GC", &conf::with(conf, "/cni.dev~1valid-attachments", valid))
}

fn valid(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect()
}

fn leases(host: &Host) -> Vec<String> {
    let snapshot = host.snapshot();
    let files =
        snapshot.below("file/run/leases/").into_iter().filter(|f| f.contains("/10.") || f.contains("/fd00"));
    files.map(|f| f.rsplit('/').next().unwrap().to_owned()).collect()
}

// STA-01, STA-10, STA-11
#[test]
fn status_is_content_on_a_fresh_host_and_touches_nothing() {
    lab_with(NEW, |host| {
        let before = host.snapshot();
        for (program, conf) in conf::every(host) {
            host.call(program, "STATUS", &conf).run().silent();
            host.call(program, "STATUS", &conf).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// STA-02
#[test]
fn status_tells_that_the_bridges_name_is_taken() {
    lab_with(NEW, |host| {
        host.sh("ip link add br0 type ifb");
        let fault = host.call("bridge", "STATUS", &conf::bridge(host)).run().fails(50);
        fault.names(&["br0", "not a bridge"]);
    });
}

// STA-03, IPM-14, ERR-14
#[test]
fn status_tells_that_the_pool_is_full() {
    lab_with(NEW, |host| {
        let pod = host.pod();
        let conf = conf::pool(host, "10.1.1.0/29");
        let lease = host.attach("host-local", conf.clone(), &pod);
        for n in 1..=5 {
            host.call("host-local", "STATUS", &conf).run().silent();
            lease.container(&format!("c{n}")).add().result();
        }
        let before = host.snapshot();
        host.call("host-local", "STATUS", &conf).run().fails(50).names(&["10.1.1"]);
        before.same_as(&host.snapshot(), &[]);
        lease.container("c3").del().silent();
        host.call("host-local", "STATUS", &conf).run().silent();
    });
}

// STA-03, STA-06, STA-07
#[test]
fn a_full_pool_stops_neither_del_nor_the_attempt_to_add() {
    lab_with(NEW, |host| {
        for (program, conf) in conf::interfaces(host) {
            let (one, two) = (host.pod(), host.pod());
            let conf = conf::with(&conf, "/ipam/ranges", json!([[{"subnet": "10.1.1.0/30"}]]));
            let conf = conf::with(&conf, "/ipam/routes", json!([]));
            let first = host.attach(program, conf.clone(), &one);
            first.add().result();
            host.call(program, "STATUS", &conf).run().fails(50);
            let second = host.attach(program, conf.clone(), &two).container("container-2");
            second.add().fails_somehow().names(&["no IP addresses available"]);
            first.del().silent();
            host.call(program, "STATUS", &conf).run().silent();
            second.add().result();
            second.del().silent();
            host.try_sh("ip link del br0");
        }
    });
}

// STA-02
#[test]
fn status_refuses_a_configuration_that_add_would_refuse() {
    lab_with(NEW, |host| {
        let both = conf::with(
            &conf::with(&conf::bridge(host), "/hairpinMode", json!(true)),
            "/promiscMode",
            json!(true),
        );
        host.call("bridge", "STATUS", &both).run().fails_somehow();
        let bad = conf::with(&conf::leases(host), "/ipam/ranges/0/0/subnet", json!("10.9.0.7/24"));
        host.call("host-local", "STATUS", &bad).run().fails(7);
    });
}

/// Two containers of one network, and what GC does to them.
fn two(test: impl Fn(&Host, &str, &Value, &Attach<'_>, &Attach<'_>)) {
    lab_with(NEW, |host| {
        for (program, conf) in conf::interfaces(host).into_iter().chain([("host-local", conf::leases(host))])
        {
            let (one, two) = (host.pod(), host.pod());
            let first = host.attach(program, conf.clone(), &one);
            let second = host.attach(program, conf.clone(), &two).container("container-2");
            test(host, program, &conf, &first, &second);
            first.del().silent();
            second.del().silent();
            host.try_sh("ip link del br0; rm -rf /run/leases");
        }
    });
}

// GC-01, GC-02, GC-10, GC-15, GC-22, IPM-15
#[test]
fn gc_removes_the_stale_and_keeps_the_valid() {
    two(|host, program, conf, first, second| {
        let result = first.add().result();
        let before = host.snapshot();
        second.add().result();
        for _ in 0..2 {
            gc(host, program, conf, valid(&[("container-1", "eth0")])).run().silent();
        }
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        first.check(&result).silent();
    });
}

// GC-03
#[test]
fn gc_tells_interfaces_of_one_container_apart() {
    lab_with(NEW, |host| {
        let pod = host.pod();
        let conf = conf::with(&conf::bridge(host), "/ipam/routes", json!([]));
        let first = host.attach("bridge", conf.clone(), &pod);
        let result = first.add().result();
        let before = host.snapshot();
        first.ifname("eth1").add().result();
        gc(host, "bridge", &conf, valid(&[("container-1", "eth0")])).run().silent();
        assert_eq!(pod.links(), ["eth0"]);
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        first.check(&result).silent();
    });
}

// GC-04
#[test]
fn gc_leaves_other_networks_alone() {
    two(|host, program, conf, first, second| {
        let other = conf::with(conf, "/name", json!("net-other"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.99.0.0/24"}]]));
        let other = if program == "bridge" { conf::with(&other, "/bridge", json!("br1")) } else { other };
        let result = first.conf(other.clone()).add().result();
        let before = host.snapshot();
        second.add().result();
        gc(host, program, conf, json!([])).run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        first.conf(other.clone()).check(&result).silent();
        first.conf(other).del().silent();
    });
}

// GC-05
#[test]
fn gc_with_an_empty_list_removes_everything_of_the_network() {
    two(|host, program, conf, first, second| {
        let before = host.snapshot();
        first.add().result();
        second.add().result();
        gc(host, program, conf, json!([])).run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

// GC-05: a list that is there and null is an empty list
#[test]
fn gc_takes_null_for_an_empty_list() {
    two(|host, program, conf, first, _| {
        let before = host.snapshot();
        first.add().result();
        gc(host, program, conf, Value::Null).run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

// GC-06
#[test]
fn gc_without_a_list_removes_nothing() {
    two(|host, program, conf, first, _| {
        let result = first.add().result();
        let before = host.snapshot();
        host.call(program, "GC", conf).run().silent();
        before.same_as(&host.snapshot(), &[]);
        first.check(&result).silent();
    });
}

// GC-07
#[test]
fn gc_knows_the_lists_older_name() {
    two(|host, program, conf, first, second| {
        first.add().result();
        let before = host.snapshot();
        second.add().result();
        let old = |valid: Value| conf::with(conf, "/cni.dev~1attachments", valid);
        host.call(program, "GC", &old(valid(&[("container-1", "eth0")]))).run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        // Both names with one meaning, as libcni sends them; and with two meanings.
        gc(host, program, &old(valid(&[("container-1", "eth0")])), valid(&[("container-1", "eth0")]))
            .run()
            .silent();
        gc(host, program, &old(json!([])), valid(&[("container-1", "eth0")])).run().fails(7);
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

// GC-08
#[test]
fn gc_with_a_malformed_list_removes_nothing() {
    two(|host, program, conf, first, _| {
        first.add().result();
        let before = host.snapshot();
        for list in [
            json!("x"),
            json!({}),
            json!(5),
            json!([5]),
            json!([{"containerID": "container-1"}]),
            json!([{"ifname": "eth0"}]),
            json!([{"containerID": 5, "ifname": "eth0"}]),
            json!([{"containerID": "a/b", "ifname": "eth0"}]),
            json!([null]),
        ] {
            gc(host, program, conf, list).run().fails_with_one_of(&[6, 7]);
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// GC-05, GC-06, GC-07, GC-08
#[test]
fn absent_null_and_unreadable_are_three_kinds_of_missing_list_under_both_of_its_names() {
    two(|host, program, conf, first, second| {
        let fresh = host.snapshot();
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments", "CNI.dev/Attachments"] {
            let list = |value: Value| {
                let mut conf = conf.clone();
                conf[key] = value;
                host.call(program, "GC", &conf).run()
            };
            let results = [first.add().result(), second.add().result()];
            let before = host.snapshot();
            for unreadable in [json!("x"), json!(false), json!([7]), json!([{"containerID": "container-1"}])]
            {
                list(unreadable).fails_with_one_of(&[6, 7]).names(&["attachments"]);
            }
            host.call(program, "GC", conf).run().silent();
            list(valid(&[("container-1", "eth0"), ("container-2", "eth0")])).silent();
            before.same_as(&host.snapshot(), &[]);
            first.check(&results[0]).silent();
            second.check(&results[1]).silent();
            list(Value::Null).silent();
            fresh.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

// GC-07
#[test]
fn one_of_the_lists_names_may_be_null_only_if_the_other_list_is_empty() {
    two(|host, program, conf, first, _| {
        first.add().result();
        let both = |new: Value, old: Value| {
            let conf = conf::with(conf, "/cni.dev~1attachments", old);
            gc(host, program, &conf, new).run()
        };
        let before = host.snapshot();
        let one = || valid(&[("container-1", "eth0")]);
        both(Value::Null, one()).fails(7).names(&["cni.dev/valid-attachments", "cni.dev/attachments"]);
        both(one(), Value::Null).fails(7);
        both(one(), json!("x")).fails_with_one_of(&[6, 7]);
        both(json!("x"), one()).fails_with_one_of(&[6, 7]);
        before.same_as(&host.snapshot(), &[]);
        both(json!([]), Value::Null).silent();
        assert!(leases(host).is_empty());
    });
}

// GC-09
#[test]
fn gc_goes_on_behind_what_it_cannot_remove() {
    lab_with(NEW, |host| {
        let pod = host.pod();
        let conf = conf::pool(host, "10.1.1.0/24");
        let lease = host.attach("host-local", conf.clone(), &pod);
        for n in 1..=3 {
            lease.container(&format!("c{n}")).add().result();
        }
        // A mount point cannot be unlinked, whoever asks.
        host.sh("mount --bind /run/leases/net-a/10.1.1.2 /run/leases/net-a/10.1.1.2");
        gc(host, "host-local", &conf, json!([])).run().fails_somehow().names(&["10.1.1.2"]);
        assert_eq!(leases(host), ["10.1.1.2"]);
        host.sh("umount /run/leases/net-a/10.1.1.2");
        gc(host, "host-local", &conf, json!([])).run().silent();
        assert!(leases(host).is_empty());
    });
}

// GC-11
#[test]
fn gc_of_a_container_whose_namespace_lives_takes_only_its_own_link() {
    lab_with(NEW, |host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            pod.sh("ip link add precious type veth peer name other");
            let inside = pod.snapshot();
            let before = host.snapshot();
            host.attach(program, conf.clone(), &pod).add().result();
            gc(host, program, &conf, json!([])).run().silent();
            inside.same_as(&pod.snapshot(), &[]);
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

// GC-11, DEL-05
#[test]
fn gc_removes_what_a_vanished_namespace_left() {
    lab_with(NEW, |host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = host.snapshot();
            host.attach(program, conf.clone(), &pod).add().result();
            pod.delete();
            gc(host, program, &conf, json!([])).run().silent();
            let found = before.differences(&host.snapshot(), conf::LEFT_BEHIND);
            assert!(found.iter().all(|line| line.starts_with("- netns/")), "{found:#?}");
        }
    });
}

// GC-21
#[test]
fn gc_can_be_repeated_after_a_crash() {
    lab_with(NEW, |host| {
        for (program, conf) in conf::interfaces(host) {
            let stub = host.stub(&format!("rec-{program}"));
            let pod = host.pod();
            let conf = conf::with(&conf, "/ipam", json!({"type": stub.name()}));
            let before = host.snapshot();
            let web = host.attach(program, conf.clone(), &pod).path(stub.folder());
            web.add().result();
            stub.hangs("GC");
            let mut running = gc(host, program, &conf, json!([])).env("CNI_PATH", stub.folder()).start();
            stub.wait_for(&mut running);
            running.signal("KILL");
            assert!(!running.finish().succeeded());
            stub.release();
            while !host.snapshot().below("process/").is_empty() {}
            stub.works("GC");
            gc(host, program, &conf, json!([])).env("CNI_PATH", stub.folder()).run().silent();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}
