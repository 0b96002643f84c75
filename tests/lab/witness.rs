//! Who is it that comes? A place that keeps the sources of the echo requests and the requests for pages which reach it.

use serde_json::Value;

use super::host::{Host, Pod};
use super::place::Place;

const RULES: &str = "nft 'table inet witness {
    set seen4 { type ipv4_addr; flags dynamic; size 16; }
    set seen6 { type ipv6_addr; flags dynamic; size 16; }
    chain input { type filter hook input priority 0;
        icmp type echo-request update @seen4 { ip saddr }
        icmpv6 type echo-request update @seen6 { ip6 saddr }
        tcp dport 80 tcp flags syn update @seen4 { ip saddr }
    }
}'";

/// The addresses of the host and of the place outside on the link between them.
pub const HOST: [&str; 2] = ["192.0.2.1", "fd00:99::1"];
/// The same, outside.
pub const OUTSIDE: [&str; 2] = ["192.0.2.2", "fd00:99::2"];

/// From now on this place keeps the sources.
pub fn watch(place: &Place) {
    place.sh(RULES);
}

/// A place outside, beyond the host, that watches. It knows no way to any container but those of these networks.
pub fn outside(host: &Host, knows: &[&str]) -> Pod {
    let outside = host.pod_named("outside");
    host.sh("ip link add outside type veth peer name eth0 netns outside; ip link set outside up
        ip addr add 192.0.2.1/24 dev outside; ip addr add fd00:99::1/64 dev outside nodad");
    outside.sh("ip link set eth0 up
        ip addr add 192.0.2.2/24 dev eth0; ip addr add fd00:99::2/64 dev eth0 nodad");
    // The kernel gives an end its own address when it has heard of the other one, and a snapshot should not be taken before.
    for (place, link) in [(&**host, "outside"), (&*outside, "eth0")] {
        let has_own = format!("until ip -6 addr show dev {link} scope link | grep -q fe80; do :; done");
        place.sh(&format!("timeout 20 sh -c '{has_own}'"));
    }
    for network in knows {
        let via = if network.contains(':') { HOST[1] } else { HOST[0] };
        outside.sh(&format!("ip route add {network} via {via}"));
    }
    watch(&outside);
    outside
}

/// The sources, of both families, that a watching place sees when somebody pings these addresses of it.
#[track_caller]
pub fn sources(of: &Pod, by: &Place, addresses: [&str; 2]) -> Vec<String> {
    let mut all = Vec::new();
    for (address, set) in addresses.into_iter().zip(["seen4", "seen6"]) {
        assert!(by.pings(address), "{by:?} does not reach {address}");
        all.extend(seen(of, set));
    }
    all
}

/// The one IPv4 source that a watching place has seen since it was last asked.
#[track_caller]
pub fn source(of: &Pod) -> String {
    let mut seen = seen(of, "seen4");
    assert_eq!(seen.len(), 1, "{of:?} has seen {seen:?}");
    seen.remove(0)
}

fn seen(of: &Pod, set: &str) -> Vec<String> {
    let listing: Value =
        serde_json::from_str(&of.sh(&format!("nft -j list set inet witness {set}"))).expect("JSON from nft");
    let elements = listing["nftables"][1]["set"]["elem"].as_array().into_iter().flatten();
    let seen = elements.map(|element| element.as_str().unwrap_or_default().to_owned()).collect();
    of.sh(&format!("nft flush set inet witness {set}"));
    seen
}

/// From now on this place serves a page of one word on port 80.
pub fn serve(place: &Pod, word: &str) {
    let folder = format!("/run/lab/www-{word}");
    // The server goes into the background by itself, once it listens.
    place
        .sh(&format!("mkdir {folder}; printf {word} > {folder}/index.html; busybox httpd -p 80 -h {folder}"));
}

/// The page behind an address, such as `10.96.0.10/80`.
#[track_caller]
pub fn fetch(place: &Place, address: &str) -> String {
    let ask = r"printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3";
    place.sh(&format!("timeout 20 bash -c \"exec 3<>/dev/tcp/{address}; {ask}\""))
}
