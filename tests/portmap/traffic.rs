//! Who reaches a published port, and who does not.

use serde_json::json;

use super::{Container, OURS, mapping, port};
use crate::lab::host::Host;
use crate::lab::place::Place;
use crate::lab::witness::{self, outside};
use crate::lab::{conf, lab_with};

/// The addresses of the host, by their ends.
const V4: [&str; 2] = [witness::HOST[0], "10.9.0.1"];
const V6: [&str; 2] = [witness::HOST[1], "fd00:9::1"];

/// Everybody asks; each is told who he is.
#[track_caller]
fn is_reached(protocol: &str, by: &Place, at: &str, port: u16, word: &str, seen_as: &str) {
    let to = if at.contains(':') { format!("[{at}]:{port}") } else { format!("{at}:{port}") };
    let answer = by.asks(protocol, &to);
    assert_eq!(answer.as_deref(), Some(format!("{word} {seen_as}").as_str()), "{protocol} {to} from {by:?}");
}

// CAP-03
#[test]
fn a_published_port_is_reached_from_everywhere() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let web = Container::published(host, "web", &[port("tcp", 8080), port("udp", 8080)]);
        let neighbour = Container::new(host, "neighbour");
        let _listeners = ["tcp", "udp"].map(|protocol| web.pod.listens(protocol, 8080, "web"));
        for protocol in ["tcp", "udp"] {
            for (host_addresses, gateway, from) in
                [(V4, "10.9.0.1", witness::OUTSIDE[0]), (V6, "fd00:9::1", witness::OUTSIDE[1])]
            {
                is_reached(protocol, &outside, host_addresses[0], 8080, "web", from);
                for at in host_addresses {
                    // Within the subnet the source is the host's, so that the answer comes back by it.
                    is_reached(protocol, &neighbour.pod, at, 8080, "web", gateway);
                    is_reached(protocol, &web.pod, at, 8080, "web", gateway);
                    assert!(host.asks(protocol, &socket(at)).is_some(), "{protocol} from the host to {at}");
                }
            }
            is_reached(protocol, host, "127.0.0.1", 8080, "web", "10.9.0.1");
            is_reached(protocol, host, "127.1.2.3", 8080, "web", "10.9.0.1");
            assert_eq!(
                host.asks(protocol, "[::1]:8080"),
                None,
                "the kernel sends nothing from ::1 to a link"
            );
        }
        web.del();
        assert_eq!(host.asks("tcp", "127.0.0.1:8080"), None);
        assert_eq!(outside.asks("tcp", &socket(V4[0])), None);
    });
}

fn socket(at: &str) -> String {
    if at.contains(':') { format!("[{at}]:8080") } else { format!("{at}:8080") }
}

#[test]
fn a_routed_pair_is_reached_too() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let web = Container::of(host, "veth", conf::veth(host), "web");
        let neighbour = Container::of(host, "veth", conf::veth(host), "neighbour");
        web.publishes(&[port("tcp", 8080)]);
        let _listener = web.pod.listens("tcp", 8080, "web");
        is_reached("tcp", &outside, V4[0], 8080, "web", witness::OUTSIDE[0]);
        is_reached("tcp", &outside, V6[0], 8080, "web", witness::OUTSIDE[1]);
        for place in [&neighbour.pod, &web.pod] {
            is_reached("tcp", place, V4[0], 8080, "web", "10.9.0.1");
        }
        is_reached("tcp", host, "127.0.0.1", 8080, "web", "10.9.0.1");
        web.check(&[port("tcp", 8080)]).silent();
    });
}

// The lesson of CVE-2025-67499.
#[test]
fn what_passes_through_the_host_is_not_translated() {
    lab_with(OURS, |host| {
        let outside = outside(host, &["10.9.0.0/24", "fd00:9::/64"]);
        let web = Container::published(host, "web", &[port("tcp", 8080), port("udp", 8080)]);
        let neighbour = Container::new(host, "neighbour");
        let _web = ["tcp", "udp"].map(|protocol| web.pod.listens(protocol, 8080, "web"));
        let _outside = ["tcp", "udp"].map(|protocol| outside.listens(protocol, 8080, "outside"));
        let _neighbour = ["tcp", "udp"].map(|protocol| neighbour.pod.listens(protocol, 8080, "neighbour"));
        for protocol in ["tcp", "udp"] {
            for (at, from) in [(witness::OUTSIDE[0], "10.9.0.3"), (witness::OUTSIDE[1], "fd00:9::3")] {
                is_reached(protocol, &neighbour.pod, at, 8080, "outside", from);
            }
            for (at, from) in [("10.9.0.3", witness::OUTSIDE[0]), ("fd00:9::3", witness::OUTSIDE[1])] {
                is_reached(protocol, &outside, at, 8080, "neighbour", from);
            }
            is_reached(protocol, host, "10.9.0.3", 8080, "neighbour", "10.9.0.1");
        }
    });
}

// CAP-04
#[test]
fn a_port_at_one_address_is_reached_at_that_address_alone() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        host.sh("ip addr add 192.0.2.9/24 dev outside");
        let web = Container::published(
            host,
            "web",
            &[
                mapping("192.0.2.1", 8080, 80),
                mapping("fd00:99::1", 8080, 80),
                mapping("127.0.0.1", 9090, 80),
            ],
        );
        let other = Container::published(host, "other", &[mapping("192.0.2.9", 8080, 80)]);
        let _listeners = [web.pod.listens("tcp", 80, "web"), other.pod.listens("tcp", 80, "other")];
        let from = witness::OUTSIDE;
        is_reached("tcp", &outside, "192.0.2.1", 8080, "web", from[0]);
        is_reached("tcp", &outside, "fd00:99::1", 8080, "web", from[1]);
        is_reached("tcp", &outside, "192.0.2.9", 8080, "other", from[0]);
        assert_eq!(host.asks("tcp", "10.9.0.1:8080"), None);
        assert_eq!(host.asks("tcp", "127.0.0.1:8080"), None);
        is_reached("tcp", host, "127.0.0.1", 9090, "web", "10.9.0.1");
        assert_eq!(outside.asks("tcp", "192.0.2.1:9090"), None, "it is published to the host alone");
        web.del();
        is_reached("tcp", &outside, "192.0.2.9", 8080, "other", from[0]);
    });
}

// CAP-04
#[test]
fn an_address_of_everywhere_chooses_its_family() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let four = Container::published(host, "four", &[mapping("0.0.0.0", 8080, 80)]);
        let six = Container::published(host, "six", &[mapping("::", 8080, 80)]);
        let _listeners = [four.pod.listens("tcp", 80, "four"), six.pod.listens("tcp", 80, "six")];
        is_reached("tcp", &outside, "192.0.2.1", 8080, "four", witness::OUTSIDE[0]);
        is_reached("tcp", &outside, "fd00:99::1", 8080, "six", witness::OUTSIDE[1]);
    });
}

/// The kernel tracks connections only where some rule wants to know of them.
fn tracks_connections(host: &Host) {
    host.sh("nft 'table inet tracking {
        chain first {
            type filter hook prerouting priority 0;
            ct state new accept
        }
    }'");
}

// CAP-10: a stream of UDP packets between the same ports never ends by itself.
#[test]
fn a_flow_of_udp_packets_follows_the_port() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        tracks_connections(host);
        let _host = host.listens("udp", 5300, "host");
        let asks = || {
            ["192.0.2.1:5300", "[fd00:99::1]:5300"]
                .map(|to| outside.asks_from("udp", 4000, to).unwrap_or_default())
        };
        let seen = |word: &str| witness::OUTSIDE.map(|from| format!("{word} {from}"));
        assert_eq!(asks(), seen("host"));
        let first = Container::new(host, "first");
        let _first = first.pod.listens("udp", 53, "first");
        let mapping = json!({"hostPort": 5300, "containerPort": 53, "protocol": "UDP"});
        first.publishes(std::slice::from_ref(&mapping));
        assert_eq!(asks(), seen("first"), "past the listener of the host");
        first.ports.del().silent();
        assert_eq!(asks(), seen("host"), "past the container that has left");
        let second = Container::published(host, "second", &[mapping]);
        let _second = second.pod.listens("udp", 53, "second");
        assert_eq!(asks(), seen("second"));
    });
}

/// Some other server has the same port.
#[test]
fn a_flow_that_passes_through_the_host_goes_on() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let _server = outside.listens("udp", 5300, "server");
        let client =
            Container::of(host, "bridge", conf::with(&super::bridge(host), "/ipMasq", json!(true)), "client");
        let asks = || {
            ["192.0.2.2:5300", "[fd00:99::2]:5300"]
                .map(|to| client.pod.asks_from("udp", 4000, to).unwrap_or_default())
        };
        let seen = witness::HOST.map(|from| format!("server {from}"));
        assert_eq!(asks(), seen);
        // Its masquerade is what the host remembers of it.
        host.sh("nft flush chain inet jackfield masquerade1");
        let web = Container::published(
            host,
            "web",
            &[json!({"hostPort": 5300, "containerPort": 53, "protocol": "udp"})],
        );
        assert_eq!(asks(), seen);
        web.ports.del().silent();
        assert_eq!(asks(), seen);
    });
}

/// More ports than are worth a question each.
#[test]
fn many_flows_follow_their_ports() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        tracks_connections(host);
        let ports: Vec<u16> = (5300..5310).collect();
        let _host: Vec<_> = ports.iter().map(|port| host.listens("udp", *port, "host")).collect();
        let asks =
            |port: &u16| outside.asks_from("udp", 4000, &format!("192.0.2.1:{port}")).unwrap_or_default();
        assert!(ports.iter().all(|port| asks(port) == "host 192.0.2.2"));
        let web = Container::new(host, "web");
        let _web: Vec<_> = ports.iter().map(|port| web.pod.listens("udp", *port, "web")).collect();
        let mappings: Vec<_> = ports.iter().map(|number| port("udp", *number)).collect();
        web.publishes(&mappings);
        assert!(ports.iter().all(|port| asks(port) == "web 192.0.2.2"));
        web.ports.del().silent();
        assert!(ports.iter().all(|port| asks(port) == "host 192.0.2.2"));
    });
}

/// Makes a pod send packets for 127.0.0.1 by its link, and take the answers.
pub fn sends_to_loopback(pod: &Place) {
    pod.sh("ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1
        ip route add 127.0.0.1 via 10.9.0.1");
}

#[test]
fn a_packet_for_127_0_0_1_that_comes_by_a_link_is_dropped() {
    lab_with(OURS, |host| {
        let web = Container::published(host, "web", &[port("tcp", 8080)]);
        let _web = web.pod.listens("tcp", 8080, "web");
        let _secret = host.listens_at("tcp", "127.0.0.1:9000".parse().unwrap(), "secret");
        let attacker = Container::new(host, "attacker");
        sends_to_loopback(&attacker.pod);
        is_reached("tcp", host, "127.0.0.1", 8080, "web", "10.9.0.1");
        assert_eq!(attacker.pod.asks("tcp", "127.0.0.1:9000"), None);
        assert_eq!(attacker.pod.asks("tcp", "127.0.0.1:8080"), None);
        // It is our rule that drops them, and nothing else.
        host.sh("nft flush chain inet jackfield localnet1");
        assert_eq!(attacker.pod.asks("tcp", "127.0.0.1:9000").as_deref(), Some("secret 10.9.0.3"));
        web.publishes(&[port("tcp", 8080)]);
        assert_eq!(attacker.pod.asks("tcp", "127.0.0.1:9000"), None);
        web.del();
        assert_eq!(attacker.pod.asks("tcp", "127.0.0.1:9000"), None, "the link is as it was");
    });
}

fn route_localnet(host: &Host, link: &str) -> String {
    host.sysctl(&format!("net/ipv4/conf/{link}/route_localnet"))
}

#[test]
fn route_localnet_is_set_on_the_containers_link_alone_and_goes_with_the_last_one() {
    lab_with(OURS, |host| {
        let _outside = outside(host, &[]);
        let web = Container::published(host, "web", &[port("tcp", 8080)]);
        let other = Container::published(host, "other", &[port("tcp", 8081)]);
        assert_ne!(route_localnet(host, "br0"), "0");
        for link in ["all", "default", "outside"] {
            assert_eq!(route_localnet(host, link), "0", "{link}");
        }
        web.del();
        assert_ne!(route_localnet(host, "br0"), "0");
        other.del();
        assert_eq!(route_localnet(host, "br0"), "0");

        for (key, value, mappings) in [
            ("/snat", json!(false), vec![port("tcp", 8080)]),
            ("/snat", json!(true), vec![mapping("192.0.2.1", 8080, 80), mapping("::", 8080, 80)]),
        ] {
            let web = Container::new(host, "quiet").with(key, value);
            web.publishes(&mappings);
            assert_eq!(route_localnet(host, "br0"), "0", "nobody needs it");
            web.del();
            web.pod.delete();
        }
        // What an administrator has chosen stays his.
        host.set_sysctl("net/ipv4/conf/br0/route_localnet", "1");
        let web = Container::published(host, "again", &[port("tcp", 8080)]);
        web.del();
        assert_eq!(route_localnet(host, "br0"), "1");
    });
}
