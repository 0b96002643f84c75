//! What ours says beyond `ip netns`: who lives on, and what to do about a lack of privileges.

use super::twin::alone;

#[test]
fn delete_names_the_processes_that_are_still_there() {
    let script = "
        netns add rs-a; netns add rs-b; inside rs-a; netns del rs-b; netns attach rs-c $process; netns del rs-a 2>&1; cat $told/err
        netns -all del; sed \"s/\\b$process\\b/PROCESS/\" $told/err; end; netns attach rs-own $$; netns del rs-own";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0; 8]);
        let note = |name| {
            format!("the namespace of {name} lives on, as long as processes are in it: PROCESS (sleep)")
        };
        assert!(story.0.contains(&format!("Note: {}", note("rs-c"))), "{:#?}", story.0);
        let notes = story.0.iter().filter(|line| line.starts_with("err: Note: ")).count();
        assert_eq!(notes, 2, "{:#?}", story.0);
    });
}

#[test]
fn a_crowd_is_named_in_part_and_its_words_are_made_harmless() {
    let script = r#"
        netns add rs-a; mkfifo $told/ready $told/never; exec 8<>$told/ready
        for i in 1 2 3 4 5 6 7 8 9 10; do
            $TOOL exec rs-a sh -c "printf 'a\033b' >/proc/self/comm; echo >&8; read line <$told/never" & crowd="$crowd $!"
        done
        for i in 1 2 3 4 5 6 7 8 9 10; do read line <&8; done; netns del rs-a; kill $crowd; wait"#;
    alone(script, |story| {
        let note = story.0.iter().find(|line| line.starts_with("err: Note: ")).unwrap();
        assert_eq!(note.matches(r" (a\u{1b}b), ").count(), 8, "{note}");
        assert!(note.ends_with(", and 2 more"), "{note}");
    });
}

#[test]
fn who_may_not_is_told_how_he_could() {
    let script = "
        netns add rs-a; AS='unshare --user'; netns add rs-b; netns del rs-a; netns exec rs-a true; netns set rs-a 3
        AS='unshare --user --map-root-user'; netns add rs-c; AS='setpriv --bounding-set -sys_admin'; netns add rs-d; netns -n rs-a list
        AS=; netns add rs-a; netns exec nope true";
    alone(script, |story| {
        assert_eq!(story.statuses(), [0, 1, 1, 255, 2, 1, 1, 255, 1, 255]);
        let notes: Vec<_> = story.0.iter().filter_map(|line| line.strip_prefix("err: Note: ")).collect();
        assert_eq!(notes.len(), 7, "{:#?}", story.0);
        let user =
            "this needs root, so try it with sudo. In a world of one's own it works without: unshare -Urnm";
        assert!(notes[..4].iter().all(|note| note.starts_with(user)), "{notes:#?}");
        assert!(notes[4].starts_with("this is root of a user namespace"), "{notes:#?}");
        assert!(
            notes[5..].iter().all(|note| note.starts_with("this root lacks the capability")),
            "{notes:#?}"
        );
    });
}

#[test]
fn where_no_world_of_ones_own_is_to_be_had_that_is_said() {
    let script = "
        mkdir /run/netns
        printf 'echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps -all --inh-caps -all \"$@\"' >$told/limited
        AS=\"unshare --user --map-user=1000 --keep-caps sh $told/limited\"; netns add rs-a";
    alone(script, |story| {
        story.tells(&[
            "err: Note: this needs root, so try it with sudo. A world of one's own is not to be had: user.max_user_namespaces is 0, \
             which root can change.",
            "status: 1",
        ]);
    });
}
