//! `exec --each`: one program in several namespaces.

use super::twin::alone;

#[test]
fn each_line_has_the_name_of_its_namespace() {
    let script = "
        netns add rs-a; netns add rs-b; netns add rs-c
        netns exec --each rs-c rs-a -- sh -c 'ip -br link | cut -c1-3; echo no >&2; printf unended' sh; echo input | netns exec --each rs-a -- cat
        netns exec --each rs-b rs-b -- $TOOL identify; $TOOL e --each rs-a -- echo x | cat";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0; 6]);
        story.tells(&["out: rs-c: lo ", "out: rs-c: unended", "out: rs-a: lo ", "out: rs-a: unended"]);
        story.tells(&["err: rs-c: no", "err: rs-a: no", "status: 0", "status: 0"]);
        story.tells(&["out: rs-b: rs-b", "out: rs-b: rs-b", "status: 0", "rs-a: x"]);
    });
}

#[test]
fn a_failure_in_one_is_told_and_the_others_follow() {
    let script = "
        netns add rs-a; netns add rs-b; netns exec --each rs-a rs-b -- sh -c 'exit 7'; netns exec --each rs-a rs-b -- nosuch
        netns exec --each rs-a rs-b -- sh -c 'echo here; kill -9 $$'; touch /run/netns/plain
        netns exec --each plain rs-b -- echo there";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 1, 1, 1]);
        story.tells(&["err: rs-a: exec of \"nosuch\" failed: No such file or directory"]);
        story.tells(&["err: rs-b: exec of \"nosuch\" failed: No such file or directory"]);
        assert_eq!(story.0.iter().filter(|line| line.ends_with(": here")).count(), 1);
        story.tells(&[
            "out: rs-b: there",
            "err: plain: setting the network namespace \"plain\" failed: Invalid argument",
        ]);
    });
}

#[test]
fn words_that_make_no_sense_run_nothing() {
    let script = "
        netns add rs-a; netns exec --each; netns exec --each rs-a true; netns exec --each -- true; netns exec --each rs-a --
        netns exec --each rs-a nope -- touch /run/ran; netns exec --each rs-a a/b -- touch /run/ran; ls /run";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 255, 255, 1, 1, 255, 255]);
        story.tells(&["err: exec --each NAME... -- PROGRAM: the \"--\" is missing"]);
        story.tells(&["err: No netns name specified", "err: No command specified"]);
        story.tells(&[
            "err: Cannot open network namespace \"nope\": No such file or directory",
            "err: Invalid netns name \"a/b\"",
        ]);
        assert_eq!(story.0.last().map(String::as_str), Some("netns"));
    });
}

#[test]
fn add_sets_lo_up_on_request() {
    let script = "
        netns add --with-loopback rs-a; netns add rs-b --with-loopback; netns add rs-c; netns add --with-loopback rs-a; netns add --with-loopback
        for name in rs-a rs-b rs-c; do $TOOL exec $name ip -br address show lo | tr -s ' '; done; netns list";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 1, 1, 0]);
        story.tells(&["lo UNKNOWN 127.0.0.1/8 ::1/128 ", "lo UNKNOWN 127.0.0.1/8 ::1/128 ", "lo DOWN "]);
        story.tells(&["out: rs-c", "out: rs-b", "out: rs-a", "status: 0"]);
    });
}
