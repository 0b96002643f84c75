//! Runtimes that know no CNI join a namespace of ours: `netns` makes it, `cnitool` attaches it.

use super::node::{FILES, Groups, Node, SHARED};
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::place::Place;
use crate::lab::world::Need;

/// What a container does to show its network: its addresses, and a word with the neighbour.
const LOOK: &str = "ip -o address show dev eth0; ping -c 1 198.51.100.1";

/// Runs `command` with a namespace named `joined` that has an address of the network, and looks at what it said.
#[track_caller]
fn joins(host: &Host, group: &'static str, command: &str) {
    let _groups = Groups(group);
    let node = Node::with_pods(host);
    let (netns, cnitool) = (node.program("netns"), node.program("cnitool"));
    let cnitool = |verb: &str| {
        node.sh(&format!("CNI_PATH=/opt/cni/bin {} {verb} pods /run/netns/joined", cnitool.display()));
    };
    let before = node.snapshot();
    node.sh(&format!("{} add joined", netns.display()));
    cnitool("add");
    let witness = Place::at("/run/netns/joined".as_ref()).addresses("eth0");
    assert_eq!(witness, ["10.211.0.2/16", "fd10:211::2/64"]);

    let said = node.sh(command);
    assert!(witness.iter().all(|address| said.contains(address)), "{said}");
    assert!(said.contains("1 packets received"), "{said}");

    cnitool("del");
    node.sh(&format!("{} delete joined", netns.display()));
    before.same_as(&node.snapshot(), SHARED);
}

/// A command that has an OCI runtime run a container in that namespace.
fn oci(runtime: &str, group: &str) -> String {
    let configuration = format!(
        r#".process.terminal = false | .process.args = ["sh", "-c", "{LOOK}"] | .process.env = ["PATH=/bin"]
        | .process.capabilities[] += ["CAP_NET_RAW"] | .root.path = "{FILES}" | .linux.cgroupsPath = "{group}/one"
        | (.linux.namespaces[] | select(.type == "network")).path = "/run/netns/joined""#
    );
    format!(
        "mkdir /run/lab/bundle && cd /run/lab/bundle && {runtime} spec && jq '{configuration}' config.json > new &&
        mv new config.json && {runtime} --root /run/lab/oci run one"
    )
}

#[test]
fn a_container_of_crun_joins_a_namespace_of_ours() {
    lab_with(&[Need::RealRoot, Need::Program("crun"), Need::Ours("portmap")], |host| {
        joins(host, "/jackfield-crun", &oci("crun --cgroup-manager cgroupfs", "/jackfield-crun"));
    });
}

#[test]
fn a_container_of_runc_joins_a_namespace_of_ours() {
    lab_with(&[Need::RealRoot, Need::Program("runc"), Need::Ours("portmap")], |host| {
        joins(host, "/jackfield-runc", &oci("runc", "/jackfield-runc"));
    });
}

// nspawn makes control groups below its own, which is the shell's.
#[test]
fn a_container_of_systemd_nspawn_joins_a_namespace_of_ours() {
    lab_with(&[Need::RealRoot, Need::Program("systemd-nspawn"), Need::Ours("portmap")], |host| {
        let enter = "for top in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
            [ ! -e $top/cgroup.procs ] || { mkdir -p $top/jackfield-nspawn && echo $$ > $top/jackfield-nspawn/cgroup.procs; }
            done";
        let options =
            "--quiet --register=no --keep-unit --as-pid2 --pipe --network-namespace-path=/run/netns/joined";
        let run = format!("systemd-nspawn {options} --directory {FILES} /bin/sh -c '{LOOK}'");
        joins(host, "/jackfield-nspawn", &format!("{enter}; {run}"));
    });
}
