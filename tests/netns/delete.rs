//! `delete`: a name goes, and with the last one the namespace.

use super::twin::twins;

#[test]
fn delete_takes_away_any_name_that_is_a_file() {
    let script = "
        netns del nope; netns add rs-a; netns del nope; touch /run/netns/plain /run/target; netns del plain
        ln -s /nope /run/netns/dangling; ln -s /run/target /run/netns/link; netns del dangling; netns del link; ls /run/target
        mkdir /run/netns/folder; netns del folder; mount --bind /run/netns/rs-a /run/netns/rs-a
        netns del rs-a; files; mounts; netns del rs-a; mounts; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 0, 1, 0, 0, 0, 1, 1, 0]);
        story.tells(&["err: Cannot remove namespace file \"/run/netns/nope\": No such file or directory"]);
        story.tells(&[
            "/run/target",
            "err: Cannot remove namespace file \"/run/netns/folder\": Is a directory",
        ]);
        story.tells(&["err: Cannot remove namespace file \"/run/netns/rs-a\": Device or resource busy"]);
    });
}

#[test]
fn a_deleted_namespace_lives_as_long_as_a_program_in_it() {
    let script = "
        mkfifo $told/ready $told/end; netns add rs-a; ip link add rs-v type veth peer rs-w netns rs-a; inode=$(stat -c %i /run/netns/rs-a)
        $TOOL exec rs-a sh -c \"echo >$told/ready; read x <$told/end\" & read x <$told/ready; netns del rs-a; mounts
        [ $(readlink /proc/$!/ns/net) = \"net:[$inode]\" ] && echo alive; ip netns attach rs-again $!; echo >$told/end; wait
        [ $(stat -c %i /run/netns/rs-again) = $inode ] && echo again; netns exec rs-again true; ip link show rs-v >/dev/null && netns del rs-again; files
        timeout 20 sh -c 'while ip link show rs-v >/dev/null 2>&1; do :; done' && echo gone";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0]);
        story.tells(&["alive", "again", "gone"]);
    });
}

#[test]
fn names_can_be_deleted_and_made_from_inside() {
    let script = "
        netns add rs-a; netns add rs-b; netns exec rs-a $TOOL del rs-b; mounts; netns exec rs-a $TOOL del rs-a; mounts
        netns add rs-a; netns exec rs-a $TOOL add rs-in; files; netns list; netns del rs-in";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 8]);
        story.tells(&["file: /run/netns/rs-in 0 regular empty file"]);
    });
}

#[test]
fn the_links_of_a_namespace_go_with_its_last_name() {
    let script = "
        netns add rs-a; ip link add rs-v type veth peer rs-w netns rs-a; netns attach rs-b $($TOOL pids rs-a)1
        netns del rs-b; netns exec rs-a ip -br link show rs-w | cut -c1-12; netns del rs-a
        timeout 20 sh -c 'while ip link show rs-v >/dev/null 2>&1; do :; done' && echo gone";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0, 0]);
        story.tells(&["gone"]);
    });
}

#[test]
fn a_namespace_outlives_its_name_in_an_open_file() {
    let script = "
        netns add rs-a; inode=$(stat -c %i /run/netns/rs-a); exec 7</run/netns/rs-a; netns del rs-a; files; mounts
        [ $(nsenter --net=/proc/self/fd/7 readlink /proc/self/ns/net) = \"net:[$inode]\" ] && echo alive";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0]);
        story.tells(&["alive"]);
    });
}

#[test]
fn a_folder_that_must_not_be_written_keeps_its_names() {
    let script = "
        netns add rs-a; netns add rs-b; mount -o remount,bind,ro /run/netns; netns del rs-a; files; mounts
        netns add rs-c; netns list; netns -all list; mount -o remount,bind,rw /run/netns; netns del rs-a; netns del rs-b; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 1, 0, 0, 0, 0]);
        story.tells(&["err: Cannot remove namespace file \"/run/netns/rs-a\": Read-only file system"]);
    });
}
