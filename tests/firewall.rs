//! `firewall`: packets of a container pass what the host drops, and others do not. Whoever pings tells, and `nft` and `iptables`.

mod firewalld;
mod hostile_bus;
mod input;
mod iptables;
mod mixed;
mod podman;
mod policies;
mod release;
mod rules;
mod switch;
mod traffic;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::outcome::Outcome;
use crate::lab::place::Place;
use crate::lab::witness;
use crate::lab::world::Need;

/// The Go plugin has no such backend.
pub const OURS: &[Need] = &[Need::Ours("firewall")];

/// firewall for `net-a`.
pub fn network(host: &Host) -> Value {
    json!({"cniVersion": host.newest(), "name": "net-a", "type": "firewall"})
}

/// The bridge `brN` with the networks 10.N.0.0/24 and fd00:N::/64; 9 is that of `net-a`.
pub fn bridge(host: &Host, number: u8) -> Value {
    let ranges =
        json!([[{"subnet": format!("10.{number}.0.0/24")}], [{"subnet": format!("fd00:{number}::/64")}]]);
    let mut conf = conf::with(&conf::bridge(host), "/ipam/ranges", ranges);
    if number != 9 {
        conf["name"] = json!(format!("net-{number}"));
        conf["bridge"] = json!(format!("br{number}"));
    }
    conf
}

/// A container behind an interface plugin, and its firewall.
pub struct Container<'h> {
    pub pod: Pod,
    pub result: Value,
    pub link: Attach<'h>,
    pub wall: Attach<'h>,
}

impl<'h> Container<'h> {
    /// Attached to `br0`, with no firewall yet.
    #[track_caller]
    pub fn new(host: &'h Host, name: &str) -> Container<'h> {
        Container::of(host, "bridge", bridge(host, 9), name)
    }

    /// The same by any interface plugin, with the network of that configuration.
    #[track_caller]
    pub fn of(host: &'h Host, program: &str, conf: Value, name: &str) -> Container<'h> {
        let pod = host.pod_named(name);
        let network = conf::with(&network(host), "/name", conf["name"].clone());
        let link = host.attach(program, conf, &pod).container(name);
        let result = link.add().result();
        let wall = host.attach("firewall", network, &pod).container(name);
        Container { pod, result, link, wall }
    }

    /// The same with another configuration of firewall.
    pub fn with(mut self, key: &str, value: Value) -> Container<'h> {
        self.wall = self.wall.conf(conf::with(self.wall.configuration(), &format!("/{key}"), value));
        self
    }

    /// ADD of firewall.
    pub fn admit(&self) -> Outcome {
        self.wall.call_with("ADD", &self.result).run()
    }

    /// The same, which succeeds and passes on what came before.
    #[track_caller]
    pub fn admitted(self) -> Container<'h> {
        assert_eq!(self.admit().result(), self.result);
        self
    }

    /// CHECK of firewall.
    pub fn check(&self) -> Outcome {
        self.wall.check(&self.result)
    }

    /// Its addresses, as a witness reads them.
    pub fn addresses(&self) -> [String; 2] {
        let addresses = self.pod.addresses("eth0");
        let of = |v6: bool| addresses.iter().find(|it| it.contains(':') == v6).expect("an address");
        [false, true].map(|v6| of(v6).split('/').next().unwrap_or_default().to_owned())
    }

    /// DEL of everything, as a runtime without a memory does it.
    #[track_caller]
    pub fn del(&self) {
        self.wall.del().silent();
        self.link.del().silent();
    }
}

/// Which of these addresses answer somebody who asks in this way. All are asked at once.
fn reached(by: &Place, addresses: [&str; 2], ask: impl Fn(&str) -> String) -> Vec<String> {
    let asks = addresses.map(|it| format!("({} >/dev/null && echo {it}) &\n", ask(it))).concat();
    by.sh(&format!("{asks}wait")).lines().map(str::to_owned).collect()
}

/// Both addresses answer.
#[track_caller]
pub fn reaches(by: &Place, addresses: [impl AsRef<str>; 2]) {
    // The first packets may be lost while neighbours are found and links come up: only one that never answers costs time.
    let ask = |it: &str| format!("timeout 20 sh -c 'until ping -n -c 1 -W 2 {it}; do :; done'");
    let found = reached(by, addresses.each_ref().map(AsRef::as_ref), ask);
    assert_eq!(found.len(), 2, "{by:?} reaches only {found:?}");
}

/// Neither address answers.
#[track_caller]
pub fn does_not_reach(by: &Place, addresses: [impl AsRef<str>; 2]) {
    let ask = |it: &str| format!("ping -n -c 2 -i 0.2 -W 1 {it}");
    let found = reached(by, addresses.each_ref().map(AsRef::as_ref), ask);
    assert!(found.is_empty(), "{by:?} reaches {found:?}");
}

/// FORWARD drops what nobody accepts, in both families, as Docker leaves it.
pub fn drop_what_is_forwarded(host: &Host, by: Iptables) {
    filter(host, by, "-P FORWARD DROP");
}

/// Has iptables and ip6tables say something about the table `filter`.
pub fn filter(host: &Host, by: Iptables, words: &str) -> String {
    ["iptables", "ip6tables"]
        .map(|program| host.sh(&format!("PATH={} {program} -w {words}", by.path())))
        .concat()
}

/// Someone outside who knows the way to the containers of `br0`.
pub fn outside(host: &Host) -> Pod {
    witness::outside(host, &["10.9.0.0/24", "fd00:9::/64"])
}

/// The one rule in FORWARD, as iptables lists it.
pub const GATE: &str =
    "-A FORWARD -m mark --mark 0x1000/0x1000 -m comment --comment \"jackfield firewall\" -j ACCEPT\n";
