//! Whose source is replaced: `snat`, `masqAll`, `markMasqBit`; and who may ask at all: `conditionsV4`, `conditionsV6`.

use serde_json::{Value, json};

use super::{Container, OURS, bridge, port};
use crate::lab::host::Host;
use crate::lab::witness::outside;
use crate::lab::{conf, lab_with};

const AT: &str = "192.0.2.1:8080";
const AT_V6: &str = "[fd00:99::1]:8080";

fn published<'h>(host: &'h Host, name: &str, key: &str, value: Value) -> Container<'h> {
    let container = Container::new(host, name).with(key, value);
    container.publishes(&[port("tcp", 8080)]);
    container
}

#[test]
fn without_snat_everybody_keeps_his_source() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let web = published(host, "web", "/snat", json!(false));
        let _web = web.pod.listens("tcp", 8080, "web");
        assert_eq!(outside.asks("tcp", AT).as_deref(), Some("web 192.0.2.2"));
        assert_eq!(host.asks("tcp", "10.9.0.1:8080").as_deref(), Some("web 10.9.0.1"));
        assert_eq!(host.asks("tcp", "127.0.0.1:8080"), None);
        web.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn with_masq_all_everybody_has_the_hosts_source() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let web = published(host, "web", "/masqAll", json!(true));
        let _web = web.pod.listens("tcp", 8080, "web");
        assert_eq!(outside.asks("tcp", AT).as_deref(), Some("web 10.9.0.1"));
        assert_eq!(outside.asks("tcp", AT_V6).as_deref(), Some("web fd00:9::1"));
        assert_eq!(host.asks("tcp", "127.0.0.1:8080").as_deref(), Some("web 10.9.0.1"));
    });
}

/// What kube-proxy sends to the same container came to no port of ours.
#[test]
fn what_somebody_else_translates_keeps_its_source() {
    lab_with(OURS, |host| {
        let network = conf::veth(host);
        let web = Container::of(host, "veth", network.clone(), "web");
        let client = Container::of(host, "veth", network, "client");
        web.publishes(&[port("tcp", 8080)]);
        let _web = web.pod.listens("tcp", 8080, "web");
        host.sh("ip addr add 192.0.2.1/24 dev lo; ip route add 10.96.0.0/16 dev lo
            nft 'table ip service {
                chain pre {
                    type nat hook prerouting priority dstnat;
                    ip daddr { 10.96.0.1, 192.0.2.1 } tcp dport 8088 dnat to 10.9.0.2:8080;
                }
            }'");
        for service in ["10.96.0.1:8088", "192.0.2.1:8088"] {
            assert_eq!(client.pod.asks("tcp", service).as_deref(), Some("web 10.9.0.3"), "{service}");
        }
        assert_eq!(client.pod.asks("tcp", AT).as_deref(), Some("web 10.9.0.1"));
    });
}

#[test]
fn the_connections_mark_is_as_it_was_whichever_bit_is_used() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        // Somebody marks connections, and somebody looks at the marks once everything is over.
        host.sh("nft 'table inet seen {
            set marks { type mark; flags dynamic; size 16; }
            chain first { type filter hook prerouting priority -150; tcp dport 8080 ct mark set 0x5; }
            chain last { type filter hook postrouting priority 300; tcp dport 8080 update @marks { ct mark }; }
        }'");
        for (name, bit, rule) in [
            ("usual", None, "ct mark set ct mark | 0x00002000"),
            ("chosen", Some(20), "ct mark set ct mark | 0x00100000"),
            ("whatever", None, "ct mark set ct mark | 0x00100000"),
        ] {
            let web = Container::new(host, name);
            let web = bit.into_iter().fold(web, |web, bit: u8| web.with("/markMasqBit", json!(bit)));
            let at = 8080;
            web.publishes(&[port("tcp", at)]);
            let _web = web.pod.listens("tcp", at, "web");
            assert!(host.sh("nft list chain inet jackfield ports1").contains(rule), "{name}");
            assert_eq!(outside.asks("tcp", AT).as_deref(), Some("web 192.0.2.2"));
            assert_eq!(web.pod.asks("tcp", AT).as_deref(), Some("web 10.9.0.1"));
            let marks = host.sh("nft list set inet seen marks; nft flush set inet seen marks");
            assert!(marks.contains("elements = { 0x00000005 }"), "{marks}");
            web.check(&[port("tcp", at)]).silent();
            // This one keeps the rules for the next.
            web.ports.del().silent();
            if name == "chosen" {
                web.publishes(&[port("tcp", 8082)]);
            }
        }
    });
}

#[test]
fn a_condition_says_who_may_use_the_ports_of_its_network() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let insiders = ["ip saddr != 192.0.2.2".to_owned()];
        let inside = published(host, "inside", "/conditionsV4", json!(insiders));
        let _inside = inside.pod.listens("tcp", 8080, "inside");
        assert_eq!(outside.asks("tcp", AT), None);
        assert_eq!(outside.asks("tcp", AT_V6).as_deref(), Some("inside fd00:99::2"), "it is about IPv4");
        assert_eq!(host.asks("tcp", AT).as_deref(), Some("inside 192.0.2.1"));
        inside.check(&[port("tcp", 8080)]).silent();

        // Another network may have the port for the others.
        let other = conf::with(&conf::with(&bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([{"dst": "0.0.0.0/0"}]));
        let outsiders = ["ip", "saddr", "192.0.2.0/24", "iifname", "outside", "meta", "mark", "0"];
        let open = Container::of(host, "bridge", other, "open").with("/conditionsV4", json!(outsiders));
        open.publishes(&[port("tcp", 8080)]);
        let _open = open.pod.listens("tcp", 8080, "open");
        assert_eq!(outside.asks("tcp", AT).as_deref(), Some("open 192.0.2.2"));
        assert_eq!(host.asks("tcp", AT).as_deref(), Some("inside 192.0.2.1"));
        assert_eq!(open.publish(&[port("tcp", 8080)]).result(), open.result);

        // One of the same network has the same conditions, hence the same ports.
        let second = Container::new(host, "second").with("/conditionsV4", json!(insiders));
        second.publish(&[port("tcp", 8080)]).fails(999).names(&["8080/tcp", "container inside"]);
        let listing = host.sh("nft list ruleset");
        host.sh("nft list ruleset > /run/listing; nft flush ruleset; nft -f /run/listing");
        assert_eq!(host.sh("nft list ruleset"), listing, "a backup of it can be restored");
        inside.del();
        assert!(
            !host.sh("nft list ruleset").contains("saddr != 192.0.2.2"),
            "it goes with its last container"
        );
        assert_eq!(outside.asks("tcp", AT).as_deref(), Some("open 192.0.2.2"));
        open.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}
