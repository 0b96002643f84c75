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
fn numbers_that_cannot_be_listed_are_no_empty_list() {
    alone("netns -j list-id target-nsid 99", |story| {
        assert_eq!(
            story.0,
            ["err: Error: Invalid target network namespace id.", "err: Dump terminated", "status: 1"]
        );
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
        netns --help; netns -h; netns -help; for c in list list-id add set delete identify pids exec monitor attach; do
            netns $c --help; done; netns -V; netns help
        ls -A /run";
    alone(script, |story| {
        assert_eq!(story.statuses(), [[0; 14].as_slice(), &[255]].concat());
        story.tells(&[
            "out: Examples:",
            "out: Usage: netns add [--with-loopback] NAME",
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

#[test]
fn a_failure_in_one_namespace_is_a_failure_of_all() {
    let script = "
        netns add rs-a; touch /run/netns/plain; netns add rs-b; netns -all exec false; netns -all exec nosuch
        netns -all exec echo here; netns -all exec sh -c '[ $(readlink /proc/self/ns/net | tr -dc 0-9) = 0 ]'";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 1, 1, 1]);
        assert_eq!(story.0.iter().filter(|line| *line == "out: here").count(), 2);
        story.tells(&[
            "out: netns: rs-b",
            "out: here",
            "out: ",
            "out: netns: plain",
            "out: ",
            "out: netns: rs-a",
            "out: here",
        ]);
        story.tells(&["err: setting the network namespace \"plain\" failed: Invalid argument", "status: 1"]);
    });
}

#[test]
fn one_name_that_cannot_be_deleted_does_not_keep_the_others() {
    let script = "netns add rs-a; mkdir /run/netns/folder; netns add rs-b; netns -all del; files; rmdir /run/netns/folder; netns -all del";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 0, 1, 0]);
        story
            .tells(&["err: Cannot remove namespace file \"/run/netns/folder\": Is a directory", "status: 1"]);
        assert!(!story.0.iter().any(|line| line.starts_with("file: /run/netns/rs-")), "{:#?}", story.0);
    });
}

#[test]
fn a_name_is_checked_wherever_it_is_used() {
    let script = "
        netns add rs-a; netns -all add ../rs-escape; netns -n ../netns/rs-a list; netns -n /run/netns/rs-a list; netns -n '' list
        netns -n; netns -all attach a/b $$; netns -all set . 3; netns -all pids ..; ls -A /run";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 255, 255, 255, 255, 255, 255, 255, 255]);
        story.tells(&[
            "err: Invalid netns name \"../rs-escape\"",
            "err: Invalid netns name \"../netns/rs-a\"",
        ]);
        story.tells(&["err: Option \"-n\" lacks its value, try \"netns -help\"."]);
        assert_eq!(story.0.last().map(String::as_str), Some("netns"));
    });
}

#[test]
fn a_negative_number_is_quoted_as_it_was_written() {
    let script = "netns list-id nsid -1; netns list-id target-nsid -1 nsid 3";
    alone(script, |story| {
        assert_eq!(story.statuses(), [255, 255]);
        story.tells(&["err: Error: argument \"-1\" is wrong: \"nsid\" value should be >= 0"]);
        story.tells(&["err: Error: argument \"-1\" is wrong: \"target-nsid\" value should be >= 0"]);
    });
}

#[test]
fn identify_gives_every_name_on_request() {
    let script = "
        netns attach rs-a $$; netns add rs-b; netns attach rs-c $$; netns identify; netns -all identify; netns del rs-a
        netns del rs-c; netns -all identify";
    alone(script, |story| {
        story.tells(&["out: rs-a", "status: 0", "out: rs-c", "out: rs-a", "status: 0", "out: ", "status: 0"]);
    });
}

#[test]
fn monitor_tells_a_pipe_at_once() {
    let script = "
        mkfifo $told/seen; $TOOL monitor >$told/seen & monitor=$!; exec 7<$told/seen
        until grep -qs ^inotify /proc/$monitor/fdinfo/*; do :; done
        netns add rs-a; read line <&7; echo \"seen: $line\"; netns del rs-a; read line <&7; echo \"seen: $line\"
        exec 7<&-; netns add rs-b; wait $monitor; echo \"status: $?\"";
    alone(script, |story| {
        story.tells(&["seen: add rs-a", "seen: delete rs-a"]);
        // As any program whose reader has gone.
        assert_eq!(story.statuses().last(), Some(&141));
    });
}

#[test]
fn a_batch_may_leave_out_the_word_that_ip_needs_and_goes_on_behind_a_bad_namespace() {
    let script = r#"
        printf '%s\n' 'add rs-a' 'e nope echo once' 'e rs-a echo once' 'a rs-b' >$told/batch; netns -fo -b $told/batch; netns list"#;
    alone(script, |story| {
        assert_eq!(story.statuses(), [1, 0]);
        assert_eq!(story.0.iter().filter(|line| *line == "out: once").count(), 1);
        story.tells(&["err: Command failed /var/lib/told/batch:2", "status: 1", "out: rs-b", "out: rs-a"]);
    });
}
