//! A small tracer (ptrace(2)): it follows a program with all its threads and children, counts their system calls, and at one
//! of them kills who makes it, or everybody, or has the kernel refuse it.
//!
//! A system call is named by the task that makes it, its kind and its number among those of that kind and task. So the name
//! does not depend on who of several tasks was quicker, nor on whether there was something to wait for: `1` is the program's
//! main thread, `1.2` the second task that this one has started.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::machine;
use crate::lab::call::Call;
use crate::lab::outcome::Outcome;

/// A shell that waits to be traced before it becomes the program.
const BEGIN: &[&str] = &["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"];

/// The name of a system call of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The task: the path of births from the main thread on.
    pub task: Vec<usize>,
    /// Counted from 1 among those of its kind, over all programs that the task has been.
    pub number: usize,
    /// The kernel's number of its kind.
    pub call: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1")?;
        self.task.iter().try_for_each(|child| write!(f, ".{child}"))?;
        write!(f, " {}", self.number)
    }
}

/// A system call of a run that was recorded.
#[derive(Clone, Debug)]
pub struct Asked {
    pub point: Point,
    /// The program that the process was then.
    pub program: String,
    /// The first argument: often a descriptor.
    pub first: u64,
    /// Whether it is the main thread of its process.
    pub is_main: bool,
    /// Whether others are still running, who survive if only the process that asks is killed.
    pub has_company: bool,
}

/// What to do at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Kill the process that makes it, before it is done.
    KillOne,
    /// Kill that process and all others of the run.
    KillAll,
    /// Answer so, without doing it.
    Refuse(Errno),
}

/// What became of a run. No task of it is left.
#[derive(Debug)]
pub struct Run {
    pub outcome: Outcome,
    /// Whether the system call was reached.
    pub reached: bool,
    /// All system calls, if they were recorded.
    pub asked: Vec<Asked>,
}

/// From now on what this thread starts stays on its processor: a tracer and its tasks take turns, and turns between
/// processors take three times as long.
pub fn stay_on_one_processor(number: usize) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut one = CpuSet::new();
    one.set(number % processors).expect("a processor");
    // Where it may not choose it is slower.
    let _ = sched_setaffinity(Pid::from_raw(0), &one);
}

/// Makes the call, and waits for all that it started.
pub fn follow(call: &Call) -> Run {
    Tracer::new(None, false).run(call)
}

/// The same, and tells which system calls there were.
pub fn record(call: &Call) -> Run {
    Tracer::new(None, true).run(call)
}

/// The same, with this done at one of them.
pub fn at(call: &Call, point: &Point, deed: Deed) -> Run {
    Tracer::new(Some((point.clone(), deed)), false).run(call)
}

/// A thread or a process of the run.
#[derive(Debug)]
struct Task {
    path: Vec<usize>,
    program: String,
    children: usize,
    /// How many system calls it has begun, of each kind.
    counts: BTreeMap<u64, usize>,
    /// Whether it is between the beginning and the end of one.
    inside: bool,
    is_main: bool,
}

struct Tracer {
    aim: Option<(Point, Deed)>,
    records: bool,
    root: Pid,
    tasks: BTreeMap<Pid, Task>,
    /// Newborn tasks that were heard of before their parents told.
    early: Vec<Pid>,
    /// The task whose call is refused.
    refused: Option<Pid>,
    /// Nothing but births is of interest: before the program has begun, and after the deed.
    coasts: bool,
    /// Everybody is to die.
    ends: bool,
    status: Option<ExitStatus>,
    reached: bool,
    asked: Vec<Asked>,
}

impl Tracer {
    fn new(aim: Option<(Point, Deed)>, records: bool) -> Tracer {
        Tracer {
            aim,
            records,
            root: Pid::from_raw(0),
            tasks: BTreeMap::new(),
            early: Vec::new(),
            refused: None,
            coasts: true,
            ends: false,
            status: None,
            reached: false,
            asked: Vec::new(),
        }
    }

    fn run(mut self, call: &Call) -> Run {
        let running = call.clone().under(BEGIN).start();
        self.root = Pid::from_raw(i32::try_from(running.pid()).expect("a process id"));
        let stopped = waitpid(self.root, Some(WaitPidFlag::WUNTRACED)).expect("the shell");
        assert_eq!(stopped, WaitStatus::Stopped(self.root, Signal::SIGSTOP), "the shell stops itself");
        let births =
            Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
        let others =
            Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.root, births | others).expect("ptrace");
        kill(self.root, Signal::SIGCONT).expect("kill");
        self.born(self.root, Vec::new(), String::new(), true);
        // Of this thread alone: what others have started is theirs. It ends when this thread has no child and no task left.
        let whom = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(whom)) {
                Ok(status) => self.hear(status),
                Err(Errno::ECHILD) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => panic!("waitpid: {errno}"),
            }
        }
        let status = self.status.expect("the program has ended");
        Run { outcome: running.ended(status), reached: self.reached, asked: self.asked }
    }

    fn born(&mut self, task: Pid, path: Vec<usize>, program: String, is_main: bool) {
        let new = Task { path, program, children: 0, counts: BTreeMap::new(), inside: false, is_main };
        self.tasks.insert(task, new);
    }

    fn hear(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(task) => self.at_call(task),
            WaitStatus::PtraceEvent(task, _, event) => self.at_event(task, event),
            // What is sent to it, it gets; but for what let the shell go on.
            WaitStatus::Stopped(task, Signal::SIGTRAP | Signal::SIGCONT) => self.go_on(task, None),
            WaitStatus::Stopped(task, signal) => self.go_on(task, Some(signal)),
            WaitStatus::Exited(task, code) => self.ended(task, ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(task, signal, _) => self.ended(task, ExitStatus::from_raw(signal as i32)),
            _ => {}
        }
    }

    fn ended(&mut self, task: Pid, status: ExitStatus) {
        self.tasks.remove(&task);
        if task == self.root {
            self.status = Some(status);
        }
        self.adopt();
    }

    /// Lets those go on whose parents were killed at their birth, and tell of it no more. They have no name, so nothing is aimed at
    /// them.
    fn adopt(&mut self) {
        if self.early.is_empty() {
            return;
        }
        let processes: Vec<Pid> = self.tasks.keys().map(|task| process_of(*task)).collect();
        let has_parent =
            |task: &Pid| [process_of(*task), parent_of(*task)].iter().any(|it| processes.contains(it));
        let (waiting, orphans): (Vec<Pid>, Vec<Pid>) =
            std::mem::take(&mut self.early).into_iter().partition(has_parent);
        self.early = waiting;
        for orphan in orphans {
            self.born(orphan, vec![usize::MAX], String::new(), process_of(orphan) == orphan);
            self.at_event(orphan, libc::PTRACE_EVENT_STOP);
        }
    }

    /// A task that is gone meanwhile need not go on.
    fn go_on(&self, task: Pid, signal: Option<Signal>) {
        let watches = !self.coasts || self.refused == Some(task);
        let _ = if watches { ptrace::syscall(task, signal) } else { ptrace::cont(task, signal) };
    }

    fn at_event(&mut self, task: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.at_birth(task)
            }
            libc::PTRACE_EVENT_EXEC => self.at_exec(task),
            libc::PTRACE_EVENT_STOP if !self.tasks.contains_key(&task) => {
                // Its name is its parent's to tell; it waits for that.
                self.early.push(task);
                return self.adopt();
            }
            _ => {}
        }
        if self.ends {
            let _ = kill(task, Signal::SIGKILL);
        }
        self.go_on(task, None);
    }

    fn at_birth(&mut self, parent: Pid) {
        let (Ok(child), Some(known)) = (ptrace::getevent(parent), self.tasks.get_mut(&parent)) else {
            return;
        };
        let child = Pid::from_raw(i32::try_from(child).expect("a process id"));
        known.children += 1;
        let path = known.path.iter().copied().chain([known.children]).collect();
        let program = known.program.clone();
        self.born(child, path, program, process_of(child) == child);
        if let Some(place) = self.early.iter().position(|early| *early == child) {
            self.early.swap_remove(place);
            self.at_event(child, libc::PTRACE_EVENT_STOP);
        }
    }

    /// A process becomes another program: all its threads but one end, and that one is the main thread now.
    fn at_exec(&mut self, task: Pid) {
        let former =
            ptrace::getevent(task).ok().and_then(|former| i32::try_from(former).ok()).map(Pid::from_raw);
        if let Some(former) = former.and_then(|former| self.tasks.remove(&former)) {
            self.tasks.insert(task, former);
        }
        let is_first = task == self.root && self.status.is_none() && self.coasts && !self.reached;
        if let Some(known) = self.tasks.get_mut(&task) {
            let name = std::fs::read_to_string(format!("/proc/{task}/comm")).unwrap_or_default();
            known.program = name.trim().to_owned();
            known.is_main = true;
            known.inside = true;
        }
        if is_first {
            self.coasts = self.aim.is_none() && !self.records;
        }
    }

    fn at_call(&mut self, task: Pid) {
        let Some(known) = self.tasks.get_mut(&task) else { return self.go_on(task, None) };
        known.inside = !known.inside;
        if !known.inside {
            if let (Some(refused), Some((_, Deed::Refuse(errno)))) = (self.refused, &self.aim)
                && refused == task
            {
                machine::answer(task, *errno).expect("the answer");
                self.refused = None;
            }
            return self.go_on(task, None);
        }
        // One that was killed meanwhile asks nothing any more.
        let Ok((call, first)) = machine::asked(task) else { return self.go_on(task, None) };
        let number = known.counts.entry(call).or_default();
        *number += 1;
        let is_at = |point: &Point| {
            point.call == call && point.number == *number && point.task == known.path && !self.reached
        };
        match &self.aim {
            Some((point, deed)) if is_at(point) => return self.act(task, *deed),
            None if self.records => {
                let point = Point { task: known.path.clone(), number: *number, call };
                self.write_down(task, point, first);
            }
            _ => {}
        }
        self.go_on(task, None);
    }

    fn write_down(&mut self, task: Pid, point: Point, first: u64) {
        let own = process_of(task);
        let has_company = self.tasks.keys().any(|other| process_of(*other) != own);
        if let Some(known) = self.tasks.get(&task) {
            let (program, is_main) = (known.program.clone(), known.is_main);
            self.asked.push(Asked { point, program, first, is_main, has_company });
        }
    }

    /// The task stands before its call.
    fn act(&mut self, task: Pid, deed: Deed) {
        (self.reached, self.coasts) = (true, true);
        match deed {
            Deed::KillOne => kill(process_of(task), Signal::SIGKILL).expect("kill"),
            Deed::KillAll => {
                self.ends = true;
                for other in self.tasks.keys().chain(&self.early) {
                    let _ = kill(process_of(*other), Signal::SIGKILL);
                }
            }
            Deed::Refuse(_) => {
                machine::refuse(task).expect("the registers");
                self.refused = Some(task);
                self.go_on(task, None);
            }
        }
    }
}

/// The process that a task is a thread of.
fn process_of(task: Pid) -> Pid {
    in_status(task, "Tgid:").unwrap_or(task)
}

/// The process that has started it, or inherited it.
fn parent_of(task: Pid) -> Pid {
    in_status(task, "PPid:").unwrap_or(task)
}

fn in_status(task: Pid, key: &str) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).map(Pid::from_raw)
}
