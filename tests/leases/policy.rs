//! What operators ask for beyond ranges: addresses that are never given, a rest before they are given again, one place for
//! one name, any place at all. Without these keys nothing is different.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{address, container, leases, network};
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("policy")];
const NET: &str = "/run/leases/net-a";

/// `net-a` with these keys in its `ipam` section.
fn with(host: &Host, subnet: &str, keys: &Value) -> Value {
    let mut conf = network(host, "/run/leases", subnet);
    for (key, value) in keys.as_object().unwrap() {
        conf = conf::with(&conf, &format!("/ipam/{key}"), value.clone());
    }
    conf
}

/// ADD for a container of the pod with this name, as Kubernetes' runtimes ask.
fn named(host: &Host, pod: &Pod, conf: &Value, id: &str, name: &str) -> Outcome {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID=1");
    container(host, pod, conf, id).call("ADD").env("CNI_ARGS", args).run()
}

fn named_del(host: &Host, pod: &Pod, conf: &Value, id: &str, name: &str) {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}");
    container(host, pod, conf, id).call("DEL").env("CNI_ARGS", args).run().silent();
}

// IPM-02
#[test]
fn what_is_excluded_is_never_given_to_anybody() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        // Some twice, and some outside the range.
        let exclude = json!({"exclude": ["10.1.1.2", "10.1.1.4/30", "10.1.1.5-10.1.1.6", "10.1.1.9-10.1.1.12", "10.1.1.0/31"]});
        let conf = with(host, "10.1.1.0/28", &exclude);
        let given: Vec<String> =
            (0..4).map(|n| address(&container(host, &pod, &conf, &format!("c{n}")).add())).collect();
        assert_eq!(given, ["10.1.1.3", "10.1.1.8", "10.1.1.13", "10.1.1.14"]);
        let late = container(host, &pod, &conf, "late");
        late.add()
            .fails(999)
            .names(&["no IP addresses available in range set: 10.1.1.1-10.1.1.14", "4 addresses"]);
        host.call("host-local", "STATUS", &conf).run().fails(50);
        late.call("ADD").env("CNI_ARGS", "IP=10.1.1.5").run().fails(7).names(&["10.1.1.5", "excluded"]);
        // An older lease there is left alone, and can be taken down.
        let open = network(host, "/run/leases", "10.1.1.0/28");
        let old = container(host, &pod, &open, "old");
        assert_eq!(address(&old.call("ADD").env("CNI_ARGS", "IP=10.1.1.5").run()), "10.1.1.5");
        container(host, &pod, &conf, "old").check(&json!({"cniVersion": "1.1.0", "ips": []})).silent();
        container(host, &pod, &conf, "old").del().silent();
        assert_eq!(leases(NET).len(), 4);
    });
}

// IPM-11: a runtime may send a pod's name whether somebody has asked for sticky addresses or not
#[test]
fn without_these_keys_addresses_go_round() {
    lab_with(&[], |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/29");
        for n in 2..=4 {
            assert_eq!(address(&named(host, &pod, &conf, &format!("c{n}"), "db-0")), format!("10.1.1.{n}"));
        }
        named_del(host, &pod, &conf, "c2", "db-0");
        for n in [5, 6, 2] {
            assert_eq!(address(&named(host, &pod, &conf, &format!("d{n}"), "db-0")), format!("10.1.1.{n}"));
            assert_eq!(
                fs::read_to_string(format!("{NET}/last_reserved_ip.0")).unwrap(),
                format!("10.1.1.{n}")
            );
        }
    });
}

// IPM-08
#[test]
fn wishes_that_make_no_sense_are_refused_before_anything_is_touched() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let before = host.snapshot();
        for (keys, code, words) in [
            (json!({"exclude": ["10.1.1.0/24"]}), 7, "exclude leaves no address"),
            (json!({"exclude": ["10.1.1.5/30"]}), 7, "10.1.1.5/30"),
            (json!({"exclude": ["10.1.1.9-10.1.1.5"]}), 7, "10.1.1.9-10.1.1.5"),
            (json!({"exclude": ["10.1.1.9-fd00::1"]}), 7, "10.1.1.9-fd00::1"),
            (json!({"exclude": ["10.1.1.9-10.1.1"]}), 7, "10.1.1.9-10.1.1"),
            (json!({"exclude": ["10.1.1.0/33"]}), 7, "10.1.1.0/33"),
            (json!({"exclude": ["10.1.1.9", "web"]}), 7, "web"),
            (json!({"exclude": ["10.1.1.9", null]}), 7, "exclude"),
            (json!({"exclude": [""]}), 7, "exclude"),
            // A typing error would else be found when the address has been given.
            (json!({"exclude": ["10.1.1.9", "10.1.11.9"]}), 7, "10.1.11.9"),
            (json!({"exclude": ["fd00::9"]}), 7, "fd00::9"),
            (json!({"exclude": "10.1.1.9"}), 6, "exclude"),
            (json!({"exclude": [9]}), 6, "exclude"),
            (json!({"exclude": {"from": "10.1.1.9"}}), 6, "exclude"),
            (json!({"allocation": "roundrobin"}), 7, "roundrobin"),
            (json!({"allocation": "Random"}), 7, "Random"),
            (json!({"allocation": 1}), 6, "allocation"),
            (json!({"cooldownSeconds": -1}), 6, "cooldownSeconds"),
            (json!({"cooldownSeconds": 4_294_967_296_u64}), 6, "cooldownSeconds"),
            (json!({"cooldownSeconds": 1e300}), 6, "cooldownSeconds"),
            (json!({"cooldownSeconds": 0.5}), 6, "cooldownSeconds"),
            (json!({"cooldownSeconds": "5s"}), 6, "cooldownSeconds"),
            (json!({"cooldownSeconds": true}), 6, "cooldownSeconds"),
            (json!({"sticky": "yes"}), 6, "sticky"),
            (json!({"sticky": 1}), 6, "sticky"),
        ] {
            let conf = with(host, "10.1.1.0/24", &keys);
            container(host, &pod, &conf, "c1").add().fails(code).names(&[words]);
            host.call("host-local", "STATUS", &conf).run().fails(code).names(&[words]);
        }
        before.same_as(&host.snapshot(), &[]);
        // The longest rest there is, and keys that say nothing.
        let longest = with(
            host,
            "10.1.1.0/24",
            &json!({"cooldownSeconds": u32::MAX, "exclude": null, "sticky": null, "allocation": null}),
        );
        let web = container(host, &pod, &longest, "web");
        assert_eq!(address(&web.add()), "10.1.1.2");
        web.del().silent();
        // Whatever somebody writes there later, what was given can be taken down.
        for verb in ["DEL", "GC"] {
            web.add().result();
            let nonsense =
                with(host, "10.1.1.0/24", &json!({"exclude": ["x", "10.9.9.9"], "allocation": "fastest"}));
            let gc = conf::with(&nonsense, "/cni.dev~1valid-attachments", json!([]));
            match verb {
                "DEL" => container(host, &pod, &nonsense, "web").del().silent(),
                _ => host.call("host-local", "GC", &gc).run().silent(),
            }
            assert!(leases(NET).is_empty(), "{verb}");
        }
    });
}

// IPM-11
#[test]
fn a_freed_address_rests_for_as_long_as_it_is_told_to() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = with(host, "10.1.1.0/29", &json!({"cooldownSeconds": 3600}));
        let web = |id: &str| container(host, &pod, &conf, id);
        for n in 2..=4 {
            assert_eq!(address(&web("web").add()), format!("10.1.1.{n}"));
            web("web").del().silent();
        }
        // GC lays to rest, too.
        web("dead").add().result();
        host.call("host-local", "GC", &conf::with(&conf, "/cni.dev~1valid-attachments", json!([])))
            .run()
            .silent();
        assert_eq!(address(&web("last").add()), "10.1.1.6");
        let words = ["no IP addresses available in range set", "4 were freed less than cooldownSeconds ago"];
        web("late").add().fails(999).names(&words);
        host.call("host-local", "STATUS", &conf).run().fails(50).names(&words);
        // Whoever asks for a certain address gets it, and whoever asks for no rest gets any.
        assert_eq!(address(&web("asks").call("ADD").env("CNI_ARGS", "IP=10.1.1.3").run()), "10.1.1.3");
        let plain = network(host, "/run/leases", "10.1.1.0/29");
        assert_eq!(address(&container(host, &pod, &plain, "plain").add()), "10.1.1.4");
    });
}

// IPM-11
#[test]
fn a_rest_ends() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = with(host, "10.1.1.0/30", &json!({"cooldownSeconds": 1}));
        let web = container(host, &pod, &conf, "web");
        web.add().result();
        let freed = Instant::now();
        web.del().silent();
        let mut answer = web.add();
        while !answer.succeeded() && freed.elapsed() < Duration::from_secs(60) {
            answer = web.add();
        }
        assert_eq!(address(&answer), "10.1.1.2");
        assert!(freed.elapsed() >= Duration::from_millis(900), "after {:?}", freed.elapsed());
    });
}

// IPM-11
#[test]
fn a_name_has_its_place_and_comes_back_to_it() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = with(host, "10.1.1.0/24", &json!({"sticky": true, "cooldownSeconds": 3600}));
        let first = address(&named(host, &pod, &conf, "c1", "db-0"));
        let other = address(&named(host, &pod, &conf, "c2", "db-1"));
        assert_ne!(first, other);
        named_del(host, &pod, &conf, "c1", "db-0");
        // In the meantime others come and go.
        for n in 0..20 {
            let id = format!("x{n}");
            assert_ne!(address(&named(host, &pod, &conf, &id, &format!("job-{n}"))), first);
        }
        container(host, &pod, &conf, "nameless").add().result();
        assert_eq!(address(&named(host, &pod, &conf, "c3", "db-0")), first);
        // Who has it keeps it: of two with one name the second gets another address.
        assert_ne!(address(&named(host, &pod, &conf, "c4", "db-0")), first);
        named_del(host, &pod, &conf, "c3", "db-0");
        // Nothing has to be remembered for that: not the boot, not the folder.
        host.sh("rm -r /run/jackfield /run/leases");
        assert_eq!(address(&named(host, &pod, &conf, "c5", "db-0")), first);
        // In another namespace the name is another.
        let args = "K8S_POD_NAMESPACE=elsewhere;K8S_POD_NAME=db-1";
        let elsewhere = container(host, &pod, &conf, "c6").call("ADD").env("CNI_ARGS", args).run();
        assert_ne!(address(&elsewhere), other);
    });
}

// IPM-11
#[test]
fn addresses_are_given_at_random_if_somebody_wants_that() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = with(host, "10.64.0.0/16", &json!({"allocation": "random"}));
        let given: Vec<String> =
            (0..12).map(|n| address(&container(host, &pod, &conf, &format!("c{n}")).add())).collect();
        let distinct: BTreeSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), 12);
        let third: BTreeSet<&str> = given.iter().map(|ip| ip.split('.').nth(2).unwrap()).collect();
        assert!(third.len() > 1, "{given:?}");
        assert!(!fs::exists(format!("{NET}/last_reserved_ip.0")).unwrap());
        // To the last address of a small one.
        let small =
            conf::with(&with(host, "10.1.1.0/29", &json!({"allocation": "random"})), "/name", json!("net-b"));
        let all: BTreeSet<String> =
            (0..5).map(|n| address(&container(host, &pod, &small, &format!("c{n}")).add())).collect();
        assert_eq!(all.len(), 5);
        container(host, &pod, &small, "late").add().fails(999);
    });
}
