//! The programs of examples/ do what they teach.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::lab::call::Call;
use crate::lab::lab_with;
use crate::lab::snapshot::Shared;
use crate::lab::world::{self, Need};

mod scripts;
pub mod toy_container;

/// An example, built as this test was built. Cargo has no variable for examples, and builds none for a test that is
/// asked for by name, so we do; where that was done already it costs nothing.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name);
    if world::variable("JACKFIELD_GUEST").is_some() || world::variable("JACKFIELD_LAB_INSIDE").is_some() {
        return program;
    }
    let target = profile.parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if cfg!(target_env = "musl") {
        cargo.args(["--target", target.file_name().unwrap().to_str().unwrap()]);
        cargo.arg("--target-dir").arg(target.parent().unwrap());
    } else {
        cargo.arg("--target-dir").arg(target);
    }
    assert!(cargo.status().unwrap().success(), "cargo build --example {name}");
    program
}

#[test]
fn a_plugin_in_thirty_lines_speaks_every_verb() {
    let program = example("name_servers");
    lab_with(&[Need::Ours("tools")], |host| {
        let pod = host.pod();
        let before = host.snapshot();
        let prev = json!({
            "cniVersion": "1.1.0", "ips": [{"address": "10.1.2.3/24"}], "dns": {"nameservers": ["10.1.2.1"]}, "x": 1
        });
        let conf = |prev: &Value| json!({"cniVersion": "1.1.0", "name": "net", "type": "name_servers", "nameservers": ["9.9.9.9"], "prevResult": prev});
        let call =
            |verb: &str, conf: &Value| Call::new(program.clone(), verb, conf, &host.bin()).netns(pod.path());

        let result = call("ADD", &conf(&prev)).run().result();
        assert_eq!(result["dns"]["nameservers"], json!(["10.1.2.1", "9.9.9.9"]));
        assert_eq!((&result["ips"], &result["x"]), (&prev["ips"], &prev["x"]));

        call("CHECK", &conf(&result)).run().silent();
        call("CHECK", &conf(&prev)).run().fails(999).names(&["9.9.9.9"]);
        call("ADD", &conf(&Value::Null)).run().fails(7);
        call("ADD", &json!({"cniVersion": "1.1.0", "name": "net", "nameservers": 9}))
            .run()
            .fails(6)
            .names(&["nameservers"]);
        for verb in ["DEL", "GC", "STATUS"] {
            call(verb, &conf(&result)).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn two_pods_reach_each_other_through_the_libraries() {
    let program = example("two_pods");
    lab_with(&[Need::Ours("tools")], |host| {
        let before = host.snapshot();
        let mut example = host.command(program.to_str().unwrap());
        example.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")).arg(host.bin());
        let said = example.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let lines = "red reaches blue at 10.22.0.3\nred reaches blue at fd00:22::3\n";
        assert_eq!(String::from_utf8_lossy(&said.stdout), lines);
        before.same_as(&host.snapshot(), &[Shared::Bridge("jack0"), Shared::Forwarding, Shared::Store]);
    });
}
