//! Reads the graph from the kernel: who is there by `/run/netns` and `/proc`, then one namespace after the other, by one
//! dump each of its links and its addresses. What vanishes meanwhile was never there.

use super::model::{Far, Graph, Inside, Link, Namespace, Process};
use super::natural::natural;
use super::wires;
use crate::Refusal;
use crate::progress::Progress;
use linux::address::Family;
use linux::census::{self, Census, Identity};
use linux::error::Result;
use linux::link::LinkFilter;
use linux::named;
use linux::netns::{NetNs, OpenError};
use linux::route::{MAIN, Route, RouteFilter};
use linux::rtnl::Rtnl;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A namespace that was found, and how it is held while the others are read: without that it could vanish, and its number
/// be given to the next one.
pub(super) struct Held {
    pub(super) namespace: Namespace,
    pub(super) open: Option<NetNs>,
    /// None for a closed one.
    pub(super) socket: Option<Rtnl>,
}

/// Reads everything, or the namespaces of these names and this process's own.
pub(super) fn gather(only: &[OsString], routes: bool) -> std::result::Result<Graph, Refusal> {
    // Where that is refused, fewer namespaces can be held at once, and the rest says so.
    let _ = census::allow_many_files();
    let mut census = census::census().map_err(Refusal::failed)?;
    census.processes.values_mut().for_each(|pids| pids.retain(|pid| *pid != std::process::id()));
    let here = NetNs::here().and_then(|here| here.identity()).map_err(Refusal::failed)?;
    let mut held: Vec<Held> = find(&census, here)?;
    if let Some(unknown) = only.iter().find(|name| !held.iter().any(|it| it.namespace.names.contains(name))) {
        let shown = crate::text::shown(unknown.as_bytes());
        return Err(Refusal::failed(format!("Cannot find namespace \"{shown}\" in {}", named::RUN)));
    }
    held.retain(|it| {
        only.is_empty() || it.namespace.here || it.namespace.names.iter().any(|name| only.contains(name))
    });
    let mut progress = Progress::of(held.len());
    for (read, it) in held.iter_mut().enumerate() {
        progress.at(read);
        look_into(it, routes);
    }
    drop(progress);
    sort(&mut held);
    wires::join(&mut held);
    let namespaces = held.into_iter().map(|it| it.namespace).collect();
    Ok(Graph { namespaces, hidden: if only.is_empty() { census.hidden } else { 0 } })
}

/// Finds and holds all namespaces: this process's, those with names, those of processes.
fn find(census: &Census, here: Identity) -> std::result::Result<Vec<Held>, Refusal> {
    let host = Identity::of_path(&census::namespace_of(1)).ok();
    let mut found = Found::default();
    found.meet(&census::namespace_of(std::process::id()), None);
    for name in named::names().map_err(Refusal::failed)? {
        found.meet(&name.file(), Some(name.as_os_str()));
    }
    for (identity, pids) in &census.processes {
        // Another process of the same namespace will do as well, if the first one ends this instant.
        for pid in pids {
            if found.namespaces.contains_key(identity) {
                break;
            }
            found.meet(&census::namespace_of(*pid), None);
        }
    }
    for (identity, held) in &mut found.namespaces {
        let namespace = &mut held.namespace;
        namespace.here = *identity == here;
        namespace.host = host == Some(*identity);
        let pids = census.processes.get(identity).map(Vec::as_slice).unwrap_or_default();
        namespace.processes = pids.len();
        namespace.first = pids
            .iter()
            .find_map(|pid| census::command_of(*pid).ok().map(|command| Process { pid: *pid, command }));
    }
    Ok(found.namespaces.into_values().chain(found.others).collect())
}

#[derive(Default)]
struct Found {
    namespaces: BTreeMap<Identity, Held>,
    /// Names without a namespace behind them.
    others: Vec<Held>,
}

impl Found {
    fn meet(&mut self, path: &Path, name: Option<&OsStr>) {
        let (open, identity, fault) = match NetNs::open(path).map(|open| (open.identity().ok(), open)) {
            Ok((identity, open)) => (Some(open), identity, None),
            // Gone meanwhile, or a link that leads nowhere.
            Err(OpenError::Absent(_)) => return,
            Err(OpenError::Other(e)) if e.is_absent() => return,
            // So is every name for a moment, while its namespace is made or deleted.
            Err(OpenError::NotANamespace(..)) => {
                (None, None, Some("no network namespace is mounted on it".to_owned()))
            }
            Err(OpenError::Other(e)) => (None, Identity::of_path(path).ok(), Some(e.to_string())),
        };
        let fresh = Held { namespace: blank(identity, fault), open, socket: None };
        match identity {
            Some(identity) => {
                let held = self.namespaces.entry(identity).or_insert(fresh);
                held.namespace.names.extend(name.map(OsStr::to_owned));
            }
            None => {
                let names = name.map(OsStr::to_owned).into_iter().collect();
                self.others.push(Held { namespace: Namespace { names, ..fresh.namespace }, ..fresh });
            }
        }
    }
}

fn blank(identity: Option<Identity>, fault: Option<String>) -> Namespace {
    let inside = Inside::Closed(fault.unwrap_or_default());
    let (names, first, processes) = (Vec::new(), None, 0);
    Namespace { names, identity, host: false, here: false, first, processes, inside }
}

fn look_into(held: &mut Held, routes: bool) {
    let Some(open) = &held.open else { return };
    // Nobody needs a privilege to look around where he is.
    let socket = if held.namespace.here { Rtnl::here() } else { open.rtnl() };
    let seen = socket.and_then(|socket| Ok((read(&socket, routes)?, socket)));
    match seen {
        Ok((inside, socket)) => {
            held.namespace.inside = inside;
            held.socket = Some(socket);
        }
        Err(e) => held.namespace.inside = Inside::Closed(e.to_string()),
    }
}

fn read(socket: &Rtnl, routes: bool) -> Result<Inside> {
    let found = socket.links(LinkFilter::default())?;
    let mut addresses = BTreeMap::<u32, Vec<_>>::new();
    for address in socket.addresses()? {
        addresses.entry(address.link).or_default().push(address);
    }
    let filters = found.iter().any(|link| link.filtering.is_some_and(|filtering| filtering.on));
    // A bridge that vanishes between the two questions takes its VLANs with it.
    let mut vlans = if filters { socket.vlans().unwrap_or_default() } else { BTreeMap::new() };
    let filtering: Vec<u32> = found
        .iter()
        .filter(|link| link.filtering.is_some_and(|filtering| filtering.on))
        .map(|link| link.index)
        .collect();
    let mut links: Vec<Link> = found
        .into_iter()
        .map(|kernel| {
            let tells_apart = |index: u32| {
                filtering.contains(&index) || kernel.master.is_some_and(|m| filtering.contains(&m))
            };
            let vlans = vlans.remove(&kernel.index).filter(|_| tells_apart(kernel.index));
            let addresses = addresses.remove(&kernel.index).unwrap_or_default();
            Link { kernel, addresses, vlans, far: Far::Nowhere }
        })
        .collect();
    links.sort_by_key(|link| link.kernel.index);
    let routes = if routes { all_routes(socket)? } else { Vec::new() };
    Ok(Inside::Seen { links, routes })
}

/// Of the main table, default routes first.
fn all_routes(socket: &Rtnl) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut of_family = match socket.routes(RouteFilter { family, table: Some(MAIN), oif: None }) {
            // A kernel without IPv6.
            Err(e) if e.is_unsupported() => Vec::new(),
            found => found?,
        };
        of_family.sort_by_key(|route| (!route.is_default(), route.dst, route.priority, route.oif));
        routes.extend(of_family);
    }
    Ok(routes)
}

/// The same world gives the same picture: the host first, then this namespace, then by name, then by process.
fn sort(held: &mut [Held]) {
    for it in held.iter_mut() {
        it.namespace.names.sort_by(|a, b| natural(a.as_bytes(), b.as_bytes()));
    }
    held.sort_by(|a, b| {
        let (a, b) = (&a.namespace, &b.namespace);
        let rank = |it: &Namespace| (!it.host, !it.here, it.names.is_empty());
        let name = |it: &Namespace| it.names.first().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let process = |it: &Namespace| it.first.as_ref().map(|process| process.pid);
        let by_name = || natural(&name(a), &name(b));
        rank(a).cmp(&rank(b)).then_with(by_name).then_with(|| process(a).cmp(&process(b)))
    });
}
