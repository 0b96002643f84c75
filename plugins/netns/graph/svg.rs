//! The picture as SVG, which browsers show. It has the ids of the JSON form, and says more of what is pointed at.

use super::layout::card::{Card, Chip, Group, Look, PADDING, PLUG, cells};
use super::layout::{self, Area, MARGIN, Picture};
use super::model::{Graph, Place, namespace_id};
use super::words;
use std::fmt::Write;

/// How many colours there are for bridges.
const COLOURS: usize = 8;

/// Light, and dark for those who like that. Programs that know no media queries take the light one.
const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;font-size:11px;\
fill:#1f2933}\
.paper{fill:#fbfcfe}.card{fill:#fff;stroke:#c3ccd6;stroke-width:1.2}.own{stroke:#64748b;stroke-width:2}\
.closed{stroke-dasharray:6 4}.chip{fill:#f3f6f9;stroke:#d5dce4}.down{stroke-dasharray:4 3}\
.title{font-size:15px;font-weight:700}.name{font-size:13px;font-weight:600}.kind{fill:#2563a8}.faint{fill:#6b7887}\
.broken{fill:#b42318}.on{fill:#1f9d55}.off{fill:none;stroke:#d1433a;stroke-width:1.6}\
.k{fill:#64748b;stroke:#64748b}.k0{fill:#2f7ed8;stroke:#2f7ed8}.k1{fill:#d9822b;stroke:#d9822b}\
.k2{fill:#2a9d6f;stroke:#2a9d6f}.k3{fill:#8e5bd0;stroke:#8e5bd0}.k4{fill:#d1437f;stroke:#d1437f}\
.k5{fill:#149ba8;stroke:#149ba8}.k6{fill:#9a7b1f;stroke:#9a7b1f}.k7{fill:#b5533c;stroke:#b5533c}\
.frame{fill-opacity:.09;stroke-opacity:.6;stroke-width:1.2}.wire,.stub{fill:none;stroke-width:2}.top{stroke-dasharray:2 5}\
.wire:hover{stroke-width:4}.spine{stroke:none}.plug{stroke:none}.twig{fill:none;stroke:#a7b3c0;stroke-width:1.4}\
@media(prefers-color-scheme:dark){text{fill:#e4e9ef}.paper{fill:#10161c}.card{fill:#19212a;stroke:#3b4754}\
.own{stroke:#8fa1b5}.chip{fill:#222c36;stroke:#36424e}.kind{fill:#7db6f2}.faint{fill:#93a1b0}.broken{fill:#ff9a8f}\
.on{fill:#3fcf86}.off{stroke:#ff7b70}.frame{fill-opacity:.16}.twig{stroke:#5a6875}\
.plug.k{fill:#8fa1b5}.wire.k,.stub.k{stroke:#8fa1b5}}";

/// Draws the graph.
pub(super) fn svg(graph: &Graph) -> String {
    let picture = layout::layout(graph);
    let hidden = words::hidden(graph);
    let note = hidden.as_deref().map_or(0, |text| cells(text, 11) + 2 * MARGIN);
    let (w, h) =
        (picture.w.max(note).max(LEGEND), picture.h + FOOT + if hidden.is_some() { FOOT } else { 0 });
    let mut page = Page(String::new());
    page.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n\
         <title>network namespaces</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{w}\" height=\"{h}\"/>\n"
    ));
    draw_wires(&mut page, graph, &picture);
    for card in &picture.cards {
        draw_card(&mut page, graph, card);
    }
    for path in &picture.paths {
        draw_stubs(&mut page, &picture, path);
        for (x, y) in [path.from, path.to] {
            let colour = colour(path.colour);
            page.add(format_args!("<circle class=\"plug {colour}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>\n"));
        }
    }
    draw_legend(&mut page, picture.h);
    if let Some(hidden) = hidden {
        page.text(MARGIN, picture.h + 2 * FOOT - 18, "faint", &hidden);
    }
    page.0.push_str("</svg>\n");
    page.0
}

/// The height of a line below the picture, and the width of the legend.
const FOOT: i32 = 24;
const LEGEND: i32 = 480;

fn draw_legend(page: &mut Page, y: i32) {
    let y = y + 2;
    page.add(format_args!("<circle class=\"on\" cx=\"{}\" cy=\"{y}\" r=\"4\"/>\n", MARGIN + 4));
    page.text(MARGIN + 14, y + 4, "faint", "up");
    page.add(format_args!("<circle class=\"off\" cx=\"{}\" cy=\"{y}\" r=\"3.5\"/>\n", MARGIN + 54));
    page.text(MARGIN + 64, y + 4, "faint", "down, or no carrier");
    for (x, look, text) in [(218, "wire k", "a pair"), (310, "wire k top", "on top of another")] {
        let x = MARGIN + x;
        page.add(format_args!("<path class=\"{look}\" d=\"M{x} {y}h26\"/>\n"));
        page.text(x + 34, y + 4, "faint", text);
    }
}

fn colour(number: Option<usize>) -> String {
    number.map_or_else(|| "k".into(), |number| format!("k{}", number % COLOURS))
}

/// The page as it is written. Writing into a String does not fail.
struct Page(String);

impl Page {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(what);
    }

    fn text(&mut self, x: i32, y: i32, look: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!("<text class=\"{look}\" x=\"{x}\" y=\"{y}\">{text}</text>\n"));
    }

    fn dot(&mut self, x: i32, y: i32, works: bool) {
        let look = if works { "on" } else { "off" };
        self.add(format_args!("<circle class=\"{look}\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>\n"));
    }

    fn area(&mut self, look: &str, Area { x, y, w, h }: Area, round: i32) {
        self.add(format_args!(
            "<rect class=\"{look}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{round}\"/>\n"
        ));
    }
}

/// A text as XML has it. What XML cannot hold at all is not in it any more, see [`crate::text`].
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// How round the corners of a wire are.
const BEND: i32 = 9;

fn draw_wires(page: &mut Page, graph: &Graph, picture: &Picture) {
    for path in &picture.paths {
        let ((x, y), (to_x, to_y)) = (path.from, path.to);
        let way = match path.track {
            None => format!("M{x} {y}L{to_x} {to_y}"),
            Some(track) => {
                let bend = BEND.min((to_y - y).abs() / 2);
                let down = (to_y - y).signum() * bend;
                let (before, after) = ((track - x).signum() * bend, (to_x - track).signum() * bend);
                format!(
                    "M{x} {y}H{}Q{track} {y} {track} {}V{}Q{track} {to_y} {} {to_y}H{to_x}",
                    track - before,
                    y + down,
                    to_y - down,
                    track + after
                )
            }
        };
        let [a, b] = path.joint.ends;
        let name = |end: layout::card::End| {
            let whose = graph.namespaces.get(end.namespace)?.title();
            let link = end.link.and_then(|link| graph.link(Place { namespace: end.namespace, link }));
            Some(link.map_or_else(|| whose.clone(), |link| format!("{} in {whose}", link.label())))
        };
        let (a, b) = (name(a).unwrap_or_default(), name(b).unwrap_or_default());
        let told = if path.joint.pair { format!("{a} ⇄ {b}") } else { format!("{a} on {b}") };
        let look = format!("wire {}{}", colour(path.colour), if path.joint.pair { "" } else { " top" });
        page.add(format_args!(
            "<path class=\"{look}\" d=\"{way}\"><title>{}</title></path>\n",
            escaped(&told)
        ));
    }
}

/// From a wire's ends, on the edges of the cards, to the chips.
fn draw_stubs(page: &mut Page, picture: &Picture, path: &layout::Path) {
    for (end, (x, y)) in path.joint.ends.iter().zip([path.from, path.to]) {
        let Some(chip) = picture.cards.get(end.namespace).and_then(|card| card.chip_of(*end)) else {
            continue;
        };
        let near = if (x - chip.area.x).abs() < (x - chip.area.x - chip.area.w).abs() {
            chip.area.x
        } else {
            chip.area.x + chip.area.w
        };
        let colour = colour(path.colour);
        page.add(format_args!("<path class=\"stub {colour}\" d=\"M{x} {y}H{near}\"/>\n"));
    }
}

fn draw_card(page: &mut Page, graph: &Graph, card: &Card) {
    let Some(namespace) = graph.namespaces.get(card.namespace) else { return };
    let Area { x, y, w, .. } = card.area;
    let look = match (namespace.here, card.closed) {
        (_, true) => "card closed",
        (true, _) => "card own",
        _ => "card",
    };
    page.add(format_args!("<g id=\"{}\">\n", namespace_id(card.namespace)));
    page.area(look, card.area, 10);
    let whole = [vec![namespace.title()], namespace.remarks()].concat().join("\n");
    let (title, whole) = (escaped(&card.title), escaped(&whole));
    page.add(format_args!(
        "<text class=\"title\" x=\"{}\" y=\"{}\">{title}<title>{whole}</title></text>\n",
        x + PADDING,
        y + 26
    ));
    if !card.remarks.is_empty() {
        page.text(x + PADDING, y + 43, "faint", &card.remarks);
    }
    if let Some(works) = card.lo {
        page.dot(x + w - PADDING - 24, y + 21, works);
        page.text(x + w - PADDING - 15, y + 25, "faint", "lo");
    }
    for group in &card.groups {
        draw_group(page, card, group);
    }
    for (at, chip) in card.chips.iter().enumerate() {
        let is_head = card.groups.iter().any(|group| group.head == Some(at));
        draw_chip(page, graph, card, chip, is_head);
    }
    let lines = i32::try_from(card.routes.len()).unwrap_or(0);
    for (line, route) in (0..).zip(&card.routes) {
        let top = y + card.area.h - PADDING - (lines - line - 1) * layout::card::LINE;
        page.text(x + PADDING + 10, top, "faint", route);
        if line == 0 {
            page.text(x + PADDING, top - layout::card::LINE, "kind", "routes");
        }
    }
    page.0.push_str("</g>\n");
}

/// The frame of a bridge, and its ports' way to it.
fn draw_group(page: &mut Page, card: &Card, group: &Group) {
    let Some(head) = group.head.and_then(|head| card.chips.get(head)) else { return };
    let colour = colour(group.colour);
    page.area(&format!("frame {colour}"), group.area, 8);
    let of = |chips: &[usize]| -> Vec<Area> {
        chips
            .iter()
            .filter_map(|chip| card.chips.get(*chip))
            .filter(|chip| chip.steps == 0)
            .map(|chip| chip.area)
            .collect()
    };
    let (left, right) = (of(&group.left), of(&group.right));
    let Some(last) = left.iter().chain(&right).map(|area| area.y + PLUG).max() else { return };
    let middle = match (left.first(), right.first()) {
        (Some(left), Some(right)) => i32::midpoint(left.x + left.w, right.x),
        (Some(left), None) => left.x + left.w + 15,
        (None, Some(right)) => right.x - 15,
        (None, None) => return,
    };
    let top = head.area.y + head.area.h;
    page.area(&format!("spine {colour}"), Area { x: middle - 3, y: top, w: 6, h: last - top + 3 }, 3);
    for area in &left {
        let (from, y) = (area.x + area.w, area.y + PLUG);
        page.add(format_args!("<path class=\"stub {colour}\" d=\"M{from} {y}H{middle}\"/>\n"));
    }
    for area in &right {
        let (to, y) = (area.x, area.y + PLUG);
        page.add(format_args!("<path class=\"stub {colour}\" d=\"M{middle} {y}H{to}\"/>\n"));
    }
}

fn draw_chip(page: &mut Page, graph: &Graph, card: &Card, chip: &Chip, is_head: bool) {
    let Area { x, y, .. } = chip.area;
    let id = chip.link.and_then(|link| graph.link_id(Place { namespace: card.namespace, link }));
    let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
    let all = escaped(&chip.all);
    page.add(format_args!("<g{id}><title>{all}</title>\n"));
    if !is_head {
        page.area(if chip.works { "chip" } else { "chip down" }, chip.area, 6);
    }
    if chip.steps > 0 {
        page.add(format_args!("<path class=\"twig\" d=\"M{} {}v{}h8\"/>\n", x - 9, y - 6, PLUG + 6));
    }
    if chip.link.is_some() {
        page.dot(x + 12, y + PLUG, chip.works);
    }
    for (nth, spans) in (0..).zip(&chip.lines) {
        let mut at = x + 22;
        for span in spans {
            let look = match span.look {
                Look::Name => "name",
                Look::Kind => "kind",
                Look::Address => "",
                Look::Faint => "faint",
                Look::Broken => "broken",
            };
            page.text(at, y + PLUG + 4 + nth * layout::card::LINE, look, &span.text);
            at += cells(&span.text, span.look.size()) + 8;
        }
    }
    page.0.push_str("</g>\n");
}
