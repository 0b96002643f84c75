//! Making the world: this test starts itself again inside fresh namespaces.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::differences;
use super::echo;
use super::host::Host;

/// Set in the copy of the test that runs inside, to the number of the world: a test may make several, and each
/// copy runs the part that is meant for it.
const INSIDE: &str = "JACKFIELD_LAB_INSIDE";

/// Set in the copy that is held to our answers, whoever is under test.
const STRICT: &str = "JACKFIELD_STRICT";

/// A test that takes longer hangs, unless `JACKFIELD_LONGEST` gives it more. A second kernel under emulation is ten times
/// slower.
const LONGEST_SECONDS: &str = "300";

/// A stranger who hangs where ours answer is asked again, by their own measure.
const STRANGER_SECONDS: &str = "60";

/// Prepares the fresh namespaces and runs the test. `$@` is the test binary with its arguments. The shell stays: process 1
/// of a machine waits for whatever is left to it, and a program of ours behaves otherwise if its caller is process 1.
const PREPARE: &str = "set -e
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 lib /var/lib
mkdir -p /run/netns /run/lab
ip link set lo up
\"$@\"
exit";

/// What a world may lack.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root outside any user namespace.
    RealRoot,
    /// Our own programs: the reference cannot do this at all. The word is a key of the table of differences.
    Ours(&'static str),
    /// A kernel at least this new.
    Kernel(u32, u32),
    /// The tables of iptables-legacy, which some kernels keep from user namespaces and others no longer have.
    IptablesLegacy,
    /// A program that the lab itself can do without, such as a container runtime.
    Program(&'static str),
    /// Programs that need no loader, such as `make` builds: of those that have one the beginning is the loader's.
    Static,
    /// A kernel that can do this.
    Has(Feature),
    /// A kernel that cannot.
    Lacks(Feature),
}

/// What a kernel may be built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Bridges that tell VLANs apart.
    BridgeVlans,
    /// Links that add and take away the tag of one VLAN (802.1q).
    TaggedLinks,
    /// SCTP.
    Associations,
}

impl Feature {
    /// Whether this kernel has it: tried once in each run.
    fn is_here(self) -> bool {
        static TRIED: [OnceLock<bool>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let works =
            |script| nowhere().args(["sh", "-c", script]).output().expect("unshare(1)").status.success();
        match self {
            Feature::BridgeVlans => {
                *TRIED[0].get_or_init(|| works("ip link add dev br0 type bridge vlan_filtering 1"))
            }
            Feature::TaggedLinks => *TRIED[1].get_or_init(|| {
                works(
                    "ip link add dev up0 type veth && ip link set dev up0 up && \
                     ip link add link up0 name tag0 type vlan id 5",
                )
            }),
            Feature::Associations => {
                *TRIED[2].get_or_init(|| echo::association(([127, 0, 0, 1], 0).into()).is_ok())
            }
        }
    }
}

impl Need {
    /// Why this world does not offer it, if it does not.
    fn missing(self) -> Option<String> {
        match self {
            Need::RealRoot if is_root_lab() => None,
            Need::RealRoot => Some("needs real root (JACKFIELD_LAB=root)".into()),
            Need::Ours(_) if reference().is_none() => None,
            Need::Ours(key) => Some(format!("only ours are asked for it: {}", differences::of(key).theirs)),
            Need::Kernel(major, minor) if kernel() >= (major, minor) => None,
            Need::Kernel(major, minor) => Some(format!("needs Linux {major}.{minor}")),
            Need::IptablesLegacy => no_iptables_legacy(),
            Need::Program(name) if is_installed(name) => None,
            Need::Program(name) => Some(format!("needs {name}, which is not installed here")),
            Need::Static if cfg!(target_env = "musl") => None,
            Need::Static => Some("needs static programs (make test has them)".into()),
            Need::Has(feature) if feature.is_here() => None,
            Need::Has(feature) => {
                // The second kernel is there for what this one may lack.
                assert!(variable("JACKFIELD_GUEST").is_none(), "the guest's kernel has no {feature:?}");
                Some(format!("needs a kernel with {feature:?} (make test-guest has one)"))
            }
            Need::Lacks(feature) if !feature.is_here() => None,
            Need::Lacks(feature) => Some(format!("needs a kernel without {feature:?}")),
        }
    }
}

/// Runs `test` inside; called outside, starts the copy that does.
pub fn enter(needs: &[Need], test: impl FnOnce(&Host)) {
    thread_local! { static WORLDS: Cell<u32> = const { Cell::new(0) } }
    let world = WORLDS.replace(WORLDS.get() + 1).to_string();
    match variable(INSIDE) {
        Some(meant) if *meant == *world => return test(&Host::here()),
        Some(_) => return,
        None => {}
    }
    let name = std::thread::current().name().expect("libtest names the thread of a test").to_owned();
    match needs.iter().find_map(|need| need.missing()) {
        Some(reason) => skip(&name, &reason),
        None => start_again(&name, &world),
    }
}

/// For a program that is to run in a network namespace such as a test's, and leave nothing.
fn nowhere() -> Command {
    let mut unshare = Command::new("unshare");
    if !is_root_lab() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.arg("--net").env("PATH", super::call::PATH);
    unshare
}

/// What iptables-legacy says of a namespace such as a test's, where it cannot work there.
fn no_iptables_legacy() -> Option<String> {
    let mut iptables = nowhere();
    iptables.args(["iptables-legacy", "-t", "nat", "-S"]);
    // A world has a /run of its own; here nobody may write to it.
    let output = iptables.env("XTABLES_LOCKFILE", "/dev/null").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("needs iptables-legacy: {}", said.lines().next().unwrap_or_default()))
        }
        Err(error) => Some(format!("needs iptables-legacy: {error}")),
    }
}

/// Whether a program is on the search path of every world.
fn is_installed(program: &str) -> bool {
    super::call::PATH.split(':').any(|folder| Path::new(folder).join(program).exists())
}

/// The folder of the Go plugins, if they are to be tested.
pub fn reference() -> Option<OsString> {
    variable("CNI_REFERENCE").filter(|folder| !folder.is_empty())
}

/// Whether the tests expect what the Go plugins answer, where that differs from what ours do.
pub fn expects_theirs() -> bool {
    reference().is_some() && variable(STRICT).is_none()
}

/// Whether this run judges strangers: each test is held to our answers first, and to theirs only where it fails.
fn is_judging() -> bool {
    variable("JACKFIELD_JUDGE").is_some()
}

/// Whether this run uses real root.
pub fn is_root_lab() -> bool {
    variable("JACKFIELD_LAB").is_some_and(|kind| kind == "root")
}

/// The running kernel's version.
pub fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release.split('.').map(|part| part.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Reads a variable of the run. The only place in the suite that does.
#[allow(clippy::disallowed_methods, reason = "the suite is told by its environment which world to make")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn start_again(test: &str, world: &str) {
    let strict = || copy(test, world, STRANGER_SECONDS.as_ref()).env(STRICT, "1").output();
    if is_judging() && strict().is_ok_and(|output| has_passed(&output)) {
        return;
    }
    let longest = variable("JACKFIELD_LONGEST").unwrap_or_else(|| LONGEST_SECONDS.into());
    let output = copy(test, world, &longest).output().expect("timeout(1) and unshare(1)");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(has_passed(&output), "in its own world ({}):\n{said}\n{complained}", output.status);
    if is_judging() {
        let taken: BTreeSet<_> =
            said.lines().filter_map(|line| Some(line.split_once(differences::TAKEN)?.1)).collect();
        let keys: Vec<_> = taken.into_iter().collect();
        let _ = writeln!(std::io::stderr(), "differs: {test}: {}", keys.join(" "));
    }
}

fn has_passed(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

/// The command that runs this test in a world of its own.
fn copy(test: &str, world: &str, longest: &OsStr) -> Command {
    let mut unshare = Command::new("timeout");
    unshare.args(["-s", "KILL"]).arg(longest).arg("unshare");
    if !is_root_lab() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["sh", "-c", PREPARE, "sh"]).arg(std::env::current_exe().expect("the path of this test"));
    unshare.args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"]);
    if variable("JACKFIELD_ALOUD").is_some() {
        unshare.stderr(Stdio::inherit());
    }
    unshare.env(INSIDE, world).env("PATH", super::call::PATH);
    unshare
}

/// Says that a test did not run, and why. libtest has no word for it, and captures only `print!`.
pub fn skip(test: &str, reason: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(variable("JACKFIELD_NO_SKIPS").is_none(), "must not be skipped in this run: {reason}");
    let _ = writeln!(std::io::stderr(), "skipped ({number}): {test}: {reason}");
}
