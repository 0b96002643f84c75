//! THE MAP. Every program of Jackfield is a few lines of `main.rs` over one of these modules; the two tools, `netns` and
//! `cnitool`, live beside them and rest on the same two libraries.
//!
//! ```text
//!                 stdin, CNI_*                                  stdout
//!                      │                                          ▲
//!   cni::serve   read ─┴─► check at the door ─► Plugin::add ──► answer, and only then keep
//!                                                    │
//!   bridge::add   conf ─► record ─► IPAM ─► plan ─► bridge ─► rules ─► pair ─► container end ─► result
//!                  │        │        │        │        │        │        │           │
//!                 pure    /run,   another   pure   shared:   one      born in    one datagram
//!                         locked  program          never     batch    place      on a socket
//!                                 (undone          undone             (undone    that carries
//!                                  last)                              first)     its namespace
//! ```
//!
//! In reading order: [`attachment`] is what an attachment leaves on a node and how it is known again; [`bridge`] is the
//! plugin to read first; [`veth`] is its routed sister; [`portmap`] comes behind either, and publishes ports; [`firewall`] lets
//! packets pass the host's own rules; [`bandwidth`] slows them down, [`tuning`] sets what else a link has; [`loopback`] is
//! the smallest.
//!
//! **Invariants**
//! 1. A thread never *stays* in a namespace that it visited; a socket carries the namespace. (`loopback` does not visit: it
//!    has nothing to do anywhere else, and enters for good.)
//! 2. One call, one process, one answer on stdout. Below `cni::serve` nothing prints, exits or reads the environment.
//! 3. Every step of ADD is one deed with one undo, recorded the moment it succeeds. What is shared is never undone.
//! 4. DEL needs neither the namespace nor a previous result, tries everything, and gives the lease back last.
//! 5. Names and versions are validated at the door and never again.
//! 6. No `unsafe` outside the files that tests/tidy.rs lists.
//! 7. What the kernel says is matched by number, never by text.
//! 8. A plugin never imports another plugin. What two need moves into [`attachment`], or into a library.

pub mod attachment;

pub mod bandwidth;
pub mod bridge;
pub mod firewall;
pub mod loopback;
pub mod portmap;
pub mod tuning;
pub mod veth;

#[cfg(any(test, fuzzing))]
pub mod hostile;
