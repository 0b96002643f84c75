//! Keys of the wrong type, at a time at which something has to go: DEL and GC pass over them, and touch nothing more for it.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("del-any-configuration")];

/// What ADD refuses as something that it cannot decode, and DEL does not need.
fn wrong(program: &str) -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("/mtu", json!([1])),
        ("/ipMasq", json!("yes")),
        ("/dns/nameservers", json!(5)),
        ("/ipam/ranges", json!([{"subnet": "10.9.0.0/24"}])),
        ("/ipam/cooldownSeconds", json!("5")),
        ("/ipam/sticky", json!("yes")),
        ("/ipam/routes", json!([{"dst": "default"}, 5])),
        ("/runtimeConfig", json!({"ips": 5, "ipRanges": "x"})),
    ];
    if program == "bridge" {
        all.extend([("/bridge", json!(7)), ("/isGateway", json!("true")), ("/vlanTrunk", json!("x"))]);
    }
    all
}

fn gc(host: &Host, program: &str, conf: &Value) -> Call {
    host.call(program, "GC", &conf::with(conf, "/cni.dev~1valid-attachments", json!([])))
}

/// The files of the leases, which are called like their addresses.
fn leases(host: &Host) -> usize {
    let (found, mut leases) = (host.snapshot(), 0);
    for folder in ["file/run/leases", "file/var/lib/cni/networks"] {
        let files = found.below(folder).into_iter().filter_map(|file| file.rsplit('/').next());
        leases += files.filter(|name| name.parse::<IpAddr>().is_ok()).count();
    }
    leases
}

fn is_leased(host: &Host) -> bool {
    leases(host) > 0
}

// DEL-10, GC-22
#[test]
fn del_and_gc_pass_over_a_key_that_cannot_be_read_and_say_which() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host) {
            let good = host.attach(program, conf.clone(), &pod);
            for (pointer, value) in wrong(program) {
                let bad = good.conf(conf::with(&conf, pointer, value));
                bad.add().fails_with_one_of(&[6, 7]);
                let named = pointer.trim_start_matches('/').split('/').next_back().unwrap();
                for removal in [bad.call("DEL"), gc(host, program, bad.configuration())] {
                    good.add().result();
                    let removal = removal.run();
                    let told = removal.stderr();
                    assert!(told.contains("passes over") && told.contains(named), "{pointer}: {told}");
                    removal.silent();
                    assert!(pod.links().is_empty(), "{pointer}");
                    assert!(host.snapshot().below("file/run/jackfield/attachments").is_empty(), "{pointer}");
                }
                assert!(!is_leased(host), "{program} {pointer}");
            }
        }
    });
}

// DEL-10
#[test]
fn what_a_key_leads_to_is_looked_for_where_nobody_can_read_it_and_the_record_is_lost() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host) {
            let conf = conf::with(&conf::with(&conf, "/ipMasq", json!(true)), "/macspoofchk", json!(true));
            let good = host.attach(program, conf.clone(), &pod);
            for (pointer, value) in [
                ("/ipMasq", json!("yes")),
                ("/ipMasqBackend", json!("pf")),
                ("/ipMasqBackend", json!(5)),
                ("/macspoofchk", json!("yes")),
            ] {
                let bad = good.conf(conf::with(&conf, pointer, value));
                for remembers in [true, false] {
                    let result = good.add().result();
                    host.sh("rm /run/jackfield/attachments/*");
                    let del = if remembers { bad.del_with(&result) } else { bad.del() };
                    del.silent();
                    assert_eq!(host.sh("nft list ruleset"), "", "{program} {pointer} {remembers}");
                }
            }
        }
    });
}

// DEL-10, GC-22
#[test]
fn whoever_cannot_be_asked_for_the_lease_is_named_when_all_else_is_gone() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host) {
            let good = host.attach(program, conf.clone(), &pod);
            for (pointer, value, named) in [
                ("/ipam", json!("host-local"), "ipam"),
                ("/ipam/type", json!(5), "ipam.type"),
                ("/ipam/dataDir", json!(5), "ipam.dataDir"),
            ] {
                let bad = good.conf(conf::with(&conf, pointer, value));
                for removal in [bad.call("DEL"), gc(host, program, bad.configuration())] {
                    good.add().result();
                    removal.run().fails(6).names(&[named]);
                    assert!(pod.links().is_empty() && is_leased(host), "{program} {pointer}");
                    good.del().silent();
                    assert!(!is_leased(host), "the mended file frees it");
                }
            }
        }
    });
}

// DEL-10, GC-22
#[test]
fn nobody_cleans_up_in_another_place_than_the_one_that_he_cannot_read() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let (program, conf) = ("host-local", conf::with(&conf::leases(host), "/ipam/dataDir", json!("")));
        let mine = host.attach(program, conf.clone(), &pod);
        let other = mine.container("other");
        mine.add().result();
        other.add().result();
        let before = leases(host);
        for (pointer, value) in [("/ipam/dataDir", json!(5)), ("/ipam", json!([]))] {
            let bad = mine.conf(conf::with(&conf, pointer, value));
            gc(host, program, bad.configuration()).run().fails(6).names(&["ipam"]);
            bad.del().fails(6).names(&["ipam"]);
        }
        for list in [json!("x"), json!([5]), json!([{"containerID": "a"}])] {
            let bad = conf::with(&conf, "/ipam/sticky", json!("yes"));
            let bad = conf::with(&bad, "/cni.dev~1valid-attachments", list);
            host.call(program, "GC", &bad).run().fails_with_one_of(&[6, 7]);
        }
        assert_eq!(leases(host), before, "nothing was removed");
        for container in [mine, other] {
            container.del().silent();
        }
        assert_eq!(leases(host), 0);
    });
}

// ARG-10, DEL-10, GC-22
#[test]
fn what_is_no_pair_among_the_arguments_keeps_no_container() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            let web = host.attach(program, conf.clone(), &pod);
            for (args, named) in [
                (&b"IP"[..], r#""IP""#),
                (b"IgnoreUnknown=1;K8S_POD_NAME", r#""K8S_POD_NAME""#),
                (b"=x;MAC=\xff\xfe", r#""=x""#),
            ] {
                let told = |call: Call| call.env("CNI_ARGS", OsStr::from_bytes(args)).run();
                for removal in [web.call("DEL"), gc(host, program, &conf)] {
                    told(web.call("ADD")).fails(4).names(&["CNI_ARGS", named]);
                    let result = web.add().result();
                    told(web.call_with("CHECK", &result)).fails(4).names(&["CNI_ARGS", named]);
                    let removal = told(removal);
                    let stderr = removal.stderr();
                    let is_named =
                        stderr.contains("passes over a part of CNI_ARGS") && stderr.contains(named);
                    assert!(is_named, "{program}: {stderr}");
                    removal.silent();
                    before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                    before.1.same_as(&pod.snapshot(), &[Shared::Link("lo")]);
                    assert!(!is_leased(host), "{program}");
                }
            }
        }
    });
}

// DEL-10
#[test]
fn a_call_that_cannot_be_understood_is_no_del() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        web.add().result();
        for (pointer, value) in [("/name", json!(5)), ("/name", json!("a/b")), ("/cniVersion", json!(5))] {
            let bad = conf::with(&conf::bridge(host), pointer, value);
            web.conf(bad.clone()).del().fails_with_one_of(&[6, 7]);
            gc(host, "bridge", &bad).run().fails_with_one_of(&[6, 7]);
        }
        web.call("DEL").stdin("[]").run().fails(6);
        assert_eq!(pod.links(), ["eth0"]);
        web.del().silent();
    });
}

/// A network with ports, a rate and settings.
fn list() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true,
         "ipam": {"type": "host-local", "dataDir": "/run/leases", "ranges": [[{"subnet": "10.9.0.0/24"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        {"type": "tuning", "capabilities": {"mac": true}}
    ]})
}

fn tool(host: &Host, verb: &str, pod: &Pod) -> Call {
    let words = [verb, "net", pod.path()];
    Call::of(host.program("cnitool"), if verb == "gc" { &words[..2] } else { &words })
        .env("CNI_PATH", host.bin().display().to_string())
        .env("NETCONFPATH", "/run/conf")
}

// DEL-10
#[test]
fn an_add_with_nonsense_for_an_argument_is_undone_and_the_next_one_works() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        host.sh(&format!("mkdir -p /run/conf; echo '{}' > /run/conf/10-net.conflist", list()));
        for arguments in [
            r#"{"mac": "01:00:5e:00:00:01"}"#,
            r#"{"mac": 5}"#,
            r#"{"portMappings": [{"hostPort": "80", "containerPort": 80}]}"#,
            r#"{"bandwidth": {"ingressRate": -1}}"#,
            r#"{"bandwidth": {"ingressRate": 1}}"#,
        ] {
            assert!(!tool(host, "add", &pod).env("CAP_ARGS", arguments).run().succeeded(), "{arguments}");
            assert!(pod.links().is_empty() && !is_leased(host), "{arguments}: clean-up");
            for verb in ["del", "gc"] {
                tool(host, verb, &pod).run().silent();
            }
            tool(host, "add", &pod).run().result();
            tool(host, "del", &pod).run().silent();
        }
    });
}
