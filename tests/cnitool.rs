//! `cnitool`, and with it `cni::conflist`: what the specification wants of a runtime, seen by recording stubs in the
//! place of plugins; then whole networks with real ones.

mod configuration;
mod derivation;
mod explain;
mod inventory;
mod lifecycle;
mod memory;
mod networks;
mod purge;
mod restore;
mod trace;
mod validate;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::stub::Stub;

/// The configuration folder of every test here.
const CONF: &str = "/run/conf";

/// A runtime with stubs for plugins, and one pod.
struct Tool<'a> {
    host: &'a Host,
    pod: Pod,
    stubs: Vec<Stub>,
}

impl<'a> Tool<'a> {
    /// Each stub in a folder of its own, so that each has its own record and its own answers.
    fn with_stubs(host: &'a Host, names: &[&str]) -> Tool<'a> {
        fs::create_dir_all(CONF).unwrap();
        let stubs = names.iter().map(|name| Stub::install(name)).collect();
        Tool { host, pod: host.pod(), stubs }
    }

    /// All stubs in one folder: one record, in which `type` says whose call it was, and one answer.
    fn with_one_record(host: &'a Host, names: &[&str]) -> Tool<'a> {
        fs::create_dir_all(CONF).unwrap();
        let stubs = names.iter().map(|name| Stub::install_in(name, "/run/lab/stubs")).collect();
        Tool { host, pod: host.pod(), stubs }
    }

    /// Writes the network `net` of all stubs, with these members beside the usual ones.
    fn network(&self, version: &str, more: &Value) -> &Tool<'a> {
        let plugins: Vec<Value> = self.stubs.iter().map(|stub| json!({"type": stub.name()})).collect();
        let mut list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        for (key, value) in more.as_object().unwrap() {
            list[key] = value.clone();
        }
        self.file("10-net.conflist", &list.to_string());
        self
    }

    fn file(&self, name: &str, text: &str) {
        let path = Path::new(CONF).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(Path::new(CONF).join(name)).unwrap();
    }

    /// `cnitool VERB net POD`, with the stubs on its path.
    fn call(&self, verb: &str) -> Call {
        self.call_for("net", verb)
    }

    fn call_for(&self, network: &str, verb: &str) -> Call {
        let mut folders: Vec<&str> = self.stubs.iter().map(Stub::folder).collect();
        folders.dedup();
        let call = Call::of(program(self.host), &[verb, network, self.pod.path()]);
        call.env("NETCONFPATH", CONF).env("CNI_PATH", folders.join(":"))
    }

    fn run(&self, verb: &str) -> Outcome {
        self.call(verb).run()
    }

    /// The verbs that each stub got, and forgets them.
    fn verbs(&self) -> Vec<Vec<String>> {
        let verbs = self.stubs.iter().map(Stub::verbs).collect();
        self.stubs.iter().for_each(Stub::forget);
        verbs
    }

    /// The stdin of the stub's last call.
    fn stdin(&self, stub: usize) -> Value {
        self.stubs[stub].calls().last().expect("a call").conf()
    }

    /// The file in which the attachment is remembered.
    fn record(&self) -> PathBuf {
        format!("/var/lib/cni/results/net-{}-eth0", self.container()).into()
    }

    fn container(&self) -> String {
        let sum = self.host.sh(&format!("printf %s {} | sha512sum", self.pod.path()));
        format!("cnitool-{}", &sum[..20])
    }
}

/// This build's cnitool, also where the Go plugins are under test: it runs either.
fn program(host: &Host) -> PathBuf {
    match option_env!("CARGO_BIN_EXE_cnitool") {
        Some(ours) if host.is_reference() => ours.into(),
        _ => host.program("cnitool"),
    }
}

/// Exit status 1, nothing on stdout, and one line on stderr that holds these words, behind whatever plugins wrote.
#[track_caller]
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status().code(), Some(1), "{outcome}");
    assert!(outcome.stdout().is_empty(), "{outcome}");
    let said = outcome.stderr();
    let told: Vec<&str> = said.lines().filter(|line| line.starts_with("Error: ")).collect();
    assert_eq!(told.len(), 1, "one error is told once\n{outcome}");
    for word in words {
        assert!(told[0].contains(word), "expected `{word}`\n{outcome}");
    }
}
