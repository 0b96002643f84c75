//! The picture as lines of text: a namespace, below it its links, below a bridge its ports, below a link those on top of it.

use super::model::{Graph, Inside, Link, Namespace};
use super::terminal::Terminal;
use super::words;
use crate::text::{shown, split, width};
use linux::route::Route;
use std::collections::BTreeMap;

/// A word or two that stay on one line together.
struct Item {
    text: String,
    style: Style,
}

/// Select Graphic Rendition (ECMA-48): the eight colours that every terminal has, in the user's own shades.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Title,
    Name,
    Kind,
    Works,
    Broken,
    Faint,
    Wire,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Title => "1;4",
            Style::Name => "1",
            Style::Kind => "36",
            Style::Works => "32",
            Style::Broken => "31",
            Style::Faint => "2",
            Style::Wire => "35",
        }
    }
}

fn item(text: impl Into<String>, style: Style) -> Item {
    Item { text: text.into(), style }
}

/// Draws the tree.
pub(super) fn tree(graph: &Graph, terminal: &Terminal) -> String {
    let mut page = Page { text: String::new(), terminal: *terminal };
    for (position, namespace) in graph.namespaces.iter().enumerate() {
        if position > 0 {
            page.text.push('\n');
        }
        let mut head = vec![item(namespace.title(), Style::Title)];
        head.extend(namespace.remarks().into_iter().map(|remark| item(remark, Style::Faint)));
        page.line("", "", &head);
        match &namespace.inside {
            Inside::Closed(why) => page.line("└─ ", "   ", &[item(shown(why.as_bytes()), Style::Broken)]),
            Inside::Seen { routes, .. } => {
                Branches { graph, namespace, below: namespace.below() }.draw(
                    &mut page,
                    None,
                    "",
                    routes.is_empty(),
                );
                draw_routes(&mut page, namespace, routes);
            }
        }
    }
    if let Some(hidden) = words::hidden(graph) {
        page.text.push('\n');
        page.line("", "", &[item(hidden, Style::Faint)]);
    }
    page.text
}

/// The links of one namespace, and which are below which.
struct Branches<'a> {
    graph: &'a Graph,
    namespace: &'a Namespace,
    below: BTreeMap<Option<usize>, Vec<usize>>,
}

impl Branches<'_> {
    /// Draws what is below a link, or what is below none. `ends`: nothing comes after it on its level.
    fn draw(&self, page: &mut Page, above: Option<usize>, indent: &str, ends: bool) {
        let below = self.below.get(&above).map(Vec::as_slice).unwrap_or_default();
        for (nth, at) in below.iter().enumerate() {
            let Some(link) = self.namespace.links().get(*at) else { continue };
            let last = ends && nth + 1 == below.len();
            let (branch, after) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let deeper = format!("{indent}{after}");
            let rest =
                format!("{deeper}{}", if self.below.contains_key(&Some(*at)) { "│    " } else { "     " });
            page.line(&format!("{indent}{branch}"), &rest, &self.items(link));
            self.draw(page, Some(*at), &deeper, true);
        }
    }

    fn items(&self, link: &Link) -> Vec<Item> {
        let kernel = &link.kernel;
        let mut items = vec![item(link.label(), Style::Name)];
        items.extend(words::particulars(link).into_iter().map(|text| item(text, Style::Kind)));
        items.push(item(link.state(), if link.works() { Style::Works } else { Style::Broken }));
        items.push(item(format!("mtu {}", kernel.mtu), Style::Faint));
        if let Some(mac) = kernel.mac.filter(|mac| mac.0 != [0; 6]) {
            items.push(item(mac.to_string(), Style::Faint));
        }
        items.extend(link.addresses.iter().map(|address| item(address.net.to_string(), Style::Plain)));
        items.extend(link.vlans.iter().map(|vlans| item(format!("vlans {vlans}"), Style::Kind)));
        items.extend(words::far(self.graph, self.namespace, link).map(|text| item(text, Style::Wire)));
        items.extend(words::remark(link).map(|text| item(text, Style::Faint)));
        items
    }
}

fn draw_routes(page: &mut Page, namespace: &Namespace, routes: &[Route]) {
    if routes.is_empty() {
        return;
    }
    page.line("└─ ", "   ", &[item("routes", Style::Name)]);
    for (nth, route) in routes.iter().enumerate() {
        let (branch, after) = if nth + 1 == routes.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let items: Vec<Item> =
            words::route(route, namespace).into_iter().map(|word| item(word, Style::Plain)).collect();
        page.line(&format!("   {branch}"), &format!("   {after}  "), &items);
    }
}

/// The lines as they are written.
struct Page {
    text: String,
    terminal: Terminal,
}

impl Page {
    /// Writes items behind `first`; those that do not fit into the line go behind `rest`, on lines of their own.
    fn line(&mut self, first: &str, rest: &str, items: &[Item]) {
        let limit = self.terminal.width.unwrap_or(usize::MAX);
        self.text.push_str(first);
        let mut used = width(first);
        let mut fresh = true;
        for Item { text, style } in items {
            let mut text = text.as_str();
            if !fresh && used + 2 + width(text) > limit {
                used = self.next(rest);
                fresh = true;
            }
            if !fresh {
                self.text.push_str("  ");
                used += 2;
            }
            // A single word may be longer than a line. Where there is no room at all, a line is longer than it should be.
            while used + width(text) > limit && limit > width(rest) + 8 {
                let (part, after) = split(text, limit - used);
                self.paint(part, *style);
                used = self.next(rest);
                text = after;
            }
            self.paint(text, *style);
            used += width(text);
            fresh = false;
        }
        self.text.push('\n');
    }

    fn next(&mut self, rest: &str) -> usize {
        self.text.push('\n');
        self.text.push_str(rest);
        width(rest)
    }

    fn paint(&mut self, text: &str, style: Style) {
        match self.terminal.colour && style != Style::Plain {
            true => self.text.push_str(&format!("\x1b[{}m{text}\x1b[0m", style.code())),
            false => self.text.push_str(text),
        }
    }
}
