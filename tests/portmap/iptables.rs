//! portmap by iptables: the Go plugin's rules by that program, whoever writes them and whoever takes them away.

use serde_json::{Value, json};

use super::switch::{go, in_a_world_of_both};
use super::{Container, OURS, listed, mapping, network, port, seen};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::snapshot::Shared;
use crate::lab::witness::{self, outside};
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

/// A container whose ports are published by iptables.
fn by_iptables<'h>(host: &'h Host, name: &str) -> Container<'h> {
    Container::new(host, name).with("/backend", json!("iptables"))
}

/// A verb of ours with an iptables of choice.
fn ours(verb: &str, web: &Container<'_>, mappings: &[Value], by: Iptables) -> Call {
    web.wanting(mappings).call_with(verb, &web.result).env("PATH", by.path())
}

/// A verb of theirs about the same. Their version knows no backend, and none but iptables.
fn theirs(verb: &str, web: &Container<'_>, mappings: &[Value], by: Iptables) -> Call {
    let old = |conf: &Value| conf::with(conf, "/cniVersion", json!("1.0.0"));
    let conf = conf::with(&old(web.wanting(mappings).configuration()), "/prevResult", old(&web.result));
    go(verb, &conf, web, by)
}

/// The rules of containers in their order, and behind them all in any.
fn sorted(listing: &str) -> Vec<String> {
    let own = listing.lines().filter(|line| line.starts_with("-A CNI-DN-"));
    let mut all: Vec<&str> = listing.lines().collect();
    all.sort_unstable();
    own.chain(all).map(String::from).collect()
}

/// Tables that are not nat: what keeps 127.0.0.0/8 inside.
fn guards(host: &Host, by: Iptables) -> String {
    host.sh(&format!("PATH={} iptables -w -t mangle -S", by.path()))
}

/// Each protocol has one rule of a sort for IPv6: Debian's ip6tables-legacy takes two with different ports for the same, and
/// so the Go plugin, which asks it, leaves the second one out.
fn mappings(by: Iptables) -> Vec<Value> {
    let one = |(host, number, protocol): (&str, u16, &str)| json!({"hostPort": number, "containerPort": 80, "protocol": protocol, "hostIP": host});
    // More than fit one rule.
    let last = if by == Iptables::Legacy { 9002 } else { 9016 };
    let single = [
        ("0.0.0.0", 8080, "tcp"),
        ("192.0.2.1", 8081, "tcp"),
        ("fd00:99::1", 8082, "tcp"),
        ("0.0.0.0", 8083, "tcp"),
        ("", 8080, "udp"),
    ];
    single.into_iter().chain((9000..last).map(|number| ("0.0.0.0", number, "sctp"))).map(one).collect()
}

/// The same container, once by either; and each takes away the other's. (Their CHECK is not asked: of version 1.1 it looks for
/// the rules of IPv4 in the tables of IPv6, and fails behind their own ADD.)
fn writes_what_the_go_plugin_writes(host: &Host, by: Iptables) {
    host.sh(&format!("for i in iptables ip6tables; do PATH={} $i -t nat -N THEIR-MARK; done", by.path()));
    let all = mappings(by);
    for (key, value) in [
        ("backend", json!("iptables")),
        ("snat", json!(false)),
        ("markMasqBit", json!(5)),
        ("externalSetMarkChain", json!("THEIR-MARK")),
        (
            "conditionsV4",
            json!(["!", "-s", "198.51.100.0/24", "-m", "comment", "--comment", "not \"those\""]),
        ),
    ] {
        // The same mistake: it would take one bit for the other.
        if (by, key) == (Iptables::Legacy, "markMasqBit") {
            continue;
        }
        let neighbour = by_iptables(host, "neighbour");
        ours("ADD", &neighbour, &[port("tcp", 7000)], by).run().result();
        let web = by_iptables(host, "web").with(&format!("/{key}"), value);
        theirs("ADD", &web, &all, by).run().result();
        let listing = by.listing(host);
        assert!(listing.contains("--to-destination 10.9.0."), "{listing}");
        theirs("DEL", &web, &all, by).run().silent();
        let left = by.listing(host);
        ours("ADD", &web, &all, by).run().result();
        assert_eq!(sorted(&by.listing(host)), sorted(&listing), "{key}");
        ours("CHECK", &web, &all, by).run().silent();
        theirs("DEL", &web, &all, by).run().silent();
        assert_eq!(by.listing(host), left, "{key}: their DEL of ours");
        ours("ADD", &web, &all, by).run().result();
        ours("DEL", &web, &all, by).run().silent();
        ours("DEL", &web, &all, by).run().silent();
        assert_eq!(by.listing(host), left, "{key}: our DEL of ours");
        assert!(left.contains("--dport 7000"), "the neighbour");
        ours("DEL", &neighbour, &[], by).run().silent();
        assert!(!by.listing(host).contains("CNI-DN-"));
        assert!(!guards(host, by).contains("CNI-"), "{}", guards(host, by));
        [&web, &neighbour].iter().for_each(|it| {
            it.link.del().silent();
            it.pod.delete();
        });
    }
}

#[test]
fn by_iptables_nft_the_rules_are_those_of_the_go_plugin_and_either_deletes_the_others() {
    let name = "by_iptables_nft_the_rules_are_those_of_the_go_plugin_and_either_deletes_the_others";
    in_a_world_of_both(name, &[], |host| writes_what_the_go_plugin_writes(host, Iptables::Nft));
}

#[test]
fn by_iptables_legacy_the_rules_are_those_of_the_go_plugin_and_either_deletes_the_others() {
    let name = "by_iptables_legacy_the_rules_are_those_of_the_go_plugin_and_either_deletes_the_others";
    let needs = [Need::IptablesLegacy];
    in_a_world_of_both(name, &needs, |host| writes_what_the_go_plugin_writes(host, Iptables::Legacy));
}

/// Everybody reaches the port, and is seen as he should be.
#[track_caller]
fn is_reached(host: &Host, outside: &crate::lab::host::Pod, web: &Container<'_>, at: u16, word: &str) {
    let says = |from: &str| Some(format!("{word} {from}"));
    for protocol in ["tcp", "udp"] {
        for (address, own, from) in [
            ("192.0.2.1", "10.9.0.1", witness::OUTSIDE[0]),
            ("[fd00:99::1]", "fd00:9::1", witness::OUTSIDE[1]),
        ] {
            let to = format!("{address}:{at}");
            assert_eq!(outside.asks(protocol, &to), says(from), "{protocol} from outside to {to}");
            assert_eq!(web.pod.asks(protocol, &to), says(own), "{protocol} from itself to {to}");
            assert!(host.asks(protocol, &to).is_some(), "{protocol} from the host to {to}");
        }
        assert_eq!(host.asks(protocol, &format!("127.0.0.1:{at}")), says("10.9.0.1"), "{protocol}");
    }
}

fn switches_over(host: &Host, by: Iptables) {
    let outside = outside(host, &[]);
    let both = |number| [port("tcp", number), port("udp", number)];
    let [old, new] = ["old", "new"].map(|name| by_iptables(host, name));
    let _listening: Vec<_> = [(&old, 8000), (&new, 8001)]
        .into_iter()
        .flat_map(|(web, at)| ["tcp", "udp"].map(|protocol| web.pod.listens(protocol, at, web.pod.name())))
        .collect();
    theirs("ADD", &old, &both(8000), by).run().result();
    ours("ADD", &new, &both(8001), by).run().result();
    is_reached(host, &outside, &old, 8000, "old");
    is_reached(host, &outside, &new, 8001, "new");
    // Each goes with the other one's DEL, and the one that stays is reached on.
    ours("DEL", &old, &both(8000), by).run().silent();
    assert_eq!(outside.asks("tcp", "192.0.2.1:8000"), None);
    is_reached(host, &outside, &new, 8001, "new");
    theirs("ADD", &old, &both(8000), by).run().result();
    theirs("DEL", &new, &both(8001), by).run().silent();
    assert_eq!(outside.asks("tcp", "192.0.2.1:8001"), None);
    is_reached(host, &outside, &old, 8000, "old");
    // What their DEL could not know of goes with our GC, and then the record says nothing any more.
    assert_eq!(listed(host).len(), 4);
    let gone = conf::with(&network(host), "/cni.dev~1valid-attachments", json!([]));
    host.call("portmap", "GC", &gone).env("PATH", by.path()).run().silent();
    assert_eq!((listed(host).len(), guards(host, by).contains("CNI-")), (0, false));
    // The container of theirs has lost nothing but the way by 127.0.0.1, which is ours to keep.
    assert_eq!(outside.asks("tcp", "192.0.2.1:8000").as_deref(), Some("old 192.0.2.2"));
}

#[test]
fn living_containers_of_both_plugins_are_reached_side_by_side_by_iptables_nft() {
    let name = "living_containers_of_both_plugins_are_reached_side_by_side_by_iptables_nft";
    in_a_world_of_both(name, &[], |host| switches_over(host, Iptables::Nft));
}

#[test]
fn living_containers_of_both_plugins_are_reached_side_by_side_by_iptables_legacy() {
    let name = "living_containers_of_both_plugins_are_reached_side_by_side_by_iptables_legacy";
    in_a_world_of_both(name, &[Need::IptablesLegacy], |host| switches_over(host, Iptables::Legacy));
}

#[test]
fn a_port_by_iptables_is_reached_from_everywhere_and_127_0_0_0_8_from_nowhere_else() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let all = [port("tcp", 8080), port("udp", 8080), mapping("127.0.0.1", 9090, 8080)];
        let web = by_iptables(host, "web");
        web.publishes(&all);
        let _web = ["tcp", "udp"].map(|protocol| web.pod.listens(protocol, 8080, "web"));
        is_reached(host, &outside, &web, 8080, "web");
        let neighbour = Container::new(host, "neighbour");
        assert_eq!(neighbour.pod.asks("tcp", "192.0.2.1:8080").as_deref(), Some("web 10.9.0.1"));
        assert_eq!(host.asks("tcp", "127.0.0.1:9090").as_deref(), Some("web 10.9.0.1"));
        assert_eq!(outside.asks("tcp", "192.0.2.1:9090"), None, "it is published to the host alone");
        assert_eq!(host.asks("tcp", "[::1]:8080"), None);

        // The link takes packets for 127.0.0.0/8 now, and somebody has to drop those that others send.
        let _secret = host.listens_at("tcp", "127.0.0.1:9000".parse().unwrap(), "secret");
        super::traffic::sends_to_loopback(&neighbour.pod);
        assert_eq!(neighbour.pod.asks("tcp", "127.0.0.1:9000"), None);
        host.sh("iptables -t mangle -F CNI-HOSTPORT-LOCALNET");
        assert_eq!(neighbour.pod.asks("tcp", "127.0.0.1:9000").as_deref(), Some("secret 10.9.0.3"));
        web.publishes(&all);
        assert_eq!(neighbour.pod.asks("tcp", "127.0.0.1:9000"), None);
        for link in ["all", "default", "outside"] {
            assert_eq!(host.sysctl(&format!("net/ipv4/conf/{link}/route_localnet")), "0", "{link}");
        }
        web.del();
        assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
        assert_eq!(
            (outside.asks("tcp", "192.0.2.1:8080"), guards(host, Iptables::Nft).contains("CNI-")),
            (None, false)
        );
    });
}

#[test]
fn each_key_decides_whose_source_is_replaced_and_who_may_ask() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        host.sh("iptables -t nat -N THEIR-MARK; ip6tables -t nat -N THEIR-MARK
            iptables -t nat -A THEIR-MARK -j MARK --set-xmark 0x80/0x80
            iptables -t nat -A POSTROUTING -m mark --mark 0x80/0x80 -j MASQUERADE");
        let from = |place: &crate::lab::place::Place| place.asks("tcp", "192.0.2.1:8080");
        let (web, gateway) = (|from: &str| Some(format!("web {from}")), "10.9.0.1");
        for (key, value, outsiders, itself, by_loopback) in [
            ("masqAll", json!(true), web(gateway), web(gateway), web(gateway)),
            ("snat", json!(false), web("192.0.2.2"), None, None),
            ("markMasqBit", json!(20), web("192.0.2.2"), web(gateway), web(gateway)),
            ("externalSetMarkChain", json!("THEIR-MARK"), web("192.0.2.2"), web(gateway), web(gateway)),
            ("conditionsV4", json!(["!", "-s", "192.0.2.2"]), None, web(gateway), web(gateway)),
        ] {
            let one =
                by_iptables(host, &format!("web-{}", key.to_lowercase())).with(&format!("/{key}"), value);
            one.publishes(&[port("tcp", 8080)]);
            let _listening = one.pod.listens("tcp", 8080, "web");
            assert_eq!(from(&outside), outsiders, "{key}");
            assert_eq!(from(&one.pod), itself, "{key}: hairpin");
            assert_eq!(host.asks("tcp", "127.0.0.1:8080"), by_loopback, "{key}: 127.0.0.1");
            let v6 = outside.asks("tcp", "[fd00:99::1]:8080");
            let masqueraded = if key == "masqAll" { "fd00:9::1" } else { "fd00:99::2" };
            assert_eq!(v6, web(masqueraded), "{key}: IPv6");
            one.check(&[port("tcp", 8080)]).silent();
            one.del();
            one.pod.delete();
        }
        let nobody = by_iptables(host, "nobody").with("/externalSetMarkChain", json!("NOBODYS"));
        let before = host.snapshot();
        nobody.publish(&[port("tcp", 8080)]).fails(999).names(&["table nat has no chain NOBODYS"]);
        before.same_as(&host.snapshot(), &[Shared::Records]);
    });
}

/// What a network says for its own ports does not change those of others, and comes first.
#[test]
fn a_condition_in_the_words_of_iptables_asks_for_it_and_comes_before_the_ports_of_everybody() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let all = by_iptables(host, "all");
        all.publishes(&[port("tcp", 8080)]);
        let other =
            conf::with(&conf::with(&super::bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([{"dst": "0.0.0.0/0"}]));
        let some =
            Container::of(host, "bridge", other, "some").with("/conditionsV4", json!(["-s", "192.0.2.2"]));
        some.publishes(&[port("tcp", 8080)]);
        let _listening = [all.pod.listens("tcp", 8080, "all"), some.pod.listens("tcp", 8080, "some")];
        assert_eq!(outside.asks("tcp", "192.0.2.1:8080").as_deref(), Some("some 192.0.2.2"));
        assert_eq!(host.asks("tcp", "192.0.2.1:8080").as_deref(), Some("all 192.0.2.1"));
        some.check(&[port("tcp", 8080)]).silent();
        assert!(!host.sh("nft list tables").contains("jackfield"));
        some.del();
        assert_eq!(outside.asks("tcp", "192.0.2.1:8080").as_deref(), Some("all 192.0.2.2"));
    });
}

#[test]
fn check_by_iptables_names_the_rule_that_is_missing() {
    lab_with(OURS, |host| {
        let ports: Vec<Value> = (8080..8100).map(|number| port("tcp", number)).collect();
        let web = by_iptables(host, "web");
        web.publishes(&ports);
        web.check(&ports).silent();
        let chain = host.sh("iptables -t nat -S | sed -n 's/^-N \\(CNI-DN-.*\\)/\\1/p'");
        let chain = chain.trim();
        host.sh("iptables-save > /run/rules4; ip6tables-save > /run/rules6");
        for (deed, named) in [
            (format!("iptables -t nat -D {chain} 30"), "--dport 8089 -j DNAT --to-destination 10.9.0.2:8089"),
            (format!("ip6tables -t nat -D {chain} 1"), "-s fd00:9::2/64 -j CNI-HOSTPORT-SETMARK"),
            ("iptables -t nat -D CNI-HOSTPORT-DNAT 2".into(), "--destination-ports 8095,"),
            ("iptables -t nat -F PREROUTING".into(), "-A PREROUTING -m addrtype --dst-type LOCAL"),
            ("iptables -t nat -F CNI-HOSTPORT-MASQ".into(), "-A CNI-HOSTPORT-MASQ"),
            (format!("iptables -t nat -F {chain}"), "--dport 8080"),
            ("iptables -t mangle -F PREROUTING".into(), "-j CNI-HOSTPORT-LOCALNET"),
        ] {
            host.sh(&deed);
            web.check(&ports).fails(999).names(&["container web", "has no rule", named]);
            // The next ADD of anybody restores what all share, and its own what is its own.
            web.publishes(&ports);
            web.check(&ports).silent();
            host.sh("iptables-restore < /run/rules4; ip6tables-restore < /run/rules6");
        }
        host.set_sysctl("net/ipv4/conf/br0/route_localnet", "0");
        web.check(&ports).fails(999).names(&["route_localnet of br0 is 0"]);
        web.del();
    });
}

#[test]
fn a_second_add_by_iptables_replaces_the_ports_and_one_that_fails_leaves_what_was_there() {
    lab_with(OURS, |host| {
        let web = by_iptables(host, "web");
        web.publishes(&[port("tcp", 80), port("tcp", 81)]);
        let before = Iptables::Nft.listing(host);
        web.publishes(&[port("tcp", 80), port("tcp", 81)]);
        assert_eq!(sorted(&Iptables::Nft.listing(host)), sorted(&before));
        host.sh("mkdir /run/lab/broken; cd /run/lab/broken
            printf '#!/bin/sh\necho no such luck >&2; exit 3\n' > ip6tables-restore; chmod +x ip6tables-restore");
        let add = web.wanting(&[port("tcp", 82)]).call_with("ADD", &web.result);
        let path = format!("/run/lab/broken:{}", Iptables::Nft.path());
        add.env("PATH", path).run().fails(999).names(&["no such luck", "by iptables"]);
        let v4 = |listing: &str| listing.contains("--dport 81 ") && !listing.contains("--dport 82 ");
        assert!(v4(&Iptables::Nft.run_one(host, "iptables", "-S")), "{}", Iptables::Nft.listing(host));
        let ports = |rows: &[Value]| rows.iter().map(|row| row["hostPort"].clone()).collect::<Vec<_>>();
        assert_eq!(ports(&listed(host)), [80, 80, 81, 81]);
        web.publishes(&[port("tcp", 81), port("tcp", 82)]);
        web.check(&[port("tcp", 81), port("tcp", 82)]).silent();
        assert_eq!(ports(&listed(host)), [81, 81, 82, 82]);
        assert!(!Iptables::Nft.listing(host).contains("--dport 80 "));
        web.del();
    });
}

#[test]
fn an_add_by_iptables_that_fails_leaves_nothing() {
    lab_with(OURS, |host| {
        let web = by_iptables(host, "web");
        Iptables::Nft.with_neighbours(host);
        host.sh("iptables -t mangle -N OTHERS; iptables -t mangle -A PREROUTING -j OTHERS");
        // What all share stays with the first one.
        web.publishes(&[port("tcp", 80)]);
        web.ports.del().silent();
        let before = seen(host);
        let add = web.wanting(&[port("tcp", 80), port("udp", 80)]).call_with("ADD", &web.result);
        assert!(!add.clone().stdout_to("/dev/full").run().succeeded());
        assert_eq!(seen(host), before);
        host.sh("mkdir /run/lab/broken; cd /run/lab/broken
            printf '#!/bin/sh\necho no such luck >&2; exit 3\n' > ip6tables-restore; chmod +x ip6tables-restore");
        let before = seen(host);
        let broken = format!("/run/lab/broken:{}", Iptables::Nft.path());
        add.clone().env("PATH", broken).run().fails(999).names(&["no such luck"]);
        assert_eq!(seen(host), before);
        host.sh("mount --bind /dev/null $(readlink -f /usr/sbin/iptables)");
        add.run()
            .fails(999)
            .names(&["failed to locate iptables: \"iptables\"", "\"nftables\" it needs none"]);
        let status = conf::with(&network(host), "/backend", json!("iptables"));
        host.call("portmap", "STATUS", &status).run().fails(50).names(&["failed to locate iptables"]);
        host.sh("umount $(readlink -f /usr/sbin/iptables)");
        assert_eq!(seen(host), before);
        host.call("portmap", "STATUS", &status).run().silent();
    });
}

/// Where no other is installed, iptables-legacy has the plain name.
#[test]
fn ports_by_an_iptables_that_is_the_legacy_one_under_its_plain_name_go_with_del() {
    lab_with(&[OURS, &[Need::IptablesLegacy]].concat(), |host| {
        host.sh("cp -a /usr/sbin /run/lab/sbin; cd /run/lab/sbin; rm ip*tables-legacy* ip*tables-nft* xtables-nft-multi
            for name in iptables ip6tables; do for deed in '' -save -restore; do
            ln -sf xtables-legacy-multi $name$deed; done; done
            mount --bind /run/lab/sbin /usr/sbin");
        let web = by_iptables(host, "web");
        web.publishes(&[port("tcp", 8080)]);
        let listing = host.sh("iptables -V; iptables -t nat -S; ip6tables -t nat -S; iptables -t mangle -S");
        assert!(listing.contains("(legacy)") && listing.matches("-N CNI-DN-").count() == 2, "{listing}");
        assert!(!host.sh("nft list ruleset").contains("CNI-"));
        web.del();
        let listing = host.sh("iptables -t nat -S; ip6tables -t nat -S; iptables -t mangle -S");
        assert!(!listing.contains("CNI-DN-") && !listing.contains("LOCALNET"), "{listing}");
    });
}
