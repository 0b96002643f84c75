//! A program that is run for somebody, and to its end: signals that come meanwhile are the program's.

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

use crate::error::{Doing, Error, Result};

/// Signals by which somebody asks for an end.
fn endings() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// INT, TERM and HUP, held for a program that is yet to be started; from the moment when this is made they no longer end
/// this process.
pub struct Signals(SignalFd);

impl Signals {
    /// Holds the signals. Called before there is a second thread: each has its own mask.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) say.
    pub fn hold() -> Result<Signals> {
        let mut all = endings();
        all.add(Signal::SIGCHLD);
        let arrivals = SignalFd::with_flags(&all, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .doing(|| "open a signalfd")?;
        all.thread_swap_mask(SigmaskHow::SIG_BLOCK).doing(|| "hold signals")?;
        Ok(Signals(arrivals))
    }

    /// Starts a program and waits until it has ended; passes on to it what arrives meanwhile. It has to let the signals
    /// through again by [`let_through`]. A signal that may not be passed on goes to `shrug`: the program goes on.
    ///
    /// # Errors
    /// The program cannot be started; what waitpid(2) says.
    pub fn run(&self, program: &mut Command, shrug: &mut dyn FnMut(Error)) -> Result<ExitStatus> {
        let mut child = io::Result::doing(program.spawn(), || "start a process")?;
        let pid = Pid::from_raw(child.id().cast_signed());
        // Any other failure is that the program has ended meanwhile.
        let mut pass_on = |signal: Signal| {
            if kill(pid, signal) == Err(Errno::EPERM) {
                shrug(Error::refused(format!("pass {signal} on to the program"), Errno::EPERM));
            }
        };
        // What came before the program was there came to us alone.
        while let Some((signal, _)) = self.next() {
            pass_on(signal);
        }
        loop {
            if let Some(ended) = io::Result::doing(child.try_wait(), || "wait for the program")? {
                return Ok(ended);
            }
            let mut readable = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut readable, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("wait for a signal", errno)),
            }
            while let Some((signal, sender)) = self.next() {
                // What comes from the terminal comes to all who are in its foreground, the program too.
                if sender != Sender::Terminal {
                    pass_on(signal);
                }
            }
        }
    }

    /// A signal that has arrived, and who sent it.
    fn next(&self) -> Option<(Signal, Sender)> {
        while let Ok(Some(arrival)) = self.0.read_signal() {
            if let Ok(signal) = Signal::try_from(arrival.ssi_signo.cast_signed())
                && signal != Signal::SIGCHLD
            {
                let sender = if arrival.ssi_code == SI_KERNEL { Sender::Terminal } else { Sender::Process };
                return Some((signal, sender));
            }
        }
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Terminal,
    Process,
}

/// The kernel itself has sent it (sigaction(2), `si_code`).
const SI_KERNEL: i32 = 0x80;

/// In the program that was started: lets the signals through that [`Signals`] holds.
///
/// # Errors
/// None that is known.
pub fn let_through() -> Result<()> {
    let mut all = endings();
    all.add(Signal::SIGCHLD);
    all.thread_unblock().doing(|| "let signals through")
}

/// Has the kernel kill this process when its parent dies, which is the process of that number. Whoever changes his user
/// afterwards has to say so again (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// `ESRCH` if the parent is dead already.
pub fn die_with(parent: u32) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "ask to be killed with the parent")?;
    match getppid() == Pid::from_raw(parent.cast_signed()) {
        true => Ok(()),
        false => Err(Error::refused("look for the parent", Errno::ESRCH)),
    }
}
