//! The picture as lines of text: a namespace, below it its links, below a bridge its ports, below a link those on top of it.

use super::model::{Far, Graph, Inside, Link, Namespace};
use super::terminal::Terminal;
use super::text::{shown, split, width};
use linux::link::Stacked;
use linux::route::Route;
use plugins::attachment::mark::Mark;

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
                Branches { graph, namespace }.draw(&mut page, None, "", routes.is_empty());
                draw_routes(&mut page, namespace, routes);
            }
        }
    }
    if graph.hidden > 0 {
        let hidden = match graph.hidden {
            1 => "1 process may not be looked at; its namespace may be missing here".to_owned(),
            more => format!("{more} processes may not be looked at; their namespaces may be missing here"),
        };
        page.text.push('\n');
        page.line("", "", &[item(hidden, Style::Faint)]);
    }
    page.text
}

/// The links of one namespace.
struct Branches<'a> {
    graph: &'a Graph,
    namespace: &'a Namespace,
}

impl Branches<'_> {
    /// Draws what is below a link, or what is below none. `ends`: nothing comes after it on its level.
    fn draw(&self, page: &mut Page, above: Option<usize>, indent: &str, ends: bool) {
        let links = self.namespace.links();
        let below: Vec<usize> = (0..links.len()).filter(|at| self.namespace.above(*at) == above).collect();
        for (nth, at) in below.iter().enumerate() {
            let Some(link) = links.get(*at) else { continue };
            let last = ends && nth + 1 == below.len();
            let (branch, after) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let deeper = format!("{indent}{after}");
            let has_more = (0..links.len()).any(|other| self.namespace.above(other) == Some(*at));
            let rest = format!("{deeper}{}", if has_more { "│    " } else { "     " });
            page.line(&format!("{indent}{branch}"), &rest, &self.items(link));
            self.draw(page, Some(*at), &deeper, true);
        }
    }

    fn items(&self, link: &Link) -> Vec<Item> {
        let kernel = &link.kernel;
        let mut items = vec![item(link.label(), Style::Name)];
        items.extend(kernel.kind.as_deref().map(|kind| item(shown(kind.as_bytes()), Style::Kind)));
        items.extend(particulars(link).into_iter().map(|text| item(text, Style::Kind)));
        items.push(item(link.state(), if link.works() { Style::Works } else { Style::Broken }));
        items.push(item(format!("mtu {}", kernel.mtu), Style::Faint));
        if let Some(mac) = kernel.mac.filter(|mac| mac.0 != [0; 6]) {
            items.push(item(mac.to_string(), Style::Faint));
        }
        items.extend(link.addresses.iter().map(|address| item(address.net.to_string(), Style::Plain)));
        items.extend(link.vlans.iter().map(|vlans| item(format!("vlans {vlans}"), Style::Kind)));
        items.extend(far(self.graph, self.namespace, link).map(|text| item(text, Style::Wire)));
        items.extend(remark(link).map(|text| item(text, Style::Faint)));
        items
    }
}

/// What only links of this kind have, in a word each.
pub(super) fn particulars(link: &Link) -> Vec<String> {
    let mut words = Vec::new();
    match link.kernel.stacked {
        Some(Stacked::Vlan { id, protocol: 0x88a8 }) => words.push(format!("{id} (802.1ad)")),
        Some(Stacked::Vlan { id, .. }) => words.push(id.to_string()),
        Some(Stacked::Macvlan(mode)) => words.push(macvlan_mode(mode).into()),
        None => {}
    }
    if link.kernel.filtering.is_some_and(|filtering| filtering.on) {
        words.push("tells vlans apart".into());
    }
    let port = link.kernel.port.unwrap_or_default();
    words.extend(port.hairpin.then(|| "hairpin".into()));
    words.extend(port.isolated.then(|| "isolated".into()));
    words
}

/// include/uapi/linux/if_link.h, in the words of ip-link(8).
pub(super) fn macvlan_mode(mode: u32) -> &'static str {
    match mode {
        1 => "private",
        2 => "vepa",
        4 => "bridge",
        8 => "passthru",
        16 => "source",
        _ => "of an unknown mode",
    }
}

/// Where a link leads, in words; none where the tree itself says it.
pub(super) fn far(graph: &Graph, own: &Namespace, link: &Link) -> Option<String> {
    let towards = if link.is_pair() { "⇄" } else { "on" };
    let kernel = &link.kernel;
    match link.far {
        Far::Nowhere => None,
        Far::Link(place) => {
            let (there, other) = (graph.namespaces.get(place.namespace)?, graph.link(place)?);
            let same = std::ptr::eq(there, own);
            let drawn_there = same && !link.is_pair() && kernel.master.is_none();
            let whose = if same { String::new() } else { format!(" in {}", there.title()) };
            (!drawn_there).then(|| format!("{towards} {}{whose}", other.label()))
        }
        Far::Closed(namespace) => {
            let there = graph.namespaces.get(namespace)?;
            Some(format!("{towards} link {} in {}", kernel.peer?, there.title()))
        }
        Far::Unseen => {
            let number = kernel.peer_nsid.filter(|id| *id >= 0).map(|id| format!(" (id {id})"));
            let where_to = match kernel.peer_nsid {
                Some(_) => format!(" in a namespace that is not seen{}", number.unwrap_or_default()),
                None => String::new(),
            };
            Some(format!("{towards} link {}{where_to}", kernel.peer?))
        }
    }
}

/// Whose it is, or what somebody wrote there.
pub(super) fn remark(link: &Link) -> Option<String> {
    let alias = link.kernel.alias.as_deref()?;
    match Mark::told(alias) {
        Some(told) => {
            Some(shown(format!("network {} container {}", told.network, told.container).as_bytes()))
        }
        None => Some(format!("\"{}\"", shown(alias.as_bytes()))),
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
            words_of(route, namespace).into_iter().map(|word| item(word, Style::Plain)).collect();
        page.line(&format!("   {branch}"), &format!("   {after}  "), &items);
    }
}

/// A route as `ip route` says it.
pub(super) fn words_of(route: &Route, namespace: &Namespace) -> Vec<String> {
    let net = match route.is_default() {
        true if route.dst.is_ipv4() => "default".into(),
        true => "default (IPv6)".into(),
        false => route.dst.to_string(),
    };
    let link = namespace.links().iter().find(|link| link.kernel.index == route.oif);
    let mut words = vec![net];
    words.extend(route.gateway.map(|gateway| format!("via {gateway}")));
    words.push(format!("dev {}", link.map_or_else(|| route.oif.to_string(), Link::label)));
    words.extend(route.source.map(|source| format!("src {source}")));
    words.extend(route.priority.map(|metric| format!("metric {metric}")));
    words
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
