//! The shell scripts of examples/ show what they say, and leave nothing.

use std::path::{Path, PathBuf};

use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::world::Need;

const NEEDS: &[Need] = &[Need::Ours("tools"), Need::Program("busybox"), Need::Program("nft")];

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Where the programs are that the world only has links to, below /run, where scripts put something else.
fn programs(host: &Host) -> String {
    let bridge = host.program("bridge").canonicalize().unwrap();
    bridge.parent().unwrap().to_str().unwrap().to_owned()
}

/// Runs a script to its end, which must be a good one; gives what it printed.
#[track_caller]
fn shown(host: &Host, name: &str) -> String {
    let before = host.snapshot();
    let ended = Call::of(script(name), &[&programs(host)]).run();
    assert!(ended.succeeded(), "{}\n{}", ended.stdout(), ended.stderr());
    assert_eq!(ended.stderr(), "");
    // Its world is another one than this: not even a bridge stays.
    before.same_as(&host.snapshot(), &[]);
    ended.stdout()
}

#[test]
fn the_demo_shows_two_namespaces_that_reach_each_other() {
    lab_with(NEEDS, |host| {
        let shown = shown(host, "demo.sh");
        assert_eq!(shown.matches(" 0% packet loss").count(), 3, "{shown}");
        assert!(shown.ends_with("\nnothing: no namespace, no link, no lease\n"), "{shown}");
    });
}

#[test]
fn two_networks_are_kept_from_each_other_and_ports_are_published() {
    lab_with(NEEDS, |host| {
        let shown = shown(host, "two_networks.sh");
        assert_eq!(shown.matches(" 0% packet loss").count(), 2, "{shown}");
        assert_eq!(shown.matches("the page of web\n").count(), 3, "{shown}");
        assert_eq!(shown.matches("    no answer\n").count(), 3, "{shown}");
        assert!(shown.ends_with("\nnothing: no namespace, no link, no rule, no lease\n"), "{shown}");
    });
}

#[test]
fn by_hand_and_by_the_plugin_there_is_the_same_network() {
    lab_with(NEEDS, |host| {
        let shown = shown(host, "by_hand.sh");
        assert!(shown.contains("\nBy hand and by the plugin: no difference.\n"), "{shown}");
        assert_eq!(shown.matches(" 0% packet loss").count(), 4, "{shown}");
        assert!(shown.contains("⇄ eth0 in hand-box"), "{shown}");
        assert!(shown.ends_with("\nnothing: no link, no rule, no lease\n"), "{shown}");
    });
}

#[test]
fn a_script_that_is_told_to_end_takes_its_processes_along() {
    lab_with(NEEDS, |host| {
        let before = host.snapshot();
        let said = "/run/lab/said";
        host.sh(&format!(": > {said}"));
        let call = Call::of(script("two_networks.sh"), &[&programs(host)]).stdout_to(said);
        let running = call.start();
        // By now the server of the page is there.
        host.sh(&format!("timeout 30 sh -c 'until grep -q \"^# Somebody outside\" {said}; do :; done'"));
        running.signal("TERM");
        assert_eq!(running.finish().status().code(), Some(143));
        host.sh("timeout 30 sh -c 'while pgrep -x busybox; do :; done'");
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn a_script_says_what_it_lacks() {
    lab_with(NEEDS, |host| {
        for name in ["demo.sh", "two_networks.sh", "by_hand.sh"] {
            let cases: [(&[&str], &str); 3] = [
                (&["/nowhere"], "no bridge in /nowhere: `make build`"),
                (&["/run/lab/bin"], "/run/lab/bin is out of sight in here"),
                (&["a", "b"], "one word at most"),
            ];
            for (words, complaint) in cases {
                let ended = Call::of(script(name), words).run();
                assert_eq!((ended.status().code(), ended.stdout()), (Some(1), String::new()));
                assert!(ended.stderr().starts_with(&format!("{name}: {complaint}")), "{}", ended.stderr());
            }
        }
        host.sh("mkdir /run/lab/few && ln -s $(command -v bash) $(command -v dirname) $(command -v uname) /run/lab/few");
        let ended = Call::of(script("demo.sh"), &[&programs(host)]).env("PATH", "/run/lab/few").run();
        assert_eq!(ended.status().code(), Some(1));
        assert!(ended.stderr().contains("ip is missing"), "{}", ended.stderr());
    });
}
