//! `attach`: a name for the namespace of a process.

use super::twin::twins;

#[test]
fn attach_names_the_namespace_of_a_process_any_number_of_times() {
    let script = "
        netns add rs-a; inside rs-a; inode=$(stat -c %i /run/netns/rs-a)
        netns attach rs-b $process; netns attach rs-c $process; mounts; files
        [ $(stat -c %i /run/netns/rs-b) = $inode ] && [ $(stat -c %i /run/netns/rs-c) = $inode ] && echo same
        for name in rs-a rs-b rs-c; do netns pids $name; done; netns identify $process
        netns del rs-a; netns del rs-b; netns exec rs-c true; netns pids rs-c; netns del rs-c; netns identify $process; end; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 13]);
        story.tells(&[
            "mount: net /run/netns/rs-b shared nsfs",
            "file: /run/netns/rs-b 444 regular empty file",
            "same",
        ]);
        story.tells(&["out: PROCESS", "out: PROCESS", "out: PROCESS", "out: rs-a", "out: PROCESS", "out: "]);
    });
}

#[test]
fn attach_takes_the_number_of_a_process_as_c_writes_it() {
    let script = "
        netns attach x 0; netns attach x abc; netns attach x self; netns attach x ''; netns attach x 08; netns attach x 1x
        netns attach x 2147483648; ls -A /run
        netns attach x -1; netns attach x 999999; netns attach x -0x10; ls -A /run/netns
        netns attach rs-dec $$; netns attach rs-hex $(printf 0x%x $$); netns attach rs-oct $(printf 0%o $$); netns attach rs-plus +$$
        [ $(stat -c %i /run/netns/* | uniq | wc -l) = 1 ] && echo same; netns identify; netns list";
    twins(script, |story| {
        assert_eq!(story.statuses(), [[1; 10].as_slice(), &[0; 6]].concat());
        story.tells(&["err: Invalid PID: 0", "err: Invalid PID: abc", "err: Invalid PID: self"]);
        story.tells(&["err: Bind /proc/-1/ns/net -> /run/netns/x failed: No such file or directory"]);
        story.tells(&["same", "out: rs-dec"]);
    });
}

#[test]
fn attach_does_not_touch_a_name_that_is_taken() {
    let script = "
        netns add rs-a; inode=$(stat -c %i /run/netns/rs-a); netns attach rs-a $$; netns attach rs-a 999999
        [ $(stat -c %i /run/netns/rs-a) = $inode ] && echo same; touch /run/netns/plain; netns attach plain $$; files; mounts";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1]);
        story.tells(&["err: Cannot create namespace file \"/run/netns/rs-a\": File exists", "same"]);
    });
}
