//! The networks of conf/, which README tells people to copy: each is a conflist, and each attaches a pod.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::snapshot::Shared;
use crate::lab::world::Need;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

/// The conflists of conf/, by the name of their network.
fn networks() -> Vec<(String, Value)> {
    let files =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file());
    let read = |path: PathBuf| {
        assert!(path.extension().is_some_and(|e| e == "conflist"), "{} is no conflist", path.display());
        let list: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (list["name"].as_str().unwrap().to_owned(), list)
    };
    files.map(read).collect()
}

/// `cnitool VERB NETWORK NAMESPACE`, with conf/ as the configured networks.
fn cnitool(host: &Host, verb: &str, network: &str, pod: &Pod) -> Output {
    let mut cnitool = host.command(host.program("cnitool").to_str().unwrap());
    cnitool.env("CNI_PATH", host.bin()).env("NETCONFPATH", folder());
    cnitool.args([verb, network, pod.path()]).output().unwrap()
}

fn succeeds(host: &Host, verb: &str, network: &str, pod: &Pod) -> String {
    let said = cnitool(host, verb, network, pod);
    assert!(said.status.success(), "cnitool {verb} {network}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn every_network_of_conf_attaches_a_pod_checks_and_leaves_nothing() {
    lab_with(&[Need::Ours("tools")], |host| {
        let networks = networks();
        assert!(networks.len() >= 4, "{networks:?}");
        for (network, _) in networks {
            let pod = host.pod();
            // The kernel gives `lo` its addresses when it comes up for the first time, and never takes them back.
            pod.sh("ip link set lo up; ip link set lo down");
            let (before, inside) = (host.snapshot(), pod.snapshot());

            let result: Value = serde_json::from_str(&succeeds(host, "add", &network, &pod)).unwrap();
            for ip in result["ips"].as_array().expect("addresses of both families") {
                let of = &result["interfaces"][usize::try_from(ip["interface"].as_u64().unwrap()).unwrap()];
                let address = ip["address"].as_str().unwrap().to_owned();
                assert!(
                    pod.addresses(of["name"].as_str().unwrap()).contains(&address),
                    "{network}: {address}"
                );
                assert!(ip["gateway"].as_str().is_none_or(|gateway| pod.pings(gateway)), "{network}: {ip}");
            }
            assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{network}: {result}");
            assert_eq!(succeeds(host, "check", &network, &pod), "");
            assert_eq!(succeeds(host, "status", &network, &pod), "");

            assert_eq!(succeeds(host, "del", &network, &pod), "");
            let bridges = ["jack0", "jack1", "jack2"].map(Shared::Bridge);
            let shared = [bridges.as_slice(), &[Shared::Forwarding, Shared::Store]].concat();
            before.same_as(&host.snapshot(), &shared);
            inside.same_as(&pod.snapshot(), &[]);
        }
    });
}

/// What a network of conf/ cannot do must not go unseen: two pods of one network reach each other.
#[test]
fn two_pods_of_a_network_of_conf_reach_each_other() {
    lab_with(&[Need::Ours("tools")], |host| {
        for network in ["jackfield", "routed", "published"] {
            let (red, blue) = (host.pod(), host.pod());
            succeeds(host, "add", network, &red);
            let result: Value = serde_json::from_str(&succeeds(host, "add", network, &blue)).unwrap();
            for ip in result["ips"].as_array().unwrap() {
                let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
                assert!(red.pings(address), "{network}: {address}");
            }
        }
    });
}

/// A network with an unknown key is not refused, so a misspelt one goes unseen: each key must be a known one.
#[test]
fn the_networks_of_conf_misspell_nothing() {
    const KNOWN: &[&str] = &[
        "cniVersion",
        "cniVersions",
        "name",
        "plugins",
        "type",
        "bridge",
        "isGateway",
        "ipMasq",
        "hairpinMode",
        "ipam",
        "ranges",
        "subnet",
        "addresses",
        "address",
        "gateway",
        "routes",
        "dst",
        "capabilities",
        "mac",
        "ips",
        "portMappings",
        "ingressPolicy",
    ];
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, member)| {
                found.push(key.clone());
                keys(member, found);
            }),
            Value::Array(entries) => entries.iter().for_each(|entry| keys(entry, found)),
            _ => {}
        }
    }
    for (network, list) in networks() {
        let mut found = Vec::new();
        keys(&list, &mut found);
        found.retain(|key| !KNOWN.contains(&key.as_str()));
        assert!(found.is_empty(), "{network}: {found:?}");
    }
}

#[test]
fn readme_shows_the_network_that_conf_has() {
    let readme = std::fs::read_to_string(folder().with_file_name("README.md")).unwrap();
    let shown = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(shown, std::fs::read_to_string(folder().join("10-jackfield.conflist")).unwrap());
}

/// `make demo` in this world, without a world of its own: what it leaves behind is seen.
fn demo(host: &Host) -> Command {
    let programs = std::fs::canonicalize(host.program("bridge")).unwrap();
    let mut demo = host.command("unshare");
    demo.arg("--mount")
        .arg(folder().with_file_name("examples").join("demo.sh"))
        .arg(programs.parent().unwrap());
    demo.env("JACKFIELD_DEMO", "1");
    demo
}

#[test]
fn the_demo_shows_two_pods_that_reach_each_other_and_leaves_nothing() {
    lab_with(&[Need::Ours("tools")], |host| {
        let before = host.snapshot();
        let said = demo(host).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(text.lines().last(), Some("nothing: no namespace, no link, no lease"));
        assert_eq!(text.matches(" 0% packet loss").count(), 3, "{text}");
        let drawn =
            ["⇄ eth0 in red  network jackfield container ", "⇄ eth0 in blue  network jackfield container "];
        assert!(drawn.iter().all(|line| text.contains(line)), "{text}");
        before.same_as(&host.snapshot(), &[Shared::Forwarding]);
    });
}

#[test]
fn the_demo_leaves_nothing_when_it_is_interrupted() {
    lab_with(&[Need::Ours("tools")], |host| {
        let before = host.snapshot();
        let mut running = demo(host).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
        let attached = lines.by_ref().find(|line| line.contains("red talks to blue"));
        assert!(attached.is_some(), "the demo ended early");
        host.sh(&format!("kill -INT {}", running.id()));
        let rest: Vec<String> = lines.collect();
        assert_eq!(running.wait().unwrap().code(), Some(130), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
        assert!(!rest.iter().any(|line| line.contains("CHECK")), "it went on: {rest:?}");
        before.same_as(&host.snapshot(), &[Shared::Forwarding]);
    });
}

/// What the unit starts is what `make install` puts there, with a command line that cnitool understands.
#[test]
fn the_unit_starts_what_is_installed() {
    let unit = std::fs::read_to_string(folder().join("systemd/jackfield-restore.service")).unwrap();
    let makefile = std::fs::read_to_string(folder().join("../Makefile")).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let command = value("ExecStart=");
    assert_eq!(command, value("ExecReload="));
    let (program, words) = command.split_once(' ').unwrap();
    let (folder, name) = program.rsplit_once('/').unwrap();
    assert_eq!(name, "cnitool");
    for installed in [folder, value("Environment=CNI_PATH=")] {
        assert!(makefile.contains(&format!("$(DESTDIR){installed}")), "{installed}");
    }
    lab_with(&[Need::Ours("tools")], |host| {
        let mut cnitool = host.command(host.program("cnitool").to_str().unwrap());
        let said = cnitool.args(words.split(' ')).env("CNI_PATH", host.bin()).output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    });
}
