//! `cnitool`: attaches network namespaces to networks by hand, as a runtime would. The same words, variables, container
//! IDs and cache as the original, so that either continues what the other began; docs/cnitool.md says more.
//!
//! - [`asked`]: the command line and the environment
//! - [`pretty`]: the result, for people
//! - [`restore`]: rules that somebody has flushed
//!
//! What a runtime does is in `cni::conflist`.

mod asked;
mod pretty;
mod restore;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use asked::Environment;
use clap::ArgMatches;
use cni::call::Attachment;
use cni::conflist::list::List;
use cni::conflist::{self, OnFailure, Request, Runtime, folder};
use cni::error::{Code, Error, OrFail, Result};
use cni::name::PluginName;
use linux::netns::NetNs;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut command = asked::command();
    let typed = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(typed) => typed,
        Err(page) => {
            let asked_for = !page.use_stderr();
            return if page.print().is_ok() && asked_for { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let done = match typed.subcommand() {
        Some(("purge", typed)) => purge(typed.get_flag("dry-run")),
        Some(("restore", typed)) => restore(typed.get_flag("dry-run")),
        Some((verb, typed)) => perform(verb, typed),
        None => command.print_help().or_fail(Code::IO, || "write the help page".into()),
    };
    let code = done.map_or_else(
        |error| {
            complain(&told(&error));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    );
    conflist::end_of_signals();
    code
}

fn perform(verb: &str, typed: &ArgMatches) -> Result<()> {
    let environment = Environment::of_this_process()?;
    let network = typed.get_one::<String>("network").map_or("", String::as_str);
    let runtime = Runtime { overhear: pass_on, hold_signals: true, ..Runtime::new(environment.path.clone()) };
    let known = || configured(&environment.conf, network);
    let request = || environment.request(typed);
    let added = |request: &Request| known().or_else(|gone| remembered(&runtime, network, request, gone));
    match verb {
        "add" => add(&runtime, &known()?, &request()?),
        "check" => request().and_then(|request| runtime.check(&added(&request)?, &request)),
        "del" => request().and_then(|request| runtime.del(&added(&request)?, &request)),
        "gc" => runtime.gc(&known()?, None),
        "status" => runtime.status(&known()?),
        other => Err(Error::internal(format!("{other} is no command"))),
    }
}

fn add(runtime: &Runtime, list: &List, request: &Request) -> Result<()> {
    let netns = NetNs::open(Path::new(&request.netns));
    let netns = netns.or_fail(Code::ENVIRONMENT, || format!("failed to open netns {:?}", request.netns))?;
    let link = netns.rtnl().and_then(|rtnl| rtnl.link_by_name(request.ifname.as_str()));
    // Whose an interface is that was there before nobody knows: an ADD that fails on it must not take it away.
    let on_failure = match link.doing(|| format!("look for {} in {:?}", request.ifname, request.netns))? {
        None => OnFailure::Delete,
        Some(_) => OnFailure::Leave,
    };
    let result = runtime.add(list, request, on_failure)?;
    let text = pretty::pretty(result.get());
    std::io::stdout().write_all(text.as_bytes()).or_fail(Code::IO, || "write the result".into())
}

/// Tells of each thing as it goes; what is told to nobody goes all the same.
fn purge(rehearse: bool) -> Result<()> {
    let deed = if rehearse { "would remove" } else { "removed" };
    plugins::attachment::purge::purge(rehearse, |thing| {
        let _ = writeln!(std::io::stdout(), "{deed} {thing}");
    })
}

/// Tells of each attachment whose rules are there again.
fn restore(rehearse: bool) -> Result<()> {
    let deed = if rehearse { "would restore" } else { "restored" };
    let path = Environment::of_this_process()?.path;
    restore::restore(&path, rehearse, |whose| {
        let _ = writeln!(std::io::stdout(), "{deed} {whose}");
    })
}

fn configured(folder: &Path, network: &str) -> Result<List> {
    let found = folder::find(folder, network)?;
    for unreadable in &found.unreadable {
        complain(&format!("Warning: passed over {}", unreadable.msg()));
    }
    Ok(found.list)
}

/// The list that `add` used, for a network whose configuration is gone or broken by now.
fn remembered(runtime: &Runtime, network: &str, request: &Request, gone: Error) -> Result<List> {
    let (container, ifname) = (request.container.clone(), request.ifname.clone());
    let record =
        network.parse().and_then(|network| runtime.cache.read(&Attachment { network, container, ifname }));
    record.ok().flatten().and_then(|record| record.list().ok().flatten()).ok_or(gone)
}

/// An error in one line: the text, then the details as the Go library joins them, then the code.
fn told(error: &Error) -> String {
    let details = error.more().map(|details| format!("; {details}")).unwrap_or_default();
    format!("Error: {}{details} (code {})", error.msg(), error.code().0)
}

fn pass_on(_plugin: &PluginName, stderr: &[u8]) {
    // Nobody to tell if that cannot be written.
    let _ = std::io::stderr().write_all(stderr);
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
