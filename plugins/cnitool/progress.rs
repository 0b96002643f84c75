//! A line that says what takes so long: after a second, to a person at a terminal, and gone at the end.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cni::conflist;
use cni::plain::plain;

/// While this lives, there may be a line.
pub(super) struct Progress {
    end: Option<Sender<()>>,
    line: Option<JoinHandle<()>>,
}

impl Progress {
    /// Says what `what` says, each second anew.
    pub(super) fn of(what: impl Fn() -> Option<String> + Send + 'static) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { end: None, line: None };
        }
        let (end, ended) = channel();
        let line = conflist::beside(move || {
            let (since, mut shown) = (Instant::now(), false);
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let what = plain(&what().unwrap_or_else(|| "waiting".into()));
                // There is nobody to tell when stderr cannot be written to.
                let _ = write!(std::io::stderr(), "\r\u{1b}[K{what} ({} s)", since.elapsed().as_secs());
                shown = true;
            }
            if shown {
                let _ = write!(std::io::stderr(), "\r\u{1b}[K");
            }
        });
        Progress { end: Some(end), line: Some(line) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}
