//! `netns`: named network namespaces by hand, as `ip netns` has them: the same names, words, messages and
//! exit statuses (docs/differences.md lists the few places where it is right to differ).
//!
//! - [`words`]: from what was typed, with iproute2's abbreviations, to a command
//! - [`commands`]: all commands in one table: words, page, deed; [`page`] shows it to a newcomer
//! - [`names`], [`processes`], [`ids`], [`list`], [`exec`]: the deeds, by subject
//! - [`graph`]: who is wired to whom, as a picture
//! - [`each`]: a program in several namespaces; [`run`]: in one that is made for it
//! - [`advice`]: what to do about a lack of privileges; [`environment`]: the variables that are read
//! - [`batch`]: many commands from a file
//! - [`text`]: names are other people's texts, and are made harmless before anybody sees them
//! - [`progress`]: a line for whoever waits
//! - [`json`], [`number`]: how iproute2 writes JSON and reads numbers
//! - [`sigpipe`]: what a program run by `exec` inherits
//!
//! What is asked of the kernel is in `linux::named` and `linux::nsid`.

mod words;

mod commands;
mod page;

mod advice;
mod environment;

mod batch;
mod each;
mod exec;
mod graph;
mod ids;
mod list;
mod names;
mod processes;
mod run;

mod json;
mod number;
mod progress;
mod text;

mod sigpipe;

use cni::capability::Capability;
use cni::plain::plain_lines;
use linux::named;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use words::{Asked, Line, Options};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    sigpipe::restore();
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = words::read(&typed).and_then(perform);
    done.map_or_else(
        |refusal| {
            refusal.tell();
            refusal.status.into()
        },
        |()| ExitCode::SUCCESS,
    )
}

fn perform(asked: Asked) -> Result<(), Refusal> {
    match asked {
        Asked::Page(text) => show(text.as_bytes()),
        Asked::Command { options, line } => {
            enter(&options)?;
            perform_line(&options, words::command(&options, line)?)
        }
        Asked::Batch { options, file } => {
            enter(&options)?;
            batch::batch(&options, file)
        }
    }
}

fn perform_line(options: &Options, line: Line) -> Result<(), Refusal> {
    match line {
        Line::Page(text) => show(text.as_bytes()),
        Line::Words(perform, words) => perform(options, words),
        Line::Read(perform, words) => perform(options, &words),
    }
}

/// Goes where the whole command is to be done.
fn enter(options: &Options) -> Result<(), Refusal> {
    let enter = |name| named::enter(name, &mut |fault| complain(&fault)).map_err(Refusal::not_entered);
    options.inside.iter().try_for_each(enter)
}

/// Why nothing, or not everything, was done.
struct Refusal {
    /// Empty if everything has been said already.
    message: String,
    status: Status,
    /// The kernel said that the caller may not do this; with this capability he could, if it is only that.
    forbidden: Option<Capability>,
}

/// The exit statuses of `ip netns`, which scripts look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    /// A deed failed.
    Failed,
    /// The kernel refused what it was asked by netlink.
    Refused,
    /// The words make no sense, or the namespace of `exec` cannot be entered.
    Rejected,
    /// A program that was run has ended so.
    Program(u8),
    /// A signal has ended a program that was run, so that nothing more is to be done.
    Killed,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Failed | Status::Killed => 1,
            Status::Refused => 2,
            Status::Rejected => 255,
            Status::Program(status) => status,
        })
    }
}

impl Refusal {
    /// A deed failed, or a word is missing.
    fn failed(why: impl Display) -> Refusal {
        Refusal { message: why.to_string(), status: Status::Failed, forbidden: None }
    }

    /// The same, about names.
    fn by_name(why: named::Error) -> Refusal {
        // Names are mounts. What needs another capability is to look at a process of somebody else's, in /proc.
        let lacking = if why.is_denied() { Capability::SysPtrace } else { Capability::SysAdmin };
        Refusal { forbidden: why.is_forbidden().then_some(lacking), ..Refusal::failed(why) }
    }

    /// The same, about what is asked of the kernel in a namespace, which needs this capability.
    fn by_deed(why: linux::error::Error, needs: Capability) -> Refusal {
        Refusal { forbidden: why.is_forbidden().then_some(needs), ..Refusal::failed(why) }
    }

    /// Says what is wrong, and what would help.
    fn tell(&self) {
        complain(&self.message);
        if let Some(lacking) = self.forbidden {
            complain(&advice::advice(lacking));
        }
    }

    /// A deed failed, and everybody has been told.
    fn said() -> Refusal {
        Refusal::failed("")
    }

    /// The command line makes no sense, or a namespace cannot be entered.
    fn rejected(why: impl Display) -> Refusal {
        Refusal { status: Status::Rejected, ..Refusal::failed(why) }
    }

    /// A namespace cannot be entered.
    fn not_entered(why: named::Error) -> Refusal {
        Refusal { status: Status::Rejected, ..Refusal::by_name(why) }
    }

    /// The kernel refused, and says so in a sentence or by a number.
    fn by_kernel(why: &linux::error::Error) -> Refusal {
        let message = match (why.sentence(), why.errno()) {
            (Some(sentence), _) => format!("Error: {}.", sentence.trim_end_matches('.')),
            (None, Some(errno)) => format!("RTNETLINK answers: {}", errno.desc()),
            (None, None) => why.to_string(),
        };
        let forbidden = why.is_forbidden().then_some(Capability::NetAdmin);
        Refusal { status: Status::Refused, forbidden, ..Refusal::failed(message) }
    }

    /// An argument makes no sense.
    fn argument(word: &OsStr, why: &str) -> Refusal {
        Refusal::rejected(format!("Error: argument \"{}\" is wrong: {why}", word.display()))
    }
}

/// Writes an answer to standard output, whole or with a complaint.
fn show(answer: &[u8]) -> Result<(), Refusal> {
    let mut out = io::stdout().lock();
    out.write_all(answer)
        .and_then(|()| out.flush())
        .map_err(|e| Refusal::failed(format!("write error: {}", e.kind())))
}

/// A complaint that cannot be written has nowhere to go.
fn complain(why: &dyn Display) {
    let text = why.to_string();
    if !text.is_empty() {
        let text = text.trim_end_matches('\n');
        // A name in it may be anybody's text.
        let text = if io::stderr().is_terminal() { plain_lines(text) } else { text.to_owned() };
        let _ = writeln!(io::stderr(), "{text}");
    }
}
