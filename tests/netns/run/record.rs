//! What a run that was killed has written down, and who comes after it.

use std::fs;
use std::path::Path;

use super::{networks, nothing_is_left, run, told};
use crate::lab::call::Call;
use crate::lab::lab_with;
use crate::lab::world::Need;

#[test]
fn who_is_killed_while_the_record_is_written_leaves_none() {
    lab_with(&[Need::Program("strace")], |host| {
        networks(host);
        let before = host.snapshot();
        for at in ["flock", "write", "linkat"] {
            let (trace, inject) = (format!("trace={at}"), format!("inject={at}:signal=KILL"));
            let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let killed = run(host, &["--network", "net-a", "true"]).under(&strace).run();
            assert!(!killed.succeeded(), "{at}: {killed}");
            let left = fs::read_dir("/run/jackfield/runs").unwrap();
            // It may have been killed when that was done.
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            assert!(
                left.iter().all(|name| at == "linkat" && !name.as_encoded_bytes().starts_with(b".")),
                "{at}: {left:?}"
            );
            let next = run(host, &["true"]).run();
            assert!(next.succeeded() && next.stderr().is_empty(), "{at}: {next}");
            nothing_is_left(host, &before);
        }
        // An earlier version wrote it under another name first.
        run(host, &["sh", "-c", "cp -p /run/jackfield/runs/run-* /run/jackfield/runs/.run-01234567"]).run();
        assert!(Path::new("/run/jackfield/runs/.run-01234567").exists());
        let next = run(host, &["true"]).run();
        assert!(next.succeeded() && next.stderr().is_empty(), "{next}");
        nothing_is_left(host, &before);
    });
}

/// One takes his time before he locks his record, and the others clean up meanwhile.
#[test]
fn runs_that_begin_together_leave_each_others_records_alone() {
    lab_with(&[Need::Program("strace")], |host| {
        networks(host);
        let before = host.snapshot();
        let strace = [
            "strace",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=flock",
            "-e",
            "inject=flock:delay_enter=300000",
        ];
        let mut slow = run(host, &["sh", "-c", "exit 3"]).under(&strace).start();
        while !slow.has_ended() {
            let quick = run(host, &["true"]).run();
            assert!(quick.succeeded() && quick.stderr().is_empty(), "{quick}");
        }
        let ended = slow.finish();
        assert_eq!(ended.status().code(), Some(3), "{ended}");
        nothing_is_left(host, &before);
    });
}

#[test]
fn what_cannot_be_taken_away_is_told_and_tried_again() {
    lab_with(&[Need::Ours("tools")], |host| {
        networks(host);
        let stub = host.stub("stub");
        let before = host.snapshot();
        stub.fails("DEL", r#"{"cniVersion": "1.0.0", "code": 11, "msg": "not now"}"#);
        let ended = run(host, &["--network", "net-s", "--network", "net-a", "sh", "-c", "exit 3"]).run();
        assert_eq!(ended.status().code(), Some(3), "{ended}");
        assert!(told(&ended.stderr()).starts_with("Cannot detach from network \"net-s\""), "{ended}");
        assert!(!Path::new("/run/leases/net-a/10.9.0.2").exists(), "the other one is detached");
        assert_eq!(fs::read_dir("/run/jackfield/runs").unwrap().count(), 1);
        let again = run(host, &["true"]).run();
        assert!(
            again.succeeded() && told(&again.stderr()).contains("\nNote: this is left of an earlier run"),
            "{again}"
        );
        stub.answers("DEL", "");
        let again = run(host, &["true"]).run();
        assert!(again.succeeded() && told(&again.stderr()).is_empty(), "{again}");
        nothing_is_left(host, &before);
    });
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_kept_for_whoever_can() {
    lab_with(&[Need::Program("strace")], |host| {
        networks(host);
        let before = host.snapshot();
        let record = "/run/jackfield/runs/run-01234567";
        run(host, &["--network", "net-a", "sh", "-c", &format!("cp -p /run/jackfield/runs/run-* {record}")])
            .run();
        let whole = fs::read(record).unwrap();
        let is_told = |call: Call, why: &str| {
            let next = call.run();
            let told = format!("Cannot read {record}: {why}");
            assert!(next.succeeded() && next.stderr().starts_with(&told), "{next}");
            assert!(next.stderr().contains("\nNote: this is left of an earlier run"), "{next}");
        };
        let strace = [
            "strace",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            record,
            "-e",
            "trace=read",
            "-e",
            "inject=read:error=EIO",
        ];
        is_told(run(host, &["true"]).under(&strace), "I/O error");
        assert_eq!(fs::read(record).unwrap(), whole);
        let other = "{\"layout\": 2}";
        fs::write(record, other).unwrap();
        is_told(run(host, &["true"]), "missing field");
        assert_eq!(fs::read_to_string(record).unwrap(), other);
        // Nobody begins with an empty one.
        for rest in [&whole[..], b""] {
            fs::write(record, rest).unwrap();
            let next = run(host, &["true"]).run();
            assert!(next.succeeded() && next.stderr().is_empty(), "{next}");
            nothing_is_left(host, &before);
        }
    });
}
