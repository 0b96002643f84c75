//! `cnitool explain`: what it says is what the plugins then get.

use serde_json::{Value, json};

use super::{CONF, Tool, program, refused};
use crate::lab::call::Call;
use crate::lab::lab;

/// What is said of each plugin, and what the stub of that name then received in its last call.
fn same_as_received(tool: &Tool<'_>, verb: &str, capabilities: &str) -> Value {
    let call = |words: &[&str]| {
        let path: Vec<&str> = tool.stubs.iter().map(|stub| stub.folder()).collect();
        let call = Call::of(program(tool.host), words).env("CNI_PATH", path.join(":"));
        call.env("NETCONFPATH", CONF).env("CNI_ARGS", "A=1").env("CAP_ARGS", capabilities).run()
    };
    let said = call(&["explain", "net", tool.pod.path(), "--json", "--verb", verb]);
    let explained: Value = serde_json::from_str(&said.stdout()).expect("JSON");
    assert_eq!(tool.verbs(), vec![Vec::<String>::new(); tool.stubs.len()], "nothing is run");
    assert!(call(&[verb, "net", tool.pod.path()]).succeeded(), "{verb}");
    for plugin in explained["plugins"].as_array().unwrap() {
        let stub = tool.stubs.iter().find(|stub| stub.name() == plugin["type"]).unwrap();
        let received = stub.calls().last().unwrap().clone();
        for (key, value) in plugin["environment"].as_object().unwrap() {
            assert_eq!(received.variable(key).as_deref(), value.as_str(), "{key}");
        }
        let (mut told, mut got) = (plugin["stdin"].clone(), received.conf());
        if plugin["prevResult"] == "before" {
            assert!(told["prevResult"].as_str().unwrap().starts_with("<the result of "), "{told}");
            assert!(got["prevResult"].is_object(), "{got}");
            (told["prevResult"], got["prevResult"]) = (json!(0), json!(0));
        }
        assert_eq!(told, got);
    }
    tool.verbs();
    explained
}

#[test]
fn what_is_explained_is_what_each_plugin_then_gets() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one", "two"]);
        let one = r#"{"type":"one","capabilities":{"mac":true,"ips":true},"big":9007199254740993,"ipam":{"type":"two"}}"#;
        let list = format!(
            r#"{{"cniVersion":"1.1.0","name":"net","plugins":[{one},{{"type":"two","prevResult":{{}}}}]}}"#
        );
        tool.file("10-net.conflist", &list);
        let supplied = r#"{"mac":"02:00:00:00:00:01","aliases":["x"]}"#;
        let added = same_as_received(&tool, "add", supplied);
        assert_eq!(added["file"], "/run/conf/10-net.conflist");
        assert_eq!(
            (&added["unheard"], &added["plugins"][0]["asks"]["type"]),
            (&json!(["aliases"]), &json!("two"))
        );
        let checked = same_as_received(&tool, "check", "");
        assert_eq!(checked["plugins"][1]["prevResult"], "remembered");
        let deleted = same_as_received(&tool, "del", "");
        assert_eq!(deleted["plugins"][0]["type"], "two", "backwards");
        for verb in ["gc", "status"] {
            assert_eq!(same_as_received(&tool, verb, "")["plugins"].as_array().unwrap().len(), 2);
        }
    });
}

#[test]
fn an_explanation_says_where_addresses_come_from_and_why_nobody_is_asked() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        let list = r#"{"cniVersion":"0.3.1","name":"other","plugins":[{"type":"one","ipam":{"type":"none\u001b[2J"}}]}"#;
        tool.file("list", list);
        let explain = |words: &[&str]| {
            let words = [&["explain", "--conf", "/run/conf/list"], words].concat();
            Call::of(program(host), &words).env("CNI_PATH", tool.stubs[0].folder()).run()
        };
        let said = explain(&["other"]).stdout();
        assert!(said.contains("└─ one: /run/lab/stub-one/one\n"), "{said}");
        assert!(said.contains("   └─ none\\u{1b}[2J: failed to find plugin"), "{said}");
        assert!(said.contains("CNI_NETNS=/run/netns/NETNS\n") && !said.contains('\u{1b}'), "{said}");
        for (verb, why) in [("check", "has no CHECK"), ("status", "has no STATUS"), ("gc", "has no GC")] {
            let said = explain(&["other", "--verb", verb]).stdout();
            assert!(said.contains(why) && !said.contains("└─"), "{said}");
        }
        refused(&explain(&["net"]), &["/run/conf/list holds the network \"other\", and not \"net\""]);
        for (file, words) in
            [("/run/conf/nothing", "no such file or directory"), ("/run/conf", "is a directory")]
        {
            let conf = Call::of(program(host), &["status", "net", "--conf", file]).run();
            refused(&conf, &[file, words]);
        }
        let conf = ["add", "other", tool.pod.path(), "--conf", "/run/conf/list"];
        let conf = Call::of(program(host), &conf).env("CNI_PATH", tool.stubs[0].folder());
        conf.run().result();
        assert_eq!(tool.verbs(), [["ADD"]]);
    });
}
