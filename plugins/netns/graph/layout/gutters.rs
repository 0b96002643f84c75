//! The wires, each in the gutter between two columns: straight where both ends are at one height; otherwise across, along a
//! track, and across again. Wires that share an end share a track; no two others do where they pass each other.

use super::Joint;
use super::card::{Card, End, PLUG};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A wire as it is drawn.
pub(in super::super) struct Path {
    pub(in super::super) joint: Joint,
    /// The ends, on the edges of their cards.
    pub(in super::super) from: (i32, i32),
    pub(in super::super) to: (i32, i32),
    /// Where it turns; none for a straight one.
    pub(in super::super) track: Option<i32>,
    /// The number of its bridge's colour.
    pub(in super::super) colour: Option<usize>,
}

impl Path {
    pub(super) fn shift(&mut self, x: i32, y: i32) {
        for end in [&mut self.from, &mut self.to] {
            end.0 += x;
            end.1 += y;
        }
        self.track = self.track.map(|track| track + x);
    }
}

/// The least room between two columns.
const NARROW: i32 = 90;
/// Between two tracks.
const TRACK: i32 = 9;
/// Between a column and the first track.
const SHOULDER: i32 = 28;

/// The gutter that a wire runs in, seen from the middle: number n is on the right of column n. None for a wire that would have
/// to cross several columns, which the columns' making rules out.
pub(super) fn gutter_of(joint: &Joint, columns: &BTreeMap<usize, i32>) -> Option<i32> {
    let [a, b] = joint.ends;
    let (left, right) = (*columns.get(&a.namespace)?, *columns.get(&b.namespace)?);
    match (left, right) {
        // Within a card: away from the middle.
        _ if a.namespace == b.namespace => Some(if left < 0 { left - 1 } else { left }),
        // Within a column: towards the middle.
        _ if left == right => Some(if left < 0 { left } else { left - 1 }),
        _ if (left - right).abs() == 1 => Some(left.min(right)),
        // Past a column, between its cards: the columns' making keeps the way free.
        (0, 2) | (2, 0) => Some(0),
        (0, -2) | (-2, 0) => Some(-1),
        _ => None,
    }
}

/// Which tracks there are.
pub(super) struct Gutters {
    /// How many each gutter has.
    count: BTreeMap<i32, i32>,
    /// Those that any wire runs in.
    used: BTreeSet<i32>,
    /// Which one each wire takes.
    taken: HashMap<[End; 2], i32>,
}

/// Shares out the tracks: to wires by their upper ends, each the first one that is free there.
pub(super) fn plan(cards: &[Card], columns: &BTreeMap<usize, i32>, joints: &[Joint]) -> Gutters {
    // A bundle is all wires that share an end which has several.
    let mut bundles = BTreeMap::<(i32, End), (i32, i32, Vec<[End; 2]>)>::new();
    let mut uses = HashMap::<End, usize>::new();
    joints.iter().flat_map(|joint| joint.ends).for_each(|end| *uses.entry(end).or_default() += 1);
    for joint in joints {
        let [a, b] = joint.ends;
        let (Some(gutter), Some(from), Some(to)) =
            (gutter_of(joint, columns), height(cards, a), height(cards, b))
        else {
            continue;
        };
        let shared = [b, a].into_iter().find(|end| uses.get(end).is_some_and(|uses| *uses > 1)).unwrap_or(a);
        if from == to && columns.get(&a.namespace) != columns.get(&b.namespace) {
            continue;
        }
        let bundle = bundles.entry((gutter, shared)).or_insert((i32::MAX, i32::MIN, Vec::new()));
        bundle.0 = bundle.0.min(from).min(to);
        bundle.1 = bundle.1.max(from).max(to);
        bundle.2.push(joint.ends);
    }
    let used = joints.iter().filter_map(|joint| gutter_of(joint, columns)).collect();
    let mut by_height: Vec<_> = bundles.into_iter().collect();
    by_height.sort_by_key(|((gutter, end), (top, bottom, _))| (*gutter, *top, *bottom, *end));
    let mut gutters = Gutters { count: BTreeMap::new(), used, taken: HashMap::new() };
    let mut free = BTreeMap::<i32, Vec<i32>>::new();
    for ((gutter, _), (top, bottom, wires)) in by_height {
        let tracks = free.entry(gutter).or_default();
        let track = tracks.iter().position(|until| *until + TRACK < top).unwrap_or_else(|| {
            tracks.push(i32::MIN);
            tracks.len() - 1
        });
        if let Some(until) = tracks.get_mut(track) {
            *until = bottom;
        }
        gutters.count.insert(gutter, i32::try_from(tracks.len()).unwrap_or(i32::MAX / 100));
        let track = i32::try_from(track).unwrap_or(0);
        gutters.taken.extend(wires.into_iter().map(|ends| (ends, track)));
    }
    gutters
}

impl Gutters {
    /// The room that a gutter's tracks need.
    pub(super) fn width(&self, gutter: i32) -> i32 {
        match self.count.get(&gutter).copied().unwrap_or(0) {
            0 => 0,
            tracks => 2 * SHOULDER + (tracks - 1) * TRACK,
        }
    }

    /// The room between two columns: enough to see that wires run there, if any begins there.
    pub(super) fn between(&self, gutter: i32) -> i32 {
        let used = self.used.contains(&gutter);
        self.width(gutter).max(if used { NARROW } else { NARROW / 2 })
    }

    /// Draws all wires, now that the cards have their places.
    pub(super) fn draw(&self, cards: &[Card], columns: &BTreeMap<usize, i32>, joints: &[Joint]) -> Vec<Path> {
        let edge = |end: End, gutter: i32| {
            let card = cards.iter().find(|card| card.namespace == end.namespace)?;
            let on_right = columns.get(&end.namespace).is_some_and(|column| *column <= gutter);
            Some((card.area.x + if on_right { card.area.w } else { 0 }, height(cards, end)?))
        };
        let path = |joint: &Joint| {
            let gutter = gutter_of(joint, columns)?;
            let [a, b] = joint.ends;
            let (from, to) = (edge(a, gutter)?, edge(b, gutter)?);
            let start = self.start(cards, columns, gutter)?;
            let track = self.taken.get(&joint.ends).map(|track| start + SHOULDER + track * TRACK);
            Some(Path { joint: *joint, from, to, track, colour: None })
        };
        joints.iter().filter_map(path).collect()
    }

    /// Where a gutter begins: at the right edge of the column before it, or as far from the first column as it is wide.
    fn start(&self, cards: &[Card], columns: &BTreeMap<usize, i32>, gutter: i32) -> Option<i32> {
        let of = |column: i32| cards.iter().find(move |card| columns.get(&card.namespace) == Some(&column));
        of(gutter)
            .map(|card| card.area.x + card.area.w)
            .or_else(|| of(gutter + 1).map(|card| card.area.x - self.width(gutter)))
    }
}

fn height(cards: &[Card], end: End) -> Option<i32> {
    let card = cards.iter().find(|card| card.namespace == end.namespace)?;
    card.chip_of(end).map(|chip| chip.area.y + PLUG)
}
