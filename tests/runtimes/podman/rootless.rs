//! podman without root: the plugins run in a user namespace of its own, with its own /run and /var/lib.

use super::NEEDS;
use crate::lab::lab_with;
use crate::lab::world::Need;
use crate::runtimes::node::{ARCHIVE, NAME, Node};

/// A user of this node with a range of further ids, and the device by which slirp4netns speaks for the containers. podman covers
/// /run for the plugins, so nothing of theirs is there; and the folder of this build may be closed to others.
const USER: &str = r#"
echo 'tester:x:4242:4242::/opt/home:/bin/sh' >> /etc/passwd
echo 'tester:x:4242:' >> /etc/group
echo 'tester:100000:65536' | tee /etc/subuid > /etc/subgid
mkdir -p /opt/home /opt/session && chown 4242:4242 /opt/home /opt/session
umount /opt/cni/bin && cp -L /run/lab/bin/* /opt/cni/bin/
mount -t tmpfs tun /dev/net && mknod -m 666 /dev/net/tun c 10 200
cat > /etc/containers/containers.conf << END
[containers]
apparmor_profile = "unconfined"
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
END
echo '{"default": [{"type": "insecureAcceptAnything"}]}' > /etc/containers/policy.json
"#;

const AS_USER: &str = "cd /opt/home && setpriv --reuid 4242 --regid 4242 --clear-groups env -i PATH=$PATH \
    HOME=/opt/home XDG_RUNTIME_DIR=/opt/session TMPDIR=/opt/home podman";

#[test]
fn containers_of_podman_without_root_have_networks_and_ports_too() {
    let needs = [NEEDS, &[Need::Program("newuidmap"), Need::Program("slirp4netns")]].concat();
    lab_with(&needs, |host| {
        let node = Node::new(host);
        node.sh(&format!("set -e{USER}"));
        let podman = |command: &str| node.sh(&format!("{AS_USER} {command}")).trim().to_owned();
        podman(&format!("load --quiet --input {ARCHIVE}"));
        podman("network create --subnet 10.201.1.0/24 one");
        let before = node.snapshot();
        podman(&format!("run --detach --name a --hostname a --network one --publish 18080:80 {NAME}"));
        podman(&format!("run --detach --name b --hostname b --network one {NAME}"));
        for name in ["a", "b"] {
            let serves = "until wget -q -O - http://127.0.0.1/; do :; done";
            podman(&format!("exec {name} sh -c '{serves}'"));
        }
        assert_eq!(podman("exec a wget -q -O - http://10.201.1.3/"), "b");
        assert_eq!(node.page_seen_from_outside("198.51.100.2:18080").as_deref(), Some("a"));
        let inside = podman("unshare --rootless-netns ip -br address show cni-podman1");
        assert!(inside.contains("10.201.1.1/24"), "{inside}");

        podman("rm --force --time 0 a");
        let left = podman("unshare --rootless-netns nft list ruleset");
        assert!(!left.contains("18080") && !left.contains("10.201.1.2"), "{left}");
        podman("rm --force --time 0 b");
        before.same_as(&node.snapshot(), &[]);
    });
}
