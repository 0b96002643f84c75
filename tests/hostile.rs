//! What strangers write, plant and name: strings that would be paths, lines or words of a command, files in the place of ours,
//! names that collide. Each is refused or kept as what it is, and nobody else's is touched.

mod descriptors;
mod planted;
mod rebel;
mod terminal;
mod twins;
mod words;

use std::fs;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;

/// The Go plugins follow links and print what they are given.
const OURS: &[Need] = &[Need::Ours("hostile")];

/// What nobody may read, change or remove, in each place where there are files of ours: a hard link crosses no file system.
const PRECIOUS: [&str; 2] = ["/run/precious", "/var/lib/precious"];

fn lay_out_what_is_precious() {
    PRECIOUS.iter().for_each(|file| fs::write(file, "precious").unwrap());
}

#[track_caller]
fn what_is_precious_is_untouched(by: &str) {
    for file in PRECIOUS {
        assert_eq!(fs::read_to_string(file).unwrap(), "precious", "{file}, after {by}");
    }
    assert!(fs::symlink_metadata("/run/nowhere").is_err(), "{by} has made /run/nowhere");
}

/// A network with everything that leaves something on the node.
fn whole_list(host: &Host) -> Value {
    let bridge = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
    let bridge = conf::with(&bridge, "/ipam/cooldownSeconds", json!(3600));
    json!({"cniVersion": host.newest(), "name": "net-a", "plugins": [
        bridge,
        {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
        {"type": "bandwidth", "egressRate": 8_000_000, "egressBurst": 800_000},
        {"type": "firewall"},
        {"type": "portmap", "capabilities": {"portMappings": true}}
    ]})
}

/// `cnitool VERB net-a POD`; what hangs is killed, and its exit status tells.
fn cnitool(host: &Host, verb: &str, pod: &Pod) -> Call {
    fs::create_dir_all("/run/conf").unwrap();
    fs::write("/run/conf/10-a.conflist", whole_list(host).to_string()).unwrap();
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    bounded(Call::of(host.program("cnitool"), &[verb, "net-a", pod.path()]))
        .env("NETCONFPATH", "/run/conf")
        .env("CNI_PATH", host.bin())
        .env("CAP_ARGS", ports.to_string())
}

/// A call that waits for a stranger would wait for ever.
fn bounded(call: Call) -> Call {
    call.under(&["timeout", "-s", "KILL", "60"])
}

/// A container on `br0`, and a plugin behind `bridge` with what that has answered.
fn behind<'h>(host: &'h Host, pod: &Pod, container: &str, conf: Value) -> (Attach<'h>, Value) {
    let bridge = host.attach("bridge", conf::bridge(host), pod).container(container);
    let prev = bridge.add().result();
    let program = conf["type"].as_str().unwrap().to_owned();
    (host.attach(&program, conf, pod).container(container), prev)
}
