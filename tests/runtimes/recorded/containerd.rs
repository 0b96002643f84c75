//! containerd: `ctr run --cni`, and pods over CRI. Its keys are capitalised, its CNI_ARGS come in any order, and it repeats
//! DEL for namespaces that are long gone.

use super::{Attached, OURS, addresses, nothing_is_left, with_previous};
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::Shared;

const CTR: &str = include_str!("ctr.jsonl");
const LOOPBACK: &str = include_str!("cri-loopback.jsonl");
const LIMITED: &str = include_str!("cri-limited.jsonl");
const PROMISCUOUS: &str = include_str!("cri-promiscuous.jsonl");
const CRIO: &str = include_str!("cri-crio.jsonl");
const FLANNEL: &str = include_str!("cri-flannel.jsonl");
const KINDNET: &str = include_str!("cri-kindnet.jsonl");
const ONE_ADDRESS: &str = include_str!("cri-one-address.jsonl");
const MISSING: &str = include_str!("cri-missing.jsonl");

const SANDBOX: &str = "59adac57e26a82dd967f24469bbf0fd7552ee0280329d1a17bf7707a58f616c6";

/// The same words, in two of the orders in which they come.
const ARGS: [&str; 2] = [
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;\
     K8S_POD_INFRA_CONTAINER_ID=59adac57e26a82dd967f24469bbf0fd7552ee0280329d1a17bf7707a58f616c6;K8S_POD_UID=uid-web",
    "K8S_POD_INFRA_CONTAINER_ID=59adac57e26a82dd967f24469bbf0fd7552ee0280329d1a17bf7707a58f616c6;K8S_POD_UID=uid-web;\
     IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
];

/// The namespace that containerd makes for a pod.
fn pod(host: &Host) -> Pod {
    host.pod_named("cni-162425f7-7099-9c28-2e4d-3a8b13e7ea1a")
}

/// The pod in this network. containerd goes through /var/run.
fn web<'h>(host: &'h Host, network: &'static str, pod: &Pod) -> Attached<'h> {
    let netns = format!("/var{}", pod.path());
    let args = ARGS[0].to_owned();
    Attached { host, network, container: SANDBOX, ifname: "eth0", netns, args, sorts: false }
}

/// What the kubelet has containerd do when a pod ends: StopPodSandbox, once more, RemovePodSandbox.
fn ends(pod: &Attached<'_>, result: &Outcome) {
    let remembers = !result.stdout().contains("\"0.3.1\"");
    pod.with_args(ARGS[1]).del(remembers.then_some(result));
    pod.at("").del(None);
    pod.at("").with_args(ARGS[1]).del(None);
}

#[test]
fn ctr_names_a_namespace_by_its_process_and_sends_del_when_both_are_gone() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let before = host.snapshot();
        let mut process = pod.command("sleep").arg("1000").spawn().unwrap();
        let netns = format!("/proc/{}/ns/net", process.id());
        let seen = |_: &()| host.try_sh(&format!("test {netns} -ef {}", pod.path())).status.success();
        assert!(std::iter::repeat_n((), 1000).any(|turn| seen(&turn)), "the process reaches its namespace");

        let args = String::new();
        let f0 = Attached {
            host,
            network: CTR,
            container: "default-f0",
            ifname: "eth0",
            netns,
            args,
            sorts: true,
        };
        let result = f0.add();
        assert_eq!(pod.addresses("eth0"), ["10.210.0.2/24"]);
        f0.check(&result);
        process.kill().unwrap();
        process.wait().unwrap();
        f0.at("").del(Some(&result));
        nothing_is_left(host, &before, &["ctr0"]);
    });
}

#[test]
fn a_pod_of_containerd_has_its_ports_and_rates_and_is_stopped_twice() {
    lab_with(OURS, |host| {
        host.sh("ip address add 198.51.100.2/32 dev lo");
        let pod = pod(host);
        let before = (host.snapshot(), pod.snapshot());
        let web = web(host, LIMITED, &pod);
        let lo = web.in_network(LOOPBACK, "lo").with_args(ARGS[1]);
        // Both networks at once, as go-cni does.
        let beside = lo.call("loopback", "ADD", with_previous(LOOPBACK.trim_end(), None)).start();
        let result = web.add();
        let lo_result = beside.finish();
        assert_eq!(pod.addresses("eth0"), ["10.211.0.2/16", "fd10:211::2/64"]);
        assert_eq!(addresses(&lo_result), ["127.0.0.1/8", "::1/128"]);
        assert_eq!(pod.sysctl("net/core/somaxconn"), "500");
        web.check(&result);

        let listeners = [pod.listens("tcp", 80, "web"), pod.listens("udp", 5353, "names")];
        for (protocol, to) in
            [("tcp", "198.51.100.2:18080"), ("tcp", "198.51.100.2:18081"), ("udp", "198.51.100.2:18053")]
        {
            assert!(host.asks(protocol, to).is_some(), "{to}/{protocol}");
        }
        let host_end = result.result()["interfaces"][1]["name"].as_str().unwrap().to_owned();
        let queues = host.sh(&format!("tc qdisc show dev {host_end}"));
        assert!(queues.contains("tbf") && queues.contains("rate 10Mbit"), "{queues}");

        drop(listeners);
        ends(&web, &result);
        lo.del(None);
        nothing_is_left(host, &before.0, &["br-pods"]);
        before.1.same_as(&pod.snapshot(), &[Shared::Link("lo")]);
    });
}

#[test]
fn pods_in_the_lists_that_clusters_use_come_and_go() {
    lab_with(OURS, |host| {
        for (network, bridges, all) in [
            (PROMISCUOUS, &["cni3"][..], &["10.88.0.2/16", "2001:db8:4860::2/64"][..]),
            (CRIO, &["cni1"], &["10.85.0.2/16", "fd10:85::2/64"]),
            (FLANNEL, &["cni0"], &["10.244.1.2/24"]),
            (KINDNET, &[], &["10.212.0.2/24"]),
        ] {
            let pod = pod(host);
            let before = host.snapshot();
            let web = web(host, network, &pod);
            let result = web.add();
            assert_eq!(addresses(&result), all);
            for address in all {
                assert!(host.pings(address.split('/').next().unwrap()), "{address}");
            }
            ends(&web, &result);
            nothing_is_left(host, &before, bridges);
            pod.delete();
        }
    });
}

#[test]
fn a_pod_that_finds_no_address_is_removed_and_the_one_that_has_it_lives() {
    lab_with(OURS, |host| {
        let pod = pod(host);
        let web = web(host, ONE_ADDRESS, &pod);
        let result = web.add();
        let late = host.pod_named("cni-b24984d3-ca30-3602-cbb0-a78fd78a2197");
        let late = Attached { container: "late", netns: format!("/var{}", late.path()), ..web.clone() };
        let before = host.snapshot();
        late.try_add().fails_somehow().names(&["no IP addresses available in range set"]);
        for netns in [late.netns.as_str(), "", ""] {
            late.at(netns).del(None);
        }
        nothing_is_left(host, &before, &[]);
        web.check(&result);
        assert!(host.pings("10.213.0.7"));
    });
}

#[test]
fn a_pod_whose_namespace_vanished_is_removed_with_what_containerd_remembers() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        let pod = pod(host);
        let web = web(host, LIMITED, &pod);
        let result = web.add();
        pod.delete();
        web.at("").del(Some(&result));
        web.at("").with_args(ARGS[1]).del(None);
        nothing_is_left(host, &before, &["br-pods"]);
    });
}

// Its list names a second plugin that is not installed, so there is no result to remember.
#[test]
fn a_pod_whose_list_could_not_be_finished_is_removed_without_a_previous_result() {
    lab_with(OURS, |host| {
        let pod = pod(host);
        let before = (host.snapshot(), pod.snapshot());
        let web = web(host, MISSING, &pod);
        web.add();
        for netns in [web.netns.as_str(), "", ""] {
            web.at(netns).del(None);
        }
        nothing_is_left(host, &before.0, &["cni3"]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// After a reboot containerd finds its old pods in its cache, and there is nothing else left of them.
#[test]
fn a_pod_of_the_boot_before_is_removed_with_what_containerd_remembers() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        let pod = pod(host);
        let web = web(host, LIMITED, &pod);
        let result = web.add();
        pod.delete();
        host.sh("ip link delete br-pods; nft flush ruleset; rm -r /run/jackfield");
        web.at("").del(Some(&result));
        web.at("").del(None);
        nothing_is_left(host, &before, &[]);
    });
}
