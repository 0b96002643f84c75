//! What a plugin is told: its stdin and its environment.

use serde_json::{Value, json};

use super::Tool;
use crate::lab::lab;

/// A result by which its plugin can be told.
fn result_of(plugin: u32) -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": format!("10.44.0.{plugin}/24")}], "plugin": plugin})
}

/// Three stubs, each with a result of its own.
fn three<'a>(host: &'a crate::lab::host::Host, version: &str) -> Tool<'a> {
    let tool = Tool::with_stubs(host, &["one", "two", "three"]);
    for (number, stub) in (1..).zip(&tool.stubs) {
        stub.answers("ADD", &result_of(number).to_string());
    }
    tool.network(version, &json!({}));
    tool
}

#[test]
fn every_plugin_gets_every_variable_and_all_get_the_same() {
    lab(|host| {
        // ENV-21, -22, DRV-11, RTL-07
        let tool = three(host, "1.0.0");
        for verb in ["add", "check", "del"] {
            tool.run(verb);
            let path: Vec<&str> = tool.stubs.iter().map(|stub| stub.folder()).collect();
            for stub in &tool.stubs {
                let call = stub.calls().pop().unwrap();
                let expected = [
                    ("CNI_COMMAND", verb.to_uppercase()),
                    ("CNI_CONTAINERID", tool.container()),
                    ("CNI_NETNS", tool.pod.path().to_owned()),
                    ("CNI_IFNAME", "eth0".to_owned()),
                    ("CNI_ARGS", String::new()),
                    ("CNI_PATH", path.join(":")),
                ];
                for (key, value) in expected {
                    assert_eq!(call.variable(key), Some(value), "{verb} {key}");
                }
            }
        }
    });
}

#[test]
fn gc_and_status_get_no_attachment() {
    lab(|host| {
        // ENV-20, GC-20, STA-12, DRV-09
        let tool = Tool::with_stubs(host, &["one"]);
        let plugin = json!([{"type": "one", "runtimeConfig": {"x": 1}, "prevResult": {}, "capabilities": {"mac": true}}]);
        tool.network("1.1.0", &json!({"plugins": plugin}));
        for verb in ["gc", "status"] {
            let call = tool.call(verb).env("CNI_ARGS", "A=1").env("CAP_ARGS", r#"{"mac":"x"}"#);
            call.env("CNI_CONTAINERID", "stray").run().silent();
            let call = tool.stubs[0].calls().pop().unwrap();
            assert_eq!(call.verb, verb.to_uppercase());
            for key in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"] {
                assert_eq!(call.variable(key).as_deref(), Some(""), "{verb} {key}");
            }
            assert_eq!(call.conf(), json!({"type": "one", "cniVersion": "1.1.0", "name": "net"}));
        }
    });
}

#[test]
fn name_and_version_are_the_lists_and_the_rest_is_the_files_to_the_byte() {
    lab(|host| {
        // DRV-01, -02, -06, -07, -12
        let tool = Tool::with_stubs(host, &["one"]);
        let unknown =
            r#""big":9007199254740993,"small":1.0,"deep":{ "a":[1,{"B":"\u00e9"}] },"twice":1,"twice":2"#;
        let plugin = format!(r#"{{"type":"one","name":"own","cniVersion":"0.1.0","cni.dev/x":1,{unknown}}}"#);
        tool.file(
            "10-net.conflist",
            &format!(r#"{{"cniVersion":"1.0.0","name":"net","plugins":[{plugin}]}}"#),
        );
        for verb in ["add", "check", "del"] {
            tool.run(verb);
            let call = tool.stubs[0].calls().pop().unwrap();
            assert_eq!(call.conf()["name"], "net");
            assert_eq!(call.conf()["cniVersion"], "1.0.0");
            assert_eq!(call.conf().get("cni.dev/x"), None);
            assert!(String::from_utf8_lossy(&call.stdin).contains(unknown), "{call:?}");
        }
    });
}

#[test]
fn a_plugin_gets_the_arguments_that_it_declares_and_no_declaration() {
    lab(|host| {
        // DRV-03, -04, CAP-29, CNV-03, ARG-02
        let tool = Tool::with_stubs(host, &["one", "two"]);
        let plugins = json!([
            {"type": "one", "capabilities": {"portMappings": true, "mac": false, "bandwidth": true}},
            {"type": "two"}
        ]);
        tool.network("1.0.0", &json!({"plugins": plugins}));
        let supplied = r#"{"portMappings":[{"HostPort":18300}],"mac":"x","ips":["10.0.0.1"]}"#;
        tool.call("add").env("CAP_ARGS", supplied).run().result();
        // ENV-23, -24: the same for CHECK and DEL, also where the user does not say it again.
        tool.run("check").silent();
        tool.run("del").silent();
        for call in tool.stubs[0].calls() {
            assert_eq!(
                call.conf()["runtimeConfig"],
                json!({"portMappings": [{"HostPort": 18300}]}),
                "{}",
                call.verb
            );
            assert_eq!(call.conf().get("capabilities"), None, "{}", call.verb);
        }
        for call in tool.stubs[1].calls() {
            assert_eq!(call.conf().get("runtimeConfig"), None, "{}", call.verb);
        }
    });
}

#[test]
fn nothing_to_pass_leaves_runtime_config_as_the_file_has_it() {
    lab(|host| {
        // DRV-05, CFG-15
        let tool = Tool::with_stubs(host, &["one", "two"]);
        let plugins = json!([
            {"type": "one", "capabilities": {"mac": true}},
            {"type": "two", "capabilities": {"mac": true}, "runtimeConfig": {"mac": "file"}}
        ]);
        tool.network("1.0.0", &json!({"plugins": plugins}));
        tool.run("add").result();
        assert_eq!(tool.stdin(0).get("runtimeConfig"), None);
        assert_eq!(tool.stdin(1)["runtimeConfig"], json!({"mac": "file"}));
        tool.run("del").silent();
        tool.call("add").env("CAP_ARGS", r#"{"mac":"given"}"#).run().result();
        assert_eq!(tool.stdin(1)["runtimeConfig"], json!({"mac": "given"}));
    });
}

#[test]
fn each_plugin_gets_the_result_of_the_one_before_it_to_the_byte() {
    lab(|host| {
        // CHN-15, -16, -17, DRV-08
        let tool = three(host, "1.0.0");
        let odd = r#"{"cniVersion":"1.0.0","ips":[],"x":9007199254740993,"y":{ "z":1.50 }}"#;
        tool.stubs[0].answers("ADD", odd);
        let answered = tool.run("add").result();
        assert_eq!(tool.stdin(0).get("prevResult"), None);
        let second = tool.stubs[1].calls().pop().unwrap();
        let members = r#""x":9007199254740993,"y":{ "z":1.50 }"#;
        assert!(String::from_utf8_lossy(&second.stdin).contains(members), "{second:?}");
        assert_eq!(tool.stdin(2)["prevResult"], result_of(2));
        assert_eq!(answered, result_of(3));
    });
}

#[test]
fn check_and_del_get_the_last_result_for_every_plugin() {
    lab(|host| {
        // DEL-20, CHK-22, ENV-23, -24
        let tool = three(host, "1.0.0");
        tool.call("add").env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=a").run().result();
        for verb in ["check", "del"] {
            tool.run(verb).silent();
            for stub in &tool.stubs {
                let call = stub.calls().pop().unwrap();
                assert_eq!(call.conf()["prevResult"], result_of(3));
                assert_eq!(call.variable("CNI_ARGS").as_deref(), Some("IgnoreUnknown=1;K8S_POD_NAME=a"));
            }
        }
    });
}

#[test]
fn del_below_0_4_0_gets_no_result() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.stubs[0].answers("ADD", r#"{"ips":[{"version":"4","address":"10.0.0.2/24"}]}"#);
        tool.network("0.3.1", &json!({}));
        tool.run("add").result();
        tool.run("del").silent();
        assert_eq!(tool.stdin(0).get("prevResult"), None);
    });
}

#[test]
fn a_result_in_another_version_is_converted_for_check_and_del() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.stubs[0].answers("ADD", &result_of(1).to_string());
        tool.network("0.4.0", &json!({}));
        assert_eq!(tool.run("add").result()["cniVersion"], "1.0.0");
        tool.run("check").silent();
        let prev = tool.stdin(0)["prevResult"].clone();
        assert_eq!(prev["cniVersion"], "0.4.0");
        assert_eq!(prev["ips"][0]["version"], "4");
    });
}

#[test]
fn results_without_interfaces_or_with_none_meant_are_accepted() {
    lab(|host| {
        // RTL-08, UPG-05
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        for result in [r#"{}"#, r#"{"ips":[{"address":"10.0.0.2/24","interface":-1}]}"#] {
            tool.stubs[0].answers("ADD", result);
            // A result that does not say its version has the list's.
            assert_eq!(tool.run("add").result()["cniVersion"], "1.0.0");
            tool.run("del").silent();
        }
    });
}

#[test]
fn a_result_that_is_none_fails_the_add() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        for bad in ["", "[]", "nonsense", r#"{"cniVersion":"9.9.9"}"#, r#"{"ips":[{"address":"10.0.0.2"}]}"#]
        {
            tool.stubs[0].answers("ADD", bad);
            super::refused(&tool.run("add"), &["plugin type=\"one\" failed (add)"]);
            assert_eq!(tool.verbs(), [["ADD", "DEL"]], "{bad}");
        }
    });
}

#[test]
fn plugins_run_in_the_runtimes_namespace() {
    lab(|host| {
        // DRV-10
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        for verb in ["add", "check", "status", "del", "gc"] {
            tool.run(verb);
            let here = host.sh("readlink /proc/self/ns/net");
            assert_eq!(tool.stubs[0].calls().pop().unwrap().netns, here.trim(), "{verb}");
        }
    });
}
