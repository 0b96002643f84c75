//! `ctr run --cni`, which names the namespace by its process and sends DEL when both are gone.

use super::{Containerd, NEEDS, SOCKET};
use crate::lab::lab_with;
use crate::runtimes::node::{ARCHIVE, NAME, SHARED};

#[test]
fn containers_of_ctr_have_a_network_and_leave_nothing() {
    lab_with(NEEDS, |host| {
        let containerd = Containerd::new(host, "/jackfield-ctr");
        let ctr = |command: &str| containerd.sh(&format!("ctr --address {SOCKET} {command}"));
        ctr(&format!("images import {ARCHIVE}"));
        let before = containerd.snapshot();
        for turn in [1, 2] {
            let look = "ip -o address show dev eth0; ping -c 1 10.211.0.1 && ping -c 1 fd10:211::1";
            let group = format!("--cgroup {}/f{turn}", containerd.groups.0);
            let said = ctr(&format!("run --rm --cni {group} {NAME} f{turn} /bin/sh -c '{look}'"));
            assert!(said.contains(&format!("10.211.0.{}/16", turn + 1)), "{said}");
            assert_eq!(said.matches("1 packets received").count(), 2, "{said}");
        }
        containerd.settles_with(0);
        before.same_as(&containerd.snapshot(), SHARED);
    });
}
