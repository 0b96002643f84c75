//! Where `netns` is right to differ from `ip netns` (docs/differences.md).

use super::twin::alone;

#[test]
fn a_list_without_a_folder_is_still_json() {
    alone("netns -j list; netns list; netns -j -p list", |story| {
        assert_eq!(story.0, ["out: []", "status: 0", "status: 0", "out: [ ]", "status: 0"]);
    });
}

#[test]
fn what_is_no_namespace_is_complained_about_once() {
    let script = "netns add rs-a; touch /run/netns/plain; $TOOL list 2>&1";
    alone(script, |story| {
        assert_eq!(story.0, ["status: 0", "Error: Peer netns reference is invalid.", "plain", "rs-a"]);
    });
}

#[test]
fn a_list_that_cannot_be_read_is_not_an_empty_one() {
    alone("touch /run/netns; netns list; netns -j list", |story| {
        assert_eq!(story.statuses(), [1, 1]);
        story.tells(&["err: Failed to open directory /run/netns: Not a directory"]);
    });
}

#[test]
fn control_characters_are_escaped_in_json() {
    alone(r#"netns add "$(printf 'a\001\033\177b')"; netns -j list"#, |story| {
        story.tells(&[r#"out: [{"name":"a\u0001\u001b\u007fb"}]"#]);
    });
}

#[test]
fn deleting_a_link_leaves_the_namespace_to_the_name_that_it_leads_to() {
    let script = "netns add rs-a; ln -s rs-a /run/netns/link; netns del link; mounts; netns exec rs-a true; netns list";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0; 4]);
        story.tells(&["mount: net /run/netns/rs-a shared nsfs", "out: rs-a"]);
    });
}

#[test]
fn the_longest_name_has_files_for_etc_as_well() {
    let script = "
        long=$(printf '%255s' '' | tr ' ' a); mount -t tmpfs etc /etc; echo outside >/etc/hosts
        mkdir -p /etc/netns/$long; echo inside >/etc/netns/$long/hosts; netns add $long; netns exec $long cat /etc/hosts";
    alone(script, |story| {
        story.tells(&["out: inside"]);
    });
}

#[test]
fn a_namespace_is_mounted_once_also_under_a_shared_run() {
    let script = "
        mount --make-shared /run; netns add rs-a; netns add rs-b; grep -c /run/netns/ /proc/self/mountinfo
        netns del rs-a; netns del rs-b; grep -c /run/netns/ /proc/self/mountinfo";
    alone(script, |story| {
        story.tells(&["2", "0"]);
    });
}

#[test]
fn help_is_a_page_and_makes_no_namespace() {
    let script = "
        netns --help; netns -h; netns -help; for c in list add delete exec; do netns $c --help; done; netns -V; netns help
        ls -A /run";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 0, 0, 0, 0, 0, 0, 255]);
        story.tells(&[
            "out: Examples:",
            "out: Usage: netns add NAME",
            "out: Usage: netns exec NAME PROGRAM [ARGUMENT...]",
        ]);
        assert_eq!(story.0.last().map(String::as_str), Some("status: 255"), "the folder was made");
    });
}

#[test]
fn a_list_that_cannot_be_written_is_a_failure() {
    alone("netns add rs-a; $TOOL list 2>&1 >/dev/full; echo \"status: $?\"", |story| {
        assert_eq!(story.0, ["status: 0", "write error: no storage space", "status: 1"]);
    });
}
