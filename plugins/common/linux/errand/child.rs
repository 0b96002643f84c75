//! The child process of an errand: the one place that forks.
//!
//! After a fork the child of a program with several threads may do only what is safe in a signal handler
//! (signal-safety(7)): another thread may have held any lock, the allocator's among them. So all that the child needs is
//! made before, and it does nothing but plain system calls until it ends. It never comes back into Rust's code.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// How often the child tries to say something.
const ATTEMPTS: usize = 3;

/// What a child is to do.
pub(super) struct Task<'a> {
    /// The descriptors that it keeps, in ascending order; the socket and the line are among them.
    pub(super) kept: &'a [RawFd],
    /// What it sends, and by which socket, once it has closed everything else. Without an order it says to the parent that it
    /// has: with one byte.
    pub(super) order: Option<(BorrowedFd<'a>, &'a [u8])>,
    /// Its end of a line to the parent. The child ends when the parent's end is closed.
    pub(super) line: BorrowedFd<'a>,
}

/// Starts the child.
pub(super) fn start(task: &Task<'_>) -> nix::Result<()> {
    // SAFETY: the child does what `work` does, and that is safe in a signal handler.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::last()),
        0 => work(task),
        _ => Ok(()),
    }
}

fn work(task: &Task<'_>) -> ! {
    // Whoever reads our standard output to its end must not wait for this child, and neither must who waits for a lock.
    let mut next: libc::c_uint = 0;
    for kept in task.kept {
        let kept = kept.cast_unsigned();
        if kept > next {
            close_range(next, kept - 1);
        }
        next = kept + 1;
    }
    close_range(next, libc::c_uint::MAX);
    // The caller's folder may be one that is about to be unmounted.
    // SAFETY: a constant text, with its end.
    unsafe { libc::chdir(c"/".as_ptr()) };
    // What the kernel answers to an order is in its socket, for the parent to read.
    let has_said = match task.order {
        Some((socket, order)) => say(socket, order),
        None => say(task.line, b"."),
    };
    if !has_said {
        // The parent waits for an answer to what was never said: it learns from the end of this process.
        // SAFETY: ends at once, and runs nothing.
        unsafe { libc::_exit(1) }
    }
    if task.order.is_none() {
        // Whoever closes a conversation keeps everybody else from changing rules while the kernel makes it wait
        // (`nft_rcv_nl_event` in nf_tables_api.c). So the same is waited for here before: the first grace period may have begun
        // before that of the rules, the second ends after it (`synchronize_rcu` in kernel/sched/membarrier.c). Where the
        // kernel has no such call the conversation is closed at once.
        grace_period();
        grace_period();
    }
    let mut nothing = 0_u8;
    // SAFETY: one byte of our own. The parent never says anything.
    while unsafe { libc::read(task.line.as_raw_fd(), (&raw mut nothing).cast(), 1) } == -1
        && Errno::last() == Errno::EINTR
    {}
    // SAFETY: ends at once, and runs nothing.
    unsafe { libc::_exit(0) }
}

/// Sends, and tries again if that fails for something of the moment.
fn say(to: BorrowedFd<'_>, what: &[u8]) -> bool {
    // SAFETY: bytes that outlive the call.
    let send = || unsafe { libc::send(to.as_raw_fd(), what.as_ptr().cast(), what.len(), libc::MSG_NOSIGNAL) };
    (0..ATTEMPTS).any(|_| send() != -1)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: closes descriptors of the child alone, none of which is used by it again.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

fn grace_period() {
    // SAFETY: has no arguments but its kind, and changes nothing.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
