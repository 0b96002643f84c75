//! A container of examples/toy_container.rs is held to its limits, where the machine has cgroups of version 2 with the
//! controllers for it: the kernels of tests/guest do.

use crate::examples::example;
use crate::examples::toy_container::{NEEDS, SHARED, toy};
use crate::lab::lab_with;
use crate::lab::world;

#[test]
fn a_toy_container_gets_the_limits_that_the_machine_has_or_is_told() {
    let program = example("toy_container");
    lab_with(NEEDS, |host| {
        // The guest's root is its first file system, which nothing can take the place of; a mount of it can be replaced.
        host.sh("mkdir /run/lab/root && mount --rbind / /run/lab/root");
        let before = host.snapshot();
        let groups = || host.sh("find /sys/fs/cgroup -name 'toy-*'");
        let run = |options: &[&str], script: &str| {
            let call =
                toy(&program, host, options, &["sh", "-c", script]).under(&["chroot", "/run/lab/root"]);
            let ended = call.run();
            (ended.status().code(), ended.stdout(), ended.stderr())
        };
        let limits = ["--memory", "16M", "--pids", "12", "--cpu", "30"];
        let show =
            "cd /sys/fs/cgroup; for max in memory pids cpu; do cat $max.max 2> /dev/null || echo none; done";
        let (status, shown, told) = run(&limits, show);
        assert_eq!(status, Some(0), "{told}");
        for ((controller, limit), set) in
            [("memory", "16777216"), ("pids", "12"), ("cpu", "30000 100000")].iter().zip(shown.lines())
        {
            let missing =
                told.contains("no limits: ") || told.contains(&format!("no limit of {controller} "));
            assert_eq!(set, if missing { "none" } else { *limit }, "{told}");
            assert!(!missing || world::variable("JACKFIELD_GUEST").is_none(), "{told}");
        }
        if !shown.contains("none") {
            let (status, _, told) = run(&limits, "dd if=/dev/zero of=/tmp/much bs=1M count=48");
            assert_eq!(status, Some(137), "the kernel kills whoever wants too much memory: {told}");
            let (_, _, told) = run(&limits, "for each in $(seq 12); do sleep 30 & done");
            assert!(told.contains("can't fork"), "{told}");
        }
        assert_eq!(groups(), "");
        before.same_as(&host.snapshot(), SHARED);
    });
}
