//! `set` and `list-id`: the numbers under which namespaces know each other.

use super::twin::twins;

#[test]
fn a_number_is_given_once_and_to_one() {
    let script = "
        netns add rs-a; netns add rs-b; netns add rs-q; netns add rs-r; netns set rs-a 5; netns set rs-a 5; netns set rs-a auto
        netns set rs-a 6; netns set rs-b 5; netns set rs-b auto; netns set rs-q 2147483647; netns set rs-r 0x20; netns list
        netns del rs-r; timeout 20 sh -c \"while $TOOL list-id | grep -q 'nsid 32'; do :; done\"; netns add rs-o; netns set rs-o 040; netns add rs-m; netns set rs-m auto; netns list; netns list-id";
    twins(script, |story| {
        let given = [[0; 5].as_slice(), &[2, 2, 2, 2], &[0; 11]].concat();
        assert_eq!(story.statuses(), given);
        story.tells(&["err: Error: Peer netns already has a nsid assigned."]);
        story.tells(&["err: Error: The specified nsid is already used."]);
        story.tells(&[
            "out: rs-r (id: 32)",
            "out: rs-q (id: 2147483647)",
            "out: rs-b (id: 0)",
            "out: rs-a (id: 5)",
        ]);
    });
}

#[test]
fn what_is_no_number_is_refused() {
    let script = "
        netns add rs-a; for number in -3 abc 2147483648 '' 0x 7x -; do netns set rs-a \"$number\"; netns set nope \"$number\"; done
        netns set nope 3; netns set nope auto; touch /run/netns/plain; netns set plain 3; mkdir /run/netns/folder
        netns set folder auto; netns list-id; netns list";
    twins(script, |story| {
        let refused = [[0].as_slice(), &[255; 14], &[1, 1, 2, 2, 0, 0]].concat();
        assert_eq!(story.statuses(), refused);
        story.tells(&["err: Error: argument \"-3\" is wrong: \"netnsid\" value should be >= 0"]);
        story.tells(&["err: Error: argument \"abc\" is wrong: Invalid \"netnsid\" value"]);
        story.tells(&["err: Cannot open network namespace \"nope\": No such file or directory"]);
        story.tells(&["err: Error: Peer netns reference is invalid."]);
    });
}

/// What iproute2's own tests have (`testsuite/tests/ip/netns/set_nsid_batch.t` and the commit that brought target-nsid).
const THREE: &str = "
        netns list-id; netns -j list-id; netns add rs-foo; netns add rs-bar
        netns set rs-foo 12; netns set rs-bar 13; netns -n rs-foo set rs-foo 22; netns -n rs-foo set rs-bar 23
        netns -n rs-bar set rs-foo 32; netns -n rs-bar set rs-bar 33";

#[test]
fn each_namespace_has_numbers_of_its_own() {
    let script = "
        netns list-id; netns -n rs-foo list-id; netns -n rs-bar list-id; netns list; netns -n rs-foo list
        netns list-id target-nsid 12; netns list-id target-nsid 0xd; netns list-id nsid 13; netns list-id target-nsid 12 nsid 13
        netns list-id nsid 13 target-nsid 12; netns -n rs-foo list-id target-nsid 23 nsid 22; netns set rs-new 1";
    twins(&[THREE, script].concat(), |story| {
        assert_eq!(story.statuses(), [[0; 21].as_slice(), &[1]].concat());
        story.tells(&[
            "out: nsid 12 (iproute2 netns name: rs-foo)",
            "out: nsid 13 (iproute2 netns name: rs-bar)",
        ]);
        story.tells(&["out: nsid 22 current-nsid 12 (iproute2 netns name: rs-foo)"]);
        story.tells(&["out: nsid 23 current-nsid 13 (iproute2 netns name: rs-bar)"]);
    });
}

#[test]
fn numbers_are_listed_as_json_too() {
    let script = "
        for format in -j '-j -p'; do
            netns $format list-id; netns $format list-id target-nsid 12; netns $format list-id nsid 13
            netns $format list-id target-nsid 12 nsid 13; netns $format -n rs-bar list
        done; netns -j list-id nsid 7";
    twins(&[THREE, script].concat(), |story| {
        assert_eq!(story.statuses(), [[0; 20].as_slice(), &[2]].concat());
        story.tells(&["out: [{\"nsid\":12,\"name\":\"rs-foo\"},{\"nsid\":13,\"name\":\"rs-bar\"}]"]);
        story.tells(&["out: [{\"nsid\":13,\"name\":\"rs-bar\"}]"]);
        story.tells(&["out: [{\"nsid\":23,\"current-nsid\":13,\"name\":\"rs-bar\"}]"]);
        story.tells(&["out: [ {", "out:         \"nsid\": 22,", "out:         \"current-nsid\": 12,"]);
    });
}

#[test]
fn a_number_that_nobody_has_is_not_found() {
    let script = "
        netns list-id nsid 7; netns list-id target-nsid 99; netns list-id nsid 12 target-nsid 99
        netns list-id nsid 7 target-nsid 12; netns add rs-new; netns set rs-new 14; netns list-id nsid 14 target-nsid 12
        netns -j list-id nsid 14 target-nsid 12; touch /run/netns/plain; netns list-id";
    twins(&[THREE, script].concat(), |story| {
        assert_eq!(story.statuses(), [[0; 10].as_slice(), &[2, 1, 2, 2, 0, 0, 0, 0, 0]].concat());
        story.tells(&[
            "err: Error: Peer netns reference is invalid.",
            "err: Error: Invalid target network namespace id.",
        ]);
        story.tells(&[
            "err: Dump terminated",
            "out: nsid unassigned current-nsid 14 (iproute2 netns name: rs-new)",
        ]);
    });
}

#[test]
fn words_of_list_id_make_sense_or_are_refused() {
    let script = "
        netns list-id nsid abc; netns list-id target-nsid abc; netns list-id nsid; netns list-id target-nsid
        netns list-id nsid 1 nsid 2; netns list-id target-nsid 1 target-nsid 2; netns list-id nsid 2147483648
        netns list-id bogus >$told/all; tail -n1 $told/all; netns list-id nsi 3 >$told/all; tail -n1 $told/all";
    twins(script, |story| {
        assert_eq!(story.statuses(), [255; 9]);
        story.tells(&["err: Error: argument \"abc\" is wrong: \"nsid\" value is invalid"]);
        story.tells(&["err: Command line is not complete. Try option \"help\""]);
        story.tells(&["err: Error: duplicate \"nsid\": \"nsid\" is the second value."]);
    });
}

#[test]
fn a_number_stays_without_its_name_and_goes_with_its_namespace() {
    let script = "
        netns add rs-a; netns set rs-a 9; inside rs-a; netns attach rs-b $process; netns list-id; netns del rs-b; netns list-id
        netns del rs-a; netns list-id; netns -j list-id; end
        timeout 20 sh -c \"while $TOOL list-id | grep -q 9; do :; done\" && netns list-id";
    twins(script, |story| {
        assert_eq!(story.statuses(), [0; 10]);
        story.tells(&[
            "out: nsid 9 (iproute2 netns name: rs-b)",
            "out: nsid 9 (iproute2 netns name: rs-a)",
            "out: nsid 9 ",
        ]);
        story.tells(&["out: [{\"nsid\":9}]"]);
    });
}

#[test]
fn a_namespace_may_have_a_number_for_itself() {
    let script =
        "netns attach rs-own $$; netns set rs-own 3; netns list; netns list-id; netns list-id target-nsid 3";
    twins(script, |story| {
        story.tells(&["out: nsid 3 current-nsid 3 (iproute2 netns name: rs-own)"]);
    });
}
