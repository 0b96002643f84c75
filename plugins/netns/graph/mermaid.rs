//! The picture in mermaid's language, which many web pages for text draw by themselves: a subgraph for each namespace, a node
//! for each link.

use super::model::{Far, Graph, Inside, Namespace, Place, namespace_id};
use super::words;
use crate::text::shown;
use std::fmt::Write;

/// Draws the graph. Ids are those of the JSON form.
pub(super) fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (at, namespace) in graph.namespaces.iter().enumerate() {
        subgraph(&mut text, graph, at, namespace);
    }
    for wire in graph.wires() {
        let to = match wire.to {
            Far::Link(place) => graph.link_id(place),
            Far::Closed(at) => Some(format!("{}_closed", namespace_id(at))),
            Far::Nowhere | Far::Unseen => None,
        };
        if let (Some(from), Some(to)) = (graph.link_id(wire.from), to) {
            // Writing into a String does not fail.
            let _ = writeln!(text, "  {from} {} {to}", if wire.pair { "<-->" } else { "-.->" });
        }
    }
    text.push_str("  classDef bridge fill:#d6e9ff,stroke:#4a90d9,color:#102030\n");
    text.push_str("  classDef down stroke-dasharray:4 3,opacity:0.7\n");
    text
}

fn subgraph(text: &mut String, graph: &Graph, at: usize, namespace: &Namespace) {
    let id = namespace_id(at);
    let mut head = vec![namespace.title()];
    head.extend(namespace.remarks());
    let _ = writeln!(text, "  subgraph {id}[{}]", quoted(&head));
    match &namespace.inside {
        Inside::Closed(why) => {
            let _ = writeln!(text, "    {id}_closed[{}]:::down", quoted(&[shown(why.as_bytes())]));
        }
        Inside::Seen { links, routes } => {
            for (position, link) in links.iter().enumerate() {
                let place = Place { namespace: at, link: position };
                let Some(id) = graph.link_id(place) else { continue };
                let class = match (link.works(), link.kernel.kind.as_deref()) {
                    (false, _) => ":::down",
                    (true, Some("bridge")) => ":::bridge",
                    (true, _) => "",
                };
                let _ = writeln!(text, "    {id}[{}]{class}", quoted(&words::lines(link)));
                let master = link.kernel.master.and_then(|master| namespace.position(master));
                if let Some(master) = master.and_then(|link| graph.link_id(Place { link, ..place })) {
                    let _ = writeln!(text, "    {master} === {id}");
                }
            }
            if !routes.is_empty() {
                let lines: Vec<_> = routes.iter().map(|it| words::route(it, namespace).join(" ")).collect();
                let _ = writeln!(text, "    {id}_routes[{}]", quoted(&lines));
            }
        }
    }
    text.push_str("  end\n");
}

/// A label. Mermaid reads HTML, its own codes and Markdown in it: whatever could be the beginning of one of them is written
/// as a code.
fn quoted(lines: &[String]) -> String {
    let mut text = String::from("\"");
    for (nth, line) in lines.iter().enumerate() {
        if nth > 0 {
            text.push_str("<br>");
        }
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            // `1. x` and `- x` would be lists.
            let begins_list = matches!(letter, '.' | '-') && letters.peek().is_none_or(|next| *next == ' ');
            let harmless = letter.is_alphanumeric() || " .:/,()⇄-".contains(letter);
            match harmless && !begins_list {
                true => text.push(letter),
                false => {
                    let _ = write!(text, "#{};", u32::from(letter));
                }
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_begin_nothing_but_itself() {
        for (line, label) in [
            ("eth0", "\"eth0\""),
            ("10.22.0.2/16", "\"10.22.0.2/16\""),
            ("fd00::2/64", "\"fd00::2/64\""),
            ("a\"]; end", "\"a#34;#93;#59; end\""),
            ("<script>&amp;#35;", "\"#60;script#62;#38;amp#59;#35;35#59;\""),
            ("1. x", "\"1#46; x\""),
            ("- x", "\"#45; x\""),
            ("`**_b_**`", "\"#96;#42;#42;#95;b#95;#42;#42;#96;\""),
            ("a\\nb", "\"a#92;nb\""),
        ] {
            assert_eq!(quoted(&[line.to_owned()]), label);
        }
        assert_eq!(quoted(&["a".into(), "b".into()]), "\"a<br>b\"");
    }
}
