//! A port belongs to one container: who gets it, who is refused, and who has left it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Container, OURS, bridge, listed, mapping, port};
use crate::lab::host::Host;
use crate::lab::witness::{self, outside};
use crate::lab::{conf, lab_with};

/// Asks until the answer is there: the kernel ends namespaces when it has the time.
#[track_caller]
fn comes_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_port_that_a_living_container_has_is_refused_by_its_name() {
    lab_with(OURS, |host| {
        let _outside = outside(host, &[]);
        for (number, (first, second, is_refused)) in [
            ("", "", true),
            ("0.0.0.0", "192.0.2.1", true),
            ("192.0.2.1", "0.0.0.0", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("::", "fd00:99::1", true),
            ("fd00:99::1", "", true),
            ("0.0.0.0", "::", false),
            ("192.0.2.1", "127.0.0.1", false),
            ("192.0.2.1", "fd00:99::1", false),
        ]
        .into_iter()
        .enumerate()
        {
            let red = Container::published(host, &format!("red{number}"), &[mapping(first, 80, 1)]);
            let blue = Container::new(host, &format!("blue{number}"));
            let before = host.snapshot();
            let outcome = blue.publish(&[port("tcp", 7000), mapping(second, 80, 2)]);
            if is_refused {
                let holder = format!("eth0 of container red{number} in network net-a");
                outcome.fails(999).names(&["80/tcp", &holder]);
                before.same_as(&host.snapshot(), &[]);
                red.check(&[mapping(first, 80, 1)]).silent();
            } else {
                outcome.result();
                blue.check(&[port("tcp", 7000), mapping(second, 80, 2)]).silent();
            }
            red.del();
            blue.del();
            [&red, &blue].iter().for_each(|it| it.pod.delete());
        }
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

// CAP-02
#[test]
fn another_protocol_is_another_port() {
    lab_with(OURS, |host| {
        let red = Container::published(host, "red", &[port("tcp", 80)]);
        let blue = Container::published(host, "blue", &[port("UDP", 80), port("sctp", 80)]);
        let rows = listed(host);
        let of = |name: &str| rows.iter().filter(|row| row["container"] == name).count();
        assert_eq!((of("red"), of("blue")), (2, 4));
        red.del();
        blue.check(&[port("udp", 80), port("sctp", 80)]).silent();
    });
}

#[test]
fn a_port_whose_holder_has_no_link_any_more_is_free() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        for (name, first, second) in
            [("same", "", ""), ("wide", "0.0.0.0", "192.0.2.1"), ("narrow", "192.0.2.1", "0.0.0.0")]
        {
            let dead = Container::published(host, &format!("dead-{name}"), &[mapping(first, 80, 1)]);
            let heir = Container::new(host, &format!("heir-{name}"));
            let link = dead.result["interfaces"][1]["name"].as_str().unwrap();
            host.sh(&format!("ip link delete {link}"));
            heir.publishes(&[mapping(second, 80, 80)]);
            let _heir = heir.pod.listens("tcp", 80, "heir");
            assert_eq!(outside.asks("tcp", "192.0.2.1:80").as_deref(), Some("heir 192.0.2.2"));
            // His late DEL takes nothing that is another's by now.
            dead.ports.del().silent();
            heir.check(&[mapping(second, 80, 80)]).silent();
            dead.link.del().silent();
            heir.del();
            [&dead, &heir].iter().for_each(|it| it.pod.delete());
        }
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

/// What plugins other than ours have made: with a link on the host, or with none.
#[test]
fn the_life_of_a_container_hangs_by_what_its_result_says() {
    lab_with(OURS, |host| {
        let result = |interfaces: Value| json!({"cniVersion": "1.0.0", "interfaces": interfaces, "ips": [{"address": "10.7.0.2/24"}]});
        host.sh("ip link add br7 type bridge; ip link add veth12345678 type veth peer name theirs");
        let by_link =
            result(json!([{"name": "br7"}, {"name": "veth12345678"}, {"name": "eth0", "sandbox": "/x"}]));
        let by_namespace = result(json!([{"name": "eth0", "sandbox": "/x"}]));
        let dies_with_its_link: fn(&Host) = |host| drop(host.sh("ip link delete veth12345678"));
        let dies_with_its_namespace: fn(&Host) = |host| drop(host.sh("ip netns delete red-eth0"));
        for (name, result, dies) in
            [("red-veth", by_link, dies_with_its_link), ("red-eth0", by_namespace, dies_with_its_namespace)]
        {
            let red = host.pod_named(name);
            let conf = json!({"cniVersion": "1.0.0", "name": "theirs", "type": "portmap",
                "runtimeConfig": {"portMappings": [port("tcp", 80)]}});
            host.attach("portmap", conf, &red).container(name).call_with("ADD", &result).run().result();
            let blue = Container::new(host, &format!("blue-{name}"));
            blue.publish(&[port("tcp", 80)]).fails(999).names(&[name, "theirs"]);
            dies(host);
            blue.publishes(&[port("tcp", 80)]);
            blue.del();
        }
    });
}

/// podman sends one list for every network of a container.
#[test]
fn two_networks_of_one_container_share_its_ports_and_the_second_inherits_them() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let mappings = [port("tcp", 80), port("udp", 80)];
        let first = Container::published(host, "web", &mappings);
        let other = conf::with(&conf::with(&bridge(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(
            &other,
            "/ipam/ranges",
            json!([[{"subnet": "10.8.0.0/24"}], [{"subnet": "fd00:8::/64"}]]),
        );
        let other = conf::with(&other, "/ipam/routes", json!([]));
        let link = host.attach("bridge", other, &first.pod).container("web").ifname("eth1");
        let result = link.add().result();
        let conf = conf::with(first.wanting(&mappings).configuration(), "/name", json!("net-b"));
        let second = first.ports.conf(conf).ifname("eth1");
        second.call_with("ADD", &result).run().result();
        second.check(&result).silent();
        first.check(&mappings).silent();
        let _web = ["tcp", "udp"].map(|protocol| first.pod.listens(protocol, 80, "web"));
        let reached = || ["tcp", "udp"].map(|protocol| outside.asks(protocol, "192.0.2.1:80").is_some());
        let leads_to =
            |address: &str| listed(host).iter().filter(|row| row["containerIP"] == address).count();
        assert_eq!((reached(), leads_to("10.9.0.2"), leads_to("10.8.0.2")), ([true; 2], 2, 0));

        // `podman network disconnect`. The answers of what is left go where the default route leads.
        first.del();
        first.pod.sh("ip route add default via 10.8.0.1");
        assert_eq!((reached(), leads_to("10.9.0.2"), leads_to("10.8.0.2")), ([true; 2], 0, 2));
        second.check(&result).silent();
        let stranger = Container::new(host, "stranger");
        stranger.publish(&mappings).fails(999).names(&["eth1 of container web in network net-b"]);
        second.del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn a_second_add_of_the_same_container_changes_nothing_and_one_with_other_ports_replaces_them() {
    lab_with(OURS, |host| {
        let ports = |all: &[u16]| all.iter().map(|number| port("udp", *number)).collect::<Vec<_>>();
        let web = Container::published(host, "web", &ports(&[80, 81]));
        let before = host.sh("nft -a list ruleset");
        web.publishes(&ports(&[80, 81]));
        assert_eq!(host.sh("nft -a list ruleset"), before);
        web.publishes(&ports(&[81, 82]));
        web.check(&ports(&[81, 82])).silent();
        let numbers: Vec<_> = listed(host).iter().map(|row| row["hostPort"].clone()).collect();
        assert_eq!(numbers, [81, 81, 82, 82]);
        let moved = json!({"hostPort": 81, "containerPort": 8100, "protocol": "udp"});
        web.publishes(std::slice::from_ref(&moved));
        assert_eq!(listed(host)[0]["containerPort"], 8100);

        // One that fails leaves what was there.
        let other = Container::published(host, "other", &ports(&[90]));
        web.publish(&ports(&[81, 90])).fails(999).names(&["container other"]);
        web.check(&[moved]).silent();
        web.del();
        other.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn ten_thousand_ports_are_published_at_once_all_of_them_or_none() {
    lab_with(OURS, |host| {
        let mappings: Vec<_> = (20_000..30_000).map(|number| mapping("0.0.0.0", number, number)).collect();
        let web = Container::new(host, "web");
        let holder = Container::published(host, "holder", &[port("tcp", 29_999)]);
        let before = host.snapshot();
        web.publish(&mappings).fails(999).names(&["29999/tcp", "container holder"]);
        before.same_as(&host.snapshot(), &[]);
        holder.del();

        web.publishes(&mappings);
        assert_eq!(listed(host).len(), 10_000);
        let outside = outside(host, &[]);
        let _web = web.pod.listens("tcp", 27_777, "web");
        assert_eq!(outside.asks("tcp", "192.0.2.1:27777"), Some(format!("web {}", witness::OUTSIDE[0])));
        web.check(&mappings).silent();
        web.ports.del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn of_many_that_want_one_port_at_once_one_gets_it() {
    lab_with(OURS, |host| {
        let containers: Vec<_> = (0..8).map(|n| Container::new(host, &format!("c{n}"))).collect();
        for wanted in [["", ""], ["0.0.0.0", "192.0.2.1"]] {
            let calls: Vec<_> = containers
                .iter()
                .enumerate()
                .map(|(n, it)| {
                    it.wanting(&[mapping(wanted[n % 2], 80, 80)]).call_with("ADD", &it.result).start()
                })
                .collect();
            let outcomes: Vec<_> = calls.into_iter().map(super::super::lab::call::Running::finish).collect();
            let winners = outcomes.iter().filter(|outcome| outcome.succeeded()).count();
            // At one address there is but one, too: all of those want the same.
            assert_eq!(winners, 1, "{wanted:?}");
            for outcome in outcomes.iter().filter(|outcome| !outcome.succeeded()) {
                outcome.fails(999).names(&["is taken"]);
            }
            containers.iter().for_each(|it| it.ports.del().silent());
            assert_eq!(host.sh("nft list ruleset"), "");
        }
        comes_true("records are gone", || {
            host.sh("ls /run/jackfield/attachments").lines().all(|it| !it.ends_with("portmap"))
        });
    });
}
