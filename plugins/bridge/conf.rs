//! The configuration twice: as written, and as meant. What is meant cannot hold a contradiction.

use std::str::FromStr;

use cni::call::Call;
use cni::delegate::Ipam;
use cni::error::{Code, Error, OrFail, Result};
use cni::name::{IfName, PluginName};
use cni::result::Dns;
use linux::mac::Mac;
use serde::Deserialize;

use crate::attachment::masquerade::Backend;
use crate::attachment::mtu::{self, Mtu};
use crate::attachment::release::Leaving;
use crate::bridge::PLUGIN;
use crate::bridge::vlan::{Item, Tagging};

/// As written: the keys of the Go plugin, 1.9.1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    bridge: Option<String>,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: mtu::Written,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Option<Vec<Option<Item>>>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    ipam: Ipam,
    dns: Dns,
    args: Args,
    runtime_config: WithMac,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: WithMac,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WithMac {
    mac: Option<String>,
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// The bridge's name.
    pub bridge: IfName,
    /// What the bridge is to the containers.
    pub gateway: Gateway,
    /// Other addresses of the bridge give way to the gateway's.
    pub force_address: bool,
    /// MTU of the pair and of a bridge that we make.
    pub mtu: Mtu,
    /// How a container's frame comes back to itself.
    pub reflection: Reflection,
    /// The port speaks to no other isolated port (`IFLA_BRPORT_ISOLATED`).
    pub isolated: bool,
    /// The container sends from its own MAC address, or not at all.
    pub spoof_check: bool,
    /// What containers send out of their subnets carries the host's address, by whom.
    pub masquerade: Option<Backend>,
    /// The VLANs that the port is in.
    pub tagging: Tagging,
    /// IPv6 duplicate address detection in the container.
    pub dad: bool,
    /// The container end's MAC; `None` is a random one.
    pub mac: Option<Mac>,
    /// Who gives addresses.
    pub addressing: Addressing,
    /// Goes into the result, instead of what IPAM said, if it says anything.
    pub dns: Dns,
}

/// Is the bridge the containers' gateway?
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Gateway {
    /// No.
    No,
    /// It has the gateway's address, and the host forwards.
    Address,
    /// Moreover the containers' default routes go there.
    DefaultRoute,
}

/// How does a frame come back to the port it came from?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reflection {
    /// Not at all.
    None,
    /// By the port's hairpin mode.
    Hairpin,
    /// By the bridge in promiscuous mode, through the host's own stack.
    Promiscuous,
}

/// Who gives addresses?
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addressing {
    /// An IPAM plugin.
    Ipam(PluginName),
    /// Nobody: a network of frames alone.
    None,
    /// Nobody, and the container end stays down.
    LeftDown,
}

impl Addressing {
    /// The IPAM plugin, if there is one.
    pub fn plugin(&self) -> Option<&PluginName> {
        match self {
            Addressing::Ipam(plugin) => Some(plugin),
            Addressing::None | Addressing::LeftDown => None,
        }
    }
}

impl Conf {
    /// What the configuration of this call means.
    ///
    /// # Errors
    /// [`Code::CONFIG`] with key and value, for what makes no sense.
    pub fn meant(raw: Raw, call: &Call) -> Result<Conf> {
        let bridge = bridge_name(raw.bridge())?;
        let addressing = match (raw.ipam.plugin, raw.disable_container_interface) {
            (Some(plugin), true) => {
                return Err(Error::config("cannot use IPAM when DisableContainerInterface flag is set")
                    .details(format!("disableContainerInterface true, ipam.type {:?}", plugin.as_str())));
            }
            (Some(plugin), false) => Addressing::Ipam(plugin),
            (None, true) => Addressing::LeftDown,
            (None, false) => Addressing::None,
        };
        let reflection = match (raw.hairpin_mode, raw.promisc_mode) {
            (true, true) => {
                return Err(Error::config("cannot set hairpin mode and promiscuous mode at the same time")
                    .details("hairpinMode true, promiscMode true"));
            }
            (true, false) => Reflection::Hairpin,
            (false, true) => Reflection::Promiscuous,
            (false, false) => Reflection::None,
        };
        let gateway = match (raw.is_default_gateway, raw.is_gateway) {
            (true, _) => Gateway::DefaultRoute,
            (false, true) => Gateway::Address,
            (false, false) => Gateway::No,
        };
        let address = (gateway != Gateway::No && addressing.plugin().is_some()).then_some(&bridge);
        let trunk = raw.vlan_trunk.as_deref();
        let tagging = Tagging::meant(raw.vlan, trunk, raw.preserve_default_vlan, address)?;
        Ok(Conf {
            bridge,
            gateway,
            force_address: raw.force_address,
            mtu: Mtu::meant(&raw.mtu)?,
            reflection,
            isolated: raw.port_isolation,
            spoof_check: raw.macspoofchk,
            masquerade: Backend::meant(raw.ip_masq, raw.ip_masq_backend.as_deref())?,
            tagging,
            dad: raw.enabledad,
            mac: mac([&raw.runtime_config.mac, &raw.args.cni.mac], call.args.get("MAC"))?,
            addressing,
            dns: raw.dns,
        })
    }
}

impl Raw {
    /// What DEL and GC have to know, right even if nothing else in the configuration is any more.
    pub fn leaving(&self) -> Leaving<'_> {
        Leaving { plugin: PLUGIN, ipam: self.ipam.plugin.as_ref(), masquerades: self.ip_masq }
    }

    /// The bridge's name, as it is written.
    pub fn bridge(&self) -> &str {
        self.bridge.as_deref().unwrap_or("cni0")
    }

    /// Whether frames are checked, as it is written.
    pub fn spoof_check(&self) -> bool {
        self.macspoofchk
    }
}

fn bridge_name(name: &str) -> Result<IfName> {
    name.parse().map_err(|error: Error| Error::config(format!("bridge {name:?}: {error}")))
}

/// The first MAC that is given: in the configuration, or else in `CNI_ARGS`.
fn mac(written: [&Option<String>; 2], variable: Option<&str>) -> Result<Option<Mac>> {
    let mut written = written.into_iter().filter_map(Option::as_deref).filter(|mac| !mac.is_empty());
    match (written.next(), variable) {
        (Some(text), _) => one_stations(text, Code::CONFIG, "mac").map(Some),
        (None, Some(text)) => one_stations(text, Code::ENVIRONMENT, "CNI_ARGS: MAC").map(Some),
        (None, None) => Ok(None),
    }
}

fn one_stations(text: &str, code: Code, key: &str) -> Result<Mac> {
    let mac = Mac::from_str(text).or_fail(code, || format!("{key} {text:?}"))?;
    match mac.is_usable() {
        true => Ok(mac),
        false => {
            let text = format!("{key} {text:?}: invalid MAC address, it is no address of one station");
            Err(Error::new(code, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::env::{Env, Verb};
    use cni::request::Request;

    use super::*;

    fn meant_with(args: &str, keys: &str) -> Result<Conf> {
        let conf = format!(r#"{{"cniVersion":"1.1.0","name":"net","type":"bridge"{keys}}}"#);
        let env = Env::of([("CNI_ARGS", args)]);
        let Request::Status(call) = Request::read(Verb::Status, &env, conf.into(), true)? else {
            panic!("no STATUS")
        };
        Conf::meant(decode(&call.config)?, &call)
    }

    fn meant(keys: &str) -> Result<Conf> {
        meant_with("", keys)
    }

    #[test]
    fn without_a_key_everything_is_as_in_the_go_plugin() {
        let conf = meant("").unwrap();
        assert_eq!((conf.bridge.as_str(), conf.gateway, conf.mtu), ("cni0", Gateway::No, Mtu::Default));
        assert_eq!((conf.reflection, conf.addressing), (Reflection::None, Addressing::None));
    }

    #[test]
    fn a_contradiction_is_refused_with_its_keys() {
        for (keys, part) in [
            (r#","hairpinMode":true,"promiscMode":true"#, "hairpin mode and promiscuous mode"),
            (r#","disableContainerInterface":true,"ipam":{"type":"x"}"#, "cannot use IPAM"),
            (r#","bridge":"a/b""#, "a/b"),
            (r#","bridge":"""#, "bridge"),
            (r#","mtu":-1"#, "-1"),
            (r#","mtu":65536"#, "65536"),
            (r#","mtu":"big""#, "\"big\" (must be \"auto\""),
            (r#","vlan":4095"#, "4095"),
            (r#","vlanTrunk":[{"MinId":9,"maxid":5}]"#, "minID is greater than maxID"),
            (r#","vlanTrunk":[null]"#, "incorrect trunk parameter"),
            (
                r#","bridge":"a-long-name","vlan":1000,"isGateway":true,"ipam":{"type":"x"}"#,
                "a-long-name.1000",
            ),
            (r#","runtimeConfig":{"mac":"zz"}"#, "zz"),
            (r#","runtimeConfig":{"mac":"01:00:5e:00:00:01"}"#, "01:00:5e:00:00:01"),
        ] {
            let error = meant(keys).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG, "{keys}");
            assert!(error.msg().contains(part), "{keys} gives {}", error.msg());
        }
    }

    #[test]
    fn a_mac_comes_from_the_runtime_then_from_args_then_from_the_environment() {
        let mac = |keys: &str| meant_with("MAC=02:00:00:00:00:03", keys).unwrap().mac.unwrap().to_string();
        let args = r#","args":{"cni":{"mac":"02:00:00:00:00:02"}}"#;
        assert_eq!(mac(""), "02:00:00:00:00:03");
        assert_eq!(mac(args), "02:00:00:00:00:02");
        assert_eq!(
            mac(&format!(r#","RuntimeConfig":{{"mac":"02:00:00:00:00:01"}}{args}"#)),
            "02:00:00:00:00:01"
        );
    }
}
