//! `add`: the folder of the names, its mount, and the new namespace.

use super::twin::twins;

#[test]
fn the_first_add_makes_the_folder_a_shared_mount_and_the_second_does_not() {
    let script = "
        before=$(readlink /proc/self/ns/net)
        netns add rs-a; mounts; files; netns add rs-b; mounts; files; grep -c ' /run/netns ' /proc/self/mountinfo
        [ \"$(readlink /proc/self/ns/net)\" = \"$before\" ] && echo 'still here'
        stat -f -c %T /run/netns/rs-a
        umask 077; umount -l /run/netns; rm -r /run/netns; netns add rs-c; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0]);
        story.tells(&["mount: /netns /run/netns shared tmpfs", "mount: net /run/netns/rs-a shared nsfs"]);
        story.tells(&["file: /run/netns 755 directory", "file: /run/netns/rs-a 444 regular empty file"]);
        story.tells(&["1", "still here", "file: /run/netns 700 directory"]);
    });
}

#[test]
fn a_name_that_is_taken_stays_as_it_is() {
    let script = "
        netns add rs-a; before=$(stat -c %i /run/netns/rs-a); netns add rs-a
        [ $(stat -c %i /run/netns/rs-a) = $before ] && echo same; mounts
        mkdir /run/netns/folder; netns add folder; touch /run/netns/plain; netns add plain; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1]);
        story.tells(&["err: Cannot create namespace file \"/run/netns/rs-a\": File exists", "same"]);
    });
}

#[test]
fn parallel_adds_agree_on_one_winner_and_one_mount() {
    let script = "
        { for i in 1 2 3 4 5 6 7 8; do ($TOOL add rs-one 2>/dev/null; echo \"status: $?\") & done; wait; } | sort
        grep -c ' /run/netns ' /proc/self/mountinfo; umount -l /run/netns; rm -r /run/netns
        { for i in 1 2 3 4 5 6 7 8; do ($TOOL add rs-$i; echo \"status: $?\") & done; wait; } | sort
        grep -c ' /run/netns ' /proc/self/mountinfo; mounts; netns list | sort";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn names_reach_the_mount_namespaces_that_follow_and_no_others() {
    let script = "
        mount --make-shared /run; netns add rs-first
        follow() { unshare -m --propagation $1 sh -c \"echo >$told/ready; read x <$told/go; \
            grep -c '/run/netns/rs-a ' /proc/self/mountinfo; echo; exec 3<$told/end; read x <&3;
            grep -c '/run/netns/rs-a ' /proc/self/mountinfo\"; }
        for kind in slave private; do
            rm -f $told/go $told/end $told/ready; mkfifo $told/go $told/end $told/ready
            follow $kind >$told/$kind & read x <$told/ready; netns add rs-a; echo >$told/go
            exec 4>$told/end; netns del rs-a; echo >&4; exec 4>&-; wait; sed 's/[1-9]/some/' $told/$kind; mounts
        done";
    twins(script, |story| assert_eq!(story.statuses(), [0; 5]));
}

#[test]
fn a_shared_run_is_cleaned_up_completely() {
    let script = "mount --make-shared /run; netns add rs-a; mounts; netns add rs-b; netns del rs-a; netns del rs-b; mounts; files";
    twins(script, |story| assert_eq!(story.statuses(), [0; 4]));
}

#[test]
fn a_folder_that_is_none_says_so() {
    let script = "
        touch /run/netns; netns add rs-a; netns exec rs-a true; netns del rs-a; ls -l /run/netns | cut -c1-10
        rm /run/netns; mkdir /run/elsewhere; ln -s elsewhere /run/netns; netns add rs-a; mounts; netns list; netns del rs-a
        umount -l /run/elsewhere; rm /run/netns; mount -o remount,ro /run; netns add rs-a
        mount -o remount,rw /run; mkdir /run/netns; mount -o remount,ro /run; netns add rs-a; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 255, 1, 0, 0, 0, 1, 1]);
        story.tells(&["err: Cannot open netns runtime directory \"/run/netns\": Not a directory"]);
        story.tells(&["err: mkdir /run/netns failed: Read-only file system"]);
        story.tells(&["err: Cannot create namespace file \"/run/netns/rs-a\": Read-only file system"]);
    });
}

#[test]
fn an_add_that_fails_late_leaves_no_file() {
    let script = "
        netns add rs-a
        unshare -Urnm sh -c 'echo 0 >/proc/sys/user/max_net_namespaces; mount -t tmpfs r /run
            '\"$TOOL\"' add rs-b; echo \"status: $?\"; ls /run/netns' 2>&1";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1]);
        story.tells(&[
            "Failed to create a new network namespace \"rs-b\": No space left on device",
            "status: 1",
        ]);
    });
}

#[test]
fn a_new_namespace_has_nothing_but_lo_and_that_is_down() {
    let script = "
        netns add rs-a; netns exec rs-a ip -br link; netns exec rs-a ip route show table all
        netns exec rs-a cat /proc/sys/net/ipv4/ip_forward";
    twins(script, |story| {
        story.tells(&["out: lo               DOWN           00:00:00:00:00:00 <LOOPBACK> "]);
    });
}

#[test]
fn an_add_that_is_killed_leaves_a_file_that_can_be_deleted() {
    let script = "
        netns add rs-a
        strace -f -o /dev/null -e trace=unshare -e inject=unshare:signal=KILL $TOOL add rs-b 2>/dev/null; echo \"status: $?\"
        files; netns list; netns exec rs-b true; netns add rs-b; netns del rs-b; files; mounts";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 137, 0, 255, 1, 0]);
        story.tells(&["file: /run/netns/rs-b 0 regular empty file"]);
    });
}

#[test]
fn a_new_namespace_has_settings_of_its_own() {
    let script = "
        sysctl=/proc/sys/net/ipv4/ip_forward; echo 1 >$sysctl; netns add rs-a; netns exec rs-a sh -c \"echo 0 >$sysctl; cat $sysctl\"
        cat $sysctl; netns exec rs-a iptables -S; netns exec rs-a cat /proc/net/dev | grep -c :";
    twins(script, |story| {
        story.tells(&["out: 0", "1"]);
    });
}
