//! podman's own list: bridge with ipMasq, portmap, firewall, tuning, where FORWARD drops as Docker leaves it.

use serde_json::{Value, json};

use super::{OURS, bridge, does_not_reach, drop_what_is_forwarded, filter, network, reaches};
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::witness::{OUTSIDE, sources};
use crate::lab::{conf, lab_with, witness};

/// What every one of them leaves.
const LEFT: &str = "nft list ruleset; ls /run/jackfield/attachments; iptables -S; ip6tables -S; ls /run/leases/net-a | grep -c '[.:].*[.:]' || :";

/// A container, plugin by plugin as libcni calls them: the result of one is what the next one gets.
struct Whole {
    pod: Pod,
    plugins: Vec<(&'static str, Value)>,
    result: Value,
}

impl Whole {
    #[track_caller]
    fn start(host: &Host, name: &str, port: u16) -> Whole {
        let of = |kind: &str| conf::with(&network(host), "/type", json!(kind));
        let ports = json!({"portMappings": [
            {"hostPort": port, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": port, "containerPort": 53, "protocol": "udp"},
        ]});
        let link =
            conf::with(&conf::with(&bridge(host, 9), "/ipMasq", json!(true)), "/hairpinMode", json!(true));
        let plugins = vec![
            ("bridge", link),
            ("portmap", conf::with(&of("portmap"), "/runtimeConfig", ports)),
            ("firewall", conf::with(&of("firewall"), "/backend", json!(""))),
            ("tuning", of("tuning")),
        ];
        let (pod, mut result) = (host.pod_named(name), Value::Null);
        for (program, conf) in &plugins {
            let plugin = host.attach(program, conf.clone(), &pod).container(name);
            result =
                if result.is_null() { plugin.add() } else { plugin.call_with("ADD", &result).run() }.result();
        }
        Whole { pod, plugins, result }
    }

    #[track_caller]
    fn check(&self, host: &Host) {
        for (program, conf) in &self.plugins {
            host.attach(program, conf.clone(), &self.pod)
                .container(self.pod.name())
                .check(&self.result)
                .silent();
        }
    }

    #[track_caller]
    fn stop(&self, host: &Host) {
        for (program, conf) in self.plugins.iter().rev() {
            let plugin = host.attach(program, conf.clone(), &self.pod).container(self.pod.name());
            plugin.del_with(&self.result).silent();
        }
    }

    fn addresses(&self) -> [&str; 2] {
        let address =
            |index: usize| self.result["ips"][index]["address"].as_str().unwrap().split('/').next().unwrap();
        [address(0), address(1)]
    }
}

#[test]
fn podmans_own_list_works_where_docker_has_forward_drop() {
    lab_with(OURS, |host| {
        let outside = witness::outside(host, &["10.9.0.0/24", "fd00:9::/64"]);
        drop_what_is_forwarded(host, Iptables::Nft);
        for words in ["-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 -j ACCEPT"] {
            filter(host, Iptables::Nft, words);
        }
        let before = host.sh(LEFT);
        let web = Whole::start(host, "web", 8080);
        let other = Whole::start(host, "other", 8081);
        web.check(host);
        other.check(host);
        // The world is reached under the host's name, and does not reach back.
        assert_eq!(sources(&outside, &web.pod, OUTSIDE), witness::HOST);
        does_not_reach(&outside, web.addresses());
        reaches(&web.pod, other.addresses());
        // What is published is reached, by everybody.
        let _web = [web.pod.listens("tcp", 80, "web"), web.pod.listens("udp", 53, "web")];
        for (to, from) in [("192.0.2.1:8080", OUTSIDE[0]), ("[fd00:99::1]:8080", OUTSIDE[1])] {
            for protocol in ["tcp", "udp"] {
                assert_eq!(outside.asks(protocol, to), Some(format!("web {from}")), "{protocol} {to}");
                assert!(other.pod.asks(protocol, to).is_some(), "{protocol} {to}");
                assert!(web.pod.asks(protocol, to).is_some(), "{protocol} {to}");
            }
            assert!(host.asks("tcp", to).is_some(), "{to}");
        }
        assert!(host.asks("tcp", "127.0.0.1:8080").is_some());
        // What Docker does when it starts again.
        filter(host, Iptables::Nft, "-D FORWARD -j DOCKER-USER");
        filter(host, Iptables::Nft, "-I FORWARD -j DOCKER-USER");
        web.check(host);
        web.stop(host);
        reaches(&other.pod, OUTSIDE);
        assert!(outside.asks("tcp", "192.0.2.1:8080").is_none());
        other.check(host);
        other.stop(host);
        filter(host, Iptables::Nft, "-D FORWARD -i docker0 -j ACCEPT");
        filter(host, Iptables::Nft, "-A FORWARD -i docker0 -j ACCEPT");
        assert_eq!(uncounted(&host.sh(LEFT)), uncounted(&before));
    });
}

/// Packets are counted, and what comes after us in a chain counts others.
fn uncounted(listing: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in listing.split(' ') {
        let is_a_count = words.last().is_some_and(|last| ["packets", "bytes"].contains(last));
        words.push(if is_a_count { "0" } else { word });
    }
    words.join(" ")
}
