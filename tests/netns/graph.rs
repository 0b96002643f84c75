//! `netns graph` beside iproute2's words about the same world.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::place::Place;
use crate::lab::world::{Feature, Need};
use crate::lab::{conf, lab, lab_with};

/// What the program answers to these words.
pub(super) fn drawn(host: &Host, words: &[&str]) -> String {
    let outcome = Call::of(host.program("netns"), &[&["graph"], words].concat()).run();
    assert!(outcome.succeeded() && outcome.stderr().is_empty(), "{outcome}");
    outcome.stdout()
}

pub(super) fn document(host: &Host, words: &[&str]) -> Value {
    serde_json::from_str(&drawn(host, &[&["--format", "json"], words].concat())).expect("JSON")
}

/// The namespace of this name; the world's own is the one that has none.
fn namespace<'a>(document: &'a Value, name: &str) -> &'a Value {
    let all = document["namespaces"].as_array().unwrap();
    let is_it = |it: &&Value| match name {
        "host" => it["host"] == true,
        name => it["names"][0] == name,
    };
    all.iter().find(is_it).unwrap_or_else(|| panic!("no {name} in {document:#}"))
}

fn link<'a>(document: &'a Value, whose: &str, name: &str) -> &'a Value {
    let links = namespace(document, whose)["links"].as_array().unwrap();
    links.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name} in {whose}: {links:#?}"))
}

/// A bridge with two pods, one of which has a bridge and a pod of its own; a pair within the host, one between pods, a macvlan.
pub(super) const WORLD: &str = "
    ip link add br0 type bridge; ip addr add 10.7.0.1/24 dev br0; ip link set br0 up
    for n in red blue deep; do ip netns add $n; ip -n $n link set lo up; done
    ip link add veth-red mtu 1400 type veth peer name eth0 mtu 1400 netns red
    ip link add veth-blue type veth peer name eth0 netns blue
    ip link set veth-red master br0 up; ip link set veth-blue master br0 up
    ip -n red link set eth0 up; ip -n blue link set eth0 up; ip -n red addr add 10.7.0.2/24 dev eth0
    ip -n red -6 addr add fd07::2/64 dev eth0 nodad; ip -n blue link add br0 type bridge
    ip -n blue link add inner master br0 type veth peer name eth0 netns deep
    ip link add here type veth peer name there; ip link set there alias 'some words'
    ip -n red link add direct type veth peer name direct netns blue
    ip link add link here name mv0 netns deep type macvlan mode bridge; ip link add link here name mv1 type macvlan";

/// Says of each link what `ip -d` says, or fails.
fn compare(drawn: &Value, place: &Place) {
    let numbers = drawn["links"].as_array().unwrap().iter();
    let told = place.ip("-d addr");
    let indexes = |links: &[Value], key: &str| links.iter().map(|l| l[key].as_i64()).collect::<BTreeSet<_>>();
    assert_eq!(indexes(&numbers.clone().cloned().collect::<Vec<_>>(), "index"), indexes(&told, "ifindex"));
    for link in numbers {
        let theirs = told.iter().find(|it| it["ifindex"] == link["index"]).unwrap();
        for (ours, key) in [("name", "ifname"), ("mtu", "mtu"), ("mac", "address")] {
            assert_eq!(link[ours], theirs[key], "{ours} of {link:#}");
        }
        assert_eq!(link["kind"], theirs["linkinfo"]["info_kind"], "{link:#}");
        let flags = theirs["flags"].as_array().unwrap();
        assert_eq!(link["up"], flags.contains(&"UP".into()), "{link:#}");
        assert_eq!(link.get("alias"), theirs.get("ifalias"), "{link:#}");
        let addresses: Vec<String> = theirs["addr_info"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{}/{}", it["local"].as_str().unwrap(), it["prefixlen"]))
            .collect();
        assert_eq!(link["addresses"], serde_json::json!(addresses));
        let master = theirs["master"].as_str();
        let id = master.map(|name| {
            drawn["links"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["id"].clone()
        });
        assert_eq!(link.get("master"), id.as_ref(), "{link:#}");
    }
}

#[test]
fn the_graph_says_what_ip_says() {
    lab(|host| {
        host.sh(WORLD);
        let graph = document(host, &[]);
        assert_eq!((&graph["layout"], &graph["hidden_processes"]), (&1.into(), &0.into()));
        compare(namespace(&graph, "host"), host);
        for name in ["red", "blue", "deep"] {
            compare(namespace(&graph, name), &Place::at(format!("/run/netns/{name}").as_ref()));
            let inode = host.sh(&format!("stat -L -c %i /run/netns/{name}"));
            assert_eq!(namespace(&graph, name)["inode"].to_string(), inode.trim());
        }
        // Whoever started this: the test itself is process 1 here.
        let own = namespace(&graph, "host");
        assert_eq!((&own["here"], &own["process"]["pid"]), (&true.into(), &1.into()));
    });
}

#[test]
fn the_two_ends_of_a_pair_find_each_other_wherever_they_are() {
    lab(|host| {
        host.sh(WORLD);
        let graph = document(host, &[]);
        for ((a, b), (c, d)) in [
            (("host", "veth-red"), ("red", "eth0")),
            (("host", "veth-blue"), ("blue", "eth0")),
            (("blue", "inner"), ("deep", "eth0")),
            (("host", "here"), ("host", "there")),
            (("red", "direct"), ("blue", "direct")),
        ] {
            let (left, right) = (link(&graph, a, b), link(&graph, c, d));
            for (one, other, whose) in [(left, right, c), (right, left, a)] {
                assert_eq!(one["peer"]["link"], other["id"], "{one:#}");
                assert_eq!(one["peer"]["namespace"], namespace(&graph, whose)["id"]);
                assert_eq!(one["peer"]["index"], other["index"]);
            }
        }
        let (below, macvlan) = (link(&graph, "host", "here"), link(&graph, "deep", "mv0"));
        assert_eq!((&macvlan["parent"]["link"], &macvlan["macvlan_mode"]), (&below["id"], &"bridge".into()));
        assert_eq!(link(&graph, "host", "mv1")["parent"]["link"], below["id"]);
    });
}

#[test]
fn pairs_with_the_same_numbers_are_told_apart() {
    lab(|host| {
        // In fresh namespaces every first link is number 2, and so is its other end; and here everybody knows everybody.
        host.sh("for n in a b c d e f; do ip netns add $n; done
                 for n in a b c d e f; do for other in a b c d e f; do ip -n $n netns set $other auto; done; done
                 ip -n a link add x type veth peer name x netns b
                 ip -n d link add x type veth peer name x netns c; ip -n e link add x type veth peer name x netns f
                 ip netns add g; ip -n g link add link2 type bridge; ip netns add h
                 ip -n b link add link x name mv netns h type macvlan");
        let graph = document(host, &[]);
        for (one, other) in [("a", "b"), ("c", "d"), ("e", "f")] {
            for (one, other) in [(one, other), (other, one)] {
                assert_eq!(
                    (&link(&graph, one, "x")["index"], &link(&graph, one, "x")["peer"]["index"]),
                    (&2.into(), &2.into())
                );
                assert_eq!(link(&graph, one, "x")["peer"]["link"], link(&graph, other, "x")["id"], "{one}");
            }
        }
        assert_eq!(link(&graph, "h", "mv")["parent"]["link"], link(&graph, "b", "x")["id"]);
        // Where one of them is not in the picture, no other takes its place.
        let graph = document(host, &["a", "c", "d", "f"]);
        for name in ["a", "f"] {
            assert_eq!(link(&graph, name, "x")["peer"].get("namespace"), None);
        }
        assert_eq!(link(&graph, "c", "x")["peer"]["link"], link(&graph, "d", "x")["id"]);
    });
}

#[test]
fn the_tree_hangs_ports_below_bridges_and_links_below_what_they_are_on() {
    lab(|host| {
        host.sh(WORLD);
        let tree = drawn(host, &[]);
        // Addresses that are made of random MAC addresses, and those, are not looked at here.
        let is_random = |word: &str| word.starts_with("fe80::") || word.matches(':').count() == 5;
        let plain =
            |line: &str| line.split("  ").filter(|word| !is_random(word)).collect::<Vec<_>>().join("  ");
        let lines: Vec<String> = tree.lines().map(plain).collect();
        let section = |title: &str| {
            let from =
                lines.iter().position(|line| line.starts_with(title)).unwrap_or_else(|| panic!("{tree}"));
            lines[from + 1..]
                .iter()
                .take_while(|line| !line.is_empty())
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            section("host")[1..],
            [
                "├─ br0  bridge  up  mtu 1400  10.7.0.1/24",
                "│  ├─ veth-red  veth  up  mtu 1400  ⇄ eth0 in red",
                "│  └─ veth-blue  veth  up  mtu 1500  ⇄ eth0 in blue",
                "├─ there  veth  down  mtu 1500  ⇄ here  \"some words\"",
                "└─ here  veth  down  mtu 1500  ⇄ there",
                "   └─ mv1  macvlan  vepa  down  mtu 1500",
            ]
        );
        assert_eq!(
            section("deep"),
            [
                "├─ lo  up  mtu 65536  127.0.0.1/8  ::1/128",
                "├─ eth0  veth  down  mtu 1500  ⇄ inner in blue",
                "└─ mv0  macvlan  bridge  down  mtu 1500  on here in host",
            ]
        );
        assert!(
            section("red")
                .contains(&"├─ eth0  veth  up  mtu 1400  10.7.0.2/24  fd07::2/64  ⇄ veth-red in host")
        );
    });
}

#[test]
fn routes_are_drawn_on_demand_and_only_the_named_ones_on_request() {
    lab(|host| {
        host.sh(WORLD);
        host.sh("ip -n red route add default via 10.7.0.1");
        assert_eq!(document(host, &[])["namespaces"][1].get("routes"), None);
        let graph = document(host, &["--routes", "red"]);
        let names: Vec<_> = graph["namespaces"].as_array().unwrap().iter().map(|it| &it["names"]).collect();
        assert_eq!(names, [&serde_json::json!([]), &serde_json::json!(["red"])]);
        let routes = namespace(&graph, "red")["routes"].as_array().unwrap().clone();
        let gateway = |it: &&Value| it["destination"] == "0.0.0.0/0";
        let default = routes.iter().find(gateway).unwrap();
        assert_eq!(
            (&default["gateway"], &default["link"]),
            (&"10.7.0.1".into(), &link(&graph, "red", "eth0")["id"])
        );
        let told = Place::at("/run/netns/red".as_ref()).routes("-4 route");
        assert_eq!(
            routes.iter().filter(|it| it["destination"].as_str().unwrap().contains('.')).count(),
            told.len()
        );
        let tree = drawn(host, &["red", "--routes"]);
        assert!(tree.contains("├─ default  via 10.7.0.1  dev eth0\n"), "{tree}");
        assert!(tree.contains("⇄ link 2 in an unseen namespace (id "), "{tree}");

        let unknown = Call::of(host.program("netns"), &["graph", "red", "nope"]).run();
        assert_eq!(unknown.status().code(), Some(1));
        assert_eq!(unknown.stderr(), "Cannot find namespace \"nope\" in /run/netns\n");
        let wrong = Call::of(host.program("netns"), &["graph", "--format", "gif"]).run();
        assert_eq!((wrong.status().code(), wrong.stdout().as_str()), (Some(255), ""));
        assert_eq!(Call::of(host.program("netns"), &["-j", "g"]).run().stdout(), document_text(host));
    });
}

fn document_text(host: &Host) -> String {
    drawn(host, &["--format", "json"])
}

#[test]
fn what_may_not_be_entered_is_drawn_with_the_reason() {
    lab(|host| {
        host.sh(WORLD);
        host.sh("touch /run/netns/plain; ln -s nowhere /run/netns/dangling");
        // A user namespace inside ours has no power over what belongs to ours.
        let outcome = Call::of(host.program("netns"), &["graph", "--format", "json"])
            .under(&["unshare", "--user"])
            .run();
        let graph: Value =
            serde_json::from_str(&outcome.stdout()).unwrap_or_else(|e| panic!("{e}: {outcome}"));
        let own = graph["namespaces"].as_array().unwrap().iter().find(|it| it["here"] == true).unwrap();
        compare(own, host);
        let red = namespace(&graph, "red");
        assert_eq!(red["closed"], "enter namespace /run/netns/red: operation not permitted");
        let port = own["links"].as_array().unwrap().iter().find(|it| it["name"] == "veth-red").unwrap();
        assert_eq!((&port["peer"]["namespace"], &port["peer"]["link"]), (&red["id"], &Value::Null));
        assert_eq!(namespace(&graph, "plain")["closed"], "no network namespace is mounted on it");
        assert!(graph["hidden_processes"].as_u64() > Some(0), "{graph:#}");
        assert!(!outcome.stdout().contains("dangling"));
    });
}

#[test]
fn a_namespace_that_nobody_names_or_inhabits_is_not_seen_and_its_pairs_say_so() {
    lab(|host| {
        host.sh(WORLD);
        // A file that is open keeps the namespace alive.
        let held = std::fs::File::open("/run/netns/red").unwrap();
        host.sh("ip netns delete red");
        let graph = document(host, &[]);
        assert_eq!(graph["namespaces"].as_array().unwrap().len(), 3);
        let peer = &link(&graph, "host", "veth-red")["peer"];
        assert_eq!((peer.get("namespace"), peer.get("link")), (None, None));
        assert_eq!(peer["index"], host.link("veth-red").unwrap()["link_index"]);
        assert_eq!(peer["nsid"], host.link("veth-red").unwrap()["link_netnsid"]);
        assert!(drawn(host, &[]).contains("in an unseen namespace"));

        // A process in it will do.
        let mut sleeper = Command::new("nsenter");
        let sleeper = sleeper.arg(format!("--net=/proc/{}/fd/{}", std::process::id(), raw(&held)));
        let sleeper = sleeper.args(["sh", "-c", "echo; exec cat"]).stdin(std::process::Stdio::piped());
        let mut sleeper = sleeper.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(sleeper.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let graph = document(host, &[]);
        let found = graph["namespaces"].as_array().unwrap().last().unwrap();
        assert_eq!(link(&graph, "host", "veth-red")["peer"]["namespace"], found["id"]);
        assert_eq!((&found["processes"], &found["process"]["pid"]), (&1.into(), &sleeper.id().into()));
        drop(sleeper.stdin.take());
        sleeper.wait().unwrap();
    });
}

fn raw(file: &std::fs::File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

#[test]
fn namespaces_that_come_and_go_meanwhile_disturb_nothing() {
    lab(|host| {
        host.sh("ip netns add stays");
        let mut restless = Command::new("sh")
            .args(["-c", "while i=$((i + 1)); ip netns add goes$i; do unshare -n true & ip netns delete goes$i; wait; done"])
            .spawn()
            .unwrap();
        for _ in 0..20 {
            let graph = document(host, &[]);
            assert_eq!(namespace(&graph, "stays")["links"].as_array().unwrap().len(), 1);
            for it in graph["namespaces"].as_array().unwrap() {
                // Between its file and its mount a name is just that.
                let closed =
                    it.get("closed").is_none_or(|why| *why == "no network namespace is mounted on it");
                assert!(closed, "{it:#}");
            }
        }
        restless.kill().unwrap();
        restless.wait().unwrap();
    });
}

/// A link's name with an escape sequence and what is not UTF-8, a namespace's with all that means something somewhere.
pub(super) const ODD: &str = r#"
    ip netns add "$(printf 'a\033[31m"<&>\n\\]}\377')"; ip netns add "$(printf 'right\342\200\256left')"
    ip link add "$(printf 'x\033[2J\377"<&')" type bridge; ip link set lo alias "$(printf '\033]0;title\007\376')""#;

#[test]
fn texts_of_others_do_nothing_to_a_terminal_and_reach_programs_whole() {
    lab(|host| {
        host.sh(ODD);
        let tree = drawn(host, &[]);
        assert!(!tree.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{tree:?}");
        for shown in [
            r#"a\u{1b}[31m"<&>\n\\]}\xff"#,
            r#"x\u{1b}[2J\xff"<&  bridge"#,
            r#""\u{1b}]0;title\u{7}�""#,
            r"right\u{202e}left",
        ] {
            assert!(tree.contains(shown), "{shown} is not in {tree}");
        }
        let graph = document(host, &[]);
        let odd = graph["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it.get("names_bytes").is_some())
            .unwrap();
        let bytes = b"a\x1b[31m\"<&>\n\\]}\xff".map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(odd["names_bytes"], serde_json::json!([bytes]));
        assert_eq!(odd["names"], serde_json::json!(["a\u{1b}[31m\"<&>\n\\]}\u{fffd}"]));
        let bridge = link(&graph, "host", "x\u{1b}[2J\u{fffd}\"<&");
        assert_eq!(bridge["name_bytes"], b"x\x1b[2J\xff\"<&".map(|byte| format!("{byte:02x}")).concat());
    });
}

#[test]
fn more_namespaces_than_files_may_be_open_are_drawn_all_the_same() {
    lab(|host| {
        host.sh("for n in 1 2 3 4 5 6 7 8 10; do ip netns add pod$n; done");
        let tree = host.sh(&format!("ulimit -Sn 16; {} graph", host.program("netns").display()));
        let titles: Vec<&str> = tree.lines().filter(|line| line.starts_with("pod")).collect();
        assert_eq!(titles, ["pod1", "pod2", "pod3", "pod4", "pod5", "pod6", "pod7", "pod8", "pod10"]);
        assert!(!tree.contains("too many"), "{tree}");
    });
}

#[test]
fn vlans_of_ports_are_those_that_bridge_lists() {
    lab_with(&[Need::Has(Feature::BridgeVlans), Need::Has(Feature::TaggedLinks)], |host| {
        host.sh(
            "ip link add br0 type bridge vlan_filtering 1; ip link add p0 type veth peer p1; ip link set p0 master br0
             bridge vlan add dev p0 vid 100 pvid untagged; bridge vlan add dev p0 vid 200-203
             ip link add link p1 name p1.7 type vlan id 7; ip link add br1 type bridge",
        );
        let graph = document(host, &[]);
        let port = &link(&graph, "host", "p0")["vlans"];
        let told = crate::lab::place::parse(&host.sh("bridge -j -d vlan show dev p0"));
        let mut theirs: Vec<(u64, bool, bool)> = Vec::new();
        for it in told[0]["vlans"].as_array().unwrap() {
            let has = |flag: &str| it["flags"].as_array().is_some_and(|flags| flags.contains(&flag.into()));
            let first = it["vlan"].as_u64().unwrap();
            let last = it["vlanEnd"].as_u64().unwrap_or(first);
            theirs.extend((first..=last).map(|id| (id, has("Egress Untagged"), has("PVID"))));
        }
        let ids = |key: &str| {
            port[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect::<Vec<_>>()
        };
        let untagged = ids("untagged").into_iter().map(|id| (id, true, port["pvid"] == id));
        let mut ours: Vec<_> =
            untagged.chain(ids("tagged").into_iter().map(|id| (id, false, port["pvid"] == id))).collect();
        ours.sort_unstable();
        assert_eq!(ours, theirs);
        assert_eq!(link(&graph, "host", "br0")["vlan_filtering"], true);
        assert_eq!(link(&graph, "host", "br1").get("vlans"), None);
        let tagged = link(&graph, "host", "p1.7");
        assert_eq!(tagged["vlan"], serde_json::json!({"id": 7, "protocol": "802.1Q"}));
        assert_eq!(tagged["parent"]["link"], link(&graph, "host", "p1")["id"]);
        assert!(drawn(host, &[]).contains("vlans 1,100 untagged (pvid 100), 200-203 tagged"));
    });
}

#[test]
fn an_attachment_is_called_by_its_network_and_container() {
    lab_with(&[Need::Ours("tools")], |host| {
        let pod = host.pod();
        host.attach("bridge", conf::bridge(host), &pod).container("web-7").add().result();
        let graph = document(host, &[]);
        let (port, inner) = (&namespace(&graph, "host")["links"], link(&graph, pod.name(), "eth0"));
        let port = port.as_array().unwrap().iter().find(|it| it.get("attachment").is_some()).unwrap();
        assert_eq!(port["attachment"]["container"], "web-7");
        assert_eq!((&port["attachment"]["interface"], &port["peer"]["link"]), (&"eth0".into(), &inner["id"]));
        let network = port["attachment"]["network"].as_str().unwrap();
        let tree = drawn(host, &[]);
        assert!(tree.contains(&format!("⇄ eth0 in pod1  network {network} container web-7\n")), "{tree}");
    });
}
