//! `list`: names and their numbers.

use super::twin::twins;

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
