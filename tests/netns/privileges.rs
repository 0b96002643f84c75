//! What may be done without privileges, and in a user namespace.

use super::twin::twins;

#[test]
fn a_caller_without_privileges_is_told_what_it_may_not() {
    let script = "
        AS='unshare --user'; netns add rs-a; netns list; AS=; netns add rs-a; AS='unshare --user'
        netns list; netns -j list; netns add rs-b; netns del rs-a; netns exec rs-a true; netns -n rs-a list; netns set rs-a 3
        netns pids rs-a; netns identify; netns identify 1; netns list-id; netns attach rs-b 1; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 0, 0, 0, 0, 1, 1, 255, 255, 2, 0, 0, 1, 0, 1]);
        story.tells(&["err: setting the network namespace \"rs-a\" failed: Operation not permitted"]);
        story.tells(&["err: RTNETLINK answers: Operation not permitted"]);
        story.tells(&["err: Cannot open network namespace: Permission denied"]);
    });
}

#[test]
fn everything_works_in_a_user_namespace_with_a_run_of_its_own() {
    let script = r#"
        unshare -Urmn sh -c 'mount -t tmpfs own /run; try() { '"$TOOL"' "$@"; echo "status: $?"; }
            try add rs-a; try set rs-a 4; try list; try list-id; try exec rs-a ls /sys/class/net
            try attach rs-b 1; try attach rs-b $$; try identify; try del rs-b; try del rs-a; try list' 2>&1"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
        story.tells(&["rs-a (id: 4)", "nsid 4 (iproute2 netns name: rs-a)", "lo"]);
    });
}
