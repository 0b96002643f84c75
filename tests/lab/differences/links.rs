//! What is about the links, addresses and rules of `bridge` and `veth`.

use super::{Difference, pair};

pub const TABLE: &[Difference] = &[
    pair(
        "port-address",
        "",
        "a bridge's port has no IPv6 address of its own, nor has an `ifb` link",
        "each has a link-local one",
    ),
    pair(
        "port-isolation",
        "",
        "`portIsolation` of `bridge`: ports that are isolated exchange no frames",
        "v1.1 does not know the key and ignores it; later ones know it",
    ),
    pair(
        "spoof-first",
        "",
        "macspoofchk: elements of two sets over netlink, in force before the link is there and until it is down; LLDP frames teach the bridge nothing",
        "chains of each container, by exec of nft, after the link is there; left by a DEL without its namespace",
    ),
    pair(
        "masquerade",
        "",
        "`ipMasq` by nftables in a table of ours; the last container takes it away",
        "v1.1 knows iptables alone, a chain for each container; empty built-in chains stay",
    ),
    pair(
        "iptables-two-subnets",
        "ADD-16",
        "by iptables, every subnet of the container is let through before anything is masqueraded",
        "rules are appended address by address: the second subnet's own traffic is masqueraded",
    ),
    pair(
        "first-add",
        "ADD-13",
        "an ADD works after a first one that failed in IPAM",
        "it fails once: could not set bridge's mac",
    ),
    pair(
        "mac-explicit",
        "ADD-04",
        "a bridge that we make keeps the MAC it was born with",
        "it follows its ports until it has an address",
    ),
    pair(
        "default-twice",
        "ADD-07",
        "isDefaultGateway and a default route without `gw` are one route",
        "they collide: file exists",
    ),
    pair(
        "disable-container-interface",
        "ADD-01",
        "disableContainerInterface leaves the container end down",
        "plugins before v1.4 do not know it",
    ),
    pair("mtu-checked", "WKK-04", "an MTU that no link can have is refused", "negative ones are ignored"),
    pair(
        "host-end-name",
        "DEL-18 ADD-09",
        "the host end's name is derived from the attachment",
        "it is random",
    ),
    pair(
        "ptp-gateway",
        "ADD-07",
        "an address without a gateway is refused before anything is made",
        "an obscure fault of the kernel, or a link-scope default route",
    ),
    pair("ptp-one-subnet", "RES-03", "several addresses of one subnet share its gateway", "ADD fails"),
    pair(
        "ptp-check",
        "CHK-07",
        "CHECK looks at addresses and routes of the host too",
        "the host side is not looked at",
    ),
    pair(
        "enabledad",
        "ADD-21",
        "enabledad brings duplicate address detection back",
        "plugins before v1.2 do not know it",
    ),
    pair(
        "ra",
        "ADD-01",
        "router advertisements are off in the container where IPAM gave an IPv6 address or we are the gateway",
        "they are accepted",
    ),
    pair(
        "announcements",
        "ADD-21",
        "new addresses are announced once the bridge forwards: gratuitous ARP and neighbour advertisement",
        "the ARP is sent before the port forwards, and lost; IPv6 is not announced",
    ),
    pair("queues", "ADD-01", "the host end has the ordinary queue length, 1000", "it has 0"),
    pair(
        "keep-address",
        "ADD-05",
        "an IPv6 address survives its link going down",
        "plugins before v1.2 lose it",
    ),
    pair(
        "ptp-dad",
        "ADD-21",
        "no duplicate address detection for addresses that were allocated",
        "ADD with an IPv6 gateway waits for it",
    ),
    pair(
        "vlan-trunk",
        "",
        "vlanTrunk makes the port a trunk; a `null` in it is error 7",
        "v1.1.1 does not know it; v1.9.1 crashes at `null`",
    ),
    pair(
        "vlan-default",
        "",
        "a port with VLANs leaves the bridge's default VLAN, unless preserveDefaultVlan is set",
        "plugins before v1.8 keep it, v1.1.1 always",
    ),
    pair(
        "vlan-native",
        "",
        "a trunk that names the native VLAN means the others",
        "that VLAN gets a tag too, and frames without one are dropped; before v1.8 both keys together are refused",
    ),
    pair(
        "vlan-filtering",
        "",
        "a bridge that exists begins to tell VLANs apart when a network has them",
        "it is left as it is, and its ports hear each other whatever their VLANs are",
    ),
    pair(
        "vlan-gateway",
        "",
        "the gateway's link in a VLAN listens to no router, and is finished by the next ADD if it was left half made",
        "it accepts router advertisements, and one that is found is taken as it is",
    ),
    pair(
        "vlan-kernel",
        "",
        "a kernel without bridge VLANs is found out before anything is made; STATUS says so",
        "found out by the bridge, or after the pair is made, which stays",
    ),
];
