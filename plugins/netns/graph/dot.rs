//! The picture in graphviz's language: a cluster for each namespace, a node for each link.

use super::model::{Far, Graph, Inside, Namespace, Place, namespace_id};
use super::words;
use std::fmt::Write;

/// Draws the graph. Ids are those of the JSON form.
pub(super) fn dot(graph: &Graph) -> String {
    let mut text = String::from(
        "graph netns {\n  rankdir=LR\n  charset=\"UTF-8\"\n  graph [fontname=\"sans-serif\" style=\"rounded,filled\" \
         color=\"#8899aa\" fillcolor=\"#f4f7fa\" ranksep=1.2]\n  node [shape=box style=\"rounded,filled\" \
         fillcolor=white color=\"#556677\" fontname=\"monospace\" fontsize=10]\n  edge [color=\"#556677\" penwidth=1.4]\n",
    );
    for (at, namespace) in graph.namespaces.iter().enumerate() {
        cluster(&mut text, graph, at, namespace);
    }
    for wire in graph.wires() {
        let Some(from) = graph.link_id(wire.from) else { continue };
        let style = if wire.pair { "" } else { " [style=dashed]" };
        // Writing into a String does not fail.
        let _ = match wire.to {
            Far::Link(place) => {
                writeln!(text, "  {from} -- {}{style}", graph.link_id(place).unwrap_or_default())
            }
            Far::Closed(at) => writeln!(text, "  {from} -- {}{style}", namespace_id(at)),
            Far::Nowhere | Far::Unseen => Ok(()),
        };
    }
    text.push_str("}\n");
    text
}

fn cluster(text: &mut String, graph: &Graph, at: usize, namespace: &Namespace) {
    let id = namespace_id(at);
    let mut head = vec![namespace.title()];
    head.extend(namespace.remarks());
    let label = quoted(&head, "\\n");
    let _ = writeln!(text, "  subgraph cluster_{id} {{\n    label={label}");
    match &namespace.inside {
        Inside::Closed(why) => {
            let why = quoted(&[crate::text::shown(why.as_bytes())], "\\l");
            let _ = writeln!(text, "    {id} [shape=note style=dashed label={why}]");
        }
        Inside::Seen { links, routes } => {
            for (position, link) in links.iter().enumerate() {
                let place = Place { namespace: at, link: position };
                let Some(id) = graph.link_id(place) else { continue };
                let colour = match (link.works(), link.kernel.kind.as_deref()) {
                    (false, _) => " fillcolor=\"#eceff1\" fontcolor=\"#78909c\"",
                    (true, Some("bridge")) => " fillcolor=\"#d6e9ff\"",
                    (true, _) => "",
                };
                let _ = writeln!(text, "    {id} [label={}{colour}]", quoted(&words::lines(link), "\\l"));
                let master = link.kernel.master.and_then(|master| namespace.position(master));
                let master = master.and_then(|link| graph.link_id(Place { link, ..place }));
                if let Some(master) = master {
                    let _ = writeln!(text, "    {master} -- {id} [penwidth=3 color=\"#4a90d9\"]");
                }
            }
            if !routes.is_empty() {
                let lines: Vec<_> = routes.iter().map(|it| words::route(it, namespace).join(" ")).collect();
                let label = quoted(&lines, "\\l");
                let _ = writeln!(text, "    {id}_routes [shape=plaintext style=\"\" label={label}]");
            }
        }
    }
    text.push_str("  }\n");
}

/// A quoted string, with an escape at the end of each line. In labels a backslash begins escapes of graphviz's own, so that
/// those of the texts are doubled.
fn quoted(lines: &[String], end: &str) -> String {
    let mut text = String::from("\"");
    for line in lines {
        text.push_str(&line.replace('\\', "\\\\").replace('"', "\\\""));
        text.push_str(end);
    }
    // A centred label has no end of line behind its last one.
    if end == "\\n" {
        text.truncate(text.len() - end.len());
    }
    text.push('"');
    text
}
