//! Switching over with `macspoofchk`: what the Go plugin wrote for an attachment that ends with us, and the other way round.

use serde_json::{Value, json};

use super::{FOREIGN, mac, reaches};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::switching::{OURS, STAYS, THEIRS, call, with_both, with_result};

fn network() -> (&'static str, Value) {
    ("bridge", conf::with(&conf::bridge_at("1.0.0"), "/macspoofchk", json!(true)))
}

/// The table and the base chain that the Go plugin leaves for ever.
fn shared_by_them(host: &Host) {
    host.sh("nft 'table bridge nat { chain PREROUTING { type filter hook prerouting priority -300; }; }'");
}

/// The rules of v1.1 to v1.9, of an attachment of this name behind this link.
fn theirs(host: &Host, id: &str, link: &str) {
    host.sh(&format!(
        "nft -f - <<E
        table bridge nat {{
            chain PREROUTING {{ type filter hook prerouting priority -300; }}
            chain cni-br-iface-{id}-mac {{
                ether saddr 02:00:00:00:00:01 return comment \"macspoofchk-{id}\"
                drop comment \"macspoofchk-{id}\"
            }}
            chain cni-br-iface-{id} {{ jump cni-br-iface-{id}-mac comment \"macspoofchk-{id}\"; }}
        }}
        add rule bridge nat PREROUTING iifname {link} jump cni-br-iface-{id} comment \"macspoofchk-{id}\"
E"
    ));
}

#[test]
fn what_the_go_plugin_guarded_is_taken_down_by_ours_and_nothing_is_left() {
    with_both("what_the_go_plugin_guarded_is_taken_down_by_ours_and_nothing_is_left", |host| {
        shared_by_them(host);
        for (has_netns, has_result) in [(true, true), (true, false), (false, true)] {
            let pod = host.pod();
            let before = host.snapshot();
            let result = call(THEIRS, "ADD", &network(), &pod).run().result();
            assert!(host.sh("nft list table bridge nat").contains("jump cni-br-iface-container-1-eth0"));
            call(OURS, "CHECK", &with_result(&network(), &result), &pod).run().silent();
            pod.sh(&format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"));
            assert!(!reaches(&pod, "eth0", "10.9.0.1"), "their rules are in force");
            pod.sh(&format!("ip link set eth0 address {}", mac(&result)));
            let remembered = if has_result { with_result(&network(), &result) } else { network() };
            let del = call(OURS, "DEL", &remembered, &pod);
            let del = if has_netns { del } else { del.netns("") };
            del.run().silent();
            assert!(pod.link("eth0").is_none(), "{has_netns} {has_result}");
            before.same_as(&host.snapshot(), STAYS);
        }
    });
}

/// The Go plugin's own DEL leaves its rules where the namespace was gone before.
#[test]
fn rules_that_the_go_plugin_has_left_go_with_the_next_del() {
    with_both("rules_that_the_go_plugin_has_left_go_with_the_next_del", |host| {
        shared_by_them(host);
        let pod = host.pod();
        let before = host.snapshot();
        call(THEIRS, "ADD", &network(), &pod).run().result();
        pod.delete();
        // The kernel takes the pair down in its own time.
        host.sh("while ip -o link show type veth | grep -q .; do :; done");
        call(THEIRS, "DEL", &network(), &pod).run().silent();
        assert!(host.sh("nft list table bridge nat").contains("cni-br-iface-container-1-eth0"));
        call(OURS, "DEL", &network(), &pod).run().silent();
        let left = before.differences(&host.snapshot(), STAYS);
        assert!(left.iter().all(|line| line.contains("netns")), "{left:?}");
    });
}

#[test]
fn only_the_chains_of_the_attachment_itself_are_removed() {
    with_both("only_the_chains_of_the_attachment_itself_are_removed", |host| {
        let pod = host.pod();
        // Names that begin or end alike, a rule of a stranger's, and a chain of that name elsewhere.
        for id in ["container-1-eth00", "container-1-eth1", "a-container-1-eth0", "container-1-eth0-mac-x"] {
            theirs(host, id, "vethother");
        }
        host.sh("nft add rule bridge nat PREROUTING ether saddr 02:00:00:00:00:09 counter drop comment macspoofchk-container-1-eth0
            nft add table bridge other; nft add chain bridge other cni-br-iface-container-1-eth0");
        let before = host.sh("nft list ruleset");
        theirs(host, "container-1-eth0", "veth1a2b3c4d");
        host.sh(
            "nft insert rule bridge nat PREROUTING iifname veth1a2b3c4d jump cni-br-iface-container-1-eth0",
        );
        call(OURS, "DEL", &network(), &pod).run().silent();
        assert_eq!(host.sh("nft list ruleset"), before);

        // A DEL that was cut off between the Go plugin's calls of nft leaves one chain or the other.
        for rest in ["cni-br-iface-container-1-eth0", "cni-br-iface-container-1-eth0-mac"] {
            host.sh(&format!("nft add chain bridge nat {rest}"));
            call(OURS, "DEL", &network(), &pod).run().silent();
            assert_eq!(host.sh("nft list ruleset"), before, "{rest}");
        }
        let plain = ("bridge", conf::bridge_at("1.0.0"));
        theirs(host, "container-1-eth0", "veth1a2b3c4d");
        call(OURS, "DEL", &plain, &pod).run().silent();
        assert_eq!(host.sh("nft list ruleset"), before, "though the network is checked no more");
    });
}

#[test]
fn what_ours_guarded_is_taken_down_by_the_go_plugin_but_for_elements_that_hinder_nobody() {
    with_both(
        "what_ours_guarded_is_taken_down_by_the_go_plugin_but_for_elements_that_hinder_nobody",
        |host| {
            shared_by_them(host);
            let (pod, other) = (host.pod(), host.pod());
            let before = host.snapshot();
            let result = call(OURS, "ADD", &network(), &pod).run().result();
            let attached = with_result(&network(), &result);
            call(THEIRS, "CHECK", &attached, &pod).run().silent();
            call(THEIRS, "DEL", &attached, &pod).run().silent();
            assert!(pod.links().is_empty());
            assert!(host.sh("nft list table bridge jackfield").contains("eth0 container-1"));
            both_kinds_work(host, &pod, &other);
            let purge = Call::of(format!("{OURS}/cnitool"), &["purge"]).run();
            assert!(purge.succeeded() && purge.stdout().contains("spoof1_guarded"), "{purge}");
            before.same_as(&host.snapshot(), STAYS);
        },
    );
}

/// Containers of both kinds beside each other, each held to its own address.
fn both_kinds_work(host: &Host, pod: &Pod, other: &Pod) {
    let results = [(THEIRS, "old", pod), (OURS, "new", other)]
        .map(|(folder, id, pod)| call(folder, "ADD", &network(), pod).container(id).run().result());
    for (pod, result) in [pod, other].into_iter().zip(&results) {
        assert!(pod.pings("10.9.0.1"));
        pod.sh(&format!("ip link set eth0 address {FOREIGN}; ip neigh flush dev eth0"));
        assert!(!reaches(pod, "eth0", "10.9.0.1"));
        pod.sh(&format!("ip link set eth0 address {}", mac(result)));
    }
    call(OURS, "DEL", &network(), pod).container("old").run().silent();
    assert!(other.pings("10.9.0.1"), "the other container's network is as it was");
    call(OURS, "DEL", &network(), other).container("new").run().silent();
    assert!(host.sh("nft list table bridge jackfield").contains("eth0 container-1"));
}
