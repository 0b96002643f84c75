//! Other programs that know namespaces: unshare, nsenter, umount, lsns.

use super::twin::twins;

#[test]
fn unshare_nsenter_and_umount_get_along_with_names() {
    let script = "
        netns add rs-a; touch /run/netns/rs-u; unshare --net=/run/netns/rs-u true; netns list; netns exec rs-u ls /sys/class/net
        nsenter --net=/run/netns/rs-a ip -br link; ip netns add rs-i; netns exec rs-i ls /sys/class/net; netns del rs-u; netns del rs-i
        netns add rs-o; ip netns exec rs-o ls /sys/class/net; ip netns del rs-o; umount /run/netns/rs-a
        netns list; netns exec rs-a true; netns add rs-a; netns del rs-a; files";
    twins(script, |story| assert_eq!(story.statuses(), [0, 0, 0, 0, 0, 0, 0, 0, 255, 1, 0]));
}

#[test]
fn what_other_programs_see_of_a_namespace_agrees() {
    let script = "
        netns add rs-a; nsenter --net=/run/netns/rs-a $TOOL identify; nsenter --net=/run/netns/rs-a $TOOL list
        mkfifo $told/ready; unshare -n sh -c \"echo >$told/ready; exec sleep 1000\" & process=$!; read line <$told/ready
        mask=\"s/^/out: /; s/\\b$process\\b/PROCESS/g\"; netns attach rs-x $process; netns pids rs-x; netns identify $process
        lsns -t net -n -r -o NSFS $(stat -c %i /run/netns/rs-x) | head -n1; lsns -t net -n -r -o PID,NSFS | grep -c /run/netns/rs-x
        end; inside rs-a; lsns -t net -n -r -o NSFS | grep rs-a; end; netns del rs-x; netns del rs-a";
    twins(script, |story| {
        story.tells(&["rs-a", "out: PROCESS", "out: rs-x"]);
        story.tells(&["/run/netns/rs-a"]);
    });
}
