//! Whatever there is to draw, nothing covers anything else.

use super::super::model::{Far, Graph, Inside, Link, Namespace, Place};
use super::card::{End, PADDING, PLUG, cells};
use super::{Area, Path, Picture, layout};
use linux::link::OperState;
use linux::mac::Mac;
use proptest::prelude::*;
use std::collections::HashSet;

/// A link that works, with nothing on it.
pub(in super::super) fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
    let kernel = linux::link::Link {
        index,
        name: name.into(),
        odd_name: None,
        kind: kind.map(Into::into),
        mac: Some(Mac::local([1, 2, 3, 4, 5, 6])),
        mtu: 1500,
        up: true,
        state: OperState::Up,
        carrier: true,
        master: None,
        peer: None,
        peer_nsid: None,
        alias: None,
        stacked: None,
        promiscuous: false,
        all_multicast: false,
        queue: 0,
        promiscuity: 0,
        group: 0,
        port: None,
        filtering: None,
        no_linklocal_learn: false,
    };
    Link { kernel, addresses: Vec::new(), vlans: None, far: Far::Nowhere }
}

fn world(count: usize) -> Graph {
    let namespace = |at: usize| Namespace {
        names: vec![format!("namespace-{at}").into()],
        identity: None,
        host: at == 0,
        here: at == 0,
        first: None,
        processes: at % 3,
        inside: Inside::Seen { links: vec![link(1, "lo", None)], routes: Vec::new() },
    };
    Graph { namespaces: (0..count).map(namespace).collect(), hidden: 0 }
}

impl Graph {
    fn links(&mut self, namespace: usize) -> &mut Vec<Link> {
        match &mut self.namespaces[namespace].inside {
            Inside::Seen { links, .. } => links,
            Inside::Closed(_) => panic!("closed"),
        }
    }

    fn add(&mut self, namespace: usize, name: &str, kind: &str) -> Place {
        let links = self.links(namespace);
        let index = u32::try_from(links.len() + 1).unwrap();
        links.push(link(index, name, Some(kind)));
        Place { namespace, link: links.len() - 1 }
    }

    fn pair(&mut self, a: usize, b: usize) -> (Place, Place) {
        let (left, right) =
            (self.add(a, &format!("to-{b}"), "veth"), self.add(b, &format!("from-{a}"), "veth"));
        for (one, other) in [(left, right), (right, left)] {
            let index = self.link(other).unwrap().kernel.index;
            let link = &mut self.links(one.namespace)[one.link];
            link.far = Far::Link(other);
            link.kernel.peer = Some(index);
            link.kernel.peer_nsid = (a != b).then_some(7);
        }
        (left, right)
    }

    fn port(&mut self, of: Place, bridge: Place) {
        let index = self.link(bridge).unwrap().kernel.index;
        self.links(of.namespace)[of.link].kernel.master = Some(index);
    }

    fn macvlan(&mut self, namespace: usize, on: Place) {
        let place = self.add(namespace, "mv", "macvlan");
        let index = self.link(on).unwrap().kernel.index;
        let link = &mut self.links(namespace)[place.link];
        link.far = Far::Link(on);
        link.kernel.peer = Some(index);
        link.kernel.peer_nsid = (namespace != on.namespace).then_some(3);
    }

    fn give(&mut self, place: Place, addresses: usize) {
        let link = &mut self.links(place.namespace)[place.link];
        link.addresses = (0..addresses)
            .map(|nth| linux::address::Address {
                link: link.kernel.index,
                net: format!("2001:db8:1111:2222:3333:4444:5555:{nth:x}/128").parse().unwrap(),
                tentative: false,
                dadfailed: false,
                scope: 0,
            })
            .collect();
    }
}

fn overlap(a: Area, b: Area) -> bool {
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}

fn within(inner: Area, outer: Area) -> bool {
    inner.x >= outer.x
        && inner.y >= outer.y
        && inner.x + inner.w <= outer.x + outer.w
        && inner.y + inner.h <= outer.y + outer.h
}

/// The parts of a wire, as areas without breadth.
fn parts(path: &Path) -> Vec<Area> {
    let across = |x: i32, to: i32, y: i32| Area { x: x.min(to), y, w: (to - x).abs(), h: 0 };
    let ((x, y), (to_x, to_y)) = (path.from, path.to);
    match path.track {
        None => vec![across(x, to_x, y)],
        Some(track) => vec![
            across(x, track, y),
            Area { x: track, y: y.min(to_y), w: 0, h: (to_y - y).abs() },
            across(track, to_x, to_y),
        ],
    }
}

/// Two parts that lie on each other, not such as cross.
fn along(a: Area, b: Area) -> bool {
    let touch = |from: i32, length: i32, other: i32, other_length: i32| {
        from < other + other_length && other < from + length
    };
    (a.h == 0 && b.h == 0 && a.y == b.y && touch(a.x, a.w, b.x, b.w))
        || (a.w == 0 && b.w == 0 && a.x == b.x && touch(a.y, a.h, b.y, b.h))
}

fn check_cards(picture: &Picture) {
    let all = Area { x: 0, y: 0, w: picture.w, h: picture.h };
    for (nth, card) in picture.cards.iter().enumerate() {
        assert!(within(card.area, all), "{} is not in the picture", card.title);
        for other in &picture.cards[nth + 1..] {
            assert!(!overlap(card.area, other.area), "{} covers {}", card.title, other.title);
        }
        assert!(cells(&card.title, 15) + 2 * PADDING + 26 <= card.area.w, "{} is cut", card.title);
        for (nth, chip) in card.chips.iter().enumerate() {
            assert!(within(chip.area, card.area), "{:?} of {} {:?}", chip.area, card.title, card.area);
            assert!(
                chip.area.y >= card.area.y + card.head() - PLUG,
                "a chip covers the title of {}",
                card.title
            );
            for other in &card.chips[nth + 1..] {
                assert!(!overlap(chip.area, other.area), "{:?} covers {:?}", chip.area, other.area);
            }
            for line in &chip.lines {
                let w: i32 = line.iter().map(|span| cells(&span.text, span.look.size()) + 8).sum();
                assert!(22 + w - 8 <= chip.area.w, "{:?} is too narrow for {w}", chip.area);
            }
            let lines = i32::try_from(chip.lines.len()).unwrap();
            assert!(PLUG + 4 + (lines - 1) * super::card::LINE < chip.area.h);
        }
        for group in &card.groups {
            assert!(within(group.area, card.area), "a frame leaves {}", card.title);
        }
    }
}

fn check_wires(graph: &Graph, picture: &Picture) {
    let joints = super::joints(graph);
    assert_eq!(picture.paths.len(), joints.len(), "a wire is missing");
    let joined: HashSet<(End, End)> =
        joints.iter().flat_map(|it| [(it.ends[0], it.ends[1]), (it.ends[1], it.ends[0])]).collect();
    for (nth, path) in picture.paths.iter().enumerate() {
        assert!(path.track.is_some() || path.from.1 == path.to.1, "a wire is aslant");
        for part in parts(path) {
            for card in &picture.cards {
                let inside =
                    Area { x: card.area.x + 1, y: card.area.y + 1, w: card.area.w - 2, h: card.area.h - 2 };
                let touch = part.x < inside.x + inside.w
                    && inside.x < part.x + part.w.max(1)
                    && part.y < inside.y + inside.h
                    && inside.y < part.y + part.h.max(1);
                assert!(!touch, "a wire runs through {}: {part:?} {inside:?}", card.title);
            }
            for other in &picture.paths[nth + 1..] {
                // Wires with an end in common, or with a third wire between two of their ends, may meet.
                let meets = |a: &End| other.joint.ends.iter().any(|b| a == b || joined.contains(&(*a, *b)));
                let shared = path.joint.ends.iter().any(meets);
                let hidden = parts(other).into_iter().any(|it| along(part, it));
                assert!(shared || !hidden, "two wires lie on each other: {part:?} {:?}", parts(other));
            }
        }
    }
}

fn check(graph: &Graph) -> Picture {
    let picture = layout(graph);
    check_cards(&picture);
    check_wires(graph, &picture);
    picture
}

#[test]
fn many_leaves_of_two_bridges_stand_clear_and_their_wires_are_straight() {
    for count in [2, 3, 12, 40, 61, 120] {
        let mut graph = world(count);
        let bridges = [graph.add(0, "br0", "bridge"), graph.add(0, "br1", "bridge")];
        for pod in 1..count {
            let (port, inner) = graph.pair(0, pod);
            graph.port(port, bridges[pod % 3 / 2]);
            graph.give(inner, pod % 4);
        }
        let picture = check(&graph);
        assert!(picture.paths.iter().all(|path| path.track.is_none()), "{count} namespaces");
        let far_apart = picture.h > 60 * i32::try_from(count).unwrap() + 600;
        assert!(!far_apart, "{count} namespaces make a picture of {} by {}", picture.w, picture.h);
    }
}

#[test]
fn containers_in_containers_stand_beside_them_among_many_others() {
    let mut graph = world(80);
    let bridge = graph.add(0, "br0", "bridge");
    let mut next = 60;
    for pod in 1..60 {
        let (port, _) = graph.pair(0, pod);
        graph.port(port, bridge);
        if pod % 12 == 0 {
            let inner = graph.add(pod, "br0", "bridge");
            for _ in 0..4 {
                let (port, _) = graph.pair(pod, next);
                graph.port(port, inner);
                next += 1;
            }
        }
    }
    let picture = check(&graph);
    assert!(picture.h < 3600, "a picture of {} by {}", picture.w, picture.h);
    for path in &picture.paths {
        assert!((path.from.1 - path.to.1).abs() < 600, "a wire leads far away");
    }
}

#[test]
fn a_lonely_namespace_and_none_at_all_make_a_picture() {
    assert_eq!(check(&world(1)).cards.len(), 1);
    assert!(check(&world(0)).cards.is_empty());
    check(&world(90));
}

#[test]
fn the_longest_names_and_the_most_addresses_stay_on_their_cards() {
    let mut graph = world(3);
    graph.namespaces[1].names = vec!["日".repeat(85).into(), "x".repeat(255).into()];
    let (_, inner) = graph.pair(0, 1);
    graph.give(inner, 40);
    let alias = "w".repeat(255);
    graph.links(1)[inner.link].kernel.alias = Some(alias);
    graph.links(1)[inner.link].kernel.name = "\u{202e}".repeat(5);
    graph.namespaces[2].inside = Inside::Closed("because ".repeat(40));
    check(&graph);
}

/// What can be joined: who with whom, over a bridge or not.
#[derive(Clone, Debug)]
enum Step {
    Pair(usize, usize, bool),
    Macvlan(usize, usize),
    Addresses(usize, usize),
    Bridge(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = || 0..14_usize;
    prop_oneof![
        6 => (namespace(), namespace(), any::<bool>()).prop_map(|(a, b, port)| Step::Pair(a, b, port)),
        4 => namespace().prop_map(|a| Step::Pair(0, a, true)),
        1 => (namespace(), namespace()).prop_map(|(a, b)| Step::Macvlan(a, b)),
        2 => (namespace(), 0..12_usize).prop_map(|(a, n)| Step::Addresses(a, n)),
        2 => namespace().prop_map(Step::Bridge),
    ]
}

fn built(steps: &[Step]) -> Graph {
    let mut graph = world(14);
    for step in steps {
        match *step {
            Step::Pair(a, b, port) => {
                let (left, _) = graph.pair(a, b);
                let bridge =
                    graph.links(a).iter().rposition(|it| it.kernel.kind.as_deref() == Some("bridge"));
                if let Some(link) = bridge.filter(|_| port) {
                    graph.port(left, Place { namespace: a, link });
                }
            }
            Step::Macvlan(a, b) => {
                let link = graph.links(b).len() - 1;
                graph.macvlan(a, Place { namespace: b, link });
            }
            Step::Addresses(a, n) => {
                let link = graph.links(a).len() - 1;
                graph.give(Place { namespace: a, link }, n);
            }
            Step::Bridge(a) => {
                graph.add(a, "br", "bridge");
            }
        }
    }
    graph
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_covers_anything_whatever_is_joined(steps in prop::collection::vec(step(), 0..60)) {
        let graph = built(&steps);
        let picture = check(&graph);
        let again = layout(&graph);
        prop_assert!(picture.cards.iter().zip(&again.cards).all(|(a, b)| a.area == b.area));
    }
}
