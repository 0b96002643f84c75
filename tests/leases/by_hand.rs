//! `host-local` without a runtime: it shows leases and what does not fit, and changes nothing.

use std::fs;

use serde_json::{Value, json};

use super::boots::{boot, lasting_folder, machine};
use super::{container, network};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;

const OURS: &[Need] = &[Need::Ours("by-hand")];

fn by_hand(host: &Host, arguments: &[&str]) -> Outcome {
    Call::of(host.program("host-local"), arguments).run()
}

/// Everything in the folder and in /run, times of change included.
fn everything(host: &Host, folder: &str) -> String {
    host.sh(&format!("stat -c '%n %Y %y %s %i' {folder} {folder}/* /run/jackfield/leases/*; cat {folder}/* /run/jackfield/leases/* | cksum"))
}

/// Two leases of this boot, one of an earlier one, one of the Go plugin, a reserved address and rubbish.
fn with_a_mess(test: impl FnOnce(&Host, &Value, &str)) {
    lab_with(OURS, |host| {
        let (data, pod) = (lasting_folder(host), host.pod());
        let folder = format!("{data}/net-a");
        machine(host, 1);
        boot(host, 1);
        let conf = network(host, data, "10.1.1.0/24");
        container(host, &pod, &conf, "before").add().result();
        boot(host, 2);
        container(host, &pod, &conf, "web").add().result();
        fs::write(format!("{folder}/10.1.1.7"), "go").unwrap();
        fs::write(format!("{folder}/10.1.1.8"), "the printer").unwrap();
        fs::write(format!("{folder}/10.1.1.9"), "").unwrap();
        fs::write(format!("{folder}/10.1.1.09"), "web\r\neth0").unwrap();
        container(host, &pod, &conf, "web-2").add().result();
        test(host, &conf, &folder);
    });
}

// IPM-13
#[test]
fn a_listing_tells_owner_age_and_boot_and_changes_nothing() {
    with_a_mess(|host, _, folder| {
        let before = everything(host, folder);
        let text = by_hand(host, &["--list", folder]);
        assert!(text.succeeded(), "{text}");
        let said = text.stdout();
        let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ADDRESS", "CONTAINER", "INTERFACE", "AGE", "BOOT"]);
        let cells: Vec<(&str, &str, &str)> =
            rows[1..].iter().map(|row| (row[0], row[1], row[row.len() - 1])).collect();
        assert_eq!(
            cells,
            [
                ("10.1.1.2", "before", "earlier"),
                ("10.1.1.3", "web", "this"),
                ("10.1.1.4", "web-2", "this"),
                ("10.1.1.7", "go", "unknown"),
                ("10.1.1.8", "(no", "unknown"),
                ("10.1.1.9", "(rubbish)", "unknown"),
            ]
        );
        let objects: Value =
            serde_json::from_str(&by_hand(host, &["--list", "--json", folder]).stdout()).unwrap();
        assert_eq!(objects.as_array().unwrap().len(), 6);
        assert_eq!(objects[1]["containerID"], "web");
        assert_eq!((&objects[0]["taken"], &objects[1]["taken"]), (&json!(false), &json!(true)));
        assert!(objects[1]["ageSeconds"].as_u64().unwrap() < 300);
        assert_eq!(everything(host, folder), before);
    });
}

// IPM-13
#[test]
fn verify_finds_what_does_not_fit_and_changes_nothing() {
    with_a_mess(|host, conf, folder| {
        let before = everything(host, folder);
        let found = by_hand(host, &["--verify", folder]);
        assert_eq!(found.status().code(), Some(1), "{found}");
        let said = found.stdout();
        for words in [
            "10.1.1.2: leased to eth0 of container before in an earlier boot",
            "10.1.1.8: no lease",
            "10.1.1.9: rubbish of a crash",
            "10.1.1.09: no",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
        assert_eq!(said.lines().count(), 4, "{said}");
        // Somebody knows who lives.
        let valid =
            json!([{"containerID": "web", "ifname": "eth0"}, {"containerID": "go", "ifname": "net1"}]);
        fs::write("/run/lab/valid", valid.to_string()).unwrap();
        let found = by_hand(host, &["--verify", "--json", "--valid", "/run/lab/valid", folder]).stdout();
        let found: Value = serde_json::from_str(&found).unwrap();
        let dead: Vec<&Value> = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["finding"].as_str().unwrap().ends_with("does not live"))
            .collect();
        assert_eq!((dead.len(), &dead[0]["file"]), (1, &json!("10.1.1.4")));
        assert_eq!(everything(host, folder), before);
        // What somebody writes into a lease, only such a look can see.
        fs::write(format!("{folder}/10.1.1.3"), "other\r\neth0").unwrap();
        assert!(
            by_hand(host, &["--verify", folder])
                .stdout()
                .contains("10.1.1.3: the index in /run says something else")
        );
        // In order again.
        host.sh(&format!("rm -r {folder}"));
        container(host, &host.pod(), conf, "web").add().result();
        let clean = by_hand(host, &["--verify", folder]);
        assert!(clean.succeeded() && clean.stdout().is_empty(), "{clean}");
    });
}

// IPM-13
#[test]
fn a_network_is_found_by_its_name_and_all_networks_without_one() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for name in ["net-a", "net-b"] {
            let conf = crate::lab::conf::with(
                &network(host, "/var/lib/cni/networks", "10.1.1.0/24"),
                "/name",
                json!(name),
            );
            container(host, &pod, &conf, &format!("of-{name}")).add().result();
        }
        let one = by_hand(host, &["--list", "net-b"]).stdout();
        assert!(one.contains("of-net-b") && !one.contains("of-net-a"), "{one}");
        let all = by_hand(host, &["--list"]).stdout();
        assert!(
            all.starts_with("/var/lib/cni/networks/net-a:\n")
                && all.contains("of-net-a")
                && all.contains("of-net-b")
        );
        let none = by_hand(host, &["--list", "net-c"]);
        assert_eq!(none.status().code(), Some(1));
        assert!(none.stdout().is_empty() && none.stderr().contains("/var/lib/cni/networks/net-c"), "{none}");
    });
}

// IPM-13
#[test]
fn what_is_typed_wrong_is_explained_and_a_runtime_is_answered_as_ever() {
    lab_with(OURS, |host| {
        assert!(by_hand(host, &["--help"]).stdout().contains("--verify"));
        for wrong in [&["net-a"][..], &["--frob"], &["--list", "--verify"], &["--verify", "--valid"]] {
            let answer = by_hand(host, wrong);
            assert_eq!(answer.status().code(), Some(2), "{answer}");
            assert!(answer.stdout().is_empty() && answer.stderr().contains("--list"), "{answer}");
        }
        // Whatever its arguments, a program that is asked by CNI_COMMAND is a plugin.
        let version = Call::of(host.program("host-local"), &["--list"]).env("CNI_COMMAND", "VERSION").run();
        assert!(version.stdout().contains("supportedVersions"), "{version}");
    });
}
