//! The container in one file is one, and leaves nothing.

use std::path::Path;

use super::example;
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::snapshot::Shared;
use crate::lab::world::{self, Need};

/// What other containers might be using by now.
pub const SHARED: &[Shared<'_>] = &[Shared::Bridge("jack0"), Shared::Forwarding, Shared::Store];
pub const NEEDS: &[Need] = &[Need::Ours("tools"), Need::Program("busybox")];

/// A call of it on the networks of conf/.
pub fn toy(program: &Path, host: &Host, options: &[&str], command: &[&str]) -> Call {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let folders = [conf.to_str().unwrap().to_owned(), host.bin().to_str().unwrap().to_owned()];
    let folders = folders.iter().map(String::as_str);
    let words: Vec<&str> = options.iter().copied().chain(folders).chain(command.iter().copied()).collect();
    Call::of(program, &words)
}

/// The numbers of the namespaces that a shell is in, by kind.
const NAMESPACES: &str = "for kind in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$kind; done";

#[test]
fn a_toy_container_is_alone_in_namespaces_of_its_own() {
    let program = example("toy_container");
    lab_with(NEEDS, |host| {
        let before = host.snapshot();
        let outside = host.sh(NAMESPACES);
        let inside =
            format!("{NAMESPACES}; hostname; ls /; ip -o -4 addr; ping -q -c 1 -w 20 10.22.0.1; exit 7");
        for (options, shared_kinds) in [([].as_slice(), 1), (&["--user"], 0)] {
            let ended = toy(&program, host, options, &["sh", "-c", &inside]).run();
            assert_eq!(ended.status().code(), Some(7), "{}", ended.stderr());
            let said = ended.stdout();
            let same = outside.lines().filter(|kind| said.lines().any(|line| line == *kind)).count();
            assert_eq!(same, shared_kinds, "{options:?}: {said}\nbeside\n{outside}");
            assert!(said.contains("\ntoy\nbin\ndev\netc\nproc\nroot\nsys\ntmp\n"), "{said}");
            assert!(said.contains("eth0    inet 10.22.0."), "{said}");
            assert!(said.contains(" 0% packet loss"), "{said}");
            before.same_as(&host.snapshot(), SHARED);
        }
    });
}

#[test]
fn process_1_of_a_toy_container_reaps_orphans_and_nothing_of_the_host_is_in_sight() {
    let program = example("toy_container");
    lab_with(NEEDS, |host| {
        // The shell in the middle ends at once; its child is left to process 1, which waits for it.
        let script = "sh -c 'true & echo $!' > /tmp/orphan; while [ -e /proc/$(cat /tmp/orphan) ]; do :; done
            echo /proc/[0-9]*; tr '\\0' ' ' < /proc/1/cmdline | head -c 21; echo
            cut -d ' ' -f 5 /proc/self/mountinfo | grep -v -e ^/dev/ -e ^/sys/
            grep SigBlk /proc/self/status; cat /proc/self/uid_map";
        let ended = toy(&program, host, &["--user"], &["sh", "-c", script]).run();
        let said = ended.stdout();
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(ended.status().code(), Some(0), "{}", ended.stderr());
        // Of the host's mounts, such as /run, none is left.
        let seen =
            ["/proc/1", "/proc/3", "/proc/self/exe", "[init]", "/", "/proc", "SigBlk:", "0000000000000000"];
        assert_eq!(words.get(..words.len() - 3), Some(seen.as_slice()), "{said}");
        // Root has other ids to give, root of a user namespace has only himself.
        let map = if world::is_root_lab() { ["0", "100000", "65536"] } else { ["0", "0", "1"] };
        assert!(words.ends_with(&map), "{said}");
    });
}

#[test]
fn a_signal_ends_a_toy_container_and_nothing_stays() {
    let program = example("toy_container");
    lab_with(NEEDS, |host| {
        let before = host.snapshot();
        for (signal, number) in [("TERM", 15), ("INT", 2)] {
            let up = "/run/lab/up";
            host.sh(&format!(": > {up}"));
            let call = toy(&program, host, &[], &["sh", "-c", "echo up; exec sleep 1000"]).stdout_to(up);
            let running = call.start();
            host.sh(&format!("timeout 30 sh -c 'until grep -q up {up}; do :; done'"));
            running.signal(signal);
            let ended = running.finish();
            assert_eq!(ended.status().code(), Some(128 + number), "{}", ended.stderr());
            before.same_as(&host.snapshot(), SHARED);
        }
    });
}

#[test]
fn what_a_toy_container_cannot_do_is_told_and_leaves_nothing() {
    let program = example("toy_container");
    lab_with(NEEDS, |host| {
        let before = host.snapshot();
        let cases: &[(&[&str], &[&str], i32, &str)] = &[
            (&[], &["no-such-program"], 127, "run no-such-program: No such file"),
            (&[], &["/etc"], 126, "run /etc: Permission denied"),
            (&[], &["sh", "-c", "kill -SEGV $$"], 139, "network jackfield: eth0 10.22.0."),
            (&["--network", "nowhere"], &[], 125, "nowhere"),
            (&["--memory", "much"], &[], 125, "--memory much: no such option, or not its value"),
            (&["--pids", "0"], &[], 125, "--pids 0: no such option, or not its value"),
            (&["--cpu", "-1"], &[], 125, "--cpu -1: no such option, or not its value"),
            (&["--frobnicate"], &[], 125, "--frobnicate "),
        ];
        for (options, command, status, complaint) in cases {
            let ended = toy(&program, host, options, command).run();
            assert_eq!(ended.status().code(), Some(*status), "{options:?} {command:?}: {}", ended.stderr());
            assert!(ended.stderr().contains(complaint), "{options:?} {command:?}: {}", ended.stderr());
            assert_eq!(ended.stdout(), "");
        }
        let alone = Call::of(&program, &["conf"]).run();
        assert_eq!(
            (alone.status().code(), alone.stderr().contains("usage: toy_container")),
            (Some(125), true)
        );
        // The second plugin of the list is missing: the first one is not run.
        let empty =
            Call::of(&program, &[concat!(env!("CARGO_MANIFEST_DIR"), "/conf"), "/run/lab", "true"]).run();
        assert_eq!(empty.status().code(), Some(125));
        assert!(empty.stderr().contains("bridge"), "{}", empty.stderr());
        before.same_as(&host.snapshot(), SHARED);
    });
}
