//! Where everything stands in the drawn picture, in pixels. Pure, and the same for the same graph.
//!
//! Namespaces that are wired to each other are an island. The one with the most wires, nearly always the host's, stands in the
//! middle as a tall card; those that are wired to it stand beside it, on the right, or on both sides where they would make too
//! long a column; those behind them further outside. So every wire runs in the gutter between two columns, where nothing else
//! is. The card in the middle is stretched, so that the wires to its neighbours are straight.
//!
//! - [`card`]: a namespace as a card: what is written on it, and how large that is
//! - [`islands`]: who is wired to whom, and how far from the middle
//! - [`sides`]: who stands on which side of the middle
//! - [`columns`]: places the cards of an island; [`gutters`]: the wires between them

pub(super) mod card;
mod columns;
mod gutters;
mod islands;
mod sides;
#[cfg(test)]
pub(super) mod tests;

use super::model::{Far, Graph};
use card::{Card, End};
pub(super) use gutters::Path;
use islands::Island;

/// A rectangle, by its upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) w: i32,
    pub(super) h: i32,
}

/// The whole picture.
pub(super) struct Picture {
    pub(super) w: i32,
    pub(super) h: i32,
    /// One for each namespace of the graph.
    pub(super) cards: Vec<Card>,
    pub(super) paths: Vec<Path>,
}

/// A wire between two ends that are both on cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joint {
    pub(super) ends: [End; 2],
    /// The two are equals; otherwise the first is on top of the second.
    pub(super) pair: bool,
}

/// Around the picture, and between islands.
pub(super) const MARGIN: i32 = 28;

/// Islands beside each other make no wider picture than this, unless one alone is wider.
const SHELF: i32 = 1100;

/// Places everything.
pub(super) fn layout(graph: &Graph) -> Picture {
    let joints = joints(graph);
    let mut islands = islands::islands(graph.namespaces.len(), &joints);
    // The large ones first; those of one size stay in order.
    islands.sort_by_key(|island| std::cmp::Reverse(island.members.len().min(2)));
    let mut cards: Vec<Card> = Vec::new();
    cards.resize_with(graph.namespaces.len(), Card::default);
    let mut picture = Picture { w: 0, h: 0, cards: Vec::new(), paths: Vec::new() };
    let mut shelf = Area { x: MARGIN, y: MARGIN, w: 0, h: 0 };
    let mut widest = SHELF;
    for island in &islands {
        let own: Vec<Joint> = joints.iter().filter(|joint| belongs(island, joint)).copied().collect();
        let mut drawn = columns::arrange(graph, island, &own);
        widest = widest.max(drawn.w);
        if shelf.x > MARGIN && shelf.x + drawn.w > MARGIN + widest {
            shelf = Area { x: MARGIN, y: shelf.y + shelf.h + MARGIN, w: 0, h: 0 };
        }
        drawn.shift(shelf.x, shelf.y);
        shelf.x += drawn.w + MARGIN;
        shelf.h = shelf.h.max(drawn.h);
        picture.w = picture.w.max(shelf.x);
        picture.h = picture.h.max(shelf.y + shelf.h + MARGIN);
        picture.paths.append(&mut drawn.paths);
        for card in drawn.cards {
            if let Some(place) = cards.get_mut(card.namespace) {
                *place = card;
            }
        }
    }
    picture.cards = cards;
    colour(&mut picture);
    picture
}

fn belongs(island: &Island, joint: &Joint) -> bool {
    let [end, _] = joint.ends;
    island.members.iter().any(|member| member.namespace == end.namespace)
}

fn joints(graph: &Graph) -> Vec<Joint> {
    let joint = |wire: super::model::Wire| {
        let from = End { namespace: wire.from.namespace, link: Some(wire.from.link) };
        let to = match wire.to {
            Far::Link(place) => End { namespace: place.namespace, link: Some(place.link) },
            Far::Closed(namespace) => End { namespace, link: None },
            Far::Nowhere | Far::Unseen => return None,
        };
        // What is on top of another in the same namespace stands below it on the card.
        (wire.pair || from.namespace != to.namespace).then_some(Joint { ends: [from, to], pair: wire.pair })
    };
    graph.wires().into_iter().filter_map(joint).collect()
}

/// Gives each bridge a colour, and its wires the same.
fn colour(picture: &mut Picture) {
    let mut next = 0;
    for card in &mut picture.cards {
        for group in card.groups.iter_mut().filter(|group| group.head.is_some()) {
            group.colour = Some(next);
            next += 1;
        }
    }
    for path in &mut picture.paths {
        let colours =
            path.joint.ends.iter().filter_map(|end| picture.cards.get(end.namespace)?.colour_of(*end));
        path.colour = colours.min();
    }
}
