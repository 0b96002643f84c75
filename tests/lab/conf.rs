//! Configurations that many tests start from.

use serde_json::{Value, json};

use super::host::Host;
use super::snapshot::Shared;

/// What an attachment to `br0` may leave behind: nothing that names it.
pub const LEFT_BEHIND: &[Shared<'_>] = &[Shared::Bridge("br0"), Shared::Forwarding, Shared::Store];

/// What a call may leave behind that got no further than its IPAM plugin.
pub const NOT_MADE: &[Shared<'_>] = &[Shared::Records];

/// A bridge network with IPv4 and IPv6 leases, a gateway and default routes: bridge `br0`, 10.9.0.0/24 and
/// fd00:9::/64, the store in /run/leases.
pub fn bridge(host: &Host) -> Value {
    bridge_at(host.newest())
}

/// The same in a given version of the specification.
pub fn bridge_at(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "net-a", "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": host_local(),
        "dns": {"nameservers": ["10.9.0.1"], "search": ["rs.test"]}
    })
}

/// A bridge network without addresses.
pub fn bridge_l2(host: &Host) -> Value {
    json!({"cniVersion": host.newest(), "name": "net-l2", "type": "bridge", "bridge": "br0"})
}

/// A routed pair with IPv4 and IPv6 leases.
pub fn veth(host: &Host) -> Value {
    veth_at(host.newest())
}

/// The same in a given version of the specification.
pub fn veth_at(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "net-v", "type": "ptp", "ipam": host_local(),
        "dns": {"nameservers": ["10.9.0.1"], "search": ["rs.test"]}
    })
}

/// `loopback`.
pub fn loopback(host: &Host) -> Value {
    json!({"cniVersion": host.newest(), "name": "net-lo", "type": "loopback"})
}

/// host-local as called directly: the configuration of a bridge around it.
pub fn leases(host: &Host) -> Value {
    bridge(host)
}

/// host-local with one pool, as called directly.
pub fn pool(host: &Host, subnet: &str) -> Value {
    json!({
        "cniVersion": host.newest(), "name": "net-a", "type": "bridge",
        "ipam": {"type": "host-local", "dataDir": "/run/leases", "ranges": [[{"subnet": subnet}]]}
    })
}

/// The `ipam` section of the networks above.
pub fn host_local() -> Value {
    json!({
        "type": "host-local", "dataDir": "/run/leases",
        "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    })
}

/// A bridge network whose addresses come from the stub of that name.
pub fn bridge_with_stub(host: &Host, stub: &str) -> Value {
    let mut conf = bridge(host);
    conf["ipam"] = json!({"type": stub, "foo": 1});
    conf["keyA"] = json!([1]);
    conf
}

/// `conf` with one member changed; the path is a JSON pointer, missing objects on the way are made.
pub fn with(conf: &Value, pointer: &str, value: Value) -> Value {
    let mut conf = conf.clone();
    let mut place = &mut conf;
    for key in pointer.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => &mut place[key.replace("~1", "/").as_str()],
        };
    }
    *place = value;
    conf
}

/// `conf` without one top-level member.
pub fn without(conf: &Value, key: &str) -> Value {
    let mut conf = conf.clone();
    conf.as_object_mut().expect("an object").remove(key);
    conf
}

/// static as called directly: the configuration of a bridge around it.
pub fn fixed(host: &Host) -> Value {
    let mut conf = bridge(host);
    conf["ipam"] = json!({
        "type": "static",
        "addresses": [
            {"address": "10.9.0.5/24", "gateway": "10.9.0.1"}, {"address": "fd00:9::5/64", "gateway": "fd00:9::1"}
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    });
    conf
}

/// All plugins, each with a configuration that works.
pub fn every(host: &Host) -> [(&'static str, Value); 5] {
    [
        ("bridge", bridge(host)),
        ("veth", veth(host)),
        ("loopback", loopback(host)),
        ("host-local", leases(host)),
        ("static", fixed(host)),
    ]
}

/// The plugins that make an interface.
pub fn interfaces(host: &Host) -> [(&'static str, Value); 2] {
    [("bridge", bridge(host)), ("veth", veth(host))]
}

/// The same, with everything that leaves something on the node; the reference's iptables would leave its chains.
pub fn interfaces_in_full(host: &Host) -> [(&'static str, Value); 2] {
    interfaces(host).map(|(program, conf)| (program, with(&conf, "/ipMasq", json!(!host.is_reference()))))
}
