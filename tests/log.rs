//! One line for each call, where somebody wants it: the file tells, and a socket where journald would listen.

use std::os::unix::net::UnixDatagram;

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("log")];
const FILE: &str = "/run/lab/cni.log";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The lines so far, each of which is one document.
fn lines(host: &Host) -> Vec<Value> {
    let text = host.sh(&format!("cat {FILE} 2>/dev/null || :"));
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn each_call_has_its_line_with_what_came_of_it_and_what_took_its_time() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let network = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
        let web = host.attach("bridge", network, &pod).container("web");
        let add = web.call("ADD").env("JACKFIELD_LOG", FILE).env("TRACEPARENT", TRACE);
        // Digits come before the letters that follow a whole second.
        let now = || host.sh("date -u +%Y-%m-%dT%H:%M:%S").trim().to_owned() + "Z";
        let begun = now().replace('Z', "");
        let result = add.run().result();
        let written = lines(host);
        // The delegate was first.
        let [lease, link] = written.as_slice() else { panic!("{written:?}") };
        for (line, plugin) in [(lease, "host-local"), (link, "bridge")] {
            let names = json!([plugin, "ADD", "net-a", "web", "eth0", "ok", TRACE]);
            let keys = ["plugin", "verb", "network", "container", "ifname", "outcome", "traceparent"];
            assert_eq!(json!(keys.map(|key| line[key].clone())), names);
            assert!(line.get("code").is_none() && line.get("msg").is_none(), "{line}");
            let (all, steps) = (line["ms"].as_f64().unwrap(), line["steps"].as_object().unwrap());
            let sum: f64 = steps.values().map(|ms| ms.as_f64().unwrap()).sum();
            assert!(all > 0.0 && sum <= all + 0.01, "{line}");
        }
        let steps: Vec<&String> = link["steps"].as_object().unwrap().keys().collect();
        for step in
            ["stdin", "namespaces", "record", "ipam", "bridge", "rules", "links", "addresses", "carrier"]
        {
            assert!(steps.iter().any(|name| *name == step), "{step} is not in {steps:?}");
        }
        assert!(lease["steps"]["leases"].as_f64() <= link["steps"]["ipam"].as_f64(), "{lease} {link}");
        let when = link["time"].as_str().unwrap();
        assert!(begun.as_str() <= when && when <= now().as_str() && when.ends_with('Z'), "{link}");
        assert_eq!(host.sh(&format!("stat -c %a {FILE}")), "600\n");

        web.call_with("CHECK", &result).env("JACKFIELD_LOG", FILE).run().silent();
        let refused = web.call("ADD").env("JACKFIELD_LOG", FILE).run();
        refused.fails(999);
        let msg = serde_json::from_str::<Value>(&refused.stdout()).unwrap()["msg"].clone();
        let last = lines(host).pop().unwrap();
        assert_eq!((&last["outcome"], &last["code"], &last["msg"]), (&json!("failed"), &json!(999), &msg));
        assert!(last.get("traceparent").is_none());
        web.call("DEL").env("JACKFIELD_LOG", FILE).run().silent();
        let verbs: Vec<_> = lines(host).iter().map(|line| line["verb"].clone()).collect();
        assert_eq!(verbs, ["ADD", "ADD", "CHECK", "CHECK", "ADD", "DEL", "DEL"]);
        assert!(lines(host).pop().unwrap()["steps"]["links"].as_f64() > Some(0.0));
    });
}

#[test]
fn every_plugin_writes_one_and_none_where_nobody_wants_it() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let call = host.attach(program, conf, &pod).call("ADD").env("JACKFIELD_LOG", FILE);
            call.run();
            let line = lines(host).pop().unwrap();
            assert_eq!((line["plugin"].as_str(), line["verb"].as_str()), (Some(program), Some("ADD")));
            host.sh(&format!("rm {FILE}"));
            let version = call.clone().env("CNI_COMMAND", "VERSION").run();
            assert!(version.succeeded() && lines(host).is_empty(), "VERSION has none");
            for nothing in ["", "cni.log", "stdout"] {
                let call = call.clone().env("CNI_COMMAND", "DEL").env("JACKFIELD_LOG", nothing);
                call.folder("/run/lab").run().silent();
                assert!(lines(host).is_empty(), "{nothing:?}");
            }
            // What cannot even be read has one too.
            call.stdin("{").run().fails(6);
            let line = lines(host).pop().unwrap();
            assert_eq!((&line["code"], line.get("network")), (&json!(6), None));
            host.sh(&format!("rm {FILE}"));
        }
    });
}

#[test]
fn a_log_that_cannot_be_written_fails_nothing_and_follows_no_link() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        host.sh("echo theirs > /run/lab/theirs; ln -s theirs /run/lab/link; mkfifo /run/lab/pipe");
        let web = host.attach("bridge", conf::bridge(host), &pod);
        for place in
            ["/run/lab/link", "/run/lab/pipe", "/dev/full", "/run/lab", "/nowhere/at/all", "journald"]
        {
            let outcome = web.call("ADD").env("JACKFIELD_LOG", place).run();
            outcome.result();
            assert_eq!(outcome.stderr(), "", "{place}");
            let outcome = web.call("DEL").env("JACKFIELD_LOG", place).run();
            outcome.silent();
            assert_eq!(outcome.stderr(), "", "{place}");
        }
        assert_eq!(host.sh("cat /run/lab/theirs"), "theirs\n");
    });
}

#[test]
fn the_key_of_a_network_wins_and_what_is_no_place_is_refused_but_by_a_del() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::with(&conf::bridge(host), "/jackfieldLog", json!(FILE)), &pod);
        let elsewhere = "/run/lab/elsewhere.log";
        web.call("ADD").env("JACKFIELD_LOG", elsewhere).run().result();
        assert_eq!(
            (lines(host).len(), host.sh(&format!("ls {elsewhere} 2>/dev/null || :"))),
            (2, String::new())
        );
        for bad in [json!("cni.log"), json!(7), json!({"path": FILE})] {
            let bad =
                host.attach("bridge", conf::with(&conf::bridge(host), "/jackfieldLog", bad.clone()), &pod);
            let before = host.snapshot();
            bad.ifname("eth9").add().fails(7).names(&["jackfieldLog", "absolute path"]);
            before.same_as(&host.snapshot(), &[]);
            bad.ifname("eth9").del().silent();
        }
        web.del().silent();
    });
}

#[test]
fn the_journal_gets_a_datagram_that_it_can_read() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        host.sh("mkdir -p /run/systemd/journal");
        let journal = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        let datagram = || {
            let mut bytes = vec![0; 65536];
            let length = journal.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        let web = host.attach("loopback", conf::loopback(host), &pod).container("web").ifname("lo");
        for (call, priority, outcome) in
            [(web.call("ADD"), "6", "ok"), (web.call("ADD").netns("/nowhere"), "3", "failed")]
        {
            // A trace that is none is nobody's.
            let _ = call.env("JACKFIELD_LOG", "journald").env("TRACEPARENT", "junk").run();
            let said = datagram();
            let field = |key: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
                line.unwrap_or_else(|| panic!("no {key} in {said}")).to_owned()
            };
            assert!(said.ends_with('\n'), "{said:?}");
            assert_eq!((field("PRIORITY"), field("SYSLOG_IDENTIFIER")), (priority.into(), "loopback".into()));
            assert_eq!(
                [field("CNI_COMMAND"), field("CNI_CONTAINERID"), field("CNI_IFNAME")],
                ["ADD", "web", "lo"]
            );
            let message: Value = serde_json::from_str(&field("MESSAGE")).unwrap();
            assert_eq!((&message["outcome"], message.get("traceparent")), (&json!(outcome), None));
        }
    });
}

#[test]
fn lines_of_many_calls_do_not_mix() {
    lab_with(OURS, |host| {
        let pods: Vec<_> = (0..12).map(|_| host.pod()).collect();
        let calls: Vec<_> = pods
            .iter()
            .map(|pod| host.attach("bridge", conf::bridge(host), pod).container(pod.name()))
            .map(|web| web.call("ADD").env("JACKFIELD_LOG", FILE).start())
            .collect();
        calls.into_iter().for_each(|call| drop(call.finish().result()));
        assert_eq!(lines(host).len(), 24);
    });
}
