//! `portmap`: ports of the host lead to a container. Whoever asks tells, and `nft`.

mod backends;
mod claims;
mod input;
mod iptables;
mod release;
mod rules;
mod sctp;
mod sources;
mod switch;
mod traffic;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;

/// The Go plugin of v1.1 knows iptables alone.
pub const OURS: &[Need] = &[Need::Ours("portmap")];

/// A port of the host that leads to the same port of the container.
pub fn port(protocol: &str, number: u16) -> Value {
    json!({"hostPort": number, "containerPort": number, "protocol": protocol})
}

/// A port that leads to another, at one address.
pub fn mapping(host: &str, from: u16, to: u16) -> Value {
    json!({"hostPort": from, "containerPort": to, "protocol": "tcp", "hostIP": host})
}

/// portmap for `net-a`.
pub fn network(host: &Host) -> Value {
    json!({"cniVersion": host.newest(), "name": "net-a", "type": "portmap"})
}

/// A bridge whose containers may be answered through the port that they asked from.
pub fn bridge(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/hairpinMode", json!(true))
}

/// A container behind an interface plugin, and its publishing.
pub struct Container<'h> {
    pub pod: Pod,
    pub result: Value,
    pub link: Attach<'h>,
    pub ports: Attach<'h>,
}

impl<'h> Container<'h> {
    /// Attached to the bridge, with nothing published yet.
    #[track_caller]
    pub fn new(host: &'h Host, name: &str) -> Container<'h> {
        Container::of(host, "bridge", bridge(host), name)
    }

    /// The same by any interface plugin, with the network of that configuration.
    #[track_caller]
    pub fn of(host: &'h Host, program: &str, conf: Value, name: &str) -> Container<'h> {
        let pod = host.pod_named(name);
        let network = conf::with(&network(host), "/name", conf["name"].clone());
        let link = host.attach(program, conf, &pod).container(name);
        let result = link.add().result();
        let ports = host.attach("portmap", network, &pod).container(name);
        Container { pod, result, link, ports }
    }

    /// The same with another configuration of portmap.
    pub fn with(mut self, pointer: &str, value: Value) -> Container<'h> {
        self.ports = self.ports.conf(conf::with(self.ports.configuration(), pointer, value));
        self
    }

    /// portmap's attachment with these ports.
    pub fn wanting(&self, mappings: &[Value]) -> Attach<'h> {
        let conf = self.ports.configuration();
        self.ports.conf(conf::with(conf, "/runtimeConfig", json!({"portMappings": mappings})))
    }

    /// ADD of portmap with these ports.
    pub fn publish(&self, mappings: &[Value]) -> Outcome {
        self.wanting(mappings).call_with("ADD", &self.result).run()
    }

    /// The same, which succeeds and passes on what came before.
    #[track_caller]
    pub fn publishes(&self, mappings: &[Value]) {
        assert_eq!(self.publish(mappings).result(), self.result);
    }

    /// Attached and published.
    #[track_caller]
    pub fn published(host: &'h Host, name: &str, mappings: &[Value]) -> Container<'h> {
        let container = Container::new(host, name);
        container.publishes(mappings);
        container
    }

    /// CHECK of portmap with these ports.
    pub fn check(&self, mappings: &[Value]) -> Outcome {
        self.wanting(mappings).check(&self.result)
    }

    /// DEL of everything, as a runtime without a memory does it.
    #[track_caller]
    pub fn del(&self) {
        self.ports.del().silent();
        self.link.del().silent();
    }
}

/// The rows of `portmap --list --json`.
pub fn listed(host: &Host) -> Vec<Value> {
    let program = host.program("portmap");
    serde_json::from_str(&host.sh(&format!("{} --list --json", program.display()))).unwrap()
}

/// What is left of ports by iptables: all but the rules' counters.
pub fn seen(host: &Host) -> [String; 3] {
    let files =
        host.sh("ls -R --ignore=restore /run/jackfield; cat /proc/sys/net/ipv4/conf/*/route_localnet");
    [Iptables::Nft.listing(host), host.sh("iptables -t mangle -S; ip link"), files]
}
