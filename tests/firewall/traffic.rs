//! Who reaches whom where the host drops what nobody accepts.

use serde_json::json;

use super::{Container, GATE, OURS, does_not_reach, drop_what_is_forwarded, filter, outside, reaches};
use crate::burst::by_workers;
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::outcome::Outcome;
use crate::lab::witness::{HOST, OUTSIDE};
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const GATEWAY: [&str; 2] = ["10.9.0.1", "fd00:9::1"];

fn talks_where_forward_drops(host: &Host, by: Iptables) {
    let outside = outside(host);
    drop_what_is_forwarded(host, by);
    let dropping = filter(host, by, "-S FORWARD");
    let add = |container: &Container<'_>| {
        let call = container.wall.call_with("ADD", &container.result).env("PATH", by.path());
        assert_eq!(call.run().result(), container.result);
    };
    let [web, neighbour, stranger] = ["web", "neighbour", "stranger"].map(|name| Container::new(host, name));
    does_not_reach(&web.pod, OUTSIDE);
    add(&web);
    add(&neighbour);
    assert_eq!(filter(host, by, "-S FORWARD"), dropping.replace("DROP\n", &format!("DROP\n{GATE}")));
    reaches(&web.pod, OUTSIDE);
    reaches(&web.pod, neighbour.addresses());
    reaches(&web.pod, GATEWAY);
    reaches(host, web.addresses());
    does_not_reach(&outside, web.addresses());
    does_not_reach(&stranger.pod, OUTSIDE);
    web.wall.check(&web.result).silent();
    let del = |container: &Container<'_>| {
        container.wall.call("DEL").env("PATH", by.path()).run().silent();
    };
    del(&web);
    does_not_reach(&web.pod, OUTSIDE);
    reaches(&neighbour.pod, OUTSIDE);
    del(&neighbour);
    assert_eq!(filter(host, by, "-S FORWARD"), dropping);
    assert!(!host.sh("nft list ruleset").contains("jackfield"));
}

#[test]
fn a_container_talks_where_forward_of_iptables_nft_drops_and_nobody_else_comes_in() {
    lab_with(OURS, |host| talks_where_forward_drops(host, Iptables::Nft));
}

/// Only root outside of user namespaces may know that its tables are in use.
#[test]
fn a_container_talks_where_forward_of_iptables_legacy_drops_and_nobody_else_comes_in() {
    lab_with(&[OURS, &[Need::IptablesLegacy, Need::RealRoot]].concat(), |host| {
        talks_where_forward_drops(host, Iptables::Legacy);
    });
}

/// Six come at once, and go at once; then one goes while another one comes.
#[test]
fn a_burst_on_iptables_legacy_has_one_rule_and_everybody_talks() {
    lab_with(&[OURS, &[Need::IptablesLegacy, Need::RealRoot]].concat(), |host| {
        let by = Iptables::Legacy;
        let _outside = outside(host);
        drop_what_is_forwarded(host, by);
        let dropping = filter(host, by, "-S FORWARD");
        let open = dropping.replace("DROP\n", &format!("DROP\n{GATE}"));
        let all: Vec<Container<'_>> =
            (0..6).map(|number| Container::new(host, &format!("web{number}"))).collect();
        let call = |verb: &str, container: &Container<'_>| {
            container.wall.call_with(verb, &container.result).env("PATH", by.path())
        };
        let at_once = |verb: &str| by_workers(6, &all.iter().map(|it| call(verb, it)).collect::<Vec<_>>());
        for round in 0..3 {
            at_once("ADD").iter().zip(&all).for_each(|(answer, it)| assert_eq!(answer.result(), it.result));
            assert_eq!(filter(host, by, "-S FORWARD"), open, "round {round}");
            all.iter().for_each(|container| reaches(&container.pod, OUTSIDE));
            at_once("CHECK").iter().for_each(Outcome::silent);
            at_once("DEL").iter().for_each(Outcome::silent);
            assert_eq!(filter(host, by, "-S FORWARD"), dropping, "round {round}");
        }
        call("ADD", &all[0]).run().result();
        for round in 0..20 {
            let [going, coming] = [&all[round % 2], &all[(round + 1) % 2]];
            let answers = by_workers(2, &[call("DEL", going), call("ADD", coming)]);
            answers[0].silent();
            answers[1].result();
            assert_eq!(filter(host, by, "-S FORWARD"), open, "round {round}");
        }
    });
}

#[test]
fn answers_pass_and_go_on_to_pass() {
    lab_with(OURS, |host| {
        let outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        let web = Container::new(host, "web").admitted();
        let _server = ["tcp", "udp"].map(|protocol| outside.listens(protocol, 8080, "outside"));
        let _web = web.pod.listens("tcp", 8080, "web");
        for to in ["192.0.2.2:8080", "[fd00:99::2]:8080"] {
            for protocol in ["tcp", "udp"] {
                assert!(web.pod.asks(protocol, to).is_some(), "{protocol} {to}");
            }
        }
        assert_eq!(outside.asks("tcp", "10.9.0.2:8080"), None);
    });
}

#[test]
fn a_published_port_is_reached_from_outside_where_forward_drops() {
    lab_with(OURS, |host| {
        let outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        let web = Container::new(host, "web");
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80}]});
        let portmap = conf::with(&super::network(host), "/runtimeConfig", ports);
        let portmap = host.attach("portmap", conf::with(&portmap, "/type", json!("portmap")), &web.pod);
        portmap.container("web").call_with("ADD", &web.result).run().result();
        let _listeners = [80, 81].map(|port| web.pod.listens("tcp", port, "web"));
        assert_eq!(outside.asks("tcp", "192.0.2.1:8080"), None, "without firewall");
        let web = web.admitted();
        assert_eq!(outside.asks("tcp", "192.0.2.1:8080").as_deref(), Some("web 192.0.2.2"));
        assert_eq!(outside.asks("tcp", "[fd00:99::1]:8080").as_deref(), Some("web fd00:99::2"));
        does_not_reach(&outside, web.addresses());
        // Nothing of the mark is seen by whoever masquerades by it, as the Go plugin's port mapping does.
        host.sh("iptables -t nat -A POSTROUTING -m mark --mark 0x3000/0x3000 -j MASQUERADE
            iptables -t nat -A POSTROUTING -m mark ! --mark 0x0 -j MASQUERADE");
        let _outside = outside.listens("tcp", 80, "outside");
        assert_eq!(web.pod.asks("tcp", "192.0.2.2:80").as_deref(), Some("outside 10.9.0.2"));
    });
}

#[test]
fn an_administrators_own_rules_come_first() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        for words in [
            "-N DOCKER-USER",
            "-A FORWARD -j DOCKER-USER",
            "-N CNI-ADMIN",
            "-N CNI-FORWARD",
            "-A CNI-FORWARD -j CNI-ADMIN",
            "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD",
            "-A FORWARD -j REJECT",
        ] {
            filter(host, Iptables::Nft, words);
        }
        let web = Container::new(host, "web").admitted();
        let listing = host.sh("iptables -S FORWARD");
        let rules: Vec<&str> = listing.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(rules[1..4], ["DOCKER-USER", "CNI-FORWARD", "ACCEPT"], "{listing}");
        reaches(&web.pod, OUTSIDE);
        filter(host, Iptables::Nft, "-A CNI-ADMIN -o outside -j DROP");
        does_not_reach(&web.pod, OUTSIDE);
        reaches(&web.pod, HOST);
    });
}

/// A packet that carries the mark already is not one that was let through.
#[test]
fn a_mark_of_somebody_else_opens_nothing() {
    lab_with(OURS, |host| {
        let outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        let web = Container::new(host, "web").admitted();
        filter(host, Iptables::Nft, "-t mangle -A PREROUTING -j MARK --set-xmark 0x1000/0x1000");
        does_not_reach(&outside, web.addresses());
        reaches(&web.pod, OUTSIDE);
    });
}
