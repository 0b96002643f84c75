//! `monitor`: names as they come and go.

use super::twin::{twins, twins_with};
use crate::lab::world::Need;

/// `ip netns monitor` keeps what it writes to a pipe for later, so both get a terminal. The watch has begun when the kernel
/// shows it (proc_pid_fdinfo(5)). What a shell starts in the background would ignore SIGINT.
const WATCHED: &str = "
        watch() {
            script -qefc \"echo \\$\\$ >$told/pid; exec env --default-signal=INT $TOOL m\" /dev/null </dev/null >$told/seen & script=$!
            until [ -s $told/pid ] && grep -qs ^inotify /proc/$(cat $told/pid)/fdinfo/*; do :; done
        }
        seen() { until grep -q \"$1\" $told/seen; do :; done; tr -d '\\r' <$told/seen | sed 's/^/seen: /'; }
        ";

#[test]
fn monitor_tells_of_names_as_they_come_and_go() {
    let script = "
        netns add rs-a; watch; netns add rs-b; netns add rs-b; netns del rs-a; netns del rs-a; netns exec rs-b true
        touch /run/netns/f; mkdir /run/netns/d; mv /run/netns/f /run/netns/g; rm /run/netns/g; rmdir /run/netns/d; umount /run/netns/rs-b
        netns attach 'rs c' $$; netns -all del; netns add rs-end; seen 'add rs-end'
        kill -TERM $(cat $told/pid); wait $script; echo \"status: $?\"";
    twins_with(&[Need::Program("script")], &[WATCHED, script].concat(), |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 0, 1, 0, 0, 0, 0, 143]);
        let seen = ["add rs-b", "delete rs-a", "add f", "add d", "delete g", "delete d", "add rs c"];
        story.tells(&seen.map(|line| format!("seen: {line}")).each_ref().map(String::as_str));
    });
}

#[test]
fn monitor_may_begin_before_the_first_name() {
    let script = "
        umask 027; watch; files; mounts; netns add rs-a; mounts; netns add rs-b; netns del rs-a; netns add rs-end; seen 'add rs-end'
        kill -INT $(cat $told/pid); wait $script; echo \"status: $?\"";
    twins_with(&[Need::Program("script")], &[WATCHED, script].concat(), |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0, 130]);
        story.tells(&[
            "file: /run/netns 750 directory",
            "seen: add rs-a",
            "seen: add rs-b",
            "seen: delete rs-a",
        ]);
    });
}

#[test]
fn monitor_says_what_it_cannot_watch() {
    let script = "
        mount -o remount,ro /run; netns monitor; mount -o remount,rw /run; mkdir /run/netns
        printf 'echo 0 >/proc/sys/user/max_inotify_$limit; exec \"$@\"' >$told/limited; AS=\"unshare -Ur sh $told/limited\"
        for limit in watches instances; do export limit; netns monitor; done";
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 1, 1]);
        story.tells(&["err: mkdir /run/netns failed: Read-only file system"]);
        story.tells(&["err: inotify_add_watch failed: No space left on device"]);
        story.tells(&["err: inotify_init failed: Too many open files"]);
    });
}
