//! `cnitool list`: networks, attachments with what the kernel says of them, and leases.

use std::fs;

use serde_json::{Value, json};

use super::{CONF, Tool, program, refused};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::{conf, lab};

fn list(host: &Host, words: &[&str]) -> Outcome {
    Call::of(program(host), &[&["list"], words].concat()).env("NETCONFPATH", CONF).run()
}

fn parsed(host: &Host) -> Value {
    let outcome = list(host, &["--json"]);
    serde_json::from_str(&outcome.stdout()).unwrap_or_else(|_| panic!("{outcome}"))
}

#[test]
fn an_attachment_is_listed_with_what_the_kernel_says_of_it() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        let bridge = conf::without(&conf::bridge(host), "name");
        let written = json!({"cniVersion": host.newest(), "name": "net", "plugins": [bridge]});
        tool.file("10-net.conflist", &written.to_string());
        let run = |verb: &str| tool.call(verb).env("CNI_PATH", host.bin()).run();
        run("add").result();
        let before = host.snapshot();
        let found = parsed(host);
        before.same_as(&host.snapshot(), &[]);
        assert_eq!(found["networks"][0]["plugins"], json!(["bridge"]), "{found}");
        let attached = json!({"network": "net", "containerID": tool.container(), "ifname": "eth0",
            "netns": tool.pod.path(), "addresses": ["10.9.0.2/24", "fd00:9::2/64"], "state": "up", "about": null});
        assert_eq!(found["attachments"], json!([attached]));
        let lease = json!({"network": "net", "address": "10.9.0.2", "containerID": tool.container(),
            "ifname": "eth0", "state": "remembered"});
        assert_eq!(found["leases"][0], lease);
        for (change, state, about) in [
            ("ip link set eth0 down; ip address add fd00:9::2/64 dev eth0 nodad || true", "down", "eth0"),
            ("ip address del 10.9.0.2/24 dev eth0", "address gone", "10.9.0.2/24"),
            ("ip link set eth0 name other", "link gone", "eth0"),
        ] {
            tool.pod.sh(change);
            let found = parsed(host);
            assert_eq!(
                (&found["attachments"][0]["state"], &found["attachments"][0]["about"]),
                (&json!(state), &json!(about))
            );
        }
        tool.pod.delete();
        assert_eq!(parsed(host)["attachments"][0]["state"], "namespace gone");
        host.sh(&format!("touch {}", tool.pod.path()));
        assert_eq!(parsed(host)["attachments"][0]["state"], "path leads elsewhere");
        host.sh(&format!("rm {}", tool.pod.path()));
        run("del").silent();
        let found = parsed(host);
        assert_eq!((&found["attachments"], &found["leases"]), (&json!([]), &json!([])));
    });
}

#[test]
fn what_is_broken_hidden_or_left_is_listed_as_that() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        let nothing = list(host, &[]);
        let expected = "no network in /run/conf\n\nno attachment is remembered\n\nno lease of host-local\n";
        assert_eq!((nothing.stdout().as_str(), nothing.succeeded()), (expected, true));
        tool.network("1.0.0", &json!({}));
        tool.file("20-net.conf", r#"{"name":"net","type":"one"}"#);
        tool.stubs[0].hangs("ADD");
        let mut adding = tool.call("add").start();
        tool.stubs[0].wait_for(&mut adding);
        fs::create_dir_all("/var/lib/cni/networks/old").unwrap();
        fs::write("/var/lib/cni/networks/old/10.1.0.2", "gone\r\neth0").unwrap();
        fs::write("/var/lib/cni/networks/old/10.1.0.3", "\u{1b}[2J\r\neth0").unwrap();
        fs::write("/var/lib/cni/results/torn", "{").unwrap();
        let all = list(host, &[]);
        for words in [
            "net      1.0.0    one      /run/conf/10-net.conflist\n",
            "/run/conf/20-net.conf (never found, for /run/conf/10-net.conflist has it too)\n",
            "  add not finished\n",
            "old      10.1.0.2  gone       eth0       not remembered\n",
            "old      10.1.0.3  \\u{1b}[2J  eth0       not remembered\n",
        ] {
            assert!(all.stdout().contains(words), "expected {words}\n{all}");
        }
        assert!(!all.stdout().contains('\u{1b}'), "{all}");
        let torn = "Warning: read /var/lib/cni/results/torn: ";
        assert!(all.status().code() == Some(1) && all.stderr().starts_with(torn), "{all}");
        tool.stubs[0].release();
        adding.finish().result();
        // One network alone, and a broken file beside it.
        tool.file("00-broken.conflist", "{");
        let net = list(host, &["net"]);
        assert_eq!(net.status().code(), Some(1), "{net}");
        assert!(net.stderr().starts_with("Warning: /run/conf/00-broken.conflist: "), "{net}");
        assert!(
            net.stdout().contains("eth0       10.44.0.2/24") && !net.stdout().contains("10.1.0.2"),
            "{net}"
        );
        refused(
            &list(host, &["other\u{1b}"]),
            &["neither a network \"other\\u{1b}\" in /run/conf", "00-broken"],
        );
        let elsewhere = Call::of(program(host), &["list"]).env("NETCONFPATH", "/run/conf/20-net.conf").run();
        refused(&elsewhere, &["read the folder /run/conf/20-net.conf: not a directory"]);
    });
}
