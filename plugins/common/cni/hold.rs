//! Signals that would end the process wait until what was begun is finished or undone.
//!
//! INT, TERM and HUP are blocked for the whole process. An ADD looks for them between its steps and gives up; a wait for
//! a delegate passes them on to it. When all is undone they are let through, and the process dies of them as it would have;
//! a call that was answered ends as if none had come. (KILL cannot be held: what it leaves, the record and the next DEL find.)

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Code, Error, OrFail, Result};

/// There is one per process, as the signals are the process's.
static HELD: OnceLock<Held> = OnceLock::new();

struct Held {
    arrivals: SignalFd,
    before: SigSet,
    arrived: OnceLock<Signal>,
}

fn those() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Holds the signals from here on. Called once, before there is a second thread.
///
/// # Errors
/// What sigprocmask(2) and signalfd(2) say.
pub(crate) fn begin() -> Result<()> {
    let arrivals = SignalFd::with_flags(&those(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .doing(|| "open a signalfd".into())?;
    let before = those().thread_swap_mask(SigmaskHow::SIG_BLOCK).doing(|| "hold signals".into())?;
    HELD.get_or_init(|| Held { arrivals, before, arrived: OnceLock::new() });
    Ok(())
}

/// Keeps all signals from this thread: they are for the others.
pub(crate) fn keep_out() {
    // It fails for arguments alone that make no sense.
    let _ = SigSet::all().thread_block();
}

/// The signal that has arrived, if one has.
pub(crate) fn arrived() -> Option<Signal> {
    let held = HELD.get()?;
    if held.arrived.get().is_none()
        && let Ok(Some(arrival)) = held.arrivals.read_signal()
        && let Ok(signal) = Signal::try_from(arrival.ssi_signo.cast_signed())
    {
        held.arrived.get_or_init(|| signal);
    }
    held.arrived.get().copied()
}

/// Fails once a signal has arrived: nothing new is begun then.
///
/// # Errors
/// [`Code::INTERNAL`], naming the signal.
pub(crate) fn refuse_when_arrived() -> Result<()> {
    match arrived() {
        Some(signal) => Err(Error::new(Code::INTERNAL, format!("interrupted by {signal}"))),
        None => Ok(()),
    }
}

/// Becomes readable when a signal arrives, for those who wait for something else.
pub(crate) fn arrivals() -> Option<BorrowedFd<'static>> {
    HELD.get().map(|held| held.arrivals.as_fd())
}

/// Lets the signals through; if one had arrived, the process ends here by it.
pub(crate) fn end() {
    let signal = arrived();
    let Some(held) = HELD.get() else { return };
    if let Some(signal) = signal {
        // A handler that ignores the signal, or a mask from before that blocks it, is the caller's own wish.
        let _ = raise(signal);
    }
    let _ = held.before.thread_set_mask();
}
