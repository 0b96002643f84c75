//! `tuning`: settings of a link that another plugin has made, and of its namespace.

use std::path::Path;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

const OURS: &[Need] = &[Need::Ours("tuning-undone")];
const MAC: &str = "c2:11:22:33:44:55";

/// A pod with an `eth0` that an earlier plugin has made. No address comes to it by itself, whenever that would be.
fn tuned(host: &Host) -> Pod {
    let pod = host.pod();
    pod.sh("ip link add eth0 address 02:00:00:00:00:07 type veth peer name other
        for link in eth0 other; do ip link set $link addrgenmode none up; done");
    pod
}

/// What that plugin has answered.
fn prev(host: &Host, pod: &Pod) -> Value {
    let mut prev = json!({
        "cniVersion": host.newest(),
        "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:07", "sandbox": pod.path()}],
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 1}],
        "dns": {}
    });
    if !host.is_reference() {
        prev["interfaces"][1]["mtu"] = json!(1500);
    }
    prev
}

fn tuning<'h>(host: &'h Host, pod: &Pod, keys: Value) -> Attach<'h> {
    let mut conf = json!({"cniVersion": host.newest(), "name": "net-t", "type": "tuning"});
    conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    host.attach("tuning", conf, pod)
}

/// Everything that there is to tune.
fn everything() -> Value {
    json!({
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.ip_local_port_range": "40000 50000"},
        "mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 77
    })
}

fn eth0(pod: &Pod) -> Value {
    pod.link("eth0").unwrap()
}

fn flags(pod: &Pod) -> Vec<String> {
    eth0(pod)["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap().to_owned()).collect()
}

// CHN-03
#[test]
fn everything_is_tuned_told_checked_and_put_back() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        let before = (host.snapshot(), pod.snapshot());
        let tuning = tuning(host, &pod, everything());
        let result = tuning.call_with("ADD", &prev(host, &pod)).run().result();
        let link = eth0(&pod);
        assert_eq!(
            (&link["address"], &link["mtu"], &link["txqlen"]),
            (&json!(MAC), &json!(1400), &json!(77))
        );
        assert!(["PROMISC", "ALLMULTI"].iter().all(|flag| flags(&pod).iter().any(|it| it == flag)));
        assert_eq!(pod.sysctl("net/ipv4/conf/eth0/arp_filter"), "1");
        assert_eq!(pod.sysctl("net/ipv4/ip_local_port_range"), "40000\t50000");
        assert_eq!(host.sysctl("net/ipv4/ip_local_port_range"), "32768\t60999", "the host's own is another");

        let mut expected = prev(host, &pod);
        expected["interfaces"][1]["mac"] = json!(MAC);
        expected["interfaces"][1]["mtu"] = json!(1400);
        expected.as_object_mut().unwrap().remove("dns");
        assert_eq!(result, expected);
        tuning.check(&result).silent();

        tuning.del_with(&result).silent();
        before.1.same_as(&pod.snapshot(), &[]);
        assert!(host.snapshot().below("file/run/cni").is_empty());
        tuning.del_with(&result).silent();
    });
}

#[test]
fn an_mtu_below_that_of_ipv6_is_refused_behind_ipv6_addresses() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let prev = web.add().result();
        let before = (host.snapshot(), pod.snapshot());
        let tuned = tuning(host, &pod, json!({"mtu": 1279}));
        let answer = tuned.call_with("ADD", &prev).run();
        let ours = || {
            answer.fails(7).names(&["mtu 1279", "1280", "fd00:9::2/64"]);
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        // They answer with success, and the kernel takes the addresses away.
        host.differs("mtu-checked", ours, || assert_eq!(pod.addresses("eth0"), ["10.9.0.2/24"]));
        tuned.del_with(&prev).silent();
        let least = tuning(host, &pod, json!({"mtu": 1280}));
        let result = least.call_with("ADD", &prev).run().result();
        assert_eq!(pod.addresses("eth0").contains(&"fd00:9::2/64".to_owned()), !host.is_reference());
        least.del_with(&result).silent();
        web.del_with(&prev).silent();
    });
}

#[test]
fn podmans_tuning_without_a_key_repeats_the_previous_result_and_touches_nothing() {
    lab(|host| {
        let pod = tuned(host);
        let before = (host.snapshot(), pod.snapshot());
        let tuning = tuning(host, &pod, json!({}));
        let result = tuning.call_with("ADD", &prev(host, &pod)).run().result();
        assert_eq!(result["interfaces"], prev(host, &pod)["interfaces"]);
        tuning.check(&result).silent();
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
        tuning.del_with(&result).silent();
    });
}

#[test]
fn settings_are_written_in_their_order() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        // `all` overwrites what the link has: only this order ends with the link switched on.
        let tuning = tuning(
            host,
            &pod,
            json!({"sysctl": {
                "net.ipv4.conf.all.forwarding": "0",
                "net.ipv4.conf.eth0.forwarding": "1",
            }}),
        );
        for _ in 0..5 {
            let result = tuning.call_with("ADD", &prev(host, &pod)).run().result();
            assert_eq!(pod.sysctl("net/ipv4/conf/eth0/forwarding"), "1");
            tuning.del_with(&result).silent();
            assert_eq!(pod.sysctl("net/ipv4/conf/eth0/forwarding"), "0");
        }
    });
}

#[test]
fn a_failed_add_puts_everything_back() {
    lab_with(OURS, |host| {
        for fails in [
            // More than fits into the link below, once everything but the queue is done.
            json!({"mtu": 1490}),
            json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.no_such_setting": "1"}}),
            json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.ip_forward": "rubbish"}}),
        ] {
            let pod = host.pod();
            pod.sh("ip link add low type veth peer name other
                ip link add eth0 address 02:00:00:00:00:07 type vxlan id 7 dstport 4789 dev low; ip link set eth0 up");
            let before = (host.snapshot(), pod.snapshot());
            let mut keys = everything();
            keys.as_object_mut().unwrap().extend(fails.as_object().unwrap().clone());
            tuning(host, &pod, keys).call_with("ADD", &prev(host, &pod)).run().fails(999);
            before.1.same_as(&pod.snapshot(), &[]);
            let left = before.0.differences(&host.snapshot(), &[]);
            assert!(left.iter().all(|line| line.starts_with("+ folder/run/cni")), "{left:#?}");
        }
    });
}

#[test]
fn bad_input_is_told_and_nothing_is_touched() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        let before = (host.snapshot(), pod.snapshot());
        for (keys, code, named) in [
            (json!({"sysctl": {"kernel.hostname": "x"}}), 7, "invalid net sysctl key: \"kernel.hostname\""),
            (json!({"sysctl": {"net/../kernel/hostname": "x"}}), 7, "net/../kernel/hostname"),
            (json!({"sysctl": {"net.ipv4.ip_forward": 1}}), 6, "sysctl"),
            (
                json!({"sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}}),
                7,
                "duplicated sysctl keys",
            ),
            (json!({"mac": "zz"}), 7, "invalid args zz for MAC addr"),
            (json!({"mac": "01:00:5e:00:00:01"}), 7, "01:00:5e:00:00:01"),
            (json!({"mtu": -5}), 7, "-5"),
            (json!({"txQLen": -1}), 7, "txQLen -1"),
        ] {
            let tuning = tuning(host, &pod, keys.clone());
            tuning.call_with("ADD", &prev(host, &pod)).run().fails(code).names(&[named]);
            tuning.host_call("STATUS").run().fails(code).names(&[named]);
        }
        let tuning = tuning(host, &pod, everything());
        tuning.add().fails(7).names(&["Required prevResult missing"]);
        tuning
            .ifname("eth9")
            .call_with("ADD", &prev(host, &pod))
            .run()
            .fails(999)
            .names(&["failed to get \"eth9\""]);
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

#[test]
fn a_sysctl_that_the_administrator_does_not_allow_is_refused() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        host.sh("mount -t tmpfs etc /etc; mkdir -p /etc/cni/tuning");
        host.sh(
            "printf '^net\\\\.ipv4\\\\.conf\\\\.IFNAME\\\\.[a-z_]*$\\n' > /etc/cni/tuning/allowlist.conf",
        );
        let allowed = tuning(host, &pod, json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}));
        let result = allowed.call_with("ADD", &prev(host, &pod)).run().result();
        allowed.host_call("STATUS").run().silent();
        allowed.del_with(&result).silent();
        let refused = tuning(host, &pod, json!({"sysctl": {"net.ipv4.ip_forward": "1"}}));
        let words = ["Sysctl net.ipv4.ip_forward is not allowed. Only the following sysctls are allowed"];
        refused.call_with("ADD", &prev(host, &pod)).run().fails(7).names(&words);
        refused.host_call("STATUS").run().fails(50).names(&words);
        assert_eq!(pod.sysctl("net/ipv4/ip_forward"), "0");
    });
}

#[test]
fn check_names_what_somebody_changed() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        let tuning = tuning(host, &pod, everything());
        let result = tuning.call_with("ADD", &prev(host, &pod)).run().result();
        for (deed, back, named) in [
            (
                "ip link set eth0 address 02:00:00:00:00:09",
                format!("ip link set eth0 address {MAC}"),
                "MAC address",
            ),
            ("ip link set eth0 mtu 1300", "ip link set eth0 mtu 1400".into(), "MTU"),
            ("ip link set eth0 promisc off", "ip link set eth0 promisc on".into(), "Promiscuous Mode"),
            (
                "ip link set eth0 allmulticast off",
                "ip link set eth0 allmulticast on".into(),
                "All-Multicast mode",
            ),
            (
                "ip link set eth0 txqueuelen 5",
                "ip link set eth0 txqueuelen 77".into(),
                "Transmit Queue Length",
            ),
            (
                "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_filter",
                "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_filter".into(),
                "net/ipv4/conf/eth0/arp_filter",
            ),
        ] {
            pod.sh(deed);
            tuning.check(&result).fails(999).names(&[named]);
            pod.sh(&back);
            tuning.check(&result).silent();
        }
        pod.sh("ip link delete eth0");
        tuning.check(&result).fails(999).names(&["Cannot find container link eth0"]);
    });
}

#[test]
fn a_second_add_keeps_what_was_there_first() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        let before = pod.snapshot();
        let tuning = tuning(host, &pod, everything());
        let result = tuning.call_with("ADD", &prev(host, &pod)).run().result();
        tuning.call_with("ADD", &result).run().result();
        tuning.del_with(&result).silent();
        before.same_as(&pod.snapshot(), &[]);
    });
}

#[test]
fn del_leaves_nothing_when_link_or_namespace_are_gone() {
    lab_with(OURS, |host| {
        for gone in ["ip link delete eth0", "true"] {
            let pod = tuned(host);
            let tuning = tuning(host, &pod, everything());
            tuning.call_with("ADD", &prev(host, &pod)).run().result();
            pod.sh(gone);
            if gone == "true" {
                pod.delete();
            }
            tuning.del().silent();
            assert!(host.snapshot().below("file/run/cni").is_empty(), "{gone}");
        }
        let pod = tuned(host);
        let tuning = tuning(host, &pod, everything());
        tuning.call_with("ADD", &prev(host, &pod)).run().result();
        tuning.netns("").del().silent();
        assert!(host.snapshot().below("file/run/cni").is_empty());
    });
}

// DEL-10, GC-22
#[test]
fn del_and_gc_put_back_what_add_wrote_down_whatever_is_asked_for_today() {
    lab_with(OURS, |host| {
        for (keys, args) in [
            (json!({"mac": "01:00:5e:00:00:01"}), ""),
            (json!({"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}), ""),
            (json!({"args": {"cni": {"mac": "zz"}}}), ""),
            (json!({"mtu": 1, "txQLen": -1}), ""),
            (json!({"sysctl": {"kernel.hostname": "x"}}), ""),
            (json!({"args": {"cni": {"sysctl": {"net/../x": "1"}}}}), ""),
            (json!({}), "MAC=zz"),
        ] {
            let pod = tuned(host);
            let before = pod.snapshot();
            let (good, bad) = (tuning(host, &pod, everything()), tuning(host, &pod, keys.clone()));
            bad.call_with("ADD", &prev(host, &pod)).env("CNI_ARGS", args).run().fails(7);
            good.call_with("ADD", &prev(host, &pod)).run().result();
            bad.call("DEL").env("CNI_ARGS", args).run().silent();
            before.same_as(&pod.snapshot(), &[]);
            good.call_with("ADD", &prev(host, &pod)).run().result();
            let nobody = conf::with(bad.configuration(), "/cni.dev~1valid-attachments", json!([]));
            host.call("tuning", "GC", &nobody).env("CNI_ARGS", args).run().silent();
            assert!(host.snapshot().below("file/run/cni").is_empty(), "{keys} {args}");
        }
    });
}

#[test]
fn del_that_cannot_read_where_its_own_is_kept_takes_no_neighbours_instead() {
    lab_with(&[Need::Ours("del-any-configuration")], |host| {
        let pod = tuned(host);
        let before = pod.snapshot();
        let first = tuning(host, &pod, json!({"mtu": 1400}));
        let second = tuning(host, &pod, json!({"txQLen": 77, "dataDir": "/run/second"}));
        let result = first.call_with("ADD", &prev(host, &pod)).run().result();
        let result = second.call_with("ADD", &result).run().result();
        let both = (host.snapshot(), pod.snapshot());
        let bad = second.conf(conf::with(second.configuration(), "/dataDir", json!(5)));
        for verb in ["ADD", "DEL", "CHECK"] {
            bad.call_with(verb, &result).run().fails(6).names(&["dataDir"]);
        }
        let nobody = conf::with(bad.configuration(), "/cni.dev~1valid-attachments", json!([]));
        host.call("tuning", "GC", &nobody).run().fails(6).names(&["dataDir"]);
        both.0.same_as(&host.snapshot(), &[]);
        both.1.same_as(&pod.snapshot(), &[]);
        second.del_with(&result).silent();
        first.del_with(&result).silent();
        before.same_as(&pod.snapshot(), &[]);
        let left = host.snapshot();
        assert!(left.below("file/run/cni").is_empty() && left.below("file/run/second").is_empty());
    });
}

#[test]
fn gc_removes_what_is_kept_for_the_dead_of_this_network() {
    lab_with(OURS, |host| {
        let pod = tuned(host);
        let all = tuning(host, &pod, everything());
        for id in ["dead", "alive", "under_score"] {
            all.container(id).call_with("ADD", &prev(host, &pod)).run().result();
        }
        let other = tuning(host, &pod, json!({"name": "net-other", "mtu": 1400})).container("others");
        other.call_with("ADD", &prev(host, &pod)).run().result();
        host.sh("echo '{\"mtu\": 1500}' > /run/cni/tuning/go_eth0.json");
        let valid = json!([{"containerID": "alive", "ifname": "eth0"}, {"containerID": "under_score", "ifname": "eth0"}]);
        let mut conf = all.configuration().clone();
        host.call("tuning", "GC", &conf).run().silent();
        assert_eq!(host.snapshot().below("file/run/cni").len(), 5, "without a list nothing is removed");
        conf["cni.dev/valid-attachments"] = valid;
        host.call("tuning", "GC", &conf).run().silent();
        let left: Vec<String> =
            host.snapshot().below("file/run/cni").iter().map(|it| (*it).to_owned()).collect();
        let names = ["alive_eth0", "go_eth0", "others_eth0", "under_score_eth0"];
        assert_eq!(left, names.map(|name| format!("file/run/cni/tuning/{name}.json")));
    });
}

/// `make test` installs Debian's package of them.
const GO: &str = "/usr/lib/cni";

#[test]
fn what_the_go_plugin_tuned_is_put_back_by_ours_and_the_other_way_round() {
    lab_with(OURS, |host| {
        let mut keys = everything();
        // v1.1 does not know the length of a queue.
        keys.as_object_mut().unwrap().retain(|key, _| key != "sysctl" && key != "txQLen");
        keys["cniVersion"] = json!("1.0.0");
        let through = |folder: &str, verb: &str, tuning: &Attach<'_>, prev: &Value, pod: &Pod| {
            let mut conf = tuning.configuration().clone();
            conf["prevResult"] = prev.clone();
            conf["prevResult"]["cniVersion"] = json!("1.0.0");
            let folder = Path::new(folder);
            Call::new(folder.join("tuning"), verb, &conf, folder).netns(pod.path()).run()
        };
        let ours = host.bin().display().to_string();
        for (adds, dels) in [(GO, ours.as_str()), (ours.as_str(), GO)] {
            let pod = tuned(host);
            let before = pod.snapshot();
            let tuning = tuning(host, &pod, keys.clone());
            let prev = prev(host, &pod);
            through(adds, "ADD", &tuning, &prev, &pod).result();
            assert_eq!(eth0(&pod)["mtu"], 1400);
            through(dels, "DEL", &tuning, &prev, &pod).silent();
            before.same_as(&pod.snapshot(), &[]);
            assert!(host.snapshot().below("file/run/cni").is_empty(), "{adds} then {dels}");
        }
    });
}
