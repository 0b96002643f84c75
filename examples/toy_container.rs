//! A container in one file: what a runtime asks of Linux, and nothing else.
//!
//! ```text
//! cargo build --release --bins --example toy_container
//! sudo target/release/examples/toy_container conf target/release sh
//! unshare --map-root-user --net --mount sh -c 'mount -t tmpfs run /run; mount -t tmpfs lib /var/lib
//!     exec target/release/examples/toy_container --user conf target/release sh'    # without root
//! ```
//!
//! Linux knows no containers. It has namespaces (what a process sees), cgroups (how much it may use) and a folder that a
//! process takes for `/`. A runtime puts them together; here that takes three processes, all of them this program, which
//! starts itself again:
//!
//! 1. [`runtime`] stays outside: limits, ids of users, network, and in the end the removal of everything;
//! 2. [`namespaces`] leaves the host's namespaces, and waits until the runtime has furnished the new ones;
//! 3. [`init`] is process 1 in there: it makes the file system, starts the command and waits for its end.
//!
//! Whoever kills the runtime by KILL ends the container too, but its lease and its cgroup stay.
//!
//! Nobody is locked up by this: a runtime for strangers also takes capabilities away and filters system calls.
#![allow(clippy::print_stderr, reason = "this is a program for people")]
#![allow(clippy::disallowed_methods, reason = "it shows what linux::netns keeps out of sight")]

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::SystemTime;

use cni::conflist::list::List;
use cni::conflist::{OnFailure, Request, Runtime, folder};
use linux::netns::NetNs;
use nix::errno::Errno;
use nix::libc::SI_KERNEL;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, wait, waitid};
use nix::unistd::{
    Gid, Pid, Uid, getegid, geteuid, pivot_root, setgroups, sethostname, setresgid, setresuid,
};

const USAGE: &str = "usage: toy_container [--user] [--memory 128M] [--pids 64] [--cpu PERCENT]
                     [--network NAME] FOLDER_OF_CONFLISTS FOLDER_OF_PLUGINS [PROGRAM [ARGUMENT ...]]";
/// This program, wherever it lies, even where its new user may not look.
const MYSELF: &str = "/proc/self/exe";
/// What the second and the third process are told first.
const STAGES: [&str; 2] = ["[namespaces]", "[init]"];
/// The exit status of a runtime that cannot do its own part, as Docker has it. Any other one is the command's.
const FAILED: u8 = 125;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let stage = STAGES.iter().position(|stage| words.first().is_some_and(|first| first == stage));
    if stage.is_some() {
        words.remove(0);
    }
    let done = Order::read(words).and_then(|order| match stage {
        None => runtime(&order),
        Some(0) => namespaces(&order),
        Some(_) => init(&order),
    });
    let status = done.unwrap_or_else(|error| {
        let chain =
            std::iter::successors(Some(&*error as &dyn Error), |error: &&dyn Error| (*error).source());
        say(&chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        FAILED
    });
    ExitCode::from(status)
}

fn say(what: &str) {
    eprintln!("toy_container: {what}");
}

/// Puts in front of an error what was being done.
fn doing<T, E: Into<Box<dyn Error>>>(what: &str, done: Result<T, E>) -> Outcome<T> {
    done.map_err(|error| format!("{what}: {}", error.into()).into())
}

// --- the first process: outside ----------------------------------------------------------------------------------

fn runtime(order: &Order) -> Outcome<u8> {
    // From here on signals wait until somebody looks, so that none of them leaves anything half done.
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
    let signals = SigSet::from_iter(ends);
    signals.thread_block()?;
    // And whoever in the container loses its parent becomes our child: we are done when we have none.
    set_child_subreaper(true)?;

    let network = folder::find(&order.networks, &order.network)?.list;
    let id = format!("toy-{:x}", SystemTime::UNIX_EPOCH.elapsed()?.as_nanos());
    let group = Group::make(&id, order);
    let mut second =
        doing("start myself again", Command::new(MYSELF).arg(STAGES[0]).args(&order.words).spawn())?;
    let ended = furnish(&second, order, group.as_ref()).and_then(|netns| {
        with_network(order, &network, &id, &netns, || watch(&mut second, &SignalFd::new(&signals)?))
    });
    // However it ended: nobody is in there any more when the cgroup is removed.
    let _ = second.kill();
    let _ = second.wait();
    while wait() != Err(Errno::ECHILD) {}
    ended
}

/// Gives the second process, once it has made its namespaces, what it cannot give itself.
fn furnish(second: &Child, order: &Order, group: Option<&Group>) -> Outcome<NetNs> {
    // It stops itself when it is ready. WNOWAIT: if it has ended instead, that is looked at later.
    let pid = Pid::from_raw(second.id().cast_signed());
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    if !matches!(waitid(Id::Pid(pid), flags)?, WaitStatus::Stopped(..)) {
        return Err("there is no container without namespaces".into());
    }
    if order.user {
        map_ids(&format!("/proc/{pid}"))?;
    }
    if let Some(group) = group {
        doing(
            "put the container into its cgroup",
            fs::write(group.folder.join("cgroup.procs"), pid.to_string()),
        )?;
    }
    // This open file keeps the network namespace until DEL has been there.
    Ok(NetNs::open(Path::new(&format!("/proc/{pid}/ns/net")))?)
}

/// Says whom on the host the users of the new user namespace are; user_namespaces(7).
fn map_ids(process: &str) -> Outcome<()> {
    let map = |file: &str, line: String| doing(file, fs::write(format!("{process}/{file}"), line));
    // Root gives it ids that nobody on the host has. Who is not root has only himself to give, and may not change groups.
    let foreign = "0 100000 65536";
    if map("uid_map", foreign.into()).and_then(|()| map("gid_map", foreign.into())).is_ok() {
        say("its users 0 to 65535 are 100000 to 165535 out here");
        return Ok(());
    }
    map("setgroups", "deny".into())?;
    map("uid_map", format!("0 {} 1", geteuid()))?;
    map("gid_map", format!("0 {} 1", getegid()))?;
    say(&format!("its root is user {} out here, and it has no other user", geteuid()));
    Ok(())
}

/// Attaches the container to the network, does something, and detaches it, whatever came of it.
fn with_network(
    order: &Order,
    network: &List,
    id: &str,
    netns: &NetNs,
    live: impl FnOnce() -> Outcome<u8>,
) -> Outcome<u8> {
    let inside = netns.rtnl()?;
    let lo = inside.link_by_name("lo")?.ok_or("a network namespace without lo")?;
    inside.set_up(lo.index)?;
    // Plugins run out here, and reach in by our open file.
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
    let (plugins, request) =
        (Runtime::new(vec![order.plugins.clone()]), Request::new(id.parse()?, "eth0".parse()?, path));
    let result: serde_json::Value =
        serde_json::from_str(plugins.add(network, &request, OnFailure::Delete)?.get())?;
    let ips = result.get("ips").and_then(|ips| ips.as_array()).into_iter().flatten();
    let addresses = ips.filter_map(|ip| ip.get("address")?.as_str());
    say(&format!("network {}: eth0 {}", order.network, addresses.collect::<Vec<_>>().join(" ")));
    let ended = live();
    plugins.del(network, &request)?;
    ended
}

/// Lets the container go on, and waits for its end, or for a signal that wants it.
fn watch(second: &mut Child, signals: &SignalFd) -> Outcome<u8> {
    let pid = Pid::from_raw(second.id().cast_signed());
    kill(pid, Signal::SIGCONT)?;
    loop {
        if let Some(ended) = second.try_wait()? {
            return Ok(status(ended));
        }
        let Some(signal) = signals.read_signal()? else { continue };
        let number = signal.ssi_signo.cast_signed();
        // What a terminal sends for Ctrl-C it sends to the command too, which answers it as it likes.
        let from_terminal = signal.ssi_code == SI_KERNEL;
        if number != Signal::SIGCHLD as i32 && !from_terminal {
            say(&format!("{}: the container ends here", Signal::try_from(number)?));
            return Ok(128 + u8::try_from(number)?);
        }
    }
}

/// What a shell would say of it.
fn status(ended: ExitStatus) -> u8 {
    let signal = ended.signal().map(|number| 128 + number);
    ended.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// A cgroup of the second version: a folder, and what its processes together may use. It is removed with this value.
struct Group {
    folder: PathBuf,
}

impl Group {
    /// None where this machine has none to give: then the container goes without limits.
    fn make(id: &str, order: &Order) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let Some(top) =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4))
        else {
            say("no limits: no cgroup of version 2 is mounted");
            return None;
        };
        let folder = Path::new(top).join(id);
        if let Err(error) = fs::create_dir(&folder) {
            say(&format!("no limits: make {}: {error}", folder.display()));
            return None;
        }
        for (controller, file, limit) in &order.limits {
            // A controller works in a folder when the one above passes it on. That stays: others may need it by now.
            let on = fs::write(Path::new(top).join("cgroup.subtree_control"), format!("+{controller}"));
            match on.and_then(|()| fs::write(folder.join(file), limit)) {
                Ok(()) => say(&format!("{file} is {limit}")),
                Err(error) => say(&format!("no limit of {controller} by cgroup version 2 here: {error}")),
            }
        }
        Some(Group { folder })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            say(&format!("remove {}: {error}", self.folder.display()));
        }
    }
}

// --- the second process: between ---------------------------------------------------------------------------------

fn namespaces(order: &Order) -> Outcome<u8> {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).thread_block()?;
    let mut new = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    new |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    if order.user {
        // The other namespaces belong to this one, so its root may do anything to them, and nothing to the host's.
        new |= CloneFlags::CLONE_NEWUSER;
    }
    doing(
        "leave the host's namespaces (this needs root, or see the first lines of this example)",
        unshare(new),
    )?;
    set_pdeathsig(Signal::SIGKILL)?;
    // The runtime sees this, does its part, and lets us go on.
    raise(Signal::SIGSTOP)?;
    if order.user {
        // Until now we have been a user who does not exist in here. Where groups are denied there are none to give up.
        let _ = setgroups(&[]);
        let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
        doing("become root of the container", setresgid(group, group, group))?;
        doing("become root of the container", setresuid(user, user, user))?;
        set_pdeathsig(Signal::SIGKILL)?; // forgotten with the old user
    }
    // A process never changes its number, so a new PID namespace is for children: the next one is its process 1.
    Ok(status(doing("start myself again", Command::new(MYSELF).arg(STAGES[1]).args(&order.words).status())?))
}

// --- the third process: inside -----------------------------------------------------------------------------------

fn init(order: &Order) -> Outcome<u8> {
    set_pdeathsig(Signal::SIGKILL)?;
    // What the runtime keeps waiting the command is to get. Process 1 itself gets nothing that it has not asked for.
    SigSet::all().thread_unblock()?;
    // The cgroup that we are in by now becomes the top of what can be seen.
    doing("make a cgroup namespace", unshare(CloneFlags::CLONE_NEWCGROUP))?;
    doing("set the host's name", sethostname("toy"))?;
    make_root()?;
    let alone = "run busybox in there (it must be the static one; Debian: busybox-static)";
    doing(alone, Command::new("/bin/busybox").args(["--install", "-s", "/bin"]).status())?;

    let (program, arguments) = order.command.split_first().ok_or(USAGE)?;
    let mut command = Command::new(program);
    let started = command.args(arguments).env_clear().env("PATH", "/bin").env("HOME", "/root").spawn();
    let child = match started {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => {
            say(&format!("run {}: {error}", program.display()));
            return Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    // Process 1 inherits every process whose parent has ended, and has to wait for it, or it stays as a zombie. When
    // process 1 ends the kernel kills all others.
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(u8::try_from(code)?),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128 + u8::try_from(signal as i32)?);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return doing("wait for the command", Err(error)),
        }
    }
}

/// A file system of its own: in memory, seen by nobody else, and gone with the last process in here.
fn make_root() -> Outcome<()> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(fs::read).into_iter().find_map(Result::ok);
    let busybox = busybox.ok_or("no /bin/busybox to fill the container with (Debian: busybox-static)")?;
    let attach = |what: &str, on: &str, kind: Option<&str>, flags: MsFlags, options: Option<&str>| {
        doing(&format!("mount {what}"), mount(Some(what), on, kind, flags, options))
    };
    // The new namespace began as a copy of the host's mounts that follow theirs, and they ours: no longer.
    attach("none", "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    attach("root", "/tmp", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=64m"))?;
    std::env::set_current_dir("/tmp")?;
    for folder in ["bin", "dev", "etc", "proc", "root", "sys/fs/cgroup", "tmp"] {
        fs::create_dir_all(folder)?;
    }
    fs::write("bin/busybox", busybox)?;
    fs::set_permissions("bin/busybox", fs::Permissions::from_mode(0o755))?;
    // Not even root of a user namespace may make devices, but a mount shows those of the host.
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(format!("dev/{device}"), "")?;
        attach(&format!("/dev/{device}"), &format!("dev/{device}"), None, MsFlags::MS_BIND, None)?;
    }
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // It shows the processes of whoever mounts it: ours. The second one is for looking at the limits, if there are any.
    attach("proc", "proc", Some("proc"), harmless, None)?;
    let _ = attach("cgroup2", "sys/fs/cgroup", Some("cgroup2"), harmless | MsFlags::MS_RDONLY, None);
    // `/` and this folder change places: the host's lies on top of ours for a moment, and is taken away. chroot(2)
    // would leave the host's files where they are, one `..` away for whoever is root.
    doing("change the root", pivot_root(".", "."))?;
    doing("take the host's files out of sight", umount2(".", MntFlags::MNT_DETACH))?;
    Ok(std::env::set_current_dir("/")?)
}

// --- what is wanted ----------------------------------------------------------------------------------------------

/// The command line, as each of the three processes reads it.
struct Order {
    words: Vec<OsString>,
    user: bool,
    network: String,
    networks: PathBuf,
    plugins: PathBuf,
    command: Vec<OsString>,
    /// Controller, file and what to write there.
    limits: [(&'static str, &'static str, String); 3],
}

impl Order {
    fn read(words: Vec<OsString>) -> Outcome<Order> {
        let (mut memory, mut pids, mut cpu) = ("128M".to_owned(), 64, 50);
        let (mut user, mut network) = (false, "jackfield".to_owned());
        let mut rest = words.iter().cloned().peekable();
        while let Some(option) = rest.next_if(|word| word.as_encoded_bytes().starts_with(b"--")) {
            if option == "--user" {
                user = true;
                continue;
            }
            let option = option.display().to_string();
            let value = rest.next().unwrap_or_default().display().to_string();
            let refused = || format!("{option} {value}: no such option, or not its value\n{USAGE}");
            let number =
                |digits: &str| digits.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(refused);
            match option.as_str() {
                "--memory" => {
                    number(value.trim_end_matches(['K', 'M', 'G'])).map(|_| memory.clone_from(&value))?
                }
                "--pids" => pids = number(&value)?,
                "--cpu" => cpu = number(&value)?,
                "--network" => network = value,
                _ => return Err(refused().into()),
            }
        }
        let (Some(networks), Some(plugins)) = (rest.next(), rest.next()) else { return Err(USAGE.into()) };
        let mut command: Vec<OsString> = rest.collect();
        if command.is_empty() {
            command.push("sh".into());
        }
        let limits = [
            ("memory", "memory.max", memory),
            ("pids", "pids.max", pids.to_string()),
            // Microseconds of one processor in each tenth of a second.
            ("cpu", "cpu.max", format!("{} 100000", u64::from(cpu) * 1000)),
        ];
        let (networks, plugins) = (networks.into(), plugins.into());
        Ok(Order { words, user, network, networks, plugins, command, limits })
    }
}
