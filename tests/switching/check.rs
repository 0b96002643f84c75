//! CHECK of a container that the Go plugins have attached: their rules are as good as ours, as long as all of them are there.

use serde_json::{Value, json};

use super::inherited::{NFTABLES, OF_ONE, nft};
use super::{OURS, THEIRS, call, networks, with_both, with_both_and, with_result};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::world::Need;

type Network = (&'static str, Value);

/// Runs CHECK, which says the same as it would of a container without any rules, or nothing.
#[track_caller]
fn misses(check: &Call, words: &[&str]) -> bool {
    let outcome = check.run();
    if outcome.succeeded() {
        outcome.silent();
        return false;
    }
    outcome.fails(999).names(words).names(&["inet jackfield"]);
    true
}

/// Takes each of the rules of iptables away, and puts it back.
fn without_each_rule_of_ipv4(host: &Host, by: Iptables, see: impl Fn(&str)) {
    let program = |words: &str| host.sh(&format!("PATH={} iptables{words}", by.path()));
    let saved = program("-save");
    let mut table = "";
    for line in saved.lines() {
        table = line.strip_prefix('*').unwrap_or(table);
        if line.starts_with("-A ") {
            program(&format!(" -w -t {table} {}", line.replacen("-A", "-D", 1)));
            see(line);
            program(&format!("-restore <<'END'\n{saved}END"));
        }
    }
    assert!(saved.contains("-A "), "{saved}");
}

/// Takes each of the rules with these words away, and puts it back.
fn without_each_rule_of_nft(host: &Host, table: &str, words: &[&str], see: impl Fn(&str)) {
    let saved = host.sh(&format!("nft -s list table {table}"));
    for word in words {
        assert!(saved.contains(word), "{word}: {saved}");
        let rest: Vec<&str> = saved.lines().filter(|line| !line.contains(word)).collect();
        let restore = |text: &str| nft(host, &format!("delete table {table}\n{text}"));
        restore(&rest.join("\n"));
        see(word);
        restore(&saved);
    }
}

fn masquerading() -> [Network; 2] {
    networks().map(|(program, conf)| (program, conf::with(&conf, "/ipMasq", json!(true))))
}

fn of(folder: &str, verb: &str, network: &Network, pod: &Pod, by: Iptables) -> Call {
    call(folder, verb, network, pod).container(pod.name()).env("PATH", by.path())
}

fn is_masqueraded(host: &Host, by: Iptables) {
    const SAID: &[&str] = &["10.9.0.2 is not masqueraded"];
    for network in masquerading() {
        let pod = host.pod_named("one");
        let result = of(THEIRS, "ADD", &network, &pod, by).run().result();
        let check = of(OURS, "CHECK", &with_result(&network, &result), &pod, by);
        let before = host.snapshot();
        assert!(!misses(&check, SAID), "{}", network.0);
        assert_eq!(before.differences(&host.snapshot(), super::STAYS), Vec::<String>::new());
        without_each_rule_of_ipv4(host, by, |rule| assert!(misses(&check, SAID), "{rule}"));
        assert!(!misses(&check, SAID));
        // A backend of today's configuration has nothing to do with it.
        let by_iptables = conf::with(&network.1, "/ipMasqBackend", json!("iptables"));
        of(OURS, "CHECK", &with_result(&(network.0, by_iptables), &result), &pod, by).run().silent();
        of(OURS, "DEL", &with_result(&network, &result), &pod, by).run().silent();
        pod.delete();
        host.sh("rm -r /run/leases");
    }
}

#[test]
fn what_the_go_plugins_masquerade_by_iptables_nft_passes_our_check() {
    let name = "what_the_go_plugins_masquerade_by_iptables_nft_passes_our_check";
    with_both(name, |host| is_masqueraded(host, Iptables::Nft));
}

#[test]
fn what_the_go_plugins_masquerade_by_iptables_legacy_passes_our_check() {
    let name = "what_the_go_plugins_masquerade_by_iptables_legacy_passes_our_check";
    with_both_and(name, &[Need::IptablesLegacy], |host| is_masqueraded(host, Iptables::Legacy));
}

#[test]
fn what_the_go_plugins_masquerade_by_nftables_passes_our_check() {
    with_both("what_the_go_plugins_masquerade_by_nftables_passes_our_check", |host| {
        let plain = ("bridge", conf::with(&conf::bridge_at("1.0.0"), "/name", json!("unit-test")));
        let pod = host.pod_named("one");
        let result = of(THEIRS, "ADD", &plain, &pod, Iptables::Nft).run().result();
        let network = ("bridge", conf::with(&plain.1, "/ipMasq", json!(true)));
        let check = of(OURS, "CHECK", &with_result(&network, &result), &pod, Iptables::Nft);
        assert!(misses(&check, &["10.9.0.2 is not masqueraded: there is no table"]));
        nft(host, &[NFTABLES, OF_ONE].concat());
        assert!(!misses(&check, &[]));
        let rules = ["saddr 10.9.0.2", "saddr fd00:9::2", "goto masq_checks"];
        without_each_rule_of_nft(host, "inet cni_plugins_masquerade", &rules, |rule| {
            assert!(misses(&check, &["10.9.0.2 is not masqueraded"]), "{rule}");
        });
        assert!(!misses(&check, &[]));
    });
}

/// A container of theirs that no plugin has done anything more for.
fn attached(host: &Host) -> (Pod, Value) {
    let pod = host.pod_named("web");
    let network = ("bridge", conf::bridge_at("1.0.0"));
    let result = of(THEIRS, "ADD", &network, &pod, Iptables::Nft).run().result();
    (pod, result)
}

fn behind(program: &'static str, keys: &Value, result: &Value) -> Network {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net-a", "type": program, "prevResult": result});
    conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    (program, conf)
}

fn ports() -> Value {
    let port =
        |from: u16, protocol: &str| json!({"hostPort": from, "containerPort": 80, "protocol": protocol});
    json!({"portMappings": [port(8080, "tcp"), port(8081, "udp")]})
}

#[test]
fn what_the_go_plugins_let_pass_and_publish_by_iptables_passes_our_check() {
    let name = "what_the_go_plugins_let_pass_and_publish_by_iptables_passes_our_check";
    with_both(name, |host| {
        let (pod, result) = attached(host);
        for (program, keys, said) in [
            ("portmap", json!({"runtimeConfig": ports()}), "the ports of eth0 of container web"),
            ("firewall", json!({}), "the packets of eth0 of container web"),
        ] {
            let network = behind(program, &keys, &result);
            let check = of(OURS, "CHECK", &network, &pod, Iptables::Nft);
            assert!(misses(&check, &[said]), "{network:?}");
            of(THEIRS, "ADD", &network, &pod, Iptables::Nft).run().result();
            let before = host.snapshot();
            assert!(!misses(&check, &[said]), "{network:?}");
            assert_eq!(before.differences(&host.snapshot(), super::STAYS), Vec::<String>::new());
            without_each_rule_of_ipv4(host, Iptables::Nft, |rule| assert!(misses(&check, &[said]), "{rule}"));
            of(THEIRS, "DEL", &network, &pod, Iptables::Nft).run().silent();
            assert!(misses(&check, &[said]), "it is gone");
            host.sh("nft flush ruleset");
        }
    });
}

/// As v1.9.1 publishes by `nft`, under the condition that its last ADD has set.
const PUBLISHED: &str = "
table FAMILY cni_hostport {
    chain hostports {
        tcp dport 8080 dnat to ADDRESS:80 comment \"web\"
        udp dport 8081 dnat to ADDRESS:80 comment \"web\"
    }
    chain hostip_hostports { }
    chain hostports_all { jump hostip_hostports; jump hostports; }
    chain prerouting { type nat hook prerouting priority -100; CONDITION fib daddr type local jump hostports_all; }
    chain output { type nat hook output priority -100; CONDITION fib daddr type local jump hostports_all; }
    chain masquerading {
        type nat hook postrouting priority 100
        FAMILY saddr SOURCE FAMILY daddr SOURCE masquerade comment \"web\"
        LOOPBACK
    }
}";

#[test]
fn what_the_go_plugin_publishes_by_nftables_passes_our_check() {
    with_both("what_the_go_plugin_publishes_by_nftables_passes_our_check", |host| {
        let (pod, result) = attached(host);
        host.sh("echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet");
        for condition in ["", "ip saddr != 198.51.100.0/24"] {
            let loopback = "ip saddr 127.0.0.1 ip daddr 10.9.0.2 masquerade comment \"web\"";
            for (family, address, source, loopback, condition) in [
                ("ip", "10.9.0.2", "10.9.0.2", loopback, condition),
                ("ip6", "[fd00:9::2]", "fd00:9::2", "", ""),
            ] {
                let words = [("FAMILY", family), ("ADDRESS", address), ("SOURCE", source)];
                let words = words.into_iter().chain([("LOOPBACK", loopback), ("CONDITION", condition)]);
                nft(host, &words.fold(PUBLISHED.to_owned(), |text, (word, is)| text.replace(word, is)));
            }
            let keys =
                json!({"runtimeConfig": ports(), "conditionsV4": condition.split(' ').collect::<Vec<_>>()});
            let network = behind("portmap", &keys, &result);
            let check = of(OURS, "CHECK", &network, &pod, Iptables::Nft);
            assert!(!misses(&check, &["are not published"]), "{condition}");
            let rules = ["8080", "8081", "hook prerouting", "hook output", "saddr 10.9.0.2", "127.0.0.1"];
            without_each_rule_of_nft(host, "ip cni_hostport", &rules, |rule| {
                assert!(misses(&check, &["are not published"]), "{rule}");
            });
            // Whom the rules do not ask, or ask something else, is not let in by them.
            let other = behind(
                "portmap",
                &json!({"runtimeConfig": ports(), "conditionsV4": ["ip saddr 10.0.0.0/8"]}),
                &result,
            );
            assert!(misses(&of(OURS, "CHECK", &other, &pod, Iptables::Nft), &["are not published"]));
            host.sh("nft flush ruleset");
        }
    });
}
