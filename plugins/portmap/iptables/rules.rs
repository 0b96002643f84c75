//! What an attachment publishes by iptables, and the rules for it: those that the Go plugin writes, so that either removes the
//! other's.
//!
//! ```text
//! -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT                              and OUTPUT
//! -A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"net\" id: \"web\"" -m multiport -p tcp
//!     --destination-ports 8080,8081 <conditions> -j CNI-DN-2bbe0c48b91a7d1b8a675               15 ports each
//! -A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -s 10.22.0.5/16 -j CNI-HOSTPORT-SETMARK
//! -A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
//! -A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -j DNAT --to-destination 10.22.0.5:80    these three for each port
//! -A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
//! -I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
//! -A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
//! ```
//!
//! The chains `CNI-HOSTPORT-…` are those of all containers, and stay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cni::call::Attachment;
use cni::result::Success;
use linux::nft::Family;
use linux::nft::phrase::family_of;
use serde::{Deserialize, Serialize};

use crate::attachment::inherited;
use crate::attachment::iptables::Rule;
use crate::attachment::published::GUARD;
use crate::portmap::conf::{Conf, HostAddress, Mapping, Protocol, Snat, Words};
use crate::portmap::key::{Key, Space};
use crate::portmap::plan::{address_of, leads_from_loopback};

/// The chain in which containers' ports are looked up.
pub const DNAT: &str = "CNI-HOSTPORT-DNAT";
/// The chain that marks what is to be masqueraded.
pub const SETMARK: &str = "CNI-HOSTPORT-SETMARK";
/// The chain that masquerades it.
pub const MASQ: &str = "CNI-HOSTPORT-MASQ";

/// So many ports fit a match of `multiport` (`XT_MULTI_PORTS`).
const PORTS_OF_A_RULE: usize = 15;

/// The bit of a packet's mark, unless the administrator has chosen another.
const MARK_BIT: u8 = 13;

/// What an attachment publishes: enough to write its rules again, as a record has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Published {
    mappings: Vec<Span>,
    containers: Vec<Container>,
    snat: Snat,
    mark: Marking,
}

/// Mappings that follow one another: ten thousand are one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Span {
    /// `None` is every address, and the unspecified one of a family is every address of that family.
    host: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
    container_first: u16,
}

/// The address of a container in one family.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// The address.
    pub address: IpAddr,
    prefix: u8,
    conditions: Vec<String>,
}

/// Who marks what is to be masqueraded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Marking {
    /// A chain of ours, by this bit.
    Bit(u8),
    /// A chain of somebody else.
    Chain(String),
}

/// The rules of a container in one family.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Those of its own chain.
    pub own: Vec<Rule>,
    /// Those that lead there.
    pub entries: Vec<Rule>,
}

/// A container in one family, and whose it is.
pub type Whose<'a> = (&'a Attachment, &'a Published, &'a Container);

impl Rules {
    /// The rules of these containers, which have one chain: each once.
    pub fn of(containers: &[Whose<'_>]) -> Rules {
        let mut all = Rules::default();
        let mut written = BTreeSet::new();
        for (attachment, published, container) in containers {
            let Rules { own, entries } = published.rules(attachment, container);
            all.own.extend(own.into_iter().filter(|rule| written.insert(rule.order())));
            all.entries.extend(entries.into_iter().filter(|rule| written.insert(rule.order())));
        }
        all
    }
}

impl Container {
    /// Its family.
    pub fn family(&self) -> Family {
        family_of(self.address)
    }
}

impl Published {
    /// What to publish of a container that has this result.
    pub fn of(conf: &Conf, words: &Words, attachment: &Attachment, result: &Success) -> Published {
        let families = [Family::Ipv4, Family::Ipv6].into_iter().zip(&words.conditions);
        let containers = families.filter_map(|(family, conditions)| {
            let found = address_of(attachment, result, family)?;
            conf.mappings.iter().any(|mapping| mapping.host.within(family).is_some()).then(|| Container {
                address: found.ip(),
                prefix: found.prefix(),
                conditions: conditions.clone(),
            })
        });
        let mark = match &words.mark_chain {
            Some(chain) => Marking::Chain(chain.clone()),
            None => Marking::Bit(conf.mark_bit.unwrap_or(MARK_BIT)),
        };
        Published { mappings: spans(&conf.mappings), containers: containers.collect(), snat: conf.snat, mark }
    }

    /// The addresses of the container: one of a family, or none.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// The chain of somebody else that has to be there.
    pub fn foreign_chain(&self) -> Option<&str> {
        match &self.mark {
            Marking::Chain(chain) if self.snat != Snat::None => Some(chain),
            Marking::Chain(_) | Marking::Bit(_) => None,
        }
    }

    /// Some port is to be met at an address of 127.0.0.0/8, from this host: the container's address then.
    pub fn by_loopback(&self) -> Option<IpAddr> {
        let v4 = self.containers.iter().find(|it| it.family() == Family::Ipv4)?;
        let mut hosts = self.mappings.iter().filter_map(|span| host(span).within(Family::Ipv4));
        hosts.any(|host| leads_from_loopback(Family::Ipv4, host, self.snat)).then_some(v4.address)
    }

    /// Its ports, and where they lead.
    pub fn ports(&self, attachment: &Attachment) -> Vec<(Key, SocketAddr)> {
        let mut ports = Vec::new();
        for container in &self.containers {
            let family = container.family();
            // No condition of nftables has such a text.
            let text = format!("iptables\n{}", container.conditions.join("\n"));
            let text = (!container.conditions.is_empty()).then_some(text.as_str());
            let space = Space::of(&attachment.network, family, text);
            for Mapping { host, protocol, host_port, container_port } in self.mappings() {
                let Some(host) = host.within(family) else { continue };
                let key = Key { space: space.clone(), host, protocol, port: host_port };
                ports.push((key, SocketAddr::new(container.address, container_port)));
            }
        }
        ports
    }

    fn mappings(&self) -> impl Iterator<Item = Mapping> {
        self.mappings.iter().flat_map(|span| {
            let ports = (span.first..=span.last).zip(span.container_first..=u16::MAX);
            ports.map(|(host_port, container_port)| Mapping {
                host: host(span),
                protocol: span.protocol,
                host_port,
                container_port,
            })
        })
    }

    /// The rules of one family.
    fn rules(&self, attachment: &Attachment, container: &Container) -> Rules {
        let chain = inherited::ports_chain(attachment);
        Rules { own: self.own(&chain, container), entries: self.entries(&chain, attachment, container) }
    }

    fn own(&self, chain: &str, container: &Container) -> Vec<Rule> {
        let family = container.family();
        let mark = match &self.mark {
            Marking::Bit(_) => SETMARK,
            Marking::Chain(chain) => chain,
        };
        let subnet = format!("{}/{}", container.address, container.prefix);
        let sources = match (self.snat, family) {
            (Snat::None, _) => vec![],
            (Snat::All, Family::Ipv6) => vec!["::/0"],
            (Snat::All, _) => vec!["0.0.0.0/0"],
            (Snat::Local, Family::Ipv6) => vec![subnet.as_str()],
            (Snat::Local, _) => vec![subnet.as_str(), "127.0.0.1"],
        };
        let mut rules = Vec::new();
        for mapping in self.mappings() {
            let Some(host) = mapping.host.within(family) else { continue };
            let (protocol, port) = (mapping.protocol.to_string(), mapping.host_port.to_string());
            let host = host.map(|host| host.to_string());
            let mut meets = vec!["-p", &protocol, "--dport", &port];
            meets.extend(host.iter().flat_map(|host| ["-d", host]));
            let to = SocketAddr::new(container.address, mapping.container_port).to_string();
            let rule = |rest: &[&str]| Rule::last(chain, meets.iter().chain(rest).copied());
            rules.extend(sources.iter().map(|source| rule(&["-s", source, "-j", mark])));
            rules.push(rule(&["-j", "DNAT", "--to-destination", &to]));
        }
        rules
    }

    /// Ports that are published in the other family alone are named here too, as the Go plugin does: the chain passes over
    /// them.
    fn entries(&self, chain: &str, attachment: &Attachment, container: &Container) -> Vec<Rule> {
        let comment = comment(attachment);
        let mut ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mapping in self.mappings() {
            ports.entry(mapping.protocol.to_string()).or_default().push(mapping.host_port.to_string());
        }
        let mut rules = Vec::new();
        for (protocol, ports) in &ports {
            for ports in ports.chunks(PORTS_OF_A_RULE) {
                let ports = ports.join(",");
                let meets = ["-m", "comment", "--comment", &comment, "-m", "multiport", "-p", protocol];
                let words = meets.into_iter().chain(["--destination-ports", &ports]);
                let words = words.chain(container.conditions.iter().map(String::as_str)).chain(["-j", chain]);
                // As with nftables, ports of some come before those of everybody.
                rules.push(match container.conditions.is_empty() {
                    true => Rule::last(DNAT, words),
                    false => Rule::first(DNAT, words),
                });
            }
        }
        rules
    }

    /// The chains that all containers share, and their rules.
    pub fn frame(&self) -> (Vec<&'static str>, Vec<Rule>) {
        let local = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT];
        let (mut chains, mut rules) = (vec![DNAT], vec![]);
        if let (Marking::Bit(bit), true) = (&self.mark, self.snat != Snat::None) {
            let bit = 1_u32.checked_shl((*bit).into()).unwrap_or_default();
            let mark = format!("{bit:#x}/{bit:#x}");
            let said = |words: &str| ["-m", "comment", "--comment", words].map(String::from);
            let words = |words: [&str; 4]| words.map(String::from);
            let marks = said("CNI portfwd masquerade mark").into_iter();
            rules.push(Rule::last(SETMARK, marks.chain(words(["-j", "MARK", "--set-xmark", &mark]))));
            let masquerades = words(["-m", "mark", "--mark", &mark]).into_iter();
            rules.push(Rule::last(MASQ, masquerades.chain(["-j", "MASQUERADE"].map(String::from))));
            // Before what the interface plugins masquerade.
            let jump = said("CNI portfwd requiring masquerade").into_iter();
            rules.push(Rule::first("POSTROUTING", jump.chain(["-j", MASQ].map(String::from))));
            chains.extend([SETMARK, MASQ]);
        }
        rules.extend(["PREROUTING", "OUTPUT"].map(|hook| Rule::last(hook, local)));
        (chains, rules)
    }
}

/// The rules that keep 127.0.0.0/8 inside: those of their own chain, and the one that leads there.
pub fn guard() -> ([Rule; 2], Rule) {
    let [_, from, chain] = GUARD;
    let drops = |end| Rule::last(chain, [end, "127.0.0.0/8", "-j", "DROP"]);
    (["-d", "-s"].map(drops), Rule::first(from, ["!", "-i", "lo", "-j", chain]))
}

fn host(span: &Span) -> HostAddress {
    match span.host {
        None => HostAddress::Every,
        Some(host) if host.is_unspecified() => HostAddress::EveryOf(family_of(host)),
        Some(host) => HostAddress::One(host),
    }
}

fn spans(mappings: &[Mapping]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for mapping in mappings {
        let span = Span {
            host: match mapping.host {
                HostAddress::Every => None,
                HostAddress::EveryOf(Family::Ipv6) => Some(IpAddr::from([0_u16; 8])),
                HostAddress::EveryOf(_) => Some(IpAddr::from([0; 4])),
                HostAddress::One(host) => Some(host),
            },
            protocol: mapping.protocol,
            first: mapping.host_port,
            last: mapping.host_port,
            container_first: mapping.container_port,
        };
        match spans.last_mut() {
            Some(before) if follows(before, &span) => before.last = span.last,
            _ => spans.push(span),
        }
    }
    spans
}

fn follows(before: &Span, span: &Span) -> bool {
    let length = before.last.wrapping_sub(before.first).checked_add(1);
    let container = length.and_then(|length| before.container_first.checked_add(length));
    (before.host, before.protocol, before.last.checked_add(1), container)
        == (span.host, span.protocol, Some(span.first), Some(span.container_first))
}

/// `trimComment` of the Go plugin.
fn comment(attachment: &Attachment) -> String {
    let mut text = format!("dnat {}", inherited::comment(attachment));
    if text.len() > 255 {
        // Neither name holds anything but ASCII.
        text.truncate(253);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::spec::Spec;
    use cni::value::Value;

    use super::*;
    use crate::portmap::conf::By;

    fn attachment(container: &str) -> Attachment {
        let (network, ifname) = ("test", "eth0");
        Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn published(keys: &str, mappings: &str) -> Published {
        let conf =
            format!(r#"{{"backend":"iptables","runtimeConfig":{{"portMappings":[{mappings}]}}{keys}}}"#);
        let conf = Conf::meant(decode(&Value::parse(conf.as_bytes()).unwrap()).unwrap()).unwrap();
        let By::Iptables(words) = conf.by.clone() else { panic!("{:?}", conf.by) };
        let result = r#"{"ips":[{"address":"10.0.0.2/24"},{"address":"2001:db8::2/64"}]}"#;
        let result = Success::read(&Value::parse(result.as_bytes()).unwrap(), Spec::NEWEST).unwrap();
        Published::of(&conf, &words, &attachment("1234"), &result)
    }

    fn orders(published: &Published, family: Family) -> String {
        let container = published.containers().iter().find(|it| it.family() == family).unwrap();
        let Rules { own, entries } = published.rules(&attachment("1234"), container);
        entries.iter().chain(&own).map(Rule::order).collect()
    }

    const PORTS: &str = r#"{"hostPort":8080,"containerPort":80},{"hostPort":53,"containerPort":53,"protocol":"UDP"},
        {"hostPort":8081,"containerPort":80,"hostIP":"192.0.2.1"},{"hostPort":8082,"containerPort":80,"hostIP":"::"}"#;

    #[test]
    fn the_rules_are_those_of_the_go_plugin() {
        let published = published("", PORTS);
        let v4 = r#"-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"test\" id: \"1234\"" -m multiport -p tcp --destination-ports 8080,8081,8082 -j CNI-DN-2bbe0c48b91a7d1b8a675
-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"test\" id: \"1234\"" -m multiport -p udp --destination-ports 53 -j CNI-DN-2bbe0c48b91a7d1b8a675
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -s 10.0.0.2/24 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p udp --dport 53 -s 10.0.0.2/24 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p udp --dport 53 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p udp --dport 53 -j DNAT --to-destination 10.0.0.2:53
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8081 -d 192.0.2.1 -s 10.0.0.2/24 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8081 -d 192.0.2.1 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp --dport 8081 -d 192.0.2.1 -j DNAT --to-destination 10.0.0.2:80
"#;
        assert_eq!(orders(&published, Family::Ipv4), v4);
        let v6 = orders(&published, Family::Ipv6);
        assert!(v6.contains("-p tcp --dport 8082 -s 2001:db8::2/64 -j CNI-HOSTPORT-SETMARK\n"), "{v6}");
        assert!(v6.contains("-p tcp --dport 8082 -j DNAT --to-destination [2001:db8::2]:80\n"), "{v6}");
        assert!(!v6.contains("127.0.0.1") && !v6.contains("--dport 8081"), "{v6}");
    }

    #[test]
    fn each_key_has_its_word() {
        let one = r#"{"hostPort":8080,"containerPort":80}"#;
        let of = |keys: &str| orders(&published(keys, one), Family::Ipv4);
        assert!(!of(r#","snat":false"#).contains("SETMARK"));
        let all = of(r#","masqAll":true"#);
        assert!(all.contains("-s 0.0.0.0/0 -j CNI-HOSTPORT-SETMARK") && !all.contains("127.0.0.1"), "{all}");
        let chain = published(r#","externalSetMarkChain":"KUBE-MARK-MASQ""#, one);
        assert!(orders(&chain, Family::Ipv4).contains("-s 10.0.0.2/24 -j KUBE-MARK-MASQ\n"));
        assert_eq!((chain.frame().0, chain.foreign_chain()), (vec![DNAT], Some("KUBE-MARK-MASQ")));
        let bit = published(r#","markMasqBit":5"#, one).frame().1;
        assert!(bit.iter().any(|rule| rule.order().ends_with("-j MARK --set-xmark 0x20/0x20\n")));
        let some = of(r#","conditionsV4":["!","-s","192.0.2.0/24"]"#);
        let words = "--destination-ports 8080 ! -s 192.0.2.0/24 -j CNI-DN-";
        assert!(some.starts_with("-I CNI-HOSTPORT-DNAT ") && some.contains(words), "{some}");
    }

    #[test]
    fn fifteen_ports_share_a_rule_and_ten_thousand_a_line_of_the_record() {
        let ports: Vec<String> =
            (20_000..30_000).map(|port| format!(r#"{{"hostPort":{port},"containerPort":{port}}}"#)).collect();
        let published = published("", &ports.join(","));
        assert_eq!(published.mappings.len(), 1);
        assert_eq!(published.ports(&attachment("1234")).len(), 20_000);
        let entries = published.rules(&attachment("1234"), &published.containers()[0]).entries;
        assert_eq!(entries.len(), 10_000_usize.div_ceil(15));
        let line = serde_json::to_string(&published).unwrap();
        assert_eq!(serde_json::from_str::<Published>(&line).unwrap(), published);
    }

    #[test]
    fn mappings_that_do_not_follow_one_another_are_told_apart() {
        let ports = r#"{"hostPort":80,"containerPort":80},{"hostPort":81,"containerPort":90},
            {"hostPort":82,"containerPort":91,"protocol":"udp"},{"hostPort":65535,"containerPort":65535,"hostIP":"::"}"#;
        let published = published("", ports);
        let ends: Vec<String> = published
            .ports(&attachment("1234"))
            .iter()
            .map(|(key, to)| format!("{key} {}", to.port()))
            .collect();
        assert_eq!(published.mappings.len(), 4);
        assert_eq!(ends[..3], ["0.0.0.0:80/tcp 80", "0.0.0.0:81/tcp 90", "0.0.0.0:82/udp 91"]);
        assert_eq!(ends.last().unwrap(), "[::]:65535/tcp 65535");
    }

    #[test]
    fn a_long_comment_is_cut_as_the_go_plugin_cuts_it() {
        let long = Attachment { network: "n".repeat(200).parse().unwrap(), ..attachment(&"c".repeat(200)) };
        let text = comment(&long);
        assert_eq!((text.len(), text.ends_with("cc...")), (256, true));
    }
}
