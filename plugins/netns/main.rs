//! `netns`: named network namespaces by hand, as `ip netns` has them: the same names, words, messages and
//! exit statuses (docs/differences.md lists the few places where it is right to differ).
//!
//! - [`words`]: from what was typed, with iproute2's abbreviations, to a request
//! - [`page`]: the command line as a newcomer reads it
//! - [`list`]: the names, as text or JSON
//! - [`graph`]: who is wired to whom, as a picture
//! - [`sigpipe`]: what a program run by `exec` inherits
//!
//! The deeds are in `linux::named`.

mod graph;
mod list;
mod page;
mod sigpipe;
mod words;

use linux::named::{self, Command, NotRun};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use words::{Request, Status};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    sigpipe::restore();
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = words::read(&typed).and_then(perform);
    done.map_or_else(
        |refusal| {
            complain(&refusal.message);
            refusal.status.into()
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Why nothing, or not everything, was done.
struct Refusal {
    message: String,
    status: Status,
}

fn perform(request: Request) -> Result<(), Refusal> {
    match request {
        Request::Page(text) => show(text.as_bytes()),
        Request::List(format) => list::list(format),
        Request::Graph(wish) => graph::graph(&wish),
        Request::Add(name) => named::add(&name).map_err(Refusal::failed),
        Request::Delete(name) => named::delete(&name).map_err(Refusal::failed),
        Request::Exec { name, program, arguments } => {
            let search = search_path();
            let command = Command { program: &program, arguments: &arguments, search: search.as_deref() };
            Err(match named::exec(&name, &command, &mut |fault| complain(&fault)) {
                NotRun::NotEntered(e) => Refusal::rejected(e),
                NotRun::NotExecuted(e) => Refusal::failed(e),
            })
        }
    }
}

impl Refusal {
    /// The kernel refused, or a word is missing.
    fn failed(why: impl Display) -> Refusal {
        Refusal { message: why.to_string(), status: Status::Failed }
    }

    /// The command line makes no sense, or a namespace cannot be entered.
    fn rejected(why: impl Display) -> Refusal {
        Refusal { message: why.to_string(), status: Status::Rejected }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one variable that this program reads")]
fn search_path() -> Option<OsString> {
    std::env::var_os("PATH")
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
    let _ = writeln!(io::stderr(), "{}", why.to_string().trim_end());
}
