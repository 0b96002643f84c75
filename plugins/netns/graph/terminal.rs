//! What standard output can show.

use std::io::IsTerminal;

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
