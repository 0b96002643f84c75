//! Places the cards of an island: the middle is column 0, those on its right are 1, 2, …, those on its left -1, -2, ….

use super::super::model::Graph;
use super::card::{Card, End, PLUG, Sides};
use super::gutters::{self, Path};
use super::islands::Island;
use super::sides::{OUTER, choose_columns};
use super::{Area, Joint};
use std::collections::{BTreeMap, HashMap, HashSet};

/// An island as it is drawn, at the origin.
pub(super) struct Drawn {
    pub(super) w: i32,
    pub(super) h: i32,
    pub(super) cards: Vec<Card>,
    pub(super) paths: Vec<Path>,
}

impl Drawn {
    pub(super) fn shift(&mut self, x: i32, y: i32) {
        self.cards.iter_mut().for_each(|card| card.shift(x, y));
        self.paths.iter_mut().for_each(|path| path.shift(x, y));
    }
}

/// Between two cards of a column.
pub(super) const GAP: i32 = 22;

/// Two ends at nearly the same height, and no wire between them, would look joined.
const CLEAR: i32 = 6;

/// Draws an island.
pub(super) fn arrange(graph: &Graph, island: &Island, joints: &[Joint]) -> Drawn {
    let mut columns: BTreeMap<usize, i32> =
        island.members.iter().map(|member| (member.namespace, member.depth)).collect();
    let mut cards: BTreeMap<usize, Card> = BTreeMap::new();
    for member in island.members.iter().skip(1) {
        let sides = sides(joints, &columns, member.namespace);
        let mut card =
            Card::of(graph, member.namespace, &|link| sides.get(&link).copied().unwrap_or_default());
        card.stack(0, &mut |_, least| least);
        cards.insert(member.namespace, card);
    }
    for (namespace, column) in choose_columns(graph, island, &cards, joints) {
        columns.insert(namespace, column);
        if let Some(card) = cards.get_mut(&namespace).filter(|_| column < 0) {
            card.flip();
        }
    }
    let sides = sides(joints, &columns, island.root);
    let mut root = Card::of(graph, island.root, &|link| sides.get(&link).copied().unwrap_or_default());
    let mut builder = Builder::new(joints, &columns, cards);
    builder.place_root(&mut root);
    builder.cards.insert(island.root, root);
    builder.rise();
    let cards: Vec<Card> = builder.cards.into_values().collect();
    finish(cards, &columns, joints)
}

/// On which sides the links of a namespace have wires. Within one column, a wire runs on the side of the middle; within the
/// card itself, or where that is the middle, on the outer side.
fn sides(
    joints: &[Joint],
    columns: &BTreeMap<usize, i32>,
    namespace: usize,
) -> HashMap<Option<usize>, Sides> {
    let mut all = HashMap::<Option<usize>, Sides>::new();
    for joint in joints {
        let Some(gutter) = gutters::gutter_of(joint, columns) else { continue };
        for end in joint.ends.iter().filter(|end| end.namespace == namespace) {
            let sides = all.entry(end.link).or_default();
            // Gutter n is on the right of column n.
            match columns.get(&namespace).is_some_and(|column| *column <= gutter) {
                true => sides.right = true,
                false => sides.left = true,
            }
        }
    }
    all
}

struct Builder<'a> {
    joints: &'a [Joint],
    columns: &'a BTreeMap<usize, i32>,
    cards: BTreeMap<usize, Card>,
    /// Where each end has its wires to, in order.
    wires: HashMap<End, Vec<End>>,
    joined: HashSet<(End, End)>,
    placed: HashSet<usize>,
    /// How far down each column is full.
    full: BTreeMap<i32, i32>,
    /// The heights of the ends that look into each gutter, from its left and from its right.
    seen: BTreeMap<(i32, bool), Vec<(i32, End)>>,
}

impl<'a> Builder<'a> {
    fn new(
        joints: &'a [Joint],
        columns: &'a BTreeMap<usize, i32>,
        cards: BTreeMap<usize, Card>,
    ) -> Builder<'a> {
        let mut wires = HashMap::<End, Vec<End>>::new();
        let mut joined = HashSet::new();
        for Joint { ends: [a, b], .. } in joints {
            wires.entry(*a).or_default().push(*b);
            wires.entry(*b).or_default().push(*a);
            joined.extend([(*a, *b), (*b, *a)]);
        }
        let (placed, full, seen) = (HashSet::new(), BTreeMap::new(), BTreeMap::new());
        Builder { joints, columns, cards, wires, joined, placed, full, seen }
    }

    fn column(&self, namespace: usize) -> i32 {
        self.columns.get(&namespace).copied().unwrap_or(0)
    }

    /// Stacks the middle's chips, and beside each wire's end the card at its other end, so that the wire is straight.
    fn place_root(&mut self, root: &mut Card) {
        let namespace = root.namespace;
        self.placed.insert(namespace);
        root.stack(0, &mut |link, least| self.choose(End { namespace, link }, least));
    }

    /// The height of an end in the middle.
    fn choose(&mut self, end: End, least: i32) -> i32 {
        let there = self.waiting(end);
        let mut first = BTreeMap::<i32, End>::new();
        for other in &there {
            first.entry(self.column(other.namespace)).or_insert(*other);
        }
        let mut y = least;
        for (column, other) in &first {
            let full = |column: &i32| self.full.get(column).copied().unwrap_or(0);
            y = y.max(full(column) + self.offset(*other));
            if column.abs() == OUTER {
                y = y.max(full(&column.signum()) - GAP / 2);
            }
        }
        if self.wires.contains_key(&end) {
            while self.gutters(end).any(|(gutter, left)| self.is_close(y, end, (gutter, !left))) {
                y += CLEAR;
            }
            self.look(end, y);
        }
        for (column, other) in &first {
            self.put(*other, y - self.offset(*other));
            if column.abs() == OUTER {
                let inner = self.full.entry(column.signum()).or_default();
                *inner = (*inner).max(y + GAP / 2);
            }
        }
        for other in there {
            self.put(other, 0);
        }
        y
    }

    /// The gutters that an end looks into, and whether it does so from the left.
    fn gutters(&self, end: End) -> impl Iterator<Item = (i32, bool)> + use<'a> {
        let (joints, columns) = (self.joints, self.columns);
        let column = self.column(end.namespace);
        let own = joints.iter().filter(move |joint| joint.ends.contains(&end));
        own.filter_map(move |joint| gutters::gutter_of(joint, columns))
            .map(move |gutter| (gutter, column <= gutter))
    }

    fn look(&mut self, end: End, y: i32) {
        for into in self.gutters(end).collect::<Vec<_>>() {
            self.seen.entry(into).or_default().push((y, end));
        }
    }

    /// Whether somebody on that side of a gutter is nearly as high, and not joined to this end.
    fn is_close(&self, y: i32, end: End, side: (i32, bool)) -> bool {
        let others = self.seen.get(&side).map(Vec::as_slice).unwrap_or_default();
        others
            .iter()
            .any(|(other_y, other)| (other_y - y).abs() < CLEAR && !self.joined.contains(&(end, *other)))
    }

    /// The other ends of an end's wires on cards that have no place yet.
    fn waiting(&self, end: End) -> Vec<End> {
        let others = self.wires.get(&end).map(Vec::as_slice).unwrap_or_default();
        others.iter().filter(|other| !self.placed.contains(&other.namespace)).copied().collect()
    }

    /// How far below its card's upper edge an end is.
    fn offset(&self, end: End) -> i32 {
        let card = self.cards.get(&end.namespace);
        let chip = card.and_then(|card| card.chip_of(end).map(|chip| chip.area.y - card.area.y));
        chip.unwrap_or(0) + PLUG
    }

    /// Gives a card its place in its column, there or below what is there already, and then what is behind it.
    fn put(&mut self, end: End, top: i32) {
        let namespace = end.namespace;
        let column = self.column(namespace);
        if !self.placed.insert(namespace) {
            return;
        }
        let Some(card) = self.cards.get(&namespace) else { return };
        let ends: Vec<(i32, End)> = card
            .chips
            .iter()
            .map(|chip| End { namespace, link: chip.link })
            .filter(|end| self.wires.contains_key(end))
            .map(|end| (self.offset(end), end))
            .collect();
        let mut y = top.max(self.full.get(&column).copied().unwrap_or(0));
        let clash = |y: i32| {
            ends.iter().any(|(offset, end)| {
                self.gutters(*end).any(|(gutter, left)| self.is_close(y + offset, *end, (gutter, !left)))
            })
        };
        while clash(y) {
            y += CLEAR;
        }
        for (offset, end) in ends {
            self.look(end, y + offset);
        }
        if let Some(card) = self.cards.get_mut(&namespace) {
            card.shift(0, y - card.area.y);
            self.full.insert(column, card.area.y + card.area.h + GAP);
        }
        self.put_behind(namespace);
    }

    /// Places what is behind a card, beside where its wires come from, and what is behind that.
    fn put_behind(&mut self, namespace: usize) {
        let further =
            |builder: &Self, it: &End| builder.column(it.namespace).abs() > builder.column(namespace).abs();
        let Some(ends) = self.cards.get(&namespace).map(ends) else { return };
        for end in ends {
            let card = self.cards.get(&namespace);
            let y = card.and_then(|card| card.chip_of(end)).map_or(0, |chip| chip.area.y) + PLUG;
            for other in self.waiting(end).into_iter().filter(|it| further(self, it)).collect::<Vec<_>>() {
                self.put(other, y - self.offset(other));
            }
        }
    }

    /// Moves the whole up or down, so that it begins at 0.
    fn rise(&mut self) {
        let top = self.cards.values().map(|card| card.area.y).min().unwrap_or(0);
        self.cards.values_mut().for_each(|card| card.shift(0, -top));
    }
}

fn ends(card: &Card) -> Vec<End> {
    card.chips.iter().map(|chip| End { namespace: card.namespace, link: chip.link }).collect()
}

/// Gives each column its width and its place, and draws the wires between them.
fn finish(mut cards: Vec<Card>, columns: &BTreeMap<usize, i32>, joints: &[Joint]) -> Drawn {
    let column = |card: &Card| columns.get(&card.namespace).copied().unwrap_or(0);
    let mut widths = BTreeMap::<i32, i32>::new();
    for card in &cards {
        let width = widths.entry(column(card)).or_default();
        *width = card.width().max(*width);
    }
    let gutters = gutters::plan(&cards, columns, joints);
    let (mut x, mut places) = (0, BTreeMap::<i32, Area>::new());
    // A wire within the outermost column runs outside of it.
    let first = widths.keys().next().copied().unwrap_or(0);
    x += gutters.width(first - 1);
    for (column, w) in &widths {
        places.insert(*column, Area { x, y: 0, w: *w, h: 0 });
        let last = widths.keys().next_back() == Some(column);
        x += w + if last { gutters.width(*column) } else { gutters.between(*column) };
    }
    for card in &mut cards {
        if let Some(place) = places.get(&column(card)) {
            card.spread(place.x, place.w);
        }
    }
    let h = cards.iter().map(|card| card.area.y + card.area.h).max().unwrap_or(0);
    let paths = gutters.draw(&cards, columns, joints);
    Drawn { w: x, h, cards, paths }
}
