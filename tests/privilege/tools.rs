//! The same for `netns` and `cnitool`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use serde_json::json;

use super::{OURS, capabilities, rows, with};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::stub::Stub;
use crate::lab::world::Need;

/// A command as the table of docs/security.md has it, and how it is tried.
struct Command {
    row: String,
    words: Vec<String>,
    /// What has to be there; and what takes away what the command has made.
    before: &'static str,
    after: &'static str,
    /// Whether it does what it may, and tells what it could not see.
    only_looks: bool,
}

/// A process with all rights, in a pod.
struct Stranger(Child);

impl Stranger {
    fn in_pod(pod: &Pod) -> Stranger {
        let mut cat = pod.command("cat");
        let mut process = Stranger(cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        // When it answers it is there.
        process.0.stdin.as_mut().unwrap().write_all(b"there?\n").unwrap();
        BufReader::new(process.0.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        process
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Command {
    fn of(row: &str, pod: &Pod, stranger: &Stranger) -> Command {
        let pid = stranger.0.id().to_string();
        let (more, before, after): (&[&str], _, _) = match row {
            "netns set" => (&["spare", "7"], "ip netns add spare", "ip netns del spare"),
            "netns add" | "netns add --with-loopback" => (&["fresh"], ":", "ip netns del fresh"),
            "netns delete" => (&["spare"], "ip netns add spare", ":"),
            "netns exec" => (&["spare", "true"], "ip netns add spare", "ip netns del spare"),
            "netns attach" => (&["fresh", &pid], ":", "ip netns del fresh"),
            "netns identify PID" => (&[&pid], ":", ":"),
            "netns pids" => (&[pod.name()], ":", ":"),
            "netns run" => (&["--", "true"], ":", ":"),
            "cnitool add" | "cnitool del" | "cnitool check" => (&["net", pod.path()], ":", ":"),
            "cnitool gc" | "cnitool status" | "cnitool explain" | "cnitool version" => (&["net"], ":", ":"),
            "cnitool restore" => (&[], "nft flush ruleset", "nft list map inet jackfield masquerade1_ip"),
            _ => (&[], ":", ":"),
        };
        let words = row.split(' ').skip(1).filter(|word| *word != "PID").chain(more.iter().copied());
        let only_looks = ["netns pids", "netns graph", "cnitool list"].contains(&row);
        Command { row: row.to_owned(), words: words.map(str::to_owned).collect(), before, after, only_looks }
    }

    fn call(&self, host: &Host, stub: &Stub) -> Call {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let folders = format!("{}:{}", stub.folder(), host.bin().display());
        let program = self.row.split(' ').next().unwrap();
        Call::of(host.program(program), &words).env("NETCONFPATH", "/run/conf").env("CNI_PATH", folders)
    }

    /// Without one of what it needs nothing has changed, and the reason is told.
    fn is_refused(&self, refused: &Outcome, lacking: &str) {
        let said = refused.stderr() + &refused.stdout();
        let seen =
            ["operation not permitted", "may not be looked at"].iter().any(|words| said.contains(words));
        let is_told = said.contains(&format!("CAP_{lacking}")) || (self.only_looks && seen);
        let is_right = is_told && refused.succeeded() == self.only_looks;
        assert!(is_right, "{} without {lacking}\n{refused}", self.row);
    }

    fn needs_exactly(&self, host: &Host, call: &Call, needs: &BTreeSet<String>) {
        host.sh(self.before);
        let before = (!needs.is_empty() && !self.only_looks).then(|| host.snapshot());
        for lacking in needs {
            let less = needs.iter().filter(|it| *it != lacking).cloned().collect();
            self.is_refused(&with(&less, call.clone()).run(), lacking);
        }
        if let Some(before) = before {
            before.same_as(&host.snapshot(), conf::NOT_MADE);
        }
        let done = with(needs, call.clone()).run();
        let said = done.stderr() + &done.stdout();
        let is_whole = !said.contains("not permitted") && !said.contains("may not be looked at");
        assert!(done.succeeded() && is_whole, "{} needs more than {needs:?}\n{done}", self.row);
        host.sh(self.after);
    }
}

fn lay_out_a_network(host: &Host) -> Stub {
    let stub = host.stub("stub");
    stub.answers("VERSION", r#"{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}"#);
    fs::create_dir_all("/run/conf").unwrap();
    let list = json!({"cniVersion": host.newest(), "name": "net", "plugins": [{"type": "stub"}]});
    fs::write("/run/conf/10-net.conflist", list.to_string()).unwrap();
    stub
}

#[test]
fn each_command_of_the_tools_needs_what_is_documented_and_without_one_of_it_says_which() {
    lab_with(OURS, |host| {
        let rows = rows("| command | needs |");
        assert_eq!(rows.len(), 11, "{rows:?}");
        let (stub, pod) = (lay_out_a_network(host), host.pod());
        let stranger = Stranger::in_pod(&pod);
        let masquerades = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
        host.attach("bridge", masquerades, &pod).ifname("eth1").add().result();
        for [commands, needs] in rows.iter().map(|row| <&[String; 2]>::try_from(row.as_slice()).unwrap()) {
            for row in commands.split(", ").map(|it| it.trim_matches('`')).filter(|it| *it != "netns monitor")
            {
                let command = Command::of(row, &pod, &stranger);
                command.needs_exactly(host, &command.call(host, &stub), &capabilities(needs));
            }
        }
    });
}

#[test]
fn a_monitor_needs_no_capability() {
    lab_with(OURS, |host| {
        let call = with(&BTreeSet::new(), Call::of(host.program("netns"), &["monitor"]));
        let call = call.stdout_to("/run/told");
        fs::write("/run/told", "").unwrap();
        let mut monitor = call.start();
        for number in 0.. {
            if fs::read_to_string("/run/told").unwrap().contains("add name-") {
                break;
            }
            assert!(!monitor.has_ended() && number < 1000, "it tells of nothing");
            host.sh(&format!("ip netns add name-{number}; ip netns del name-{number}"));
        }
        monitor.kill();
        monitor.finish();
    });
}

#[test]
fn a_run_under_sudo_needs_the_rights_to_become_somebody_else() {
    lab_with(&[OURS[0], Need::RealRoot], |host| {
        let needs = ["net_admin", "sys_admin", "setuid", "setgid"].map(str::to_uppercase);
        let call = || {
            let call = Call::of(host.program("netns"), &["run", "--", "id", "-u"]);
            call.env("SUDO_UID", "65534").env("SUDO_GID", "65534")
        };
        for lacking in ["SETUID", "SETGID"] {
            let less = needs.iter().filter(|it| *it != lacking).cloned().collect();
            let refused = with(&less, call()).run();
            assert!(!refused.succeeded() && refused.stderr().contains("peration not permitted"), "{refused}");
            assert!(host.sh("ls /run/netns").is_empty(), "{lacking}");
        }
        let needs: BTreeSet<String> = needs.into_iter().collect();
        let done = with(&needs, call()).run();
        assert!(done.succeeded() && done.stdout() == "65534\n", "{done}");
        a_signal_that_may_not_be_passed_on_is_told(host, &needs);
    });
}

fn a_signal_that_may_not_be_passed_on_is_told(host: &Host, needs: &BTreeSet<String>) {
    host.sh("mkfifo /run/up; chmod 666 /run/up");
    let netns = host.program("netns");
    let script = format!("exec {} run -- sh -c 'echo up >/run/up; exec cat' 2>/run/said", netns.display());
    let call = Call::of("sh", &["-c", &script]).env("SUDO_UID", "65534").env("SUDO_GID", "65534");
    let mut running = with(needs, call.stdin_left_open("")).start();
    assert_eq!(fs::read_to_string("/run/up").unwrap(), "up\n");
    running.signal("TERM");
    host.sh("timeout 30 sh -c 'until grep -q CAP_KILL /run/said; do :; done'");
    running.close_stdin();
    let ended = running.finish();
    assert!(ended.succeeded(), "{ended}");
    let said = fs::read_to_string("/run/said").unwrap();
    assert!(said.contains("pass SIGTERM on to the program: operation not permitted"), "{said}");
}
