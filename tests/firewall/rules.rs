//! The rules in the kernel: what others make of them, and what becomes of what others did to them.

use serde_json::json;

use super::{Container, GATE, OURS, drop_what_is_forwarded, filter, network, outside, reaches};
use crate::lab::iptables::Iptables;
use crate::lab::witness::OUTSIDE;
use crate::lab::{conf, lab_with};

const BY: Iptables = Iptables::Nft;

#[test]
fn iptables_lists_saves_restores_and_deletes_the_rule() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, BY);
        let web = Container::new(host, "web").admitted();
        let listing = filter(host, BY, "-S FORWARD");
        assert_eq!(listing.matches(GATE).count(), 2, "{listing}");
        host.sh("iptables-save > /run/rules4; ip6tables-save > /run/rules6");
        host.sh("iptables-restore < /run/rules4; ip6tables-restore < /run/rules6");
        assert_eq!(filter(host, BY, "-S FORWARD"), listing);
        reaches(&web.pod, OUTSIDE);
        web.check().silent();
        // It is known again, and not written twice.
        let web = web.admitted();
        assert_eq!(filter(host, BY, "-S FORWARD"), listing);
        filter(host, BY, &GATE.replacen("-A", "-C", 1));
        filter(host, BY, &GATE.replacen("-A", "-D", 1));
        assert!(!filter(host, BY, "-S FORWARD").contains("jackfield"));
        web.check().fails(999).names(&["do not pass", "chain FORWARD of table ip filter", "0x1000/0x1000"]);
        let web = web.admitted();
        assert_eq!(filter(host, BY, "-S FORWARD"), listing);
        web.del();
        assert!(!filter(host, BY, "-S FORWARD").contains("jackfield"));
    });
}

#[test]
fn where_nothing_can_be_dropped_there_is_no_rule() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").admitted();
        assert!(!host.sh("nft list tables").contains("filter"), "no table of iptables was made");
        filter(host, BY, "-P FORWARD ACCEPT");
        let web = web.admitted();
        assert!(!filter(host, BY, "-S FORWARD").contains("jackfield"));
        web.check().silent();
        // One rule is enough: who knows what it does?
        host.sh("iptables -A FORWARD -i eth7 -j REJECT");
        web.check().fails(999).names(&["chain FORWARD of table ip filter"]);
        let web = web.admitted();
        assert_eq!(filter(host, BY, "-S FORWARD").matches(GATE).count(), 1, "IPv6 has none");
        web.check().silent();
        web.del();
    });
}

// CHK-08
#[test]
fn check_says_what_somebody_has_flushed_and_the_next_add_restores_it() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, BY);
        let isolated = |name| Container::new(host, name).with("ingressPolicy", json!("isolated")).admitted();
        let (web, other) = (isolated("web"), isolated("other"));
        for (harm, named) in [
            (
                "nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP",
                "there is no table inet jackfield",
            ),
            ("nft flush table inet jackfield", "chain firewall1"),
            (
                "nft flush chain inet jackfield firewall1_allow",
                "chain firewall1_allow of table inet jackfield",
            ),
            ("nft flush chain inet jackfield firewall1_after", "chain firewall1_after"),
            ("nft flush map inet jackfield firewall1_ip", "10.9.0.2 is not in firewall1_ip"),
            ("nft flush set inet jackfield firewall1_bridges", "br0 is not in firewall1_bridges"),
            ("nft flush map inet jackfield firewall1_within", "br0 is not in firewall1_within"),
            ("nft flush set bridge jackfield firewall1_isolated", "is not in firewall1_isolated"),
            ("nft flush chain bridge jackfield firewall1", "chain firewall1 of table bridge jackfield"),
            ("nft add table inet jackfield '{ flags dormant; }'", "dormant"),
            ("iptables -F FORWARD", "table ip filter"),
            ("ip6tables -F FORWARD", "table ip6 filter"),
        ] {
            host.sh(harm);
            web.check().fails(999).names(&[named]);
            assert_eq!(web.admit().result(), web.result, "{harm}");
            web.check().silent();
            if harm.contains("flush table") {
                // The elements were still there, and what they need is again.
                other.check().silent();
            }
            assert_eq!(other.admit().result(), other.result);
        }
        reaches(&web.pod, OUTSIDE);
        web.del();
        other.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

#[test]
fn the_node_has_one_bit_and_whoever_chooses_another_changes_it_for_all() {
    lab_with(OURS, |host| {
        let _outside = outside(host);
        drop_what_is_forwarded(host, BY);
        let web = Container::new(host, "web").admitted();
        let other = Container::new(host, "other").with("markBit", json!(30)).admitted();
        let listing = filter(host, BY, "-S FORWARD");
        assert_eq!(listing.matches("--mark 0x40000000/0x40000000").count(), 2, "{listing}");
        assert!(!listing.contains("0x1000/"), "{listing}");
        for container in [&web, &other] {
            container.check().silent();
            reaches(&container.pod, OUTSIDE);
        }
        let third = Container::new(host, "third").admitted();
        assert_eq!(filter(host, BY, "-S FORWARD"), listing);
        for container in [web, other, third] {
            container.del();
        }
    });
}

#[test]
fn status_tries_the_rules_and_leaves_none() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        for policy in ["open", "same-bridge", "isolated"] {
            let conf = conf::with(&network(host), "/ingressPolicy", json!(policy));
            host.call("firewall", "STATUS", &conf).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
        let unprivileged = host.call("firewall", "STATUS", &network(host)).under(&["unshare", "--user"]);
        unprivileged.run().fails(50).names(&["firewall cannot work", "operation not permitted"]);
    });
}

#[test]
fn many_at_once_lose_nothing_and_leave_nothing() {
    lab_with(OURS, |host| {
        drop_what_is_forwarded(host, BY);
        let before = host.sh("nft list ruleset");
        let containers: Vec<_> = (0..12).map(|number| Container::new(host, &format!("c{number}"))).collect();
        let all = |verb: &str| {
            let calls = containers.iter().map(|it| it.wall.call_with(verb, &it.result).start());
            let running: Vec<_> = calls.collect();
            running.into_iter().map(|running| running.finish()).collect::<Vec<_>>()
        };
        all("ADD").iter().zip(&containers).for_each(|(added, it)| assert_eq!(added.result(), it.result));
        all("CHECK").iter().for_each(|checked| checked.silent());
        assert_eq!(filter(host, BY, "-S FORWARD").matches(GATE).count(), 2);
        all("DEL").iter().for_each(|deleted| deleted.silent());
        assert_eq!(host.sh("nft list ruleset"), before);
    });
}
