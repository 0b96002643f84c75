//! Beside the rules of others: what Docker, kube-proxy and firewalld write keeps working while our containers are
//! masqueraded, and stays as it is after them. The rulesets are those programs' own layouts, written by hand.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::witness::{self, OUTSIDE, fetch, outside, serve, source, sources, watch};
use crate::lab::{conf, lab};

/// A container of theirs, on a bridge of theirs.
const THEIRS: &str = "172.17.0.2";
/// Ours, in the order in which they come.
const FIRST: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const SECOND: [&str; 2] = ["10.9.0.3", "fd00:9::3"];

/// Docker 28 by iptables-nft, with a container that publishes port 8080. Its FORWARD drops what it does not know: the
/// administrator lets our bridge through in DOCKER-USER, which is what that chain is for.
const DOCKER: &str = "iptables-restore --noflush <<'END'
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-USER -i br0 -j ACCEPT
-A DOCKER-USER -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
END";

/// kube-proxy of Kubernetes 1.33 in its mode iptables: a service with the second of our containers behind it, and a node
/// port. The first is a client.
const KUBE_PROXY_IPTABLES: &str = "iptables-restore --noflush <<'END'
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXT-WEBWEBWEBWEBWEBW - [0:0]
:KUBE-SVC-WEBWEBWEBWEBWEBW - [0:0]
:KUBE-SEP-WEBWEBWEBWEBWEBW - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODEPORTS -p tcp -m comment --comment \"default/web\" -m tcp --dport 30080 -j KUBE-EXT-WEBWEBWEBWEBWEBW
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment \"default/web cluster IP\" -m tcp --dport 80 -j KUBE-SVC-WEBWEBWEBWEBWEBW
-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-EXT-WEBWEBWEBWEBWEBW -m comment --comment \"masquerade traffic for default/web external destinations\" -j KUBE-MARK-MASQ
-A KUBE-EXT-WEBWEBWEBWEBWEBW -j KUBE-SVC-WEBWEBWEBWEBWEBW
-A KUBE-SVC-WEBWEBWEBWEBWEBW ! -s 10.9.0.0/24 -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEBWEBWEBWEBWEBW -m comment --comment \"default/web -> 10.9.0.3:80\" -j KUBE-SEP-WEBWEBWEBWEBWEBW
-A KUBE-SEP-WEBWEBWEBWEBWEBW -s 10.9.0.3/32 -m comment --comment \"default/web\" -j KUBE-MARK-MASQ
-A KUBE-SEP-WEBWEBWEBWEBWEBW -p tcp -m comment --comment \"default/web\" -m tcp -j DNAT --to-destination 10.9.0.3:80
COMMIT
END";

/// The same in its mode nftables.
const KUBE_PROXY_NFTABLES: &str = "nft -f - <<'END'
table ip kube-proxy {
    comment \"rules for kube-proxy\"
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        comment \"ClusterIP, ExternalIP and LoadBalancer IP traffic\"
    }
    map service-nodeports {
        type inet_proto . inet_service : verdict
        comment \"NodePort traffic\"
    }
    chain mark-for-masquerade {
        meta mark set meta mark | 0x4000
    }
    chain masquerading {
        meta mark & 0x4000 == 0x0 return
        meta mark set meta mark ^ 0x4000
        masquerade fully-random
    }
    chain endpoint-web {
        ip saddr 10.9.0.3 jump mark-for-masquerade
        meta l4proto tcp dnat to 10.9.0.3:80
    }
    chain service-web {
        ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.9.0.0/24 jump mark-for-masquerade
        numgen random mod 1 vmap { 0 : goto endpoint-web }
    }
    chain external-web {
        jump mark-for-masquerade
        goto service-web
    }
    chain services {
        ip daddr . meta l4proto . th dport vmap @service-ips
        ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @service-nodeports
    }
    chain nat-prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump services
    }
    chain nat-output {
        type nat hook output priority -100; policy accept;
        jump services
    }
    chain nat-postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        jump masquerading
    }
}
add element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 : goto service-web }
add element ip kube-proxy service-nodeports { tcp . 30080 : goto external-web }
END";

/// firewalld 2: the link to the outside in a zone that masquerades and forwards a port, the bridges in the zone trusted.
const FIREWALLD: &str = "nft -f - <<'END'
table inet firewalld {
    chain nat_PREROUTING {
        type nat hook prerouting priority dstnat + 10; policy accept;
        jump nat_PREROUTING_ZONES
    }
    chain nat_PREROUTING_ZONES {
        iifname \"outside\" goto nat_PRE_external
        goto nat_PRE_trusted
    }
    chain nat_PRE_external {
        jump nat_PRE_external_allow
    }
    chain nat_PRE_external_allow {
        meta nfproto ipv4 tcp dport 8080 dnat ip to 172.17.0.2:80
    }
    chain nat_PRE_trusted {
        return
    }
    chain nat_POSTROUTING {
        type nat hook postrouting priority srcnat + 10; policy accept;
        jump nat_POSTROUTING_ZONES
    }
    chain nat_POSTROUTING_ZONES {
        oifname \"outside\" goto nat_POST_external
        return
    }
    chain nat_POST_external {
        jump nat_POST_external_allow
    }
    chain nat_POST_external_allow {
        meta nfproto ipv4 oifname != \"lo\" masquerade
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
        jump filter_FORWARD_ZONES
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD_ZONES {
        iifname \"outside\" goto filter_FWD_external
        iifname { \"docker0\", \"br0\" } accept
    }
    chain filter_FWD_external {
        reject with icmpx admin-prohibited
    }
}
END";

/// Rules without what they have counted.
fn rules(host: &Host) -> String {
    host.sh("nft -s list ruleset")
}

/// Their container: it serves, and goes out by itself.
fn their_container(host: &Host) -> Pod {
    let pod = host.pod_named("theirs");
    host.sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
        ip link add veththeirs type veth peer name eth0 netns theirs; ip link set veththeirs master docker0 up
        echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    pod.sh("ip link set lo up; ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up
        ip route add default via 172.17.0.1");
    serve(&pod, "theirs");
    pod
}

fn network(host: &Host) -> Value {
    conf::with(&conf::bridge(host), "/ipMasq", json!(true))
}

/// The source that a watching place outside sees of a place that has IPv4 alone.
fn seen_outside(outside: &Pod, from: &Place) -> String {
    assert!(from.pings(OUTSIDE[0]), "{from:?} does not get out");
    source(outside)
}

/// A container of theirs that masquerades and publishes a port, before, beside and after two of ours.
fn a_publisher_is_left_alone(host: &Host, ruleset: &str) {
    let outside = outside(host, &[]);
    let theirs = their_container(host);
    host.sh(ruleset);
    let works = |when: &str| {
        assert_eq!(seen_outside(&outside, &theirs), witness::HOST[0], "{when}: they get out");
        assert_eq!(fetch(&outside, "192.0.2.1/8080"), "theirs", "{when}: they are reached");
    };
    works("before");
    let before = rules(host);
    let pods = ["red", "blue"].map(|name| host.pod_named(name));
    let [red, blue] = &pods;
    let attachments =
        pods.each_ref().map(|pod| host.attach("bridge", network(host), pod).container(pod.name()));
    let results = attachments.each_ref().map(|attachment| attachment.add().result());
    watch(blue);

    works("beside");
    assert_eq!(sources(&outside, red, OUTSIDE), witness::HOST, "ours get out");
    assert_eq!(sources(blue, red, SECOND), FIRST, "as themselves to each other");
    assert_eq!(fetch(red, &format!("{THEIRS}/80")), "theirs", "bridge to bridge");
    attachments[0].check(&results[0]).silent();

    attachments[0].del().silent();
    works("with one of ours");
    assert_eq!(sources(&outside, blue, OUTSIDE), witness::HOST, "the other one lives on");
    attachments[1].del().silent();
    works("after");
    host.differs("masquerade", || assert_eq!(rules(host), before), || ());
}

#[test]
fn what_docker_publishes_and_masquerades_is_left_alone() {
    lab(|host| a_publisher_is_left_alone(host, DOCKER));
}

#[test]
fn what_firewalld_forwards_and_masquerades_is_left_alone() {
    lab(|host| a_publisher_is_left_alone(host, FIREWALLD));
}

/// An egress address, as an administrator or a service mesh gives one.
#[test]
fn somebody_elses_translation_of_the_source_wins() {
    lab(|host| {
        let outside = outside(host, &[]);
        host.sh("ip addr add 192.0.2.9/24 dev outside");
        let pod = host.pod();
        let by_nft = "nft 'table ip egress { chain c { type nat hook postrouting priority srcnat; ip saddr 10.9.0.0/24 oifname outside snat to 192.0.2.9; }; }'";
        let by_iptables =
            "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -o outside -j SNAT --to-source 192.0.2.9";
        for (write, remove) in
            [(by_nft, "nft delete table ip egress"), (by_iptables, "iptables -t nat -F POSTROUTING")]
        {
            let web = host.attach("bridge", network(host), &pod);
            web.add().result();
            assert_eq!(seen_outside(&outside, &pod), witness::HOST[0]);
            web.del().silent();
            host.sh(write);
            web.add().result();
            assert_eq!(seen_outside(&outside, &pod), "192.0.2.9", "{write}");
            web.del().silent();
            host.sh(remove);
        }
    });
}

/// One of ours behind a service, another one its client. The pairs are routed: over a bridge, a node of Kubernetes needs
/// br_netfilter, or the answer takes a shorter way than the question.
fn a_service_works(host: &Host, ruleset: &str) {
    let outside = outside(host, &[]);
    // Nobody has a service's address, and yet there must be a way to it.
    host.sh("ip route add default via 192.0.2.2");
    host.sh(ruleset);
    let before = rules(host);
    let conf = conf::with(&conf::veth(host), "/ipMasq", json!(true));
    let pods = ["red", "blue"].map(|name| host.pod_named(name));
    let [red, blue] = &pods;
    let attachments = pods.each_ref().map(|pod| host.attach("veth", conf.clone(), pod).container(pod.name()));
    attachments.iter().for_each(|attachment| drop(attachment.add().result()));
    watch(blue);
    serve(blue, "blue");
    let answers = |from: &Place, address: &str, seen_as: &str| {
        assert_eq!(fetch(from, address), "blue", "{from:?} {address}");
        assert_eq!(source(blue), seen_as, "{from:?} {address}");
    };
    let service = "10.96.0.10/80";
    // A client of the own subnet is seen as itself, also behind another address.
    answers(red, service, FIRST[0]);
    // What has to come back this way is masqueraded by kube-proxy.
    answers(blue, service, "10.9.0.1");
    answers(&outside, "192.0.2.1/30080", "10.9.0.1");
    answers(host, service, "10.9.0.1");
    assert_eq!(sources(&outside, red, OUTSIDE), witness::HOST);

    attachments[0].del().silent();
    answers(&outside, "192.0.2.1/30080", "10.9.0.1");
    attachments[1].del().silent();
    host.differs("masquerade", || assert_eq!(rules(host), before), || ());
}

#[test]
fn a_service_of_kube_proxy_by_iptables_works_for_masqueraded_containers() {
    lab(|host| a_service_works(host, KUBE_PROXY_IPTABLES));
}

#[test]
fn a_service_of_kube_proxy_by_nftables_works_for_masqueraded_containers() {
    lab(|host| a_service_works(host, KUBE_PROXY_NFTABLES));
}
