//! The words: commands, options, names, and what they may not be.

use super::twin::twins;

#[test]
fn a_command_may_be_abbreviated_and_an_unknown_one_is_refused() {
    let script = "
        netns a rs-a; netns ad rs-b; netns l; netns ls; netns lst; netns s; netns show; netns li; netns
        netns e rs-a true; netns d rs-a; netns del rs-b; netns at rs-c 1; netns i; netns p rs-q; netns se; netns list-; netns list-i
        netns del rs-c
        netns bogus; netns ''; netns listen; netns bogus rs-a; netns -bogus list; netns -jsonx; netns --bogus";
    twins(script, |story| {
        let abbreviated = [[0; 14].as_slice(), &[1, 1, 0, 0, 0]].concat();
        assert_eq!(story.statuses(), [abbreviated.as_slice(), &[255; 7]].concat());
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
        netns -f inet list; netns -family inet6 list; netns -force list; netns -fo list; netns -a list; netns -al -j list
        netns list -j; netns list --json; netns -all list /";
    twins(script, |story| assert_eq!(story.statuses(), [0; 28]));
}

#[test]
fn a_word_that_cannot_name_a_file_is_refused_before_anything_happens() {
    let script = r#"
        long=$(printf '%255s' '' | tr ' ' a)
        for name in '' . .. a/b /a a/ ${long}a ../rs-a; do netns add "$name"; netns bogus "$name"; done
        netns list .; netns exec / true; netns del ..; netns help /; netns identify /; netns monitor ..; netns pids a/b
        netns set . 3; netns attach .. 1; netns list-id ''; ls -A /run"#;
    twins(script, |story| {
        assert_eq!(story.statuses(), [255; 26]);
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
        netns add; netns del; netns exec; netns exec n2; netns exec nope; netns pids; netns set; netns set n2; netns attach
        netns attach x; netns pids n2 x; netns identify 1 2; netns set n2 5 6; netns attach x 1 y; netns -all exec; files";
    twins(script, |story| {
        assert_eq!(story.statuses(), [[0; 5].as_slice(), &[1; 12], &[0, 0, 1]].concat());
        story.tells(&["err: No netns name specified", "err: No command specified", "err: No nsid specified"]);
        story.tells(&["err: No netns name and PID specified", "err: extra arguments specified"]);
    });
}
