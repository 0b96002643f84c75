//! Switching over with living containers: what the Go plugin wrote goes with our DEL, and what our iptables backend wrote with
//! theirs.

use serde_json::{Value, json};

use super::{Container, OURS, does_not_reach, drop_what_is_forwarded, filter, outside, reaches};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::iptables::Iptables;
use crate::lab::witness::OUTSIDE;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab_with};

/// Where Debian installs the Go plugins.
const THEIRS: &str = "/usr/lib/cni";

pub fn in_a_world_of_both(test: &str, needs: &[Need], work: impl FnOnce(&Host)) {
    if std::path::Path::new(THEIRS).join("firewall").exists() {
        lab_with(&[OURS, needs].concat(), work);
    } else {
        world::skip(test, "the Go plugins are not installed");
    }
}

fn at(conf: &Value) -> Value {
    conf::with(conf, "/cniVersion", json!("1.0.0"))
}

pub fn go(verb: &str, web: &Container<'_>, by: Iptables) -> Call {
    let conf = conf::with(&at(web.wall.configuration()), "/prevResult", at(&web.result));
    let call = Call::new(format!("{THEIRS}/firewall").into(), verb, &conf, THEIRS.as_ref());
    call.netns(web.pod.path()).container(web.pod.name()).env("PATH", by.path())
}

pub fn ours(verb: &str, web: &Container<'_>, by: Iptables) -> Call {
    web.wall.conf(at(web.wall.configuration())).call_with(verb, &at(&web.result)).env("PATH", by.path())
}

fn by_iptables<'h>(host: &'h Host, name: &str) -> Container<'h> {
    Container::new(host, name).with("backend", json!("iptables"))
}

fn either_takes_down_what_the_other_has_made(host: &Host, by: Iptables) {
    let outside = outside(host);
    drop_what_is_forwarded(host, by);
    let [web, neighbour] = ["web", "neighbour"].map(|name| by_iptables(host, name));
    // A neighbour of theirs stays, and with him what all share.
    go("ADD", &neighbour, by).run().result();
    let before = filter(host, by, "-S");
    go("ADD", &web, by).run().result();
    let theirs = filter(host, by, "-S");
    reaches(&web.pod, OUTSIDE);
    // The backend of today has nothing to do with it.
    let plain = Container::new(host, "plain");
    let today = web.wall.conf(at(plain.wall.configuration()));
    for _ in 0..2 {
        today.call_with("DEL", &at(&web.result)).netns("").env("PATH", by.path()).run().silent();
        assert_eq!(filter(host, by, "-S"), before);
    }
    does_not_reach(&web.pod, OUTSIDE);

    ours("ADD", &web, by).run().result();
    assert_eq!(filter(host, by, "-S"), theirs, "to the letter");
    go("CHECK", &web, by).run().silent();
    go("DEL", &web, by).run().silent();
    assert_eq!(filter(host, by, "-S"), before);
    // And the record goes with our own.
    ours("DEL", &web, by).run().silent();
    assert!(!host.sh("ls /run/jackfield/attachments").contains("firewall"));
    assert_eq!(filter(host, by, "-S"), before);
    reaches(&neighbour.pod, OUTSIDE);
    does_not_reach(&outside, neighbour.addresses());
}

#[test]
fn either_takes_down_by_iptables_nft_what_the_other_has_made() {
    let name = "either_takes_down_by_iptables_nft_what_the_other_has_made";
    in_a_world_of_both(name, &[], |host| either_takes_down_what_the_other_has_made(host, Iptables::Nft));
}

#[test]
fn either_takes_down_by_iptables_legacy_what_the_other_has_made() {
    let name = "either_takes_down_by_iptables_legacy_what_the_other_has_made";
    in_a_world_of_both(name, &[Need::IptablesLegacy, Need::RealRoot], |host| {
        either_takes_down_what_the_other_has_made(host, Iptables::Legacy);
    });
}

/// Theirs and ours side by side: each by its own rules.
#[test]
fn containers_of_both_kinds_talk_on_one_bridge() {
    in_a_world_of_both("containers_of_both_kinds_talk_on_one_bridge", &[], |host| {
        let outside = outside(host);
        drop_what_is_forwarded(host, Iptables::Nft);
        let theirs = by_iptables(host, "theirs");
        go("ADD", &theirs, Iptables::Nft).run().result();
        let ours = Container::new(host, "ours").admitted();
        reaches(&theirs.pod, OUTSIDE);
        reaches(&ours.pod, OUTSIDE);
        reaches(&ours.pod, theirs.addresses());
        does_not_reach(&outside, ours.addresses());
        // The administrator's own chain is heard for ours, too.
        filter(host, Iptables::Nft, "-A CNI-ADMIN -o outside -j DROP");
        does_not_reach(&ours.pod, OUTSIDE);
        filter(host, Iptables::Nft, "-F CNI-ADMIN");
        theirs.wall.call_with("DEL", &theirs.result).run().silent();
        reaches(&ours.pod, OUTSIDE);
        ours.check().silent();
    });
}
