//! A node for runtimes: a world with what they want of a machine besides namespaces, a neighbour outside, and an image.
//!
//! All of it is in the world's own mount namespace. Folders of the machine are covered by overlays whose upper half is in
//! /run/lab, where runtimes have their images and sockets too: the lab does not look there when it compares before and after.

use std::ops::Deref;

use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::snapshot::Shared;

/// The mounts, and the folders that runtimes have compiled in.
const MOUNTS: &str = "
cd /run/lab && mkdir -p etc etc.work opt opt.work tmp
mount -t overlay -o lowerdir=/etc,upperdir=/run/lab/etc,workdir=/run/lab/etc.work overlay /etc
mount -t overlay -o lowerdir=/opt,upperdir=/run/lab/opt,workdir=/run/lab/opt.work overlay /opt
mount -t tmpfs shm /dev/shm
rm -rf /etc/cni && mkdir -p /opt/cni/bin /etc/cni/net.d /etc/containers
mount --bind /run/lab/bin /opt/cni/bin
# crun refuses the old control groups with the new ones beside them, although those control nothing.
! mountpoint -q /sys/fs/cgroup/unified || mount -t tmpfs covered /sys/fs/cgroup/unified";

/// The node's uplink, and a neighbour at its other end.
const UPLINK: &str = "
ip link add up0 type veth peer name out0 netns outside
ip address add 198.51.100.2/24 dev up0 && ip address add 2001:db8:100::2/64 dev up0 nodad && ip link set up0 up
in='ip -netns outside'
$in address add 198.51.100.1/24 dev out0 && $in address add 2001:db8:100::1/64 dev out0 nodad && $in link set out0 up
until ip -6 route get 2001:db8:100::1 && ip -netns outside -6 route get 2001:db8:100::2; do :; done > /dev/null 2>&1";

/// An image whose container says its host's name to everybody who asks on port 80: one layer with a static busybox, in the
/// form of `docker save`, which podman, buildah and containerd read alike.
const IMAGE: &str = r#"
cd /run/lab && mkdir -p rootfs/bin rootfs/usr rootfs/www/cgi-bin rootfs/proc rootfs/sys rootfs/dev rootfs/etc rootfs/tmp image
cp /bin/busybox rootfs/bin
for name in sh sleep httpd wget ping ip cat hostname; do ln -s busybox rootfs/bin/$name; done
printf '#!/bin/sh\necho; hostname\n' > rootfs/www/cgi-bin/index.cgi && chmod 755 rootfs/www/cgi-bin/index.cgi
tar --owner=0 --group=0 -C rootfs -cf image/layer.tar .
layer=$(sha256sum image/layer.tar | cut -d ' ' -f 1)
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
cat > image/config.json << END
{"architecture": "$machine", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}, "config": {
  "Env": ["PATH=/bin"], "Cmd": ["/bin/httpd", "-f", "-h", "/www"]}}
END
echo '[{"Config": "config.json", "RepoTags": ["localhost/web:1"], "Layers": ["layer.tar"]}]' > image/manifest.json
tar -C image -cf image.tar manifest.json config.json layer.tar"#;

/// A network of two families with all that clusters put behind a bridge.
const LIST: &str = r#"
cat > /etc/cni/net.d/10-pods.conflist << END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {"type": "host-local",
   "ranges": [[{"subnet": "10.211.0.0/16"}], [{"subnet": "fd10:211::/64"}]],
   "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "bandwidth", "capabilities": {"bandwidth": true}},
  {"type": "firewall"},
  {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}]}
END"#;

/// What that network leaves for its next container.
pub const SHARED: &[Shared<'_>] = &[Shared::Bridge("pods0"), Shared::Forwarding, Shared::Store];

/// The archive of the image.
pub const ARCHIVE: &str = "/run/lab/image.tar";

/// The name of the image in that archive.
pub const NAME: &str = "localhost/web:1";

/// The files of the image.
pub const FILES: &str = "/run/lab/rootfs";

/// The node. Dereferences to its `Host`.
pub struct Node<'h> {
    host: &'h Host,
    outside: Pod,
}

impl Deref for Node<'_> {
    type Target = Host;
    fn deref(&self) -> &Host {
        self.host
    }
}

impl<'h> Node<'h> {
    /// Makes a node of the host.
    pub fn new(host: &'h Host) -> Node<'h> {
        let outside = host.pod_named("outside");
        for script in [MOUNTS, UPLINK, IMAGE] {
            host.sh(&format!("set -e{script}"));
        }
        Node { host, outside }
    }

    /// The same, with a network `pods` for whoever reads /etc/cni/net.d.
    pub fn with_pods(host: &'h Host) -> Node<'h> {
        let node = Node::new(host);
        node.sh(LIST);
        node
    }

    /// What a web server says to somebody who is not on this node; `None` if it says nothing.
    pub fn page_seen_from_outside(&self, at: &str) -> Option<String> {
        let output = self.outside.try_sh(&format!("timeout 3 busybox wget -q -O - http://{at}/"));
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// The neighbour.
    pub fn outside(&self) -> &Pod {
        &self.outside
    }
}

/// The control groups below this one are a test's. They belong to the machine, and no namespace takes them along.
pub struct Groups(pub &'static str);

impl Drop for Groups {
    fn drop(&mut self) {
        let all = format!("/sys/fs/cgroup{0} /sys/fs/cgroup/*{0}", self.0);
        let host = Place::host();
        host.try_sh(&format!(
            "find {all} -name cgroup.procs -exec cat {{}} + | sort -u | xargs -r kill -KILL"
        ));
        let (there, remove) =
            (format!("find {all} -maxdepth 0"), format!("find {all} -depth -type d -exec rmdir {{}} +"));
        host.try_sh(&format!("timeout 5 sh -c 'while {there} | grep -q .; do {remove}; done'"));
    }
}
