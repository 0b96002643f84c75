//! The order of things: which plugins run, when, and what follows a failure.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use super::{Tool, refused};
use crate::lab::call::{Call, Running};
use crate::lab::lab;

/// An error object with this code.
fn error(code: u32) -> String {
    json!({"cniVersion": "1.1.0", "code": code, "msg": "no luck", "details": "the why"}).to_string()
}

/// Whose call each was, in order.
fn order(tool: &Tool<'_>) -> Vec<String> {
    let calls = tool.stubs[0].calls();
    calls.iter().map(|call| format!("{} {}", call.verb, call.conf()["type"].as_str().unwrap())).collect()
}

#[test]
fn add_runs_forwards_and_del_backwards() {
    lab(|host| {
        // DEL-19
        let tool = Tool::with_one_record(host, &["one", "two", "three"]);
        tool.network("1.0.0", &json!({}));
        tool.run("add").result();
        tool.run("check").silent();
        tool.run("del").silent();
        let verbs =
            ["ADD", "CHECK"].map(|verb| ["one", "two", "three"].map(|plugin| format!("{verb} {plugin}")));
        let del = ["three", "two", "one"].map(|plugin| format!("DEL {plugin}"));
        assert_eq!(order(&tool), [verbs.as_flattened(), &del].concat());
    });
}

#[test]
fn add_stops_at_the_first_error_and_deletes_what_it_began() {
    lab(|host| {
        // CHN-18, DEL-22, ERR-13, -20
        let tool = Tool::with_stubs(host, &["one", "two", "three"]);
        tool.network("1.0.0", &json!({}));
        for code in [117, 11, 7] {
            tool.stubs[1].fails("ADD", &error(code));
            let failed = "plugin type=\"two\" failed (add): no luck; the why";
            refused(&tool.run("add"), &[failed, &format!("(code {code})")]);
            assert_eq!(tool.verbs(), [vec!["ADD", "DEL"], vec!["ADD", "DEL"], vec!["DEL"]]);
            assert!(!tool.record().exists());
        }
    });
}

#[test]
fn an_add_that_meets_somebody_elses_interface_leaves_it_alone() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.stubs[0].fails("ADD", &error(999));
        tool.pod.sh("ip link add eth0 type veth peer name other");
        refused(&tool.run("add"), &["no luck"]);
        assert_eq!(tool.verbs(), [["ADD"]]);
        assert!(!tool.record().exists());
    });
}

#[test]
fn a_failed_clean_up_is_told_and_remembered() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.stubs[0].fails("ADD", &error(117));
        tool.stubs[0].fails("DEL", &error(118));
        refused(&tool.run("add"), &["no luck", "failed to clean up", "(code 117)"]);
        tool.stubs[0].answers("DEL", "");
        tool.verbs();
        tool.run("gc").silent();
        assert_eq!(tool.verbs(), [["DEL"]]);
    });
}

#[test]
fn an_attachment_is_not_added_twice() {
    lab(|host| {
        // ADD-18
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.run("add").result();
        refused(&tool.run("add"), &["net", &tool.container(), "eth0", "already"]);
        tool.call("add").env("CNI_IFNAME", "eth1").run().result();
        assert_eq!(tool.verbs(), [["ADD", "ADD"]]);
    });
}

#[test]
fn the_namespace_is_there_before_any_plugin_runs_and_stays_afterwards() {
    lab(|host| {
        // RTL-01, -06
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        host.sh("touch /run/netns/plain");
        let add = |path: &str| {
            let words = ["add", "net", path];
            let call = Call::of(super::program(host), &words).env("NETCONFPATH", super::CONF);
            call.env("CNI_PATH", tool.stubs[0].folder()).run()
        };
        refused(
            &add("/run/netns/none"),
            &["failed to open netns \"/run/netns/none\"", "no such file or directory"],
        );
        refused(&add("/run/netns/plain"), &["failed to open netns \"/run/netns/plain\"", "unknown FS magic"]);
        assert_eq!(tool.verbs(), [[""; 0]]);
        tool.run("add").result();
        tool.run("del").silent();
        assert_eq!(host.sh("ip netns list | wc -l").trim(), "2");
    });
}

#[test]
fn del_stops_at_the_first_error_and_can_be_repeated() {
    lab(|host| {
        // DEL-21, -23, -25
        let tool = Tool::with_stubs(host, &["one", "two", "three"]);
        tool.network("1.0.0", &json!({}));
        tool.run("add").result();
        tool.verbs();
        tool.stubs[1].fails("DEL", &error(117));
        refused(&tool.run("del"), &["plugin type=\"two\" failed (delete): no luck; the why", "(code 117)"]);
        assert_eq!(tool.verbs(), [vec![], vec!["DEL"], vec!["DEL"]]);
        assert!(tool.record().exists());
        tool.stubs[1].answers("DEL", "");
        tool.run("del").silent();
        assert!(!tool.record().exists());
        tool.verbs();
        tool.run("del").silent();
        assert!(tool.stubs.iter().all(|stub| stub.calls()[0].conf().get("prevResult").is_none()));
        assert_eq!(tool.verbs(), [["DEL"]; 3]);
    });
}

#[test]
fn a_missing_plugin_is_an_error_and_an_add_then_runs_none() {
    lab(|host| {
        // DEL-24
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({"plugins": [{"type": "one"}, {"type": "no-such"}]}));
        for (verb, ran) in [("add", vec![]), ("del", vec![]), ("status", vec!["STATUS"]), ("gc", vec!["GC"])]
        {
            refused(
                &tool.run(verb),
                &["failed to find plugin \"no-such\" in path [", tool.stubs[0].folder()],
            );
            assert_eq!(tool.verbs(), [ran], "{verb}");
        }
    });
}

#[test]
fn check_needs_an_add_and_a_version_that_has_it() {
    lab(|host| {
        // CHK-20, -23, -24
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.0.0", &json!({}));
        refused(&tool.run("check"), &["not attached"]);
        tool.run("add").result();
        tool.run("check").silent();
        tool.run("check").silent();
        tool.stubs[0].fails("CHECK", &error(117));
        refused(&tool.run("check"), &["plugin type=\"one\" failed (check): no luck; the why", "(code 117)"]);
        tool.run("del").silent();
        refused(&tool.run("check"), &["not attached"]);
        assert_eq!(
            tool.verbs(),
            [vec!["ADD", "CHECK", "CHECK", "CHECK", "DEL"], vec!["ADD", "CHECK", "CHECK", "DEL"]]
        );
        tool.network("0.3.1", &json!({}));
        refused(
            &tool.run("check"),
            &["configuration version \"0.3.1\" does not support the CHECK command", "(code 1)"],
        );
    });
}

#[test]
fn what_a_list_disables_is_not_run_and_succeeds() {
    lab(|host| {
        // CHK-21, GC-19, CFG-09
        let tool = Tool::with_stubs(host, &["one"]);
        for yes in [json!(true), json!("true"), json!("TRUE")] {
            tool.network("1.1.0", &json!({"disableCheck": yes, "disableGC": yes}));
            tool.run("add").result();
            tool.verbs();
            tool.run("check").silent();
            tool.run("gc").silent();
            assert_eq!(tool.verbs(), [[""; 0]]);
            tool.run("del").silent();
        }
    });
}

#[test]
fn status_asks_every_plugin_from_1_1_0_on() {
    lab(|host| {
        // STA-12
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.0.0", &json!({}));
        tool.run("status").silent();
        assert_eq!(tool.verbs(), [vec![""; 0], vec![]]);
        tool.network("1.1.0", &json!({}));
        tool.run("status").silent();
        tool.stubs[0].fails("STATUS", &error(50));
        refused(&tool.run("status"), &["no luck; the why", "(code 50)"]);
        assert_eq!(tool.verbs(), [vec!["STATUS", "STATUS"], vec!["STATUS"]]);
    });
}

#[test]
fn gc_deletes_what_is_remembered_and_then_asks_every_plugin() {
    lab(|host| {
        // GC-16, -18
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.1.0", &json!({}));
        tool.run("add").result();
        tool.call("add").env("CNI_IFNAME", "eth1").env("CNI_ARGS", "A=1").run().result();
        tool.verbs();
        tool.stubs[0].fails("GC", &error(117));
        let failed = ["failed to GC plugin one: no luck", "the why", "(code 117)"];
        refused(&tool.run("gc"), &failed);
        assert_eq!(tool.stubs[1].calls()[1].variable("CNI_ARGS").as_deref(), Some("A=1"));
        assert_eq!(tool.verbs(), [["DEL", "DEL", "GC"]; 2]);
        // A deletion that fails stops nothing either, and is tried again next time.
        tool.stubs[0].answers("GC", "");
        tool.run("add").result();
        tool.stubs[0].fails("DEL", &error(118));
        tool.verbs();
        let stale = format!("failed to delete stale attachment {} eth0", tool.container());
        refused(&tool.run("gc"), &[&stale, "no luck", "(code 118)"]);
        assert_eq!(tool.verbs(), [["DEL", "GC"]; 2]);
        assert!(tool.record().exists());
    });
}

#[test]
fn gc_leaves_other_networks_alone() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.file("20-other.conflist", r#"{"cniVersion":"1.0.0","name":"net-b","plugins":[{"type":"one"}]}"#);
        tool.call_for("net-b", "add").run().result();
        tool.verbs();
        tool.run("gc").silent();
        assert_eq!(tool.verbs(), [[""; 0]]);
        tool.call_for("net-b", "check").run().silent();
    });
}

#[test]
fn gc_waits_for_an_add_and_an_add_for_gc() {
    lab(|host| {
        // GC-17
        for (first, second) in [("add", "gc"), ("gc", "add")] {
            let name = format!("wait-{first}");
            let tool = Tool::with_stubs(host, &[&name]);
            tool.network("1.1.0", &json!({}));
            let stub = &tool.stubs[0];
            stub.hangs(&first.to_uppercase());
            let mut early = tool.call(first).start();
            stub.wait_for(&mut early);
            let mut late = tool.call(second).start();
            waits_for_the_lock(&mut late);
            assert_eq!(stub.verbs(), [first.to_uppercase()]);
            stub.release();
            assert!(early.finish().succeeded());
            if second == "gc" {
                late.finish().silent();
                assert_eq!(stub.verbs(), ["ADD", "DEL", "GC"]);
            } else {
                late.finish().result();
                assert_eq!(stub.verbs(), ["GC", "ADD"]);
            }
        }
    });
}

#[test]
fn operations_on_one_container_follow_each_other_and_containers_go_beside_each_other() {
    lab(|host| {
        // RTL-02, -03
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.0.0", &json!({"plugins": [{"type": "one"}]}));
        tool.file("20-b.conflist", r#"{"cniVersion":"1.0.0","name":"net-b","plugins":[{"type":"two"}]}"#);
        tool.stubs[0].hangs("ADD");
        let mut early = tool.call("add").start();
        tool.stubs[0].wait_for(&mut early);
        let mut late = tool.call_for("net-b", "add").env("CNI_IFNAME", "eth1").start();
        waits_for_the_lock(&mut late);
        assert_eq!(tool.stubs[1].verbs(), [""; 0]);
        let elsewhere = Tool { pod: host.pod(), host, stubs: Vec::new() };
        elsewhere.call_for("net-b", "add").env("CNI_PATH", tool.stubs[1].folder()).run().result();
        assert_eq!(tool.stubs[1].verbs(), ["ADD"]);
        tool.stubs[0].release();
        early.finish().result();
        late.finish().result();
        assert_eq!(tool.stubs[1].verbs(), ["ADD", "ADD"]);
    });
}

#[test]
fn an_interrupted_add_is_undone_before_the_runtime_ends() {
    lab(|host| {
        for (number, name) in [(1, "HUP"), (2, "INT"), (15, "TERM")] {
            let stub = format!("signal-{name}");
            let tool = Tool::with_stubs(host, &[&stub, "after"]);
            tool.network("1.0.0", &json!({}));
            tool.stubs[0].hangs("ADD");
            let mut add = tool.call("add").start();
            tool.stubs[0].wait_for(&mut add);
            add.signal(name);
            let outcome = add.finish();
            assert_eq!(outcome.status().signal(), Some(number), "{outcome}");
            assert!(outcome.stdout().is_empty(), "{outcome}");
            assert_eq!(tool.verbs(), [vec!["ADD", "DEL"], vec!["DEL"]]);
            assert!(!tool.record().exists());
        }
    });
}

/// Exit status 1 with an attachment that stays would be a lie.
#[test]
fn an_add_whose_result_cannot_be_told_is_undone() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["first", "last"]);
        tool.network("1.0.0", &json!({}));
        let outcome = tool.call("add").stdout_to("/dev/full").run();
        assert_eq!(outcome.status().code(), Some(1), "{outcome}");
        assert!(outcome.stderr().contains("write the result: no space left on device (code 5)"), "{outcome}");
        assert_eq!(tool.verbs(), [vec!["ADD", "DEL"], vec!["ADD", "DEL"]]);
        assert!(!tool.record().exists());
        tool.call("add").run().result();
    });
}

#[test]
fn whoever_waits_for_his_turn_can_be_stopped() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.stubs[0].hangs("ADD");
        let mut early = tool.call("add").start();
        tool.stubs[0].wait_for(&mut early);
        let mut late = tool.call("del").start();
        waits_for_the_lock(&mut late);
        late.signal("INT");
        assert_eq!(late.finish().status().signal(), Some(2));
        tool.stubs[0].release();
        early.finish().result();
        assert_eq!(tool.verbs(), [["ADD"]]);
    });
}

/// The kernel lists a blocked lock with an arrow and its file's device and inode (proc_locks(5)).
#[track_caller]
fn waits_for_the_lock(call: &mut Running) {
    let file = std::fs::metadata("/var/lib/cni/lock").unwrap();
    let (device, inode) = (file.dev(), file.ino());
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    let file = format!(" {:02x}:{minor:02x}:{inode} ", (device >> 8) & 0xfff);
    let waiting = |line: &str| line.contains("->") && line.contains(&file);
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waiting) {
        assert!(!call.has_ended(), "the call did not wait");
    }
}
