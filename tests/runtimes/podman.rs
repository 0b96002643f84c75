//! podman with its CNI back end, and the networks that it writes itself.

mod rootless;

use std::collections::BTreeSet;
use std::ops::Deref;

use serde_json::Value;

use super::node::{ARCHIVE, NAME, Node};
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::place::Place;
use crate::lab::snapshot::Shared;
use crate::lab::world::Need;

const NEEDS: &[Need] = &[Need::RealRoot, Need::Program("podman"), Need::Ours("portmap")];

/// For podman and buildah. Their images and sockets are where the lab does not look. Without control groups they run on any
/// machine.
pub const CONFIGURATION: &str = r#"
cat > /etc/containers/containers.conf << END
[containers]
apparmor_profile = "unconfined"
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
tmp_dir = "/run/lab/podman/tmp"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
END
cat > /etc/containers/storage.conf << END
[storage]
driver = "overlay"
graphroot = "/run/lab/podman/images"
runroot = "/run/lab/podman/containers"
END
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > /etc/containers/policy.json
"#;

/// A node with podman. Dereferences to its `Node`.
struct Podman<'h> {
    node: Node<'h>,
}

impl<'h> Deref for Podman<'h> {
    type Target = Node<'h>;
    fn deref(&self) -> &Node<'h> {
        &self.node
    }
}

impl<'h> Podman<'h> {
    fn new(host: &'h Host) -> Podman<'h> {
        let node = Node::new(host);
        node.sh(&format!("set -e{CONFIGURATION}"));
        let podman = Podman { node };
        podman.does(&format!("load --quiet --input {ARCHIVE}"));
        podman
    }

    /// A command, which succeeds: what it printed.
    #[track_caller]
    fn does(&self, command: &str) -> String {
        self.sh(&format!("HOME=/run/lab TMPDIR=/run/lab/tmp podman {command}")).trim().to_owned()
    }

    /// Makes a network of that name. podman takes the next free bridge, `cni-podman1` first.
    fn makes_network(&self, name: &str, options: &str) {
        self.does(&format!("network create {options} {name}"));
    }

    /// Runs a container of that name, which serves a page with its name.
    #[track_caller]
    fn runs(&self, name: &str, options: &str) {
        self.does(&format!("run --detach --name {name} --hostname {name} {options} {NAME}"));
        self.serves(name);
    }

    /// Waits until the web server of a container is there.
    fn serves(&self, name: &str) {
        self.namespace(name).sh("until busybox wget -q -O - http://127.0.0.1/ > /dev/null 2>&1; do :; done");
    }

    /// What a container sees of a web server.
    fn page_seen_from(&self, container: &str, at: &str) -> Option<String> {
        let script = format!("HOME=/run/lab timeout 20 podman exec {container} wget -q -O - http://{at}/");
        let output = self.try_sh(&script);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// A container as podman describes it.
    fn inspects(&self, container: &str) -> Value {
        serde_json::from_str::<Value>(&self.does(&format!("inspect {container}"))).unwrap()[0].take()
    }

    /// Where a container's links are.
    fn namespace(&self, container: &str) -> Place {
        let path = self.inspects(container)["NetworkSettings"]["SandboxKey"].as_str().unwrap().to_owned();
        Place::at(path.as_ref())
    }

    /// Removes all containers and pods. What podman does afterwards it does in processes of its own.
    fn removes_everything(&self) {
        self.does("pod rm --all --force --time 0");
        self.does("rm --all --force --time 0");
        self.sh("while pgrep --runstates D,R,S 'podman|conmon|crun' > /dev/null; do :; done");
    }
}

/// What podman's networks share with the next container, and the folders in which podman would find them.
const SHARED: &[Shared<'_>] =
    &[Shared::Bridge("cni-podman1"), Shared::Bridge("cni-podman2"), Shared::Forwarding, Shared::Store];

#[test]
fn containers_of_podman_publish_ports_talk_across_networks_and_leave_nothing() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--subnet 10.201.1.0/24");
        podman.makes_network("both", "--subnet 10.201.5.0/24 --ipv6 --subnet fd10:201:5::/64");
        let before = podman.snapshot();
        podman.runs("a", "--network one --publish 18080:80");
        podman.runs("b", "--network both --publish 18081:80 --publish 18053:5353/udp --cap-add NET_RAW");

        for (at, who) in [
            ("198.51.100.2:18080", Some("a")),
            ("198.51.100.2:18081", Some("b")),
            ("[2001:db8:100::2]:18081", Some("b")),
            ("[2001:db8:100::2]:18080", None),
        ] {
            assert_eq!(podman.page_seen_from_outside(at).as_deref(), who, "{at}");
        }
        let names = podman.namespace("b").listens("udp", 5353, "names");
        for (at, asker) in [("198.51.100.2", "198.51.100.1"), ("[2001:db8:100::2]", "2001:db8:100::1")] {
            let answer = podman.outside().asks("udp", &format!("{at}:18053"));
            assert_eq!(answer.unwrap(), format!("names {asker}"));
        }
        drop(names);
        podman.does("exec b ping -c 1 10.201.1.2");
        for (container, at, who) in [
            ("a", "10.201.5.2", "b"),              // another network of this node
            ("b", "198.51.100.2:18080", "a"),      // by a port of the node
            ("a", "198.51.100.2:18080", "a"),      // itself by a port of the node
            ("b", "[2001:db8:100::2]:18081", "b"), // the same by IPv6
        ] {
            assert_eq!(podman.page_seen_from(container, at).as_deref(), Some(who), "{container} asks {at}");
        }

        podman.removes_everything();
        before.same_as(&podman.snapshot(), SHARED);
        podman.does("network rm one both");
        assert!(podman.link("cni-podman1").is_none(), "podman takes its bridges away itself");
    });
}

#[test]
fn a_container_of_podman_joins_and_leaves_networks_while_it_runs() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--subnet 10.201.1.0/24");
        podman.makes_network("two", "--subnet 10.201.2.0/24");
        podman.makes_network("three", "--internal --subnet 10.201.3.0/24");
        let before = podman.snapshot();
        podman.runs("web", "--network one --network two --publish 18080:80");
        let inside = podman.namespace("web");
        // podman attaches in any order, and gives the names in that order.
        assert_eq!(
            inside.links().into_iter().collect::<BTreeSet<_>>(),
            ["eth0", "eth1"].map(String::from).into()
        );
        let is_of_two = |link: &&str| inside.addresses(link).iter().any(|it| it.starts_with("10.201.2."));
        let of_two = ["eth0", "eth1"].into_iter().find(is_of_two).unwrap();

        podman.does("network connect --ip 10.201.3.77 three web");
        assert_eq!(inside.addresses("eth2"), ["10.201.3.77/24"]);
        podman.does("network disconnect one web");
        podman.does("network disconnect three web");
        assert_eq!(inside.links(), [of_two]);
        let page = podman.page_seen_from_outside("198.51.100.2:18080");
        assert_eq!(page.as_deref(), Some("web"), "the port leads to the network that is left");

        podman.removes_everything();
        let third = [Shared::Bridge("cni-podman3")];
        before.same_as(&podman.snapshot(), &[SHARED, &third].concat());
    });
}

#[test]
fn networks_that_podman_isolates_reach_only_those_that_are_not() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--opt isolate=true --subnet 10.201.1.0/24");
        podman.makes_network("two", "--opt isolate=true --subnet 10.201.2.0/24");
        podman.makes_network("open", "--subnet 10.201.3.0/24");
        let before = podman.snapshot();
        podman.runs("a", "--network one --publish 18080:80");
        podman.runs("b", "--network two");
        podman.runs("c", "--network open");
        let (a, c) = (podman.namespace("a"), podman.namespace("c"));
        assert!(a.does_not_ping("10.201.2.2"));
        assert!(a.pings("10.201.3.2") && c.pings("10.201.1.2") && a.pings("198.51.100.1"));
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18080").as_deref(), Some("a"));

        podman.removes_everything();
        let third = [Shared::Bridge("cni-podman3")];
        before.same_as(&podman.snapshot(), &[SHARED, &third].concat());
    });
}

#[test]
fn podman_reloads_restarts_and_starts_containers_and_they_keep_their_places() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--subnet 10.201.1.0/24");
        let before = podman.snapshot();
        podman
            .runs("web", "--network one --ip 10.201.1.99 --mac-address 02:aa:bb:cc:dd:01 --publish 18080:80");
        let place = |podman: &Podman<'_>| {
            let inside = podman.namespace("web");
            (inside.addresses("eth0"), inside.link("eth0").unwrap()["address"].clone())
        };
        let first = place(&podman);
        assert_eq!((first.0[0].as_str(), &first.1), ("10.201.1.99/24", &Value::from("02:aa:bb:cc:dd:01")));

        podman.sh("nft flush ruleset");
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18080"), None);
        for command in ["network reload web", "restart --time 0 web"] {
            podman.does(command);
            podman.serves("web");
            assert_eq!(place(&podman), first, "{command}");
            let page = podman.page_seen_from_outside("198.51.100.2:18080");
            assert_eq!(page.as_deref(), Some("web"), "{command}");
        }
        podman.does("stop --time 0 web");
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18080"), None);
        podman.does("start web");
        assert_eq!(place(&podman), first);

        podman.removes_everything();
        before.same_as(&podman.snapshot(), SHARED);
    });
}

#[test]
fn containers_of_a_pod_of_podman_have_one_network() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--subnet 10.201.1.0/24");
        let before = podman.snapshot();
        let infra = format!("--infra-image {NAME} --infra-command '/bin/sleep 100000'");
        podman.does(&format!("pod create {infra} --name shop --network one --publish 18090:80"));
        podman.does(&format!("run --detach --name web --pod shop {NAME}"));
        podman.serves("web");
        podman.does(&format!("run --detach --name till --pod shop {NAME} sleep 100000"));
        assert_eq!(podman.page_seen_from("till", "127.0.0.1").as_deref(), Some("shop"));
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18090").as_deref(), Some("shop"));
        podman.does("pod stop --time 0 shop");
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18090"), None);
        podman.does("pod start shop");
        podman.serves("web");
        assert_eq!(podman.page_seen_from_outside("198.51.100.2:18090").as_deref(), Some("shop"));

        podman.removes_everything();
        before.same_as(&podman.snapshot(), SHARED);
    });
}

// Eight at once, of which half end by themselves and remove themselves.
#[test]
fn podman_starts_and_removes_many_containers_at_once() {
    lab_with(NEEDS, |host| {
        let podman = Podman::new(host);
        podman.makes_network("one", "--subnet 10.201.1.0/24");
        let before = podman.snapshot();
        podman.sh(&format!(
            "export HOME=/run/lab TMPDIR=/run/lab/tmp
            for n in 1 2 3 4; do
                podman run --detach --name c$n --hostname c$n --network one --publish 1808$n:80 {NAME} & all=\"$all $!\"
                podman run --rm --network one {NAME} ip -o address show dev eth0 & all=\"$all $!\"
            done
            for one in $all; do wait $one || exit 1; done"
        ));
        for n in 1..=4 {
            podman.serves(&format!("c{n}"));
            let page = podman.page_seen_from_outside(&format!("198.51.100.2:1808{n}"));
            assert_eq!(page, Some(format!("c{n}")));
        }
        podman.removes_everything();
        before.same_as(&podman.snapshot(), SHARED);
    });
}
