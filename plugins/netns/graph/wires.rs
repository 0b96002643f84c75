//! Finds the other end of each link. A link tells the index of its other end, and the number by which its own namespace
//! knows the other one; the kernel tells of two namespaces which number the one has given the other (`RTM_GETNSID`).
//!
//! Asking that of each pair of namespaces would be half a million questions for a thousand of them. But the other end of a
//! pair points back, so that two indexes leave few namespaces to ask about, nearly always one.

use super::gather::Held;
use super::model::{Far, Inside, Place};
use std::collections::{BTreeSet, HashMap};

/// A link as others point to it: (index, index that it points to itself).
type Indexes = (u32, u32);

/// The namespaces that each namespace knows by number, as far as was asked.
type Known = HashMap<(usize, u32), usize>;

/// Sets the far ends of all links.
pub(super) fn join(held: &mut [Held]) {
    let pointing = pointing(held);
    let by_index = by_index(held);
    let mut known = Known::new();
    let mut ends = Vec::new();
    for (namespace, it) in held.iter().enumerate() {
        let mut given_up = BTreeSet::new();
        for (position, link) in it.namespace.links().iter().enumerate() {
            let Some(there) = link.kernel.peer else { continue };
            let Some(nsid) = link.kernel.peer_nsid else {
                ends.push((Place { namespace, link: position }, place(held, namespace, there)));
                continue;
            };
            let likely = match link.is_pair() {
                true => pointing.get(&(there, link.kernel.index)),
                false => by_index.get(&there),
            };
            let likely = likely.map(Vec::as_slice).unwrap_or_default();
            let far = match u32::try_from(nsid) {
                Ok(nsid) => match find(held, (namespace, nsid), likely, &mut known, &mut given_up) {
                    Some(other) => place(held, other, there),
                    None => Far::Unseen,
                },
                // The kernel has no number to give: the two point at each other, and nobody else does.
                Err(_) => match likely {
                    [other] if link.is_pair() && *other != namespace => place(held, *other, there),
                    _ => Far::Unseen,
                },
            };
            ends.push((Place { namespace, link: position }, far));
        }
    }
    for (place, far) in ends {
        let Some(it) = held.get_mut(place.namespace) else { continue };
        if let Inside::Seen { links, .. } = &mut it.namespace.inside
            && let Some(link) = links.get_mut(place.link)
        {
            link.far = far;
        }
    }
}

/// The namespaces with an end of a pair that has this index and points to that one.
fn pointing(held: &[Held]) -> HashMap<Indexes, Vec<usize>> {
    let mut all = HashMap::<Indexes, Vec<usize>>::new();
    for (namespace, it) in held.iter().enumerate() {
        for link in it.namespace.links().iter().filter(|link| link.is_pair()) {
            if let (Some(peer), Some(_)) = (link.kernel.peer, link.kernel.peer_nsid) {
                all.entry((link.kernel.index, peer)).or_default().push(namespace);
            }
        }
    }
    all
}

/// The namespaces with a link of this index: for links that are not pointed back to.
fn by_index(held: &[Held]) -> HashMap<u32, Vec<usize>> {
    let mut all = HashMap::<u32, Vec<usize>>::new();
    for (namespace, it) in held.iter().enumerate() {
        for link in it.namespace.links() {
            all.entry(link.kernel.index).or_default().push(namespace);
        }
    }
    all
}

/// The namespace that this one knows by this number. The likely ones are asked about first, then those that were not looked
/// into, which could hold anything.
fn find(
    held: &[Held],
    (namespace, nsid): (usize, u32),
    likely: &[usize],
    known: &mut Known,
    given_up: &mut BTreeSet<u32>,
) -> Option<usize> {
    if let Some(other) = known.get(&(namespace, nsid)) {
        return Some(*other);
    }
    let socket = held.get(namespace)?.socket.as_ref()?;
    let mut is_it = |other: usize| {
        let open = held.get(other)?.open.as_ref()?;
        let number = socket.nsid_of(open).ok()??;
        known.insert((namespace, number), other);
        (number == nsid).then_some(other)
    };
    if let Some(found) = likely.iter().find_map(|other| is_it(*other)) {
        return Some(found);
    }
    if !given_up.insert(nsid) {
        return None;
    }
    let closed = held.iter().enumerate().filter(|(_, it)| it.socket.is_none());
    closed.map(|(other, _)| other).find_map(is_it)
}

/// The link of this index in that namespace.
fn place(held: &[Held], namespace: usize, index: u32) -> Far {
    let Some(it) = held.get(namespace) else { return Far::Unseen };
    match it.namespace.position(index) {
        Some(link) => Far::Link(Place { namespace, link }),
        None if it.socket.is_none() => Far::Closed(namespace),
        // It was made after that namespace was read, or has gone since.
        None => Far::Unseen,
    }
}
