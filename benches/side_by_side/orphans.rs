//! What goes on after a DEL has been answered: child processes that sit through the kernel's wait. Whoever compares DELs by the
//! time to their answer has to tell that, too.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::wait;

use crate::Result;

/// What came after an answer.
#[derive(Clone, Copy)]
pub(crate) struct Rest {
    /// From the answer until the last process had ended.
    pub(crate) wall: Duration,
    /// User and system time of these processes.
    pub(crate) cpu: Duration,
}

impl Rest {
    /// The medians of both, in milliseconds; nothing where nothing came after an answer.
    pub(crate) fn medians(all: &[Rest]) -> Option<(f64, f64)> {
        let median = |of: fn(&Rest) -> Duration| {
            let mut times: Vec<Duration> = all.iter().map(of).collect();
            times.sort();
            Some(times.get(times.len() / 2)?.as_secs_f64() * 1e3)
        };
        Some((median(|rest| rest.wall)?, median(|rest| rest.cpu).filter(|cpu| *cpu > 0.0)?))
    }
}

/// Orphans of this process's descendants become its own children, so that they can be waited for.
pub(crate) fn adopt() -> Result<()> {
    Ok(set_child_subreaper(true)?)
}

/// Waits until every orphan has ended.
pub(crate) fn end() -> Result<Rest> {
    let (begun, before) = (Instant::now(), used()?);
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Rest { wall: begun.elapsed(), cpu: used()?.saturating_sub(before) })
}

/// User and system time of all children that have ended.
pub(crate) fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |time: TimeVal| -> Result<Duration> {
        Ok(Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()).try_into()?))
    };
    Ok(of(usage.user_time())? + of(usage.system_time())?)
}
