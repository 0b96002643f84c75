//! What a container may ends: by DEL, whatever it knows; by GC; by an ADD that fails.

use serde_json::json;

use super::{Container, OURS, bridge, drop_what_is_forwarded, network};
use crate::lab::call::Call;
use crate::lab::iptables::Iptables;
use crate::lab::snapshot::Shared;
use crate::lab::{conf, lab_with};

/// What other plugins of the list may leave.
const SHARED: &[Shared<'_>] = conf::LEFT_BEHIND;

fn isolated<'h>(host: &'h crate::lab::host::Host, name: &str) -> Container<'h> {
    Container::new(host, name).with("ingressPolicy", json!("isolated"))
}

#[test]
fn del_finds_everything_by_record_by_result_or_by_its_owner() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, Iptables::Nft);
        let blue = isolated(host, "blue").admitted();
        let with_blue = host.snapshot();
        for loses in [
            ":",
            "rm $(grep -l red /run/jackfield/attachments/*.firewall)",
            "truncate -s -3 $(grep -l red /run/jackfield/attachments/*.firewall)",
        ] {
            for knows_result in [true, false] {
                let red = isolated(host, "red").admitted();
                red.check().silent();
                host.sh(loses);
                let del =
                    if knows_result { red.wall.call_with("DEL", &red.result) } else { red.wall.call("DEL") };
                del.clone().netns("").run().silent();
                del.netns("").run().silent();
                red.link.del().silent();
                red.pod.delete();
                with_blue.same_as(&host.snapshot(), SHARED);
            }
        }
        host.sh("nft flush ruleset");
        blue.del();
        assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
    });
}

#[test]
fn a_del_of_what_was_never_added_does_nothing() {
    lab_with(OURS, |host| {
        let web = isolated(host, "web").admitted();
        let never = Container::new(host, "never");
        let before = host.snapshot();
        never.wall.del().silent();
        never.wall.del_with(&never.result).silent();
        // Whatever its configuration says today.
        let nonsense = json!({"cniVersion": host.newest(), "name": "net-a", "type": "firewall", "ingressPolicy": "shut"});
        never.wall.conf(nonsense).del().silent();
        before.same_as(&host.snapshot(), &[]);
        web.check().silent();
    });
}

#[test]
fn a_second_add_changes_nothing_and_one_with_other_addresses_leaves_the_first_ones() {
    lab_with(OURS, |host| {
        let web = isolated(host, "web").admitted();
        let before = host.snapshot();
        let web = web.admitted();
        before.same_as(&host.snapshot(), &[]);
        let other = conf::with(&web.result, "/ips", json!([{"address": "10.9.0.99/24", "interface": 2}]));
        web.wall.call_with("ADD", &other).run().result();
        let rules = host.sh("nft list ruleset");
        assert!(
            rules.contains("10.9.0.99") && !rules.contains("10.9.0.2") && !rules.contains("fd00:9::2"),
            "{rules}"
        );
        web.wall.check(&other).silent();
        web.check().fails(999).names(&["10.9.0.2 is not in firewall1_ip"]);
        web.wall.conf(network(host)).call_with("ADD", &other).run().result();
        let rules = host.sh("nft list ruleset");
        assert!(!rules.contains("br0") && !rules.contains("isolated"), "{rules}");
        web.del();
        assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
    });
}

#[test]
fn an_add_that_cannot_be_answered_leaves_nothing_and_takes_nothing_from_others() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, Iptables::Nft);
        for beside_another in [false, true] {
            let other = beside_another.then(|| isolated(host, "other").admitted());
            let web = isolated(host, "web");
            let before = host.snapshot();
            let unheard = web.wall.call_with("ADD", &web.result).stdout_to("/dev/full");
            assert!(!unheard.run().succeeded());
            before.same_as(&host.snapshot(), &[Shared::Records]);
            let web = web.admitted();
            // The second one takes back what it has made, which is nothing.
            let before = host.snapshot();
            assert!(!web.wall.call_with("ADD", &web.result).stdout_to("/dev/full").run().succeeded());
            before.same_as(&host.snapshot(), &[Shared::Records]);
            web.check().silent();
            web.del();
            web.pod.delete();
            if let Some(other) = other {
                other.check().silent();
            }
        }
    });
}

#[test]
fn what_an_earlier_container_has_left_gives_way_to_the_next_with_its_address() {
    lab_with(OURS, |host| {
        let red = Container::new(host, "red").admitted();
        red.link.del().silent();
        let mut blue = Container::new(host, "blue");
        blue.result["ips"] = red.result["ips"].clone();
        let blue = blue.admitted();
        red.wall.del().silent();
        blue.check().silent();
        blue.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

// GC-22
#[test]
fn gc_ends_what_its_network_does_not_list() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, Iptables::Nft);
        let [red, blue] = ["red", "blue"].map(|name| isolated(host, name).admitted());
        let other = Container::of(host, "bridge", bridge(host, 8), "other").admitted();
        let gc = |valid: serde_json::Value| {
            let conf = conf::with(&network(host), "/cni.dev~1valid-attachments", valid);
            host.call("firewall", "GC", &conf).run().silent();
        };
        host.call("firewall", "GC", &network(host)).run().silent();
        for container in [&red, &blue, &other] {
            container.check().silent();
        }
        gc(json!([{"containerID": "red", "ifname": "eth0"}]));
        red.check().silent();
        other.check().silent();
        blue.check().fails(999).names(&["is not in firewall1_ip"]);
        let records = host.sh("ls /run/jackfield/attachments/*.firewall | wc -l");
        assert_eq!(records.trim(), "2");
        gc(json!([]));
        other.check().silent();
        let rules = host.sh("nft list ruleset");
        assert!(
            !rules.contains("br0") && !rules.contains("10.9.0.") && rules.contains("10.8.0.2"),
            "{rules}"
        );
        other.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

#[test]
fn purge_takes_what_nobody_lives_for_bridge_and_rule_included() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, Iptables::Nft);
        let before = host.sh("nft list ruleset");
        let purge =
            |words: &[&str]| Call::of(host.program("cnitool"), &[&["purge"], words].concat()).run().stdout();
        let red = isolated(host, "red").admitted();
        let blue = Container::of(host, "bridge", bridge(host, 8), "blue").admitted();
        assert_eq!(purge(&[]), "", "both live");
        red.pod.sh("ip link delete eth0");
        let told = purge(&["--dry-run"]);
        for part in [
            "10.9.0.2 of firewall1_ip",
            "fd00:9::2 of firewall1_ip6",
            "of firewall1_isolated",
            ".firewall of",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(purge(&[]), told.replace("would remove", "removed"));
        blue.check().silent();
        let rules = host.sh("nft list ruleset");
        assert!(!rules.contains("br0") && rules.contains("firewall1_open"), "{rules}");
        blue.pod.sh("ip link delete eth0");
        let told = purge(&["--dry-run"]);
        let gate = "would remove rule of chain FORWARD of table ip filter\n";
        assert!(told.contains("table inet jackfield\n") && told.contains(gate), "{told}");
        assert_eq!(purge(&[]), told.replace("would remove", "removed"));
        assert_eq!(host.sh("nft list ruleset"), before);
        assert_eq!(host.sh("ls /run/jackfield/attachments"), "");
    });
}
