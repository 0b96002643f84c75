//! The programs that are killed, each in the place where a runtime would call it.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};

/// The verbs, in the order of a container's life.
pub const VERBS: [&str; 5] = ["ADD", "CHECK", "DEL", "GC", "STATUS"];

/// Of the two containers: the one whose call is killed, and the one that comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    First,
    Second,
}

/// Makes the call of a verb. With a result it is told what ADD has answered; a DEL after a crash is not, for nobody knows.
type Maker<'h> = Box<dyn Fn(&str, Who, Option<&Value>) -> Call + 'h>;

/// A program with its configuration on a node.
pub struct Scene<'h> {
    pub name: String,
    pub call: Maker<'h>,
    /// Whether its errors are objects on stdout: it is a plugin.
    pub is_plugin: bool,
    /// Whether GC takes down what is in a namespace and on a host end, too. Otherwise both are gone with the container, and
    /// what was set there with them.
    pub gc_clears_pods: bool,
    /// The host ends of containers that live on, whatever this program does.
    pub host_ends: Vec<String>,
    /// Whether what it changes are settings of the kernel.
    pub is_about_settings: bool,
    /// Takes away by hand what would have gone with a namespace.
    pub put_back: Box<dyn Fn() + 'h>,
}

/// How to lay out a scene.
pub type Layout = for<'h> fn(&'h Host, &'h [Pod; 2]) -> Scene<'h>;

/// An interface plugin, at the head of its list.
fn interface<'h>(host: &'h Host, pods: &'h [Pod; 2], program: &str, conf: &Value) -> Scene<'h> {
    let of = |pod: &'h Pod, id: &str| host.attach(program, conf.clone(), pod).container(id);
    let both = [of(&pods[0], "first"), of(&pods[1], "second")];
    plugin(program, both.map(|attach| (attach, None)))
}

/// A plugin behind a bridge, whose two containers live on: only what this plugin makes comes and goes.
fn behind<'h>(host: &'h Host, pods: &'h [Pod; 2], program: &str, own: [Value; 2]) -> Scene<'h> {
    let of = |pod: &'h Pod, id: &str, own: &Value| {
        let prev = host.attach("bridge", conf::bridge(host), pod).container(id).add().result();
        let mut conf = json!({"cniVersion": host.newest(), "name": "net-a", "type": program});
        conf.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        (host.attach(program, conf, pod).container(id), Some(prev))
    };
    plugin(program, [of(&pods[0], "first", &own[0]), of(&pods[1], "second", &own[1])])
}

/// A container, and what the plugins before have answered.
type Party<'h> = (Attach<'h>, Option<Value>);

fn plugin<'h>(name: &str, parties: [Party<'h>; 2]) -> Scene<'h> {
    let prevs = parties.iter().filter_map(|(_, prev)| prev.as_ref());
    let host_ends = prevs.map(|prev| prev["interfaces"][1]["name"].as_str().unwrap().to_owned()).collect();
    let call = move |verb: &str, who: Who, result: Option<&Value>| {
        let (other, prev) = &parties[usize::from(who == Who::Second)];
        match (verb, result) {
            ("GC", _) => {
                let nobody = conf::with(other.configuration(), "/cni.dev~1valid-attachments", json!([]));
                other.conf(nobody).host_call(verb)
            }
            ("STATUS", _) => other.host_call(verb),
            ("ADD", _) => prev.as_ref().map_or_else(|| other.call(verb), |prev| other.call_with(verb, prev)),
            (_, Some(result)) => other.call_with(verb, result),
            (_, None) => other.call(verb),
        }
    };
    Scene {
        name: name.to_owned(),
        call: Box::new(call),
        is_plugin: true,
        gc_clears_pods: false,
        host_ends,
        is_about_settings: false,
        put_back: Box::new(|| {}),
    }
}

/// A bridge whose addresses are translated, with leases of both families.
pub fn bridge<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let conf = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
    Scene { gc_clears_pods: true, ..interface(host, pods, "bridge", &conf) }
}

/// A bridge that lets nobody use another's MAC address.
pub fn guarded<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let conf = conf::with(&conf::bridge_l2(host), "/macspoofchk", json!(true));
    let scene = interface(host, pods, "bridge", &conf);
    Scene { name: "bridge, macspoofchk".into(), gc_clears_pods: true, ..scene }
}

/// A routed pair whose addresses are translated.
pub fn veth<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let conf = conf::with(&conf::veth(host), "/ipMasq", json!(true));
    Scene { gc_clears_pods: true, ..interface(host, pods, "veth", &conf) }
}

/// The namespace's own loopback.
pub fn loopback<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    interface(host, pods, "loopback", &conf::loopback(host))
}

/// Leases of both families, without anybody who asks for them.
pub fn host_local<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    interface(host, pods, "host-local", &conf::leases(host))
}

/// Addresses that the configuration says.
pub fn fixed<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    interface(host, pods, "static", &conf::fixed(host))
}

/// A tcp and a udp port of the host. The second container has others: the first one lives, and keeps what it may have claimed.
pub fn portmap<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let ports = |number: u16| {
        let port = |protocol: &str| json!({"hostPort": number, "containerPort": 80, "protocol": protocol});
        json!({"capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": [port("tcp"), port("udp")]}})
    };
    behind(host, pods, "portmap", [ports(8080), ports(8081)])
}

/// Packets pass a host that drops them.
pub fn firewall<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    host.sh("iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP");
    behind(host, pods, "firewall", [json!({}), json!({})])
}

/// Both directions are slowed down.
pub fn bandwidth<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let rates = json!({"ingressRate": 1_000_000, "ingressBurst": 100_000, "egressRate": 1_000_000,
        "egressBurst": 100_000});
    behind(host, pods, "bandwidth", [rates.clone(), rates])
}

/// Two settings of the namespace, and the link's MAC address and MTU.
pub fn tuning<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    let settings = |mac: &str| {
        json!({"sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"},
            "mac": mac, "mtu": 1400, "promisc": true})
    };
    let scene = behind(host, pods, "tuning", [settings("c2:11:22:33:44:55"), settings("c2:11:22:33:44:66")]);
    let macs = pods.each_ref().map(|pod| pod.link("eth0").unwrap()["address"].as_str().unwrap().to_owned());
    let put_back = move || {
        for (pod, mac) in pods.iter().zip(&macs) {
            pod.sh(&format!(
                "ip link set eth0 address {mac} mtu 1500 promisc off; cd /proc/sys/net
                echo 4096 > core/somaxconn; echo 0 > ipv4/conf/eth0/arp_filter"
            ));
        }
    };
    Scene { is_about_settings: true, put_back: Box::new(put_back), ..scene }
}

/// A whole list, run by the runtime's half.
pub fn cnitool<'h>(host: &'h Host, pods: &'h [Pod; 2]) -> Scene<'h> {
    host.sh("mkdir -p /run/conf");
    let mut bridge = conf::bridge(host);
    bridge["ipMasq"] = json!(true);
    let list = json!({"cniVersion": host.newest(), "name": "net-a", "plugins": [
        bridge, {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "firewall"},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400}
    ]});
    std::fs::write("/run/conf/10-net.conflist", list.to_string()).unwrap();
    let call = move |verb: &str, who: Who, _: Option<&Value>| {
        let pod = &pods[usize::from(who == Who::Second)];
        let port = if who == Who::Second { 8081 } else { 8080 };
        let ports = json!({"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]});
        let verb = verb.to_lowercase();
        let words = if matches!(verb.as_str(), "gc" | "status") {
            vec![verb.as_str(), "net-a"]
        } else {
            vec![verb.as_str(), "net-a", pod.path()]
        };
        let call = Call::of(host.program("cnitool"), &words).env("NETCONFPATH", "/run/conf");
        call.env("CNI_PATH", host.bin()).env("CAP_ARGS", ports.to_string())
    };
    Scene {
        name: "cnitool".into(),
        call: Box::new(call),
        is_plugin: false,
        gc_clears_pods: true,
        host_ends: Vec::new(),
        is_about_settings: false,
        put_back: Box::new(|| {}),
    }
}
