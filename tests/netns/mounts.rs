//! What a program finds mounted in a namespace: `/sys`, `/etc`, and what the host mounts later.

use super::twin::twins;
use crate::lab::world::is_root_lab;

#[test]
fn exec_shows_the_namespace_in_sys() {
    let script = "
        netns add rs-a; netns exec rs-a ip link add rs-d type veth peer rs-e
        netns exec rs-a sh -c 'ls /sys/class/net; grep -c \" - sysfs rs-a \" /proc/self/mountinfo; ls /sys/fs/cgroup'
        netns exec rs-a $TOOL exec rs-a sh -c 'ls /sys/class/net; tail -n1 /proc/self/mountinfo | sed \"s/.* - //\"'
        mount -t tmpfs t /sys; netns exec rs-a ls /sys/class/net; ls /sys
        mount -o bind,remount,ro /sys; netns exec rs-a ls /sys/class/net";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 6]);
        story.tells(&["out: lo", "out: rs-d", "out: rs-e", "out: 1"]);
    });
}

#[test]
fn exec_shows_the_files_of_the_namespace_in_etc() {
    let script = "
        mount -t tmpfs etc /etc; mkdir -p /etc/netns/rs-a/folder /etc/folder /etc/run /etc/both; cd /etc/netns/rs-a
        echo inside >resolv.conf; echo inside >hosts; echo inside >.hidden; echo inside >folder/f; ln -s /nope dangling
        echo inside >both; echo inside >missing; echo inside >pointed; mkdir plain; ln -s hosts link
        echo outside >/etc/run/real; ln -s run/real /etc/pointed; cd /etc
        for f in resolv.conf hosts .hidden folder/f plain dangling link; do echo outside >/etc/$f; done
        netns add rs-a; netns exec rs-a sh -c 'cd /etc; grep . resolv.conf hosts .hidden folder/f run/real pointed dangling link'
        netns exec rs-a false; grep . resolv.conf hosts .hidden folder/f run/real pointed plain
        netns add rs-b; netns exec rs-b cat /etc/hosts";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 0, 0]);
        story.tells(&["out: hosts:inside"]).tells(&["out: run/real:inside"]).tells(&["hosts:outside"]);
        story.tells(&["err: Bind /etc/netns/rs-a/both -> /etc/both failed: Not a directory"]);
        story.tells(&["err: Bind /etc/netns/rs-a/missing -> /etc/missing failed: No such file or directory"]);
    });
}

#[test]
fn what_exec_mounts_stays_inside_and_what_the_host_mounts_arrives() {
    let script = "
        netns add rs-a; netns exec rs-a sh -c 'mkdir /run/in; mount -t tmpfs in /run/in; grep -c /run/in /proc/self/mountinfo'
        grep -c ' /run/in ' /proc/self/mountinfo; mount --make-shared /run; mkfifo $told/ready $told/go $told/seen
        $TOOL exec rs-a sh -c \"echo >$told/ready; read x <$told/go; grep -c ' /run/out ' /proc/self/mountinfo >$told/seen\" &
        read x <$told/ready; mkdir /run/out; mount -t tmpfs out /run/out; echo >$told/go; cat $told/seen; wait
        mkdir $told/root; for d in /*; do
            if [ -L $d ]; then cp -P $d $told/root; elif [ -d $d ]; then mkdir $told/root$d; mount --rbind $d $told/root$d; fi
        done
        AS=\"chroot $told/root\"; netns exec rs-a true";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 255]);
        story.tells(&["out: 1", "0", "1", "err: \"mount --make-rslave /\" failed: Invalid argument"]);
    });
}

#[test]
fn a_sys_that_cannot_be_taken_away_decides_whether_its_successor_may_be_written() {
    let script = "
        netns add rs-a; mount -o remount,bind,ro /sys
        netns exec rs-a sed -n 's/.* \\/sys \\(r[ow]\\),.* - sysfs rs-a .*/\\1/p' /proc/self/mountinfo";
    twins(script, |story| {
        // In a user namespace the /sys of the host is locked to its place; as root it goes, and what it forbade goes with it.
        let expected = if is_root_lab() { "out: rw" } else { "out: ro" };
        story.tells(&[expected, "status: 0"]);
    });
}

#[test]
fn only_a_name_of_its_own_has_files_for_etc() {
    let script = "
        mount -t tmpfs etc /etc; echo outside >/etc/hosts; long=$(printf '%254s' '' | tr ' ' a)
        mkdir -p /etc/netns/$long; echo inside >/etc/netns/$long/hosts; netns add $long; netns exec $long cat /etc/hosts
        netns -n $long exec $long cat /etc/hosts; netns add rs-none; netns exec rs-none cat /etc/hosts";
    twins(script, |story| {
        story.tells(&["out: inside", "out: inside", "out: outside"]);
    });
}
