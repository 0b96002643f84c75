//! SCTP: associations with a published port. The machine's own kernel may not have the protocol; the guest's does.

use serde_json::{Value, json};

use super::Container;
use crate::lab::lab_with;
use crate::lab::place::Place;
use crate::lab::witness::{self, outside};
use crate::lab::world::{Feature, Need};

const NEEDS: &[Need] = &[Need::Ours("portmap"), Need::Has(Feature::Associations)];

/// The port at which everybody asks, by both families.
const AT: [&str; 2] = ["192.0.2.1:5300", "[fd00:99::1]:5300"];

/// A port of the host that leads to another of the container.
fn mapping(protocol: &str) -> Value {
    json!({"hostPort": 5300, "containerPort": 53, "protocol": protocol})
}

/// What is said to whoever asks: its word, and whom it has seen.
fn says(word: &str, seen: [&str; 2]) -> [Option<String>; 2] {
    seen.map(|from| Some(format!("{word} {from}")))
}

fn asks(by: &Place) -> [Option<String>; 2] {
    AT.map(|at| by.asks("sctp", at))
}

// CAP-02
#[test]
fn an_association_reaches_a_published_port_until_del() {
    lab_with(NEEDS, |host| {
        let outside = outside(host, &[]);
        let web = Container::new(host, "web");
        let neighbour = Container::new(host, "neighbour");
        let _web = web.pod.listens("sctp", 53, "web");
        assert_eq!(asks(&outside), [None, None], "nothing is published");
        web.publishes(&[mapping("sctp")]);
        web.check(&[mapping("sctp")]).silent();
        assert_eq!(asks(&outside), says("web", witness::OUTSIDE));
        let gateway = ["10.9.0.1", "fd00:9::1"];
        assert_eq!(asks(&neighbour.pod), says("web", gateway), "within the subnet the source is the host's");
        assert_eq!(asks(host).map(|it| it.is_some()), [true; 2], "from the host");
        web.ports.del().silent();
        assert_eq!(asks(&outside), [None, None], "after DEL");
        assert_eq!(outside.asks("tcp", AT[0]), None);

        // One protocol's port is not another's.
        web.publishes(&[mapping("tcp")]);
        assert_eq!(asks(&outside), [None, None], "by TCP alone");
        web.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn an_association_reaches_a_port_by_iptables_until_del() {
    lab_with(NEEDS, |host| {
        let outside = outside(host, &[]);
        let web = Container::new(host, "web").with("/backend", json!("iptables"));
        let _web = web.pod.listens("sctp", 53, "web");
        web.publishes(&[mapping("sctp")]);
        assert_eq!(asks(&outside), says("web", witness::OUTSIDE));
        web.ports.del().silent();
        assert_eq!(asks(&outside), [None, None]);
    });
}

/// What conntrack remembers of an association that has ended would lead the next one from the same port where that one went.
#[test]
fn an_association_from_the_same_port_goes_where_the_port_leads_now() {
    lab_with(NEEDS, |host| {
        let outside = outside(host, &[]);
        // The kernel tracks connections only where some rule wants to know of them.
        host.sh("nft 'table inet tracking {
            chain first { type filter hook prerouting priority 0; ct state new accept; }
        }'");
        let _host = host.listens("sctp", 5300, "host");
        let asks = || AT.map(|at| outside.asks_from("sctp", 4000, at));
        assert_eq!(asks(), says("host", witness::OUTSIDE));
        let first = Container::new(host, "first");
        let _first = first.pod.listens("sctp", 53, "first");
        first.publishes(&[mapping("SCTP")]);
        assert_eq!(asks(), says("first", witness::OUTSIDE), "past the listener of the host");
        first.ports.del().silent();
        assert_eq!(asks(), says("host", witness::OUTSIDE), "past the container that has left");
        let second = Container::new(host, "second");
        let _second = second.pod.listens("sctp", 53, "second");
        second.publishes(&[mapping("sctp")]);
        assert_eq!(asks(), says("second", witness::OUTSIDE));
    });
}
