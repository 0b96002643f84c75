//! A line on standard error while there is nothing else to see.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line that says how far a command is: after a second, to a person at a terminal, and gone at the end.
pub(crate) struct Progress {
    since: Instant,
    said: Option<Instant>,
    total: usize,
}

/// How long nobody wonders, and how long a line is worth reading.
const PATIENCE: Duration = Duration::from_secs(1);

impl Progress {
    /// Of so many namespaces.
    pub(crate) fn of(total: usize) -> Progress {
        Progress { since: Instant::now(), said: None, total }
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: usize) {
        let now = Instant::now();
        if now - self.said.unwrap_or(self.since) < PATIENCE || !std::io::stderr().is_terminal() {
            return;
        }
        self.said = Some(now);
        // There is nobody to tell when stderr cannot be written to.
        let _ = write!(std::io::stderr(), "\r\x1b[K{done} of {} namespaces", self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.said.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
