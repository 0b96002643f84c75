//! host-local's folder over time: reboots, crashes, crowds and other hands.

mod boots;
mod by_hand;
mod crash;
mod crowd;
mod flat;
mod hands;
mod memory;
mod policy;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;

/// The network `net-a` with one subnet and its leases below this folder.
fn network(host: &Host, folder: &str, subnet: &str) -> Value {
    conf::with(&conf::pool(host, subnet), "/ipam/dataDir", json!(folder))
}

/// A container's attachment to that network.
fn container<'h>(host: &'h Host, pod: &Pod, conf: &Value, id: &str) -> Attach<'h> {
    host.attach("host-local", conf.clone(), pod).container(id)
}

/// The one address of an ADD's answer, without its prefix.
fn address(answer: &Outcome) -> String {
    let result = answer.result();
    let address = result["ips"][0]["address"].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}

/// The lease files of a folder.
fn leases(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.retain(|name| name.parse::<std::net::IpAddr>().is_ok());
    names.sort();
    names
}
