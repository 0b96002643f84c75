//! buildah, which gives a network to each step of a build.

use super::node::{ARCHIVE, NAME, Node, SHARED};
use super::podman::CONFIGURATION;
use crate::lab::lab_with;
use crate::lab::world::Need;

#[test]
fn steps_of_a_build_by_buildah_have_a_network_and_leave_nothing() {
    lab_with(&[Need::RealRoot, Need::Program("buildah"), Need::Ours("portmap")], |host| {
        let node = Node::with_pods(host);
        node.sh(&format!("set -e{CONFIGURATION}"));
        let buildah =
            |command: &str| node.sh(&format!("HOME=/run/lab TMPDIR=/run/lab/tmp buildah {command} 2>&1"));
        buildah(&format!("pull docker-archive:{ARCHIVE}"));
        buildah(&format!("from --name work {NAME}"));
        let before = node.snapshot();

        let look = "ip -o address show dev eth0; ping -c 1 198.51.100.1";
        let said = buildah(&format!("run --network pods --cap-add CAP_NET_RAW work -- sh -c '{look}'"));
        assert!(said.contains("10.211.0.2/16") && said.contains("fd10:211::2/64"), "{said}");
        assert!(said.contains("1 packets received"), "{said}");

        node.sh(&format!("printf 'FROM {NAME}\\nRUN {look}\\nRUN {look}\\n' > /run/lab/Containerfile"));
        let said = buildah(
            "build --network pods --cap-add CAP_NET_RAW --file /run/lab/Containerfile /run/lab/image",
        );
        assert!(said.contains("10.211.0.3/16") && said.contains("10.211.0.4/16"), "{said}");
        assert_eq!(said.matches("1 packets received").count(), 2, "{said}");
        let changed = before.differences(&node.snapshot(), SHARED);
        let cache = |line: &String| line.contains("file/var/lib/containers/cache/");
        assert!(changed.iter().all(cache), "{changed:?}");
    });
}
