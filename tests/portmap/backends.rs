//! One port, two back ends: it belongs to one container whoever keeps its rules.

use serde_json::{Value, json};

use super::{Container, OURS, bridge, listed, mapping, network, port, seen};
use crate::lab::call::{Call, Running};
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::witness::outside;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const BACKENDS: [&str; 2] = ["iptables", "nftables"];

fn by<'h>(host: &'h Host, backend: &str, name: &str) -> Container<'h> {
    Container::new(host, name).with("/backend", json!(backend))
}

/// Both pairs of back ends in which iptables has a part.
fn pairs() -> [[&'static str; 2]; 3] {
    [["iptables", "iptables"], ["iptables", "nftables"], ["nftables", "iptables"]]
}

fn rules(host: &Host) -> String {
    host.sh("nft --stateless list ruleset") // a packet may be counted meanwhile
}

#[test]
fn a_port_that_a_living_container_has_by_the_other_backend_is_refused_by_its_name() {
    lab_with(OURS, |host| {
        let _outside = outside(host, &[]);
        for [first, second] in pairs() {
            for (held, wanted, is_refused) in
                [("0.0.0.0", "192.0.2.1", true), ("fd00:99::1", "", true), ("192.0.2.1", "127.0.0.1", false)]
            {
                let red = by(host, first, "red");
                red.publishes(&[mapping(held, 80, 1)]);
                let blue = by(host, second, "blue");
                let before = rules(host);
                let outcome = blue.publish(&[port("tcp", 7000), mapping(wanted, 80, 2)]);
                if is_refused {
                    outcome.fails(999).names(&["80/tcp is taken", "eth0 of container red in network net-a"]);
                    assert_eq!(rules(host), before, "{first} {second} {held} {wanted}");
                    assert!(listed(host).iter().all(|row| row["container"] == "red"));
                } else {
                    outcome.result();
                    blue.check(&[port("tcp", 7000), mapping(wanted, 80, 2)]).silent();
                }
                red.check(&[mapping(held, 80, 1)]).silent();
                blue.publish(&[port("udp", 80)]).result();
                [red, blue].iter().for_each(|it| {
                    it.del();
                    it.pod.delete();
                });
                assert!(!rules(host).contains("CNI-DN-") && !rules(host).contains("jackfield"));
            }
        }
    });
}

#[test]
fn a_port_whose_holder_by_the_other_backend_has_no_link_any_more_is_free() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        for (number, [first, second]) in pairs().into_iter().enumerate() {
            let dead = by(host, first, &format!("dead{number}"));
            dead.publishes(&[port("tcp", 80), port("tcp", 81)]);
            let heir = by(host, second, &format!("heir{number}"));
            host.sh(&format!("ip link delete {}", dead.result["interfaces"][1]["name"].as_str().unwrap()));
            heir.publishes(&[port("tcp", 80)]);
            let _heir = heir.pod.listens("tcp", 80, "heir");
            assert_eq!(outside.asks("tcp", "192.0.2.1:80").as_deref(), Some("heir 192.0.2.2"));
            dead.ports.del().silent();
            heir.check(&[port("tcp", 80)]).silent();
            assert_eq!(outside.asks("tcp", "192.0.2.1:80").as_deref(), Some("heir 192.0.2.2"));
            dead.link.del().silent();
            heir.del();
            [&dead, &heir].iter().for_each(|it| it.pod.delete());
            assert!(!rules(host).contains("CNI-DN-") && !rules(host).contains("jackfield"));
        }
    });
}

/// The rules of iptables come before all of nftables.
#[test]
fn a_condition_of_nftables_does_not_hide_a_port_from_iptables() {
    lab_with(OURS, |host| {
        let some = ["ip saddr 192.0.2.2".to_owned()];
        let conditional = |name: &str| Container::new(host, name).with("/conditionsV4", json!(some));
        let (first, second) = (conditional("some"), by(host, "iptables", "all"));
        first.publishes(&[mapping("0.0.0.0", 80, 80)]);
        second.publish(&[port("tcp", 80)]).fails(999).names(&["container some"]);
        first.del();
        second.publishes(&[port("tcp", 80)]);
        first.publish(&[port("tcp", 80)]).fails(999).names(&["container all"]);
        second.del();
    });
}

#[test]
fn two_networks_of_one_container_share_its_ports_by_iptables() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let mappings = [port("tcp", 80)];
        let first = by(host, "iptables", "web");
        first.publishes(&mappings);
        let other = conf::with(&conf::with(&bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([]));
        let link = host.attach("bridge", other, &first.pod).container("web").ifname("eth1");
        let result = link.add().result();
        let conf = conf::with(first.wanting(&mappings).configuration(), "/name", json!("net-b"));
        let second = first.ports.conf(conf).ifname("eth1");
        second.call_with("ADD", &result).run().result();
        let _web = first.pod.listens("tcp", 80, "web");
        let reached = || outside.asks("tcp", "192.0.2.1:80").is_some();
        assert!(reached());
        first.check(&mappings).silent();
        second.check(&result).silent();
        first.del();
        first.pod.sh("ip route add default via 10.8.0.1");
        assert!(reached(), "by the network that is left");
        second.del().silent();
        assert!(!reached() && !rules(host).contains("CNI-DN-"));
    });
}

/// Both have one chain, as with the Go plugin, whose DEL of the one takes the other's ports too.
#[test]
fn two_interfaces_in_one_network_have_one_chain_by_iptables_and_each_its_own_ports() {
    lab_with(OURS, |host| {
        let web = by(host, "iptables", "web");
        web.publishes(&[port("tcp", 80)]);
        let link = web.link.ifname("eth1");
        let result = link.add().result();
        let conf = web.wanting(&[port("tcp", 81)]).configuration().clone();
        let second = web.ports.conf(conf).ifname("eth1");
        second.call_with("ADD", &result).run().result();
        web.check(&[port("tcp", 80)]).silent();
        second.check(&result).silent();
        assert_eq!(rules(host).matches("chain CNI-DN-").count(), 2, "one of each family");
        web.ports.del().silent();
        second.check(&result).silent();
        assert!(!rules(host).contains("tcp dport 80 "));
        second.del().silent();
        assert!(!rules(host).contains("CNI-DN-"));
    });
}

#[test]
fn an_add_by_the_other_backend_moves_the_ports_of_its_container() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let web = Container::new(host, "web");
        let _web = web.pod.listens("tcp", 80, "web");
        for backend in [BACKENDS, BACKENDS].concat() {
            let conf =
                conf::with(web.wanting(&[port("tcp", 80)]).configuration(), "/backend", json!(backend));
            let ports = web.ports.conf(conf);
            ports.call_with("ADD", &web.result).run().result();
            ports.check(&web.result).silent();
            assert_eq!(outside.asks("tcp", "192.0.2.1:80").as_deref(), Some("web 192.0.2.2"));
            assert_eq!(host.asks("tcp", "127.0.0.1:80").as_deref(), Some("web 10.9.0.1"), "{backend}");
            let rows = listed(host);
            let named = (backend == "iptables").then_some("iptables");
            assert!(rows.len() == 2 && rows.iter().all(|row| row["backend"].as_str() == named), "{rows:?}");
            assert_eq!(rules(host).contains("CNI-DN-"), backend == "iptables");
            assert_eq!(rules(host).contains("table inet jackfield"), backend == "nftables");
        }
        web.del();
        assert_eq!(listed(host), [] as [Value; 0]);
        assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
    });
}

#[test]
fn the_last_of_both_backends_behind_a_link_sets_it_back() {
    lab_with(OURS, |host| {
        for leaving_first in [0, 1] {
            let both = BACKENDS.map(|backend| by(host, backend, backend));
            both[0].publishes(&[port("tcp", 80)]);
            both[1].publishes(&[port("tcp", 81)]);
            both[leaving_first].del();
            assert_ne!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
            both[1 - leaving_first].check(&[port("tcp", 80 + 1 - leaving_first as u16)]).silent();
            both[1 - leaving_first].del();
            assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
            both.iter().for_each(|it| it.pod.delete());
        }
    });
}

#[test]
fn of_many_that_want_one_port_by_either_backend_at_once_one_gets_it() {
    lab_with(OURS, |host| {
        let containers: Vec<_> = (0..6).map(|n| by(host, BACKENDS[n % 2], &format!("c{n}"))).collect();
        for round in 0..2 {
            let add = |it: &Container<'_>, number| {
                it.wanting(&[port("tcp", number)]).call_with("ADD", &it.result).start()
            };
            let calls: Vec<_> = containers.iter().map(|it| add(it, 80)).collect();
            let outcomes: Vec<_> = calls.into_iter().map(Running::finish).collect();
            assert_eq!(outcomes.iter().filter(|it| it.succeeded()).count(), 1, "round {round}");
            for outcome in outcomes.iter().filter(|outcome| !outcome.succeeded()) {
                outcome.fails(999).names(&["is taken"]);
            }
            containers.iter().for_each(|it| it.ports.del().silent());
            // And of many that want one each, all get it.
            let calls: Vec<_> = containers.iter().zip(8000..).map(|(it, number)| add(it, number)).collect();
            calls.into_iter().for_each(|call| drop(call.finish().result()));
            assert_eq!(listed(host).len(), 12);
            let calls: Vec<_> = containers.iter().map(|it| it.ports.call("DEL").start()).collect();
            calls.into_iter().for_each(|call| call.finish().silent());
            assert!(!rules(host).contains("CNI-DN-") && !rules(host).contains("jackfield"));
        }
    });
}

#[test]
fn del_gc_and_purge_by_iptables_need_nothing_but_the_record_and_repeat() {
    lab_with(OURS, |host| {
        let blue = by(host, "iptables", "blue");
        blue.publishes(&[port("tcp", 81)]);
        let with_blue = seen(host);
        let mappings: Vec<Value> = (1000..1040).map(|number| port("udp", number)).collect();
        let purge = || Call::of(host.program("cnitool"), &["purge"]).run().stdout();
        let valid = json!([{"containerID": "blue", "ifname": "eth0"}]);
        let gc = conf::with(&network(host), "/cni.dev~1valid-attachments", valid);
        for way in ["del", "del without a record", "gc", "purge"] {
            let red = by(host, "iptables", "red");
            red.publishes(&mappings);
            match way {
                "del" => red.ports.call("DEL").netns("").run().silent(),
                "del without a record" => {
                    host.sh("cd /run/jackfield/attachments; rm $(grep -l '\"red\"' *.portmap)");
                    red.ports.call("DEL").netns("").run().silent();
                }
                "gc" => host.call("portmap", "GC", &gc).run().silent(),
                _ => assert_eq!(purge(), "", "it lives"),
            }
            red.link.del().silent();
            red.pod.delete();
            if way == "purge" {
                assert!(purge().contains("eth0 of container red in network net-a"));
            }
            red.ports.call("DEL").netns("").run().silent();
            assert_eq!(seen(host), with_blue, "{way}");
        }
        blue.check(&[port("tcp", 81)]).silent();
        blue.del();
        assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
    });
}

/// The socket for nf_tables is the first one, and it is asked for once more. (To EPROTONOSUPPORT musl would ask again by itself.)
#[test]
fn where_the_kernel_has_no_nf_tables_iptables_is_used() {
    lab_with(&[OURS, &[Need::IptablesLegacy]].concat(), |host| {
        let outside = outside(host, &[]);
        let web = Container::new(host, "web");
        let _web = web.pod.listens("tcp", 80, "web");
        let mappings = [port("tcp", 80)];
        let without = |verb: &str| {
            let inject = "inject=socket:error=EAFNOSUPPORT:when=1..2";
            let call = web.wanting(&mappings).call_with(verb, &web.result);
            call.env("PATH", Iptables::Legacy.path()).under(&["strace", "-o", "/dev/null", "-e", inject])
        };
        without("ADD").run().result();
        assert!(Iptables::Legacy.listing(host).contains("--to-destination 10.9.0.2:80"));
        assert!(!rules(host).contains("jackfield"));
        assert_eq!(outside.asks("tcp", "192.0.2.1:80").as_deref(), Some("web 192.0.2.2"));
        assert_eq!(host.asks("tcp", "127.0.0.1:80").as_deref(), Some("web 10.9.0.1"));
        web.wanting(&mappings)
            .call_with("CHECK", &web.result)
            .env("PATH", Iptables::Legacy.path())
            .run()
            .silent();
        without("DEL").run().silent();
        assert!(!Iptables::Legacy.listing(host).contains("CNI-DN-"));
        // Who has asked for nftables gets nothing else.
        let conf = conf::with(web.wanting(&mappings).configuration(), "/backend", json!("nftables"));
        let inject = "inject=socket:error=EAFNOSUPPORT:when=1..2";
        let add = web.ports.conf(conf).call_with("ADD", &web.result);
        add.under(&["strace", "-o", "/dev/null", "-e", inject]).run().fails(999).names(&["nf_tables"]);
    });
}

#[test]
fn where_iptables_legacy_fails_for_one_family_the_rules_of_the_other_one_go_all_the_same() {
    lab_with(&[OURS, &[Need::IptablesLegacy]].concat(), |host| {
        let web = by(host, "iptables", "web");
        let mappings = [port("tcp", 80)];
        let (v4, v6) = ("--to-destination 10.9.0.2:80", "--to-destination [fd00:9::2]:80");
        let path = Iptables::Legacy.path();
        web.wanting(&mappings).call_with("ADD", &web.result).env("PATH", &path).run().result();
        host.sh(
            "mkdir /run/lab/odd; printf '#!/bin/sh\\necho odd >&2; exit 3\\n' > /run/lab/odd/iptables-legacy
            chmod 755 /run/lab/odd/iptables-legacy",
        );
        let odd = web.ports.call("DEL").env("PATH", format!("/run/lab/odd:{path}")).run();
        odd.fails(999).names(&["failed to remove", "odd"]);
        let left = Iptables::Legacy.listing(host);
        assert!(left.contains(v4) && !left.contains(v6), "{left}");
        web.ports.call("DEL").env("PATH", &path).run().silent();
        assert!(!Iptables::Legacy.listing(host).contains("CNI-DN-"));
    });
}
