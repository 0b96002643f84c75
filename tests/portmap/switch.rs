//! What the Go plugin published goes with our DEL; and what we published, their DEL leaves for our GC.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Container, OURS, network, port};
use crate::lab::call::Call;
use crate::lab::iptables::Iptables;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab_with};

/// Where Debian installs the Go plugins.
pub const THEIRS: &str = "/usr/lib/cni";

pub fn go(verb: &str, conf: &Value, web: &Container<'_>, by: Iptables) -> Call {
    let call = Call::new(PathBuf::from(THEIRS).join("portmap"), verb, conf, THEIRS.as_ref());
    call.netns(web.pod.path()).container(web.pod.name()).env("PATH", by.path())
}

pub fn in_a_world_of_both(test: &str, needs: &[Need], work: impl FnOnce(&crate::lab::host::Host)) {
    if PathBuf::from(THEIRS).join("portmap").exists() {
        lab_with(&[OURS, needs].concat(), work);
    } else {
        world::skip(test, "the Go plugins are not installed");
    }
}

fn goes_with_our_del(host: &crate::lab::host::Host, by: Iptables) {
    let at = |conf: &Value| conf::with(conf, "/cniVersion", json!("1.0.0"));
    let mappings: Vec<Value> = (80..100).map(|number| port("tcp", number)).chain([port("udp", 53)]).collect();
    let conf = conf::with(&at(&network(host)), "/runtimeConfig", json!({"portMappings": mappings}));
    let add = |web: &Container<'_>| {
        let conf = conf::with(&conf, "/prevResult", at(&web.result));
        go("ADD", &conf, web, by).run().result();
    };
    // A neighbour of theirs stays, and with him what all share.
    let neighbour = Container::new(host, "neighbour");
    let other = conf::with(&conf, "/runtimeConfig/portMappings", json!([port("tcp", 7000)]));
    go("ADD", &conf::with(&other, "/prevResult", at(&neighbour.result)), &neighbour, by).run().result();
    for (knows_ports, knows_result) in [(true, true), (true, false), (false, false)] {
        // Without the ports there is nothing that speaks for a look into the tables of iptables-legacy.
        if by == Iptables::Legacy && !knows_ports {
            continue;
        }
        let web = Container::new(host, "web");
        let before = by.listing(host);
        add(&web);
        let rules = by.listing(host);
        assert!(rules.contains("--dport 80 ") && rules.contains("--dports 80,81"), "{rules}");
        let ports = if knows_ports { web.wanting(&mappings) } else { web.ports.clone() };
        let del = if knows_result { ports.call_with("DEL", &web.result) } else { ports.call("DEL") };
        del.env("PATH", by.path()).run().silent();
        assert_eq!(by.listing(host), before);
        assert!(!host.sh("ls /run/jackfield/attachments").contains("portmap"));
        web.link.del().silent();
        web.pod.delete();
    }
    assert!(by.listing(host).contains("--dport 7000"), "the neighbour");
}

#[test]
fn ports_that_the_go_plugin_published_by_iptables_nft_go_with_our_del() {
    let name = "ports_that_the_go_plugin_published_by_iptables_nft_go_with_our_del";
    in_a_world_of_both(name, &[], |host| goes_with_our_del(host, Iptables::Nft));
}

#[test]
fn ports_that_the_go_plugin_published_by_iptables_legacy_go_with_our_del() {
    let name = "ports_that_the_go_plugin_published_by_iptables_legacy_go_with_our_del";
    in_a_world_of_both(name, &[Need::IptablesLegacy], |host| goes_with_our_del(host, Iptables::Legacy));
}

// DEL-10
#[test]
fn ports_that_the_go_plugin_published_by_iptables_legacy_go_though_nobody_can_read_them() {
    let name = "ports_that_the_go_plugin_published_by_iptables_legacy_go_though_nobody_can_read_them";
    in_a_world_of_both(name, &[Need::IptablesLegacy], |host| {
        let (by, web) = (Iptables::Legacy, Container::new(host, "web"));
        let at = |conf: &Value| conf::with(conf, "/cniVersion", json!("1.0.0"));
        let conf = at(web.wanting(&[port("tcp", 80)]).configuration());
        for (pointer, value) in [
            ("/runtimeConfig", json!(5)),
            ("/runtimeConfig/portMappings", json!("80")),
            ("/runtimeConfig/portMappings", json!([80])),
        ] {
            go("ADD", &conf::with(&conf, "/prevResult", at(&web.result)), &web, by).run().result();
            assert!(by.listing(host).contains("CNI-DN-"));
            let bad = web.ports.conf(conf::with(&conf, pointer, value));
            bad.call("DEL").env("PATH", by.path()).run().silent();
            assert!(!by.listing(host).contains("CNI-DN-"), "{pointer}");
        }
    });
}

/// Debian's version has no such backend: these are the rules of v1.7 to v1.9, by `nft`.
#[test]
fn ports_that_the_go_plugin_published_by_nftables_go_with_our_del() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        host.sh("nft -f - <<E
            table ip cni_hostport {
                comment \"CNI portmap plugin\"
                chain hostports { }
                chain hostip_hostports { }
                chain hostports_all { jump hostip_hostports; jump hostports; }
                chain prerouting { type nat hook prerouting priority -100; fib daddr type local jump hostports_all; }
                chain masquerading { type nat hook postrouting priority 100; }
            }
            table ip6 cni_hostport {
                chain hostports { }
            }\nE");
        let mut rules = Vec::new();
        for (id, v4, v6) in [
            ("web", "10.9.0.2", "fd00:9::2"),
            ("web", "10.77.0.2", "fd00:77::2"),
            ("other", "10.9.0.9", "fd00:9::9"),
        ] {
            for rule in [
                format!("ip cni_hostport hostports tcp dport 80 dnat to {v4}:80 comment \"{id}\""),
                format!(
                    "ip cni_hostport hostip_hostports ip daddr 192.0.2.1 tcp dport 80 dnat to {v4}:80 comment \"{id}\""
                ),
                format!(
                    "ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr {v4} masquerade comment \"{id}\""
                ),
                format!("ip6 cni_hostport hostports tcp dport 80 dnat to [{v6}]:80 comment \"{id}\""),
            ] {
                host.sh(&format!("nft add rule '{}'", rule.replace('\'', "")));
                rules.push(rule);
            }
        }
        let count = |text: &str| host.sh("nft list ruleset").matches(text).count();
        assert_eq!((count("10.9.0.2"), count("fd00:9::2"), count("\"web\"")), (3, 1, 8));
        web.ports.del_with(&web.result).silent();
        assert_eq!(
            (count("10.9.0.2"), count("fd00:9::2"), count("\"web\"")),
            (0, 0, 4),
            "another network of his stays"
        );
        // Nor does it go without a result, as long as he has a lease there.
        let leases = "/var/lib/cni/networks/net-z";
        host.sh(&format!(
            "mkdir -p {leases}; for a in 10.77.0.2 fd00:77::2; do printf 'web\\r\\neth7' > {leases}/$a; done"
        ));
        web.ports.del().silent();
        assert_eq!((count("10.77.0.2"), count("\"web\"")), (3, 4));
        host.sh(&format!("rm -r {leases}"));
        web.ports.del().silent();
        assert_eq!((count("\"web\""), count("\"other\"")), (0, 4));
        drop(rules);
    });
}

#[test]
fn purge_takes_what_nobody_lives_for_and_knows_the_containers_of_other_plugins() {
    lab_with(OURS, |host| {
        let purge =
            |words: &[&str]| Call::of(host.program("cnitool"), &[&["purge"], words].concat()).run().stdout();
        let ours = Container::published(host, "ours", &[port("tcp", 80)]);
        // A container of another interface plugin, by its namespace.
        let pod = host.pod_named("theirs");
        let conf = json!({"cniVersion": "1.0.0", "name": "theirs", "type": "portmap",
            "runtimeConfig": {"portMappings": [port("tcp", 81)]}});
        let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.77/24"}]});
        let theirs = host.attach("portmap", conf, &pod).container("theirs");
        theirs.call_with("ADD", &result).run().result();
        assert_eq!(purge(&[]), "", "both live");
        ours.pod.sh("ip link delete eth0");
        let told = purge(&["--dry-run"]);
        assert!(told.contains("tcp . 80 of ports1_any_ip") && !told.contains("theirs"), "{told}");
        assert_eq!(purge(&[]), told.replace("would remove", "removed"));
        theirs.check(&result).silent();
        pod.delete();
        let told = purge(&["--dry-run"]);
        assert!(told.contains("table inet jackfield") && told.contains("route_localnet of br0"), "{told}");
        assert_eq!(purge(&[]), told.replace("would remove", "removed"));
        assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
        assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
    });
}

#[test]
fn what_their_del_leaves_of_ours_our_gc_takes() {
    let name = "what_their_del_leaves_of_ours_our_gc_takes";
    in_a_world_of_both(name, &[], |host| {
        let web = Container::published(host, "web", &[port("tcp", 80)]);
        let conf = conf::with(web.wanting(&[port("tcp", 80)]).configuration(), "/cniVersion", json!("1.0.0"));
        go("DEL", &conf, &web, Iptables::Nft).run().silent();
        let gone = conf::with(&network(host), "/cni.dev~1valid-attachments", json!([]));
        host.call("portmap", "GC", &gone).run().silent();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
        assert_eq!(host.sysctl("net/ipv4/conf/br0/route_localnet"), "0");
    });
}
