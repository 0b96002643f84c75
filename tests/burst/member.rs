//! A container and the plugins by which it is attached, one behind the other, as a runtime runs them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::place::Place;

/// Who shares a bridge with all others, but has a pool of its own in which there is no room for all.
pub const TIGHT: &str = "net-tight";
/// As many containers find room there: a /29 without its two ends and the gateway.
pub const ROOM: usize = 5;

/// What stands behind `bridge`, in the order of ADD.
const CHAINS: [&[&str]; 8] = [
    &[],
    &["portmap"],
    &[],
    &["firewall"],
    &[],
    &["bandwidth"],
    &["portmap", "firewall", "bandwidth"],
    &["tight"],
];

/// A container that comes and goes. It can be asked from any thread.
pub struct Member {
    pub id: String,
    pub place: Place,
    /// The port of the host that it wants.
    pub port: Option<u16>,
    netns: String,
    bin: PathBuf,
    chain: Vec<(&'static str, Value)>,
}

impl Member {
    /// The container of that number: what its chain is, and which port it wants, follows from the number. Two after each
    /// other in the same kind of chain want the same port.
    pub fn numbered(host: &Host, pod: &Pod, number: usize) -> Member {
        let port = u16::try_from(20_000 + number / 16 * 8 + number % 8).unwrap();
        Member::of(host, pod, CHAINS[number % CHAINS.len()], port)
    }

    /// The container with everything.
    pub fn whole(host: &Host, pod: &Pod, port: u16) -> Member {
        Member::of(host, pod, CHAINS[6], port)
    }

    fn of(host: &Host, pod: &Pod, behind: &[&'static str], port: u16) -> Member {
        let is_tight = behind == ["tight"];
        let mut chain = vec![("bridge", if is_tight { tight(host) } else { network(host) })];
        chain.extend(
            behind.iter().filter(|_| !is_tight).map(|program| (*program, plugin(host, program, port))),
        );
        Member {
            id: pod.name().to_owned(),
            place: Place::at(pod.path().as_ref()),
            port: behind.contains(&"portmap").then_some(port),
            netns: pod.path().to_owned(),
            bin: host.bin(),
            chain,
        }
    }

    /// Whether it is of the network without room for all.
    pub fn is_tight(&self) -> bool {
        self.chain[0].1["name"] == TIGHT
    }

    fn call(&self, verb: &str, (program, conf): &(&'static str, Value), prev: Option<&Value>) -> Call {
        let mut conf = conf.clone();
        if let Some(prev) = prev {
            conf["prevResult"] = prev.clone();
        }
        Call::new(self.bin.join(program), verb, &conf, &self.bin).netns(&self.netns).container(&self.id)
    }

    /// ADD of the whole chain. Where one plugin fails all are told to take everything away, as runtimes do.
    pub fn add(&self) -> Result<Value, Outcome> {
        let mut prev = None;
        for plugin in &self.chain {
            let answer = self.call("ADD", plugin, prev.as_ref()).run();
            if !answer.succeeded() {
                self.del(prev.as_ref());
                return Err(answer);
            }
            prev = Some(answer.result());
        }
        Ok(prev.unwrap())
    }

    /// CHECK of the whole chain.
    pub fn check(&self, result: &Value) {
        self.chain.iter().for_each(|plugin| self.call("CHECK", plugin, Some(result)).run().silent());
    }

    /// DEL of the whole chain, from behind.
    pub fn del(&self, result: Option<&Value>) {
        self.chain.iter().rev().for_each(|plugin| self.call("DEL", plugin, result).run().silent());
    }
}

/// GC of all plugins in both networks, while these live.
pub fn collect(bin: &Path, networks: &[(&'static str, Value)], living: &[String]) {
    let valid: Vec<Value> = living.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
    for (program, conf) in networks {
        let conf = conf::with(conf, "/cni.dev~1valid-attachments", json!(valid));
        Call::new(bin.join(program), "GC", &conf, bin).run().silent();
    }
}

/// What GC is asked of.
pub fn networks(host: &Host) -> Vec<(&'static str, Value)> {
    let behind = ["portmap", "firewall", "bandwidth"].map(|program| (program, plugin(host, program, 0)));
    [("bridge", network(host)), ("bridge", tight(host))].into_iter().chain(behind).collect()
}

fn network(host: &Host) -> Value {
    let ranges = json!([[{"subnet": "10.9.0.0/20"}], [{"subnet": "fd00:9::/64"}]]);
    conf::with(&conf::with(&conf::bridge(host), "/ipMasq", json!(true)), "/ipam/ranges", ranges)
}

fn tight(host: &Host) -> Value {
    let ipam = json!({"type": "host-local", "dataDir": "/run/leases", "subnet": "10.8.0.0/29"});
    let conf = conf::with(&conf::bridge_l2(host), "/name", json!(TIGHT));
    conf::with(&conf::with(&conf, "/ipMasq", json!(true)), "/ipam", ipam)
}

fn plugin(host: &Host, program: &str, port: u16) -> Value {
    let mut conf = json!({"cniVersion": host.newest(), "name": "net-a", "type": program});
    match program {
        "portmap" if port > 0 => {
            let mapping = json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"});
            conf["runtimeConfig"] = json!({"portMappings": [mapping]});
        }
        "bandwidth" => {
            for way in ["ingress", "egress"] {
                conf[format!("{way}Rate")] = json!(1_000_000_000);
                conf[format!("{way}Burst")] = json!(50_000_000);
            }
        }
        _ => {}
    }
    conf
}
