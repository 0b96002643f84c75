//! How each candidate is asked.

use std::path::Path;

use crate::candidate::{Candidate, Verb, Work};
use crate::weigh::Invocation;

/// Where the Go plugins look for iptables.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A network of one candidate.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) plugin: &'static str,
    pub(crate) name: String,
    pub(crate) bridge: String,
    /// The first half of the addresses.
    pub(crate) subnet: String,
    pub(crate) masquerade: bool,
    pub(crate) default_route: bool,
    pub(crate) leases: String,
}

impl Network {
    /// Each candidate has a /16 for its bridge and another for veth.
    pub(crate) fn of(work: Work, candidate: Candidate) -> Network {
        let (plugin, masquerade) = (work.plugin(), work.masquerades());
        let row = if work == Work::Veth { 80 } else { 70 };
        Network {
            plugin,
            name: format!("bench-{plugin}{}", if masquerade { "-masquerade" } else { "" }),
            bridge: format!("br-{}", candidate.name()),
            subnet: format!("10.{}", row + candidate as u8),
            masquerade,
            default_route: true,
            leases: format!("/run/leases/{}", candidate.name()),
        }
    }

    fn conf(&self) -> String {
        let Network { plugin, name, bridge, subnet, masquerade, leases, .. } = self;
        let routes = if self.default_route { r#"{"dst":"0.0.0.0/0"}"# } else { "" };
        let ipam = format!(
            r#"{{"type":"host-local","subnet":"{subnet}.0.0/16","routes":[{routes}],"dataDir":"{leases}"}}"#
        );
        let keys = match *plugin {
            "bridge" => {
                format!(r#","bridge":"{bridge}","isGateway":true,"ipMasq":{masquerade},"ipam":{ipam}"#)
            }
            "ptp" => format!(r#","ipam":{ipam}"#),
            _ => String::new(),
        };
        format!(r#"{{"cniVersion":"1.0.0","name":"{name}","type":"{plugin}"{keys}}}"#)
    }
}

/// Whom to attach, and under which name.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) netns: String,
    pub(crate) ifname: &'static str,
    /// What the yardstick, which has no IPAM, uses as the second half of the address.
    pub(crate) number: u16,
}

impl Container {
    /// One of a candidate's pool.
    pub(crate) fn of(candidate: Candidate, work: Work, number: u16) -> Container {
        let id = format!("{}{number}", candidate.name());
        Container { netns: format!("/run/netns/{id}"), id, ifname: work.ifname(), number: number + 2 }
    }
}

/// How a plugin in `folder` is asked, as a runtime would (CNI spec 1.0.0, section 2).
pub(crate) fn plugin(folder: &Path, network: &Network, verb: Verb, container: &Container) -> Invocation {
    let mut env = vec![
        ("PATH", PATH.to_owned()),
        ("CNI_COMMAND", verb.word().to_owned()),
        ("CNI_PATH", folder.display().to_string()),
    ];
    if verb != Verb::Version {
        env.push(("CNI_CONTAINERID", container.id.clone()));
        env.push(("CNI_NETNS", container.netns.clone()));
        env.push(("CNI_IFNAME", container.ifname.to_owned()));
    }
    Invocation { program: folder.join(network.plugin), args: vec![], env, stdin: network.conf() }
}

/// How the yardstick is asked; its own head explains the arguments.
pub(crate) fn yardstick(program: &Path, network: &Network, verb: Verb, container: &Container) -> Invocation {
    let host_end = format!("veth{}", container.number);
    let netns = container.netns.clone();
    let attach = |kind: &str| {
        let (subnet, [upper, lower]) = (&network.subnet, container.number.to_be_bytes());
        let address = format!("{subnet}.{upper}.{lower}/16");
        let (host_end, ifname) = (host_end.clone(), container.ifname.into());
        vec![kind.into(), netns.clone(), host_end, ifname, address, format!("{subnet}.0.1")]
    };
    let args = match (verb, network.plugin) {
        (Verb::Version, _) => vec!["nothing".into()],
        (Verb::Add, "loopback") => vec!["loopback".into(), netns, "up".into()],
        (Verb::Del, "loopback") => vec!["loopback".into(), netns, "down".into()],
        (Verb::Add, "bridge") => {
            let announce = network.masquerade.then(|| "announce".into());
            attach("bridge").into_iter().chain([network.bridge.clone()]).chain(announce).collect()
        }
        (Verb::Add, _) => attach("veth"),
        (Verb::Del, _) => vec!["delete".into(), host_end],
    };
    Invocation { program: program.to_owned(), args, env: vec![], stdin: String::new() }
}
