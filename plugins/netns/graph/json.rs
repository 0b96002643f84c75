//! The picture for programs; docs/netns.md describes it. Texts that are not UTF-8 are there twice: readable, with U+FFFD for
//! what cannot be read, and as hexadecimal digits of their bytes.

use super::model::{self, Far, Graph, Inside, Link, Namespace, Place};
use super::words;
use linux::link::Stacked;
use linux::vlan::VlanId;
use plugins::attachment::mark::Mark;
use serde::Serialize;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

/// Raised when something is taken away or changes its meaning; additions are no change.
const LAYOUT: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    layout: u32,
    namespaces: Vec<NamespaceObject<'a>>,
    hidden_processes: usize,
}

#[derive(Serialize)]
struct NamespaceObject<'a> {
    id: String,
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names_bytes: Option<Vec<Option<String>>>,
    host: bool,
    here: bool,
    device: Option<u64>,
    inode: Option<u64>,
    processes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<&'a str>,
    links: Vec<LinkObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<RouteObject>>,
}

#[derive(Serialize)]
struct ProcessObject {
    pid: u32,
    command: String,
}

#[derive(Serialize)]
struct LinkObject<'a> {
    id: Option<String>,
    index: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    kind: Option<&'a str>,
    up: bool,
    state: String,
    carrier: bool,
    mtu: u32,
    mac: Option<String>,
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<FarObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<FarObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<VlanObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    macvlan_mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan_filtering: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlans: Option<VlansObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hairpin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<AttachmentObject<'a>>,
}

/// The index that the kernel tells, and what else is known.
#[derive(Serialize)]
struct FarObject {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    nsid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

#[derive(Serialize)]
struct VlanObject {
    id: u16,
    protocol: &'static str,
}

#[derive(Serialize)]
struct VlansObject {
    pvid: Option<u16>,
    untagged: Vec<u16>,
    tagged: Vec<u16>,
}

#[derive(Serialize)]
struct AttachmentObject<'a> {
    network: &'a str,
    container: &'a str,
    interface: &'a str,
}

#[derive(Serialize)]
struct RouteObject {
    destination: String,
    gateway: Option<String>,
    link: Option<String>,
    metric: Option<u32>,
    source: Option<String>,
}

/// Writes the document.
///
/// # Errors
/// None that is known: the values are made here.
pub(super) fn json(graph: &Graph, pretty: bool) -> serde_json::Result<Vec<u8>> {
    let namespaces = (0..graph.namespaces.len()).filter_map(|at| namespace(graph, at)).collect();
    let document = Document { layout: LAYOUT, namespaces, hidden_processes: graph.hidden };
    let mut text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }?;
    text.push(b'\n');
    Ok(text)
}

fn namespace(graph: &Graph, at: usize) -> Option<NamespaceObject<'_>> {
    let namespace = graph.namespaces.get(at)?;
    let names = || namespace.names.iter().map(|name| name.as_bytes());
    let odd: Vec<Option<String>> = names().map(hexadecimal).collect();
    let (closed, routes) = match &namespace.inside {
        Inside::Closed(why) => (Some(why.as_str()), [].as_slice()),
        Inside::Seen { routes, .. } => (None, routes.as_slice()),
    };
    let links = 0..namespace.links().len();
    Some(NamespaceObject {
        id: model::namespace_id(at),
        names: names().map(lossy).collect(),
        names_bytes: odd.iter().any(Option::is_some).then_some(odd),
        host: namespace.host,
        here: namespace.here,
        device: namespace.identity.map(|it| it.device),
        inode: namespace.identity.map(|it| it.inode),
        processes: namespace.processes,
        process: namespace
            .first
            .as_ref()
            .map(|it| ProcessObject { pid: it.pid, command: lossy(&it.command) }),
        closed,
        links: links.filter_map(|link| self::link(graph, Place { namespace: at, link })).collect(),
        routes: (!routes.is_empty()).then(|| routes.iter().map(|it| route(graph, at, it)).collect()),
    })
}

fn link(graph: &Graph, place: Place) -> Option<LinkObject<'_>> {
    let (own, link) = (graph.namespaces.get(place.namespace)?, graph.link(place)?);
    let kernel = &link.kernel;
    let far = far(graph, link);
    let (peer, parent) = if link.is_pair() { (far, None) } else { (None, far) };
    let numbers = |ids: &BTreeSet<VlanId>| ids.iter().map(|id| id.number()).collect::<Vec<_>>();
    let told = kernel.alias.as_deref().and_then(Mark::told);
    let (vlan, macvlan_mode) = match kernel.stacked {
        Some(Stacked::Vlan { id, protocol }) => {
            let protocol = if protocol == 0x88a8 { "802.1ad" } else { "802.1Q" };
            (Some(VlanObject { id, protocol }), None)
        }
        Some(Stacked::Macvlan(mode)) => (None, Some(words::macvlan_mode(mode))),
        None => (None, None),
    };
    let master = kernel.master.and_then(|master| own.position(master));
    Some(LinkObject {
        id: graph.link_id(place),
        index: kernel.index,
        name: lossy(link.bytes()),
        name_bytes: hexadecimal(link.bytes()),
        kind: kernel.kind.as_deref(),
        up: kernel.up,
        state: kernel.state.to_string(),
        carrier: kernel.carrier,
        mtu: kernel.mtu,
        mac: kernel.mac.map(|mac| mac.to_string()),
        addresses: link.addresses.iter().map(|address| address.net.to_string()).collect(),
        master: master.and_then(|link| graph.link_id(Place { link, ..place })),
        peer,
        parent,
        vlan,
        macvlan_mode,
        vlan_filtering: kernel.filtering.map(|filtering| filtering.on),
        vlans: link.vlans.as_ref().map(|vlans| VlansObject {
            pvid: vlans.pvid.map(VlanId::number),
            untagged: numbers(&vlans.untagged),
            tagged: numbers(&vlans.tagged),
        }),
        hairpin: kernel.port.map(|port| port.hairpin),
        isolated: kernel.port.map(|port| port.isolated),
        alias: kernel.alias.as_deref(),
        attachment: told.map(|it| AttachmentObject {
            network: it.network,
            container: it.container,
            interface: it.ifname,
        }),
    })
}

fn far(graph: &Graph, link: &Link) -> Option<FarObject> {
    let (namespace, far) = match link.far {
        Far::Nowhere | Far::Unseen => (None, None),
        Far::Closed(at) => (Some(at), None),
        Far::Link(place) => (Some(place.namespace), graph.link_id(place)),
    };
    let kernel = &link.kernel;
    let index = kernel.peer?;
    Some(FarObject {
        index,
        nsid: kernel.peer_nsid,
        namespace: namespace.map(model::namespace_id),
        link: far,
    })
}

fn route(graph: &Graph, namespace: usize, route: &linux::route::Route) -> RouteObject {
    let own = graph.namespaces.get(namespace);
    let link = own.and_then(|it: &Namespace| it.position(route.oif)).map(|link| Place { namespace, link });
    RouteObject {
        destination: route.dst.to_string(),
        gateway: route.gateway.map(|it| it.to_string()),
        link: link.and_then(|place| graph.link_id(place)),
        metric: route.priority,
        source: route.source.map(|it| it.to_string()),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes of a text that is not UTF-8.
fn hexadecimal(bytes: &[u8]) -> Option<String> {
    let digits = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    std::str::from_utf8(bytes).is_err().then(digits)
}
