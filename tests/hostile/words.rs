//! Strings of a configuration, of an earlier plugin's result and of the environment, whatever they hold: an answer is one
//! document without a raw control character, the log has one line for each call, and whatever is refused leaves no trace.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use super::{OURS, behind, bounded, lay_out_what_is_precious, what_is_precious_is_untouched};
use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::Shared;

const LOG: &str = "/run/log";

/// Where whoever makes the calls is: a relative path leads from here.
const DEEP: &str = "/run/a/b/c/d";

/// Paths that lead out, escapes of a terminal, ends of lines, formats, options, NULs, and more than a netlink attribute holds.
fn strings() -> [String; 8] {
    [
        "../../../../../run/precious".into(),
        "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}2J\u{202e}".into(),
        "x\nCOMMIT\n*filter\n-F INPUT\r\n".into(),
        "%s%n%x{}{0}$(id)`id`".into(),
        "-j".into(),
        "a\0b".into(),
        "\"'\\;|&".into(),
        "x".repeat(1 << 16),
    ]
}

/// One document, or nothing; and whoever reads it on a terminal is not surprised.
#[track_caller]
fn is_an_answer(outcome: &Outcome) {
    let said = outcome.stdout() + &outcome.stderr();
    assert!(outcome.status().code().is_some_and(|code| code < 2), "{outcome}");
    // JSON escapes what is below a space. An error repeats strangers, and is for people; a result is for programs.
    let moves = |letter: &char| match outcome.succeeded() {
        true => *letter < ' ',
        false => letter.is_control() || *letter == '\u{202e}',
    };
    let raw = said.chars().find(|letter| moves(letter) && !matches!(letter, '\n' | '\t'));
    assert!(raw.is_none(), "{raw:?} is in an answer\n{outcome}");
    if !outcome.succeeded() {
        let fault = outcome.fails_somehow();
        assert!(!fault.msg.contains("a fault in this plugin"), "{outcome}");
        assert!(said.len() < 1 << 20, "an answer of {} bytes", said.len());
    }
}

/// Each call of a program has one line, and each line is JSON; its delegates have lines of their own.
fn log_has_lines(program: &str, calls: usize) {
    let text = fs::read_to_string(LOG).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["plugin"] == program).count(), calls, "{program}");
    fs::remove_file(LOG).unwrap();
}

/// The keys that a program reads, as `cnitool validate --keys` tells them: `runtimeConfig.portMappings[].hostIP`.
fn keys(host: &Host, program: &str) -> Vec<String> {
    let told = Call::of(host.program("cnitool"), &["validate", "--keys", program]).run().stdout();
    told.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| key.to_owned()).collect()
}

/// Puts a value at such a key; what is in the way makes room.
fn put(place: &mut Value, key: &str, value: Value) {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let name = first.trim_end_matches("[]");
    let lists = (first.len() - name.len()) / 2;
    let mut place = if name.is_empty() { place } else { &mut place[name] };
    for _ in 0..lists {
        if !place.is_array() {
            *place = json!([{}]);
        }
        place = &mut place[0];
    }
    match rest {
        "" => *place = value,
        rest => {
            if !place.is_object() {
                *place = json!({});
            }
            put(place, rest, value);
        }
    }
}

/// What may stand at a key: the text itself, a list of it, or an object that has it as key and as value.
fn shapes(text: &str) -> [Value; 3] {
    [json!(text), json!([text]), json!({text: "1", "net.ipv4.ip_forward": text})]
}

/// ADD with each of the strings at each of the keys, and DEL of what was accepted. How many calls were made.
fn every_key_with_every_string(web: &Attach<'_>, keys: &[String], prev: Option<&Value>) -> usize {
    fs::create_dir_all(DEEP).unwrap();
    let mut calls = 0;
    let mut call = |verb: &str, conf: &Value| {
        calls += 1;
        let outcome = bounded(web.conf(conf.clone()).call(verb).env("JACKFIELD_LOG", LOG)).folder(DEEP).run();
        is_an_answer(&outcome);
        outcome
    };
    for key in keys {
        for shape in 0..3 {
            for text in strings() {
                let mut conf = web.configuration().clone();
                put(&mut conf, key, shapes(&text)[shape].clone());
                if let Some(prev) = prev {
                    conf["prevResult"] = prev.clone();
                }
                let add = call("ADD", &conf);
                if add.succeeded() {
                    call("DEL", &conf);
                } else if add.fails_somehow().code == 6 {
                    // Of another type, whatever it says.
                    break;
                }
            }
        }
    }
    calls
}

#[test]
fn every_key_of_a_configuration_may_hold_any_string() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let keys = keys(host, program);
            let before = (host.snapshot(), pod.snapshot());
            let web = host.attach(program, conf, &pod);
            let calls = every_key_with_every_string(&web, &keys, None);
            if calls > 0 {
                log_has_lines(program, calls);
            }
            // A bridge of another name is a bridge.
            for link in host.links().into_iter().filter(|link| link != "br0") {
                let gone = host.command("ip").args(["link", "del", "dev", &link]).status().unwrap();
                assert!(gone.success(), "{link:?}");
            }
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pod.snapshot(), &[]);
            what_is_precious_is_untouched(program);
        }
    });
}

fn chained() -> [Value; 4] {
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    [
        json!({"cniVersion": "1.1.0", "name": "net-a", "type": "portmap", "runtimeConfig": ports}),
        json!({"cniVersion": "1.1.0", "name": "net-a", "type": "firewall"}),
        json!({"cniVersion": "1.1.0", "name": "net-a", "type": "bandwidth", "ingressRate": 8000, "ingressBurst": 80000}),
        json!({"cniVersion": "1.1.0", "name": "net-a", "type": "tuning", "mtu": 1400}),
    ]
}

#[test]
fn every_key_of_a_plugin_behind_others_may_hold_any_string() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        for (number, conf) in chained().into_iter().enumerate() {
            let pod = host.pod();
            let (web, prev) = behind(host, &pod, &format!("c{number}"), conf);
            let before = (host.snapshot(), pod.snapshot());
            let program = web.program().to_owned();
            let calls = every_key_with_every_string(&web, &keys(host, &program), Some(&prev));
            log_has_lines(&program, calls);
            // A chain of the administrator's may have any name that iptables takes, and stays.
            let left = before.0.differences(&host.snapshot(), conf::LEFT_BEHIND);
            assert!(left.iter().all(|line| of_iptables(line)), "{program}: {left:#?}");
            before.1.same_as(&pod.snapshot(), &[]);
            what_is_precious_is_untouched(&program);
        }
    });
}

/// The frame of the Go plugin's rules, which outlives its containers.
fn of_iptables(line: &str) -> bool {
    line.contains("nft/") && line.contains("\"filter\"")
}

/// Where a result of an earlier plugin has strings.
const OF_A_RESULT: [&str; 11] = [
    "cniVersion",
    "interfaces[].name",
    "interfaces[].mac",
    "interfaces[].sandbox",
    "interfaces[].socketPath",
    "ips[].address",
    "ips[].gateway",
    "routes[].dst",
    "routes[].gw",
    "dns.domain",
    "dns.search",
];

#[test]
fn every_string_of_an_earlier_plugins_result_may_be_anything() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let pods: Vec<Pod> = (0..4).map(|_| host.pod()).collect();
        let mut behind: Vec<_> = chained()
            .into_iter()
            .zip(&pods)
            .enumerate()
            .map(|(number, (conf, pod))| behind(host, pod, &format!("c{number}"), conf))
            .collect();
        // A policy is about a link that the result names, and iptables reads lines.
        behind[1].0 = behind[1].0.conf(json!({"cniVersion": "1.1.0", "name": "net-a", "type": "firewall",
            "backend": "iptables", "ingressPolicy": "same-bridge"}));
        host.sh("iptables -w -A INPUT -s 192.0.2.1 -j ACCEPT");
        let bridge = host.attach("bridge", conf::bridge(host), &pods[0]).container("another");
        behind.push((bridge.ifname("eth7"), behind[0].1.clone()));
        let links: BTreeSet<String> = host.links().into_iter().collect();
        for (web, prev) in &behind {
            let before = host.snapshot();
            for key in OF_A_RESULT {
                for (number, text) in strings().into_iter().enumerate() {
                    let mut prev = prev.clone();
                    put(&mut prev, key, if key == "dns.search" { json!([text]) } else { json!(text) });
                    for verb in ["ADD", ["CHECK", "DEL"][number % 2]] {
                        if verb == "ADD" && web.program() == "bridge" {
                            continue;
                        }
                        is_an_answer(&bounded(web.call_with(verb, &prev)).run());
                    }
                }
            }
            web.del().silent();
            let rules = host.sh("iptables -S INPUT");
            assert!(
                rules.contains("192.0.2.1"),
                "{}: an order of somebody's was carried out\n{rules}",
                web.program()
            );
            let left = before.differences(&host.snapshot(), conf::LEFT_BEHIND);
            assert!(left.iter().all(|line| of_iptables(line)), "{}: {left:#?}", web.program());
        }
        assert_eq!(host.links().into_iter().collect::<BTreeSet<_>>(), links, "a link of somebody's is gone");
        what_is_precious_is_untouched("results");
    });
}

/// A DEL takes the links of its own attachment, whatever the result says that it is handed.
#[test]
fn a_result_that_names_links_of_others_takes_none_of_them_away() {
    lab_with(OURS, |host| {
        let [one, two] = [host.pod(), host.pod()];
        let neighbour = host.attach("bridge", conf::bridge(host), &one).container("neighbour");
        let result = neighbour.add().result();
        host.sh("ip link add veth0123abcd type veth peer name other; ip link set veth0123abcd up");
        let names: Vec<String> = host.links();
        let lie = |sandbox: Option<&str>| {
            let links = names.iter().map(|name| {
                let mut link = json!({"name": name, "mac": "02:00:00:00:00:01"});
                if let Some(sandbox) = sandbox {
                    link["sandbox"] = json!(sandbox);
                }
                link
            });
            json!({"cniVersion": "1.1.0", "interfaces": links.collect::<Vec<_>>(), "ips": result["ips"]})
        };
        let before = (host.snapshot(), one.snapshot());
        for (program, conf) in conf::interfaces_in_full(host) {
            for sandbox in [None, Some(""), Some(one.path()), Some("/proc/self/ns/net")] {
                for id in ["neighbour-2", "neighbou"] {
                    let web = host.attach(program, conf.clone(), &two).container(id);
                    web.del_with(&lie(sandbox)).silent();
                }
            }
        }
        before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        before.1.same_as(&one.snapshot(), &[]);
        neighbour.check(&result).silent();
    });
}

#[test]
fn every_variable_may_hold_any_bytes() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let bytes: Vec<Vec<u8>> = strings()
            .into_iter()
            .map(|text| text.replace('\0', "").into_bytes())
            .chain([b"\xff\xfe\x80".to_vec(), b"a\xc3".to_vec()])
            .collect();
        for (program, conf) in conf::every(host) {
            let web = host.attach(program, conf, &pod);
            let mut calls = 0;
            for variable in [
                "CNI_CONTAINERID",
                "CNI_IFNAME",
                "CNI_NETNS",
                "CNI_ARGS",
                "CNI_PATH",
                "TRACEPARENT",
                "CNI_COMMAND",
            ] {
                for value in &bytes {
                    let add = bounded(
                        web.call("ADD").env("JACKFIELD_LOG", LOG).env(variable, OsStr::from_bytes(value)),
                    )
                    .run();
                    is_an_answer(&add);
                    calls += usize::from(variable != "CNI_COMMAND");
                    if add.succeeded() {
                        let del = web.call("DEL").env(variable, OsStr::from_bytes(value));
                        is_an_answer(&del.run());
                        web.del().silent();
                    }
                }
            }
            log_has_lines(program, calls);
        }
        before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        before.1.same_as(&pod.snapshot(), &[Shared::Link("lo")]);
        what_is_precious_is_untouched("variables");
    });
}

/// What is kept of a link's settings is a file of the Go plugin, too: it says what is to be written below /proc/sys.
#[test]
fn what_is_put_back_stays_below_the_settings_of_the_namespace() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let pod = host.pod();
        pod.sh("ip link add eth0 type veth peer name other");
        let tuning = json!({"cniVersion": "1.1.0", "name": "net-t", "type": "tuning", "mtu": 1400});
        let web = host.attach("tuning", tuning, &pod);
        let prev = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []});
        let hostname = host.sysctl("kernel/domainname");
        for file in [
            "kernel/domainname",
            "../../run/precious",
            "net/../kernel/domainname",
            "/run/precious",
            "net\0/x",
        ] {
            web.call_with("ADD", &prev).run().result();
            let kept = "/run/cni/tuning/container-1_eth0.json";
            let mut text: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
            text["sysctls"] = json!([[file, "evil"]]);
            fs::write(kept, text.to_string()).unwrap();
            web.del().fails(7).names(&["sysctl"]);
            assert_eq!(host.sysctl("kernel/domainname"), hostname, "{file:?}");
            fs::remove_file(kept).unwrap();
        }
        what_is_precious_is_untouched("tuning");
    });
}
