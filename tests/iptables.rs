//! `ipMasqBackend: "iptables"`: for an administrator who insists, the Go plugins' rules by that program.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::snapshot::Shared;
use crate::lab::witness::{self, OUTSIDE, outside, sources, watch};
use crate::lab::world::Need;
use crate::lab::{attach::Attach, conf, lab_with};
use crate::switching::{OURS, STAYS, THEIRS, call, networks, with_both, with_both_and, with_result};

/// The Go plugins of v1.1 do not know the key.
const NEEDS: &[Need] = &[Need::Ours("masquerade")];

const FIRST: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const SECOND: [&str; 2] = ["10.9.0.3", "fd00:9::3"];

/// The networks that both kinds of plugins know, masquerading by iptables, which is also the Go plugins' choice.
fn masquerading() -> [(&'static str, Value); 2] {
    networks().map(|(program, conf)| (program, by_iptables(&conf)))
}

fn by_iptables(conf: &Value) -> Value {
    conf::with(&conf::with(conf, "/ipMasq", json!(true)), "/ipMasqBackend", json!("iptables"))
}

fn attachment<'h>(host: &'h Host, (program, conf): &(&'static str, Value), pod: &Pod) -> Attach<'h> {
    host.attach(program, conf.clone(), pod).container(pod.name())
}

/// The same container at the same address, once by either.
fn writes_what_the_go_plugins_write(host: &Host, by: Iptables) {
    by.with_neighbours(host);
    for network in masquerading() {
        let pod = host.pod();
        let before = host.snapshot();
        let listing = |folder: &str| {
            let called = |verb: &str, network: &(&'static str, Value)| {
                call(folder, verb, network, &pod).env("PATH", by.path()).run()
            };
            let result = called("ADD", &network).result();
            let listing = by.listing(host);
            called("CHECK", &with_result(&network, &result)).silent();
            called("DEL", &with_result(&network, &result)).silent();
            before.same_as(&host.snapshot(), STAYS);
            host.sh("rm -r /run/leases");
            listing
        };
        let theirs = listing(THEIRS);
        assert!(theirs.contains("-j MASQUERADE"), "{theirs}");
        assert_eq!(listing(OURS), theirs, "{}", network.0);
    }
}

#[test]
fn by_iptables_nft_the_rules_are_those_of_the_go_plugins_to_the_letter() {
    with_both("by_iptables_nft_the_rules_are_those_of_the_go_plugins_to_the_letter", |host| {
        writes_what_the_go_plugins_write(host, Iptables::Nft);
    });
}

#[test]
fn by_iptables_legacy_the_rules_are_those_of_the_go_plugins_to_the_letter() {
    let name = "by_iptables_legacy_the_rules_are_those_of_the_go_plugins_to_the_letter";
    with_both_and(name, &[Need::IptablesLegacy], |host| {
        writes_what_the_go_plugins_write(host, Iptables::Legacy)
    });
}

#[test]
fn the_go_plugins_del_removes_the_rules_that_ours_wrote() {
    with_both("the_go_plugins_del_removes_the_rules_that_ours_wrote", |host| {
        Iptables::Nft.with_neighbours(host);
        for network in masquerading() {
            let pod = host.pod();
            let before = host.snapshot();
            let result = call(OURS, "ADD", &network, &pod).run().result();
            call(THEIRS, "DEL", &with_result(&network, &result), &pod).run().silent();
            host.sh("rm -r /run/jackfield");
            before.same_as(&host.snapshot(), STAYS);
        }
    });
}

#[test]
fn outside_sees_the_host_and_the_own_subnet_sees_the_container_by_iptables_too() {
    lab_with(NEEDS, |host| {
        let outside = outside(host, &[]);
        for network in masquerading() {
            let [red, blue] = ["red", "blue"].map(|name| host.pod_named(name));
            for pod in [&red, &blue] {
                attachment(host, &network, pod).add().result();
            }
            watch(&blue);
            assert_eq!(sources(&outside, &red, OUTSIDE), witness::HOST, "{}", network.0);
            assert_eq!(sources(&blue, &red, SECOND), FIRST, "{}", network.0);
            attachment(host, &network, &red).del().silent();
            assert_eq!(sources(&outside, &blue, OUTSIDE), witness::HOST, "{}: blue lives on", network.0);
            attachment(host, &network, &blue).del().silent();
            let listing = Iptables::Nft.listing(host);
            assert!(!listing.contains("CNI-"), "{listing}");
            assert!(!host.sh("nft list tables").contains("jackfield"), "nothing of the other backend");
            [red, blue].iter().for_each(Pod::delete);
        }
    });
}

#[test]
fn without_iptables_add_fails_before_anything_is_made_and_names_the_program() {
    lab_with(NEEDS, |host| {
        let pod = host.pod();
        host.sh("mount --bind /dev/null $(readlink -f /usr/sbin/iptables)");
        let before = host.snapshot();
        for network in masquerading() {
            let web = attachment(host, &network, &pod);
            web.add().fails(999).names(&["failed to locate iptables: \"iptables\"", "ipMasqBackend"]);
            let newest = conf::with(&network.1, "/cniVersion", json!("1.1.0"));
            host.call(network.0, "STATUS", &newest).run().fails(50).names(&["failed to locate iptables"]);
            before.same_as(&host.snapshot(), &[]);
            web.del().silent();
        }
    });
}

/// IPv4 is written by then.
#[test]
fn an_add_whose_ip6tables_fails_takes_everything_back_and_quotes_it() {
    lab_with(NEEDS, |host| {
        Iptables::Nft.with_neighbours(host);
        host.sh("mkdir /run/lab/broken; cd /run/lab/broken
            printf '#!/bin/sh\necho no such luck >&2; exit 3\n' > ip6tables-restore; chmod +x ip6tables-restore");
        let path = format!("/run/lab/broken:{}", Iptables::Nft.path());
        for network in masquerading() {
            let pod = host.pod();
            let before = host.snapshot();
            let add = attachment(host, &network, &pod).call("ADD").env("PATH", &path).run();
            let words =
                ["running [/run/lab/broken/ip6tables-restore -w --noflush]", "exit status 3: no such luck"];
            add.fails(999).names(&words);
            before.same_as(&host.snapshot(), &[STAYS, &[Shared::Records]].concat());
        }
    });
}

#[test]
fn what_a_crash_left_of_the_rules_is_completed_and_not_doubled() {
    lab_with(NEEDS, |host| {
        for network in masquerading() {
            let pod = host.pod();
            let web = attachment(host, &network, &pod);
            web.add().result();
            let whole = sorted(&Iptables::Nft.listing(host));
            // The link, the lease and the record go; the rules stay, but for one of each family.
            host.sh("ip link delete $(ip -j link show type veth | jq -r .[0].ifname)
                rm -r /run/leases /run/jackfield");
            for program in ["iptables", "ip6tables"] {
                Iptables::Nft.run_one(
                    host,
                    program,
                    "-D $(CHAIN) 1".replace("$(CHAIN)", &chain(&whole)).as_str(),
                );
            }
            assert_ne!(sorted(&Iptables::Nft.listing(host)), whole);
            let result = web.add().result();
            assert_eq!(sorted(&Iptables::Nft.listing(host)), whole);
            web.check(&result).silent();
            web.del().silent();
        }
    });
}

/// The Go plugins append rule by rule, so the second subnet's own traffic comes to the first one's MASQUERADE.
#[test]
fn with_two_subnets_neither_is_masqueraded_on_its_way_to_the_other() {
    lab_with(&[Need::Ours("iptables-two-subnets")], |host| {
        let ranges = json!([[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.8.0.0/24"}]]);
        let conf =
            conf::with(&conf::with(&conf::bridge(host), "/ipam/ranges", ranges), "/isGateway", json!(false));
        let (pod, conf) = (host.pod(), conf::with(&conf, "/ipam/routes", json!([])));
        attachment(host, &("bridge", by_iptables(&conf)), &pod).add().result();
        let listing = Iptables::Nft.run_one(host, "iptables", "-S");
        let rules: Vec<&str> = listing.lines().filter(|line| line.starts_with("-A CNI-")).collect();
        let targets: Vec<_> = rules.iter().filter_map(|rule| rule.rsplit(' ').next()).collect();
        assert_eq!(targets, ["ACCEPT", "ACCEPT", "MASQUERADE"], "{listing}");
    });
}

fn sorted(listing: &str) -> Vec<String> {
    let mut lines: Vec<String> = listing.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The one chain of a container.
fn chain(listing: &[String]) -> String {
    let found = listing.iter().find_map(|line| line.strip_prefix("-N CNI-"));
    format!("CNI-{}", found.expect("a chain"))
}

#[test]
fn check_names_the_rule_that_is_missing() {
    lab_with(NEEDS, |host| {
        let network = ("bridge", by_iptables(&conf::bridge(host)));
        let pod = host.pod();
        let web = attachment(host, &network, &pod);
        let result = web.add().result();
        web.check(&result).silent();
        let chain = chain(&sorted(&Iptables::Nft.listing(host)));
        for (program, words, named) in [
            ("iptables", format!("-D {chain} 1"), "ACCEPT"),
            ("ip6tables", format!("-D {chain} 2"), "MASQUERADE"),
            ("ip6tables", "-D POSTROUTING 1".into(), "-A POSTROUTING -s fd00:9::2"),
            ("iptables", "-F".into(), "ACCEPT"),
        ] {
            host.sh("iptables-save > /run/rules4; ip6tables-save > /run/rules6");
            Iptables::Nft.run_one(host, program, &words);
            web.check(&result).fails(999).names(&["is not masqueraded: table nat has no rule", named]);
            host.sh("iptables-restore < /run/rules4; ip6tables-restore < /run/rules6");
            web.check(&result).silent();
        }
        web.del().silent();
    });
}

#[test]
fn gc_removes_the_rules_of_a_record_that_nobody_lists() {
    lab_with(NEEDS, |host| {
        Iptables::Nft.with_neighbours(host);
        let network = ("bridge", by_iptables(&conf::bridge(host)));
        let [red, blue] = ["red", "blue"].map(|name| host.pod_named(name));
        attachment(host, &network, &red).add().result();
        let before = Iptables::Nft.listing(host);
        attachment(host, &network, &blue).add().result();
        let valid = json!([{"containerID": "red", "ifname": "eth0"}]);
        host.call("bridge", "GC", &conf::with(&network.1, "/cni.dev~1valid-attachments", valid))
            .run()
            .silent();
        assert_eq!(Iptables::Nft.listing(host), before);
    });
}

#[test]
fn many_at_once_lose_no_rule_and_leave_none() {
    lab_with(NEEDS, |host| {
        let network = ("bridge", by_iptables(&conf::bridge(host)));
        let pods: Vec<Pod> = (0..12).map(|number| host.pod_named(&format!("c{number}"))).collect();
        let all = |verb: &str| {
            let calls = pods.iter().map(|pod| attachment(host, &network, pod).call(verb).start());
            let running: Vec<_> = calls.collect();
            running.into_iter().map(|running| running.finish()).collect::<Vec<_>>()
        };
        for added in all("ADD") {
            added.result();
        }
        let listing = Iptables::Nft.listing(host);
        assert_eq!((listing.matches("-N CNI-").count(), listing.matches("-j MASQUERADE").count()), (24, 24));
        for deleted in all("DEL") {
            deleted.silent();
        }
        let listing = Iptables::Nft.listing(host);
        assert!(!listing.contains("CNI-"), "{listing}");
    });
}
