//! `cnitool purge`: what no host end owns any more.

use std::fs;

use serde_json::{Value, json};

use super::program;
use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("purge")];

fn purge(host: &Host, words: &[&str]) -> Outcome {
    let outcome = Call::of(program(host), &[&["purge"], words].concat()).run();
    assert!(outcome.succeeded() && outcome.stderr().is_empty(), "{outcome}");
    outcome
}

fn network(host: &Host) -> Value {
    conf::with(&conf::with(&conf::bridge(host), "/ipMasq", json!(true)), "/macspoofchk", json!(true))
}

fn attach<'h>(host: &'h Host, pod: &Pod) -> (Attach<'h>, Value) {
    let attachment = host.attach("bridge", network(host), pod).container(pod.name());
    let result = attachment.add().result();
    (attachment, result)
}

/// Somebody removes the container's link, and tells nobody.
fn unlink(pod: &Pod) {
    pod.sh("ip link delete eth0");
}

#[test]
fn purge_tells_of_each_thing_and_touches_nothing_of_the_living() {
    lab_with(OURS, |host| {
        let [red, blue] = ["red", "blue"].map(|name| host.pod_named(name));
        let (living, result) = attach(host, &blue);
        let before = host.snapshot();
        let (_, reds) = attach(host, &red);
        let [host_end, mac] = [&reds["interfaces"][1]["name"], &reds["interfaces"][2]["mac"]];
        let host_end = host_end.as_str().unwrap();
        let pair = format!("{host_end} . {}", mac.as_str().unwrap());
        assert_eq!(purge(host, &[]).stdout(), "", "everybody lives");
        unlink(&red);
        let kept = host.snapshot();
        let told = purge(host, &["--dry-run"]).stdout();
        kept.same_as(&host.snapshot(), &[]);
        let lines: Vec<&str> = told.lines().collect();
        let whose = "(jackfield: net-a eth0 red)";
        let elements = [
            ("10.9.0.3", "masquerade1_ip in table inet"),
            ("fd00:9::3", "masquerade1_ip6 in table inet"),
            (host_end, "spoof1_guarded in table bridge"),
            (&pair, "spoof1_allowed in table bridge"),
        ];
        let elements =
            elements.map(|(key, set)| format!("would remove element {key} of {set} jackfield {whose}"));
        assert_eq!(lines[..4], elements);
        assert!(lines[4].starts_with("would remove record /run/jackfield/attachments/"), "{told}");
        assert!(lines[4].ends_with(".bridge of eth0 of container red in network net-a"), "{told}");
        assert_eq!(lines.len(), 5);
        assert_eq!(purge(host, &[]).stdout(), told.replace("would remove", "removed"));
        assert_eq!(purge(host, &[]).stdout(), "");
        host.sh("rm /run/leases/*/10.9.0.3 /run/leases/*/fd00*3");
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        living.check(&result).silent();
    });
}

#[test]
fn with_the_last_owner_the_tables_go_unless_somebody_put_something_into_them() {
    lab_with(OURS, |host| {
        let pod = host.pod_named("red");
        for stranger in [false, true] {
            attach(host, &pod);
            if stranger {
                host.sh("nft add chain inet jackfield mine; nft add rule inet jackfield mine counter");
            }
            unlink(&pod);
            host.sh("rm -r /run/leases");
            let told = purge(host, &[]).stdout();
            assert_eq!(told.contains("removed table inet jackfield\n"), !stranger, "{told}");
            assert!(told.contains("removed table bridge jackfield\n"), "{told}");
            let tables = host.sh("nft list ruleset");
            assert_eq!(tables.contains("chain mine"), stranger, "{tables}");
            assert!(!tables.contains("10.9.0."), "{tables}");
        }
        host.sh("nft delete chain inet jackfield mine");
        assert_eq!(purge(host, &[]).stdout(), "removed table inet jackfield\n", "the frame alone");
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

/// A crash may leave a record that nobody can read, or one that had not come into its place.
#[test]
fn records_are_known_by_their_names() {
    lab_with(OURS, |host| {
        let pod = host.pod_named("red");
        let (living, result) = attach(host, &pod);
        let folder = "/run/jackfield/attachments";
        let own = host.sh(&format!("ls {folder}"));
        let (none, one) = ("0".repeat(32), "1".repeat(32));
        host.sh(&format!("cd {folder}; echo '{{' > {none}.bridge; touch {one}.veth.999999999 notes.txt"));
        let told = purge(host, &[]).stdout();
        let expected = [format!("{none}.bridge"), format!("{one}.veth.999999999")];
        assert_eq!(told, expected.map(|name| format!("removed record {folder}/{name}\n")).concat());
        assert_eq!(host.sh(&format!("ls {folder}")), format!("{own}notes.txt\n"));
        living.check(&result).silent();
    });
}

/// Who cannot be looked up may live: what belongs to them stays, the rest goes, and it is said.
#[test]
fn whoever_cannot_be_looked_up_is_named_and_loses_nothing_and_all_others_go() {
    lab_with(OURS, |host| {
        let [red, blue] = ["red", "blue"].map(|name| host.pod_named(name));
        let [(dead, _), (unknown, _)] = [&red, &blue].map(|pod| attach(host, pod));
        [&red, &blue].iter().for_each(|pod| unlink(pod));
        let records = host.sh("ls /run/jackfield/attachments/*.bridge");
        let of_blue =
            records.lines().find(|file| fs::read_to_string(file).unwrap().contains("blue")).unwrap();
        let elements = || host.sh("nft list map inet jackfield masquerade1_ip");
        for errno in ["EMFILE", "ENOMEM", "EIO"] {
            let inject = format!("inject=open,openat:error={errno}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", of_blue, "-e", &inject];
            let told = Call::of(program(host), &["purge"]).under(&strace).run();
            let why = ["net-a eth0 blue lives", "read the record", of_blue];
            assert!(!told.succeeded() && why.iter().all(|words| told.stderr().contains(words)), "{told}");
            assert!(!elements().contains("red") && elements().contains("blue"), "{errno}: {}", elements());
        }
        purge(host, &[]);
        assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
        [dead, unknown].iter().for_each(|it| it.del().silent());
    });
}

#[test]
fn an_add_that_is_under_way_loses_nothing() {
    lab_with(OURS, |host| {
        let conf = network(host);
        let pods: Vec<Pod> = (0..12).map(|number| host.pod_named(&format!("c{number}"))).collect();
        let attachments: Vec<_> =
            pods.iter().map(|pod| host.attach("bridge", conf.clone(), pod).container(pod.name())).collect();
        let (mut purges, mut told) = (0, String::new());
        for _ in 0..3 {
            let mut running: Vec<_> = attachments.iter().map(|it| it.call("ADD").start()).collect();
            while running.iter_mut().any(|running| !running.has_ended()) {
                told.push_str(&purge(host, &[]).stdout());
                purges += 1;
            }
            let results: Vec<Value> = running.into_iter().map(|running| running.finish().result()).collect();
            for (attachment, result) in attachments.iter().zip(&results) {
                attachment.check(result).silent();
                attachment.del().silent();
            }
        }
        assert!(purges > 1, "it was beside them");
        assert_eq!(told, "");
        assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
    });
}

/// What an ADD has made it takes back itself, to the last.
#[test]
fn an_add_that_is_being_undone_is_still_under_way() {
    lab_with(OURS, |host| {
        let (stub, pod) = (host.stub("rec-ipam"), host.pod());
        stub.answers(
            "ADD",
            r#"{"cniVersion":"1.1.0","ips":[{"address":"10.9.0.2/24","gateway":"10.9.0.1"}]}"#,
        );
        stub.hangs("DEL");
        host.sh("ip link add br0 type bridge; ip addr add 10.7.0.1/24 dev br0");
        let web = host.attach("bridge", conf::bridge_with_stub(host, "rec-ipam"), &pod).path(stub.folder());
        let mut undoing = web.call("ADD").start();
        stub.wait_for(&mut undoing);
        assert_eq!(purge(host, &[]).stdout(), "");
        web.add().fails(999).names(&["another ADD of eth0 of container container-1", "is under way"]);
        stub.release();
        undoing.finish().fails(999).names(&["already has an IP address different"]);
        assert_eq!(host.sh("ls /run/jackfield/attachments"), "");
    });
}

#[test]
fn what_cannot_be_purged_is_an_error_and_words_too_many_are_refused() {
    lab_with(OURS, |host| {
        let pod = host.pod_named("red");
        attach(host, &pod);
        unlink(&pod);
        let program = program(host).display().to_string();
        let unprivileged = Call::of("unshare", &["--user", &program, "purge"]).run();
        super::refused(&unprivileged, &["open nf_tables", "operation not permitted"]);
        let too_many = Call::of(&program, &["purge", "net"]).run();
        assert!(!too_many.succeeded() && too_many.stderr().contains("unexpected argument"), "{too_many}");
        assert!(host.sh("nft list ruleset").contains("eth0 red"));
    });
}
