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

/// All files below the folder and those of ours in /run: contents, owners, modes, times of change of both kinds.
fn everything(host: &Host, folder: &str) -> String {
    let below = format!("find $(dirname {folder}) /run/jackfield");
    host.sh(&format!(
        "{below} -printf '%p %T@ %C@ %s %i %m %U\\n' | sort; {below} -type f -exec cksum {{}} + | sort"
    ))
}

/// Nothing that a terminal would take for anything but a letter or the end of a line.
#[track_caller]
fn is_plain(text: &str) {
    let odd = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(!text.contains(odd), "{}", text.escape_debug());
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

// IPM-13
#[test]
fn the_name_alone_is_answered_with_what_it_is_and_what_else_there_is() {
    lab_with(OURS, |host| {
        let alone = Call::of(host.program("host-local"), &[]);
        for call in [alone.clone(), alone.clone().env("CNI_COMMAND", "")] {
            let answer = call.run();
            // Whoever is no person gets the error that every plugin gives.
            answer.fails(4).names(&["CNI_COMMAND"]);
            let said = answer.stderr();
            let lines: Vec<&str> = said.lines().collect();
            assert!(lines[0].starts_with("CNI host-local plugin v"), "{said}");
            assert_eq!(
                lines[1],
                "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
            );
            assert!(lines[2].contains("host-local --help") && lines.len() == 3, "{said}");
        }
        // A runtime reads nothing of it.
        let version = alone.env("CNI_COMMAND", "VERSION").run();
        assert!(version.succeeded() && version.stderr().is_empty(), "{version}");
    });
}

/// Exit status 1, and one plain line on stderr with these words. Comes back with what was printed.
#[track_caller]
fn complains(answer: &Outcome, words: &[&str]) -> String {
    let said = answer.stderr();
    assert_eq!((answer.status().code(), said.lines().count()), (Some(1), 1), "{answer}");
    assert!(words.iter().all(|word| said.contains(word)), "{answer}");
    is_plain(&said);
    answer.stdout()
}

/// A mess that the test only looks at.
fn with_a_mess_that_stays(test: impl FnOnce(&Host, &str)) {
    with_a_mess(|host, _, folder| {
        fs::write("/run/lab/file", "").unwrap();
        let before = (host.snapshot(), everything(host, folder));
        test(host, folder);
        before.0.same_as(&host.snapshot(), &[]);
        assert_eq!(everything(host, folder), before.1);
    });
}

// IPM-13
#[test]
fn what_cannot_be_looked_at_is_named_and_all_else_is_shown() {
    with_a_mess_that_stays(|host, folder| {
        for verb in ["--list", "--verify"] {
            for (place, words) in [
                ("/run/lab/absent", "no such file or directory"),
                ("/run/lab/file", "not a directory"),
                ("/run/lab/bad\u{1b}[31m\nplace", "no such file or directory"),
                ("never-made", "/var/lib/cni/networks/never-made"),
            ] {
                assert_eq!(complains(&by_hand(host, &[verb, place]), &[words]), "");
                let rest = complains(&by_hand(host, &[verb, place, folder]), &[words]);
                assert!(rest.contains("10.1.1.9"), "{rest}");
            }
            for path in [format!("{folder}/lock"), format!("{folder}/10.1.1.3"), folder.to_owned()] {
                let inject = "inject=open,openat:error=EACCES";
                let call = Call::of(host.program("host-local"), &[verb, folder]);
                let denied =
                    call.under(&["strace", "-qq", "-o", "/dev/null", "-P", &path, "-e", inject]).run();
                assert_eq!(complains(&denied, &["permission denied", folder]), "");
            }
            // No name leads out of the usual place.
            for name in ["..", ".", "", "net a", "-", "\u{1b}[2J", "name\n"] {
                let answer = by_hand(host, &[verb, name]);
                assert_eq!(answer.status().code(), Some(2), "{answer}");
                assert!(answer.stdout().is_empty() && answer.stderr().contains("--list"), "{answer}");
                is_plain(&answer.stderr());
            }
        }
        // Nobody can read what was found.
        let full = Call::of(host.program("host-local"), &["--list", folder]).stdout_to("/dev/full").run();
        complains(&full, &["no space left on device"]);
    });
}

// IPM-13
#[test]
fn a_list_of_the_living_that_is_none_is_named() {
    with_a_mess_that_stays(|host, folder| {
        let verify = |list: &str| {
            let words = ["--verify", "--valid", "-", folder];
            Call::of(host.program("host-local"), &words).stdin(list).run()
        };
        for (list, words) in [
            ("", "EOF"),
            ("web eth0", "expected value"),
            (r#"{"containerID": "web", "ifname": "eth0"}"#, "expected a sequence"),
            (r#"[{"containerID": "web"}]"#, "ifname"),
            (r#"[{"containerID": 1, "ifname": "eth0"}]"#, "expected a string"),
            (r#"[{"containerID": "web", "ifname": "eth0"}] []"#, "trailing"),
        ] {
            assert_eq!(complains(&verify(list), &[words]), "");
        }
        for (file, words) in
            [("/run/lab/absent", "no such file or directory"), ("/run/lab", "is a directory")]
        {
            let answer = by_hand(host, &["--verify", "--valid", file, folder]);
            assert_eq!(complains(&answer, &[file, words]), "");
        }
        // An empty one says that nobody lives.
        let nobody = verify("[]");
        assert_eq!(nobody.stdout().matches("does not live").count(), 3, "{nobody}");
    });
}

// IPM-13
#[test]
fn what_stands_in_a_lease_or_in_a_name_moves_no_cursor() {
    lab_with(OURS, |host| {
        let folder = "/run/leases/net\u{1b}[1m-a";
        let evil = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
        fs::create_dir_all(folder).unwrap();
        fs::create_dir_all("/run/leases/net-b").unwrap();
        fs::write(format!("{folder}/10.1.1.2"), format!("{evil}\r\n{evil}")).unwrap();
        fs::write(format!("{folder}/10.1.1.3"), format!("{evil}\r\n{evil}")).unwrap();
        fs::write(format!("{folder}/10.1.1.4"), "web\r\neth0").unwrap();
        fs::write(format!("{folder}/a\n10.1.1.9: {evil}"), "").unwrap();
        for words in [
            &["--list", folder, "/run/leases/net-b"][..],
            &["--verify", folder, "/run/leases/net-b"],
            &["--list", "--json", folder],
            &["--verify", "--json", folder],
        ] {
            let answer = by_hand(host, words);
            is_plain(&answer.stdout());
            assert!(answer.stderr().is_empty() && answer.stdout().contains("title"), "{answer}");
            assert!(!answer.stdout().contains("\n10.1.1.9"), "{answer}");
        }
        // Whoever reads JSON gets what is there.
        let json: Value =
            serde_json::from_str(&by_hand(host, &["--list", "--json", folder]).stdout()).unwrap();
        assert_eq!((&json[0]["containerID"], &json[0]["folder"]), (&json!(evil), &json!(folder)));
        let json: Value =
            serde_json::from_str(&by_hand(host, &["--verify", "--json", folder]).stdout()).unwrap();
        assert!(
            json.as_array().unwrap().iter().any(|one| one["file"] == json!(format!("a\n10.1.1.9: {evil}")))
        );
    });
}

// IPM-13
#[test]
fn a_look_makes_neither_a_lock_nor_an_index() {
    lab_with(OURS, |host| {
        let folder = "/run/leases/net-a";
        fs::create_dir_all(folder).unwrap();
        fs::write(format!("{folder}/10.1.1.2"), "web\r\neth0").unwrap();
        let before = (host.snapshot(), host.sh("find /run/leases -printf '%p %T@ %C@\\n'"));
        assert!(by_hand(host, &["--list", folder]).stdout().contains("web"));
        let clean = by_hand(host, &["--verify", folder]);
        assert!(clean.succeeded() && clean.stdout().is_empty(), "{clean}");
        before.0.same_as(&host.snapshot(), &[]);
        assert_eq!(host.sh("find /run/leases -printf '%p %T@ %C@\\n'"), before.1);
        assert!(!fs::exists("/run/jackfield").unwrap());
    });
}
