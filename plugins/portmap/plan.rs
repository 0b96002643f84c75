//! What ADD will do, decided before anything is touched.

use std::net::{IpAddr, SocketAddr};

use cni::call::Attachment;
use cni::result::{Ip, Success};
use ipnetwork::IpNetwork;
use linux::nft::Family;

use crate::portmap::condition::Condition;
use crate::portmap::conf::{Conf, Snat};
use crate::portmap::key::{Key, Space};

/// What one call wants of the kernel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The ports, and where they lead.
    pub ports: Vec<(Key, SocketAddr)>,
    /// The addresses to which ports lead: one of a family, or none.
    pub addresses: Vec<IpNetwork>,
    /// The spaces with conditions.
    pub spaces: Vec<(Space, Condition)>,
    /// Whose source is replaced.
    pub snat: Option<Snat>,
    /// Some port is to be met at an address of 127.0.0.0/8, from this host.
    pub by_loopback: bool,
    /// The bit that the administrator has chosen.
    pub mark_bit: Option<u8>,
}

impl Plan {
    /// There is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// The ports alone.
    pub fn keys(&self) -> Vec<Key> {
        self.ports.iter().map(|(key, _)| key.clone()).collect()
    }
}

/// What to publish of a container that has this result. A mapping for a family in which it has no address is passed over, as
/// in the Go plugin.
pub fn plan(conf: &Conf, attachment: &Attachment, result: &Success) -> Plan {
    let mut plan = Plan { snat: Some(conf.snat), mark_bit: conf.mark_bit, ..Plan::default() };
    let families = [Family::Ipv4, Family::Ipv6];
    for (family, condition) in families.into_iter().zip(conf.conditions()) {
        let Some(container) = address_of(attachment, result, family) else { continue };
        let space =
            Space::of(&attachment.network, family, condition.map(|condition| condition.text.as_str()));
        let before = plan.ports.len();
        for mapping in &conf.mappings {
            let Some(host) = mapping.host.within(family) else { continue };
            let (protocol, port) = (mapping.protocol, mapping.host_port);
            let key = Key { space: space.clone(), host, protocol, port };
            plan.ports.push((key, SocketAddr::new(container.ip(), mapping.container_port)));
            plan.by_loopback |= leads_from_loopback(family, host, conf.snat);
        }
        if plan.ports.len() > before {
            plan.addresses.push(container);
            plan.spaces.extend(condition.cloned().map(|condition| (space, condition)));
        }
    }
    plan
}

/// Whether a packet of this host to 127.0.0.0/8 can meet the port and get an answer.
pub fn leads_from_loopback(family: Family, host: Option<IpAddr>, snat: Snat) -> bool {
    family == Family::Ipv4 && snat != Snat::None && host.is_none_or(|host| host.is_loopback())
}

/// The container's first address of a family: one of the interface that the call is about, or one of which the result does
/// not say whose it is.
pub fn address_of(attachment: &Attachment, result: &Success, family: Family) -> Option<IpNetwork> {
    let is_of_the_interface = |ip: &&Ip| {
        let index = ip.interface.and_then(|index| usize::try_from(index).ok());
        let interface = index.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(|it| it.sandbox.is_some() && it.name == attachment.ifname.as_str())
    };
    let of_family = result.ips.iter().filter(|ip| ip.address.is_ipv4() == (family == Family::Ipv4));
    of_family.filter(is_of_the_interface).map(|ip| ip.address).next()
}

/// The subnet of an address with its prefix.
pub fn subnet(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

/// The keys that a configuration without a result speaks of: in both families.
pub fn keys_of(conf: &Conf, attachment: &Attachment) -> Vec<Key> {
    let families = [Family::Ipv4, Family::Ipv6];
    let mut keys = Vec::new();
    for (family, condition) in families.into_iter().zip(conf.conditions()) {
        let space =
            Space::of(&attachment.network, family, condition.map(|condition| condition.text.as_str()));
        keys.extend(conf.mappings.iter().filter_map(|mapping| {
            let host = mapping.host.within(family)?;
            Some(Key { space: space.clone(), host, protocol: mapping.protocol, port: mapping.host_port })
        }));
    }
    keys
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::spec::Spec;
    use cni::value::Value;

    use super::*;

    fn attachment() -> Attachment {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn planned(keys: &str, result: &str) -> Plan {
        let conf = format!(
            r#"{{"runtimeConfig":{{"portMappings":[{{"hostPort":8080,"containerPort":80}}]}}{keys}}}"#
        );
        let conf = Conf::meant(decode(&Value::parse(conf.as_bytes()).unwrap()).unwrap()).unwrap();
        let result = Success::read(&Value::parse(result.as_bytes()).unwrap(), Spec::NEWEST).unwrap();
        plan(&conf, &attachment(), &result)
    }

    const DUAL: &str = r#"{
        "interfaces": [{"name":"br0"},{"name":"eth0","sandbox":"/x"},{"name":"eth1","sandbox":"/x"}],
        "ips": [{"address":"10.9.0.9/24","interface":2},{"address":"10.9.0.1/24","interface":0},
                {"address":"10.9.0.2/24","interface":1},{"address":"10.9.0.3/24","interface":1},
                {"address":"fd00:9::2/64","interface":1}]
    }"#;

    #[test]
    fn a_port_leads_to_the_first_address_of_each_family() {
        let plan = planned("", DUAL);
        let ends: Vec<String> = plan.ports.iter().map(|(key, to)| format!("{key} {to}")).collect();
        assert_eq!(ends, ["0.0.0.0:8080/tcp 10.9.0.2:80", "[::]:8080/tcp [fd00:9::2]:80"]);
        assert!(plan.by_loopback);
    }

    #[test]
    fn an_address_of_nobody_in_particular_is_the_containers() {
        for interface in ["", r#","interface":7"#, r#","interface":-1"#] {
            let result = format!(
                r#"{{"interfaces":[{{"name":"br0"}}],"ips":[{{"address":"10.9.0.2/24"{interface}}}]}}"#
            );
            assert_eq!(planned("", &result).ports.len(), 1, "{interface}");
        }
        assert!(
            planned(
                "",
                r#"{"interfaces":[{"name":"eth0"}],"ips":[{"address":"10.9.0.2/24","interface":0}]}"#
            )
            .is_empty()
        );
        assert!(planned("", "{}").is_empty());
    }

    #[test]
    fn a_condition_makes_a_space_for_its_family_alone() {
        let plan = planned(r#","conditionsV4":["ip","saddr","!=","10.0.0.0/8"]"#, DUAL);
        let [(v4, _), (v6, _)] = plan.ports.as_slice() else { panic!("{plan:?}") };
        assert!(v4.space.condition.is_some() && v6.space.condition.is_none());
        assert_eq!(plan.spaces.len(), 1);
        let other = planned(r#","conditionsV4":["ip saddr 10.0.0.0/8"]"#, DUAL);
        assert_ne!(other.ports[0].0, *v4);
    }

    #[test]
    fn loopback_is_a_way_in_only_where_its_answers_find_back() {
        assert!(!planned(r#","snat":false"#, DUAL).by_loopback);
        let only_v6 = r#"{"ips":[{"address":"fd00:9::2/64"}]}"#;
        assert!(!planned("", only_v6).by_loopback);
    }
}
