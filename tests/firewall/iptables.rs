//! `backend: "iptables"`: for an administrator who insists, the Go plugin's rules by that program.

use serde_json::json;

use super::{
    Container, OURS, bridge, does_not_reach, drop_what_is_forwarded, filter, network, outside, reaches,
};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::witness::OUTSIDE;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const BY: Iptables = Iptables::Nft;

fn by_iptables<'h>(host: &'h Host, name: &str) -> Container<'h> {
    Container::new(host, name).with("backend", json!("iptables"))
}

/// The rules of containers and bridges, without the frame that stays.
fn rules(host: &Host) -> String {
    let listing = filter(host, BY, "-S");
    let own = |line: &&str| line.contains("10.9.0.") || line.contains("fd00:9:") || line.contains("br");
    listing.lines().filter(own).map(|line| format!("{line}\n")).collect()
}

/// What iptables lists, without what it has counted, and the records.
fn seen(host: &Host) -> String {
    filter(host, BY, "-S") + &host.sh("ls /run/jackfield/attachments")
}

fn talks_by(host: &Host, by: Iptables) {
    let outside = outside(host);
    drop_what_is_forwarded(host, by);
    let verb = |container: &Container<'_>, verb: &str| {
        container.wall.call_with(verb, &container.result).env("PATH", by.path()).run()
    };
    let [web, neighbour] = ["web", "neighbour"].map(|name| by_iptables(host, name));
    does_not_reach(&web.pod, OUTSIDE);
    for container in [&web, &neighbour] {
        assert_eq!(verb(container, "ADD").result(), container.result);
        verb(container, "CHECK").silent();
    }
    reaches(&web.pod, OUTSIDE);
    reaches(&web.pod, neighbour.addresses());
    reaches(host, web.addresses());
    does_not_reach(&outside, web.addresses());
    assert!(!host.sh("nft list tables").contains("jackfield"), "nothing of the other backend");
    // Who forbids something in his own chain is heard first, and his chain stays.
    filter(host, by, "-A CNI-ADMIN -o outside -j DROP");
    does_not_reach(&web.pod, OUTSIDE);
    filter(host, by, "-F CNI-ADMIN");
    verb(&web, "DEL").silent();
    let listing = filter(host, by, "-S");
    assert!(listing.contains("10.9.0.3/32") && !listing.contains("10.9.0.2/32"), "{listing}");
    assert!(listing.contains("-N CNI-ADMIN") && !listing.contains("fd00:9::2/"), "{listing}");
    does_not_reach(&web.pod, OUTSIDE);
    reaches(&neighbour.pod, OUTSIDE);
}

#[test]
fn a_container_talks_by_iptables_nft_where_forward_drops() {
    lab_with(OURS, |host| talks_by(host, Iptables::Nft));
}

#[test]
fn a_container_talks_by_iptables_legacy_where_forward_drops() {
    lab_with(&[OURS, &[Need::IptablesLegacy, Need::RealRoot]].concat(), |host| {
        talks_by(host, Iptables::Legacy)
    });
}

/// A search path on which every listing begins with what kube-proxy writes for some thousands of services.
fn among_thousands_of_services(host: &Host, by: Iptables) -> String {
    let service = "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment \"default/web:http cluster IP\" -j KUBE-SVC-0123456789ABCDEF";
    std::fs::create_dir("/run/lab/long").unwrap();
    for family in ["iptables", "ip6tables"] {
        for name in [family.to_owned(), format!("{family}-legacy")] {
            let script = format!(
                "#!/bin/sh\ncase \"$*\" in *-S*) yes -- '{service}' | head -n 40000;; esac\nPATH={} exec {name} \"$@\"\n",
                by.path()
            );
            std::fs::write(format!("/run/lab/long/{name}"), script).unwrap();
        }
    }
    host.sh("chmod +x /run/lab/long/*");
    let path = format!("/run/lab/long:{}", by.path());
    let length: usize =
        host.sh(&format!("export PATH={path}; iptables -w -S | wc -c")).trim().parse().unwrap();
    assert!(length > 4 << 20, "longer than a plugin's answer may be: {length}");
    path
}

fn comes_and_goes_where_listings_are_long(host: &Host, by: Iptables) {
    // The tables are in use, and both families are.
    drop_what_is_forwarded(host, by);
    let path = among_thousands_of_services(host, by);
    let web = by_iptables(host, "web");
    let verb = |verb: &str| web.wall.call_with(verb, &web.result).env("PATH", &path).run();
    assert_eq!(verb("ADD").result(), web.result);
    verb("CHECK").silent();
    assert!(filter(host, by, "-S").contains("10.9.0.2/32"));
    verb("DEL").silent();
    let listing = filter(host, by, "-S");
    assert!(!listing.contains("10.9.0.2/32") && !listing.contains("fd00:9::2/"), "{listing}");
}

#[test]
fn a_container_comes_and_goes_where_iptables_lists_thousands_of_services() {
    lab_with(OURS, |host| comes_and_goes_where_listings_are_long(host, Iptables::Nft));
}

#[test]
fn a_container_comes_and_goes_where_iptables_legacy_lists_thousands_of_services() {
    lab_with(&[OURS, &[Need::IptablesLegacy, Need::RealRoot]].concat(), |host| {
        comes_and_goes_where_listings_are_long(host, Iptables::Legacy);
    });
}

#[test]
fn bridges_are_kept_apart_by_iptables_too() {
    lab_with(OURS, |host| {
        let outside = outside(host);
        let red = by_iptables(host, "red").with("ingressPolicy", json!("same-bridge"));
        // The way through was there before the policies.
        assert_eq!(
            red.wall
                .conf(conf::with(&network(host), "/backend", json!("iptables")))
                .call_with("ADD", &red.result)
                .run()
                .result(),
            red.result
        );
        let red = red.admitted();
        let blue = Container::of(host, "bridge", bridge(host, 8), "blue")
            .with("backend", json!("iptables"))
            .with("ingressPolicy", json!("isolated"))
            .admitted();
        for container in [&red, &blue] {
            container.check().silent();
        }
        does_not_reach(&red.pod, blue.addresses());
        does_not_reach(&blue.pod, red.addresses());
        reaches(&red.pod, OUTSIDE);
        reaches(&outside, red.addresses());
        // The Go plugin may put its way through before them: then they hold no more, until the next ADD.
        for program in ["iptables", "ip6tables"] {
            let jump = "FORWARD -m comment --comment 'CNI firewall plugin rules' -j CNI-FORWARD";
            host.sh(&format!("{program} -w -D {jump}; {program} -w -I {jump}"));
        }
        red.check().fails(999).names(&["CNI-ISOLATION-STAGE-1", "comes behind CNI-FORWARD"]);
        let red = red.admitted();
        red.check().silent();
        does_not_reach(&red.pod, blue.addresses());
        let listing = filter(host, BY, "-S");
        assert_eq!(listing.matches("-j CNI-ISOLATION-STAGE-1\n").count(), 2, "{listing}");
    });
}

#[test]
fn a_chain_of_the_administrators_own_asks_for_iptables() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, BY);
        for program in ["iptables", "ip6tables"] {
            host.sh(&format!("{program} -w -N MINE; {program} -w -A MINE -o outside -j DROP"));
        }
        let web = Container::new(host, "web").with("iptablesAdminChainName", json!("MINE")).admitted();
        does_not_reach(&web.pod, OUTSIDE);
        filter(host, BY, "-F MINE");
        reaches(&web.pod, OUTSIDE);
        web.check().silent();
        web.del();
        let listing = filter(host, BY, "-S");
        assert!(listing.contains("-N MINE") && rules(host).is_empty(), "{listing}");
    });
}

#[test]
fn del_gc_and_a_failed_add_leave_the_frame_alone_and_repeat() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, BY);
        let blue = by_iptables(host, "blue").admitted();
        let with_blue = rules(host);
        assert_eq!(with_blue.lines().count(), 4, "{with_blue}");
        for loses in [
            ":",
            "rm $(grep -l red /run/jackfield/attachments/*.firewall)",
            "truncate -s -3 $(grep -l red /run/jackfield/attachments/*.firewall)",
        ] {
            let red = by_iptables(host, "red").admitted();
            red.check().silent();
            let red = red.admitted();
            assert_eq!(rules(host).lines().count(), 8, "no rule is doubled");
            host.sh(loses);
            for _ in 0..2 {
                red.wall.call_with("DEL", &red.result).netns("").run().silent();
            }
            assert_eq!(rules(host), with_blue, "{loses}");
            red.link.del().silent();
            red.pod.delete();
        }
        let red = by_iptables(host, "red").admitted();
        let gone = conf::with(
            &network(host),
            "/cni.dev~1valid-attachments",
            json!([{"containerID": "blue", "ifname": "eth0"}]),
        );
        host.call("firewall", "GC", &gone).run().silent();
        assert_eq!(rules(host), with_blue);
        let before = seen(host);
        assert!(!red.wall.call_with("ADD", &red.result).stdout_to("/dev/full").run().succeeded());
        assert_eq!(seen(host), before);
        blue.check().silent();
        // What another container has by now is not the first one's to take.
        let mut heir = by_iptables(host, "heir");
        heir.result["ips"] = red.result["ips"].clone();
        let heir = heir.admitted();
        red.wall.del_with(&red.result).silent();
        heir.check().silent();
        heir.pod.sh("ip link delete eth0");
        Call::of(host.program("cnitool"), &["purge"]).run().stdout();
        assert_eq!(rules(host), with_blue);
    });
}

/// IPv4 is written by then.
#[test]
fn an_add_whose_ip6tables_fails_takes_everything_back_and_quotes_it() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, BY);
        let first = by_iptables(host, "first").admitted();
        host.sh("mkdir /run/lab/broken; cd /run/lab/broken
            printf '#!/bin/sh\necho no such luck >&2; exit 3\n' > ip6tables-restore; chmod +x ip6tables-restore");
        let path = format!("/run/lab/broken:{}", BY.path());
        let web = by_iptables(host, "web");
        let before = seen(host);
        let add = web.wall.call_with("ADD", &web.result).env("PATH", &path).run();
        add.fails(999).names(&[
            "running [/run/lab/broken/ip6tables-restore -w --noflush]",
            "exit status 3: no such luck",
        ]);
        assert_eq!(seen(host), before);
        first.check().silent();
    });
}

#[test]
fn check_names_the_rule_that_is_missing() {
    lab_with(OURS, |host| {
        let web = by_iptables(host, "web").with("ingressPolicy", json!("isolated")).admitted();
        for (harm, named) in [
            ("iptables -D CNI-FORWARD -s 10.9.0.2 -j ACCEPT", "-s 10.9.0.2/32"),
            ("ip6tables -D CNI-FORWARD 3", "-s fd00:9::2/128"),
            ("iptables -D FORWARD 1", "CNI-ISOLATION-STAGE-1"),
            ("iptables -D CNI-FORWARD 1", "CNI-ADMIN"),
            ("ip6tables -D CNI-ISOLATION-STAGE-2 1", "-o br0"),
            ("iptables -F", "expected FORWARD rule"),
        ] {
            host.sh(&harm.replace("tables -", "tables -w -"));
            web.check().fails(999).names(&["expected", "not found", named]);
            assert_eq!(web.admit().result(), web.result, "{harm}");
            web.check().silent();
        }
    });
}

#[test]
fn who_changes_the_backend_leaves_nothing_of_the_first_one() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, BY);
        let web = Container::new(host, "web").admitted();
        let both = [json!("iptables"), json!("nftables")]
            .map(|backend| conf::with(&network(host), "/backend", backend));
        for conf in both {
            let wall = web.wall.conf(conf.clone());
            assert_eq!(wall.call_with("ADD", &web.result).run().result(), web.result);
            let is_ours = host.sh("nft list ruleset").contains("jackfield");
            assert_eq!(
                (is_ours, rules(host).is_empty()),
                (conf["backend"] == "nftables", conf["backend"] == "nftables")
            );
            reaches(&web.pod, OUTSIDE);
            wall.check(&web.result).silent();
            // The record knows better than a configuration that was changed since.
            web.check().silent();
        }
        web.wall.del().silent();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

/// As after a return to an older version.
#[test]
fn what_a_later_version_has_written_of_one_container_keeps_no_other_but_one_whose_address_it_names() {
    lab_with(OURS, |host| {
        let [web, other] = ["web", "other"].map(|name| by_iptables(host, name).admitted());
        let file = host.sh("grep -l '\"other\"' /run/jackfield/attachments/*.firewall");
        let file = file.trim();
        let change = |words: &str| host.sh(&format!("sed -i '{words}' {file}"));
        change("s/\"layout\":1/\"layout\":2/");
        web.wall.del().silent();
        let left = rules(host);
        assert!(left.contains("10.9.0.3/32") && !left.contains("10.9.0.2/32"), "{left}");
        assert_eq!(web.admit().result(), web.result);
        change("s/10.9.0.3/10.9.0.2/");
        let fault = web.wall.del().fails(999);
        fault.names(&["10.9.0.2 may be another attachment's", file, "is of layout 2"]);
        let left = rules(host);
        assert!(left.contains("10.9.0.2/32") && !left.contains("fd00:9::2/128"), "{left}");
        change("s/\"layout\":2/\"layout\":1/; s/10.9.0.2/10.9.0.3/");
        [web, other].iter().for_each(Container::del);
        assert_eq!(rules(host), "");
    });
}

#[test]
fn without_the_program_add_fails_before_anything_is_made_and_names_it() {
    lab_with(OURS, |host| {
        let web = by_iptables(host, "web");
        host.sh("mount --bind /dev/null $(readlink -f /usr/sbin/iptables)");
        let before = host.snapshot();
        web.admit().fails(999).names(&["failed to locate iptables: \"iptables\"", "needs no program"]);
        web.wall.host_call("STATUS").run().fails(50).names(&["failed to locate iptables"]);
        before.same_as(&host.snapshot(), &[]);
        web.wall.del().silent();
    });
}

#[test]
fn many_at_once_lose_no_rule_and_leave_none() {
    lab_with(OURS, |host| {
        let containers: Vec<_> = (0..12).map(|number| by_iptables(host, &format!("c{number}"))).collect();
        let all = |verb: &str| {
            let calls = containers.iter().map(|it| it.wall.call_with(verb, &it.result).start());
            let running: Vec<_> = calls.collect();
            running.into_iter().map(|running| running.finish()).collect::<Vec<_>>()
        };
        all("ADD").iter().zip(&containers).for_each(|(added, it)| assert_eq!(added.result(), it.result));
        assert_eq!(rules(host).lines().count(), 48);
        let listing = filter(host, BY, "-S FORWARD");
        assert_eq!(listing.matches("-j CNI-FORWARD").count(), 2, "{listing}");
        all("DEL").iter().for_each(|deleted| deleted.silent());
        assert_eq!(rules(host), "");
    });
}
