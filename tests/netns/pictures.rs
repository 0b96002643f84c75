//! The drawn forms of `netns graph`: the same wires in each, and texts of others as nothing but texts.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use super::graph::{ODD, WORLD, document, drawn};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{lab, lab_with};

/// Two ids that are joined, the lesser first.
type Joint = (String, String);

fn joint(a: &str, b: &str) -> Joint {
    let (a, b) = (a.trim().to_owned(), b.trim().to_owned());
    if a < b { (a, b) } else { (b, a) }
}

/// All joints of the JSON form, which other tests hold against ip(8); with those of bridges and their ports, or without.
fn told(graph: &Value, ports: bool) -> BTreeSet<Joint> {
    let mut joints = BTreeSet::new();
    for namespace in graph["namespaces"].as_array().unwrap() {
        for link in namespace["links"].as_array().unwrap() {
            let far = [&link["peer"]["link"], &link["parent"]["link"]];
            let master = ports.then_some(&link["master"]);
            let others = far.into_iter().chain(master).filter_map(Value::as_str);
            joints.extend(others.map(|other| joint(link["id"].as_str().unwrap(), other)));
        }
    }
    joints
}

#[test]
fn dot_and_mermaid_join_what_json_joins() {
    lab(|host| {
        host.sh(WORLD);
        let expected = told(&document(host, &[]), true);
        assert_eq!(expected.len(), 10);
        for (form, signs) in [("dot", [" -- "].as_slice()), ("mermaid", &[" <--> ", " -.-> ", " === "])] {
            let text = drawn(host, &["--format", form]);
            let joints = text.lines().filter_map(|line| {
                let (a, b) = signs.iter().find_map(|sign| line.split_once(sign))?;
                Some(joint(a, b.split(" [").next().unwrap()))
            });
            assert_eq!(joints.collect::<BTreeSet<_>>(), expected, "{text}");
            for addressed in ["10.7.0.1/24", "fd07::2/64", "mtu 1400", "macvlan bridge down"] {
                assert!(text.contains(addressed), "{addressed} is not in {text}");
            }
        }
    });
}

#[test]
fn the_drawn_picture_has_every_link_and_every_wire_and_is_the_same_twice() {
    lab(|host| {
        host.sh(WORLD);
        let graph = document(host, &[]);
        let svg = drawn(host, &["--format", "svg", "--routes"]);
        let mut names = std::collections::BTreeMap::new();
        for namespace in graph["namespaces"].as_array().unwrap() {
            let title = namespace["names"][0].as_str().unwrap_or("host");
            assert!(svg.contains(&format!("<g id={}>", namespace["id"])));
            for link in namespace["links"].as_array().unwrap() {
                names.insert(
                    link["id"].as_str().unwrap(),
                    format!("{} in {title}", link["name"].as_str().unwrap()),
                );
                assert!(link["name"] == "lo" || svg.contains(&format!("<g id={}>", link["id"])), "{link}");
            }
        }
        // What is on top of another in its own namespace stands below it.
        let within =
            |(a, b): &Joint| a.split('_').next() == b.split('_').next() && names[b.as_str()] == "mv1 in host";
        let joints = told(&graph, false);
        let expected: BTreeSet<Joint> = joints
            .iter()
            .filter(|it| !within(it))
            .map(|(a, b)| joint(&names[a.as_str()], &names[b.as_str()]))
            .collect();
        let titles =
            svg.lines().filter(|line| line.starts_with("<path class=\"wire") && line.contains("<title>"));
        let drawn_joints = titles.map(|line| {
            let title = line.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
            let (a, b) = title.split_once(" ⇄ ").or_else(|| title.split_once(" on ")).unwrap();
            joint(a, b)
        });
        assert_eq!(drawn_joints.collect::<BTreeSet<_>>(), expected);
        for text in
            ["10.7.0.1/24", "fd07::2/64", "mtu 1400", "macvlan bridge", "some words", "10.7.0.0/24 dev br0"]
        {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert_eq!(svg, drawn(host, &["--format", "svg", "--routes"]));
        for foreign in ["<script", "<image", "href", "url("] {
            assert!(!svg.contains(foreign), "{foreign}");
        }
    });
}

/// What an XML parser that is not ours finds between the tags, line by line.
fn texts(host: &Host, svg: &str) -> Vec<String> {
    let parser = "import sys, xml.etree.ElementTree as e\n\
                  for t in e.fromstring(sys.stdin.buffer.read()).itertext(): print(t.strip())";
    let mut python = host.command("python3");
    let mut python =
        python.args(["-c", parser]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), svg.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{svg}");
    String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
}

#[test]
fn texts_of_others_are_texts_in_every_form() {
    lab_with(&[Need::Program("python3")], |host| {
        host.sh(ODD);
        let (namespace, bridge) = (r#"a\u{1b}[31m"<&>\n\\]}\xff"#, r#"x\u{1b}[2J\xff"<&"#);
        let svg = drawn(host, &["--format", "svg"]);
        let texts = texts(host, &svg);
        for text in [namespace, bridge, r"right\u{202e}left"] {
            assert!(texts.iter().any(|it| it == text), "{text} is not in {texts:#?}");
        }

        // A quoted string ends at the first quote that no backslash stands before, and a backslash is two.
        let dot = drawn(host, &["--format", "dot"]);
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        for text in [namespace, bridge] {
            assert!(dot.contains(&quoted(text)), "{text} is not in {dot}");
        }
        for line in dot.lines() {
            let bare = line.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        }

        let mermaid = drawn(host, &["--format", "mermaid"]);
        assert!(
            mermaid.contains("a#92;u#123;1b#125;#91;31m#34;#60;#38;#62;#92;n#92;#92;#93;#125;#92;xff"),
            "{mermaid}"
        );
        for line in mermaid.lines().filter(|line| line.contains('"')) {
            let inside: Vec<&str> = line.split('"').collect();
            assert_eq!(inside.len(), 3, "{line}");
            let text = inside[1].replace("<br>", "");
            assert!(!text.contains(['<', '>', '[', ']', '{', '}', '\\', '`', '*', '_']), "{line}");
        }
    });
}

#[test]
fn colour_is_for_terminals_and_lines_end_where_they_do() {
    lab_with(&[Need::Program("script")], |host| {
        host.sh(WORLD);
        let program = host.program("netns");
        let piped = Call::of(&program, &["graph"]).env("TERM", "xterm").run().stdout();
        assert!(piped.contains("veth-red") && !piped.contains('\x1b'), "{piped}");
        let on_terminal = |variables: &str, columns: u32| {
            let line = format!("stty cols {columns}; {variables} {} graph", program.display());
            let mut script = host.command("script");
            script.env("TERM", "xterm").env_remove("NO_COLOR").args(["-qec", &line, "/dev/null"]);
            let output = script.stdin(std::process::Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().replace('\r', "")
        };
        let coloured = on_terminal("", 200);
        assert!(
            coloured.contains("\x1b[1mveth-red\x1b[0m") && coloured.contains("\x1b[32mup\x1b[0m"),
            "{coloured}"
        );
        for plain in ["NO_COLOR=1", "TERM=dumb"] {
            assert!(!on_terminal(plain, 200).contains('\x1b'), "{plain}");
        }
        assert!(on_terminal("NO_COLOR=", 200).contains('\x1b'), "an empty NO_COLOR forbids nothing");
        for columns in [30, 60, 100] {
            let narrow = on_terminal("NO_COLOR=1", columns);
            let longest = narrow.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= columns as usize, "{longest} columns in {columns}:\n{narrow}");
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<BTreeSet<_>>();
            let missing: Vec<_> = ["veth-red", "fd07::2/64", "⇄"]
                .into_iter()
                .filter(|w| !words(&narrow).contains(*w))
                .collect();
            assert!(missing.is_empty(), "{missing:?} is not in {narrow}");
        }
    });
}

#[test]
fn what_may_not_be_entered_is_drawn_in_every_form() {
    lab(|host| {
        host.sh(WORLD);
        for (form, joined) in [("dot", " -- n"), ("mermaid", " <--> n"), ("svg", " ⇄ red</title>")] {
            let call = Call::of(host.program("netns"), &["graph", "--format", form]);
            let text = call.under(&["unshare", "--user"]).run().stdout();
            assert!(text.contains("not permitted") && text.contains(joined), "{text}");
        }
    });
}

/// The script unshares for itself; here it is told that it has done so.
#[test]
fn the_example_draws_a_node_with_three_networks() {
    lab_with(&[Need::Ours("tools")], |host| {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/graph.sh");
        // The lab's folder of programs is below /run, which the script covers.
        let programs = std::fs::canonicalize(host.program("netns")).unwrap();
        let mut example = host.command("unshare");
        let example =
            example.args(["--mount", "--net"]).arg(script).arg(programs.parent().unwrap()).arg("json");
        let said = example.env("JACKFIELD_GRAPH", "1").output().unwrap();
        let graph: Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&said.stderr)));
        let names = graph["namespaces"].as_array().unwrap().iter().filter_map(|it| it["names"][0].as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["api", "batch", "db", "idle", "web-1", "web-2"]);
        let links =
            graph["namespaces"].as_array().unwrap().iter().flat_map(|it| it["links"].as_array().unwrap());
        let networks =
            links.filter_map(|link| link["attachment"]["network"].as_str()).collect::<BTreeSet<_>>();
        assert_eq!(networks, BTreeSet::from(["jackfield", "published", "routed"]));
    });
}
