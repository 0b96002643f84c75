//! `ipMasq`: what a container sends out of its subnet carries the host's address. Pings tell, and `nft`.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::witness::{self, OUTSIDE, outside, sources, watch};
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// The Go plugins of v1.1 know iptables alone.
const OURS: &[Need] = &[Need::Ours("masquerade")];

/// The addresses of the first container in these networks.
const FIRST: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const SECOND: [&str; 2] = ["10.9.0.3", "fd00:9::3"];

/// Both plugins, masquerading.
fn networks(host: &Host) -> [(&'static str, Value); 2] {
    conf::interfaces(host).map(|(program, conf)| (program, conf::with(&conf, "/ipMasq", json!(true))))
}

/// A masquerading bridge network.
fn network(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/ipMasq", json!(true))
}

/// The whole ruleset; what was made anew has other handles.
fn ruleset(host: &Host) -> String {
    host.sh("nft -a list ruleset")
}

/// Attaches a container of its own.
fn attached<'h>(host: &'h Host, program: &str, conf: &Value, name: &str) -> (Attach<'h>, Pod, Value) {
    let pod = host.pod_named(name);
    let attachment = host.attach(program, conf.clone(), &pod).container(name);
    let result = attachment.add().result();
    (attachment, pod, result)
}

// ADD-16
#[test]
fn outside_sees_the_host_and_the_own_subnet_sees_the_container() {
    lab(|host| {
        let outside = outside(host, &[]);
        for (program, conf) in networks(host) {
            let before = host.sh("nft list ruleset");
            let (red, red_pod, _) = attached(host, program, &conf, "red");
            let (blue, blue_pod, _) = attached(host, program, &conf, "blue");
            watch(&blue_pod);
            assert_eq!(sources(&outside, &red_pod, OUTSIDE), witness::HOST, "{program}");
            assert_eq!(sources(&outside, &blue_pod, OUTSIDE), witness::HOST, "{program}");
            assert_eq!(sources(&blue_pod, &red_pod, SECOND), FIRST, "{program}: between containers");
            red.del().silent();
            assert_eq!(sources(&outside, &blue_pod, OUTSIDE), witness::HOST, "{program}: blue lives on");
            blue.del().silent();
            let after = host.sh("nft list ruleset");
            // iptables leaves its empty chains.
            host.differs("masquerade", || assert_eq!(after, before, "{program}"), || ());
            red_pod.delete();
            blue_pod.delete();
        }
    });
}

#[test]
fn without_ipmasq_outside_sees_the_container() {
    lab(|host| {
        let outside = outside(host, &["10.9.0.0/24", "fd00:9::/64"]);
        for (program, conf) in conf::interfaces(host) {
            let before = ruleset(host);
            let (red, pod, _) = attached(host, program, &conf, "red");
            assert_eq!(sources(&outside, &pod, OUTSIDE), FIRST, "{program}");
            assert_eq!(ruleset(host), before);
            red.del().silent();
            pod.delete();
        }
    });
}

#[test]
fn the_rules_read_well_and_the_last_container_takes_them_away() {
    lab_with(OURS, |host| {
        let (red, _red_pod, _) = attached(host, "bridge", &network(host), "red");
        let listing = host.sh("nft list ruleset");
        for line in [
            "table inet jackfield {",
            "comment \"made and removed by the Jackfield CNI plugins\"",
            "type nat hook postrouting priority srcnat + 1; policy accept;",
            "ip saddr vmap @masquerade1_ip",
            "ip6 saddr vmap @masquerade1_ip6",
            "comment \"10.9.0.0/24 of network net-a\"",
            "ip daddr 10.9.0.0/24 return",
            "ip daddr 224.0.0.0/4 return",
            "ip6 daddr fd00:9::/64 return",
            "ip6 daddr ff00::/8 return",
            "jackfield: net-a eth0 red\" : goto masquerade1_",
        ] {
            assert!(listing.contains(line), "{line} is not in\n{listing}");
        }
        host.sh("nft list ruleset > /run/listing; nft flush ruleset; nft -f /run/listing");
        assert_eq!(host.sh("nft list ruleset"), listing, "a backup of it can be restored");

        let (blue, _blue_pod, _) = attached(host, "bridge", &network(host), "blue");
        red.del().silent();
        let listing = host.sh("nft list ruleset");
        assert!(listing.contains("net-a eth0 blue") && !listing.contains("net-a eth0 red"), "{listing}");
        blue.del().silent();
        blue.del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn a_network_that_leaves_takes_its_own_chains_and_a_strangers_rule_keeps_the_table() {
    lab_with(OURS, |host| {
        let other = conf::with(&conf::with(&network(host), "/name", json!("net-b")), "/bridge", json!("br1"));
        let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let other = conf::with(&other, "/ipam/routes", json!([{"dst": "0.0.0.0/0"}]));
        let (red, ..) = attached(host, "bridge", &network(host), "red");
        let (blue, ..) = attached(host, "bridge", &other, "blue");
        red.del().silent();
        let listing = host.sh("nft list ruleset");
        assert!(listing.contains("10.8.0.0/24 of network net-b") && !listing.contains("net-a"), "{listing}");
        host.sh("nft add chain inet jackfield strangers");
        blue.del().silent();
        assert_eq!(
            host.sh("nft -j list ruleset | jq -r '.nftables[].chain.name | select(.)'").trim(),
            "strangers"
        );
    });
}

#[test]
fn a_failed_add_takes_its_masquerade_back() {
    lab_with(OURS, |host| {
        let stub = host.stub("odd");
        // The route is refused by the kernel, once everything else is there.
        stub.answers(
            "ADD",
            &json!({
                "cniVersion": "1.1.0",
                "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1"}],
                "routes": [{"dst": "198.51.100.0/24", "gw": "203.0.113.1"}]
            })
            .to_string(),
        );
        for (program, conf) in networks(host) {
            let conf = conf::with(&conf, "/ipam", json!({"type": "odd"}));
            let pod = host.pod();
            let path = format!("{}:{}", stub.folder(), host.bin().display());
            let before = host.snapshot();
            host.attach(program, conf, &pod).path(&path).add().fails(999).names(&["198.51.100.0/24"]);
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

#[test]
fn del_finds_the_elements_by_record_by_result_or_by_their_owner() {
    lab_with(OURS, |host| {
        for (program, conf) in networks(host) {
            let (blue, blue_pod, _) = attached(host, program, &conf, "blue");
            let with_blue = host.sh("nft list ruleset");
            for loses in [
                "",
                "rm /run/jackfield/attachments/*",
                "for f in /run/jackfield/attachments/*; do truncate -s -3 $f; done",
            ] {
                for has_result in [false, true] {
                    let (red, pod, result) = attached(host, program, &conf, "red");
                    assert_ne!(host.sh("nft list ruleset"), with_blue);
                    host.sh(loses);
                    pod.delete();
                    let del = if has_result { red.del_with(&result) } else { red.del() };
                    del.silent();
                    assert_eq!(host.sh("nft list ruleset"), with_blue, "{program}, {loses:?}, {has_result}");
                }
            }
            blue.del().silent();
            blue_pod.delete();
        }
    });
}

#[test]
fn del_knows_the_elements_though_the_network_masquerades_no_more() {
    lab_with(OURS, |host| {
        let (red, ..) = attached(host, "bridge", &network(host), "red");
        red.conf(conf::bridge(host)).del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn whatever_somebody_did_to_the_rules_the_next_add_restores_them_for_everybody() {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        let (_red, red_pod, _) = attached(host, "bridge", &network(host), "red");
        for (number, deed) in [
            "nft flush table inet jackfield",
            "nft flush chain inet jackfield masquerade1",
            "nft -f - <<E\nadd table inet jackfield { flags dormant; }\nE",
            "nft insert rule inet jackfield masquerade1 accept",
            "nft flush ruleset",
        ]
        .into_iter()
        .enumerate()
        {
            host.sh(deed);
            let (blue, pod, result) = attached(host, "bridge", &network(host), &format!("blue{number}"));
            blue.check(&result).silent();
            assert_eq!(sources(&outside, &pod, OUTSIDE), witness::HOST, "{deed}");
            // A flush of the whole ruleset takes the elements too: what red had, nobody knows.
            if deed != "nft flush ruleset" {
                assert_eq!(sources(&outside, &red_pod, OUTSIDE), witness::HOST, "{deed}: the neighbour");
            }
            blue.del().silent();
            pod.delete();
        }
    });
}

#[test]
fn check_names_each_thing_that_is_gone() {
    lab_with(OURS, |host| {
        for (program, conf) in networks(host) {
            let (red, pod, result) = attached(host, program, &conf, "red");
            red.check(&result).silent();
            host.sh("nft list ruleset > /run/listing");
            for (deed, named) in [
                (
                    "nft delete element inet jackfield masquerade1_ip { 10.9.0.2 }",
                    "it is not in map masquerade1_ip",
                ),
                (
                    "nft delete element inet jackfield masquerade1_ip6 { fd00:9::2 }",
                    "it is not in map masquerade1_ip6",
                ),
                (
                    "nft flush chain inet jackfield masquerade1",
                    "chain masquerade1 of table inet jackfield is gone",
                ),
                ("nft flush table inet jackfield", "is gone or changed"),
                ("nft add table inet jackfield '{ flags dormant; }'", "is dormant"),
                ("nft delete table inet jackfield", "there is no table inet jackfield"),
            ] {
                host.sh(deed);
                red.check(&result).fails(999).names(&["is not masqueraded", named]);
                host.sh("nft flush ruleset; nft -f /run/listing");
                red.check(&result).silent();
            }
            red.del().silent();
            pod.delete();
        }
    });
}

#[test]
fn a_later_owner_of_an_address_has_the_element_and_the_earlier_ones_del_leaves_it() {
    lab_with(OURS, |host| {
        let (red, ..) = attached(host, "bridge", &network(host), "red");
        // Somebody who knows nothing of elements removed red's link and lease: the Go plugin, say.
        host.sh("rm -r /run/leases; ip link delete $(ip -j link show master br0 | jq -r .[0].ifname)");
        let (blue, _pod, result) = attached(host, "bridge", &network(host), "blue");
        blue.check(&result).silent();
        red.del().silent();
        blue.check(&result).silent();
        blue.del().silent();
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

#[test]
fn gc_removes_the_elements_of_its_network_whose_attachments_are_not_listed() {
    lab_with(OURS, |host| {
        for (program, conf) in networks(host) {
            let other = conf::with(&conf, "/name", json!("net-other"));
            let other = conf::with(&other, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
            let other = conf::with(&other, "/ipam/routes", json!([]));
            let other = conf::with(&other, "/bridge", json!("br8"));
            let (red, red_pod, result) = attached(host, program, &conf, "red");
            let (_blue, blue_pod, _) = attached(host, program, &conf, "blue");
            let (green, green_pod, green_result) = attached(host, program, &other, "green");
            let valid = json!([{"containerID": "red", "ifname": "eth0"}]);
            host.call(program, "GC", &conf::with(&conf, "/cni.dev~1valid-attachments", valid)).run().silent();
            let listing = host.sh("nft list ruleset");
            assert!(!listing.contains("eth0 blue"), "{listing}");
            red.check(&result).silent();
            green.check(&green_result).silent();

            // Link and record are gone, only the element is left: a crash within DEL.
            host.sh("rm /run/jackfield/attachments/*");
            let nobody = conf::with(&conf, "/cni.dev~1valid-attachments", json!([]));
            host.call(program, "GC", &nobody).run().silent();
            let listing = host.sh("nft list ruleset");
            assert!(!listing.contains("eth0 red") && listing.contains("eth0 green"), "{listing}");
            green.del().silent();
            assert_eq!(host.sh("nft list ruleset"), "");
            [red_pod, blue_pod, green_pod].iter().for_each(Pod::delete);
        }
    });
}

#[test]
fn status_has_the_kernel_try_the_rules_and_leaves_none() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        for (program, conf) in networks(host) {
            host.call(program, "STATUS", &conf).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

/// Such a kernel answers so to the socket for nf_tables: the first one that STATUS of `veth` opens, elsewhere the second.
#[test]
fn a_kernel_without_nf_tables_is_told_before_anything_is_made() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for (program, conf) in networks(host) {
            let without = |verb: &str| {
                let number = if (program, verb) == ("veth", "STATUS") { 1 } else { 2 };
                // And the next: musl asks again without flags.
                let inject = format!("inject=socket:error=EPROTONOSUPPORT:when={number}+");
                let call = host.attach(program, conf.clone(), &pod).call(verb);
                call.under(&["strace", "-f", "-o", "/dev/null", "-e", &inject]).run()
            };
            let before = host.snapshot();
            let words = ["nf_tables", "protocol not supported"];
            without("ADD").fails(999).names(&words);
            without("STATUS").fails(50).names(&words);
            before.same_as(&host.snapshot(), &[]);
        }
    });
}

#[test]
fn an_unknown_backend_is_refused_before_anything_is_made() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let before = host.snapshot();
        for (program, conf) in networks(host) {
            for backend in ["", "pf"] {
                let conf = conf::with(&conf, "/ipMasqBackend", json!(backend));
                let add = host.attach(program, conf, &pod).add();
                add.fails(7).names(&[&format!("unknown ipmasq backend {backend:?}")]);
            }
        }
        before.same_as(&host.snapshot(), &[]);
    });
}
