//! Finding networks and reading lists.

use serde_json::json;

use super::{CONF, Tool, refused};
use crate::lab::call::Call;
use crate::lab::lab;

#[test]
fn a_network_is_looked_for_in_lists_before_single_files() {
    lab(|host| {
        // CTL-03
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.file("10-net.conf", r#"{"cniVersion":"1.0.0","name":"net","type":"one"}"#);
        tool.file("20-net.conflist", r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"two"}]}"#);
        tool.run("add").result();
        assert_eq!(tool.verbs(), [vec![], vec!["ADD"]]);
        tool.run("del").silent();
        tool.remove("20-net.conflist");
        tool.verbs();
        tool.run("add").result();
        assert_eq!(tool.verbs(), [vec!["ADD"], vec![]]);
    });
}

#[test]
fn a_single_plugin_becomes_a_list_of_one() {
    lab(|host| {
        // CTL-03
        let tool = Tool::with_stubs(host, &["one"]);
        tool.file("10-net.json", r#"{"cniVersion":"0.4.0","name":"net","type":"one","keyA":["x"]}"#);
        tool.run("add").result();
        tool.run("check").silent();
        tool.run("del").silent();
        assert_eq!(tool.stdin(0)["keyA"], json!(["x"]));
        assert_eq!(tool.verbs(), [["ADD", "CHECK", "DEL"]]);
    });
}

#[test]
fn of_two_files_with_one_name_the_first_in_order_wins() {
    lab(|host| {
        // CFG-01
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.file("20-net.conflist", r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"two"}]}"#);
        tool.file("10-net.conflist", r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"one"}]}"#);
        tool.run("add").result();
        assert_eq!(tool.verbs(), [vec!["ADD"], vec![]]);
    });
}

#[test]
fn a_list_that_makes_no_sense_is_refused_before_any_plugin_runs() {
    lab(|host| {
        // CFG-01, -02, -06, -09, -12, -16
        let tool = Tool::with_stubs(host, &["one"]);
        let good = r#""plugins":[{"type":"one"}]"#;
        for (members, word) in [
            (r#""plugins":[{"type":"one"},{"x":1}]"#.to_owned(), "missing 'type'"),
            (r#""plugins":[{"type":"one"},{"type":"../one"}]"#.to_owned(), "../one"),
            (r#""plugins":[{"type":"one"},{"type":7}]"#.to_owned(), "type"),
            (r#""plugins":[]"#.to_owned(), "no plugins in list"),
            (r#""plugins":{}"#.to_owned(), "plugins"),
            (r#""x":1"#.to_owned(), "no plugin configs found"),
            (r#""loadOnlyInlinedPlugins":true"#.to_owned(), "loadOnlyInlinedPlugins"),
            (format!(r#""cniVersion":1,{good}"#), "cniVersion"),
            (format!(r#""cniVersion":"abc",{good}"#), "abc"),
            (format!(r#""cniVersions":[1],{good}"#), "cniVersions"),
            (format!(r#""cniVersions":["abc"],{good}"#), "abc"),
            (format!(r#""disableCheck":"perhaps",{good}"#), "disableCheck"),
            (format!(r#""disableGC":1,{good}"#), "disableGC"),
        ] {
            tool.file("10-net.conflist", &format!(r#"{{"name":"net",{members}}}"#));
            refused(&tool.run("add"), &["/run/conf/10-net.conflist", "error parsing configuration", word]);
        }
        for name in ["a/b", "..", "a b", ".a"] {
            tool.file("10-net.conflist", &format!(r#"{{"name":"{name}",{good}}}"#));
            refused(&tool.call_for(name, "add").run(), &["network name", name]);
        }
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn an_unknown_network_is_an_error_that_names_it_and_the_folder() {
    lab(|host| {
        // CTL-04
        let tool = Tool::with_stubs(host, &["one"]);
        refused(&tool.run("add"), &["no net configurations found in /run/conf"]);
        tool.network("1.0.0", &json!({}));
        let missing = "no net configuration with name \"other\" in /run/conf";
        for verb in ["add", "check", "del", "gc", "status"] {
            refused(&tool.call_for("other", verb).run(), &[missing]);
        }
        let nowhere = tool.call("add").env("NETCONFPATH", "/run/nowhere").run();
        refused(&nowhere, &["no net configurations found in /run/nowhere"]);
        refused(&tool.call_for("\u{1b}[31m", "add").without("NETCONFPATH").run(), &["/etc/cni/net.d"]);
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn a_broken_file_hides_no_other_network() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        tool.file("00-broken.conflist", "{{{");
        tool.file("01-empty.conf", "");
        let added = tool.run("add");
        added.result();
        assert!(added.stderr().contains("Warning: passed over /run/conf/00-broken.conflist"), "{added}");
        refused(&tool.call_for("other", "add").run(), &["\"other\"", "00-broken.conflist", "01-empty.conf"]);
    });
}

#[test]
fn the_highest_version_that_both_know_is_chosen() {
    lab(|host| {
        // CFG-03, -04, -05, RTL-09
        let tool = Tool::with_stubs(host, &["one"]);
        for (version, versions, chosen) in [
            ("0.4.0", json!(["0.3.1", "1.0.0", "1.1.0", "9.0.0"]), "1.1.0"),
            ("0.4.0", json!(["9.0.0"]), "0.4.0"),
            ("0.4.0", json!(["1.1.0", "0.10.0", "0.4.0"]), "1.1.0"),
            ("0.3.1", json!([]), "0.3.1"),
            ("", json!([]), "0.1.0"),
        ] {
            tool.network(version, &json!({"cniVersions": versions}));
            tool.run("add").result();
            assert_eq!(tool.stdin(0)["cniVersion"], chosen);
            tool.run("del").silent();
            tool.verbs();
        }
    });
}

#[test]
fn plugins_from_the_networks_folder_follow_those_of_the_list() {
    lab(|host| {
        // CFG-10
        let tool = Tool::with_one_record(host, &["one", "two", "three"]);
        tool.file("10-net.conflist", r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"one"}]}"#);
        tool.file("net/20-b.conf", r#"{"type":"two"}"#);
        tool.file("net/10-a.conf", r#"{"type":"three","big":9007199254740993}"#);
        tool.file("net/30-c.conflist", "{{{");
        tool.run("add").result();
        // RTL-05: DEL runs what ADD ran, also when the folder has changed.
        tool.remove("net/20-b.conf");
        tool.run("del").silent();
        let calls = tool.stubs[0].calls();
        let ran: Vec<_> = calls.iter().map(|call| call.conf()["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ran, ["one", "three", "two", "two", "three", "one"]);
        assert!(
            calls.iter().all(|call| call.conf()["name"] == "net" && call.conf()["cniVersion"] == "1.0.0")
        );
        assert!(String::from_utf8_lossy(&calls[4].stdin).contains("9007199254740993"));
    });
}

#[test]
fn a_list_that_is_whole_gets_nothing_from_the_folder() {
    lab(|host| {
        // CFG-11, -13
        let tool = Tool::with_stubs(host, &["one", "two"]);
        let list =
            r#"{"cniVersion":"1.0.0","name":"net","loadOnlyInlinedPlugins":true,"plugins":[{"type":"one"}]}"#;
        tool.file("10-net.conflist", list);
        tool.file("net/10-a.conf", r#"{"type":"two"}"#);
        tool.run("add").result();
        assert_eq!(tool.verbs(), [vec!["ADD"], vec![]]);
    });
}

#[test]
fn one_broken_plugin_in_the_networks_folder_breaks_the_network() {
    lab(|host| {
        // CFG-14
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        for broken in ["{{{", "{}", r#"{"type":"a/b"}"#] {
            tool.file("net/10-a.conf", broken);
            refused(&tool.run("add"), &["/run/conf/net/10-a.conf", "error parsing configuration"]);
        }
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn the_interface_is_the_flags_then_the_variables_then_eth0() {
    lab(|host| {
        // CTL-02
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        let ifname = || tool.stubs[0].calls().last().unwrap().variable("CNI_IFNAME").unwrap();
        tool.run("add").result();
        assert_eq!(ifname(), "eth0");
        tool.call("add").env("CNI_IFNAME", "net1").run().result();
        assert_eq!(ifname(), "net1");
        let flag = Call::of(super::program(host), &["-i", "net2", "add", "net", tool.pod.path()]);
        let flag = flag.env("NETCONFPATH", CONF).env("CNI_PATH", tool.stubs[0].folder());
        flag.env("CNI_IFNAME", "net1").run().result();
        assert_eq!(ifname(), "net2");
        tool.stubs[0].forget();
        for bad in ["sixteen-bytes-xx", "a/b", "..", "a b"] {
            refused(&tool.call("add").env("CNI_IFNAME", bad).run(), &["interface name"]);
        }
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn variables_that_make_no_sense_are_refused_before_any_plugin_runs() {
    lab(|host| {
        // CTL-02
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.0.0", &json!({}));
        for (bad, pair) in [("A", "\"A\""), ("A=1;", "\"\""), ("=1", "\"=1\""), ("A=1=2", "\"A=1=2\"")] {
            refused(&tool.call("add").env("CNI_ARGS", bad).run(), &["invalid CNI_ARGS pair", pair]);
        }
        for bad in ["{", "[]", "7", "x"] {
            refused(&tool.call("add").env("CAP_ARGS", bad).run(), &["CAP_ARGS"]);
        }
        refused(&tool.call("add").without("CNI_PATH").run(), &["CNI_PATH", "no paths provided"]);
        refused(&tool.call("add").env("CNI_PATH", "").run(), &["CNI_PATH", "no paths provided"]);
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn too_few_words_are_a_usage_error_and_no_word_is_a_call_for_help() {
    lab(|host| {
        // CTL-01
        let run = |words: &[&str]| Call::of(super::program(host), words).run();
        for words in [&["add"][..], &["add", "net"], &["del", "net"], &["check"], &["gc"], &["bogus"]] {
            let outcome = run(words);
            assert_eq!(outcome.status().code(), Some(1), "{outcome}");
            assert!(outcome.stderr().contains("Usage: cnitool"), "{outcome}");
        }
        for words in [&[][..], &["help"], &["--help"], &["add", "--help"]] {
            let outcome = run(words);
            assert!(outcome.succeeded() && outcome.stdout().contains("Usage: cnitool"), "{outcome}");
        }
    });
}
