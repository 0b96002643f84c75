//! What standard output can show, and a line on standard error while it shows nothing yet.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where a tree is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) colour: bool,
    /// The cells of a line; none where lines may have any length.
    pub(super) width: Option<usize>,
}

impl Terminal {
    /// Standard output as it is. Colour is for terminals alone, and not for those who set NO_COLOR (no-color.org) or have
    /// one that knows none.
    #[allow(clippy::disallowed_methods, reason = "the variables that everybody's terminal has")]
    pub(super) fn of_stdout() -> Terminal {
        let out = std::io::stdout();
        if !out.is_terminal() {
            return Terminal { colour: false, width: None };
        }
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        let width = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
        Terminal { colour: !unwanted && !dumb, width: width.filter(|width| *width > 0) }
    }
}

/// A line that says how far the reading is: after a second, to a person at a terminal, and gone at the end.
pub(super) struct Progress {
    since: Instant,
    said: Option<Instant>,
    total: usize,
}

/// How long nobody wonders, and how long a line is worth reading.
const PATIENCE: Duration = Duration::from_secs(1);

impl Progress {
    /// Of so many namespaces.
    pub(super) fn of(total: usize) -> Progress {
        Progress { since: Instant::now(), said: None, total }
    }

    /// So many are read.
    pub(super) fn at(&mut self, read: usize) {
        let now = Instant::now();
        if now - self.said.unwrap_or(self.since) < PATIENCE || !std::io::stderr().is_terminal() {
            return;
        }
        self.said = Some(now);
        // There is nobody to tell when stderr cannot be written to.
        let _ = write!(std::io::stderr(), "\r\x1b[K{read} of {} namespaces", self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.said.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
