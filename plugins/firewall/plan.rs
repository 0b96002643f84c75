//! What ADD will do, decided before anything is touched.

use std::fmt;
use std::net::IpAddr;

use cni::error::{Error, Result};
use cni::name::IfName;
use cni::result::Success;

use crate::firewall::conf::{Conf, IngressPolicy};

/// What one call wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The addresses of the container, each once.
    pub addresses: Vec<IpAddr>,
    /// From where packets may come.
    pub policy: Policy,
    /// The host ends that are to be kept from each other, where they are ports of a bridge.
    pub ports: Vec<String>,
}

/// From where packets may come, to whatever is behind which link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Policy {
    /// From everywhere.
    Open,
    /// Not from another bridge that has a policy.
    SameBridge(String),
    /// Nor from this one.
    Isolated(String),
}

impl Policy {
    /// The bridge that it is about.
    pub fn bridge(&self) -> Option<&str> {
        match self {
            Policy::Open => None,
            Policy::SameBridge(bridge) | Policy::Isolated(bridge) => Some(bridge),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Open => f.write_str("open"),
            Policy::SameBridge(bridge) => write!(f, "same-bridge {bridge}"),
            Policy::Isolated(bridge) => write!(f, "isolated {bridge}"),
        }
    }
}

/// What is to be done for a container that has this result. Every address counts, whatever link it belongs to, as in the Go
/// plugin.
///
/// # Errors
/// [`cni::error::Code::CONFIG`]: a policy needs a bridge, and the result has none.
pub fn plan(conf: &Conf, result: &Success) -> Result<Plan> {
    let policy = match conf.policy {
        IngressPolicy::Open => Policy::Open,
        IngressPolicy::SameBridge => Policy::SameBridge(bridge(result, "same-bridge")?),
        IngressPolicy::Isolated => Policy::Isolated(bridge(result, "isolated")?),
    };
    let ports = if conf.policy == IngressPolicy::Isolated { ports(result) } else { Vec::new() };
    Ok(Plan { addresses: addresses(result), policy, ports })
}

/// The addresses of a result, each once.
pub fn addresses(result: &Success) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in result.ips.iter().map(|ip| ip.address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// The links of the host behind the first one, which is the bridge.
pub fn ports(result: &Success) -> Vec<String> {
    let of_host = result.interfaces.iter().skip(1).filter(|it| it.sandbox.is_none());
    of_host.map(|it| it.name.clone()).filter(|name| is_link_name(name)).collect()
}

fn bridge(result: &Success, policy: &str) -> Result<String> {
    let Some(first) = result.interfaces.first() else {
        return Err(Error::config(format!(
            "interface needs to be set for ingress policy {policy:?}, make sure to chain \"firewall\" plugin with \"bridge\""
        )));
    };
    match first.name.as_str() {
        "" => Err(Error::config("got empty bridge name").details(format!("ingressPolicy {policy:?}"))),
        name if first.sandbox.is_some() || !is_link_name(name) => Err(Error::config(format!(
            "{name:?} is no bridge of the host, make sure to chain \"firewall\" plugin with \"bridge\""
        ))
        .details(format!("ingressPolicy {policy:?}"))),
        name => Ok(name.to_owned()),
    }
}

/// A rule names the link, and its comment, too: what neither can hold is not taken.
fn is_link_name(name: &str) -> bool {
    let odd = |letter: char| letter.is_control() || letter == '"';
    name.parse::<IfName>().is_ok() && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use cni::error::Code;
    use cni::spec::Spec;
    use cni::value::Value;

    use super::*;
    use crate::firewall::conf::Raw;

    fn planned(policy: IngressPolicy, result: &str) -> Result<Plan> {
        let conf = Conf { policy, ..Conf::meant(Raw::default())? };
        plan(&conf, &Success::read(&Value::parse(result.as_bytes())?, Spec::NEWEST)?)
    }

    const DUAL: &str = r#"{
        "interfaces": [{"name":"br0"},{"name":"veth0"},{"name":"eth0","sandbox":"/x"}],
        "ips": [{"address":"10.9.0.2/24","interface":2},{"address":"10.9.0.2/24"},{"address":"fd00:9::2/64"}]
    }"#;

    #[test]
    fn every_address_counts_once_and_the_first_link_is_the_bridge() {
        let addresses: Vec<IpAddr> = vec!["10.9.0.2".parse().unwrap(), "fd00:9::2".parse().unwrap()];
        let plan = planned(IngressPolicy::Isolated, DUAL).unwrap();
        assert_eq!((plan.addresses, plan.policy), (addresses, Policy::Isolated("br0".into())));
        assert_eq!(plan.ports, ["veth0"]);
        let open = planned(IngressPolicy::Open, DUAL).unwrap();
        assert_eq!((open.policy, open.ports), (Policy::Open, Vec::new()));
    }

    #[test]
    fn a_policy_needs_a_bridge_of_the_host() {
        for (result, words) in [
            ("{}", "interface needs to be set for ingress policy \"same-bridge\""),
            (r#"{"interfaces":[{"name":""}]}"#, "got empty bridge name"),
            (r#"{"interfaces":[{"name":"eth0","sandbox":"/x"}]}"#, "\"eth0\" is no bridge of the host"),
            (r#"{"interfaces":[{"name":"b\n-F INPUT"}]}"#, r#""b\n-F INPUT" is no bridge of the host"#),
            (r#"{"interfaces":[{"name":"b\" -j X"}]}"#, "is no bridge of the host"),
        ] {
            let error = planned(IngressPolicy::SameBridge, result).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG);
            assert!(error.msg().contains(words), "{}", error.msg());
            assert!(planned(IngressPolicy::Open, result).is_ok());
        }
    }
}
