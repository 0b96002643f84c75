//! The plugins of this project: which keys each has, and what it makes of them.
//!
//! Nothing is written down here that a plugin knows itself: the keys are those of the type that it reads its configuration
//! into, and the configuration is judged by the function that judges it when it is run.

use cni::Plugin;
use cni::call::Call;
use cni::decode::decode;
use cni::env::{Env, Verb};
use cni::error::{Error, OrFail, Result};
use cni::keys::{self, Shape};
use cni::request::Request;
use ipam::host_local::HostLocal;
use ipam::r#static;
use plugins::bandwidth::{self, Bandwidth};
use plugins::bridge::{self, Bridge};
use plugins::firewall::{self, Firewall};
use plugins::loopback::Loopback;
use plugins::portmap::{self, Portmap};
use plugins::tuning::{self, Tuning};
use plugins::veth::{self, Veth};

/// A plugin of ours.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    shape: fn() -> Shape,
    judge: fn(&Call) -> Result<()>,
}

/// A plugin's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It makes, or finds, the link.
    Link,
    /// It comes behind a plugin that has made one.
    Chained,
    /// It is asked by another plugin.
    Ipam,
}

pub(crate) const OURS: &[Known] = &[
    of::<Bridge>("bridge", Role::Link, |call| {
        bridge::conf::Conf::meant(decode(&call.config)?, call).map(drop)
    }),
    of::<Veth>("veth", Role::Link, judge_veth),
    of::<Veth>("ptp", Role::Link, judge_veth),
    of::<Loopback>("loopback", Role::Link, |_| Ok(())),
    of::<Portmap>("portmap", Role::Chained, |call| {
        portmap::conf::Conf::meant(decode(&call.config)?).map(drop)
    }),
    of::<Firewall>("firewall", Role::Chained, |call| {
        firewall::conf::Conf::meant(decode(&call.config)?).map(drop)
    }),
    of::<Bandwidth>("bandwidth", Role::Chained, |call| {
        bandwidth::conf::Conf::meant(decode(&call.config)?).map(drop)
    }),
    of::<Tuning>("tuning", Role::Chained, |call| {
        tuning::conf::Conf::meant(decode(&call.config)?, call, "eth0").map(drop)
    }),
    of::<HostLocal>("host-local", Role::Ipam, |call| {
        decode::<ipam::conf::Raw>(&call.config)?.meant(call).map(drop)
    }),
    // It reads its configuration itself, so that DEL need not.
    Known {
        name: "static",
        role: Role::Ipam,
        shape: keys::of::<r#static::conf::Raw>,
        judge: |call| r#static::conf::lease(call).map(drop),
    },
];

const fn of<P: Plugin>(name: &'static str, role: Role, judge: fn(&Call) -> Result<()>) -> Known {
    Known { name, role, shape: keys::of::<P::Conf>, judge }
}

fn judge_veth(call: &Call) -> Result<()> {
    veth::conf::Conf::meant(decode(&call.config)?).map(drop)
}

/// The plugin of this name, if it is one of ours.
pub(crate) fn named(name: &str) -> Option<&'static Known> {
    OURS.iter().find(|known| known.name == name)
}

impl Known {
    /// The keys that it reads.
    pub(crate) fn shape(&self) -> Shape {
        (self.shape)()
    }

    /// The capabilities that it can use: what it reads of `runtimeConfig`.
    pub(crate) fn capabilities(&self) -> Vec<&'static str> {
        let shape = self.shape();
        shape.get("runtimeConfig").map_or(&[][..], Shape::keys).iter().map(|(key, _)| *key).collect()
    }

    /// What it says of a configuration, without doing anything.
    ///
    /// # Errors
    /// The plugin's own.
    pub(crate) fn judge(&self, stdin: &[u8]) -> Result<()> {
        let env = Env::of([("CNI_CONTAINERID", "any"), ("CNI_IFNAME", "eth0")]);
        match Request::read(Verb::Del, &env, stdin.to_vec(), false).doing(|| "read".into())? {
            Request::Del(del) => (self.judge)(&del.call),
            _ => Err(Error::internal("a DEL is none")),
        }
    }

    /// Every key with the way to it, for people: `ipam.ranges[][].subnet`.
    pub(crate) fn paths(&self) -> Vec<String> {
        fn walk(at: &str, shape: &Shape, paths: &mut Vec<String>) {
            match shape {
                Shape::Value => {}
                Shape::List(item) => walk(&format!("{at}[]"), item, paths),
                Shape::Keys(keys) => {
                    for (key, below) in keys {
                        let at = if at.is_empty() { (*key).to_owned() } else { format!("{at}.{key}") };
                        paths.push(at.clone());
                        walk(&at, below, paths);
                    }
                }
            }
        }
        let mut paths = Vec::new();
        walk("", &self.shape(), &mut paths);
        paths
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fuzz::every;

    use super::*;

    #[test]
    fn keys_and_capabilities_are_what_the_plugins_read() {
        let paths = |name| named(name).unwrap().paths();
        assert!(paths("bridge").contains(&"vlanTrunk[].minID".to_owned()), "{:?}", paths("bridge"));
        assert!(paths("host-local").contains(&"ipam.ranges[][].rangeStart".to_owned()));
        assert!(paths("static").contains(&"ipam.addresses[].gateway".to_owned()));
        assert_eq!(named("portmap").unwrap().capabilities(), ["portMappings"]);
        assert_eq!(named("host-local").unwrap().capabilities(), ["ipRanges", "ips"]);
        assert!(paths("loopback").is_empty());
    }

    /// What takes its place then is anything (tests/fuzz/every.rs).
    #[test]
    fn every_key_of_every_plugin_stands_in_a_seed_of_the_attack_on_it() {
        let mut missing = Vec::new();
        for known in OURS.iter().filter(|known| known.name != "ptp") {
            let seeds = fuzz::seeds(known.name);
            let places: BTreeSet<String> =
                seeds.iter().flat_map(|seed| every::places(seed)).map(|place| place.path).collect();
            let lacks = known.paths().into_iter().filter(|path| !places.contains(path));
            missing.extend(lacks.map(|path| format!("{}: {path}", known.name)));
        }
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_configuration_is_judged_by_the_plugin_itself() {
        let judge = |name, more: &str| {
            let conf = format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"x"{more}}}"#);
            named(name).unwrap().judge(conf.as_bytes()).map_err(|error| error.msg())
        };
        assert_eq!(judge("bridge", ""), Ok(()));
        assert!(judge("bridge", r#","mtu":"x""#).unwrap_err().contains("invalid mtu"));
        assert!(judge("portmap", r#","backend":"x""#).unwrap_err().contains("backend"));
        assert!(judge("static", "").unwrap_err().contains("ipam"));
    }
}
