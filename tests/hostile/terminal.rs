//! What a person sees on a terminal: names and texts of strangers are written out.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use super::{OURS, lay_out_what_is_precious};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::world::Need;

const EVIL: &str = "x\u{1b}[2J\u{9b}2J\u{7}\u{202e}y";

/// Runs it on a terminal of its own. What the terminal gets, without the ends of its lines.
fn shown(host: &Host, line: &str) -> String {
    let call = Call::of("/usr/bin/script", &["-qefc", &format!("{line} 2>&1"), "/dev/null"]);
    let call = call
        .env("NETCONFPATH", "/run/conf")
        .env("CNI_PATH", host.bin())
        .env("SHELL", "/bin/sh")
        .env("TERM", "dumb");
    call.run().stdout().replace("\r\n", "\n")
}

#[track_caller]
fn is_harmless(line: &str, shown: &str) {
    let raw = shown.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t') || *c == '\u{202e}');
    assert!(raw.is_none(), "`{line}` sends {raw:?} to a terminal: {shown:?}");
    let written_out = ["\\u{1b}", "\\u001b", "\\x1b", "u#123;1b"].iter().any(|form| shown.contains(form));
    assert!(written_out, "`{line}` says nothing of the name: {shown:?}");
}

#[test]
fn no_name_of_a_stranger_reaches_a_terminal_raw() {
    lab_with(&[OURS[0], Need::Program("script")], |host| {
        lay_out_what_is_precious();
        let names = format!("/run/netns/{EVIL}");
        host.sh("ip netns add plain; mkdir -p /run/conf /run/jackfield/attachments /run/leases/net-a /run/cnidata");
        let made = Call::of(host.program("netns"), &["add", EVIL]).run();
        assert!(made.succeeded(), "{made}");
        host.sh(&format!("ip netns set '{EVIL}' 7"));
        fs::write(format!("/run/conf/{EVIL}.conflist"), "{").unwrap();
        fs::write(
            "/run/conf/10-evil.conf",
            json!({"cniVersion": "1.0.0", "name": EVIL, "type": EVIL}).to_string(),
        )
        .unwrap();
        fs::write(format!("/run/leases/net-a/{EVIL}"), "").unwrap();
        fs::write("/run/leases/net-a/10.9.0.7", format!("{EVIL}\r\n{EVIL}")).unwrap();
        let tool = |name: &str| host.program(name).display().to_string();
        let (netns, cnitool, leases) = (tool("netns"), tool("cnitool"), tool("host-local"));
        let raw = Call::of(host.program("netns"), &["list"]).run();
        assert!(raw.stdout().contains(EVIL), "a program gets the very name\n{raw}");
        for line in [
            format!("{netns} list"),
            format!("{netns} -j list"),
            format!("{netns} list-id"),
            format!("{netns} -j list-id"),
            format!("{netns} exec '{EVIL}' {netns} identify"),
            format!("{netns} add '{EVIL}'"),
            format!("{netns} '{EVIL}'"),
            format!("{netns} exec '{EVIL}-not' true"),
            format!("{netns} -all exec true"),
            format!("{netns} exec --each '{EVIL}' -- echo x"),
            format!("{netns} identify '{EVIL}'"),
            format!("{netns} graph"),
            format!("{netns} -j graph"),
            format!("{netns} graph --format dot"),
            format!("{netns} graph --format mermaid"),
            format!("{netns} graph --format svg"),
            format!("{cnitool} list"),
            format!("{cnitool} list --json"),
            format!("{cnitool} validate"),
            format!("{cnitool} validate --json"),
            format!("{cnitool} explain '{EVIL}'"),
            format!("{cnitool} add '{EVIL}' '{names}'"),
            format!("{cnitool} check net '{EVIL}'"),
            format!("{cnitool} trace add '{EVIL}' '{names}'"),
            format!("{cnitool} replay '{EVIL}'"),
            format!("{leases} --list /run/leases/net-a"),
            format!("{leases} --verify /run/leases/net-a"),
            format!("{leases} --verify --json /run/leases/net-a"),
            format!("{leases} '--{EVIL}'"),
            format!("{leases} --list '/run/{EVIL}'"),
        ] {
            is_harmless(&line, &shown(host, &line));
        }
        assert_eq!(names.as_bytes(), std::ffi::OsStr::new(&names).as_bytes());
    });
}

/// The names in comments of rules are theirs who write to the table.
#[test]
fn a_comment_that_is_not_ours_reaches_no_terminal_raw() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = json!({"cniVersion": "1.1.0", "name": "net-a", "type": "portmap",
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}});
        let (web, prev) = super::behind(host, &pod, "c1", conf);
        web.call_with("ADD", &prev).run().result();
        host.sh("rm /run/jackfield/attachments/*.portmap");
        let listed = host.sh("nft list table inet jackfield");
        let evil = listed.replace("jackfield: net-a eth0 c1", &format!("jackfield: {EVIL} {EVIL} {EVIL}"));
        assert_ne!(listed, evil, "the comment has another form by now\n{listed}");
        fs::write(
            "/run/evil.nft",
            format!("flush table inet jackfield\ndelete table inet jackfield\n{evil}"),
        )
        .unwrap();
        host.sh("nft -f /run/evil.nft");
        let told = Call::of(host.program("portmap"), &["--list"]).run();
        assert!(told.succeeded(), "{told}");
        is_harmless("portmap --list", &told.stdout());
    });
}
