//! What is about the keys of `bridge` alone.

use super::{Difference, pair};

pub const TABLE: &[Difference] = &[
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
