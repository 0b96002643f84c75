//! `cnitool trace` and `replay`: what is shown and kept is what the plugins were told and said.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::{CONF, Tool, program, refused};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::stub::Stub;
use crate::lab::{conf, lab};

const KEPT: &str = "/run/recorded";

/// Where a trace that is not kept lies meanwhile.
const TMP: &str = "/run/tmp";

fn cnitool(tool: &Tool<'_>, words: &[&str]) -> Call {
    fs::create_dir_all(TMP).unwrap();
    let path: Vec<&str> = tool.stubs.iter().map(|stub| stub.folder()).collect();
    Call::of(program(tool.host), words)
        .env("NETCONFPATH", CONF)
        .env("CNI_PATH", path.join(":"))
        .env("TMPDIR", TMP)
}

fn trace(tool: &Tool<'_>, verb: &str, more: &[&str]) -> Outcome {
    cnitool(tool, &[&["trace", verb, "net", tool.pod.path()], more].concat()).run()
}

fn parsed(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout()).unwrap_or_else(|_| panic!("{outcome}"))
}

#[test]
fn every_call_is_told_with_what_it_was_told_and_said() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.1.0", &json!({"plugins": [{"type": "one", "x": "\u{1b}[2J"}, {"type": "two"}]}));
        tool.stubs[1].answers("ADD", "{\"cniVersion\":\"1.1.0\",\"ips\":[],\"\u{202e}x\":1}");
        let traced = trace(&tool, "add", &[]);
        assert!(traced.succeeded() && traced.stderr().is_empty(), "{traced}");
        let said = traced.stdout();
        for line in [
            "ADD network net: eth0 of cnitool-",
            "├─ ADD one (/run/lab/stub-one/one): exit status 0, ",
            "└─ ADD two (/run/lab/stub-two/two): exit status 0, ",
            "stderr: stub stderr ADD",
            "\"x\": \"\\u001b[2J\"",
            "\"\\u202ex\": 1",
        ] {
            assert!(said.contains(line), "expected {line}\n{said}");
        }
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
        assert_eq!(tool.verbs(), [["ADD"], ["ADD"]]);
        // It was the ADD itself: the other commands know of it.
        tool.run("check").silent();
        let checked = parsed(&trace(&tool, "check", &["--json"]));
        for (number, call) in checked["calls"].as_array().unwrap().iter().enumerate() {
            let received = tool.stubs[number].calls().last().unwrap().clone();
            assert_eq!(call["stdin"].as_str().unwrap().as_bytes(), received.stdin);
            for (key, value) in
                call["environment"].as_object().unwrap().iter().filter(|(key, _)| *key != "CNI_PATH")
            {
                assert_eq!(received.variable(key).as_deref(), value.as_str(), "{key}");
            }
            assert_eq!(call["environment"]["CNI_PATH"], "/run/lab/stub-one:/run/lab/stub-two");
        }
        let left = fs::read_dir(TMP).unwrap().count();
        assert_eq!(left, 0, "a trace that is not kept leaves nothing");
        assert!(trace(&tool, "del", &[]).succeeded() && !tool.record().exists());
    });
}

#[test]
fn a_failure_is_told_with_what_followed_it() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.1.0", &json!({}));
        tool.stubs[1].fails("ADD", &json!({"code": 117, "msg": "no luck"}).to_string());
        let traced = trace(&tool, "add", &[]);
        assert_eq!(traced.status().code(), Some(1), "{traced}");
        assert!(
            traced.stderr().starts_with("Error: plugin type=\"two\" failed (add): no luck (code 117)"),
            "{traced}"
        );
        let forks: Vec<String> =
            traced.stdout().lines().filter(|line| line.contains("─ ")).map(str::to_owned).collect();
        let expected = ["ADD one", "ADD two", "DEL two", "DEL one"];
        assert!(
            forks.iter().zip(expected).all(|(fork, call)| fork.contains(call)) && forks.len() == 4,
            "{traced}"
        );
        assert!(forks[1].contains("exit status 1"), "{traced}");
        // A plugin that is killed is one in the tree, and to the runtime.
        tool.stubs[1].dies("ADD");
        let traced = trace(&tool, "add", &["--json"]);
        let told = parsed(&traced);
        assert_eq!(
            (&told["calls"][1]["signal"], &told["calls"][1]["exit"]),
            (&json!(9), &Value::Null),
            "{traced}"
        );
        assert!(told["error"]["msg"].as_str().unwrap().contains("killed by signal 9"), "{traced}");
        assert_eq!(traced.status().code(), Some(1), "{traced}");
        // Nothing is made for what cannot begin.
        for (words, why) in [
            (&["trace", "add", "net"][..], "add needs NETNS"),
            (&["trace", "add", "other", "/x"], "no net configuration with name \"other\""),
        ] {
            refused(&cnitool(&tool, words).run(), &[why]);
        }
        refused(
            &cnitool(&tool, &["trace", "add", "net", "/x"]).without("CNI_PATH").run(),
            &["no paths provided"],
        );
        let missing = cnitool(&tool, &["trace", "status", "net"]).env("CNI_PATH", "/run/lab/stub-one").run();
        refused(&missing, &["failed to find plugin \"two\" in path [/run/lab/stub-one]"]);
        assert_eq!(cnitool(&tool, &["trace", "purge", "net"]).run().status().code(), Some(1));
    });
}

#[test]
fn whom_a_plugin_asks_is_a_branch_of_its_call() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        let bridge = conf::without(&conf::bridge(host), "name");
        let list = json!({"cniVersion": host.newest(), "name": "net", "plugins": [bridge]});
        tool.file("10-net.conflist", &list.to_string());
        let trace = |verb: &str| {
            let call = Call::of(program(host), &["trace", verb, "net", tool.pod.path(), "--json"]);
            parsed(&call.env("NETCONFPATH", CONF).env("CNI_PATH", host.bin()).run())
        };
        let added = trace("add");
        let (bridge, ipam) = (&added["calls"][0], &added["calls"][0]["calls"][0]);
        assert_eq!((&bridge["type"], &ipam["type"]), (&json!("bridge"), &json!("host-local")), "{added}");
        assert_eq!((&bridge["exit"], &ipam["exit"]), (&json!(0), &json!(0)), "{added}");
        assert_eq!(bridge["stdin"], ipam["stdin"]);
        assert!(ipam["microseconds"].as_u64() < bridge["microseconds"].as_u64(), "{added}");
        assert_eq!(tool.pod.addresses("eth0"), ["10.9.0.2/24", "fd00:9::2/64"]);
        assert_eq!(trace("del")["error"], Value::Null);
        assert!(tool.pod.links().is_empty());
    });
}

#[test]
fn a_recording_is_the_callers_alone_and_can_be_replayed() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.1.0", &json!({}));
        let recorded = trace(&tool, "add", &["--record", KEPT]);
        assert!(recorded.succeeded(), "{recorded}");
        let call = Path::new(KEPT).join("calls/2-two");
        let received = tool.stubs[1].calls().pop().unwrap();
        assert_eq!(fs::read(call.join("stdin")).unwrap(), received.stdin);
        assert_eq!(fs::read_to_string(call.join("stderr")).unwrap(), "stub stderr ADD\n");
        for (path, mode) in [(Path::new(KEPT), 0o700), (&call, 0o700), (&call.join("stdin"), 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode, "{}", path.display());
        }
        assert!(!Path::new(KEPT).join("bin").exists());
        tool.verbs();
        let replay = || cnitool(&tool, &["replay", KEPT]).run();
        let same = replay();
        assert!(
            same.succeeded() && same.stdout().starts_with("ADD network net: 2 calls, as recorded\n"),
            "{same}"
        );
        let again = tool.stubs[1].calls().pop().unwrap();
        assert_eq!(
            (&again.stdin, again.variable("CNI_CONTAINERID")),
            (&received.stdin, received.variable("CNI_CONTAINERID"))
        );
        assert_eq!(tool.verbs(), [["ADD"], ["ADD"]]);
        tool.stubs[0].answers("ADD", r#"{"cniVersion":"1.1.0","ips":[{"address":"10.44.0.3/24"}]}"#);
        tool.stubs[1].fails("ADD", "\u{1b}");
        let other = replay();
        assert_eq!(other.status().code(), Some(1), "{other}");
        for words in [
            "2 of 2 calls are different",
            "stdout.ips[0].address is \"10.44.0.3/24\", then \"10.44.0.2/24\"",
            "exit status 1, then exit status 0",
        ] {
            assert!(other.stdout().contains(words) && !other.stdout().contains('\u{1b}'), "{words}\n{other}");
        }
        let other = parsed(&cnitool(&tool, &["replay", KEPT, "--json"]).run());
        assert_eq!((&other["same"], &other["calls"][0]["plugin"]), (&json!(false), &json!("one")));
    });
}

#[test]
fn a_folder_that_cannot_be_written_or_is_no_recording_is_refused_before_anything_runs() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        host.sh("mkdir /run/full /run/empty; touch /run/full/mine /run/plain");
        for (folder, words) in [
            ("/run/full", "/run/full is there already"),
            ("/run/plain", "/run/plain"),
            ("/run/none/below", "no such file or directory"),
            ("/run/plain/below", "not a directory"),
            ("/proc/below", "/proc/below"),
        ] {
            refused(&trace(&tool, "add", &["--record", folder]), &[words, "(code 5)"]);
        }
        assert_eq!(host.sh("ls /run/full; ls /run/empty"), "mine\n");
        let file = |name: &str, text: &str| tool.file(&format!("../{name}"), text);
        file("torn/trace.json", "{");
        file("later/trace.json", r#"{"form":2,"verb":"ADD","network":"net"}"#);
        file("hollow/trace.json", r#"{"form":1,"verb":"ADD","network":"net"}"#);
        file("hollow/calls/mine", "");
        file("odd/trace.json", r#"{"form":1,"verb":"ADD","network":"net"}"#);
        file("odd/calls/1-one/call.json", "7");
        file("away/trace.json", r#"{"form":1,"verb":"ADD","network":"net"}"#);
        file("away/calls/1-../call.json", "{}");
        for (folder, words) in [
            ("/run/full", "/run/full is no recording: there is no trace.json in it"),
            ("/run/plain", "/run/plain is no recording"),
            ("/run/none", "/run/none is no recording"),
            ("/run/torn", "/run/torn is no recording: trace.json"),
            ("/run/later", "/run/later is no recording of form 1, but 2"),
            ("/run/hollow", "/run/hollow holds no call"),
            ("/run/odd", "/run/odd/calls/1-one/call.json"),
            ("/run/away", "invalid plugin name: .."),
        ] {
            refused(&cnitool(&tool, &["replay", folder]).run(), &[words]);
        }
        assert_eq!(tool.verbs(), [[""; 0]]);
        let kept = trace(&tool, "add", &["--record", "/run/empty"]);
        assert!(kept.succeeded() && Path::new("/run/empty/trace.json").exists(), "{kept}");
        let missing = cnitool(&tool, &["replay", "/run/empty"]).env("CNI_PATH", "/run/full").run();
        refused(&missing, &["failed to find plugin \"one\" in path [/run/full]"]);
        // What was put into a recording beside the protocol's variables is not believed.
        let outline = fs::read_to_string("/run/empty/calls/1-one/call.json").unwrap();
        let outline = outline.replace("\"CNI_ARGS\": \"\"", "\"CNI_ARGS\": \"A=1\",\n\"LD_PRELOAD\": \"/x\"");
        fs::write("/run/empty/calls/1-one/call.json", outline).unwrap();
        assert!(cnitool(&tool, &["replay", "/run/empty"]).run().succeeded());
        let received = tool.stubs[0].calls().pop().unwrap();
        assert_eq!(
            (received.variable("CNI_ARGS").as_deref(), received.variable("LD_PRELOAD")),
            (Some("A=1"), None)
        );
    });
}

/// 64 MiB of addresses, and no end of patience.
const BOUNDS: [&str; 4] = ["sh", "-c", "ulimit -v 65536; exec timeout -s KILL 60 \"$@\"", "sh"];

/// A recording of one call, in which this is changed then.
fn recording(host: &Host, name: &str, script: &str) -> String {
    host.sh(&format!(
        "mkdir -p /run/{name}/calls/1-one; cd /run/{name}
        echo '{{\"form\":1,\"verb\":\"\\u001b[2J\",\"network\":\"net\"}}' > trace.json
        echo '{{\"program\":\"/x\",\"environment\":{{\"CNI_COMMAND\":\"ADD\"}}}}' > calls/1-one/call.json
        {script}"
    ));
    format!("/run/{name}")
}

/// It may be somebody else's, and hold anything: nothing in it is waited for, followed, or read without end.
#[test]
fn a_hostile_recording_is_refused_before_anything_runs() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        let nested = "for n in $(seq 17); do mkdir 1-one; cp call.json 1-one; cd 1-one; done";
        for (name, script, words) in [
            ("pipe", "rm trace.json; mkfifo trace.json", "trace.json: it is no regular file"),
            ("zero", "ln -sf /dev/zero trace.json", "trace.json: it is a symbolic link"),
            ("secret", "ln -s /etc/shadow calls/1-one/stdin", "stdin: it is a symbolic link"),
            ("waits", "mkfifo calls/1-one/stdout", "stdout: it is no regular file"),
            ("sparse", "truncate -s 1T calls/1-one/stderr", "stderr: it is longer than 32 MiB"),
            ("long", "truncate -s 9M calls/1-one/stderr", "the recording has more than 8 MiB"),
            ("wide", ":", "more than 8 MiB"),
            ("deep", &format!("cd calls/1-one; {nested}"), "more than 16 calls within calls"),
            (
                "round",
                "ln -s .. calls/1-one/1-one; cp -r calls/1-one calls/2-\u{1b}",
                r#"failed to find plugin "\u{1b}""#,
            ),
            ("nul", r"sed -i 's/ADD/A\\u0000D/' calls/1-one/call.json", "nul byte"),
        ] {
            let folder = recording(host, name, script);
            for call in (2..9000).filter(|_| name == "wide") {
                let call = format!("{folder}/calls/{call}-one");
                fs::create_dir(&call).unwrap();
                fs::write(format!("{call}/call.json"), "{}").unwrap();
            }
            let answer = cnitool(&tool, &["replay", &folder]).under(&BOUNDS).run();
            refused(&answer, &[words]);
            assert!(!answer.stderr().contains('\u{1b}'), "{answer}");
        }
        assert_eq!(tool.verbs(), [[""; 0]]);
    });
}

#[test]
fn a_recording_chooses_neither_programs_nor_verbs_by_variables_within_variables() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        let evil = Stub::install_in("one", "/run/lab/evil");
        let smuggled = r#"{"CNI_COMMAND":"ADD","CNI_PATH=/run/lab/evil:":"x","CNI_COMMAND=DEL":"x"}"#;
        let call = json!({"program": "/x", "environment": serde_json::from_str::<Value>(smuggled).unwrap()});
        let folder = recording(host, "smuggles", &format!("echo '{call}' > calls/1-one/call.json"));
        let other = cnitool(&tool, &["replay", &folder]).under(&BOUNDS).run();
        assert!(!other.succeeded(), "its answer was not recorded\n{other}");
        let received = tool.stubs[0].calls().pop().unwrap();
        let of_the_protocol = |key: &std::ffi::OsString| key.to_string_lossy().starts_with("CNI_");
        assert_eq!(received.environment.iter().filter(|(key, _)| of_the_protocol(key)).count(), 2);
        assert!(evil.calls().is_empty() && received.variable("CNI_COMMAND").as_deref() == Some("ADD"));
    });
}

#[test]
fn an_answer_that_is_nested_a_hundred_thousand_times_is_told_as_it_is() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        tool.stubs[0].answers("STATUS", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
        let traced = cnitool(&tool, &["trace", "status", "net"]).under(&BOUNDS).run();
        let (said, length) = (traced.stdout(), traced.stdout().len());
        assert!(said.contains("STATUS one") && length < 500_000, "{length} bytes");
    });
}

#[test]
fn an_interrupted_trace_tells_what_was_undone() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one", "two"]);
        tool.network("1.1.0", &json!({}));
        tool.stubs[1].hangs("ADD");
        let mut running = cnitool(&tool, &["trace", "add", "net", tool.pod.path()]).start();
        tool.stubs[1].wait_for(&mut running);
        running.signal("TERM");
        let traced = running.finish();
        assert!(!traced.succeeded() && !tool.record().exists(), "{traced}");
        let said = traced.stdout();
        let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("{words}\n{traced}"));
        assert!(at("ADD two (/run/lab/stub-two/two): killed by signal 15") < at("DEL two"), "{traced}");
    });
}

#[test]
fn what_a_killed_trace_has_left_goes_with_the_next_one() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        tool.stubs[0].hangs("STATUS");
        let mut killed = cnitool(&tool, &["trace", "status", "net"]).start();
        tool.stubs[0].wait_for(&mut killed);
        killed.kill();
        killed.finish();
        tool.stubs[0].release();
        let mut living = cnitool(&tool, &["trace", "status", "net"]).start();
        tool.stubs[0].wait_for(&mut living);
        host.sh("test $(ls /run/tmp | wc -l) = 2; touch -d '2 minutes ago' /run/tmp/*");
        let second = Stub::install_in("one", "/run/lab/second");
        assert!(
            cnitool(&tool, &["trace", "status", "net"]).env("CNI_PATH", second.folder()).run().succeeded()
        );
        assert_eq!(fs::read_dir(TMP).unwrap().count(), 1, "that of the one which lives");
        tool.stubs[0].release();
        assert!(living.finish().succeeded());
        assert_eq!(fs::read_dir(TMP).unwrap().count(), 0);
    });
}

#[test]
fn an_error_at_a_terminal_comes_with_the_next_step() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        tool.file("bad", "{");
        let told = |words: &str, path: &str| {
            let line = format!("{} {words} 2>&1", program(host).display());
            let call = Call::of("/usr/bin/script", &["-qefc", &line, "/dev/null"]);
            call.env("NETCONFPATH", CONF).env("CNI_PATH", path).env("SHELL", "/bin/sh").run().stdout()
        };
        for (words, path, hint) in [
            ("add nte /x", "/x", "Hint: there is a network net\r\n"),
            ("add other /x", "/x", "Hint: there are the networks net\r\n"),
            ("status net", "", "Hint: CNI_PATH names the folders of the plugins"),
            ("add net pod1", "/run/lab/stub-one", "Hint: NETNS is a path; there is /run/netns/pod1\r\n"),
            ("explain --conf /run/conf/bad net", "/x", "Hint: cnitool validate /run/conf/bad says"),
        ] {
            let said = told(words, path);
            assert!(said.contains("Error: ") && said.contains(hint), "{words}: expected {hint}\n{said}");
        }
        tool.stubs[0].answers("ADD", "{\"cniVersion\":\"1.1.0\",\"x\":\"\u{9b}2J\"}");
        let added = told(&format!("add net {}", tool.pod.path()), "/run/lab/stub-one");
        assert!(added.contains("\\u009b2J") && !added.contains(['\u{9b}', '\u{1b}']), "{added:?}");
        tool.file("10-net.conflist", "{");
        assert!(told("add net /x", "/x").contains("Hint: cnitool validate /run/conf/10-net.conflist says"));
        let piped = cnitool(&tool, &["add", "net", "/x"]).run();
        assert!(!piped.stderr().contains("Hint"), "{piped}");
    });
}

#[test]
fn only_a_terminal_gets_a_line_about_what_takes_so_long() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &["one"]);
        tool.network("1.1.0", &json!({}));
        tool.stubs[0].hangs("STATUS");
        let line = format!("{} trace status net --json >/run/out", program(host).display());
        let call = Call::of("/usr/bin/script", &["-qefc", &line, "/run/shown"]);
        let call =
            call.env("NETCONFPATH", CONF).env("CNI_PATH", tool.stubs[0].folder()).env("SHELL", "/bin/sh");
        let mut running = call.start();
        tool.stubs[0].wait_for(&mut running);
        host.sh("timeout 30 sh -c 'until grep -q \"one ([0-9]* s)\" /run/shown; do sleep 0.05; done'");
        tool.stubs[0].release();
        assert!(running.finish().succeeded());
        let shown = fs::read_to_string("/run/shown").unwrap();
        assert!(shown.contains("\r\u{1b}[Kone (") && shown.matches("\r\u{1b}[K").count() > 1, "{shown:?}");
        let told: Value = serde_json::from_str(&fs::read_to_string("/run/out").unwrap()).unwrap();
        assert_eq!(told["calls"][0]["exit"], 0, "{told}");
    });
}
