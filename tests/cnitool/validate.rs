//! `cnitool validate`: what it finds, and where it says that it is.

use serde_json::{Value, json};

use super::{CONF, Tool, program};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::lab::{lab, lab_with};

fn validate(host: &Host, words: &[&str]) -> Outcome {
    let words: Vec<&str> = ["validate"].iter().chain(words).copied().collect();
    Call::of(program(host), &words).env("CNI_PATH", host.bin()).env("NETCONFPATH", CONF).run()
}

/// What is found in a list of these plugins, each a line without the file's name.
fn found_in(host: &Host, tool: &Tool<'_>, plugins: &str) -> Vec<String> {
    let list = format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\n\"plugins\":[\n{plugins}\n]}}\n");
    tool.file("10-net.conflist", &list);
    let said = validate(host, &["/run/conf/10-net.conflist"]).stdout();
    let lines = said.lines().filter_map(|line| line.strip_prefix("/run/conf/10-net.conflist:"));
    lines.filter(|line| !line.starts_with(' ')).map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], start: &str, words: &str) {
    let fits = |line: &&String| line.starts_with(start) && line.contains(words);
    assert!(lines.iter().any(|line| fits(&line)), "expected {start} … {words}\n{}", lines.join("\n"));
}

#[test]
fn what_a_plugin_would_refuse_or_pass_over_is_told_with_its_place() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        let range = r#""ranges":[[{"subnet":"10.1.0.0/16","rangestart":"10.1.0.300"}]]"#;
        let bridge = [
            r#"{"type":"bridge","isGatewya":true,"mtu":"x","#,
            r#" "vlanTrunk":[{"minId":5,"idd":7}],"MTU":1400,"#,
            &format!(r#" "ipam":{{"type":"host-local","subnett":"x",{range}}},"#),
            r#" "capabilities":{"macs":true,"portMappings":true,"ips":true}},"#,
            r#"{"type":"portmap","snat":"yes"},"#,
            r#"{"type":"tuning","prevResult":{},"sysctl":{"net.x":1}}"#,
        ];
        let lines = found_in(host, &tool, &bridge.join("\n"));
        has(&lines, "3:18: warning: ", "bridge has no key \"isGatewya\"; did you mean \"isGateway\"?");
        has(&lines, "4:26: warning: ", "did you mean \"id\"?");
        has(&lines, "4:36: warning: ", "\"MTU\" again, which stands in line 3 already");
        has(&lines, "5:30: warning: ", "host-local has no key \"subnett\"; did you mean \"subnet\"?");
        has(&lines, "5:92: error: ", "host-local: invalid range set 0: invalid IP address: 10.1.0.300");
        has(&lines, "6:18: warning: ", "the capability \"macs\"; did you mean \"mac\"?");
        has(&lines, "6:30: warning: ", "the capability \"portMappings\"; it can use mac, ipRanges, ips");
        has(&lines, "6:2: note: ", "\"mac\": true, \"ipRanges\": true");
        has(
            &lines,
            "7:9: warning: ",
            "portmap does nothing until it has \"capabilities\": {\"portMappings\": true}",
        );
        has(&lines, "7:19: error: ", "portmap: snat: cannot unmarshal string \"yes\", expected a boolean");
        has(&lines, "8:18: warning: ", "\"prevResult\" is the runtime's to give");
        has(&lines, "8:44: error: ", "tuning: sysctl.net.x");
        let lines =
            found_in(host, &tool, r#"{"type":"portmap","ipam":{"type":"bridge"}},{"type":"host-local"}"#);
        has(&lines, "3:9: error: ", "portmap comes behind a plugin that makes a link");
        has(&lines, "3:26: error: ", "bridge gives no addresses");
        has(&lines, "3:53: error: ", "host-local is asked by another plugin");
    });
}

#[test]
fn what_is_others_or_for_people_is_no_reason_to_warn() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["theirs"]);
        tool.stubs[0].answers("VERSION", r#"{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}"#);
        let theirs = json!({"type": "theirs", "isGatewya": true, "delegate": {"mtuu": 1}, "capabilities": {"any": true},
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "Documentation": "x", "dataDirr": "/x"}});
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "_comment": "what it is for",
            "args": {"cni": {"x": 1}}, "jackfieldLog": "journald", "jackfieldWait": true});
        let list = json!({"cniVersion": "1.0.0", "name": "net", "someRuntimeID": 3, "ipMasq": true, "plugins": [theirs, portmap]});
        tool.file("10-net.conflist", &list.to_string());
        let path = format!("{}:{}", tool.stubs[0].folder(), host.bin().display());
        let call =
            Call::of(program(host), &["validate", "--json"]).env("CNI_PATH", path).env("NETCONFPATH", CONF);
        let outcome = call.run();
        let report: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        let mut told: Vec<String> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| format!("{}: {}", found["level"].as_str().unwrap(), found["text"].as_str().unwrap()))
            .collect();
        told.sort();
        let expected = [
            "note: a list has no key \"someRuntimeID\": plugins do not see it",
            "note: host-local has no key \"Documentation\", and does not read it",
            "note: portmap has no key \"_comment\", and does not read it",
            "warning: a list has no key \"ipMasq\"; in \"plugins\" bridge has one",
            "warning: host-local has no key \"dataDirr\"; did you mean \"dataDir\"?",
        ];
        assert_eq!(told, expected, "{outcome}");
        let named = Call::of(program(host), &["validate", "net"]).env("NETCONFPATH", CONF).run();
        let words = "net: error: cannot be opened: no such file or directory; the network of that name is in /run/conf/10-net.conflist";
        assert!(named.stdout().starts_with(words), "{named}");
    });
}

#[test]
fn what_a_runtime_would_refuse_is_told_with_its_place() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        for (list, place, words) in [
            ("{\n \"name\": \"net\",\n}", "2:15: error: ", "trailing comma"),
            (
                "{\"name\":\"net\",\"plugins\":[{\"type\":\"loopback\"}]} {}",
                "1:48: error: ",
                "trailing characters",
            ),
            ("", "1:1: error: ", "it is empty"),
            ("[]", "1:1: error: ", "a network is an object, and this is a list"),
            ("{\"plugins\":[]}", "1:1: error: ", "no name"),
            ("{\"name\":\"net\",\"plugins\":[]}", "1:25: error: ", "no plugins in list"),
            ("{\"name\":\"a/b\"}", "1:9: error: ", "invalid characters found in network name"),
            (
                "{\"name\":\"net\",\"Plugins\":[{\"type\":\"loopback\"}]}",
                "1:15: warning: ",
                "did you mean \"plugins\"?",
            ),
            ("{\"name\":\"net\",\"plugins\":[{\"tpye\":\"loopback\"}]}", "1:26: error: ", "missing 'type'"),
            (
                "{\"name\":\"net\",\"plugins\":[{\"type\":\"looback\"}]}",
                "1:34: error: ",
                "did you mean \"loopback\"?",
            ),
            (
                "{\"name\":\"net\",\"plugins\":[7]}",
                "1:26: error: ",
                "a plugin is an object, and this is a number",
            ),
            ("{\"name\":\"net\",\"cniVersion\":\"1.2.0\"}", "1:28: error: ", "there is no version \"1.2.0\""),
            ("{\"name\":\"net\",\"cniVersions\":[\"x\"]}", "1:30: error: ", "\"x\" is no number"),
            ("{\"name\":\"net\",\"disableCheck\":\"perhaps\"}", "1:30: error: ", "invalid value \"perhaps\""),
            ("{\"name\":\"net\",\"loadOnlyInlinedPlugins\":true}", "1:1: error: ", "there are no plugins"),
        ] {
            tool.file("10-net.conflist", list);
            let outcome = validate(host, &[]);
            let told = format!("/run/conf/10-net.conflist:{place}");
            let fits = |line: &str| line.starts_with(&told) && line.contains(words);
            assert!(outcome.stdout().lines().any(fits), "{told}{words}\n{outcome}");
            let refused = outcome.stdout().contains(" error: ");
            assert_eq!(outcome.succeeded(), !refused, "{outcome}");
            // Whatever is an error to validate is one to a runtime, or to a plugin.
            let added = tool.call("add").env("CNI_PATH", host.bin()).run();
            assert!(!refused || !added.succeeded(), "{list}\n{added}");
        }
    });
}

#[test]
fn what_is_no_file_or_no_text_is_told_and_changes_nothing() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        tool.file("utf.conf", "");
        std::fs::write("/run/conf/utf.conf", b"{\"name\":\"n\xff\",\"type\":\"loopback\"}").unwrap();
        std::fs::File::create("/run/conf/huge.conf").unwrap().set_len(1 << 40).unwrap();
        tool.file("\u{1b}[31m.conf", "{\"name\":\"n\",\"type\":\"\u{1b}[2J\"}");
        tool.file("folder.conflist/x", "");
        for (file, words) in [
            ("utf.conf", "utf.conf:1:11: warning: it is not UTF-8"),
            ("utf.conf", ":1:9: error: invalid characters found in network name"),
            ("huge.conf", " error: is larger than 4 MiB"),
            ("folder.conflist", " error: is a folder"),
            ("none.conflist", " error: cannot be opened: no such file or directory"),
            ("\u{1b}[31m.conf", "no JSON: control character"),
        ] {
            let outcome = validate(host, &[&format!("{CONF}/{file}")]);
            assert!(outcome.stdout().contains(words) && !outcome.succeeded(), "{words}\n{outcome}");
            assert!(!outcome.stdout().contains('\u{1b}'), "{outcome}");
        }
        let nothing = Call::of(program(host), &["validate", "--json"]).env("NETCONFPATH", "/run/none").run();
        let error: Value = serde_json::from_str(&nothing.stdout()).unwrap();
        assert_eq!((nothing.status().code(), &error["code"]), (Some(1), &json!(7)), "{nothing}");
        assert!(
            error["msg"].as_str().unwrap().contains("no net configurations found in /run/none"),
            "{nothing}"
        );
    });
}

#[test]
fn subnets_that_overlap_a_network_or_a_route_of_the_host_are_told() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        host.sh("ip link add br9 type bridge; ip address add 10.50.0.1/16 dev br9; ip link set br9 up");
        let list = |name: &str, bridge: &str, subnet: &str| {
            let ipam = json!({"type": "host-local", "ranges": [[{"subnet": subnet}]]});
            let plugin = json!({"type": "bridge", "bridge": bridge, "ipam": ipam});
            let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]});
            tool.file(&format!("{name}.conflist"), &list.to_string());
        };
        list("a", "br9", "10.50.0.0/16");
        list("b", "br1", "10.50.7.0/24");
        list("c", "br2", "10.51.0.0/16");
        let outcome = validate(
            host,
            &["--json", "/run/conf/a.conflist", "/run/conf/b.conflist", "/run/conf/c.conflist"],
        );
        let report: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        let all = report["findings"].as_array().unwrap();
        let told: Vec<&Value> = all.iter().filter(|found| found["level"] == "warning").collect();
        assert_eq!(told.len(), 2, "{outcome}");
        assert!(
            told.iter().all(|found| found["file"] == "/run/conf/b.conflist" && found["line"] == 1),
            "{outcome}"
        );
        let texts = format!("{} {}", told[0]["text"], told[1]["text"]);
        assert!(texts.contains("10.50.7.0/24 overlaps the host's route to 10.50.0.0/16 on br9"), "{texts}");
        assert!(texts.contains("10.50.7.0/24 overlaps 10.50.0.0/16 of network"), "{texts}");
        assert!(outcome.succeeded() && !validate(host, &["--strict"]).succeeded(), "{outcome}");
        let alone = validate(host, &["--strict", "--files-only", "/run/conf/b.conflist"]);
        assert!(
            alone.succeeded() && alone.stdout().contains("network b, version 1.0.0: bridge: ok"),
            "{alone}"
        );
    });
}

#[test]
fn a_plugin_that_does_not_speak_the_version_and_parts_beside_the_list_are_told() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["old"]);
        tool.stubs[0].answers("VERSION", r#"{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}"#);
        tool.network("1.0.0", &json!({}));
        tool.file("net/10-x.conf", "{\"type\": \"portmap\",\n \"snta\": 1}");
        let run = |words: &[&str]| {
            let path = format!("{}:{}", tool.stubs[0].folder(), host.bin().display());
            Call::of(program(host), words).env("CNI_PATH", path).env("NETCONFPATH", CONF).run()
        };
        let outcome = run(&["validate"]);
        let said = outcome.stdout();
        assert!(
            said.contains("old does not support config version \"1.0.0\"; it speaks 0.3.1, 0.4.0"),
            "{outcome}"
        );
        assert!(
            said.contains(
                "/run/conf/net/10-x.conf:2:2: warning: portmap has no key \"snta\"; did you mean \"snat\"?"
            ),
            "{outcome}"
        );
        assert!(said.contains("network net, version 1.0.0: old, portmap: 1 error"), "{outcome}");
        assert_eq!(tool.verbs(), [["VERSION"]], "nothing else is run");
        // `version` says the same of every plugin.
        let outcome = run(&["version", "net", "--json"]);
        let answer: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        assert_eq!(answer["plugins"][0]["supportedVersions"], json!(["0.3.1", "0.4.0"]), "{outcome}");
        assert_eq!(answer["plugins"][0]["speaksTheList"], json!(false), "{outcome}");
        assert_eq!(answer["plugins"][1]["type"], json!("portmap"), "{outcome}");
        let text = run(&["version", "net"]).stdout();
        assert!(
            text.contains("old (/run/lab/stub-old/old): 0.3.1, 0.4.0; it does not speak 1.0.0"),
            "{text}"
        );
        // What is wrong with a part is wrong with the network.
        tool.stubs[0].answers("VERSION", r#"{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}"#);
        tool.file("net/10-x.conf", "{\"type\": \"portmap\",\n \"snat\": 1}");
        let outcome = run(&["validate"]);
        assert!(outcome.stdout().contains("/run/conf/net/10-x.conf:2:2: error: portmap: snat"), "{outcome}");
        assert!(outcome.stdout().contains("old, portmap: 1 error, 1 warning\n"), "{outcome}");

        super::refused(&run(&["version", "other"]), &["no net configuration with name \"other\""]);
    });
}

#[test]
fn the_configurations_to_copy_have_nothing_to_be_warned_of() {
    lab_with(&[Need::Ours("tools")], |host| {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/conf")).unwrap();
        let files = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
        let files: Vec<String> = files.filter(|file| file.ends_with(".conflist")).collect();
        let words: Vec<&str> = std::iter::once("--strict").chain(files.iter().map(String::as_str)).collect();
        let outcome = validate(host, &words);
        assert!(
            outcome.succeeded() && outcome.stdout().matches(": ok\n").count() == files.len(),
            "{outcome}"
        );
    });
}

/// Each error once, although the plugin and whom it asks for addresses would both make it.
#[test]
fn what_every_plugin_of_ours_reads_is_judged_as_they_judge_it() {
    lab_with(&[Need::Ours("log")], |host| {
        let tool = Tool::with_stubs(host, &[]);
        for (key, value, refused) in [
            ("jackfieldLog", "\"relative.log\"", true),
            ("jackfieldLog", "5", true),
            ("jackfieldLog", "\"/var/log/cni.log\"", false),
            ("jackfieldWait", "\"yes\"", true),
            ("jackfieldWait", "false", false),
            ("JACKFIELDWAIT", "true", false),
        ] {
            let ipam = r#""ipam":{"type":"host-local","subnet":"10.1.0.0/24"}"#;
            let plugin = format!(r#"{{"type":"bridge",{ipam},"{key}":{value}}}"#);
            let bad: Vec<String> = found_in(host, &tool, &plugin)
                .into_iter()
                .filter(|line| !line.contains(": note: "))
                .collect();
            let expected = format!("3:70: error: bridge: invalid {key} {value} ");
            let fits = if refused { bad.len() == 1 && bad[0].starts_with(&expected) } else { bad.is_empty() };
            assert!(fits, "{key}: {value}: {bad:#?}");
            let mut conf: Value = serde_json::from_str(&plugin).unwrap();
            conf["cniVersion"] = json!("1.1.0");
            conf["name"] = json!("net");
            for plugin in ["bridge", "host-local"] {
                let status = host.call(plugin, "STATUS", &conf).run();
                match refused {
                    true => assert!(status.fails(7).msg.starts_with(&format!("invalid {key} "))),
                    false => status.silent(),
                }
            }
        }
    });
}

/// The keys are asked of the types that the plugins read; this holds the programs to it: a value of the wrong type is refused
/// at every key that validate knows.
#[test]
fn every_key_that_validate_knows_is_one_that_the_program_reads() {
    lab_with(&[Need::Ours("tools")], |host| {
        let outcome = validate(host, &["--keys", "--json"]);
        let known: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        let mut tried = 0;
        for (plugin, keys) in known.as_object().unwrap() {
            for key in keys.as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
                let refused = [json!({"x": [0.5]}), json!("\u{1b}")].iter().any(|wrong| {
                    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": plugin});
                    put(&mut conf, key, wrong);
                    let outcome = host.call(plugin, "STATUS", &conf).run();
                    let last = key.rsplit('.').next().unwrap().trim_end_matches("[]");
                    !outcome.succeeded() && outcome.stdout().to_lowercase().contains(&last.to_lowercase())
                });
                assert!(refused, "{plugin} does not read {key}");
                tried += 1;
            }
        }
        assert!(tried > 100, "{tried}");
        let named = known.as_object().unwrap();
        for folder in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins")).into_iter().flatten()
        {
            let folder = folder.unwrap();
            let name = folder.file_name().into_string().unwrap();
            let is_plugin = folder.path().join("mod.rs").exists() && folder.path().join("main.rs").exists();
            assert!(!is_plugin || named.contains_key(&name), "validate does not know {name}");
        }
    });
}

/// Puts a value at the end of a way such as `ranges[][].subnet`.
fn put(object: &mut Value, path: &str, value: &Value) {
    let (step, rest) = path.split_once('.').map_or((path, ""), |(step, rest)| (step, rest));
    let key = step.trim_end_matches("[]");
    let mut inner = value.clone();
    if !rest.is_empty() {
        inner = json!({});
        put(&mut inner, rest, value);
    }
    for _ in 0..step.matches("[]").count() {
        inner = json!([inner]);
    }
    object[key] = inner;
}
