//! A pod, and how its plugins are asked, as a runtime would (CNI spec 1.0.0, section 3).

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::Result;
use crate::node::{Candidate, PATH, Pod, Verb};
use crate::weigh::{self, Cost, Invocation};

/// The plugins, in the order of ADD.
pub(crate) const CHAIN: [&str; 4] = ["bridge", "portmap", "firewall", "bandwidth"];

impl Candidate {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Candidate::Ours => "Jackfield",
            Candidate::Go => "Go plugins, iptables",
        }
    }
}

impl Pod {
    /// Runs its whole chain, and says what each plugin took, in the order in which they ran.
    pub(crate) fn weigh(&self, scale: &Path, verb: Verb) -> Result<Vec<(&'static str, Cost)>> {
        let kept = format!("/run/{}.result", self.name());
        let mut prev: Option<Value> = match verb {
            Verb::Add => None,
            Verb::Del => Some(serde_json::from_slice(&fs::read(&kept)?)?),
        };
        let mut plugins = CHAIN;
        if verb == Verb::Del {
            plugins.reverse();
        }
        let mut costs = Vec::new();
        for plugin in plugins {
            let mut on_node = Command::new("/usr/bin/nsenter");
            on_node.arg(format!("--net=/run/netns/{}", self.candidate.node())).arg(scale);
            let (said, cost) = weigh::weigh(&mut on_node, &self.ask(plugin, verb, prev.as_ref()))?;
            if verb == Verb::Add {
                prev = Some(serde_json::from_slice(&said)?);
            }
            costs.push((plugin, cost));
        }
        if let (Verb::Add, Some(result)) = (verb, &prev) {
            fs::write(kept, result.to_string())?;
        }
        Ok(costs)
    }

    fn ask(&self, plugin: &str, verb: Verb, prev: Option<&Value>) -> Invocation {
        let folder = self.candidate.folder();
        let mut conf = self.configuration(plugin);
        let head = [("cniVersion", json!("1.0.0")), ("name", json!("bench")), ("type", json!(plugin))];
        let prev = prev.map(|prev| ("prevResult", prev.clone()));
        for (key, value) in head.into_iter().chain(prev) {
            conf.insert(key.to_owned(), value);
        }
        let env = vec![
            ("PATH", PATH.to_owned()),
            ("CNI_COMMAND", verb.word().to_owned()),
            ("CNI_PATH", folder.display().to_string()),
            ("CNI_CONTAINERID", self.name()),
            ("CNI_NETNS", format!("/run/netns/{}", self.name())),
            ("CNI_IFNAME", "eth0".to_owned()),
        ];
        Invocation { program: folder.join(plugin), args: vec![], env, stdin: Value::Object(conf).to_string() }
    }

    /// The neighbours are on two bridges, for one takes 1,023 ports.
    fn configuration(&self, plugin: &str) -> Map<String, Value> {
        let bridge = self.number % 2;
        let host_port = 10_000 + 2 * self.number;
        let port =
            |add: u16| json!({"hostPort": host_port + add, "containerPort": 80 + add, "protocol": "tcp"});
        let keys = match plugin {
            "bridge" => json!({
                "bridge": format!("br{bridge}"), "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "subnet": format!("10.{}.0.0/16", 70 + bridge),
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": format!("/run/leases/{}{bridge}", self.candidate.name()),
                },
            }),
            "portmap" => json!({"runtimeConfig": {"portMappings": [port(0), port(1)]}}),
            "bandwidth" => json!({
                "ingressRate": 1_000_000_000, "ingressBurst": 50_000_000,
                "egressRate": 1_000_000_000, "egressBurst": 50_000_000,
            }),
            _ => Value::Null,
        };
        if let Value::Object(keys) = keys { keys } else { Map::new() }
    }
}
