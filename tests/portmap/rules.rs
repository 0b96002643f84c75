//! The rules: how they read, who repairs them, and what CHECK and STATUS say of them.

use serde_json::json;

use super::{Container, OURS, network, port};
use crate::lab::witness::outside;
use crate::lab::{conf, lab_with};

#[test]
fn the_rules_read_well_and_the_last_container_takes_them_away() {
    lab_with(OURS, |host| {
        let web = Container::published(host, "web", &[port("tcp", 8080)]);
        let listing = host.sh("nft list ruleset");
        for line in [
            "table inet jackfield {",
            "type nat hook prerouting priority dstnat + 1; policy accept;",
            "type nat hook output priority -99; policy accept;",
            "fib daddr type local jump ports1",
            "ip6 daddr ::1 return",
            "dnat ip to ip daddr . meta l4proto . th dport map @ports1_ip",
            "dnat ip to meta l4proto . th dport map @ports1_any_ip",
            "type nat hook postrouting priority srcnat - 1; policy accept;",
            "ip daddr vmap @hairpin1_ip",
            "comment \"10.9.0.0/24 by br0 local of network net-a\"",
            "ip saddr 10.9.0.0/24 masquerade",
            "ip saddr 127.0.0.0/8 masquerade",
            "iifname != \"lo\" ip daddr 127.0.0.0/8 drop",
            "jackfield: net-a eth0 web\" : 10.9.0.2 . 8080",
        ] {
            assert!(listing.contains(line), "{line} is not in\n{listing}");
        }
        host.sh("nft list ruleset > /run/listing; nft flush ruleset; nft -f /run/listing");
        assert_eq!(host.sh("nft list ruleset"), listing, "a backup of it can be restored");
        web.check(&[port("tcp", 8080)]).silent();
        web.del();
        web.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn masquerade_and_published_ports_share_a_table_and_either_may_leave_first() {
    lab_with(OURS, |host| {
        let masquerading = conf::with(&super::bridge(host), "/ipMasq", json!(true));
        for ports_first in [true, false] {
            let web = Container::of(host, "bridge", masquerading.clone(), "web");
            web.publishes(&[port("tcp", 8080)]);
            let leaving = if ports_first { [&web.ports, &web.link] } else { [&web.link, &web.ports] };
            leaving[0].del().silent();
            let left = host.sh("nft list ruleset");
            assert_eq!(left.contains("masquerade1"), ports_first);
            assert_eq!(left.contains("ports1"), !ports_first);
            leaving[1].del().silent();
            assert_eq!(host.sh("nft list ruleset"), "");
            web.pod.delete();
        }
        let web = Container::published(host, "web", &[port("tcp", 8080)]);
        host.sh("nft add chain inet jackfield strangers");
        web.del();
        let chains = host.sh("nft -j list ruleset | jq -r '.nftables[].chain.name | select(.)'");
        assert_eq!(chains.trim(), "strangers");
    });
}

#[test]
fn whatever_somebody_did_to_the_rules_the_next_add_restores_them_for_everybody() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let red = Container::published(host, "red", &[port("tcp", 80)]);
        let _red = red.pod.listens("tcp", 80, "red");
        for (number, deed) in [
            "nft flush table inet jackfield",
            "nft flush chain inet jackfield ports1",
            "nft flush chain inet jackfield hairpin1",
            "nft -f - <<E\nadd table inet jackfield { flags dormant; }\nE",
            "nft insert rule inet jackfield ports1 accept",
            "nft flush ruleset",
        ]
        .into_iter()
        .enumerate()
        {
            host.sh(deed);
            let mappings = [port("tcp", 8000)];
            let blue = Container::published(host, &format!("blue{number}"), &mappings);
            let _blue = blue.pod.listens("tcp", 8000, "blue");
            blue.check(&mappings).silent();
            assert_eq!(outside.asks("tcp", "192.0.2.1:8000").as_deref(), Some("blue 192.0.2.2"), "{deed}");
            assert!(blue.pod.asks("tcp", "192.0.2.1:8000").is_some(), "{deed}");
            // A flush of the whole ruleset takes the elements too: what red had comes back with its own next ADD.
            if deed == "nft flush ruleset" {
                red.publishes(&[port("tcp", 80)]);
            }
            assert_eq!(
                outside.asks("tcp", "192.0.2.1:80").as_deref(),
                Some("red 192.0.2.2"),
                "{deed}: the neighbour"
            );
            assert!(red.pod.asks("tcp", "192.0.2.1:80").is_some(), "{deed}: the neighbour asks itself");
            blue.del();
            blue.pod.delete();
        }
    });
}

// CAP-09
#[test]
fn check_names_each_thing_that_is_gone() {
    lab_with(OURS, |host| {
        let mappings = [port("tcp", 80), super::mapping("127.0.0.1", 81, 81)];
        let web =
            Container::new(host, "web").with("/conditionsV6", json!(["ip6", "saddr", "!=", "fd00:1::/64"]));
        web.publishes(&mappings);
        web.check(&mappings).silent();
        host.sh("nft list ruleset > /run/listing");
        let chain = host.sh(
            "nft -j list ruleset | jq -r '.nftables[].map.elem[0][1].goto.target | select(.)' | head -n 1",
        );
        let refill = format!("nft flush chain inet jackfield {}", chain.trim());
        for (deed, named) in [
            (
                "nft delete element inet jackfield ports1_any_ip { tcp . 80 }",
                "0.0.0.0:80/tcp is not in map ports1_any_ip",
            ),
            (
                "nft delete element inet jackfield ports1_ip { 127.0.0.1 . tcp . 81 }",
                "127.0.0.1:81/tcp is not in map ports1_ip",
            ),
            (
                "nft delete element inet jackfield hairpin1_ip { 10.9.0.2 }",
                "10.9.0.2 is not in map hairpin1_ip",
            ),
            ("nft flush chain inet jackfield ports1", "chain ports1 of table inet jackfield is gone"),
            ("nft flush chain inet jackfield ports1_prerouting", "chain ports1_prerouting"),
            ("nft flush chain inet jackfield ports1_output", "chain ports1_output"),
            ("nft flush chain inet jackfield ports1_conditions", "chain ports1_conditions"),
            ("nft flush chain inet jackfield hairpin1", "chain hairpin1 of"),
            ("nft flush chain inet jackfield localnet1", "chain localnet1"),
            (&refill, "chain hairpin1_"),
            ("nft add table inet jackfield '{ flags dormant; }'", "is dormant"),
            ("nft delete table inet jackfield", "there is no table inet jackfield"),
        ] {
            host.sh(deed);
            web.check(&mappings).fails(999).names(&["container web", named]);
            host.sh("nft flush ruleset; nft -f /run/listing");
            web.check(&mappings).silent();
        }
        host.set_sysctl("net/ipv4/conf/br0/route_localnet", "0");
        web.check(&mappings).fails(999).names(&["127.0.0.1", "route_localnet of br0 is 0"]);
        web.check(&[]).silent();
        web.check(&[port("tcp", 82)]).fails(999).names(&["82/tcp"]);
        web.del();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn status_has_the_kernel_try_the_rules_and_leaves_none() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        let conditional = conf::with(&network(host), "/conditionsV4", json!(["ip", "saddr", "10.0.0.0/8"]));
        for conf in [network(host), conditional] {
            host.call("portmap", "STATUS", &conf).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
        let wrong = conf::with(&network(host), "/conditionsV4", json!(["ip", "saddr", "nowhere"]));
        host.call("portmap", "STATUS", &wrong).run().fails(7).names(&["conditionsV4", "nowhere"]);
    });
}
