//! A node with two networks of one option, somebody outside, and everybody who asks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::table::compared;
use super::ways::{FOREIGN, FOREIGN_MAC, Kind, NEIGHBOUR, PUBLIC, SECOND, WAYS, Way, Who};
use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::prober::{self, PORT, Prober, Question, ask};
use crate::lab::witness;

/// A column: what is written in the configuration.
pub struct Promise {
    pub name: &'static str,
    /// Keys of `bridge`, as JSON.
    bridge: &'static str,
    /// The plugin behind it, with its keys.
    behind: &'static [(&'static str, &'static str)],
    /// FORWARD drops what nobody accepts.
    drops: bool,
    /// Nobody gives addresses: who lives there gives himself some, after ADD.
    bare: bool,
    /// Under these keys the Go plugins of Debian have nothing to compare.
    pub ours: &'static [&'static str],
}

const fn promise(name: &'static str, bridge: &'static str) -> Promise {
    Promise { name, bridge, behind: &[], drops: false, bare: false, ours: &[] }
}

const GATEWAY: &str = r#"{"isGateway": true}"#;

/// Who publishes ports lets containers ask themselves, also where frames pass the rules of packets.
const PUBLISHED: &str = r#"{"isGateway": true, "hairpinMode": true}"#;

/// The same for the outside's answers, and all rules written by iptables.
const MASQUERADED_BY_IPTABLES: &str =
    r#"{"isGateway": true, "hairpinMode": true, "ipMasq": true, "ipMasqBackend": "iptables"}"#;
const BY_IPTABLES: &str = r#"{"backend": "iptables"}"#;

/// All columns.
pub const OPTIONS: [Promise; 17] = [
    Promise { bare: true, ..promise("no ipam", "{}") },
    promise("none", "{}"),
    promise("isGateway", GATEWAY),
    promise("ipMasq", r#"{"isGateway": true, "ipMasq": true}"#),
    promise("macspoofchk", r#"{"isGateway": true, "macspoofchk": true}"#),
    Promise {
        ours: &["port-isolation"],
        ..promise("portIsolation", r#"{"isGateway": true, "portIsolation": true}"#)
    },
    Promise { drops: true, ..promise("FORWARD drops", GATEWAY) },
    Promise { drops: true, behind: &[("firewall", "{}")], ..promise("firewall", GATEWAY) },
    Promise {
        drops: true,
        behind: &[("firewall", r#"{"ingressPolicy": "same-bridge"}"#)],
        ..promise("same-bridge", GATEWAY)
    },
    Promise {
        drops: true,
        behind: &[("firewall", r#"{"ingressPolicy": "isolated"}"#)],
        ours: &["firewall"],
        ..promise("isolated", GATEWAY)
    },
    Promise { behind: &[("portmap", "{}")], ..promise("portmap", PUBLISHED) },
    Promise { behind: &[("portmap", "hostIP")], ..promise("hostIP", PUBLISHED) },
    Promise { behind: &[("portmap", r#"{"snat": false}"#)], ..promise("snat: false", PUBLISHED) },
    Promise {
        behind: &[("portmap", r#"{"masqAll": true}"#)],
        ours: &["portmap"],
        ..promise("masqAll", PUBLISHED)
    },
    Promise {
        drops: true,
        behind: &[("portmap", "{}"), ("firewall", "{}")],
        ours: &["firewall"],
        ..promise("together", r#"{"isGateway": true, "hairpinMode": true, "ipMasq": true}"#)
    },
    Promise {
        drops: true,
        behind: &[("portmap", BY_IPTABLES), ("firewall", BY_IPTABLES)],
        ..promise("together, by iptables", MASQUERADED_BY_IPTABLES)
    },
    Promise { behind: &[("portmap", BY_IPTABLES)], ..promise("ports, by iptables", MASQUERADED_BY_IPTABLES) },
];

/// The node.
pub struct World<'h> {
    host: &'h Host,
    option: &'static Promise,
    container: Pod,
    neighbour: Pod,
    leaving: Pod,
    mac: String,
    probers: Vec<Prober>,
    /// Who stays, and who leaves.
    attached: Vec<(Vec<Attach<'h>>, &'static str)>,
}

impl<'h> World<'h> {
    pub fn make(host: &'h Host, option: &'static Promise) -> World<'h> {
        let number = OPTIONS.iter().position(|it| it.name == option.name).unwrap();
        prober::stay_on_one_processor(number);
        host.sh("for key in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $key ] || echo 0 > $key; done");
        let outside = witness::outside(host, &["10.9.0.0/24", "fd00:9::/64", "10.8.0.0/24", "fd00:8::/64"]);
        host.sh(&format!(
            "ip addr add {}/24 dev outside; ip addr add {}/64 dev outside nodad
            echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
            SECOND[0], SECOND[1]
        ));
        let [container, neighbour, leaving, other] =
            ["container", "neighbour", "leaving", "other"].map(|name| host.pod_named(name));
        let mut world = World {
            host,
            option,
            mac: String::new(),
            probers: Vec::new(),
            attached: Vec::new(),
            container,
            neighbour,
            leaving,
        };
        world.drop_what_is_forwarded();
        for (pod, network) in [(&world.container, 9), (&world.neighbour, 9), (&world.leaving, 9), (&other, 8)]
        {
            let attached = attach(host, option, pod, network);
            world.attached.push((attached, if network == 9 { "net-9" } else { "net-8" }));
        }
        // Theirs are looked for twice at first; a container that claims one meanwhile would end it.
        host.sh("while ip -6 addr show scope global tentative | grep -q inet6; do :; done");
        // An address of its own choice, which is nobody's source who does not ask for it.
        let [four, six] = FOREIGN;
        world.container.sh(&format!(
            "ip addr add {four}/24 dev eth0; ip addr add {six}/64 dev eth0 nodad preferred_lft 0"
        ));
        world.mac = world.container.link("eth0").unwrap()["address"].as_str().unwrap().to_owned();
        let places: [&Place; 5] = [host, &world.container, &world.neighbour, &other, &outside];
        world.probers = places.map(Prober::start).into();
        world
    }

    fn drop_what_is_forwarded(&self) {
        if self.option.drops {
            self.host.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
        }
    }

    /// Somebody loads his own rules in place of all that were there, which drop as before.
    pub fn flush_and_restore(&self) {
        self.host.sh("nft flush ruleset");
        self.drop_what_is_forwarded();
        let restore = Call::of(self.host.program("cnitool"), &["restore"]).env("CNI_PATH", self.host.bin());
        let answer = restore.run();
        assert!(answer.succeeded(), "{answer}");
    }

    /// GC while all but one live.
    pub fn collect_a_neighbour(&self) {
        let living = ["container", "neighbour"].map(|id| json!({"containerID": id, "ifname": "eth0"}));
        for attachment in &self.attached[2].0 {
            let conf = conf::with(attachment.configuration(), "/cni.dev~1valid-attachments", json!(living));
            attachment.conf(conf).host_call("GC").run().silent();
        }
        assert_eq!(self.leaving.links(), [""; 0], "GC takes it away");
    }

    /// Every cell is as expected. What is expected to arrive may need a moment: links come up, neighbours are found. What is
    /// not never arrives.
    #[track_caller]
    pub fn answers(&mut self, when: &str, expected: &[String]) {
        let rows: Vec<String> = WAYS.iter().map(Way::name).collect();
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.asks();
            if found == expected {
                return;
            }
            let came = |(expected, found): (&String, &String)| {
                ["no", "–"].contains(&expected.as_str()) && found != expected
            };
            let is_over = expected.iter().zip(&found).any(came) || Instant::now() > patience;
            assert!(!is_over, "{}, {when}:\n{}", self.option.name, compared(&rows, expected, &found));
        }
    }

    /// Sends everything, and gives the column.
    fn asks(&mut self) -> Vec<String> {
        let foreign = |way: &Way| matches!(way.kind, Kind::Foreign(_));
        let mac = |way: &Way| matches!(way.kind, Kind::Mac(_));
        let usual = |way: &Way| !foreign(way) && !mac(way) && !matches!(way.kind, Kind::Claims(..));
        let mut cells: Vec<String> = vec![String::new(); WAYS.len()];
        self.ask(&mut cells, usual);
        self.ask(&mut cells, foreign);
        self.container.sh(&format!("ip link set eth0 address {FOREIGN_MAC}; ip neigh flush dev eth0"));
        self.ask(&mut cells, mac);
        self.container.sh(&format!("ip link set eth0 address {}; ip neigh flush dev eth0", self.mac));
        self.neighbour.sh("ip neigh flush dev eth0");
        self.host.sh("ip neigh flush dev br9");
        if !self.is_published() {
            WAYS.iter().zip(&mut cells).for_each(|(way, cell)| {
                if matches!(way.kind, Kind::Published(..)) {
                    "–".clone_into(cell);
                }
            });
        }
        for (way, cell) in WAYS.iter().zip(&mut cells) {
            if let Kind::Claims(claimed, whom, _) = way.kind {
                *cell = self.claims(way, claimed, whom);
            }
        }
        let router = WAYS.iter().position(|way| matches!(way.kind, Kind::Router)).unwrap();
        cells[router] = self.advertises();
        cells
    }

    fn is_published(&self) -> bool {
        self.option.behind.iter().any(|(program, _)| *program == "portmap")
    }

    fn ask(&mut self, cells: &mut [String], which: impl Fn(&Way) -> bool) {
        let asked: Vec<usize> = (0..WAYS.len()).filter(|row| which(&WAYS[*row])).collect();
        let questions: Vec<Vec<(usize, Question)>> = asked.iter().map(|row| WAYS[*row].questions()).collect();
        let mut answers = ask(&mut self.probers, &questions.concat()).into_iter();
        for (row, questions) in asked.into_iter().zip(&questions) {
            let answers: Vec<_> = answers.by_ref().take(questions.len()).collect();
            if !answers.is_empty() {
                cells[row] = WAYS[row].cell(&answers);
            }
        }
    }

    /// The container takes another's addresses and asks somebody from them, who looks up first who that is; and whoever was asked
    /// believes that they are the container's, or not.
    fn claims(&mut self, way: &Way, claimed: [&str; 2], whom: Who) -> String {
        let [four, six] = claimed;
        let (asked, link): (&Place, _) =
            if matches!(whom, Who::Host) { (self.host, "br9") } else { (&self.neighbour, "eth0") };
        self.container.sh(&format!(
            "ip addr add {four}/32 dev eth0; ip addr add {six}/128 dev eth0 nodad; ip neigh flush dev eth0"
        ));
        ask(&mut self.probers, &way.questions());
        let believed = claimed.map(|address| {
            let known = asked.ip(&format!("neigh show {address} dev {link}"));
            known.iter().any(|it| it["lladdr"] == self.mac.as_str()).then(String::new)
        });
        self.container.sh(&format!(
            "ip addr del {four}/32 dev eth0; ip addr del {six}/128 dev eth0; ip neigh flush dev eth0"
        ));
        asked.sh(&format!("ip neigh flush dev {link}"));
        way.cell(&believed)
    }

    /// The container says that it is a router, and its neighbour believes it or not.
    fn advertises(&mut self) -> String {
        let link = self.container.link("eth0").unwrap();
        let index = link["ifindex"].as_u64().unwrap().try_into().unwrap();
        let container = &mut self.probers[Who::Container as usize];
        container.advertise(&self.container, index, NEIGHBOUR[1].parse().unwrap());
        prober::settle(&mut self.probers);
        let ways = self.neighbour.sh("ip -6 route show default proto ra");
        self.neighbour.sh("ip -6 route flush default proto ra");
        if ways.is_empty() { "no" } else { "yes" }.to_owned()
    }
}

/// ADD of the whole chain.
fn attach<'h>(host: &'h Host, option: &Promise, pod: &Pod, network: u8) -> Vec<Attach<'h>> {
    let mut bridge: Value = serde_json::from_str(option.bridge).unwrap();
    let name = format!("net-{network}");
    let base = json!({
        "cniVersion": host.newest(), "name": name, "type": "bridge", "bridge": format!("br{network}")
    });
    bridge.as_object_mut().unwrap().extend(base.as_object().unwrap().clone());
    if !option.bare {
        let ranges = json!([[{"subnet": format!("10.{network}.0.0/24")}], [{"subnet": format!("fd00:{network}::/64")}]]);
        let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        bridge["ipam"] =
            json!({"type": "host-local", "dataDir": "/run/leases", "ranges": ranges, "routes": routes});
    }
    let mut chain = vec![("bridge", bridge)];
    for (program, keys) in option.behind {
        let mut conf: Value = serde_json::from_str(keys).unwrap_or_else(|_| json!({}));
        conf["cniVersion"] = json!(host.newest());
        conf["name"] = json!(name);
        conf["type"] = json!(program);
        if *program == "portmap" && pod.name() == "container" {
            conf["runtimeConfig"] = json!({"portMappings": mappings(*keys == "hostIP")});
        }
        chain.push((*program, conf));
    }
    let mut prev = None;
    let mut all = Vec::new();
    for (program, conf) in chain {
        let attachment = host.attach(program, conf, pod).container(pod.name());
        let call = match &prev {
            None => attachment.call("ADD"),
            Some(prev) => attachment.call_with("ADD", prev),
        };
        prev = Some(call.run().result());
        all.push(attachment);
    }
    if option.bare {
        let own = if pod.name() == "neighbour" { 3 } else { 2 } + u8::from(pod.name() == "leaving") * 2;
        pod.sh(&format!(
            "ip addr add 10.{network}.0.{own}/24 dev eth0; ip addr add fd00:{network}::{own}/64 dev eth0 nodad"
        ));
    }
    all
}

/// The container's port, by both protocols; at every address or at the first one of each family.
fn mappings(at_one_address: bool) -> Value {
    let mut all = Vec::new();
    for protocol in ["tcp", "udp"] {
        let mapping = json!({"hostPort": PUBLIC, "containerPort": PORT, "protocol": protocol});
        match at_one_address {
            true => all.extend(witness::HOST.map(|host| conf::with(&mapping, "/hostIP", json!(host)))),
            false => all.push(mapping),
        }
    }
    json!(all)
}
