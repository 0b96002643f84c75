//! Job control: a terminal belongs to the program that `exec` has become.

use super::twin::{alone_with, twins_with};
use crate::lab::world::Need;

#[test]
fn exec_leaves_the_terminal_to_the_program() {
    let script = r#"
        netns add rs-a; mkfifo $told/keys $told/ready
        cat >$told/program <<'end'
        read -r _ _ _ _ group _ _ foreground _ </proc/self/stat
        [ $group = $foreground ] && echo foreground; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal
        trap 'echo interrupted; exit 7' INT; echo >/var/lib/told/ready; while :; do read line; echo "typed $line"; done
end
        script -qefc "env --default-signal=INT $TOOL exec rs-a sh $told/program" /dev/null <$told/keys >$told/seen & script=$!
        exec 8>$told/keys; read line <$told/ready; echo hello >&8; until grep -q typed $told/seen; do :; done
        printf '\003' >&8; wait $script; echo "status: $?"; tr -d '\r' <$told/seen | grep -v -e ^hello -e '\^C'"#;
    twins_with(&[Need::Program("script")], script, |story| {
        assert_eq!(story.statuses(), [0, 7]);
        story.tells(&["foreground", "terminal", "typed hello"]);
    });
}

#[test]
fn a_job_of_a_shell_can_be_stopped_and_called_back() {
    let script = r#"
        netns add rs-a
        cat >$told/program <<end
        set -m; $TOOL exec rs-a sh -c 'echo \$\$ >$told/pid; kill -STOP \$\$; echo back; exit 5'; echo "stopped \$((\$? > 128))"
        jobs -p >$told/jobs; cmp $told/jobs $told/pid && echo same process; fg >/dev/null; echo "status: \$?"
end
        script -qefc "sh $told/program" /dev/null </dev/null >$told/seen; tr -d '\r' <$told/seen | grep -v Stopped"#;
    twins_with(&[Need::Program("script")], script, |story| {
        story.tells(&["stopped 1", "same process", "back", "status: 5"]);
    });
}

/// The runner of `run` is in the foreground as well: it must neither end by the keys nor pass on what the program has got.
#[test]
fn an_interrupt_reaches_the_program_of_run_once() {
    let script = r#"
        mkfifo $told/keys $told/ready
        cat >$told/program <<'end'
        trap 'count=$((count + 1)); echo "interrupted $count"' INT; echo >/var/lib/told/ready
        while :; do read line; [ "$line" = end ] && exit 7; done
end
        script -qefc "env --default-signal=INT $TOOL run sh $told/program" /dev/null <$told/keys >$told/seen & script=$!
        exec 8>$told/keys; read line <$told/ready; for key in 1 2 3 4 5; do
            printf '\003' >&8; until grep -q "interrupted $key" $told/seen; do :; done
        done; echo end >&8; wait $script; echo "status: $?"; grep -c interrupted $told/seen; ls -A /run/netns /run/jackfield/runs"#;
    alone_with(&[Need::Program("script")], script, |story| {
        assert_eq!(story.0, ["status: 7", "5", "/run/jackfield/runs:", "", "/run/netns:"]);
    });
}
