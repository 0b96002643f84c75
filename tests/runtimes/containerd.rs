//! containerd: by its own tool `ctr`, and as a kubelet drives it, over CRI.

mod cri;
mod ctr;
mod pods;

use std::cell::RefCell;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Stdio};

use super::node::{ARCHIVE, Groups, NAME, Node};
use crate::lab::host::Host;
use crate::lab::world::Need;
use cri::{Message, Runtime};

const NEEDS: &[Need] =
    &[Need::RealRoot, Need::Program("containerd"), Need::Program("curl"), Need::Ours("portmap")];

/// containerd's own images and sockets are where the lab does not look.
const CONFIGURATION: &str = r#"
mkdir -p /run/lab/containerd
cat > /run/lab/containerd/config.toml << END
version = 2
root = "/run/lab/containerd/root"
state = "/run/lab/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "/run/lab/containerd/socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/web:1"
restrict_oom_score_adj = true
disable_apparmor = true
END
"#;

const SOCKET: &str = "/run/lab/containerd/socket";

/// A node with containerd. Dereferences to its `Node`.
struct Containerd<'h> {
    node: Node<'h>,
    daemon: RefCell<Child>,
    /// The control group of all that this test runs.
    groups: Groups,
}

impl<'h> Deref for Containerd<'h> {
    type Target = Node<'h>;
    fn deref(&self) -> &Node<'h> {
        &self.node
    }
}

impl<'h> Containerd<'h> {
    fn new(host: &'h Host, group: &'static str) -> Containerd<'h> {
        let node = Node::with_pods(host);
        node.sh(&format!("set -e{CONFIGURATION}"));
        let daemon = RefCell::new(start(host));
        let containerd = Containerd { node, daemon, groups: Groups(group) };
        containerd.is_ready();
        containerd
    }

    /// The service that a kubelet talks to.
    fn runtime(&self) -> Runtime {
        Runtime::at(Path::new(SOCKET))
    }

    /// Waits until the service knows its network and its image: it learns of the image by an event of its own.
    fn is_ready(&self) {
        self.sh(&format!("until ctr --address {SOCKET} version > /dev/null 2>&1; do :; done"));
        self.sh(&format!("ctr --address {SOCKET} --namespace k8s.io images import {ARCHIVE}"));
        let image = Message::new().message(1, &Message::new().text(1, NAME));
        let has_image =
            || self.runtime().call("ImageService/ImageStatus", &image).is_ok_and(|a| !a.all(1).is_empty());
        while !has_image() {}
    }

    /// containerd dies where it stands, and is started again.
    fn dies_and_comes_back(&self) {
        let mut daemon = self.daemon.borrow_mut();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        *daemon = start(&self.node);
        drop(daemon);
        self.is_ready();
    }

    /// Waits until the web server behind a port of the node is there: a pod runs before its program listens.
    fn waits_for_page(&self, port: u64) {
        let asks = format!("timeout 3 busybox wget -q -O - http://198.51.100.2:{port}/");
        self.outside().sh(&format!("timeout 20 sh -c 'until {asks} > /dev/null 2>&1; do :; done'"));
    }

    /// Waits until this many are left who watch over a pod: containerd goes on after it has answered.
    fn settles_with(&self, pods: u32) {
        let watching = "pgrep --runstates D,R,S --count 'containerd-shim|runc'";
        self.sh(&format!("while [ \"$({watching})\" != {pods} ]; do :; done"));
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let mut daemon = self.daemon.borrow_mut();
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
}

fn start(host: &Host) -> Child {
    let mut command = host.command("containerd");
    command.args(["--config", "/run/lab/containerd/config.toml"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("containerd")
}
