//! The same of the plugins behind a link: what portmap and firewall wrote, and their records, are in `tests/switching/frozen`.
//! Today's programs find it right, its packets pass, others come beside it, and it is taken down.

use std::fs;

use serde_json::{Value, json};

use super::{LINK, NEEDS, STAYS, purge_knows_it_by_its_link};
use crate::firewall;
use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::witness::{OUTSIDE, outside};
use crate::lab::{call::Call, conf, lab_with};
use crate::portmap::port;

const RECORDS: &str = "/run/jackfield/attachments";
const OWNER: &str = "d230246a997c9aa0d43d74033353da04";
const GATEWAY: [&str; 2] = ["10.9.0.1", "fd00:9::1"];

/// What one program left of `eth0` of container `frozen` in network `net-a`, and the configuration by which it did.
struct Layout {
    program: &'static str,
    more: &'static str,
    /// As `nft list ruleset` tells it.
    rules: &'static str,
    record: &'static str,
}

macro_rules! layout {
    ($program:literal, $name:literal, $more:expr) => {
        Layout {
            program: $program,
            more: $more,
            rules: include_str!(concat!("../frozen/", $name, ".nft")),
            record: include_str!(concat!("../frozen/", $name, ".record")),
        }
    };
}

const PORTMAP: [Layout; 2] = [
    layout!("portmap", "portmap1", "{}"),
    layout!("portmap", "portmap1-conditions", r#"{"conditionsV4": ["ip", "saddr", "!=", "10.66.0.0/16"]}"#),
];

const FIREWALL: [Layout; 3] = [
    layout!("firewall", "firewall1-open", r#"{"ingressPolicy": "open"}"#),
    layout!("firewall", "firewall1-same-bridge", r#"{"ingressPolicy": "same-bridge"}"#),
    layout!("firewall", "firewall1-isolated", r#"{"ingressPolicy": "isolated"}"#),
];

/// What portmap published.
fn ports() -> Value {
    let mapping =
        |host: &str| json!({"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": host});
    let web = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
    json!([web, port("udp", 9000), port("udp", 9001), mapping("192.0.2.1"), mapping("fd00:99::1")])
}

/// What the plugin before has told of the link.
fn result() -> Value {
    json!({"cniVersion": "1.1.0", "routes": [], "dns": {},
        "interfaces": [
            {"name": "br0", "mac": "02:00:5e:00:00:01"}, {"name": "vethd230246a997", "mac": "02:00:5e:00:00:08"},
            {"name": "eth0", "mac": "02:00:5e:10:00:02", "mtu": 1500, "sandbox": "/run/netns/frozen"}
        ],
        "ips": [{"interface": 2, "address": "10.9.0.2/24", "gateway": "10.9.0.1"},
            {"interface": 2, "address": "fd00:9::2/64", "gateway": "fd00:9::1"}]})
}

impl Layout {
    fn network(&self, host: &Host, ports: &Value) -> Value {
        let mut network: Value = serde_json::from_str(self.more).unwrap();
        network["cniVersion"] = json!(host.newest());
        network["name"] = json!("net-a");
        network["type"] = json!(self.program);
        if self.program == "portmap" {
            network["runtimeConfig"] = json!({"portMappings": ports});
        }
        network
    }

    /// Its file, where it was, and its rules, in the kernel; they are about a namespace that nobody knows beforehand.
    fn thaw<'h>(&self, host: &'h Host, pod: &Pod) -> Attach<'h> {
        host.sh(&format!("set -e{LINK}"));
        let namespace = host.sh("stat -L -c %d,%i /run/netns/frozen");
        fs::create_dir_all(RECORDS).unwrap();
        let record = self.record.replace("NAMESPACE", namespace.trim());
        fs::write(format!("{RECORDS}/{OWNER}.{}", self.program), record).unwrap();
        host.sh(&format!("nft -f - <<'END'\n{}END", self.rules));
        if self.program == "portmap" {
            host.set_sysctl("net/ipv4/conf/br0/route_localnet", "2");
        }
        host.attach(self.program, self.network(host, &ports()), pod).container("frozen")
    }

    /// A world with somebody outside, and the host's own rules; then the container as it was left, for each layout.
    fn each(layouts: &[Layout], test: impl Fn(&Host, &Layout, &Pod, &Pod, &Attach<'_>)) {
        lab_with(NEEDS, |host| {
            let outside = outside(host, &["10.9.0.0/24", "fd00:9::/64"]);
            let pod = host.pod_named("frozen");
            let drops = layouts.iter().any(|layout| layout.program == "firewall");
            if drops {
                firewall::drop_what_is_forwarded(host, crate::lab::iptables::Iptables::Nft);
            }
            let own = host.sh("nft list ruleset");
            for layout in layouts {
                let before = host.snapshot();
                test(host, layout, &pod, &outside, &layout.thaw(host, &pod));
                assert_eq!(host.sh("nft list ruleset"), own, "{}", layout.more);
                assert_eq!(host.sh(&format!("ls {RECORDS}")), "", "{}", layout.more);
                assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
                host.attach("bridge", conf::bridge(host), &pod).container("frozen").del().silent();
                host.sh("ip link delete br0");
                before.same_as(&host.snapshot(), STAYS);
            }
        });
    }
}

fn is_told(protocol: &str, by: &Place, at: &str, answer: &str) {
    assert_eq!(by.asks(protocol, at).as_deref(), Some(answer), "{protocol} {at} from {by:?}");
}

/// Everything that was published leads there, from outside and from the host.
fn is_reached(host: &Host, outside: &Pod) {
    let [v4, v6] = OUTSIDE.map(|from| format!("web {from}"));
    for port in [8080, 8081] {
        is_told("tcp", outside, &format!("192.0.2.1:{port}"), &v4);
        is_told("tcp", outside, &format!("[fd00:99::1]:{port}"), &v6);
    }
    for port in [9000, 9001] {
        is_told("udp", outside, &format!("192.0.2.1:{port}"), &v4);
        is_told("udp", outside, &format!("[fd00:99::1]:{port}"), &v6);
    }
    is_told("tcp", host, "127.0.0.1:8080", "web 10.9.0.1");
}

#[test]
fn ports_that_an_earlier_layout_published_lead_there_and_others_are_published_beside_them() {
    Layout::each(&PORTMAP, |host, layout, pod, outside, frozen| {
        let _listeners =
            [("tcp", 80), ("udp", 9000), ("udp", 9001)].map(|(kind, port)| pod.listens(kind, port, "web"));
        frozen.check(&result()).silent();
        is_reached(host, outside);

        let new = host.pod_named("new");
        let link = host.attach("bridge", conf::bridge(host), &new).container("new");
        let prev = link.add().result();
        let asking =
            |ports: Value| host.attach("portmap", layout.network(host, &ports), &new).container("new");
        let taken = asking(json!([port("udp", 9001)])).call_with("ADD", &prev).run();
        taken.fails_somehow().names(&["9001/udp", "frozen"]);
        let added = asking(json!([port("tcp", 8090)]));
        added.call_with("ADD", &prev).run().result();
        let _other = new.listens("tcp", 8090, "new");
        is_told("tcp", outside, "192.0.2.1:8090", &format!("new {}", OUTSIDE[0]));
        is_told("tcp", outside, "[fd00:99::1]:8090", &format!("new {}", OUTSIDE[1]));
        is_reached(host, outside);
        // Within the subnet the answer has to come back by the host.
        for gateway in GATEWAY {
            let at =
                if gateway.contains(':') { format!("[{gateway}]:8080") } else { format!("{gateway}:8080") };
            is_told("tcp", &new, &at, &format!("web {gateway}"));
        }
        frozen.check(&result()).silent();

        frozen.del().silent();
        assert_eq!(outside.asks("tcp", "192.0.2.1:8080"), None);
        added.check(&prev).silent();
        is_told("tcp", outside, "192.0.2.1:8090", &format!("new {}", OUTSIDE[0]));
        added.del().silent();
        link.del().silent();
        new.delete();
    });
}

#[test]
fn whom_an_earlier_layout_let_through_passes_beside_a_new_one() {
    Layout::each(&FIREWALL, |host, layout, pod, outside, frozen| {
        frozen.check(&result()).silent();
        let own = ["10.9.0.2", "fd00:9::2"];
        firewall::reaches(pod, OUTSIDE);
        firewall::does_not_reach(outside, own);

        let new = host.pod_named("new");
        let link = host.attach("bridge", conf::bridge(host), &new).container("new");
        let prev = link.add().result();
        let added = host.attach("firewall", layout.network(host, &Value::Null), &new).container("new");
        added.call_with("ADD", &prev).run().result();
        frozen.check(&result()).silent();
        firewall::reaches(pod, OUTSIDE);
        firewall::reaches(&new, OUTSIDE);
        match layout.more.contains("isolated") {
            true => firewall::does_not_reach(&new, own),
            false => firewall::reaches(&new, own),
        }

        frozen.del().silent();
        firewall::does_not_reach(pod, OUTSIDE);
        firewall::reaches(&new, OUTSIDE);
        added.check(&prev).silent();
        added.del().silent();
        link.del().silent();
        new.delete();
    });
}

/// For every layout of both.
fn is_taken_down_by(end: impl Fn(&Host, &Attach<'_>) + Copy) {
    for layouts in [&PORTMAP[..], &FIREWALL] {
        Layout::each(layouts, |host, _, _, _, frozen| end(host, frozen));
    }
}

#[test]
fn del_without_namespace_result_or_record_takes_down_what_was_behind_a_link() {
    is_taken_down_by(|host, frozen| {
        host.sh(&format!("rm {RECORDS}/*"));
        frozen.netns("").del().silent();
        frozen.del().silent();
    });
}

#[test]
fn gc_takes_down_what_was_behind_a_link_unless_its_attachment_lives() {
    is_taken_down_by(|host, frozen| {
        let gc = |living: Value| {
            let conf = conf::with(frozen.configuration(), "/cni.dev~1valid-attachments", living);
            host.call(frozen.program(), "GC", &conf).run().silent();
        };
        gc(json!([{"containerID": "frozen", "ifname": "eth0"}]));
        frozen.check(&result()).silent();
        gc(json!([]));
    });
}

#[test]
fn purge_takes_down_what_was_behind_a_link_that_is_gone() {
    is_taken_down_by(purge_knows_it_by_its_link);
}

/// The record has the call by which the rules were made.
#[test]
fn restore_makes_the_rules_of_a_record_again() {
    Layout::each(&PORTMAP, |host, _, pod, outside, frozen| {
        let _listeners =
            [("tcp", 80), ("udp", 9000), ("udp", 9001)].map(|(kind, port)| pod.listens(kind, port, "web"));
        host.sh("nft flush ruleset");
        let restored = restored(host);
        assert!(restored.contains("portmap") && restored.contains("frozen"), "{restored}");
        frozen.check(&result()).silent();
        is_reached(host, outside);
        frozen.del().silent();
    });
}

fn restored(host: &Host) -> String {
    let told = Call::of(host.program("cnitool"), &["restore"]).env("CNI_PATH", host.bin()).run();
    assert!(told.succeeded(), "{told}");
    told.stdout()
}

/// The words of all rules; nobody promises in which order elements are listed.
fn words(host: &Host) -> Vec<String> {
    let listing = host.sh("nft -s list ruleset");
    let mut words: Vec<String> =
        listing.split([',', '\n', '{', '}']).map(|it| it.trim().to_owned()).collect();
    words.sort();
    words
}

/// Whoever changes what is written freezes it beside what was.
#[test]
fn what_is_written_today_is_a_layout_that_is_frozen() {
    is_taken_down_by(|host, frozen| {
        let written = || {
            let text = fs::read_to_string(format!("{RECORDS}/{OWNER}.{}", frozen.program())).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            (words(host), lines.collect::<Vec<Value>>())
        };
        let then = written();
        frozen.del().silent();
        frozen.call_with("ADD", &result()).run().result();
        let (rules, record) = written();
        let of_one_alone: Vec<_> = then.0.iter().filter(|it| !rules.contains(it)).collect();
        assert_eq!(rules, then.0, "{of_one_alone:?} was frozen");
        assert_eq!(record, then.1);
        frozen.del().silent();
    });
}
