//! From Jackfield to Jackfield: what the programs of an earlier layout left on a node is taken down by today's. The texts are
//! frozen: whoever changes a layout adds one, and changes none.

mod chained;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::witness::{self, OUTSIDE, outside, sources};
use crate::lab::world::Need;
use crate::lab::{call::Call, conf, lab_with};

const NEEDS: &[Need] = &[Need::Ours("tools")];

/// What of an attachment is shared, or was there.
const STAYS: &[Shared<'_>] = &[Shared::Bridge("br0"), Shared::Forwarding, Shared::Store, Shared::Records];

/// The link, the lease and the bridge of `eth0` of container `frozen` in network `net-a`.
const LINK: &str = r#"
ip link add br0 address 02:00:5e:00:00:01 type bridge; ip addr add 10.9.0.1/24 dev br0; ip addr add fd00:9::1/64 dev br0 nodad; ip link set br0 up
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip link add vethd230246a997 type veth peer name eth0 address 02:00:5e:00:00:07 netns frozen
ip link set vethd230246a997 group 27238 master br0 up \
    alias "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen"
nsenter --net=/run/netns/frozen sh -ec '
    ip link set eth0 up address 02:00:5e:10:00:02; ip addr add 10.9.0.2/24 dev eth0; ip addr add fd00:9::2/64 dev eth0 nodad
    ip route add default via 10.9.0.1; ip route add default via fd00:9::1'
mkdir -p /run/leases/net-a; cd /run/leases/net-a; touch lock
for address in 10.9.0.2 fd00:9::2; do printf 'frozen\r\neth0' > $address; done
echo 10.9.0.2 > last_reserved_ip.0; echo fd00:9::2 > last_reserved_ip.1"#;

/// Records and rules of masquerade, layout 1.
const MASQUERADE_1: &str = r#"
mkdir -p /run/jackfield/attachments
cat > /run/jackfield/attachments/d230246a997c9aa0d43d74033353da04.bridge <<'END'
{"layout":1,"network":"net-a","container":"frozen","ifname":"eth0","hostEnd":"vethd230246a997"}
{"masquerade":["10.9.0.2","fd00:9::2"]}
{"spoofCheck":"02:00:5e:10:00:02"}
END
nft -f - <<'END'
table inet jackfield {
	comment "made and removed by the Jackfield CNI plugins"
	map masquerade1_ip {
		type ipv4_addr : verdict
		comment "ip addresses to masquerade, and how"
		elements = { 10.9.0.2 comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" : goto masquerade1_deaa135ce2244324 }
	}

	map masquerade1_ip6 {
		type ipv6_addr : verdict
		comment "ip6 addresses to masquerade, and how"
		elements = { fd00:9::2 comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" : goto masquerade1_53f3411d127d2ef1 }
	}

	chain masquerade1 {
		type nat hook postrouting priority srcnat + 1; policy accept;
		ip saddr vmap @masquerade1_ip
		ip6 saddr vmap @masquerade1_ip6
	}

	chain masquerade1_deaa135ce2244324 {
		comment "10.9.0.0/24 of network net-a"
		ip daddr 10.9.0.0/24 return
		ip daddr 224.0.0.0/4 return
		masquerade
	}

	chain masquerade1_53f3411d127d2ef1 {
		comment "fd00:9::/64 of network net-a"
		ip6 daddr fd00:9::/64 return
		ip6 daddr ff00::/8 return
		masquerade
	}
}
table bridge jackfield {
	comment "made and removed by the Jackfield CNI plugins"
	set spoof1_guarded {
		type ifname
		comment "host ends that pass frames from allowed addresses alone"
		elements = { "vethd230246a997" comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" }
	}

	set spoof1_allowed {
		type ifname . ether_addr
		comment "host ends, each with its container's address"
		elements = { "vethd230246a997" . 02:00:5e:10:00:02 comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" }
	}

	chain spoof1 {
		type filter hook prerouting priority -310; policy accept;
		iifname @spoof1_guarded iifname . ether saddr != @spoof1_allowed counter drop
	}
}
END"#;

/// The same of the spoof check, layout 1, beside it.
const SPOOF_1: &str = r#"
echo '{"spoofCheck":"02:00:5e:00:00:07"}' >> /run/jackfield/attachments/d230246a997c9aa0d43d74033353da04.bridge
nft -f - <<'END'
table bridge jackfield {
	comment "made and removed by the Jackfield CNI plugins"
	set spoof1_guarded {
		type ifname
		comment "host ends that pass frames from allowed addresses alone"
		elements = { "vethd230246a997" comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" }
	}

	set spoof1_allowed {
		type ifname . ether_addr
		comment "host ends, each with its container's address"
		elements = { "vethd230246a997" . 02:00:5e:00:00:07 comment "d230246a997c9aa0d43d74033353da04-1d509e1a7b4733c3 jackfield: net-a eth0 frozen" }
	}

	chain spoof1 {
		type filter hook prerouting priority dstnat - 10; policy accept;
		iifname @spoof1_guarded iifname . ether saddr != @spoof1_allowed counter packets 0 bytes 0 drop
	}
}
END"#;

const LAYOUTS: &[&[&str]] = &[&[MASQUERADE_1], &[MASQUERADE_1, SPOOF_1]];

fn network(host: &Host) -> Value {
    conf::with(&conf::with(&conf::bridge(host), "/ipMasq", json!(true)), "/macspoofchk", json!(true))
}

fn frozen<'h>(host: &'h Host, pod: &Pod, layout: &[&str]) -> Attach<'h> {
    host.sh(&format!("set -e{LINK}{}", layout.concat()));
    host.attach("bridge", network(host), pod).container("frozen")
}

/// For each layout: the container as it was left, something that ends it, and then the node is as it was before.
fn is_taken_down_by(end: impl Fn(&Host, &Attach<'_>)) {
    lab_with(NEEDS, |host| {
        let pod = host.pod_named("frozen");
        for layout in LAYOUTS {
            let before = host.snapshot();
            end(host, &frozen(host, &pod, layout));
            before.same_as(&host.snapshot(), STAYS);
            assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments"), "");
            assert!(pod.link("eth0").is_none());
            host.sh("ip link delete br0");
        }
    });
}

#[test]
fn del_takes_down_what_an_earlier_layout_left() {
    is_taken_down_by(|_, frozen| frozen.del().silent());
}

#[test]
fn del_without_namespace_or_record_takes_down_what_an_earlier_layout_left() {
    is_taken_down_by(|host, frozen| {
        host.sh("rm /run/jackfield/attachments/*");
        frozen.netns("").del().silent();
    });
}

#[test]
fn gc_takes_down_what_an_earlier_layout_left() {
    is_taken_down_by(|host, frozen| {
        let nobody = conf::with(frozen.configuration(), "/cni.dev~1valid-attachments", json!([]));
        host.call("bridge", "GC", &nobody).run().silent();
    });
}

/// With its link and its leases, and not before, it is nobody's.
fn purge_knows_it_by_its_link(host: &Host, _: &Attach<'_>) {
    let purge = || Call::of(host.program("cnitool"), &["purge"]).run();
    assert_eq!(purge().stdout(), "", "its link is there");
    host.sh("ip link delete vethd230246a997; rm /run/leases/net-a/10.9.0.2 /run/leases/net-a/fd00:9::2");
    let told = purge();
    assert!(told.succeeded() && told.stdout().contains("record"), "{told}");
}

#[test]
fn purge_takes_down_what_an_earlier_layout_left_when_its_link_is_gone() {
    is_taken_down_by(purge_knows_it_by_its_link);
}

#[test]
fn a_container_of_an_earlier_layout_lives_on_beside_a_new_one() {
    lab_with(NEEDS, |host| {
        let outside = outside(host, &[]);
        let (old, new) = (host.pod_named("frozen"), host.pod_named("new"));
        for layout in LAYOUTS {
            let before = host.snapshot();
            let frozen = frozen(host, &old, layout);
            assert_eq!(sources(&outside, &old, OUTSIDE), witness::HOST);
            let added = host.attach("bridge", network(host), &new).container("new");
            let result = added.add().result();
            assert_eq!(sources(&outside, &old, OUTSIDE), witness::HOST);
            assert_eq!(sources(&outside, &new, OUTSIDE), witness::HOST);
            frozen.del().silent();
            added.check(&result).silent();
            added.del().silent();
            before.same_as(&host.snapshot(), STAYS);
            host.sh("ip link delete br0");
        }
    });
}
