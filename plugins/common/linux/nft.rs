//! nf_tables, spoken over netlink: no `nft` program, no C library.
//!
//! ```text
//!   Nft::here()                      a socket; it keeps the namespace in which it was opened
//!     │
//!     ├── table, chain, rules, set, element …     questions: microseconds, nobody waits
//!     │
//!     └── settle(|| look, then a Batch)           changes: all or nothing, and only if nobody has
//!                                                 changed the ruleset since the look; else again
//! ```
//!
//! In reading order: [`object`] has the things, [`expression`] what rules are made of, [`phrase`] the usual
//! sequences of expressions, [`datatype`] what keys and values are made of, [`comment`] what only `nft` reads;
//! [`batch`] collects changes and [`look`] asks questions; `wire` and `attribute` are the bytes.
//!
//! **Ask first, then send the batch that is right.** A batch that fails, for whatever reason, costs 6 ms
//! (the kernel waits for the packets on their way before it takes back), and so does one that names a chain
//! that exists, when its socket closes. A question costs some 10 microseconds.

pub(crate) mod attribute;
pub mod batch;
pub mod comment;
pub mod datatype;
pub mod expression;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
pub mod look;
pub mod object;
pub mod phrase;
pub mod verdict;
pub(crate) mod wire;

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::nft::batch::Batch;
use crate::nft::wire::{Line, Outcome, Part};

/// How long a change is tried again because others change the ruleset. One of them succeeds each time, so
/// everybody's turn comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The packets that a table sees, and the protocol of an address (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ipv4 = 2,
    /// Frames that cross a bridge.
    Bridge = 7,
    /// IPv6.
    Ipv6 = 10,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Ipv4 => "ip",
            Family::Bridge => "bridge",
            Family::Ipv6 => "ip6",
        })
    }
}

/// A state of the whole ruleset of a namespace. Every committed batch makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

/// A conversation with the kernel about the ruleset of one namespace.
pub struct Nft(Mutex<Line>);

impl AsRawFd for Nft {
    fn as_raw_fd(&self) -> RawFd {
        self.line().as_raw_fd()
    }
}

impl Nft {
    /// Opens a conversation about the namespace that the calling thread is in. For another one, call this
    /// during a visit ([`crate::netns::NetNs::visit`]).
    ///
    /// # Errors
    /// `EMFILE` and the like, and `EPROTONOSUPPORT` where the kernel has no nfnetlink.
    pub fn here() -> Result<Nft> {
        let line = Line::open(Part::Tables).doing(|| "open an nftables socket")?;
        Ok(Nft(Mutex::new(line)))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch that is right whatever others do.
    ///
    /// # Errors
    /// The first refusal; then nothing of the batch is in force.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.line().commit(&batch.messages, None).map(|_| ())
    }

    /// Has the kernel try a batch and take all of it back. Nobody ever sees it in force; the kernel waits some 6 ms, as
    /// after a failed one.
    ///
    /// # Errors
    /// The first refusal.
    pub fn rehearse(&self, batch: &Batch) -> Result<()> {
        self.line().rehearse(&batch.messages)
    }

    /// Looks, decides and acts on one state of the ruleset.
    ///
    /// `decide` asks its questions and returns the batch that is right for the answers. The kernel takes it
    /// only if the ruleset has not changed since before the first question (`NFNL_BATCH_GENID`); otherwise
    /// `decide` looks again. So between its look and its act nobody can add, delete or flush anything, and a
    /// batch never fails because of somebody else. An empty batch is not sent.
    ///
    /// # Errors
    /// What `decide` returns, the first refusal, and `ETIMEDOUT` if the ruleset never kept still.
    pub fn settle(&self, mut decide: impl FnMut() -> Result<Batch>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Generation(seen) = self.generation()?;
            let batch = decide()?;
            if batch.is_empty() {
                return Ok(());
            }
            match self.line().commit(&batch.messages, Some(seen))? {
                Outcome::Done => return Ok(()),
                Outcome::Overtaken if Instant::now() < until => {}
                Outcome::Overtaken => {
                    let doing = "change the nftables ruleset";
                    let said = Some("others change it all the time".into());
                    return Err(Error::refused(doing, nix::errno::Errno::ETIMEDOUT).saying(said));
                }
            }
        }
    }
}
