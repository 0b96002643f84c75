//! Chooses on which side of the middle everybody stands.

use super::super::model::Graph;
use super::Joint;
use super::card::{Card, End};
use super::columns::GAP;
use super::islands::{Island, Member};
use std::collections::{BTreeMap, HashSet};

/// A column that would be higher than this is made two, one on each side of the middle.
const TALL: i32 = 640;

/// Where both together would be higher than this, each side has a second column.
const VERY_TALL: i32 = 2400;

/// The column of leaves whose wires pass another column.
pub(super) const OUTER: i32 = 2;

/// Which namespaces do not stand where their number of steps from the middle puts them on the right. While there is room on
/// the right, all do; then each family goes to the side that is lower; and where both are very high, leaves, which have one
/// wire and that to the middle, stand in two columns by turns: the wire of an outer one passes between two inner ones.
pub(super) fn choose_columns(
    graph: &Graph,
    island: &Island,
    cards: &BTreeMap<usize, Card>,
    joints: &[Joint],
) -> Vec<(usize, i32)> {
    let height = |member: &Member| cards.get(&member.namespace).map_or(0, |card| card.area.h + GAP);
    let highest = |members: &[&Member]| {
        let mut columns = BTreeMap::<i32, i32>::new();
        members.iter().for_each(|member| *columns.entry(member.depth).or_default() += height(member));
        columns.into_values().max().unwrap_or(0)
    };
    let others: Vec<&Member> = island.members.iter().skip(1).collect();
    let total = highest(&others);
    if total <= TALL {
        return Vec::new();
    }
    let two_deep = total > VERY_TALL;
    let mut families = BTreeMap::<(Option<u32>, usize), Vec<&Member>>::new();
    for member in others {
        families.entry((bridge_of(graph, island, member, joints), member.family)).or_default().push(member);
    }
    let mut sides = [Side { sign: -1, ..Side::default() }, Side { sign: 1, ..Side::default() }];
    let (mut chosen, mut last_bridge) = (Vec::new(), None);
    for ((bridge, _), members) in families {
        // Each bridge begins below the one before it.
        if last_bridge.replace(bridge) != Some(bridge) {
            let full = sides.iter().map(|side| side.full).max().unwrap_or(0);
            sides.iter_mut().for_each(|side| (side.full, side.inner_before) = (full, false));
        }
        let leaf =
            two_deep && members.len() == 1 && members.iter().all(|member| is_leaf(member.namespace, joints));
        let Some(side) = sides.iter_mut().min_by_key(|side| (side.full, side.own)) else { continue };
        let outer = leaf && side.inner_before;
        side.inner_before = leaf && !outer;
        side.own += highest(&members);
        side.full += if outer { 0 } else { highest(&members) };
        // A side that has room beside its last card takes the next one.
        side.full -= if side.inner_before { 1 } else { 0 };
        chosen.extend(members.iter().map(|member| {
            let column = if outer { OUTER } else { member.depth };
            (member.namespace, side.sign * column)
        }));
    }
    chosen
}

/// The bridge that a member's family hangs on, by the first wire of that family to the middle; none for a wire by itself.
fn bridge_of(graph: &Graph, island: &Island, member: &Member, joints: &[Joint]) -> Option<u32> {
    let family: HashSet<usize> =
        island.members.iter().filter(|it| it.family == member.family).map(|it| it.namespace).collect();
    let to_middle = |joint: &Joint| {
        let [a, b] = joint.ends;
        match (a.namespace == island.root, b.namespace == island.root) {
            (true, false) if family.contains(&b.namespace) => a.link,
            (false, true) if family.contains(&a.namespace) => b.link,
            _ => None,
        }
    };
    let first = joints.iter().filter_map(to_middle).min()?;
    graph.namespaces.get(island.root)?.links().get(first)?.kernel.master
}

/// One side of the middle, while it fills.
#[derive(Default)]
struct Side {
    sign: i32,
    /// How far down it is full.
    full: i32,
    /// The height of all its own.
    own: i32,
    /// The last family was a leaf in the inner column.
    inner_before: bool,
}

/// Whether a namespace has one wire, whose other end has no other.
fn is_leaf(namespace: usize, joints: &[Joint]) -> bool {
    let ends = joints.iter().flat_map(|joint| joint.ends);
    let mut own = joints.iter().filter(|joint| joint.ends.iter().any(|end| end.namespace == namespace));
    match (own.next(), own.next()) {
        (Some(joint), None) => {
            let shared = |end: &End| ends.clone().filter(|other| other == end).count() > 1;
            !joint.ends.iter().any(shared)
        }
        _ => false,
    }
}
