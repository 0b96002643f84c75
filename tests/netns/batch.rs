//! `-batch`: many commands from a file, and the caller's own namespace after each.

use super::twin::twins;

#[test]
fn a_batch_performs_line_after_line() {
    let script = r#"
        printf '%s\n' '# a comment' 'netns add rs-a' '' 'netns add "rs b"  # and another' "netns attach 'rs-own' $$" 'netns list' \
            'netns set rs-a 5' 'netns exec rs-a ip -br link' 'netns identify' 'net\' 'ns l' 'netns exec rs-a sh -c "echo a; exit 0"' \
            'netns del rs-a' >$told/batch
        netns -b $told/batch; netns -batch - <$told/batch; netns -b $told/nope; netns -j -b $told/batch; netns list; files"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1, 0]);
        story.tells(&["out: rs-own", "out: rs-a", "out: a"]);
        story.tells(&["err: Cannot open file \"/var/lib/told/nope\" for reading: No such file or directory"]);
    });
}

#[test]
fn a_batch_ends_where_a_line_fails_unless_it_is_forced_on() {
    let script = r#"
        printf '%s\n' 'netns add rs-a' 'netns add rs-a' 'netns exec rs-a false' 'netns exec rs-a sh -c "exit 3"' 'netns add rs-b' >$told/batch
        netns -b $told/batch; netns list; netns -fo -b $told/batch; netns list
        printf '%s\n' 'netns add ..' 'netns add rs-c' >$told/batch; netns -force -b $told/batch; netns list
        printf '%s\n' 'netns bogus' 'netns add rs-c' >$told/batch; netns -force -b $told/batch; netns list
        printf '%s\n' 'netns set rs-a abc' 'netns add rs-c' >$told/batch; netns -force -b $told/batch; netns list
        printf '%s\n' 'netns exec rs-a sh -c "kill -9 $$"' 'netns add rs-c' >$told/batch; netns -force -b $told/batch; netns list
        printf '%s\n' 'netns set rs-a 1' 'netns set rs-a 1' 'netns add rs-d' >$told/batch; netns -b $told/batch; netns list
        printf '%s\n' "netns add 'rs-e" 'netns add rs-c' >$told/batch; netns -force -b $told/batch; netns list"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 0, 1, 0, 255, 0, 255, 0, 255, 0, 1, 0, 1, 0, 1, 0]);
        story.tells(&[
            "err: Command failed /var/lib/told/batch:2",
            "err: Command failed /var/lib/told/batch:3",
        ]);
        story.tells(&["out: rs-b", "out: rs-a", "err: Invalid netns name \"..\""]);
    });
}
