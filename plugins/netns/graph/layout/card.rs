//! A namespace as a card: its title, a chip for each of its links, and a frame around a bridge with its ports.

use super::super::model::{Far, Graph, Inside, Link, Namespace};
use super::super::words;
use super::Area;
use crate::text::{self, shown};
use std::collections::BTreeMap;

/// One end of a wire: a link by its position in its namespace, or a namespace that could not be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct End {
    pub(in super::super) namespace: usize,
    pub(in super::super) link: Option<usize>,
}

/// A namespace.
#[derive(Default)]
pub(in super::super) struct Card {
    pub(in super::super) namespace: usize,
    pub(in super::super) area: Area,
    pub(in super::super) title: String,
    /// Below the title.
    pub(in super::super) remarks: String,
    /// An ordinary `lo`, which is worth no chip: whether it is up.
    pub(in super::super) lo: Option<bool>,
    pub(in super::super) closed: bool,
    pub(in super::super) chips: Vec<Chip>,
    pub(in super::super) groups: Vec<Group>,
    pub(in super::super) routes: Vec<String>,
}

/// A link.
pub(in super::super) struct Chip {
    pub(in super::super) link: Option<usize>,
    pub(in super::super) lines: Vec<Vec<Span>>,
    /// All that is known of it, for who points at it.
    pub(in super::super) all: String,
    pub(in super::super) works: bool,
    /// On top of the chip above it, or of that one's.
    pub(in super::super) steps: i32,
    pub(in super::super) area: Area,
}

/// Some words in one look.
pub(in super::super) struct Span {
    pub(in super::super) text: String,
    pub(in super::super) look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Look {
    Name,
    Kind,
    Address,
    Faint,
    Broken,
}

/// Chips that belong together: a bridge and its ports, or, without a head, the links that are in no bridge.
#[derive(Default)]
pub(in super::super) struct Group {
    pub(in super::super) head: Option<usize>,
    /// As wide as the card.
    pub(in super::super) wide: Vec<usize>,
    pub(in super::super) left: Vec<usize>,
    pub(in super::super) right: Vec<usize>,
    pub(in super::super) area: Area,
    /// A bridge's, by number.
    pub(in super::super) colour: Option<usize>,
}

/// On which sides of its card a link has wires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Sides {
    pub(in super::super) left: bool,
    pub(in super::super) right: bool,
}

/// The middle of a chip's first line, where its wire ends, below the chip's upper edge.
pub(in super::super) const PLUG: i32 = 14;
pub(in super::super) const LINE: i32 = 15;
pub(in super::super) const PADDING: i32 = 14;
/// Between two chips.
const GAP: i32 = 6;
/// Between the ports on the left and those on the right, for the bridge.
const SPINE: i32 = 30;
/// More letters than this make a card too wide.
const CELLS: usize = 44;
/// The same for routes, which name two or three addresses.
const ROUTE: usize = 72;
/// More addresses than this make a card too high: the others are counted.
const ADDRESSES: usize = 8;

impl Card {
    /// The card of a namespace, not yet placed.
    pub(in super::super) fn of(
        graph: &Graph,
        namespace: usize,
        sides: &dyn Fn(Option<usize>) -> Sides,
    ) -> Card {
        let mut card = Card { namespace, ..Card::default() };
        let Some(own) = graph.namespaces.get(namespace) else { return card };
        card.title = cut(&own.title());
        card.remarks = cut(&own.remarks().join(", "));
        let mut plain = Group::default();
        match &own.inside {
            Inside::Closed(why) => {
                card.closed = true;
                let lines = wrapped(&shown(why.as_bytes()));
                let lines =
                    lines.into_iter().map(|line| vec![Span { text: line, look: Look::Broken }]).collect();
                let (all, area) = (shown(why.as_bytes()), Area::default());
                card.chips.push(Chip { link: None, lines, all, works: false, steps: 0, area });
                plain.wide.push(0);
                card.groups.push(plain);
            }
            Inside::Seen { routes, .. } => {
                card.routes =
                    routes.iter().map(|it| cut_at(&words::route(it, own).join(" "), ROUTE)).collect();
                let mut deck = Deck { graph, own, below: own.below(), sides, card };
                deck.deal(None, 0, &mut plain);
                card = deck.card;
                card.groups.insert(0, plain);
            }
        }
        card
    }

    pub(in super::super) fn chip_of(&self, end: End) -> Option<&Chip> {
        self.chips.iter().find(|chip| chip.link == end.link && self.namespace == end.namespace)
    }

    /// The colour of the bridge that a link is a port of.
    pub(super) fn colour_of(&self, end: End) -> Option<usize> {
        let is_it = |chip: &usize| self.chips.get(*chip).is_some_and(|chip| chip.link == end.link);
        let group = self.groups.iter().find(|group| group.left.iter().chain(&group.right).any(is_it));
        group.and_then(|group| group.colour)
    }

    /// Stands on the other side of the middle.
    pub(super) fn flip(&mut self) {
        self.groups.iter_mut().for_each(|group| std::mem::swap(&mut group.left, &mut group.right));
    }

    /// The height of what stands above the chips.
    pub(in super::super) fn head(&self) -> i32 {
        if self.remarks.is_empty() { 40 } else { 56 }
    }

    /// Stacks the chips from `top` downwards. `choose` has the last word on the height of each wire's end: it is told the
    /// least that is possible.
    pub(super) fn stack(&mut self, top: i32, choose: &mut dyn FnMut(Option<usize>, i32) -> i32) {
        let mut y = top + self.head();
        let chips = &mut self.chips;
        let mut put = |chip: &usize, y: i32| {
            let Some(chip) = chips.get_mut(*chip) else { return y };
            chip.area.h = chip_height(chip.lines.len());
            chip.area.y = choose(chip.link, y + PLUG) - PLUG;
            chip.area.y + chip.area.h + GAP
        };
        for group in &mut self.groups {
            let start = y;
            for chip in group.head.iter().chain(&group.wide) {
                y = put(chip, y);
            }
            let left = group.left.iter().fold(y, |y, chip| put(chip, y));
            let right = group.right.iter().fold(y, |y, chip| put(chip, y));
            y = left.max(right);
            group.area.y = start;
            group.area.h = y - start;
            // The frame of a bridge needs room around it.
            if group.head.is_some() {
                y += GAP + 2;
            }
        }
        if !self.routes.is_empty() {
            y += LINE * (1 + i32::try_from(self.routes.len()).unwrap_or(0)) + GAP;
        }
        self.area.y = top;
        self.area.h = y + PADDING - GAP - top;
    }

    /// The least width that everything fits in.
    pub(super) fn width(&self) -> i32 {
        let (left, right, wide) = self.widths();
        let both = left + right + if self.spine() { SPINE } else { 0 };
        let lo = if self.lo.is_some() { 44 } else { 0 };
        let title = cells(&self.title, 15) + lo + 8;
        let remarks = cells(&self.remarks, 11);
        let routes = self.routes.iter().map(|line| cells(line, 11) + 10).max().unwrap_or(0);
        both.max(wide).max(title).max(remarks).max(routes) + 2 * PADDING
    }

    /// Of the chips on the left, on the right, and over all the width.
    fn widths(&self) -> (i32, i32, i32) {
        let widest = |of: fn(&Group) -> Vec<&usize>| {
            let chips = self.groups.iter().flat_map(of).filter_map(|chip| self.chips.get(*chip));
            chips.map(chip_width).max().unwrap_or(0)
        };
        (
            widest(|group| group.left.iter().collect()),
            widest(|group| group.right.iter().collect()),
            widest(|group| group.head.iter().chain(&group.wide).collect()),
        )
    }

    /// Whether a bridge's ports leave room for the bridge.
    fn spine(&self) -> bool {
        let (left, right, _) = self.widths();
        left > 0 && right > 0 || self.groups.iter().any(|group| group.head.is_some())
    }

    /// Gives the card its width and its place, and the chips theirs on it.
    pub(super) fn spread(&mut self, x: i32, w: i32) {
        self.area.x = x;
        self.area.w = w;
        let inner = w - 2 * PADDING;
        let (left, right, _) = self.widths();
        let spare = (inner - left - right - if self.spine() { SPINE } else { 0 }).max(0);
        let (left, right) = match (left, right) {
            (0, _) => (0, right + spare),
            (_, 0) => (left + spare, 0),
            _ => (left + spare / 2, right + spare - spare / 2),
        };
        let start = x + PADDING;
        for group in &mut self.groups {
            group.area.x = start - 7;
            group.area.w = inner + 14;
            let all = [
                (group.head.iter().chain(&group.wide).collect::<Vec<_>>(), start, inner),
                (group.left.iter().collect(), start, left),
                (group.right.iter().collect(), start + inner - right, right),
            ];
            for (chips, x, w) in all {
                for chip in chips {
                    if let Some(chip) = self.chips.get_mut(*chip) {
                        let indent = chip.steps * STEP;
                        (chip.area.x, chip.area.w) = (x + indent, w - indent);
                    }
                }
            }
        }
    }

    pub(super) fn shift(&mut self, x: i32, y: i32) {
        let areas = self.chips.iter_mut().map(|chip| &mut chip.area);
        for area in areas.chain(self.groups.iter_mut().map(|group| &mut group.area)).chain([&mut self.area]) {
            area.x += x;
            area.y += y;
        }
    }
}

/// How far a chip stands to the right of the one that it is on top of.
pub(in super::super) const STEP: i32 = 18;

fn chip_height(lines: usize) -> i32 {
    13 + LINE * i32::try_from(lines).unwrap_or(0)
}

fn chip_width(chip: &Chip) -> i32 {
    let line =
        |spans: &Vec<Span>| spans.iter().map(|span| cells(&span.text, span.look.size()) + 8).sum::<i32>();
    chip.lines.iter().map(line).max().unwrap_or(0) + 26 + chip.steps * STEP
}

impl Look {
    /// The size of the letters, in pixels.
    pub(in super::super) fn size(self) -> i32 {
        if self == Look::Name { 13 } else { 11 }
    }
}

/// The width of a text in letters of this size. Those of fonts with equal letters are three fifths as wide as high, or less.
pub(in super::super) fn cells(text: &str, size: i32) -> i32 {
    (i32::try_from(text::width(text)).unwrap_or(i32::MAX / 1000) * size * 61 + 99) / 100
}

fn cut(text: &str) -> String {
    cut_at(text, CELLS)
}

fn cut_at(text: &str, room: usize) -> String {
    match text::split(text, room) {
        (whole, "") => whole.to_owned(),
        _ => format!("{}…", text::split(text, room - 1).0),
    }
}

/// Lines that break at blanks, or, where there are none, anywhere.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if text::width(line) + 1 + text::width(word) <= CELLS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word)),
        }
    }
    lines
}

/// Puts the links of a namespace on its card.
struct Deck<'a> {
    graph: &'a Graph,
    own: &'a Namespace,
    below: BTreeMap<Option<usize>, Vec<usize>>,
    sides: &'a dyn Fn(Option<usize>) -> Sides,
    card: Card,
}

impl Deck<'_> {
    /// Puts down what is below a link, or below none, and what is below that.
    fn deal(&mut self, above: Option<usize>, steps: i32, group: &mut Group) {
        for at in self.below.get(&above).cloned().unwrap_or_default() {
            let Some(link) = self.own.links().get(at) else { continue };
            let sides = (self.sides)(Some(at));
            let has_below = self.below.contains_key(&Some(at));
            if is_plain_lo(link) && !has_below && sides == Sides::default() {
                self.card.lo = Some(link.works());
                continue;
            }
            let index = link.kernel.index;
            let is_master =
                |at: &usize| self.own.links().get(*at).is_some_and(|it| it.kernel.master == Some(index));
            let masters = self.below.get(&Some(at)).is_some_and(|below| below.iter().any(is_master));
            if masters || link.kernel.kind.as_deref() == Some("bridge") {
                let mut own = Group { head: Some(self.chip(at, link, 0, None)), ..Group::default() };
                self.deal(Some(at), 0, &mut own);
                self.card.groups.push(own);
                continue;
            }
            // Apart from the link that it is on, it has to say which that is.
            let beside = above.is_none_or(|above| side_by_side((self.sides)(Some(above)), sides));
            let on = match link.far {
                Far::Link(below) if !link.is_pair() && (link.kernel.master.is_some() || !beside) => {
                    Some(below)
                }
                _ => None,
            };
            let is_port = link.kernel.master.is_some();
            let steps = if beside && !is_port { steps } else { 0 };
            let chip = self.chip(at, link, steps, on.and_then(|below| self.graph.link(below)));
            match (sides.left, sides.right) {
                (true, false) => group.left.push(chip),
                (false, true) => group.right.push(chip),
                (false, false) if group.head.is_some() => group.right.push(chip),
                _ => group.wide.push(chip),
            }
            self.deal(Some(at), steps + 1, group);
        }
    }

    fn chip(&mut self, at: usize, link: &Link, steps: i32, on: Option<&Link>) -> usize {
        let span = |text: &str, look| Span { text: cut(text), look };
        let mut head = vec![span(&link.label(), Look::Name)];
        let kind =
            words::particulars(link).into_iter().filter(|word| word != "veth").collect::<Vec<_>>().join(" ");
        head.extend((!kind.is_empty()).then(|| span(&kind, Look::Kind)));
        head.extend((!link.works()).then(|| span(&link.state(), Look::Broken)));
        let mut lines = vec![head];
        let mut say = |text: &str, look| lines.push(vec![span(text, look)]);
        let (addresses, more) = addresses(link);
        addresses.iter().for_each(|address| say(address, Look::Address));
        more.iter().for_each(|more| say(more, Look::Faint));
        link.vlans.iter().for_each(|vlans| {
            wrapped(&format!("vlans {vlans}")).iter().for_each(|line| say(line, Look::Kind));
        });
        on.iter().for_each(|below| say(&format!("on {}", below.label()), Look::Faint));
        say(&words::hardware(link), Look::Faint);
        words::remark(link)
            .iter()
            .for_each(|remark| wrapped(remark).iter().for_each(|it| say(it, Look::Faint)));
        if link.far == Far::Unseen {
            words::far(self.graph, self.own, link).iter().for_each(|far| say(far, Look::Broken));
        }
        let all = words::lines(link).join("\n");
        let area = Area::default();
        self.card.chips.push(Chip { link: Some(at), lines, all, works: link.works(), steps, area });
        self.card.chips.len() - 1
    }
}

fn side_by_side(above: Sides, below: Sides) -> bool {
    let place = |sides: Sides| (sides.left && !sides.right, sides.right && !sides.left);
    place(above) == place(below)
}

/// The addresses to show, and a word for those that are not. Link-local ones say something only where there are no others,
/// and not on the ports of a bridge, which have nothing to say to anybody.
fn addresses(link: &Link) -> (Vec<String>, Option<String>) {
    let link_local = |it: &&linux::address::Address| it.net.is_ipv6() && it.scope == 253;
    let mut chosen: Vec<_> = link.addresses.iter().filter(|it| !link_local(it)).collect();
    if chosen.is_empty() && link.kernel.master.is_none() {
        chosen = link.addresses.iter().collect();
    }
    let shown = if chosen.len() > ADDRESSES { ADDRESSES - 1 } else { chosen.len() };
    let more = chosen.len() - shown;
    (
        chosen.iter().take(shown).map(|it| it.net.to_string()).collect(),
        (more > 0).then(|| format!("and {more} more")),
    )
}

/// It has what every `lo` has, or nothing.
fn is_plain_lo(link: &Link) -> bool {
    let usual = |address: &linux::address::Address| {
        ["127.0.0.1/8", "::1/128"].contains(&address.net.to_string().as_str())
    };
    link.bytes() == b"lo" && link.kernel.kind.is_none() && link.addresses.iter().all(usual)
}
