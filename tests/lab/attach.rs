//! An attachment under test: container, interface and network, and the verbs upon them.

use serde_json::Value;

use super::call::Call;
use super::host::Host;
use super::outcome::Outcome;

/// What a runtime remembers of an attachment between its verbs.
#[derive(Debug, Clone)]
pub struct Attach<'h> {
    host: &'h Host,
    program: String,
    conf: Value,
    container: String,
    ifname: String,
    netns: String,
    path: Option<String>,
}

impl<'h> Attach<'h> {
    /// `container-1`'s `eth0`.
    pub fn new(host: &'h Host, program: &str, conf: Value, netns: &str) -> Attach<'h> {
        let (container, ifname) = ("container-1".into(), "eth0".into());
        Attach { host, program: program.into(), conf, container, ifname, netns: netns.into(), path: None }
    }

    /// The same for another container.
    pub fn container(&self, id: &str) -> Attach<'h> {
        Attach { container: id.into(), ..self.clone() }
    }

    /// The same for another interface.
    pub fn ifname(&self, name: &str) -> Attach<'h> {
        Attach { ifname: name.into(), ..self.clone() }
    }

    /// The same with another configuration.
    pub fn conf(&self, conf: Value) -> Attach<'h> {
        Attach { conf, ..self.clone() }
    }

    /// The same with another namespace path.
    pub fn netns(&self, path: &str) -> Attach<'h> {
        Attach { netns: path.into(), ..self.clone() }
    }

    /// The same with another CNI_PATH.
    pub fn path(&self, path: &str) -> Attach<'h> {
        Attach { path: Some(path.into()), ..self.clone() }
    }

    /// The configuration.
    pub fn configuration(&self) -> &Value {
        &self.conf
    }

    /// The program's name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// A verb's call, to be changed before it is made.
    pub fn call(&self, verb: &str) -> Call {
        self.host_call(verb).netns(&self.netns).container(&self.container).ifname(&self.ifname)
    }

    /// The call of a verb that is about no container: GC, STATUS.
    pub fn host_call(&self, verb: &str) -> Call {
        let call = self.host.call(&self.program, verb, &self.conf);
        match &self.path {
            Some(path) => call.env("CNI_PATH", path),
            None => call,
        }
    }

    /// A verb's call with `prevResult` in its configuration.
    pub fn call_with(&self, verb: &str, prev: &Value) -> Call {
        let mut conf = self.conf.clone();
        conf["prevResult"] = prev.clone();
        self.conf(conf).call(verb)
    }

    /// ADD.
    pub fn add(&self) -> Outcome {
        self.call("ADD").run()
    }

    /// CHECK with what ADD (or the last plugin of the list) answered.
    pub fn check(&self, prev: &Value) -> Outcome {
        self.call_with("CHECK", prev).run()
    }

    /// DEL as old runtimes and repeated DELs send it, without a previous result.
    pub fn del(&self) -> Outcome {
        self.call("DEL").run()
    }

    /// DEL with what ADD answered.
    pub fn del_with(&self, prev: &Value) -> Outcome {
        self.call_with("DEL", prev).run()
    }
}
