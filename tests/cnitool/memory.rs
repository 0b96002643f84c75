//! What a runtime remembers: libcni's files, read and written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::{CONF, Tool, program, refused};
use crate::lab::call::Call;
use crate::lab::lab;

const RESULT: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.44.0.2/24"}]}"#;

fn base64(host: &crate::lab::host::Host, path: &str) -> String {
    host.sh(&format!("base64 -w0 {path}"))
}

#[test]
fn a_result_is_remembered_in_libcnis_form() {
    lab(|host| {
        // CHN-17
        let tool = Tool::with_stubs(host, &["one"]);
        tool.stubs[0].answers("ADD", RESULT);
        tool.network("1.0.0", &json!({"plugins": [{"type": "one", "capabilities": {"mac": true}}]}));
        let add = tool.call("add").env("CNI_ARGS", "A=1;B=2").env("CAP_ARGS", r#"{"mac":"x"}"#);
        add.run().result();
        let written: Value = serde_json::from_slice(&fs::read(tool.record()).unwrap()).unwrap();
        let result: Value = serde_json::from_str(RESULT).unwrap();
        assert_eq!(
            written,
            json!({
                "kind": "cniCacheV1", "containerId": tool.container(), "config": base64(host, "/run/conf/10-net.conflist"),
                "ifName": "eth0", "networkName": "net", "netns": tool.pod.path(), "cniArgs": [["A", "1"], ["B", "2"]],
                "capabilityArgs": {"mac": "x"}, "result": result
            })
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&tool.record()), mode(tool.record().parent().unwrap())), (0o600, 0o700));
        // Killed while it puts one record in the place of another, an ADD leaves both.
        let name = tool.record().file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(tool.record().with_file_name(format!(".{name}.new")), "{").unwrap();
        tool.run("del").silent();
        assert_eq!(fs::read_dir("/var/lib/cni/results").unwrap().count(), 0);
    });
}

#[test]
fn what_libcni_remembered_is_checked_and_deleted() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        let config = base64(host, "/run/conf/10-net.conflist");
        let container = tool.container();
        for text in [
            // As libcni 1.1.2 writes it, with its compact members.
            format!(
                r#"{{"kind":"cniCacheV1","containerId":"{container}","config":"{config}","ifName":"eth0","networkName":"net","cniArgs":[["A","1"]],"result":{RESULT}}}"#
            ),
            // Before cniCacheV1 there was the result alone.
            RESULT.to_owned(),
        ] {
            fs::create_dir_all("/var/lib/cni/results").unwrap();
            fs::write(tool.record(), text).unwrap();
            tool.run("check").silent();
            tool.run("del").silent();
            for call in tool.stubs[0].calls() {
                assert_eq!(call.conf()["prevResult"], serde_json::from_str::<Value>(RESULT).unwrap());
            }
            assert_eq!(tool.verbs(), [["CHECK", "DEL"]]);
            assert!(!tool.record().exists());
        }
    });
}

#[test]
fn a_torn_record_stops_check_and_the_deletions_of_gc_and_nothing_else() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        let list = || Call::of(program(host), &["list", "net"]).env("NETCONFPATH", CONF).run();
        for torn in ["", "{\"kind\":\"cniCacheV1\",", "[]", "garbage\n"] {
            fs::create_dir_all("/var/lib/cni/results").unwrap();
            fs::write(tool.record(), torn).unwrap();
            refused(&tool.run("check"), &["/var/lib/cni/results/net-"]);
            // Its attachment may live, and so may those that can be read: nobody has said that they do not.
            tool.call("add").env("CNI_IFNAME", "eth1").run().result();
            tool.verbs();
            let file = tool.record().display().to_string();
            refused(&tool.run("gc"), &[&format!("read {file}: "), "(code 6)"]);
            assert_eq!(tool.verbs(), [["GC"]]);
            let listed = list();
            let warning = format!("Warning: read {file}: ");
            assert_eq!(listed.status().code(), Some(1), "{listed}");
            assert!(
                listed.stderr().starts_with(&warning) && listed.stdout().contains("  eth1  "),
                "{listed}"
            );
            // That of another network keeps nobody: other- is none of net.
            fs::rename(tool.record(), "/var/lib/cni/results/other-c-eth0").unwrap();
            assert!(list().succeeded());
            tool.run("gc").silent();
            assert_eq!(tool.verbs(), [["DEL", "GC"]]);
            fs::rename("/var/lib/cni/results/other-c-eth0", tool.record()).unwrap();
            // The attachment may be there: ADD deletes first.
            tool.run("add").result();
            assert_eq!(tool.verbs(), [["DEL", "ADD"]]);
            fs::write(tool.record(), torn).unwrap();
            tool.run("del").silent();
            assert!(!tool.record().exists());
            tool.verbs();
        }
    });
}

#[test]
fn del_runs_what_add_ran_whatever_the_file_says_by_now() {
    lab(|host| {
        // RTL-05
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.0.0", &json!({"plugins": [{"type": "one", "old": true}]}));
        tool.run("add").result();
        tool.network("1.1.0", &json!({"plugins": [{"type": "two"}]}));
        tool.run("check").silent();
        assert_eq!(tool.stdin(0)["old"], true);
        tool.run("del").silent();
        assert_eq!(tool.stdin(0)["cniVersion"], "1.0.0");
        assert_eq!(tool.verbs(), [vec!["ADD", "CHECK", "DEL"], vec![]]);
        // Also where it is gone altogether, or broken.
        for broken in [None, Some("{{{")] {
            tool.network("1.0.0", &json!({"plugins": [{"type": "one"}]}));
            tool.run("add").result();
            tool.remove("10-net.conflist");
            if let Some(broken) = broken {
                tool.file("10-net.conflist", broken);
            }
            tool.run("check").silent();
            tool.run("del").silent();
            assert_eq!(tool.verbs(), [vec!["ADD", "CHECK", "DEL"], vec![]]);
            refused(&tool.run("del"), &["no net configuration"]);
            tool.file("10-net.conflist", "{{{");
        }
    });
}

#[test]
fn a_runtime_that_is_killed_in_an_add_knows_it_afterwards() {
    lab(|host| {
        // RTL-04
        for next in ["add", "del", "gc"] {
            let name = format!("kill-{next}");
            let tool = Tool::with_stubs(host, &[&name]);
            let stub = &tool.stubs[0];
            tool.network("1.0.0", &json!({}));
            stub.hangs("ADD");
            let mut add = tool.call("add").start();
            stub.wait_for(&mut add);
            add.signal("KILL");
            stub.release();
            assert!(!add.finish().succeeded());
            refused(&tool.run("check"), &["not attached"]);
            stub.forget();
            fs::remove_file(format!("{}/ADD.hang", stub.folder())).unwrap();
            let after = tool.run(next);
            assert!(after.succeeded(), "{after}");
            let verbs = stub.verbs();
            assert_eq!(verbs[0], "DEL", "{next}");
            assert_eq!(verbs.get(1).map(String::as_str), (next == "add").then_some("ADD"));
            assert_eq!(tool.record().exists(), next == "add");
            tool.run("del").silent();
        }
    });
}

#[test]
fn a_cache_that_cannot_be_written_stops_an_add_before_any_plugin_runs() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        host.sh("mkdir -p /var/lib/cni/results && mount -t tmpfs -o ro none /var/lib/cni");
        for verb in ["add", "gc"] {
            refused(&tool.run(verb), &["/var/lib/cni", "ead-only file system", "(code 5)"]);
        }
        host.sh("umount /var/lib/cni && rmdir /var/lib/cni/results && touch /var/lib/cni/results");
        refused(&tool.run("add"), &["/var/lib/cni/results/net-", "(code 5)"]);
        assert_eq!(tool.verbs(), [[""; 0]]);
        // A folder that cannot be read is no empty one.
        refused(&tool.run("gc"), &["read the folder /var/lib/cni/results", "(code 5)"]);
    });
}

#[test]
fn one_file_name_for_two_attachments_serves_only_its_own() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        // net-a of c is called like net of a-c.
        let other = json!({
            "kind": "cniCacheV1", "containerId": &tool.container()[8..], "config": "", "ifName": "eth0",
            "networkName": "net-cnitool", "result": {}
        });
        fs::create_dir_all("/var/lib/cni/results").unwrap();
        fs::write(tool.record(), other.to_string()).unwrap();
        refused(&tool.run("check"), &["not attached"]);
        refused(&tool.run("add"), &["already stands for eth0 of container", "net-cnitool"]);
        assert_eq!(tool.verbs(), [[""; 0]]);
        tool.run("del").silent();
        assert!(tool.record().exists());
    });
}
