//! What a caller has left open, or has closed: no descriptor of ours gets to another program, and no file of ours becomes
//! somebody's standard output.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{OURS, bounded, lay_out_what_is_precious, what_is_precious_is_untouched};
use crate::lab::call::{Call, PATH};
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::lab_with;

/// Where programs are that tell what they have got, and then become the real ones.
const SPIES: &str = "/run/spies";

const TOLD: &str = "/run/told";

fn lay_out_spies(host: &Host) {
    fs::create_dir_all(SPIES).unwrap();
    let nft = Iptables::Nft.path();
    let nft = nft.split(':').next().unwrap();
    let iptables = ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"];
    let plugins = ["bridge", "host-local", "portmap", "firewall", "tuning", "bandwidth"];
    let plugins = plugins.map(|name| (name, host.program(name).display().to_string()));
    let others = iptables.map(|name| (name, format!("{nft}/{name}")));
    for (name, real) in plugins.into_iter().chain(others).chain([("program", "true".into())]) {
        let file = format!("{SPIES}/{name}");
        // What the shell itself holds open it does not hand on.
        let script = format!(
            "#!/bin/sh\necho '= {name}' >>{TOLD}\nls -l /proc/self/fd >>{TOLD}\nexec {real} \"$@\"\n"
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Who was started since the last time, and with which descriptors.
fn told() -> Vec<(String, BTreeSet<u32>)> {
    let text = fs::read_to_string(TOLD).unwrap_or_default();
    let _ = fs::remove_file(TOLD);
    let parts = text.split("= ").skip(1).map(|part| {
        let (name, listing) = part.split_once('\n').unwrap();
        // But for the folder that is being listed.
        let open = listing
            .lines()
            .filter_map(|line| line.split_once(" -> "))
            .filter(|(_, to)| !to.starts_with("/proc/"));
        let numbers = open.map(|(before, _)| before.rsplit(' ').next().unwrap().parse().unwrap());
        (name.to_owned(), numbers.collect())
    });
    parts.collect()
}

fn tool(host: &Host, name: &str, words: &[&str]) -> Call {
    Call::of(host.program(name), words)
        .env("NETCONFPATH", "/run/conf")
        .env("CNI_PATH", format!("{SPIES}:{}", host.bin().display()))
        .env("PATH", format!("{SPIES}:{PATH}"))
}

/// A network that has others do something, in all verbs.
fn network(host: &Host) -> Value {
    let bridge = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
    let bridge = conf::with(&bridge, "/ipMasqBackend", json!("iptables"));
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    json!({"cniVersion": host.newest(), "name": "net-a", "plugins": [
        bridge,
        {"type": "firewall", "backend": "iptables"},
        {"type": "portmap", "backend": "iptables", "runtimeConfig": ports}
    ]})
}

#[test]
fn other_programs_get_no_descriptor_but_what_the_caller_has_left_to_everybody() {
    lab_with(OURS, |host| {
        lay_out_spies(host);
        fs::create_dir_all("/run/conf").unwrap();
        fs::write("/run/conf/10-a.conflist", network(host).to_string()).unwrap();
        let pod = host.pod();
        for left in ["", "9</dev/null"] {
            let how = format!("exec \"$@\" {left}");
            let wrapper = ["sh", "-c", &how, "sh"];
            // Whoever runs these tests may have left something open, too.
            tool(host, "netns", &[]).under(&[&wrapper[..], &["/run/spies/program"]].concat()).run();
            let (_, expected) = told().remove(0);
            assert!(expected.is_superset(&[0, 1, 2].into()) && expected.contains(&9) != left.is_empty());
            let mut met = BTreeSet::new();
            for (name, words) in [
                ("cnitool", &["add", "net-a", pod.path()][..]),
                ("cnitool", &["check", "net-a", pod.path()]),
                ("cnitool", &["status", "net-a"]),
                ("cnitool", &["restore"]),
                ("cnitool", &["del", "net-a", pod.path()]),
                ("cnitool", &["trace", "add", "net-a", pod.path()]),
                ("cnitool", &["gc", "net-a"]),
                ("netns", &["exec", pod.name(), "program"]),
                ("netns", &["exec", "--each", pod.name(), "--", "program"]),
                ("netns", &["run", "--network", "net-a", "--", "program"]),
            ] {
                let done = tool(host, name, words).under(&wrapper).run();
                assert!(done.succeeded(), "{done}");
                for (program, open) in told() {
                    assert_eq!(open, expected, "{program} of {name} {words:?}");
                    met.insert(program);
                }
            }
            let meant = ["bridge", "firewall", "host-local", "iptables-restore", "portmap", "program"];
            assert!(meant.iter().all(|name| met.contains(*name)), "{met:?}");
        }
    });
}

/// Standard input, output and error, and what closes them.
const CLOSED: [(&str, &str); 5] = [
    ("stdin", "exec \"$@\" <&-"),
    ("stdout", "exec \"$@\" >&-"),
    ("stderr", "exec \"$@\" 2>&-"),
    ("stdout and stderr", "exec \"$@\" >&- 2>&-"),
    ("all three", "exec \"$@\" <&- >&- 2>&-"),
];

fn verbs(host: &Host, pod: &Pod, how: &str, log: &str) {
    let list = conf::with(&super::whole_list(host), "/plugins/0", conf::bridge(host));
    let mut prev = Value::Null;
    let call = |plugin: &Value, verb: &str, prev: &Value| {
        let mut conf =
            conf::with(&conf::with(plugin, "/name", list["name"].clone()), "/cniVersion", json!("1.1.0"));
        if !prev.is_null() {
            conf["prevResult"] = prev.clone();
        }
        let attach = host.attach(plugin["type"].as_str().unwrap(), conf, pod);
        bounded(attach.call(verb)).env("JACKFIELD_LOG", log)
    };
    let closing = |call: Call| {
        let words = ["timeout", "-s", "KILL", "60", "sh", "-c", how, "sh"];
        call.under(&words).run()
    };
    for plugin in list["plugins"].as_array().unwrap() {
        for verb in ["ADD", "STATUS", "DEL"] {
            let done = closing(call(plugin, verb, &prev));
            assert!(done.status().code().is_some_and(|code| code < 2), "{how}: {done}");
            what_is_precious_is_untouched(&format!("{how}: {done}"));
            if !how.contains("<&-") {
                // An answer that cannot be given is given to nobody; the deed is done.
                assert!(
                    done.succeeded() && (done.stdout().is_empty() || !how.contains(" >&-")),
                    "{how}: {done}"
                );
            }
        }
        prev = call(plugin, "ADD", &prev).run().result();
        // What was written is what is always written.
        call(plugin, "CHECK", &prev).run().silent();
    }
    for plugin in list["plugins"].as_array().unwrap().iter().rev() {
        call(plugin, "DEL", &prev).run().silent();
    }
}

/// The classic: a file that is opened gets the lowest number that is free, and is then taken for standard output.
#[test]
fn no_file_of_ours_takes_the_place_of_a_closed_standard_output() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let pod = host.pod();
        for (closed, how) in CLOSED {
            let before = host.snapshot();
            verbs(host, &pod, how, "/run/jackfield.log");
            let lines = fs::read_to_string("/run/jackfield.log").unwrap();
            let is_a_line = |line: &str| {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["cniVersion"].is_null())
            };
            assert!(lines.lines().all(is_a_line), "{closed}: {lines}");
            fs::remove_file("/run/jackfield.log").unwrap();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}
