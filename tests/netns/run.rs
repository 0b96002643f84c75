//! `run`: a namespace for one program, attached to networks, and nothing left of it.

mod record;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::lab::call::{Call, Running};
use crate::lab::conf;
use crate::lab::host::Host;
use crate::lab::snapshot::Snapshot;
use crate::lab::stub::Stub;
use crate::lab::world::Need;
use crate::lab::{lab, lab_with};

/// The configuration folder.
const CONF: &str = "/run/conf";

/// Where a program says that it runs, and where it waits.
const READY: &str = "/run/lab/ready";

/// Writes a network of one plugin, and one that goes to a stub.
fn networks(host: &Host) {
    fs::create_dir_all(CONF).unwrap();
    write(
        "10-net-a.conflist",
        &json!({"cniVersion": "1.0.0", "name": "net-a", "plugins": [conf::bridge(host)]}),
    );
    write(
        "20-net-s.conflist",
        &json!({"cniVersion": "1.0.0", "name": "net-s", "plugins": [{"type": "stub"}]}),
    );
    assert!(host.command("mkfifo").args([READY, "/run/lab/never"]).status().unwrap().success());
}

fn write(name: &str, list: &Value) {
    fs::write(Path::new(CONF).join(name), list.to_string()).unwrap();
}

/// `netns run WORDS`, with this build's plugins and the stubs.
fn run(host: &Host, words: &[&str]) -> Call {
    let path = format!("{}:/run/lab/stub-stub", host.bin().display());
    let call = Call::of(host.program("netns"), &[&["run"], words].concat());
    call.env("NETCONFPATH", CONF).env("CNI_PATH", path)
}

/// Starts a program that says when it is ready and then does what it is told, until it gets a signal.
fn start(host: &Host, script: &str) -> Running {
    let script = format!("{script}; exec 9<>/run/lab/never; echo >{READY}; while :; do read line <&9; done");
    let running = run(host, &["--network", "net-a", "sh", "-c", &script]).start();
    fs::read(READY).unwrap();
    running
}

/// What netns itself has said.
fn told(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("stub stderr")).map(|line| format!("{line}\n")).collect()
}

fn nothing_is_left(host: &Host, before: &Snapshot) {
    before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    for folder in ["/run/netns", "/run/jackfield/runs", "/var/lib/cni/results"] {
        let left: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    assert!(!Path::new("/run/leases/net-a/10.9.0.2").exists());
}

#[test]
fn a_program_runs_attached_and_nothing_is_left() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let before = host.snapshot();
        let script = "ip -br -4 address show eth0; ip -br link show lo | cut -c1-22; ping -n -c 1 -w 20 10.9.0.1 >/dev/null && echo pong
            ls /run/netns | cut -c1-4; id -u; pwd; cat; echo complaint >&2; exit 7";
        let ended = run(host, &["--network", "net-a", "--", "sh", "-c", script])
            .stdin("typed\n")
            .folder("/var")
            .run();
        assert_eq!(ended.status().code(), Some(7), "{ended}");
        let said = ended.stdout();
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert!(lines[0].starts_with("eth0@") && lines[0].ends_with("10.9.0.2/24"), "{said}");
        assert_eq!(
            lines[1..],
            ["lo               UNKNO", "pong", "run-", "0", "/var", "typed"]
                .map(|l| if l.starts_with("lo") { lines[1] } else { l })
        );
        assert_eq!(ended.stderr(), "complaint\n");
        nothing_is_left(host, &before);
    });
}

#[test]
fn without_a_network_there_is_lo_and_that_is_up() {
    lab(|host| {
        networks(host);
        let before = host.snapshot();
        let ended = run(host, &["ip", "-br", "link"]).run();
        assert!(ended.succeeded() && ended.stdout().starts_with("lo               UNKNOWN"), "{ended}");
        assert_eq!(ended.stdout().lines().count(), 1, "{ended}");
        let missing = run(host, &["--", "nosuch"]).run();
        assert_eq!(
            (missing.status().code(), missing.stderr().as_str()),
            (Some(1), "exec of \"nosuch\" failed: No such file or directory\n")
        );
        let killed = run(host, &["sh", "-c", "kill -9 $$"]).run();
        assert_eq!(killed.status().code(), Some(137), "{killed}");
        nothing_is_left(host, &before);
    });
}

#[test]
fn a_signal_is_the_programs_and_everything_is_taken_away_all_the_same() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let before = host.snapshot();
        for (signal, status) in [("TERM", 5), ("INT", 6), ("HUP", 129)] {
            let running = start(host, "trap 'echo asked; exit 5' TERM; trap 'echo asked; exit 6' INT");
            running.signal(signal);
            let ended = running.finish();
            assert_eq!(ended.status().code(), Some(status), "{signal}: {ended}");
            assert_eq!(ended.stdout(), if signal == "HUP" { "" } else { "asked\n" });
            nothing_is_left(host, &before);
        }
    });
}

#[test]
fn after_a_kill_the_program_is_gone_and_the_next_run_takes_the_rest_away() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let before = host.snapshot();
        let mut killed = start(host, "echo $$ >/run/pid");
        let alive = start(
            host,
            "ping -n -c 1 -w 20 10.9.0.1 >/dev/null && echo pong; trap 'ping -n -c 1 -w 20 10.9.0.1 >/dev/null && echo pong; exit 0' TERM",
        );
        killed.kill();
        killed.finish();
        let program = fs::read_to_string("/run/pid").unwrap();
        host.sh(&format!("timeout 20 sh -c 'while [ -e /proc/{} ]; do :; done'", program.trim()));
        assert_eq!(fs::read_dir("/run/jackfield/runs").unwrap().count(), 2);
        assert!(Path::new("/run/leases/net-a/10.9.0.2").exists());
        // The network's file is not needed for it, nor where the next run looks.
        fs::rename("/run/conf/10-net-a.conflist", "/run/net-a").unwrap();
        let next = run(host, &["true"]).env("CNI_PATH", "/nowhere").run();
        assert!(next.succeeded() && next.stderr().is_empty(), "{next}");
        assert!(!Path::new("/run/leases/net-a/10.9.0.2").exists());
        assert_eq!(fs::read_dir("/run/jackfield/runs").unwrap().count(), 1, "the other one lives");
        alive.signal("TERM");
        let ended = alive.finish();
        assert_eq!((ended.status().code(), ended.stdout().as_str()), (Some(0), "pong\npong\n"), "{ended}");
        fs::remove_file("/run/pid").unwrap();
        fs::rename("/run/net-a", "/run/conf/10-net-a.conflist").unwrap();
        nothing_is_left(host, &before);
    });
}

#[test]
fn what_cannot_be_attached_takes_the_rest_with_it() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let stub = host.stub("stub");
        stub.fails("ADD", r#"{"cniVersion": "1.0.0", "code": 11, "msg": "try again"}"#);
        let before = host.snapshot();
        let ended = run(host, &["--network", "net-a", "--network", "net-s", "touch", "/run/ran"]).run();
        assert_eq!(ended.status().code(), Some(1), "{ended}");
        let said = told(&ended.stderr());
        assert!(
            said.starts_with("Cannot attach to network \"net-s\": ")
                && said.contains("try again")
                && said.contains("(code 11)"),
            "{said}"
        );
        assert_eq!(
            (said.lines().count(), stub.calls()[0].variable("CNI_IFNAME").as_deref()),
            (1, Some("eth1"))
        );
        assert!(!Path::new("/run/ran").exists());
        nothing_is_left(host, &before);
    });
}

/// A typing error in CNI_PATH, and a plugin that is missing in the second network only.
#[test]
fn where_a_plugin_is_missing_nothing_begins_and_the_next_run_has_nothing_to_clean_up() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let before = host.snapshot();
        let run_along = |path: &str, words: &[&str]| run(host, words).env("CNI_PATH", path).run();
        let plugins = host.bin().display().to_string();
        let both: &[&str] = &["--network", "net-a", "--network", "net-s", "touch", "/run/ran"];
        for (path, words, network, plugin) in [
            ("/typo", &both[2..], "net-s", "stub"),
            ("/typo", both, "net-a", "bridge"),
            (&plugins, both, "net-s", "stub"),
        ] {
            let ended = run_along(path, words);
            let head = format!("Cannot attach to network \"{network}\": plugin type=\"{plugin}\"");
            let why =
                format!(" failed (add): failed to find plugin \"{plugin}\" in path [{path}] (code 999)\n");
            let said = ended.stderr();
            assert!(said.starts_with(&head) && said.ends_with(&why) && said.lines().count() == 1, "{ended}");
            assert_eq!(ended.status().code(), Some(1), "{ended}");
            assert!(!Path::new("/run/ran").exists());
            nothing_is_left(host, &before);
            assert!(!Path::new("/run/leases/net-a").exists(), "no plugin was run");
            let next = run(host, &["true"]).run();
            assert_eq!((next.status().code(), next.stderr().as_str()), (Some(0), ""), "{next}");
        }
    });
}

/// The address plugin is looked for by the plugin that asks it: its absence is found when something may be there.
#[test]
fn what_the_plugins_of_then_cannot_take_away_those_of_today_can() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        host.sh(&format!("mkdir /run/lab/some && ln -s {}/bridge /run/lab/some", host.bin().display()));
        let before = host.snapshot();
        let ended = run(host, &["--network", "net-a", "true"]).env("CNI_PATH", "/run/lab/some").run();
        let said = ended.stderr();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((ended.status().code(), lines.len()), (Some(1), 2), "{ended}");
        assert!(
            lines[0].starts_with("Cannot attach to network")
                && lines[1].starts_with("Cannot detach from network"),
            "{ended}"
        );
        let next = run(host, &["true"]).run();
        assert_eq!((next.status().code(), next.stderr().as_str()), (Some(0), ""), "{next}");
        nothing_is_left(host, &before);
    });
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    lab(|host| {
        networks(host);
        for (words, status, why) in [
            (
                &["--network", "nope", "true"][..],
                1,
                "Cannot find network \"nope\": no net configuration with name \"nope\" in /run/conf",
            ),
            (&["--network", "net-a"], 255, "error: the following required arguments were not provided"),
            (&["--netwrok", "net-a", "true"], 255, "error: unexpected argument '--netwrok' found"),
            (&[], 255, "error: the following required arguments were not provided"),
        ] {
            let ended = run(host, words).run();
            assert_eq!(ended.status().code(), Some(status), "{ended}");
            assert!(ended.stderr().starts_with(why), "{ended}");
        }
        assert!(!Path::new("/run/jackfield").exists());
        let inside = Call::of(host.program("netns"), &["run-inside", "x"]).run();
        assert_eq!(inside.status().code(), Some(255), "{inside}");
    });
}

/// A signal between two steps ends the process by it, and undoes what there is.
#[test]
fn who_is_interrupted_before_the_program_runs_does_not_run_it() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let stub: Stub = host.stub("stub");
        let before = host.snapshot();
        stub.hangs("ADD");
        let mut running =
            run(host, &["--network", "net-a", "--network", "net-s", "touch", "/run/ran"]).start();
        stub.wait_for(&mut running);
        running.signal("TERM");
        let ended = running.finish();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status()), Some(15), "{ended}");
        assert!(!Path::new("/run/ran").exists());
        assert_eq!(stub.verbs(), ["ADD", "DEL"], "{ended}");
        nothing_is_left(host, &before);
    });
}

/// The kernel sends the signal when the record gets its name.
#[test]
fn who_is_interrupted_before_there_is_a_namespace_ends_by_the_signal_too() {
    lab_with(&[Need::Program("strace")], |host| {
        networks(host);
        let before = host.snapshot();
        let trace = ["-qq", "-o", "/dev/null", "-e", "trace=linkat", "-e", "inject=linkat:signal=TERM"];
        let ended = run(host, &["sh", "-c", "exit 3"]).under(&[&["strace"], &trace[..]].concat()).run();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status()), Some(15), "{ended}");
        nothing_is_left(host, &before);
    });
}

/// A user of no special rights: in a user namespace that root has made for him, in which he is himself.
const USER: &[&str] = &["unshare", "--user", "--map-user=1000", "--map-group=1000"];

#[test]
fn without_root_it_runs_in_a_user_namespace() {
    lab(|host| {
        networks(host);
        let words = [
            "sh",
            "-c",
            "id -u; id -g; ip -br link | cut -c1-3; ls /sys/class/net; grep CapEff /proc/self/status; exit 4",
        ];
        let ended = run(host, &words).under(USER).run();
        assert_eq!(ended.status().code(), Some(4), "{ended}");
        assert_eq!(ended.stdout(), "1000\n1000\nlo \nlo\nCapEff:\t0000000000000000\n");
        let refused = run(host, &["--network", "net-a", "true"]).under(USER).run();
        assert_eq!(refused.status().code(), Some(1), "{refused}");
        let said = refused.stderr();
        assert!(
            said.contains("to attach to one needs root\nNote: this needs root, so try it with sudo."),
            "{said}"
        );
        assert!(!Path::new("/run/jackfield").exists());
    });
}

#[test]
fn where_users_may_not_make_user_namespaces_that_is_said() {
    lab(|host| {
        networks(host);
        fs::write("/run/limited", "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps -all --inh-caps -all \"$@\"").unwrap();
        let under = [USER, &["--keep-caps", "sh", "/run/limited"]].concat();
        let refused = run(host, &["true"]).under(&under).run();
        assert_eq!(refused.status().code(), Some(1), "{refused}");
        let said = refused.stderr();
        assert!(
            said.starts_with(
                "Failed to create a user namespace: No space left on device\nNote: this needs root"
            ),
            "{said}"
        );
        assert!(said.contains("user.max_user_namespaces is 0"), "{said}");
    });
}

#[test]
fn under_sudo_the_program_has_the_rights_of_its_caller() {
    lab_with(&[Need::RealRoot], |host| {
        networks(host);
        host.sh("(cat /etc/passwd; echo rs:x:4242:4243::/var/rs:/bin/sh) >/run/passwd; mount --bind /run/passwd /etc/passwd");
        let script = "id -u; id -g; echo $HOME $USER $LOGNAME; grep CapEff /proc/self/status";
        let ended = run(host, &["sh", "-c", script]).env("SUDO_UID", "4242").run();
        assert_eq!(ended.stdout(), "4242\n4243\n/var/rs rs rs\nCapEff:\t0000000000000000\n", "{ended}");
        let root = run(host, &["--as-root", "id", "-u"]).env("SUDO_UID", "4242").run();
        assert_eq!(root.stdout(), "0\n", "{root}");
        let unknown = run(host, &["id", "-u"]).env("SUDO_UID", "3999999999").run();
        assert!(!unknown.succeeded() && unknown.stderr().starts_with("look up user 3999999999"), "{unknown}");
        // Who changes his user is no longer killed with his parent, unless he asks for it again.
        let mut running = run(host, &["sh", "-c", "echo $$ >/run/pid; exec sleep 1000"]);
        fs::write("/run/pid", "").unwrap();
        fs::set_permissions("/run/pid", std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        running = running.env("SUDO_UID", "4242");
        let mut running = running.start();
        host.sh("timeout 20 sh -c 'until [ -s /run/pid ] && grep -qs sleep /proc/$(cat /run/pid)/comm; do :; done'");
        running.kill();
        running.finish();
        host.sh("timeout 20 sh -c 'while [ -e /proc/$(cat /run/pid) ]; do :; done'");
    });
}
