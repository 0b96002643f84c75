//! `exec`: the process becomes the program.

use super::twin::{twins, twins_with};
use crate::lab::world::Need;

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
fn exec_within_exec_is_in_the_inner_namespace() {
    let script = "
        netns add rs-a; netns add rs-b; netns exec rs-a $TOOL exec rs-b $TOOL identify
        netns exec rs-a $TOOL exec rs-b grep -c ' - sysfs ' /proc/self/mountinfo; netns exec rs-a $TOOL identify";
    twins(script, |story| {
        story.tells(&["out: rs-b", "status: 0", "out: rs-a"]);
    });
}

#[test]
fn everything_can_be_done_from_inside() {
    let script = "
        netns add rs-a; netns add rs-b; netns -n rs-a set rs-b 7; netns -n rs-a list; netns -netns rs-a -j list; netns list
        netns -n rs-a identify; netns -n rs-a -n rs-b identify; netns -n rs-a exec rs-b $TOOL identify; netns -n rs-a exec rs-b false
        netns -n rs-a add rs-in; files; netns del rs-in; netns -n rs-a del rs-a; files
        netns -n nope list; netns -n nope bogus; touch /run/netns/plain; netns -n plain list; rm /run/netns/plain; netns -n rs-b -all exec $TOOL identify";
    twins(script, |story| {
        let done = [[0; 9].as_slice(), &[1, 0, 0, 0, 255, 255, 255, 0]].concat();
        assert_eq!(story.statuses()[..17], done);
        story.tells(&["out: rs-b (id: 7)", "out: rs-a", "out: rs-b", "out: rs-b"]);
        story.tells(&["err: Cannot open network namespace \"nope\": No such file or directory"]);
        story.tells(&["err: setting the network namespace \"plain\" failed: Invalid argument"]);
    });
}
