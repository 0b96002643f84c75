//! `netns` beside `ip netns`: the same lines in twin worlds, then the few places where ours differs on purpose.
//!
//! A case tells what both did; the expected statuses keep it from agreeing on the wrong thing.

mod differences;
mod graph;
mod twin;

use crate::lab::world::Need;
use twin::{twins, twins_with};

#[test]
fn a_command_may_be_abbreviated_and_an_unknown_one_is_refused() {
    let script = "
        netns a rs-a; netns ad rs-b; netns l; netns ls; netns lst; netns s; netns show; netns li; netns
        netns e rs-a true; netns d rs-a; netns del rs-b
        netns bogus; netns ''; netns listen; netns bogus rs-a; netns -bogus list; netns -jsonx; netns --bogus";
    twins(script, |story| {
        assert_eq!(story.statuses(), [[0; 12].as_slice(), &[255; 7]].concat());
        story.tells(&["err: Command \"bogus\" is unknown, try \"netns help\"."]);
    });
}

#[test]
fn options_that_change_nothing_are_accepted_before_the_command() {
    let script = "
        netns add rs-a
        for o in -4 -6 -d -s -o -br -c -color=auto -r -i -t -ts -N --json -js --pretty '-j -p' --; do
            netns $o list
        done
        netns list -j; netns list --json";
    twins(script, |story| assert_eq!(story.statuses(), [0; 21]));
}

#[test]
fn a_word_that_cannot_name_a_file_is_refused_before_anything_happens() {
    let script = r#"
        long=$(printf '%255s' '' | tr ' ' a)
        for name in '' . .. a/b /a a/ ${long}a ../rs-a; do netns add "$name"; netns bogus "$name"; done
        netns list .; netns exec / true; netns del ..; netns help /
        ls -A /run"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [255; 20]);
        story.tells(&["err: Invalid netns name \"a/b\""]);
        assert!(!story.0.contains(&"netns".into()), "the folder was made");
    });
}

#[test]
fn whatever_can_name_a_file_is_a_name() {
    let script = r#"
        long=$(printf '%255s' '' | tr ' ' a); ff=$(printf 'rs-\377'); tab=$(printf 'a\tb'); line=$(printf 'a\nb')
        for name in 'a b' -x -- ';' é ... .hidden '*' "$tab" "$line" "$ff" 'quo"te\' "$long"; do
            netns add "$name"; netns -j list; netns list; netns del "$name"
        done"#;
    twins(script, |story| assert_eq!(story.statuses(), [0; 52]));
}

#[test]
fn words_too_many_are_ignored_and_words_too_few_are_named() {
    let script = "
        netns add n1 n2 n3; netns list x y; netns add n2; netns del n1 n2; netns list
        netns add; netns del; netns exec; netns exec n2; netns exec nope; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
        story.tells(&["err: No netns name specified", "err: No command specified"]);
    });
}

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
fn a_caller_without_privileges_is_told_what_it_may_not() {
    let script = "
        AS='unshare --user'; netns add rs-a; netns list; AS=; netns add rs-a; AS='unshare --user'
        netns list; netns -j list; netns add rs-b; netns del rs-a; netns exec rs-a true; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [1, 0, 0, 0, 0, 1, 1, 255]);
        story.tells(&["err: setting the network namespace \"rs-a\" failed: Operation not permitted"]);
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
fn the_list_shows_the_numbers_that_the_kernel_has_given() {
    let script = "
        netns list; mkdir /run/netns; netns list; netns -j list; netns -j -p list; netns -p list
        netns add rs-a; netns add rs-b; netns add rs-c; ip netns set rs-b 5; netns list; netns -j list; netns -j -p list
        ip link add type veth peer netns rs-c; netns list; netns -j ls
        netns exec rs-b $TOOL list; ip -n rs-b netns set rs-a 7; netns exec rs-b $TOOL list; netns list";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 16]);
        story.tells(&["out: []", "out: [ ]", "out: rs-b (id: 5)", "out: rs-a (id: 7)"]);
        story.tells(&["out: [{\"name\":\"rs-c\"},{\"name\":\"rs-b\",\"id\":5},{\"name\":\"rs-a\"}]"]);
        story.tells(&[
            "out: [ {",
            "out:         \"name\": \"rs-c\"",
            "out:     },{",
            "out:         \"id\": 5",
        ]);
    });
}

#[test]
fn what_is_no_namespace_is_listed_all_the_same() {
    let script = "
        netns add rs-a; touch /run/netns/plain; mkdir /run/netns/folder; ln -s /nope /run/netns/dangling
        netns list; netns -j list; netns exec plain true; netns exec folder true; netns exec dangling true";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 255, 255, 255]);
        story.tells(&["err: setting the network namespace \"plain\" failed: Invalid argument"]);
    });
}

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
        mkfifo $told/ready $told/end; netns add rs-a; inode=$(stat -c %i /run/netns/rs-a)
        $TOOL exec rs-a sh -c \"echo >$told/ready; read x <$told/end\" & read x <$told/ready; netns del rs-a; mounts
        [ $(readlink /proc/$!/ns/net) = \"net:[$inode]\" ] && echo alive; ip netns attach rs-again $!; echo >$told/end; wait
        [ $(stat -c %i /run/netns/rs-again) = $inode ] && echo again; netns exec rs-again true; netns del rs-again; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0]);
        story.tells(&["alive", "again"]);
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
fn exec_becomes_the_program() {
    let script = r#"
        netns add rs-a; netns exec rs-a true; netns exec rs-a false; netns exec rs-a sh -c 'exit 255'
        netns exec rs-a sh -c 'kill -TERM $$'; netns exec rs-a sh -c 'kill -KILL $$'
        echo input | netns exec rs-a cat; cd /var/lib; export WORD=passed; netns exec rs-a sh -c 'pwd; echo $WORD "$@"' sh -x '' --
        exec 5</dev/null 6>$told/six; netns exec rs-a sh -c 'echo six >&6; echo $(ls /proc/self/fd)'; cat $told/six
        $TOOL exec rs-a sh -c "echo \$\$ >$told/pid" & wait $!; [ $! = $(cat $told/pid) ] && echo same process
        for ns in mnt net pid user uts ipc cgroup; do
            [ $(readlink /proc/self/ns/$ns) = $($TOOL exec rs-a readlink /proc/self/ns/$ns) ]; echo $ns $?
        done
        [ $($TOOL exec rs-a readlink /proc/self/ns/net) = "net:[$(stat -c %i /run/netns/rs-a)]" ] && echo right one"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 255, 143, 137, 0, 0, 0]);
        story.tells(&[
            "out: input",
            "out: /var/lib",
            "out: passed -x  --",
            "six",
            "same process",
            "mnt 1",
            "net 1",
        ]);
        story.tells(&["pid 0", "user 0", "uts 0", "ipc 0", "cgroup 0", "right one"]);
    });
}

#[test]
fn exec_says_why_a_program_cannot_be_run() {
    let script = "
        netns add rs-a; netns exec rs-a nosuch; netns exec rs-a /etc/passwd; netns exec rs-a ''; netns exec rs-a -- true
        netns exec rs-a /; netns exec rs-a /etc/passwd/x; netns exec nope true; netns exec nope nosuch
        printf 'echo no loader \"$0\" \"$@\"' >$told/rs-script; chmod +x $told/rs-script
        netns exec rs-a $told/rs-script a 'b c'; PATH=$told:$PATH; netns exec rs-a rs-script d
        printf '#!/nope\\n' >$told/rs-script; netns exec rs-a rs-script; chmod -x $told/rs-script; netns exec rs-a rs-script
        AS='env -u PATH'; netns exec rs-a true; netns exec rs-a rs-script";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 1, 1, 1, 1, 255, 255, 0, 0, 1, 1, 0, 1]);
        story.tells(&["err: exec of \"nosuch\" failed: No such file or directory"]);
        story.tells(&["err: exec of \"/etc/passwd\" failed: Permission denied"]);
        story.tells(&["err: Cannot open network namespace \"nope\": No such file or directory"]);
        story.tells(&[
            "out: no loader /var/lib/told/rs-script a b c",
            "out: no loader /var/lib/told/rs-script d",
        ]);
    });
}

#[test]
fn signals_are_inherited_as_they_were() {
    // What the tests themselves inherited is in there too, so only the twin knows what is right. The upper half has musl's
    // own signals, which its posix_spawn leaves ignored: not the tool's doing.
    let script = "
        netns add rs-a; netns exec rs-a sh -c 'grep -E \"^Sig(Blk|Ign)\" /proc/self/status | cut -c1-8,20-'
        trap '' PIPE USR1; netns exec rs-a sh -c 'grep -E \"^Sig(Blk|Ign)\" /proc/self/status | cut -c1-8,20-'";
    twins(script, |story| assert_eq!(story.statuses(), [0; 3]));
}

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
fn exec_leaves_the_control_group_of_a_vrf() {
    let script = "
        mkdir $told/groups; mount -t cgroup2 groups $told/groups; group=rs-netns-test/vrf/red
        mkdir -p $told/groups/$group; netns add rs-a
        join=\"echo \\$\\$ >$told/groups/$group/cgroup.procs; grep ^0: /proc/self/cgroup\"
        sh -c \"$join; exec $TOOL exec rs-a grep ^0: /proc/self/cgroup\"
        cd $told/groups; rmdir -p $group";
    twins_with(&[Need::RealRoot], script, |story| {
        story.tells(&["0::/rs-netns-test/vrf/red", "0::/rs-netns-test/vrf"]);
    });
}

#[test]
fn unshare_nsenter_and_umount_get_along_with_names() {
    let script = "
        netns add rs-a; touch /run/netns/rs-u; unshare --net=/run/netns/rs-u true; netns list; netns exec rs-u ls /sys/class/net
        nsenter --net=/run/netns/rs-a ip -br link; ip netns add rs-i; netns exec rs-i ls /sys/class/net; netns del rs-u; netns del rs-i
        netns add rs-o; ip netns exec rs-o ls /sys/class/net; ip netns del rs-o; umount /run/netns/rs-a
        netns list; netns exec rs-a true; netns add rs-a; netns del rs-a; files";
    twins(script, |story| assert_eq!(story.statuses(), [0, 0, 0, 0, 0, 0, 0, 0, 255, 1, 0]));
}
