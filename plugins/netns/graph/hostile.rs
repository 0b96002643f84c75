//! Whatever the kernel, `/proc` and whoever gives names to namespaces and links say: every picture of it is one, and a text of
//! theirs ends no line, begins no markup, and reaches no terminal as anything but letters (docs/fuzzing.md).
//!
//! An input is a graph, a line to each thing, which belongs to the namespace or the link above it.

use super::layout::tests::link;
use super::model::{Far, Graph, Inside, Link, Namespace, Place, Process};
use super::terminal::Terminal;
use super::{dot, json, mermaid, svg, tree};
use linux::link::{OperState, Stacked};
use linux::route::Route;
use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number<T: std::str::FromStr + Default>(bytes: &[u8]) -> T {
    text(bytes).parse().unwrap_or_default()
}

/// The first word of a line, and the rest.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    (&line[..end], line.get(end + 1..).unwrap_or_default())
}

/// No more than so many things of a sort: layouts of thousands have their own tests.
const MOST: usize = 8;

fn read(bytes: &[u8]) -> Graph {
    let mut graph = Graph::default();
    for line in bytes.split(|byte| *byte == b'\n').take(MOST * 8) {
        let (what, rest) = word(line);
        if what == b"namespace" && graph.namespaces.len() < MOST {
            graph.namespaces.push(Namespace {
                names: if rest.is_empty() { Vec::new() } else { vec![OsString::from_vec(rest.to_vec())] },
                identity: None,
                host: false,
                here: false,
                first: None,
                processes: 0,
                inside: Inside::Seen { links: Vec::new(), routes: Vec::new() },
            });
        }
        if what == b"hidden" {
            graph.hidden = number(rest);
        }
        if let Some(namespace) = graph.namespaces.last_mut() {
            within(namespace, what, rest);
        }
    }
    graph
}

fn within(namespace: &mut Namespace, what: &[u8], rest: &[u8]) {
    let (first, second) = word(rest);
    match what {
        b"also" => namespace.names.push(OsString::from_vec(rest.to_vec())),
        b"host" => namespace.host = true,
        b"here" => namespace.here = true,
        b"process" => {
            namespace.first = Some(Process { pid: number(first), command: second.to_vec() });
            namespace.processes = 1 + second.len();
        }
        b"closed" => namespace.inside = Inside::Closed(text(rest)),
        _ => {}
    }
    let Inside::Seen { links, routes } = &mut namespace.inside else { return };
    match (what, text(first).parse()) {
        (b"link", _) if links.len() < MOST => {
            let (kind, name) = word(second);
            let mut new = link(number(first), &text(name), (kind != b"-").then(|| text(kind)).as_deref());
            new.kernel.odd_name = std::str::from_utf8(name).is_err().then(|| name.to_vec());
            links.push(new);
        }
        (b"route", Ok(net)) => routes.push(Route {
            gateway: text(second).parse().ok(),
            source: text(second).parse().ok(),
            priority: Some(number(second)),
            ..Route::new(net, number(second))
        }),
        _ => links.last_mut().into_iter().for_each(|link| about(link, what, rest)),
    }
}

fn about(link: &mut Link, what: &[u8], rest: &[u8]) {
    let (first, second) = word(rest);
    let kernel = &mut link.kernel;
    match what {
        b"alias" => kernel.alias = Some(text(rest)),
        b"port" => kernel.master = Some(number(first)),
        b"on" => (kernel.peer, kernel.peer_nsid) = (Some(number(first)), text(second).parse().ok()),
        b"far" => link.far = Far::Link(Place { namespace: number(first), link: number(second) }),
        b"closed-far" => link.far = Far::Closed(number(first)),
        b"unseen" => link.far = Far::Unseen,
        b"mtu" => kernel.mtu = number(first),
        b"down" => (kernel.up, kernel.state) = (first.is_empty(), OperState::Down),
        b"tag" => kernel.stacked = Some(Stacked::Vlan { id: number(first), protocol: number(second) }),
        b"mode" => kernel.stacked = Some(Stacked::Macvlan(number(first))),
        b"address" => {
            let net = text(first).parse();
            let address =
                |net| linux::address::Address { link: 1, net, tentative: false, dadfailed: false, scope: 0 };
            link.addresses.extend(net.ok().map(address));
        }
        _ => {}
    }
}

/// Letters and ends of lines alone.
fn is_plain(picture: &str) {
    assert!(!picture.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{picture:?}");
}

/// As many quotation marks in each line as open and close a text; one behind a backslash is a letter.
fn is_quoted(picture: &str) {
    for line in picture.lines() {
        let letters = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(letters.matches('"').count() % 2, 0, "{line}");
    }
}

/// Tags that close what they open, and nothing else with a `<` or a `&`.
fn is_markup(picture: &str) {
    let mut open = Vec::new();
    for part in picture.split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, true) => {}
            (false, false) => open.push(name),
        }
        for code in after.split('&').skip(1) {
            assert!(["lt;", "gt;", "amp;", "quot;"].iter().any(|known| code.starts_with(known)), "&{code}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// How many sorts of pictures there are.
const PICTURES: usize = 5;

fn draw(bytes: &[u8], number: usize) {
    let graph = read(bytes);
    let columns = [None, Some(1), Some(40)][bytes.len() % 3];
    match number {
        0 => {
            is_plain(&tree::tree(&graph, &Terminal { colour: false, width: columns }));
            is_plain(&tree::tree(&graph, &Terminal { colour: true, width: columns }).replace("\x1b[", ""));
        }
        1 => {
            let picture = svg::svg(&graph);
            is_plain(&picture);
            is_markup(&picture);
        }
        2 | 3 => {
            let picture = if number == 2 { dot::dot(&graph) } else { mermaid::mermaid(&graph) };
            is_plain(&picture);
            is_quoted(&picture);
        }
        _ => {
            let text = json::json(&graph, false).expect("JSON");
            let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(document["namespaces"].as_array().map(Vec::len), Some(graph.namespaces.len()));
        }
    }
    for namespace in &graph.namespaces {
        let below = namespace.below();
        assert_eq!(below.values().map(Vec::len).sum::<usize>(), namespace.links().len(), "each link once");
    }
}

#[test]
fn whatever_there_is_to_draw_becomes_a_picture_of_it() {
    let each = |bytes: &[u8]| (0..PICTURES).for_each(|number| draw(bytes, number));
    fuzz::seeds("graph").iter().for_each(|seed| each(seed));
    // All pictures of each input would take as long as everything else here.
    let turn = Cell::new(0);
    fuzz::attack("graph", |bytes| {
        turn.set((turn.get() + 1) % PICTURES);
        draw(bytes, turn.get());
    });
}
