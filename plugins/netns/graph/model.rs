//! What there is to draw.

use crate::text::shown;
use linux::address::Address;
use linux::census::Identity;
use linux::route::Route;
use linux::vlan::Vlans;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// All namespaces that were seen: the host's first, then this process's, then those with names, then the others.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) namespaces: Vec<Namespace>,
    /// How many processes could not be looked at. Some may be in namespaces that are not here.
    pub(super) hidden: usize,
}

/// A network namespace, or what has the name of one.
pub(super) struct Namespace {
    /// Its names in /run/netns.
    pub(super) names: Vec<OsString>,
    /// None for a name without a namespace behind it.
    pub(super) identity: Option<Identity>,
    /// Process 1 is in it.
    pub(super) host: bool,
    /// This process is in it.
    pub(super) here: bool,
    /// The process with the lowest number in it, and how many there are, this one left out.
    pub(super) first: Option<Process>,
    pub(super) processes: usize,
    pub(super) inside: Inside,
}

pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) command: Vec<u8>,
}

/// What could be seen of a namespace.
pub(super) enum Inside {
    Seen {
        links: Vec<Link>,
        routes: Vec<Route>,
    },
    /// Why it was not looked into.
    Closed(String),
}

/// A link with what is on it, and where it leads.
pub(super) struct Link {
    pub(super) kernel: linux::link::Link,
    pub(super) addresses: Vec<Address>,
    /// As a bridge that tells VLANs apart, or as a port of one.
    pub(super) vlans: Option<Vlans>,
    pub(super) far: Far,
}

/// Where a link leads: a pair to its other end, a link on top of another to that one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Far {
    Nowhere,
    Link(Place),
    /// Into a namespace that may not be entered, by its position in the graph.
    Closed(usize),
    /// Into a namespace that was not seen.
    Unseen,
}

/// A link of the graph, by positions: of its namespace, and of itself in there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Place {
    pub(super) namespace: usize,
    pub(super) link: usize,
}

/// The id of a namespace within one picture.
pub(super) fn namespace_id(at: usize) -> String {
    format!("n{at}")
}

/// What joins two things that are both drawn.
pub(super) struct Wire {
    pub(super) from: Place,
    pub(super) to: Far,
    /// The two are equals; otherwise `from` is on top of `to`.
    pub(super) pair: bool,
}

impl Graph {
    /// The id of a link within one picture: its namespace's, and its index in there.
    pub(super) fn link_id(&self, place: Place) -> Option<String> {
        let index = self.link(place)?.kernel.index;
        Some(format!("{}_{index}", namespace_id(place.namespace)))
    }

    /// All wires, each once.
    pub(super) fn wires(&self) -> Vec<Wire> {
        let mut wires = Vec::new();
        for (namespace, it) in self.namespaces.iter().enumerate() {
            for (link, it) in it.links().iter().enumerate() {
                let (from, pair) = (Place { namespace, link }, it.is_pair());
                let told_by_other = match it.far {
                    Far::Nowhere | Far::Unseen => continue,
                    Far::Closed(_) => false,
                    Far::Link(other) => {
                        let back = self.link(other).map(|other| other.far) == Some(Far::Link(from));
                        pair && back && other < from
                    }
                };
                if !told_by_other {
                    wires.push(Wire { from, to: it.far, pair });
                }
            }
        }
        wires
    }

    pub(super) fn link(&self, place: Place) -> Option<&Link> {
        self.namespaces.get(place.namespace)?.links().get(place.link)
    }
}

impl Namespace {
    pub(super) fn links(&self) -> &[Link] {
        match &self.inside {
            Inside::Seen { links, .. } => links,
            Inside::Closed(_) => &[],
        }
    }

    /// What to call it, in one word or two, safe to show.
    pub(super) fn title(&self) -> String {
        match (self.names.first(), &self.first) {
            _ if self.host => "host".into(),
            (Some(name), _) => shown(name.as_bytes()),
            _ if self.here => "this namespace".into(),
            (None, Some(Process { pid, command })) => format!("{} ({pid})", shown(command)),
            (None, None) => "a namespace without a name".into(),
        }
    }

    /// What the title leaves out: other names, who lives there.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.here && self.title() != "this namespace" {
            remarks.push("this namespace".to_owned());
        }
        let said = usize::from(!self.host);
        remarks.extend(self.names.iter().skip(said).map(|name| format!("also {}", shown(name.as_bytes()))));
        let titled_by_process = !self.host && !self.here && self.names.is_empty();
        match (&self.first, self.processes) {
            (Some(_), 1) if titled_by_process => {}
            (Some(_), more) if titled_by_process => remarks.push(format!("+{} processes", more - 1)),
            (Some(Process { pid, command }), 1) => {
                remarks.push(format!("process {} ({pid})", shown(command)));
            }
            (_, 0) => {}
            (_, several) => remarks.push(format!("{several} processes")),
        }
        remarks
    }

    /// The position of the link with this index.
    pub(super) fn position(&self, index: u32) -> Option<usize> {
        self.links().iter().position(|link| link.kernel.index == index)
    }

    /// What is drawn below each link, and, under none, what is below no other: ports are below their bridge, links on top of
    /// another below that one. A circle, as a namespace that changes while it is read can show it, is below nothing.
    pub(super) fn below(&self) -> BTreeMap<Option<usize>, Vec<usize>> {
        let positions: HashMap<u32, usize> =
            self.links().iter().enumerate().map(|(at, link)| (link.kernel.index, at)).collect();
        let step_up = |at: usize| {
            let link = self.links().get(at)?;
            let master = link.kernel.master.and_then(|master| positions.get(&master).copied());
            master.or(match link.far {
                Far::Link(below) if !link.is_pair() && link.kernel.peer_nsid.is_none() => Some(below.link),
                _ => None,
            })
        };
        let mut all = BTreeMap::<Option<usize>, Vec<usize>>::new();
        for at in 0..self.links().len() {
            let ends = std::iter::successors(Some(at), |at| step_up(*at)).nth(self.links().len()).is_none();
            all.entry(if ends { step_up(at) } else { None }).or_default().push(at);
        }
        all
    }
}

/// Links whose `IFLA_LINK` is an equal on the other side, and not the link below.
const PAIRS: [&str; 3] = ["veth", "netkit", "vxcan"];

impl Link {
    /// One end of a wire.
    pub(super) fn is_pair(&self) -> bool {
        self.kernel.kind.as_deref().is_some_and(|kind| PAIRS.contains(&kind))
    }

    /// Its name, safe to show.
    pub(super) fn label(&self) -> String {
        shown(self.bytes())
    }

    /// Its name's very bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.kernel.odd_name.as_deref().unwrap_or(self.kernel.name.as_bytes())
    }

    /// `up` or `down` as the administrator wants it, and what came of it where that is something else.
    pub(super) fn state(&self) -> String {
        use linux::link::OperState;
        match (self.kernel.up, self.kernel.state) {
            (false, _) => "down".into(),
            (true, OperState::Up | OperState::Unknown) => "up".into(),
            // The state follows the carrier by up to a second.
            (true, OperState::Down | OperState::LowerLayerDown) if self.kernel.carrier => "up".into(),
            (true, OperState::Down) => "no carrier".into(),
            (true, other) => other.to_string(),
        }
    }

    /// Whether it can carry packets.
    pub(super) fn works(&self) -> bool {
        self.state() == "up"
    }
}
