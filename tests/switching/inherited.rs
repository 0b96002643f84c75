//! What the Go plugins wrote for a container: their masquerade rules, in each of their three layouts.

use serde_json::{Value, json};

use super::{OURS, STAYS, THEIRS, call, networks, with_both, with_result};
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

/// The networks that both know, masquerading by iptables.
fn masquerading() -> [(&'static str, Value); 2] {
    networks().map(|(program, conf)| (program, conf::with(&conf, "/ipMasq", json!(true))))
}

fn go_adds(by: Iptables, network: &(&'static str, Value), pod: &Pod) -> Value {
    call(THEIRS, "ADD", network, pod).env("PATH", by.path()).run().result()
}

/// Their ADD, our DEL, and all that can be seen of the node before and after.
fn is_taken_down_whole(host: &Host, by: Iptables) {
    by.with_neighbours(host);
    for network in masquerading() {
        for (has_netns, has_result, ip_masq) in [
            (true, true, json!(true)),
            (true, false, json!(true)),
            (false, true, json!(true)),
            (true, true, json!("nobody can read this")),
        ] {
            let pod = host.pod();
            let before = host.snapshot();
            let result = go_adds(by, &network, &pod);
            let rules = before.differences(&host.snapshot(), STAYS).join("\n");
            assert_eq!(rules.matches("MASQUERADE").count(), 2, "they do masquerade both families: {rules}");

            let (program, conf) = if has_result { with_result(&network, &result) } else { network.clone() };
            let remembered = (program, conf::with(&conf, "/ipMasq", ip_masq));
            let del = call(OURS, "DEL", &remembered, &pod);
            let del = if has_netns { del } else { del.netns("") };
            del.run().silent();
            before.same_as(&host.snapshot(), STAYS);
            call(OURS, "DEL", &remembered, &pod).run().silent();
            before.same_as(&host.snapshot(), STAYS);
        }
    }
}

#[test]
fn rules_that_the_go_plugins_wrote_by_iptables_nft_go_with_our_del() {
    with_both("rules_that_the_go_plugins_wrote_by_iptables_nft_go_with_our_del", |host| {
        is_taken_down_whole(host, Iptables::Nft);
    });
}

#[test]
fn rules_that_the_go_plugins_wrote_by_iptables_legacy_go_with_our_del() {
    let name = "rules_that_the_go_plugins_wrote_by_iptables_legacy_go_with_our_del";
    super::with_both_and(name, &[Need::IptablesLegacy], |host| {
        is_taken_down_whole(host, Iptables::Legacy);
    });
}

/// The name of a chain says nothing of the interface, so two attachments of a container to one network share it.
#[test]
fn of_two_attachments_that_share_a_chain_the_second_keeps_its_masquerade() {
    with_both("of_two_attachments_that_share_a_chain_the_second_keeps_its_masquerade", |host| {
        Iptables::Nft.with_neighbours(host);
        let network = ("bridge", conf::with(&conf::bridge_at("1.0.0"), "/ipMasq", json!(true)));
        let (pod, before) = (host.pod(), host.snapshot());
        let first = go_adds(Iptables::Nft, &network, &pod);
        let rules = |host: &Host| host.sh("iptables-nft -w -t nat -S | sort");
        let alone = rules(host);
        let add = call(THEIRS, "ADD", &network, &pod).ifname("eth1").env("PATH", Iptables::Nft.path());
        // Routes of the second one would collide with the first's.
        let second = conf::without(&network.1["ipam"], "routes");
        let second = ("bridge", conf::with(&network.1, "/ipam", second));
        let add = add.stdin(serde_json::to_vec(&second.1).unwrap());
        let result = add.run().result();
        assert_ne!(rules(host), alone);

        call(OURS, "DEL", &with_result(&second, &result), &pod).ifname("eth1").run().silent();
        assert_eq!(rules(host), alone, "the first one's rules are there, to the last");
        call(OURS, "DEL", &with_result(&network, &first), &pod).run().silent();
        before.same_as(&host.snapshot(), STAYS);
    });
}

/// As v1.9.1 writes it: `nft -f -`, a rule for each address of each attachment.
pub const NFTABLES: &str = r#"
add table inet cni_plugins_masquerade { comment "Masquerading for plugins from github.com/containernetworking/plugins" ; }
add chain inet cni_plugins_masquerade masq_checks { comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet" ; }
add chain inet cni_plugins_masquerade postrouting { type nat hook postrouting priority 100 ; }
flush chain inet cni_plugins_masquerade postrouting
add rule inet cni_plugins_masquerade postrouting ip daddr == 224.0.0.0/4 return
add rule inet cni_plugins_masquerade postrouting ip6 daddr == ff00::/8 return
add rule inet cni_plugins_masquerade postrouting goto masq_checks
add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.9.0.7 ip daddr != 10.9.0.0/24 masquerade comment "6fd94d501e58f0aa-d4c4f3f5e1f1c5e1, net: unit-test, if: eth0, id: two"
"#;

pub const OF_ONE: &str = r#"
add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.9.0.2 ip daddr != 10.9.0.0/24 masquerade comment "6fd94d501e58f0aa-287fc69eff0574a2, net: unit-test, if: eth0, id: one"
add rule inet cni_plugins_masquerade masq_checks ip6 saddr == fd00:9::2 ip6 daddr != fd00:9::/64 masquerade comment "6fd94d501e58f0aa-287fc69eff0574a2, net: unit-test, if: eth0, id: one"
"#;

const BEHIND: &str = r#"
add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.9.0.8 ip daddr != 10.9.0.0/24 masquerade comment "82783ef24bdc7036-acb19d111858e348, net: alternate, if: net1, id: three"
"#;

pub fn nft(host: &Host, orders: &str) {
    host.sh(&format!("nft -f - <<'END'\n{orders}\nEND"));
}

fn ruleset(host: &Host) -> String {
    host.sh("nft list ruleset")
}

#[test]
fn rules_that_the_go_plugins_wrote_by_nft_go_with_our_del_and_no_others() {
    lab_with(&[Need::Ours("tools")], |host| {
        nft(host, &[NFTABLES, BEHIND].concat());
        let (expected, pod) = (ruleset(host), host.pod());
        for ip_masq in [true, false] {
            host.sh("nft flush ruleset");
            nft(host, &[NFTABLES, OF_ONE, BEHIND].concat());
            assert_ne!(ruleset(host), expected);
            for (_, conf) in networks() {
                let program = conf["type"].as_str().unwrap().to_owned();
                let conf =
                    conf::with(&conf::with(&conf, "/name", json!("unit-test")), "/ipMasq", json!(ip_masq));
                let del = |verb| host.call(&program, verb, &conf).container("one").netns(pod.path());
                del("DEL").ifname("eth1").run().silent();
                if program == "bridge" {
                    assert_ne!(ruleset(host), expected, "another interface of the same container");
                }
                del("DEL").run().silent();
                assert_eq!(ruleset(host), expected, "ipMasq {ip_masq}: the configuration may have changed");
                del("DEL").run().silent();
            }
        }
    });
}

#[test]
fn gc_leaves_the_go_plugins_rules_alone() {
    with_both("gc_leaves_the_go_plugins_rules_alone", |host| {
        let network = ("bridge", conf::with(&conf::bridge_at("1.0.0"), "/ipMasq", json!(true)));
        nft(host, &[NFTABLES, OF_ONE, BEHIND].concat());
        let pod = host.pod();
        go_adds(Iptables::Nft, &network, &pod);
        let before = host.snapshot();
        let conf = conf::with(&network.1, "/cniVersion", json!("1.1.0"));
        let conf = conf::with(&conf, "/cni.dev~1valid-attachments", json!([]));
        // Leases are another matter: that one belongs to nobody who lives.
        let conf = conf::without(&conf, "ipam");
        host.call("bridge", "GC", &conf).run().silent();
        before.same_as(&host.snapshot(), &[]);
    });
}
