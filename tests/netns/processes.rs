//! `identify` and `pids`: which process is in which namespace.

use super::twin::twins;

#[test]
fn identify_says_where_a_process_is() {
    let script = "
        netns identify; netns add rs-a; netns identify; netns add rs-b; inside rs-a; netns identify $process
        netns exec rs-b $TOOL identify; netns attach rs-c $process; netns identify $process; netns identify 00$process
        netns identify 999999; netns identify 0; netns identify abc; netns identify 0x10; netns identify +1; netns identify 1 2
        netns identify self; netns -j identify; end; netns identify $process";
    twins(script, |story| {
        let stages = [[0; 8].as_slice(), &[1; 8], &[0, 1]].concat();
        assert_eq!(story.statuses(), stages);
        story.tells(&["out: ", "out: ", "out: rs-a", "out: rs-b", "out: rs-a"]);
        story.tells(&["err: Specified string 'abc' is not a pid", "err: extra arguments specified"]);
        story.tells(&["err: Cannot open network namespace: No such file or directory"]);
    });
}

#[test]
fn identify_needs_no_folder_but_no_file_in_its_place_either() {
    let script = "ls /run; netns identify; touch /run/netns; netns identify; netns identify 1; netns pids x";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1]);
        story.tells(&["err: Failed to open directory /run/netns: Not a directory"]);
    });
}

/// The program whose thread is elsewhere is ours in both worlds: it is stopped on the way, when the thread that makes the
/// namespace has got there.
#[test]
fn a_thread_that_has_gone_elsewhere_is_not_a_process_that_has() {
    let script = "
        strace -qq -f -o /dev/null -e trace=unshare -e inject=unshare:signal=STOP $told/netns add rs-z & strace=$!
        until process=$(cat /proc/$strace/task/$strace/children | tr -d ' ') && grep -qs '^State:.[Tt]' /proc/$process/status &&
            thread=$(ls /proc/$process/task | sed -n 2p) && [ -n \"$thread\" ] &&
            [ $(readlink /proc/$thread/ns/net) != $(readlink /proc/self/ns/net) ]; do :; done
        netns attach rs-t $thread; netns pids rs-t; netns identify $thread; { kill -9 $process; wait $strace; } 2>/dev/null; netns list";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 4]);
        assert_eq!(story.0[1], "status: 0", "nobody is listed: {:#?}", story.0);
    });
}

/// A leader that has ended while its child has not yet been waited for is a zombie, and in no namespace.
#[test]
fn pids_are_the_living_processes_in_a_namespace() {
    let script = "
        netns add rs-a; netns pids rs-a; inside rs-a; netns pids rs-a; one=$process; inside rs-a; netns pids rs-a | grep -c out:
        $TOOL pids rs-a | sort -nc && echo ascending
        [ \"$(echo $($TOOL pids rs-a))\" = \"$(echo $(lsns -n -o PID $(stat -c %i /run/netns/rs-a) | sort -n))\" ] && echo as lsns
        kill $one; until grep -q '^State:.Z' /proc/$one/status 2>/dev/null || [ ! -e /proc/$one ]; do :; done; netns pids rs-a; end
        netns pids nope; netns pids; netns pids a b; touch /run/netns/plain; netns pids plain; ln -s /nope /run/netns/dangling
        netns pids dangling; netns -j pids rs-a";
    twins(script, |story| {
        story.tells(&["out: PROCESS", "2", "ascending", "as lsns", "out: PROCESS", "status: 0"]);
        story.tells(&["err: Cannot open network namespace: No such file or directory", "status: 1"]);
        assert_eq!(story.statuses(), [0, 0, 0, 0, 1, 1, 1, 0, 1, 0]);
    });
}
