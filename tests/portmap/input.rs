//! What portmap is told: nothing to do, nonsense, and what only iptables can do. And what it tells a person.

use serde_json::{Value, json};

use super::{Container, OURS, listed, mapping, network, port};
use crate::lab::call::Call;
use crate::lab::{conf, lab, lab_with};

/// A result of another plugin, in a version.
fn earlier(version: &str) -> Value {
    let mut result = json!({
        "cniVersion": version,
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1", "interface": 0}],
        "dns": {"nameservers": ["10.9.0.1"]}
    });
    if version < "1.0.0" {
        result["ips"][0]["version"] = json!("4");
    }
    result
}

// CAP-06
#[test]
fn without_ports_the_previous_result_is_passed_on_and_nothing_is_touched() {
    lab(|host| {
        let pod = host.pod();
        let before = host.snapshot();
        for version in ["0.3.1", "0.4.0", "1.0.0", host.newest()] {
            let conf = conf::with(&network(host), "/cniVersion", json!(version));
            for ports in [None, Some(json!(null)), Some(json!([]))] {
                let conf = ports.iter().fold(conf.clone(), |conf, ports| {
                    conf::with(&conf, "/runtimeConfig", json!({"portMappings": ports}))
                });
                let portmap = host.attach("portmap", conf, &pod);
                assert_eq!(portmap.call_with("ADD", &earlier(version)).run().result(), earlier(version));
                if version >= "0.4.0" {
                    portmap.check(&earlier(version)).silent();
                }
                portmap.del().silent();
            }
        }
        if !host.is_reference() {
            before.same_as(&host.snapshot(), &[]);
        }
    });
}

#[test]
fn it_must_be_called_behind_another_plugin() {
    lab(|host| {
        let conf = conf::with(&network(host), "/runtimeConfig", json!({"portMappings": [port("tcp", 80)]}));
        let add = host.attach("portmap", conf, &host.pod()).add();
        add.fails_or("config-code", 7, 999).names(&["must be called as chained plugin"]);
    });
}

// CAP-05
#[test]
fn nonsense_is_refused_before_anything_is_touched() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        let before = host.snapshot();
        let one = |key: &str, value: Value| vec![conf::with(&port("tcp", 80), &format!("/{key}"), value)];
        for (mappings, code, words) in [
            (one("hostPort", json!(0)), 7, ["hostPort", "0"]),
            (one("hostPort", json!(65536)), 7, ["Invalid host port number", "65536"]),
            (one("hostPort", json!(-1)), 7, ["Invalid host port number", "-1"]),
            (one("hostPort", json!("80")), 6, ["hostPort", "string"]),
            (one("hostPort", json!(80.5)), 6, ["hostPort", "80.5"]),
            (one("containerPort", json!(0)), 7, ["Invalid container port number", "0"]),
            (one("containerPort", json!(70000)), 7, ["Invalid container port number", "70000"]),
            (one("protocol", json!("icmp")), 7, ["unknown protocol", "icmp"]),
            (one("hostIP", json!("nowhere")), 7, ["hostIP", "nowhere"]),
            (one("hostIP", json!("::1")), 7, ["hostIP", "::1"]),
            (vec![port("tcp", 80), mapping("10.9.0.1", 80, 1)], 7, ["80/tcp", "portMappings[1]"]),
        ] {
            let mappings = [vec![port("udp", 7)], mappings].concat();
            web.publish(&mappings).fails(code).names(&words);
        }
        for (key, value, code, words) in [
            ("backend", json!("pf"), 7, ["unrecognized backend", "pf"]),
            ("markMasqBit", json!(32), 7, ["MasqMarkBit must be between 0 and 31", "32"]),
            ("conditionsV4", json!(["tcp", "dport", "80"]), 7, ["conditionsV4", "tcp"]),
            ("externalSetMarkChain", json!("-j"), 7, ["externalSetMarkChain", "-j"]),
            (
                "conditionsV4",
                json!(["!", "-s", "10.0.0.0/8", "--jump", "ACCEPT"]),
                7,
                ["conditionsV4", "--jump"],
            ),
        ] {
            let ports = web.ports.conf(conf::with(
                web.wanting(&[port("tcp", 80)]).configuration(),
                &format!("/{key}"),
                value,
            ));
            ports.call_with("ADD", &web.result).run().fails(code).names(&words);
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// CAP-01
#[test]
fn keys_of_any_case_are_understood_as_containerd_writes_them() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        let containerd = json!({"HostPort": 18300, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""});
        web.publishes(&[containerd]);
        let rows = listed(host);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0],
            json!({"hostPort": 18300, "protocol": "tcp", "hostIP": "0.0.0.0", "containerIP": "10.9.0.2",
                "containerPort": 80, "network": "net-a", "container": "web", "ifname": "eth0"})
        );
    });
}

// CAP-07
#[test]
fn a_port_leads_to_the_first_address_of_each_family_that_the_interface_has() {
    lab_with(OURS, |host| {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "eth0"},
                {"name": "eth1", "sandbox": "/run/netns/x"},
                {"name": "eth0", "sandbox": "/run/netns/x"}
            ],
            "ips": [
                {"address": "10.9.0.1/24", "interface": 0},
                {"address": "10.9.0.2/24", "interface": 1},
                {"address": "10.9.0.3/24", "interface": 2},
                {"address": "10.9.0.4/24", "interface": 2},
                {"address": "fd00:9::5/64", "interface": 9}
            ]
        });
        let conf = conf::with(&network(host), "/runtimeConfig", json!({"portMappings": [port("tcp", 80)]}));
        let web = host.attach("portmap", conf, &host.pod());
        web.call_with("ADD", &result).run().result();
        let addresses: Vec<_> = listed(host).iter().map(|row| row["containerIP"].clone()).collect();
        assert_eq!(addresses, ["10.9.0.3", "fd00:9::5"]);
        web.check(&result).silent();
        web.del().silent();
    });
}

#[test]
fn a_person_is_told_who_has_which_port() {
    lab_with(OURS, |host| {
        let list = |words: &[&str]| Call::of(host.program("portmap"), words).run();
        assert_eq!(list(&["--list", "--json"]).stdout(), "[]\n");
        let long = "c".repeat(150);
        let web = Container::published(host, "web", &[mapping("192.0.2.1", 8080, 80)]);
        let many = Container::new(host, "many").with("/conditionsV4", json!(["ip", "saddr", "10.0.0.0/8"]));
        many.ports
            .container(&long)
            .conf(many.wanting(&[port("udp", 53)]).configuration().clone())
            .call_with("ADD", &many.result)
            .run()
            .result();
        let said = list(&["--list"]).stdout();
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["HOST", "PROTOCOL", "CONTAINER", "NETWORK", "INTERFACE", "ID"]);
        assert_eq!(lines[1], ["0.0.0.0:53", "(conditional)", "udp", "10.9.0.3:53", "net-a", "eth0", &long]);
        assert_eq!(lines[2], ["[::]:53", "udp", "[fd00:9::3]:53", "net-a", "eth0", &long]);
        assert_eq!(lines[3], ["192.0.2.1:8080", "tcp", "10.9.0.2:80", "net-a", "eth0", "web"]);
        assert_eq!(lines.len(), 4);
        let refused = list(&["--lst"]);
        assert!(!refused.succeeded() && refused.stdout().is_empty());
        assert_eq!(refused.stderr().trim(), "usage: portmap --list [--json]");
        for word in ["--help", "-h"] {
            let page = list(&[word]);
            assert!(page.succeeded() && page.stderr().is_empty(), "{page}");
            assert!(page.stdout().contains("\n    portmap --list [--json]\n"), "{page}");
        }
        web.del();
    });
}
