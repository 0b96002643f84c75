//! `cnitool`: attaches network namespaces to networks by hand, as a runtime would. The same words, variables, container
//! IDs and cache as the original, so that either continues what the other began; docs/cnitool.md says more.
//!
//! - [`page`]: the command line; [`asked`]: what it asks for, with the environment
//! - [`say`]: whatever is printed
//! - [`pretty`]: the result, for people
//! - [`restore`]: rules that somebody has flushed
//! - [`validate`]: what is wrong with configurations
//! - [`version`]: which versions plugins speak
//!
//! What a runtime does is in `cni::conflist`.

mod asked;
mod page;
mod pretty;
mod restore;
mod say;
mod validate;
mod version;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use asked::Environment;
use clap::ArgMatches;
use cni::call::Attachment;
use cni::conflist::list::List;
use cni::conflist::{self, OnFailure, Request, Runtime, folder};
use cni::error::{Code, Error, OrFail, Result};
use cni::name::PluginName;
use cni::plain::plain_lines;
use linux::netns::NetNs;
use say::complain;
use serde_json::{Value as Json, json};
use validate::Report;
use validate::finding::Level;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut command = page::command();
    let typed = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(typed) => typed,
        Err(page) => {
            let asked_for = !page.use_stderr();
            return if page.print().is_ok() && asked_for { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let (done, as_json) = match typed.subcommand() {
        Some((verb, typed)) => (perform(verb, typed), typed.get_flag("json")),
        None => {
            let printed = command.print_help().or_fail(Code::IO, || "write the help page".into());
            (printed.map(|()| true), false)
        }
    };
    let code = match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error, as_json);
            ExitCode::FAILURE
        }
    };
    conflist::end_of_signals();
    code
}

/// Whether all is well is the answer.
fn perform(verb: &str, typed: &ArgMatches) -> Result<bool> {
    let as_json = typed.get_flag("json");
    match verb {
        "purge" => purge(typed.get_flag("dry-run"), as_json).map(|()| true),
        "restore" => restore(typed.get_flag("dry-run"), as_json).map(|()| true),
        "validate" => validate(typed, as_json),
        "version" => version(typed, as_json).map(|()| true),
        verb => run(verb, typed).map(|()| true),
    }
}

fn run(verb: &str, typed: &ArgMatches) -> Result<()> {
    let environment = Environment::of_this_process()?;
    let network = asked::network(typed);
    let runtime = Runtime { overhear: pass_on, hold_signals: true, ..Runtime::new(environment.path.clone()) };
    let known = || configured(&environment, typed);
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
fn purge(rehearse: bool, as_json: bool) -> Result<()> {
    let deed = if rehearse { "would remove" } else { "removed" };
    plugins::attachment::purge::purge(rehearse, |thing| {
        say::deed(deed, thing, as_json);
    })
}

/// Tells of each attachment whose rules are there again.
fn restore(rehearse: bool, as_json: bool) -> Result<()> {
    let deed = if rehearse { "would restore" } else { "restored" };
    let path = Environment::of_this_process()?.path;
    restore::restore(&path, rehearse, |whose| say::deed(deed, whose, as_json))
}

fn validate(typed: &ArgMatches, as_json: bool) -> Result<bool> {
    let environment = Environment::of_this_process()?;
    let named: Vec<PathBuf> = typed.get_many("file").unwrap_or_default().cloned().collect();
    if typed.get_flag("keys") {
        let names: Vec<String> = named.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let keys = validate::keys_of(&names)?;
        let lines =
            keys.iter().flat_map(|(name, keys)| keys.iter().map(move |key| format!("{name} {key}\n")));
        let object = || keys.iter().map(|(name, keys)| (name.clone(), json!(keys))).collect();
        return say::either(as_json, || lines.collect(), || Json::Object(object())).map(|()| true);
    }
    let files = if named.is_empty() { validate::files_of(&environment.conf)? } else { named };
    let with_host = !typed.get_flag("files-only");
    if with_host && environment.path.is_empty() {
        complain(
            "Note: CNI_PATH is not set, so that no plugin was looked for (CNI_PATH=/opt/cni/bin as a rule)",
        );
    }
    let path = if with_host { environment.path.as_slice() } else { &[] };
    let report = Report::of(&files, path, with_host)?;
    say::either(as_json, || report.text(), || report.json())?;
    let bad =
        report.count(Level::Error) + usize::from(typed.get_flag("strict")) * report.count(Level::Warning);
    Ok(bad == 0)
}

fn version(typed: &ArgMatches, as_json: bool) -> Result<()> {
    if asked::network(typed).is_empty() {
        let own = env!("CARGO_PKG_VERSION");
        return say::either(as_json, || format!("cnitool {own}\n"), || json!({"cnitool": own}));
    }
    let environment = Environment::of_this_process()?;
    let list = configured(&environment, typed)?;
    let spoken = version::of(&list, &environment.path)?;
    say::either(as_json, || version::text(&list, &spoken), || version::json(&list, &spoken))
}

/// The network that was asked for, from the folder or from the file that was named.
fn configured(environment: &Environment, typed: &ArgMatches) -> Result<List> {
    let network = asked::network(typed);
    if let Some(file) = typed.get_one::<PathBuf>("conf") {
        let list = folder::read_any(file)?;
        return match list.name.as_str() == network {
            true => Ok(list),
            false => Err(Error::config(format!(
                "{} holds the network {:?}, not {network:?}",
                file.display(),
                list.name.as_str()
            ))),
        };
    }
    let found = folder::find(&environment.conf, network)?;
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

/// As plugins wrote it; a terminal gets nothing that would move its cursor.
fn pass_on(_plugin: &PluginName, stderr: &[u8]) {
    let plain = || plain_lines(&String::from_utf8_lossy(stderr)).into_bytes();
    let shown = if std::io::stderr().is_terminal() { &plain() } else { stderr };
    // Nobody to tell if that cannot be written.
    let _ = std::io::stderr().write_all(shown);
}
