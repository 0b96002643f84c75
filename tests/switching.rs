//! Switching over with living containers: what the Go plugins attached is taken down by ours, and the other way round.

mod back;
mod changed;
mod check;
mod inherited;
mod layouts;
mod vlan;

use std::path::Path;

use serde_json::Value;

use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab_with};

pub const THEIRS: &str = "/usr/lib/cni";
pub const OURS: &str = "/run/lab/bin";

/// What stays of a network after its last container, whoever made it.
pub const STAYS: &[Shared<'_>] = &[Shared::Bridge("br0"), Shared::Forwarding, Shared::Store];

pub fn with_both(name: &str, test: impl FnOnce(&Host)) {
    with_both_and(name, &[], test);
}

pub fn with_both_and(name: &str, needs: &[Need], test: impl FnOnce(&Host)) {
    match Path::new(THEIRS).join("bridge").exists() {
        true => lab_with(&[&[Need::Ours("tools")], needs].concat(), test),
        false => world::skip(name, "needs the Go plugins (Debian: containernetworking-plugins)"),
    }
}

/// The networks that both kinds of plugins know, in a version that both speak.
pub fn networks() -> [(&'static str, Value); 2] {
    [("bridge", conf::bridge_at("1.0.0")), ("ptp", conf::veth_at("1.0.0"))]
}

pub fn call(folder: &str, verb: &str, (program, conf): &(&str, Value), pod: &Pod) -> Call {
    Call::new(Path::new(folder).join(program), verb, conf, Path::new(folder)).netns(pod.path())
}

pub fn with_result((program, conf): &(&'static str, Value), result: &Value) -> (&'static str, Value) {
    (program, conf::with(conf, "/prevResult", result.clone()))
}

#[test]
fn what_the_go_plugins_attached_is_taken_down_by_ours_and_nothing_is_left() {
    with_both("what_the_go_plugins_attached_is_taken_down_by_ours_and_nothing_is_left", |host| {
        for network in networks() {
            for (has_netns, has_result) in [(true, true), (true, false), (false, true)] {
                let pod = host.pod();
                let before = host.snapshot();
                let result = call(THEIRS, "ADD", &network, &pod).run().result();
                let remembered = if has_result { with_result(&network, &result) } else { network.clone() };
                let del = call(OURS, "DEL", &remembered, &pod);
                let del = if has_netns { del } else { del.netns("") };
                del.run().silent();
                assert!(pod.link("eth0").is_none(), "{}: {has_netns} {has_result}", network.0);
                before.same_as(&host.snapshot(), STAYS);
            }
        }
    });
}

#[test]
fn what_ours_attached_is_taken_down_by_the_go_plugins_but_for_its_record() {
    with_both("what_ours_attached_is_taken_down_by_the_go_plugins_but_for_its_record", |host| {
        for network in networks() {
            let pod = host.pod();
            let before = host.snapshot();
            let result = call(OURS, "ADD", &network, &pod).run().result();
            call(THEIRS, "CHECK", &with_result(&network, &result), &pod).run().silent();
            call(THEIRS, "DEL", &with_result(&network, &result), &pod).run().silent();
            assert_eq!(host.sh("ls /run/jackfield/attachments | wc -l").trim(), "1");
            host.sh("rm -r /run/jackfield");
            before.same_as(&host.snapshot(), STAYS);
        }
    });
}

/// A network may have containers of both kinds: they share bridge, gateway and leases.
#[test]
fn containers_of_both_kinds_share_a_network() {
    with_both("containers_of_both_kinds_share_a_network", |host| {
        let network = ("bridge", conf::bridge_at("1.0.0"));
        let (old, new) = (host.pod(), host.pod());
        call(THEIRS, "ADD", &network, &old).container("old").run().result();
        let result = call(OURS, "ADD", &network, &new).container("new").run().result();
        for ip in result["ips"].as_array().unwrap() {
            let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
            assert!(old.pings(address), "{address}");
        }
        call(OURS, "DEL", &network, &new).container("new").run().silent();
        assert!(old.pings("10.9.0.1"), "the other container's network is as it was");
    });
}
