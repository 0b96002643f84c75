//! Twin worlds: the same lines with `ip netns` in one and with `netns` in the other must tell the same story.

use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::world::Need;
use std::process::Output;

/// What every script finds: a fresh /run, and
/// - `netns …`, which tells standard output, complaints and exit status of the tool in question;
/// - `$TOOL`, the words that run it, for use inside other commands, and `$AS`, words to run it under;
/// - `inside NAME`, which starts a process in a namespace: `$process`, told as PROCESS, until `end`, without which the story would not end;
/// - `mounts`, `files`: what the tool has left there. Numbers that differ by chance are taken out, and what
///   is mounted twice counts once, because `ip netns` before 7.0 mounts twice under a shared /run.
///
/// The same complaint several times counts once: `ip netns list` makes some of them twice.
const PRELUDE: &str = r#"
told=/var/lib/told; rm -rf $told; mkdir $told; touch $told/netns; mount --bind "$PROGRAM" $told/netns
case $TWIN in ip) TOOL='ip netns' ;; netns) TOOL=$told/netns ;; esac
mount -t tmpfs -o mode=755 run /run
mask='s/^/out: /'
netns() {
    if [ "$TWIN" = ip ]; then
        options=; while :; do case "$1" in
            -n|-netns|--netns|-b|-batch|-f|-family) options="$options $1 $2"; shift 2 ;;
            -*) options="$options $1"; shift ;;
            *) break ;;
        esac; done
        $AS ip $options netns "$@" >$told/out 2>$told/err
    else
        $AS $TOOL "$@" >$told/out 2>$told/err
    fi
    status=$?
    sed "$mask" $told/out; uniq $told/err | sed 's/^/err: /'; echo "status: $status"
}
inside() {
    rm -f $told/in; mkfifo $told/in
    $TOOL exec $1 sh -c "echo >$told/in; exec sleep 1000" & process=$!
    read line <$told/in; mask="s/^/out: /; s/\\b$process\\b/PROCESS/g"
}
end() { { kill $process; wait $process; } 2>/dev/null || true; }
mounts() {
    sed -n 's/^[0-9]* [0-9]* [0-9]*:[0-9]* \([^ ]*\) \(\/run\/[^ ]*\) [^ ]* \([a-z_]*\):*[0-9]*.* - \([a-z0-9]*\) .*/mount: \1 \2 \3 \4/p' \
        /proc/self/mountinfo | sed 's/net:\[[0-9]*\]/net/' | sort -u
}
files() { stat -c 'file: %n %a %F' /run/netns /run/netns/* 2>/dev/null || true; }
"#;

/// What one twin told.
pub(super) struct Story(pub(super) Vec<String>);

impl Story {
    /// The exit statuses, in order.
    pub(super) fn statuses(&self) -> Vec<i32> {
        let statuses = self.0.iter().filter_map(|line| line.strip_prefix("status: "));
        statuses.map(|status| status.parse().expect("a number")).collect()
    }

    /// Asserts that these lines were told, in this order, perhaps among others.
    pub(super) fn tells(&self, lines: &[&str]) -> &Story {
        let mut told = self.0.iter();
        for line in lines {
            assert!(told.any(|other| other == line), "not told, or not in order: {line}\n{:#?}", self.0);
        }
        self
    }
}

/// Runs the lines in both worlds, asserts that they tell the same, and hands it on for a closer look.
pub(super) fn twins(script: &str, look: impl FnOnce(&Story)) {
    twins_with(&[], script, look);
}

/// The same in a world that offers something more.
pub(super) fn twins_with(needs: &[Need], script: &str, look: impl FnOnce(&Story)) {
    lab_with(needs, |host| {
        let (mut ours, theirs) = (tell(host, "netns", script), tell(host, "ip", script));
        // What ours says beyond `ip netns`, and never on standard output.
        ours.0.retain(|line| !line.starts_with("err: Note: ") && !line.starts_with("Note: "));
        assert!(
            ours.0 == theirs.0,
            "netns:\n  {}\nip netns:\n  {}",
            ours.0.join("\n  "),
            theirs.0.join("\n  ")
        );
        look(&ours);
    });
}

/// Runs the lines with our program alone: for what `ip netns` does otherwise, or not at all.
pub(super) fn alone(script: &str, look: impl FnOnce(&Story)) {
    alone_with(&[], script, look);
}

/// The same in a world that offers something more.
pub(super) fn alone_with(needs: &[Need], script: &str, look: impl FnOnce(&Story)) {
    lab_with(needs, |host| look(&tell(host, "netns", script)));
}

fn tell(host: &Host, twin: &str, script: &str) -> Story {
    let mut world = host.command("unshare");
    world
        .args(["--net", "--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{PRELUDE}{script}\n:"));
    world.env("TWIN", twin).env("PROGRAM", host.program("netns"));
    let Output { status, stdout, stderr } = world.output().expect("unshare(1)");
    assert!(status.success() && stderr.is_empty(), "{twin}: {status}: {}", String::from_utf8_lossy(&stderr));
    let story = String::from_utf8_lossy(&stdout).into_owned();
    // The program's own name is the one word that may differ.
    let story = story
        .replace("try \"ip netns help\"", "try \"netns help\"")
        .replace("try \"ip -help\"", "try \"netns -help\"")
        // A blank that iproute2 forgets.
        .replace("directory /run/netns:Not", "directory /run/netns: Not");
    Story(story.lines().map(String::from).collect())
}
