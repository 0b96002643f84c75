//! The configuration twice: as written, and as meant.

use std::path::PathBuf;
use std::str::FromStr;

use cni::call::Call;
use cni::error::{Code, Error, OrFail, Result};
use linux::mac::Mac;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::attachment::mtu;
use crate::tuning::setting::Setting;

/// Where the Go plugin keeps what was there before.
const DATA_DIR: &str = "/run/cni/tuning";

/// As written: the keys of the Go plugin, 1.9.1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    data_dir: Option<String>,
    sysctl: Pairs,
    mac: Option<String>,
    promisc: bool,
    mtu: i64,
    allmulti: Option<bool>,
    tx_q_len: Option<i64>,
    runtime_config: WithMac,
    args: Args,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WithMac {
    mac: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: FromCni,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FromCni {
    sysctl: Pairs,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<i64>,
    allmulti: Option<bool>,
    tx_q_len: Option<i64>,
}

/// An object whose keys are data: all of its members, in the order in which they are written.
#[derive(Clone, Debug, Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = members.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(InOrder)
    }
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// The settings of the namespace, in the order in which they are written.
    pub sysctls: Vec<Setting>,
    /// What is to be changed about the link.
    pub link: LinkChanges,
    /// Where what was there before is kept.
    pub data_dir: PathBuf,
}

/// What is to be changed about the link; `None` leaves it alone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LinkChanges {
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// It takes every frame. Never switched off: somebody else may want it on.
    pub promiscuous: bool,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// It takes every multicast frame, or not.
    pub all_multicast: Option<bool>,
    /// The length of its queue, in packets.
    pub queue: Option<u32>,
}

impl LinkChanges {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == LinkChanges::default()
    }
}

impl Raw {
    /// Where what was there before is kept. Right even if nothing else in the configuration is.
    pub fn data_dir(&self) -> PathBuf {
        let named = self.data_dir.as_deref().filter(|dir| !dir.is_empty());
        PathBuf::from(named.unwrap_or(DATA_DIR))
    }
}

impl Conf {
    /// What the configuration of this call means for the interface.
    ///
    /// # Errors
    /// [`Code::CONFIG`] with key and value, for what makes no sense.
    pub fn meant(raw: Raw, call: &Call, ifname: &str) -> Result<Conf> {
        let data_dir = raw.data_dir();
        let args = raw.args.cni;
        let mac = [args.mac, raw.runtime_config.mac, call.args.get("MAC").map(String::from), raw.mac];
        Ok(Conf {
            sysctls: sysctls(&raw.sysctl.0, &args.sysctl.0, ifname)?,
            link: LinkChanges {
                mac: mac
                    .into_iter()
                    .flatten()
                    .find(|mac| !mac.is_empty())
                    .map(|mac| usable(&mac))
                    .transpose()?,
                promiscuous: args.promisc.unwrap_or(raw.promisc),
                mtu: mtu::meant(args.mtu.unwrap_or(raw.mtu))?,
                all_multicast: args.allmulti.or(raw.allmulti),
                queue: args.tx_q_len.or(raw.tx_q_len).map(queue).transpose()?,
            },
            data_dir,
        })
    }
}

/// What comes through `args` replaces the value of the same setting, and is added behind the others.
fn sysctls(own: &[(String, String)], added: &[(String, String)], ifname: &str) -> Result<Vec<Setting>> {
    let mut settings: Vec<Setting> = Vec::new();
    for (key, value) in own {
        let setting = Setting::meant(key, value, ifname)?;
        if settings.iter().any(|other| other.file == setting.file) {
            return Err(
                Error::config("duplicated sysctl keys are not allowed").details(format!("sysctl {key:?}"))
            );
        }
        settings.push(setting);
    }
    for (key, value) in added {
        let setting = Setting::meant(key, value, ifname)?;
        match settings.iter_mut().find(|other| other.file == setting.file) {
            Some(other) => *other = setting,
            None => settings.push(setting),
        }
    }
    Ok(settings)
}

fn usable(text: &str) -> Result<Mac> {
    let invalid = || format!("invalid args {text} for MAC addr");
    let mac = Mac::from_str(text).or_fail(Code::CONFIG, invalid)?;
    match mac.is_usable() {
        true => Ok(mac),
        false => Err(Error::config(format!("{}: it is no address of one station", invalid()))),
    }
}

fn queue(length: i64) -> Result<u32> {
    u32::try_from(length).or_fail(Code::CONFIG, || format!("invalid txQLen {length}"))
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::env::{Env, Verb};
    use cni::request::Request;

    use super::*;

    fn meant(args: &str, keys: &str) -> Result<Conf> {
        let conf = format!(r#"{{"cniVersion":"1.1.0","name":"net","type":"tuning"{keys}}}"#);
        let env = Env::of([("CNI_ARGS", args)]);
        let Request::Status(call) = Request::read(Verb::Status, &env, conf.into(), true)? else {
            panic!("no STATUS")
        };
        Conf::meant(decode(&call.config)?, &call, "eth0")
    }

    #[test]
    fn without_a_key_nothing_is_changed() {
        let conf = meant("", "").unwrap();
        assert!(conf.sysctls.is_empty() && conf.link.is_empty());
        assert_eq!(conf.data_dir, PathBuf::from(DATA_DIR));
    }

    #[test]
    fn settings_keep_their_order_and_args_replace_or_follow() {
        let conf = meant(
            "",
            r#","sysctl":{"net.b":"1","net.a":"2"},"args":{"cni":{"sysctl":{"net.c":"3","net/b":"4"}}}"#,
        );
        let found: Vec<_> = conf.unwrap().sysctls.into_iter().map(|it| (it.file, it.value)).collect();
        let pair = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        assert_eq!(found, [pair("net/b", "4"), pair("net/a", "2"), pair("net/c", "3")]);
    }

    #[test]
    fn a_mac_comes_from_args_then_from_the_runtime_then_from_the_environment_then_from_the_network() {
        let mac = |args: &str, keys: &str| meant(args, keys).unwrap().link.mac.unwrap().to_string();
        let own = r#","mac":"02:00:00:00:00:01""#;
        let runtime = format!(r#"{own},"runtimeConfig":{{"mac":"02:00:00:00:00:03"}}"#);
        let all = format!(r#"{runtime},"args":{{"cni":{{"mac":"02:00:00:00:00:04"}}}}"#);
        assert_eq!(mac("", own), "02:00:00:00:00:01");
        assert_eq!(mac("MAC=02:00:00:00:00:02", own), "02:00:00:00:00:02");
        assert_eq!(mac("MAC=02:00:00:00:00:02", &runtime), "02:00:00:00:00:03");
        assert_eq!(mac("MAC=02:00:00:00:00:02", &all), "02:00:00:00:00:04");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key_and_value() {
        for (keys, part) in [
            (r#","sysctl":{"net.a":"1","net.a":"2"}"#, "duplicated sysctl keys"),
            (r#","sysctl":{"net.a":"1","net/a":"2"}"#, "duplicated sysctl keys"),
            (r#","sysctl":{"kernel.hostname":"x"}"#, "kernel.hostname"),
            (r#","mac":"zz""#, "zz"),
            (r#","mac":"01:00:5e:00:00:01""#, "01:00:5e:00:00:01"),
            (r#","mtu":1"#, "1"),
            (r#","txQLen":-1"#, "-1"),
        ] {
            let error = meant("", keys).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG, "{keys}");
            assert!(error.msg().contains(part), "{keys} gives {}", error.msg());
        }
    }
}
