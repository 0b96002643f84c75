//! Rust's runtime ignores SIGPIPE before `main`, and an ignored signal stays ignored in the program that
//! `exec` runs: a pipeline in it would no longer end. To take the default instead would be as wrong, for a
//! service that systemd started with SIGPIPE ignored (`IgnoreSIGPIPE=`, systemd.exec(5)). So the disposition
//! that this process was started with is noted before the runtime changes it, and put back.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

// SAFETY: `signal` of the C standard, as every libc on Linux has it; dispositions are word-sized there.
unsafe extern "C" {
    fn signal(number: c_int, disposition: usize) -> usize;
}

const SIGPIPE: c_int = 13;
const DEFAULT: usize = 0;

const IGNORED: usize = 1;

static INHERITED: AtomicUsize = AtomicUsize::new(DEFAULT);

// SAFETY: libc calls the functions of this section one after the other, in the only thread, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_RUNTIME: extern "C" fn() = note;

extern "C" fn note() {
    // SAFETY: needs no runtime, and installs no handler.
    INHERITED.store(unsafe { signal(SIGPIPE, DEFAULT) }, Ordering::Relaxed);
}

/// Gives SIGPIPE the disposition that this process was started with.
pub(crate) fn restore() {
    // SAFETY: across an exec only "default" and "ignore" are inherited, so no handler is installed.
    unsafe { signal(SIGPIPE, INHERITED.load(Ordering::Relaxed)) };
}

/// Ignores SIGPIPE from here on: a plugin need not read what it is told, and whoever tells it must live to clean up. A program
/// that std starts has it as usual.
pub(crate) fn ignore() {
    // SAFETY: installs no handler.
    unsafe { signal(SIGPIPE, IGNORED) };
}
