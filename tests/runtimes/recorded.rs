//! The calls of podman 4.3 and containerd 1.6, as they were once written down, made again.
//!
//! Each file in `recorded/` is one network: a line is what one of its plugins found on stdin, in the order of ADD, key
//! by key as the runtime sends it. `"prevResult":"@"` stands where libcni puts the previous result, if there is one.

mod containerd;
mod podman;

use serde_json::Value;

use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::{Shared, Snapshot};
use crate::lab::world::Need;

/// The Go plugins of v1.1 leave chains of iptables behind, and their portmap fails each CHECK.
const OURS: &[Need] = &[Need::Ours("portmap")];

/// Where libcni puts the previous result.
const PREVIOUS: &str = r#""prevResult":"@","#;

/// One container in one network, and what its runtime sends for it.
#[derive(Clone)]
struct Attached<'h> {
    host: &'h Host,
    network: &'static str,
    container: &'static str,
    ifname: &'static str,
    netns: String,
    /// CNI_ARGS.
    args: String,
    /// Whether the runtime sends with DEL what libcni has cached, whose keys are sorted.
    sorts: bool,
}

impl Attached<'_> {
    /// The programs of the network, each with what it finds on stdin but for the previous result.
    fn documents(&self) -> Vec<(String, &'static str)> {
        let program = |line: &str| {
            let document: Value = serde_json::from_str(line).unwrap();
            document["type"].as_str().unwrap().to_owned()
        };
        self.network.lines().map(|line| (program(line), line)).collect()
    }

    fn call(&self, program: &str, verb: &str, stdin: String) -> Call {
        let call = self.host.call(program, verb, &Value::Null).stdin(stdin);
        let call = call.container(self.container).ifname(self.ifname).netns(&self.netns);
        call.env("CNI_ARGS", &self.args)
    }

    /// ADD of each plugin in turn, each with the result of the one before it; the first failure ends it.
    fn try_add(&self) -> Outcome {
        let mut last = None;
        for (program, document) in self.documents() {
            let stdin = with_previous(document, last.as_ref());
            let outcome = self.call(&program, "ADD", stdin).run();
            if !outcome.succeeded() {
                return outcome;
            }
            last = Some(outcome);
        }
        last.unwrap()
    }

    /// The same, which succeeds: the result of the last plugin.
    #[track_caller]
    fn add(&self) -> Outcome {
        let last = self.try_add();
        last.result();
        last
    }

    /// CHECK of each plugin with the result of the last one. No runtime does it; it is one more witness.
    #[track_caller]
    fn check(&self, result: &Outcome) {
        for (program, document) in self.documents() {
            self.call(&program, "CHECK", with_previous(document, Some(result))).run().silent();
        }
    }

    /// DEL of each plugin, from the last to the first.
    #[track_caller]
    fn del(&self, result: Option<&Outcome>) {
        for (program, document) in self.documents().into_iter().rev() {
            let document = if self.sorts { sorted(document) } else { document.to_owned() };
            self.call(&program, "DEL", with_previous(&document, result)).run().silent();
        }
    }

    /// The same from elsewhere: `""` is what runtimes say when the namespace is gone.
    fn at(&self, netns: &str) -> Self {
        Attached { netns: netns.to_owned(), ..self.clone() }
    }

    fn with_args(&self, args: &str) -> Self {
        Attached { args: args.to_owned(), ..self.clone() }
    }

    fn in_network(&self, network: &'static str, ifname: &'static str) -> Self {
        Attached { network, ifname, ..self.clone() }
    }
}

/// What libcni sends: where it adds a runtimeConfig, the previous result has been through a Go map and is sorted.
fn with_previous(document: &str, result: Option<&Outcome>) -> String {
    match result {
        None => document.replace(PREVIOUS, ""),
        Some(result) => {
            let text = match document.contains("runtimeConfig") {
                true => result.result().to_string(),
                false => result.stdout().lines().map(str::trim).collect(),
            };
            document.replace(r#""@""#, &text)
        }
    }
}

/// A document with its keys sorted at every depth.
fn sorted(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap();
    document.to_string()
}

/// The addresses of a result.
fn addresses(result: &Outcome) -> Vec<String> {
    let result = result.result();
    let all = result["ips"].as_array().unwrap().iter();
    all.map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
}

/// The host is as it was, but for what a network shares among its containers.
#[track_caller]
fn nothing_is_left(host: &Host, before: &Snapshot, bridges: &[&str]) {
    let mut shared = vec![Shared::Forwarding, Shared::Store, Shared::Records];
    shared.extend(bridges.iter().map(|bridge| Shared::Bridge(bridge)));
    before.same_as(&host.snapshot(), &shared);
}
