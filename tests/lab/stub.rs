//! A recording delegate: an IPAM plugin (or a plugin of a list) that writes down how it was called and answers
//! what the test tells it to.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::call::Running;

/// The stub itself. It is a shell script because a delegate's environment, stdin and exit status are exactly
/// what a shell is good at, and because it shares no line with the programs under test.
const SCRIPT: &str = r#"#!/bin/sh
here=@FOLDER@
n=1
until mkdir "$here/call.$n" 2>/dev/null; do n=$((n+1)); done
env -0 > "$here/call.$n/environment"
cat > "$here/call.$n/stdin"
readlink /proc/self/ns/net > "$here/call.$n/netns"
echo "stub stderr $CNI_COMMAND" >&2
: > "$here/call.$n/whole"
if [ -e "$here/$CNI_COMMAND.hang" ]; then echo here > "$here/arrived"; read -r go < "$here/gate"; fi
if [ -e "$here/$CNI_COMMAND.kill" ]; then kill -KILL $$; fi
if [ -e "$here/$CNI_COMMAND.out" ]; then cat "$here/$CNI_COMMAND.out"; fi
if [ -e "$here/$CNI_COMMAND.rc" ]; then exit "$(cat "$here/$CNI_COMMAND.rc")"; fi
"#;

/// What the stub's ADD answers until told otherwise.
const ANSWER: &str = r#"{"ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"}]}"#;

/// An installed stub.
#[derive(Debug)]
pub struct Stub {
    name: String,
    folder: PathBuf,
}

/// One call that a stub received.
#[derive(Debug, Clone)]
pub struct Received {
    /// CNI_COMMAND.
    pub verb: String,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The exact bytes of stdin.
    pub stdin: Vec<u8>,
    /// The network namespace in which it ran, as /proc/self/ns/net says it.
    pub netns: String,
}

impl Received {
    /// One variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    /// stdin as JSON.
    pub fn conf(&self) -> Value {
        serde_json::from_slice(&self.stdin).expect("the stub's stdin is JSON")
    }
}

impl Stub {
    /// Installs a stub under this name.
    pub fn install(name: &str) -> Stub {
        Stub::install_in(name, &format!("/run/lab/stub-{name}"))
    }

    /// Installs a stub under this name in this folder (two folders on CNI_PATH may hold the same name).
    pub fn install_in(name: &str, folder: &str) -> Stub {
        let stub = Stub { name: name.into(), folder: folder.into() };
        fs::create_dir_all(&stub.folder).expect("the stub's folder");
        stub.forget();
        fs::write(stub.folder.join(name), SCRIPT.replace("@FOLDER@", folder)).expect("the stub");
        fs::set_permissions(stub.folder.join(name), fs::Permissions::from_mode(0o755))
            .expect("the stub's mode");
        stub.answers("ADD", ANSWER);
        stub
    }

    /// The stub of this name that is already installed.
    pub fn reopen(name: &str) -> Stub {
        Stub { name: name.into(), folder: format!("/run/lab/stub-{name}").into() }
    }

    /// The stub's name, for `ipam.type`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stub's folder, for CNI_PATH.
    pub fn folder(&self) -> &str {
        self.folder.to_str().expect("a plain path")
    }

    /// From now on this verb prints that and succeeds.
    pub fn answers(&self, verb: &str, stdout: &str) {
        fs::write(self.folder.join(format!("{verb}.out")), stdout).expect("the stub's answer");
        let _ = fs::remove_file(self.folder.join(format!("{verb}.rc")));
    }

    /// From now on this verb prints that and exits with 1.
    pub fn fails(&self, verb: &str, stdout: &str) {
        self.answers(verb, stdout);
        fs::write(self.folder.join(format!("{verb}.rc")), "1").expect("the stub's status");
    }

    /// From now on this verb dies by SIGKILL.
    pub fn dies(&self, verb: &str) {
        fs::write(self.folder.join(format!("{verb}.kill")), "").expect("the stub's mark");
    }

    /// From now on this verb hangs after it has recorded the call.
    pub fn hangs(&self, verb: &str) {
        fs::write(self.folder.join(format!("{verb}.hang")), "").expect("the stub's mark");
        for pipe in ["arrived", "gate"] {
            let _ = fs::remove_file(self.folder.join(pipe));
            let made = std::process::Command::new("mkfifo").arg(self.folder.join(pipe)).status();
            assert!(made.expect("mkfifo(1)").success());
        }
    }

    /// From now on this verb neither hangs nor dies.
    pub fn works(&self, verb: &str) {
        for mark in ["hang", "kill"] {
            let _ = fs::remove_file(self.folder.join(format!("{verb}.{mark}")));
        }
    }

    /// Waits until the hanging verb has been reached by this call; fails when the call ends without it.
    #[track_caller]
    pub fn wait_for(&self, call: &mut Running) {
        let (send, arrived) = mpsc::channel();
        let pipe = self.folder.join("arrived");
        std::thread::spawn(move || send.send(fs::read(pipe)));
        while arrived.recv_timeout(Duration::from_millis(20)).is_err() {
            assert!(!call.has_ended(), "the call ended before it reached the stub");
        }
    }

    /// Lets the hanging verb go on.
    pub fn release(&self) {
        drop(File::options().write(true).open(self.folder.join("gate")).expect("the stub's gate"));
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Received> {
        (1..).map_while(|n| self.received(n)).collect()
    }

    /// The verbs so far, in order.
    pub fn verbs(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.verb).collect()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        for n in 1..=self.calls().len() {
            fs::remove_dir_all(self.folder.join(format!("call.{n}"))).expect("the stub's record");
        }
    }

    fn received(&self, n: usize) -> Option<Received> {
        let folder = self.folder.join(format!("call.{n}"));
        let netns = fs::read_to_string(folder.join("netns")).ok()?.trim().to_owned();
        let bytes = fs::read(folder.join("environment")).ok()?;
        let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
            let (key, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
            Some((OsString::from_vec(key.to_vec()), OsString::from_vec(value.get(1..)?.to_vec())))
        });
        let environment: Vec<_> = pairs.collect();
        let verb = environment
            .iter()
            .find(|(key, _)| key == "CNI_COMMAND")
            .map(|(_, verb)| verb.to_string_lossy().into_owned());
        Some(Received {
            verb: verb.unwrap_or_default(),
            environment,
            stdin: fs::read(folder.join("stdin")).ok()?,
            netns,
        })
    }
}
