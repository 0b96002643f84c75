//! What all forms of the picture say in the same words. Everything here is safe to show (see [`crate::text`]).

use super::model::{Far, Graph, Link, Namespace};
use crate::text::shown;
use linux::link::Stacked;
use linux::route::Route;
use plugins::attachment::mark::Mark;

/// Its kind, and what only links of that kind have, in a word each.
pub(super) fn particulars(link: &Link) -> Vec<String> {
    let mut words: Vec<String> = link.kernel.kind.iter().map(|kind| shown(kind.as_bytes())).collect();
    match link.kernel.stacked {
        Some(Stacked::Vlan { id, protocol: 0x88a8 }) => words.push(format!("{id} (802.1ad)")),
        Some(Stacked::Vlan { id, .. }) => words.push(id.to_string()),
        Some(Stacked::Macvlan(mode)) => words.push(macvlan_mode(mode).into()),
        None => {}
    }
    if link.kernel.filtering.is_some_and(|filtering| filtering.on) {
        words.push("tells vlans apart".into());
    }
    let port = link.kernel.port.unwrap_or_default();
    words.extend(port.hairpin.then(|| "hairpin".into()));
    words.extend(port.isolated.then(|| "isolated".into()));
    words
}

/// include/uapi/linux/if_link.h, in the words of ip-link(8).
pub(super) fn macvlan_mode(mode: u32) -> &'static str {
    match mode {
        1 => "private",
        2 => "vepa",
        4 => "bridge",
        8 => "passthru",
        16 => "source",
        _ => "of an unknown mode",
    }
}

/// Where a link leads, in words; none where the tree itself says it.
pub(super) fn far(graph: &Graph, own: &Namespace, link: &Link) -> Option<String> {
    let towards = if link.is_pair() { "⇄" } else { "on" };
    let kernel = &link.kernel;
    match link.far {
        Far::Nowhere => None,
        Far::Link(place) => {
            let (there, other) = (graph.namespaces.get(place.namespace)?, graph.link(place)?);
            let same = std::ptr::eq(there, own);
            let drawn_there = same && !link.is_pair() && kernel.master.is_none();
            let whose = if same { String::new() } else { format!(" in {}", there.title()) };
            (!drawn_there).then(|| format!("{towards} {}{whose}", other.label()))
        }
        Far::Closed(namespace) => {
            let there = graph.namespaces.get(namespace)?;
            Some(format!("{towards} link {} in {}", kernel.peer?, there.title()))
        }
        Far::Unseen => Some(unseen(link)),
    }
}

fn unseen(link: &Link) -> String {
    let towards = if link.is_pair() { "⇄" } else { "on" };
    let index = link.kernel.peer.unwrap_or_default();
    match link.kernel.peer_nsid {
        Some(id) if id >= 0 => format!("{towards} link {index} in an unseen namespace (id {id})"),
        Some(_) => format!("{towards} link {index} in an unseen namespace"),
        None => format!("{towards} link {index}"),
    }
}

/// Whose it is, or what somebody wrote there.
pub(super) fn remark(link: &Link) -> Option<String> {
    let alias = link.kernel.alias.as_deref()?;
    match Mark::told(alias) {
        Some(told) => {
            Some(shown(format!("network {} container {}", told.network, told.container).as_bytes()))
        }
        None => Some(format!("\"{}\"", shown(alias.as_bytes()))),
    }
}

/// A route as `ip route` says it.
pub(super) fn route(route: &Route, namespace: &Namespace) -> Vec<String> {
    let net = match route.is_default() {
        true if route.dst.is_ipv4() => "default".into(),
        true => "default (IPv6)".into(),
        false => route.dst.to_string(),
    };
    let link = namespace.links().iter().find(|link| link.kernel.index == route.oif);
    let mut words = vec![net];
    words.extend(route.gateway.map(|gateway| format!("via {gateway}")));
    words.push(format!("dev {}", link.map_or_else(|| route.oif.to_string(), Link::label)));
    words.extend(route.source.map(|source| format!("src {source}")));
    words.extend(route.priority.map(|metric| format!("metric {metric}")));
    words
}

/// Who could not be looked at, if anybody.
pub(super) fn hidden(graph: &Graph) -> Option<String> {
    match graph.hidden {
        0 => None,
        1 => Some("1 process may not be looked at; its namespace may be missing here".to_owned()),
        more => Some(format!("{more} processes may not be looked at; their namespaces may be missing here")),
    }
}

/// A link in a few lines: its name, what it is, its MAC and MTU, its addresses, its VLANs, whose it is.
pub(super) fn lines(link: &Link) -> Vec<String> {
    let kernel = &link.kernel;
    let mut what = particulars(link);
    what.extend((!link.works()).then(|| link.state()));
    let mut lines = vec![link.label()];
    lines.extend((!what.is_empty()).then(|| what.join(" ")));
    lines.push(hardware(link));
    lines.extend(link.addresses.iter().map(|address| address.net.to_string()));
    lines.extend(link.vlans.iter().map(|vlans| format!("vlans {vlans}")));
    lines.extend(remark(link));
    lines.extend((link.far == Far::Unseen && kernel.peer_nsid.is_some()).then(|| unseen(link)));
    lines
}

/// `mtu 1500`, and its Ethernet address where it has one.
pub(super) fn hardware(link: &Link) -> String {
    let mtu = format!("mtu {}", link.kernel.mtu);
    match link.kernel.mac.filter(|mac| mac.0 != [0; 6]) {
        Some(mac) => format!("{mac} {mtu}"),
        None => mtu,
    }
}
