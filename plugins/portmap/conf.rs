//! The configuration twice: as written, and as meant. What is meant cannot hold a contradiction.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use cni::error::{Error, Result};
use linux::nft::Family;
use serde::{Deserialize, Serialize};

use crate::portmap::condition::Condition;
use crate::portmap::iptables::words;

/// As written: the keys of the Go plugin, 1.9.1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    backend: Option<String>,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Vec<String>,
    conditions_v6: Vec<String>,
    runtime_config: RuntimeConfig,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConfig {
    port_mappings: Vec<RawMapping>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// Whose connections get the host's address as their source.
    pub snat: Snat,
    /// The bit of a mark that is used for it, if the administrator has chosen one.
    pub mark_bit: Option<u8>,
    /// Who keeps the rules, and which packets may use the ports.
    pub by: By,
    /// The ports. No two of them overlap.
    pub mappings: Vec<Mapping>,
}

/// Who keeps the rules. Where a configuration says something for one of them alone, it is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// The kernel's nf_tables, and iptables where it has none.
    Either,
    /// nf_tables; with conditions for IPv4 and for IPv6, of which `None` is none.
    Nftables([Option<Condition>; 2]),
    /// iptables.
    Iptables(Words),
}

/// What iptables is told in its own words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Words {
    /// The chain of somebody else that marks what is to be masqueraded.
    pub mark_chain: Option<String>,
    /// Matches for IPv4 and for IPv6.
    pub conditions: [Vec<String>; 2],
}

/// Whose connections to a published port get the host's address as their source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Snat {
    /// Nobody's.
    None,
    /// Those of the host's 127.0.0.0/8 and of the container's own subnet: their answers would not come back by the host.
    Local,
    /// Everybody's.
    All,
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The address of the host.
    pub host: HostAddress,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the container.
    pub container_port: u16,
}

/// Where a port is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostAddress {
    /// On every address of the host, whatever the family.
    Every,
    /// On every address of one family: `0.0.0.0` or `::`.
    EveryOf(Family),
    /// On this one.
    One(IpAddr),
}

impl HostAddress {
    /// Where packets of the family are to be met: at one address, or at any; `None` is nowhere.
    pub fn within(self, family: Family) -> Option<Option<IpAddr>> {
        match self {
            HostAddress::Every => Some(None),
            HostAddress::EveryOf(own) => (own == family).then_some(None),
            HostAddress::One(address) => {
                (address.is_ipv4() == (family == Family::Ipv4)).then_some(Some(address))
            }
        }
    }
}

/// A protocol with ports, by its number (`IPPROTO_*`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    /// TCP
    Tcp = 6,
    /// UDP
    Udp = 17,
    /// SCTP
    Sctp = 132,
}

impl Protocol {
    /// Every protocol that has ports here.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// Whatever its case; a mapping that does not say is about TCP.
    fn named(name: &str) -> Option<Protocol> {
        match name.to_ascii_lowercase().as_str() {
            "" | "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl Conf {
    /// What the configuration of this call means.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] with key and value, for what makes no sense.
    pub fn meant(raw: Raw) -> Result<Conf> {
        let mark_bit = mark_bit(&raw)?;
        let by = by(&raw)?;
        let snat = match (raw.snat.unwrap_or(true), raw.masq_all) {
            (false, _) => Snat::None,
            (true, false) => Snat::Local,
            (true, true) => Snat::All,
        };
        let mappings = mappings(&raw.runtime_config.port_mappings)?;
        Ok(Conf { snat, mark_bit, by, mappings })
    }

    /// The conditions that nf_tables has to look at, for IPv4 and for IPv6.
    pub fn conditions(&self) -> [Option<&Condition>; 2] {
        match &self.by {
            By::Nftables(conditions) => conditions.each_ref().map(Option::as_ref),
            By::Either | By::Iptables(_) => [None, None],
        }
    }
}

impl Raw {
    /// The runtime has named ports.
    pub fn has_mappings(&self) -> bool {
        !self.runtime_config.port_mappings.is_empty()
    }
}

fn mark_bit(raw: &Raw) -> Result<Option<u8>> {
    let chain = raw.external_set_mark_chain.as_deref().unwrap_or_default();
    if !chain.is_empty() && raw.mark_masq_bit.is_some() {
        return Err(Error::config("Cannot specify externalSetMarkChain and markMasqBit")
            .details(format!("externalSetMarkChain {chain:?}")));
    }
    let fits = |bit: i64| u8::try_from(bit).ok().filter(|bit| *bit < 32);
    let refuse = |bit: i64| {
        Error::config("MasqMarkBit must be between 0 and 31").details(format!("markMasqBit {bit}"))
    };
    raw.mark_masq_bit.map(|bit| fits(bit).ok_or_else(|| refuse(bit))).transpose()
}

/// What a condition is written for tells its first letter, as in the Go plugin.
fn is_for_iptables(words: &[String]) -> bool {
    words.iter().find(|word| !word.is_empty()).is_some_and(|word| word.starts_with(['-', '!']))
}

fn by(raw: &Raw) -> Result<By> {
    let chain = raw.external_set_mark_chain.as_deref().filter(|chain| !chain.is_empty());
    let conditions = [("conditionsV4", &raw.conditions_v4), ("conditionsV6", &raw.conditions_v6)];
    let says = |words: &[String]| words.iter().any(|word| !word.is_empty());
    let speaking = |for_iptables: bool| {
        conditions.iter().filter(move |(_, words)| says(words) && is_for_iptables(words) == for_iptables)
    };
    let mut of_iptables: Vec<&str> = chain.map(|_| "externalSetMarkChain").into_iter().collect();
    of_iptables.extend(speaking(true).map(|(key, _)| *key));
    let of_nftables: Vec<&str> = speaking(false).map(|(key, _)| *key).collect();
    let contradiction = |backend, other, keys: &[&str]| {
        let keys = keys.join(" ");
        Err(Error::config(format!(
            "{backend} backend was requested but configuration contains {other}-specific options [{keys}]"
        )))
    };
    match raw.backend.as_deref().unwrap_or_default() {
        "nftables" if !of_iptables.is_empty() => contradiction("nftables", "iptables", &of_iptables),
        "iptables" if !of_nftables.is_empty() => contradiction("iptables", "nftables", &of_nftables),
        "" if !of_iptables.is_empty() && !of_nftables.is_empty() => {
            let [iptables, nftables] = [of_iptables, of_nftables].map(|keys| keys.join(" "));
            let text = format!("[{iptables}] is for iptables, and [{nftables}] for nftables");
            Err(Error::config(text).details("one backend keeps the rules of both families"))
        }
        "" if of_iptables.is_empty() && of_nftables.is_empty() => Ok(By::Either),
        "" | "iptables" if of_nftables.is_empty() => by_iptables(raw, chain).map(By::Iptables),
        "" | "nftables" => Ok(By::Nftables([
            Condition::read("conditionsV4", Family::Ipv4, &raw.conditions_v4)?,
            Condition::read("conditionsV6", Family::Ipv6, &raw.conditions_v6)?,
        ])),
        other => Err(Error::config(format!("unrecognized backend {other:?}"))
            .details("backend is \"nftables\" or \"iptables\"")),
    }
}

fn by_iptables(raw: &Raw, chain: Option<&str>) -> Result<Words> {
    Ok(Words {
        mark_chain: chain.map(words::chain).transpose()?,
        conditions: [
            words::matches("conditionsV4", &raw.conditions_v4)?,
            words::matches("conditionsV6", &raw.conditions_v6)?,
        ],
    })
}

/// At which address a port is taken, or at any; and by which mapping.
type Taken = (Option<IpAddr>, usize);

/// Each by itself, then all of them together.
fn mappings(raw: &[RawMapping]) -> Result<Vec<Mapping>> {
    let mut taken: BTreeMap<(u8, Protocol, u16), Vec<Taken>> = BTreeMap::new();
    let mut mappings = Vec::with_capacity(raw.len());
    for (number, written) in raw.iter().enumerate() {
        let mapping = written.meant(number)?;
        for family in [Family::Ipv4, Family::Ipv6] {
            let Some(place) = mapping.host.within(family) else { continue };
            let others = taken.entry((family as u8, mapping.protocol, mapping.host_port)).or_default();
            let meets = |other: &Option<IpAddr>| other.is_none() || place.is_none() || *other == place;
            if let Some((_, other)) = others.iter().find(|(other, _)| meets(other)) {
                let (port, protocol) = (mapping.host_port, mapping.protocol);
                return Err(Error::config(format!("host port {port}/{protocol} is mapped twice"))
                    .details(format!("portMappings[{other}] and portMappings[{number}] overlap")));
            }
            others.push((place, number));
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

impl RawMapping {
    fn meant(&self, number: usize) -> Result<Mapping> {
        let key = |key: &str, value: &dyn fmt::Display| format!("portMappings[{number}].{key} is {value}");
        let port = |name: &str, what: &str, port: i64| {
            let fits = u16::try_from(port).ok().filter(|port| *port != 0);
            fits.ok_or_else(|| {
                Error::config(format!("Invalid {what} port number: {port}")).details(key(name, &port))
            })
        };
        let container_port = port("containerPort", "container", self.container_port)?;
        let host_port = port("hostPort", "host", self.host_port)?;
        let protocol = Protocol::named(&self.protocol).ok_or_else(|| {
            Error::config(format!("unknown protocol {:?}", self.protocol))
                .details(format!("{}; there are tcp, udp and sctp", key("protocol", &self.protocol)))
        })?;
        let host = host_address(&self.host_ip).map_err(|why| {
            Error::config(format!("hostIP {:?}: {why}", self.host_ip)).details(key("hostIP", &self.host_ip))
        })?;
        Ok(Mapping { host, protocol, host_port, container_port })
    }
}

fn host_address(text: &str) -> Result<HostAddress, &'static str> {
    if text.is_empty() {
        return Ok(HostAddress::Every);
    }
    let address = text.parse::<IpAddr>().map_err(|_| "invalid IP address")?.to_canonical();
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ok(HostAddress::EveryOf(Family::Ipv4)),
        IpAddr::V6(v6) if v6.is_unspecified() => Ok(HostAddress::EveryOf(Family::Ipv6)),
        IpAddr::V6(v6) if v6.is_loopback() => Err("the kernel sends no packet from ::1 to a container"),
        address if address.is_multicast() => Err("it is no address of one host"),
        address => Ok(HostAddress::One(address)),
    }
}

#[cfg(test)]
mod tests;
