//! Who is wired to whom: each island has a middle, and everybody else is some steps away from it.

use super::Joint;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Namespaces that are wired to each other, directly or not.
#[derive(Debug)]
pub(super) struct Island {
    pub(super) root: usize,
    /// Nearest first; the root is the first.
    pub(super) members: Vec<Member>,
}

/// A namespace on an island.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) namespace: usize,
    /// Steps from the root.
    pub(super) depth: i32,
    /// Those that are wired to each other without the root have the same number, so that they can stay on one side.
    pub(super) family: usize,
}

/// The neighbours of each namespace, in the order of its links.
type Neighbours = BTreeMap<usize, Vec<(usize, Option<usize>)>>;

/// All islands, in the order of their roots.
pub(super) fn islands(count: usize, joints: &[Joint]) -> Vec<Island> {
    let mut neighbours = Neighbours::new();
    for joint in joints {
        let [a, b] = joint.ends;
        if a.namespace != b.namespace {
            neighbours.entry(a.namespace).or_default().push((b.namespace, a.link));
            neighbours.entry(b.namespace).or_default().push((a.namespace, b.link));
        }
    }
    neighbours.values_mut().for_each(|all| all.sort_by_key(|(_, link)| *link));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for first in 0..count {
        if seen.contains(&first) {
            continue;
        }
        let all = reach(&neighbours, [first], &BTreeSet::new());
        let wires = |it: &&usize| neighbours.get(*it).map_or(0, Vec::len);
        // Of several with as many wires, the first.
        let root = all.keys().rev().max_by_key(wires).copied().unwrap_or(first);
        seen.extend(all.into_keys());
        found.push(island(&neighbours, root));
    }
    found.sort_by_key(|island| island.root);
    found
}

fn island(neighbours: &Neighbours, root: usize) -> Island {
    let depths = reach(neighbours, [root], &BTreeSet::new());
    let mut members = vec![Member { namespace: root, depth: 0, family: 0 }];
    let mut known = BTreeSet::from([root]);
    let around = neighbours.get(&root).map(Vec::as_slice).unwrap_or_default();
    for (family, (neighbour, _)) in around.iter().enumerate() {
        if known.contains(neighbour) {
            continue;
        }
        let relatives = reach(neighbours, [*neighbour], &BTreeSet::from([root]));
        known.extend(relatives.keys());
        let member = |namespace: &usize| Member {
            namespace: *namespace,
            depth: depths.get(namespace).copied().unwrap_or(1),
            family: family + 1,
        };
        members.extend(relatives.keys().map(member));
    }
    members.sort_by_key(|member| (member.depth, member.family));
    Island { root, members }
}

/// Everybody that can be reached, with the number of steps.
fn reach(neighbours: &Neighbours, from: [usize; 1], without: &BTreeSet<usize>) -> BTreeMap<usize, i32> {
    let mut steps: BTreeMap<usize, i32> = from.into_iter().map(|it| (it, 0)).collect();
    let mut waiting: VecDeque<usize> = from.into();
    while let Some(it) = waiting.pop_front() {
        let next = steps.get(&it).copied().unwrap_or(0) + 1;
        for (other, _) in neighbours.get(&it).map(Vec::as_slice).unwrap_or_default() {
            if !without.contains(other) && !steps.contains_key(other) {
                steps.insert(*other, next);
                waiting.push_back(*other);
            }
        }
    }
    steps
}
