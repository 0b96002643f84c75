//! What the plugins make of bytes that anybody may have written, as functions for tests/fuzz (docs/fuzzing.md): the decoding
//! and the plans of ADD, of which nothing touches the kernel. Each panics where a promise is broken; that it returns at all is
//! the first of them.
//!
//! An input is the variables of a call, one to a line, an empty line, and stdin. `prevResult` plays what IPAM gives, too.

use std::collections::BTreeSet;
use std::fmt::Debug;

use cni::Plugin;
use cni::call::Add;
use cni::decode::decode;
use cni::env::{Env, Verb};
use cni::error::{Code, Error, Result};
use cni::request::Request;
use cni::result::Success;
use linux::nft::Family;

use crate::attachment::{bus, record};
use crate::portmap::conf::By;
use crate::portmap::iptables::rules::{Published, Rules};
use crate::portmap::key::{Key, Space};
use crate::{bandwidth, bridge, firewall, loopback, portmap, tuning, veth};

/// What an ADD of this plugin is told, if it passes the door: its configuration as written, twice.
fn told<P: Plugin>(bytes: &[u8]) -> Option<(Add, [P::Conf; 2])> {
    let (mut variables, stdin) = fuzz::call(bytes);
    let usual = [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/run/netns/x"), ("CNI_IFNAME", "eth0")];
    variables.extend(usual.map(|(key, value)| (key.into(), value.into())));
    let Ok(Request::Add(add)) = Request::read(Verb::Add, &Env::of(variables), stdin, false) else {
        return None;
    };
    let conf = decode(&add.call.config).ok()?;
    let again = decode(&add.call.config).ok()?;
    Some((add, [conf, again]))
}

/// The same twice, or refused twice alike: nonsense is told with a code of whoever made it.
fn twice<T: PartialEq + Debug>(one: Result<T>, other: Result<T>) -> Option<T> {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one, other, "one configuration, two meanings");
            Some(one)
        }
        (Err(one), Err(other)) => {
            assert_eq!((one.code(), one.msg()), (other.code(), other.msg()));
            assert!(!one.msg().is_empty());
            None
        }
        (one, other) => unreachable_answer(&one.err(), &other.err()),
    }
}

fn unreachable_answer<T>(one: &Option<Error>, other: &Option<Error>) -> Option<T> {
    assert_eq!(one.is_some(), other.is_some(), "refused, and not refused: {one:?}, {other:?}");
    None
}

/// As [`twice`]; and what is refused is refused as a configuration.
fn meant<T: PartialEq + Debug>(one: Result<T>, other: Result<T>) -> Option<T> {
    if let Err(error) = &one {
        assert!(matches!(error.code(), Code::CONFIG | Code::DECODE | Code::ENVIRONMENT), "{}", error.msg());
    }
    twice(one, other)
}

/// stdin of bridge.
pub fn bridge(bytes: &[u8]) {
    let Some((add, [raw, again])) = told::<bridge::Bridge>(bytes) else { return };
    let _ = (raw.leaving(), raw.bridge().len(), raw.spoof_check());
    let conf = meant(bridge::conf::Conf::meant(raw, &add.call), bridge::conf::Conf::meant(again, &add.call));
    let Some(conf) = conf else { return };
    let lease = || add.prev.clone().unwrap_or_default();
    let plan = || bridge::plan::plan(&add.attachment, &conf, lease());
    let Some(plan) = twice(plan(), plan()) else { return };
    let once: BTreeSet<_> = plan.gateways.iter().collect();
    assert_eq!(once.len(), plan.gateways.len(), "a gateway twice");
    assert_eq!(plan.container.addresses.len(), lease().ips.len());
    assert!(conf.gateway != bridge::conf::Gateway::No || plan.gateways.is_empty());
    answers(&add, Success { ips: plan.ips, routes: plan.routes, dns: plan.dns, ..Success::default() });
}

/// stdin of veth.
pub fn veth(bytes: &[u8]) {
    let Some((add, [raw, again])) = told::<veth::Veth>(bytes) else { return };
    let _ = raw.leaving();
    let Some(conf) = meant(veth::conf::Conf::meant(raw), veth::conf::Conf::meant(again)) else { return };
    let lease = || add.prev.clone().unwrap_or_default();
    let plan = || veth::plan::plan(&add.attachment, &conf, lease());
    let Some(plan) = twice(plan(), plan()) else { return };
    assert_eq!(plan.destinations.len(), plan.ips.len());
    assert!(plan.gateways.iter().all(|it| it.prefix() == if it.is_ipv4() { 32 } else { 128 }));
    answers(&add, Success { ips: plan.ips, routes: plan.routes, dns: plan.dns, ..Success::default() });
}

/// What was planned can be answered, in the version of the call.
fn answers(add: &Add, result: Success) {
    let result = result.behind(add.prev.as_ref());
    assert!(result.ips.is_empty() || result.render(add.call.spec).is_ok(), "no words for {result:?}");
}

/// stdin of portmap: no port leads to two places, and no word of the configuration ends a line of iptables.
pub fn portmap(bytes: &[u8]) {
    let Some((add, [raw, again])) = told::<portmap::Portmap>(bytes) else { return };
    let Some(conf) = meant(portmap::conf::Conf::meant(raw), portmap::conf::Conf::meant(again)) else {
        return;
    };
    let Some(prev) = &add.prev else { return };
    let plan = portmap::plan::plan(&conf, &add.attachment, prev);
    assert_eq!(plan, portmap::plan::plan(&conf, &add.attachment, prev));
    let keys = plan.keys();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "a port that leads to two places");
    for key in keys.iter().chain(&portmap::plan::keys_of(&conf, &add.attachment)) {
        let space = Space { v6: key.space.family() == Family::Ipv6, ..key.space.clone() };
        assert_eq!(Key::read(&space, key.host.is_some(), &key.bytes()).as_ref(), Some(key));
    }
    if let By::Iptables(words) = &conf.by {
        let published = Published::of(&conf, words, &add.attachment, prev);
        for container in published.containers() {
            let Rules { own, entries } = Rules::of(&[(&add.attachment, &published, container)]);
            for order in own.iter().chain(&entries).map(|rule| rule.order()) {
                assert!(order.matches('\n').count() == 1 && !order.contains('\0'), "{order:?}");
            }
        }
    }
}

/// stdin of firewall.
pub fn firewall(bytes: &[u8]) {
    let Some((add, [raw, again])) = told::<firewall::Firewall>(bytes) else { return };
    let conf = meant(firewall::conf::Conf::meant(raw), firewall::conf::Conf::meant(again));
    let Some((conf, prev)) = conf.zip(add.prev.as_ref()) else { return };
    assert!(!conf.admin_chain.contains(['\n', ' ', '"']) && conf.mark_bit.is_none_or(|bit| bit < 32));
    let plan = || firewall::plan::plan(&conf, prev);
    let Some(plan) = twice(plan(), plan()) else { return };
    let elements =
        plan.addresses.iter().map(|it| firewall::layout::element(&add.attachment, *it, &plan.policy));
    assert!(elements.count() <= prev.ips.len());
    let _ = firewall::layout::chain_of(&plan.policy);
    assert!(plan.ports.iter().all(|port| port.len() < 16));
}

/// stdin of bandwidth: no bucket is too small for a packet, or more than the kernel can count.
pub fn bandwidth(bytes: &[u8]) {
    let Some((_, [raw, again])) = told::<bandwidth::Bandwidth>(bytes) else { return };
    let conf = meant(bandwidth::conf::Conf::meant(raw), bandwidth::conf::Conf::meant(again));
    let limits = conf.into_iter().flat_map(|conf| [conf.ingress, conf.egress]);
    for limit in limits.flatten() {
        for mtu in [0, 68, 1500, 65535, u32::MAX] {
            let bucket = limit.bucket(mtu);
            assert!(bucket.rate > 0 && bucket.burst >= mtu && bucket.limit >= bucket.burst);
            assert_eq!(bucket.shape().rate, bucket.rate);
        }
    }
}

/// stdin of tuning: no setting is outside of those of a network namespace.
pub fn tuning(bytes: &[u8]) {
    let Some((add, [raw, again])) = told::<tuning::Tuning>(bytes) else { return };
    let conf = |raw| tuning::conf::Conf::meant(raw, &add.call, add.attachment.ifname.as_str());
    let Some(conf) = meant(conf(raw), conf(again)) else { return };
    for setting in &conf.sysctls {
        let parts = || setting.file.split('/');
        assert!(setting.file.starts_with("net/") && !setting.file.contains('\0'), "{setting:?}");
        assert!(parts().all(|part| !matches!(part, "" | "." | "..")), "{setting:?}");
        let same = conf.sysctls.iter().filter(|other| other.file == setting.file);
        assert_eq!(same.count(), 1, "{} twice", setting.file);
    }
    assert!(conf.link.mac.is_none_or(|mac| mac.is_usable()));
    assert!(conf.link.mtu.is_none_or(|mtu| mtu > 0));
}

/// stdin of loopback, which has no keys of its own: it answers with what there was.
pub fn loopback(bytes: &[u8]) {
    let Some((add, _)) = told::<loopback::Loopback>(bytes) else { return };
    answers(&add, Success::default());
}

/// A message of the system's bus, and what follows it on the wire.
pub fn bus(bytes: &[u8]) {
    bus::hostile(bytes);
}

/// A record of an attachment, and the Go plugin's file of what was there before tuning.
pub fn record(bytes: &[u8]) {
    record::hostile(bytes);
    tuning::backup::hostile(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_bridge_accepts_has_a_plan() {
        fuzz::attack("bridge", super::bridge);
    }

    #[test]
    fn what_veth_accepts_has_a_plan() {
        fuzz::attack("veth", super::veth);
    }

    #[test]
    fn what_portmap_accepts_has_a_plan() {
        fuzz::attack("portmap", super::portmap);
    }

    #[test]
    fn what_firewall_accepts_has_a_plan() {
        fuzz::attack("firewall", super::firewall);
    }

    #[test]
    fn what_bandwidth_accepts_is_a_bucket() {
        fuzz::attack("bandwidth", super::bandwidth);
    }

    #[test]
    fn what_tuning_accepts_is_of_the_namespace() {
        fuzz::attack("tuning", super::tuning);
    }

    #[test]
    fn what_loopback_accepts_is_answered() {
        fuzz::attack("loopback", super::loopback);
    }

    #[test]
    fn a_message_of_the_bus_is_read_or_refused() {
        fuzz::attack("bus", super::bus);
    }

    #[test]
    fn a_record_may_be_anything() {
        fuzz::attack("record", super::record);
    }
}
