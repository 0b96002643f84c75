//! Two who would have one name.

use serde_json::{Value, json};

use super::{OURS, behind};
use crate::lab::attach::Attach;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;

/// Two container IDs of network `net-a`, interface `eth0`, whose owner hashes begin with the same 44 bits: found by trying out
/// 2,843,369 of them.
const TWINS: [&str; 2] = ["pod-1266932", "pod-2843369"];

/// The host end of both.
const SHARED: &str = "vethb7f55a7b902";

fn with(conf: &Value, key: &str, value: Value) -> Value {
    conf::with(conf, &format!("/{key}"), value)
}

fn every_verb_of_the_second_leaves_the_first_alone(
    host: &Host,
    first: &Attach<'_>,
    second: &Attach<'_>,
    result: &Value,
) {
    let before = host.snapshot();
    second.add().fails(999).names(&[SHARED, TWINS[0], TWINS[1], "already exists"]);
    second.del().silent();
    second.del_with(result).silent();
    let valid = json!([{"containerID": TWINS[0], "ifname": "eth0"}]);
    let gc = with(first.configuration(), "cni.dev~1valid-attachments", valid);
    second.conf(gc).host_call("GC").run().silent();
    before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    first.check(result).silent();
}

#[test]
fn of_two_owners_with_one_host_end_the_second_is_refused_and_the_first_keeps_working() {
    lab_with(OURS, |host| {
        for (program, conf) in conf::interfaces_in_full(host) {
            let conf = with(&conf, "name", json!("net-a"));
            let [one, two] = [host.pod(), host.pod()];
            let [first, second] = [(&one, TWINS[0]), (&two, TWINS[1])]
                .map(|(pod, id)| host.attach(program, conf.clone(), pod).container(id));
            let result = first.add().result();
            assert!(host.link(SHARED).is_some(), "{program}: the constants are of another hash\n{result}");
            every_verb_of_the_second_leaves_the_first_alone(host, &first, &second, &result);
            assert!(one.pings("10.9.0.1") && two.links().is_empty(), "{program}");
            first.del_with(&result).silent();
            let result = second.add().result();
            assert!(host.link(SHARED).is_some(), "{program}: the constants are of another hash");
            second.del_with(&result).silent();
        }
    });
}

#[test]
fn a_foreign_link_with_the_name_of_a_host_end_is_named_and_stays() {
    lab_with(OURS, |host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            host.sh(&format!(
                "ip link add {SHARED} type veth peer name other; ip link set {SHARED} alias 'of somebody'"
            ));
            let web = host.attach(program, with(&conf, "name", json!("net-a")), &pod).container(TWINS[0]);
            let before = host.snapshot();
            web.add().fails(999).names(&[SHARED, TWINS[0], "of somebody"]);
            web.del().silent();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            host.sh(&format!("ip link del {SHARED}"));
        }
    });
}

/// A container's chain, its rules of published ports and its ifb link are called as the Go plugins call them: by a hash of the
/// network's name and the container's ID, one right behind the other.
fn twins<'h>(host: &'h Host, pods: [&Pod; 2], conf: &Value) -> [(Attach<'h>, Value); 2] {
    let [one, two] = [("net-a", "bc"), ("net-ab", "c")];
    let attach = |(network, id): (&str, &str), pod: &Pod| {
        let (plugin, prev) = behind(host, pod, id, with(conf, "name", json!(network)));
        (plugin, prev)
    };
    [attach(one, pods[0]), attach(two, pods[1])]
}

#[test]
fn of_two_whose_ifb_links_are_called_alike_each_has_its_own() {
    lab_with(OURS, |host| {
        let [one, two] = [host.pod(), host.pod()];
        let conf = json!({"cniVersion": "1.1.0", "type": "bandwidth", "egressRate": 8_000_000, "egressBurst": 800_000});
        let [(first, prev), (second, other)] = twins(host, [&one, &two], &conf);
        let result = first.call_with("ADD", &prev).run().result();
        let ifbs = || host.links().into_iter().filter(|link| link.starts_with("bwp")).collect::<Vec<_>>();
        let own = ifbs();
        second.del_with(&other).silent();
        assert_eq!(ifbs(), own, "DEL of one that was never added");
        let answer = second.call_with("ADD", &other).run().result();
        assert_eq!(ifbs().len(), 2);
        first.check(&result).silent();
        second.check(&answer).silent();
        second.del_with(&answer).silent();
        assert_eq!(ifbs(), own);
        first.check(&result).silent();
        // The second name as well.
        let name =
            answer["interfaces"].as_array().unwrap().last().unwrap()["name"].as_str().unwrap().to_owned();
        host.sh(&format!("ip link add {name} type dummy || ip link add {name} type veth peer name other"));
        host.sh(&format!("ip link set {name} alias 'of somebody'"));
        second.call_with("ADD", &other).run().fails(999).names(&[
            &name,
            "of somebody",
            "container c in network net-ab",
        ]);
        second.del_with(&other).silent();
        assert!(host.link(&name).is_some());
        first.check(&result).silent();
    });
}

#[test]
fn of_two_whose_chains_are_called_alike_the_end_of_one_leaves_the_others_rules() {
    lab_with(OURS, |host| {
        let [one, two] = [host.pod(), host.pod()];
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        let conf =
            json!({"cniVersion": "1.1.0", "type": "portmap", "backend": "iptables", "runtimeConfig": ports});
        let [(first, prev), (second, _)] = twins(host, [&one, &two], &conf);
        let result = first.call_with("ADD", &prev).run().result();
        let masqueraded =
            with(&with(&conf::veth(host), "ipMasq", json!(true)), "ipMasqBackend", json!("iptables"));
        let masqueraded = conf::with(&masqueraded, "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let three = host.pod();
        let routed = host.attach("veth", with(&masqueraded, "name", json!("net-x")), &three).container("yz");
        let routed_result = routed.add().result();
        let rules = host.sh("iptables -t nat -S");
        assert!(rules.contains("CNI-DN-") && rules.contains("net-x"), "{rules}");
        second.del().silent();
        let twin = host.attach("veth", with(&masqueraded, "name", json!("net-xy")), &three);
        twin.container("z").netns("").del().silent();
        assert_eq!(host.sh("iptables -t nat -S"), rules, "the second has never been added");
        first.check(&result).silent();
        routed.check(&routed_result).silent();
        first.del_with(&result).silent();
        routed.del_with(&routed_result).silent();
        let left = host.sh("iptables -t nat -S");
        assert!(!left.contains("net-x") && !left.contains("net-a"), "{left}");
    });
}

#[test]
fn an_id_that_begins_like_anothers_is_another() {
    lab_with(OURS, |host| {
        let [one, two] = [host.pod(), host.pod()];
        let [short, long] = [(&one, "web"), (&two, "web-1")].map(|(pod, id)| {
            host.attach("bridge", with(&conf::bridge(host), "ipMasq", json!(true)), pod).container(id)
        });
        let result = long.add().result();
        let before = host.snapshot();
        short.del().silent();
        let valid =
            json!([{"containerID": "web-1", "ifname": "eth0"}, {"containerID": "we", "ifname": "eth0"}]);
        let gc = with(short.configuration(), "cni.dev~1valid-attachments", valid);
        short.conf(gc).host_call("GC").run().silent();
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        long.check(&result).silent();
        short.add().result();
        long.del().silent();
        assert!(one.pings("10.9.0.1"));
        short.del().silent();
    });
}

/// `b` of `c_a` and `a_b` of `c` are one file of the Go plugin.
#[test]
fn of_two_whose_tuning_is_kept_in_one_file_the_second_is_refused() {
    lab_with(OURS, |host| {
        let [one, two] = [host.pod(), host.pod()];
        let tuning = json!({"cniVersion": "1.1.0", "name": "net-a", "type": "tuning", "mtu": 1400});
        let [first, second] = [(&one, "c_a", "b"), (&two, "c", "a_b")].map(|(pod, id, ifname)| {
            pod.sh(&format!("ip link add dev {ifname} type veth peer name other"));
            host.attach("tuning", tuning.clone(), pod).container(id).ifname(ifname)
        });
        let prev = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []});
        first.call_with("ADD", &prev).run().result();
        let before = (host.snapshot(), two.snapshot());
        second.call_with("ADD", &prev).run().fails(999).names(&[
            "c_a_b.json",
            "b of container c_a",
            "a_b of container c",
        ]);
        second.del_with(&prev).silent();
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&two.snapshot(), &[]);
        first.del_with(&prev).silent();
        assert_eq!(one.link("b").unwrap()["mtu"], 1500);
        second.call_with("ADD", &prev).run().result();
        let nobody = with(&tuning, "cni.dev~1valid-attachments", json!([]));
        second.conf(nobody).host_call("GC").run().silent();
        assert!(host.snapshot().below("file/run/cni/tuning/").is_empty());
    });
}
