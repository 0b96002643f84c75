//! `-all`: every namespace, one after the other.

use super::twin::twins;

#[test]
fn all_names_can_be_deleted_at_once() {
    let script = "
        netns -all del; ls -A /run; netns add rs-a; netns add rs-b; touch /run/netns/plain; ln -s /nope /run/netns/dangling
        netns -all delete rs-a; files; mounts; netns -a del; netns add rs-c; netns --all d; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 7]);
        assert_eq!(story.0.last().map(String::as_str), Some("file: /run/netns 755 directory"));
    });
}

#[test]
fn a_program_can_be_run_in_every_namespace() {
    let script = "
        netns -all exec echo nobody; netns add rs-a; netns add rs-b; netns add rs-c; netns -all exec echo hi
        netns -all e sh -c 'echo \"$@\"; ip -br link | cut -c1-3; grep -c \" - sysfs rs-\" /proc/self/mountinfo' sh -x '' --
        netns -all exec /bin/true; echo input | netns -all exec cat; netns identify";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 9]);
        story.tells(&["out: ", "out: netns: rs-c", "out: hi", "out: ", "out: netns: rs-b", "out: hi"]);
        story.tells(&["out: -x  --", "out: lo ", "out: 1"]);
    });
}

#[test]
fn a_program_that_is_killed_ends_it_for_all() {
    let script = "netns add rs-a; netns add rs-b; netns -all exec sh -c 'echo once; kill -9 $$'";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1]);
        assert_eq!(story.0.iter().filter(|line| *line == "out: once").count(), 1);
    });
}
