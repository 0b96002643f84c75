//! `cnitool`: attaches network namespaces to networks by hand, as a runtime would. The same words, variables, container
//! IDs and cache as the original, so that either continues what the other began; docs/cnitool.md says more.
//!
//! - [`page`]: the command line; [`asked`]: what it asks for, with the environment
//! - [`say`]: whatever is printed; [`hint`]: the next step after an error
//! - [`pretty`]: the result, for people
//! - [`operation`]: a verb about a network; [`explain`]: the same in words
//! - [`tree`]: calls within calls
//! - [`trace`]: the same with everything that was said; [`relay`]: what stands in a plugin's place meanwhile;
//!   [`recording`]: what is written down; [`replay`]: doing that again; [`progress`]: what takes so long
//! - [`inventory`]: networks, attachments and leases
//! - [`restore`]: rules that somebody has flushed
//! - [`validate`]: what is wrong with configurations
//! - [`version`]: which versions plugins speak
//!
//! What a runtime does is in `cni::conflist`.

mod asked;
mod explain;
mod hint;
mod inventory;
mod operation;
mod page;
mod pretty;
mod progress;
mod recording;
mod relay;
mod replay;
mod restore;
mod say;
mod trace;
mod tree;
mod validate;
mod version;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use asked::Environment;
use clap::ArgMatches;
use cni::capability::{Capability, advised};
use cni::conflist::{self, Runtime};
use cni::error::{Code, OrFail, Result};
use cni::files;
use cni::name::PluginName;
use cni::plain::plain_lines;
use operation::Operation;
use say::complain;
use serde_json::{Value as Json, json};
use validate::Report;
use validate::finding::Level;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    if let Some(relay) = relay::asked() {
        return relay.run();
    }
    let mut command = page::command();
    let typed = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(typed) => typed,
        Err(page) => {
            let asked_for = !page.use_stderr();
            return if page.print().is_ok() && asked_for { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    files::keep_others_out();
    let Some((verb, typed)) = typed.subcommand() else {
        return if command.print_help().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    let code = match perform(verb, typed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let as_json = typed.get_flag("json");
            say::error(&error, as_json);
            if !as_json && std::io::stderr().is_terminal() {
                let hint = Environment::of_this_process().ok();
                let hint = hint.and_then(|environment| hint::of(error.code(), verb, typed, &environment));
                hint.iter().for_each(|hint| complain(&format!("Hint: {hint}")));
            }
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
        "explain" => explain(typed, as_json).map(|()| true),
        "list" => list(typed, as_json),
        "trace" => trace(typed, as_json),
        "replay" => replay(typed, as_json),
        "version" => version(typed, as_json).map(|()| true),
        verb => run(verb, typed).map(|()| true),
    }
}

fn run(verb: &str, typed: &ArgMatches) -> Result<()> {
    let environment = Environment::of_this_process()?;
    let runtime = Runtime { overhear: pass_on, hold_signals: true, ..Runtime::new(environment.path.clone()) };
    let operation = Operation { verb: operation::verb(verb)?, environment: &environment, typed };
    operation.run(&runtime, |result| {
        let text = pretty::pretty(result.get());
        // JSON has two ways to write a character; a terminal gets the one that does nothing to it.
        let text = if std::io::stdout().is_terminal() { plain_lines(&text) } else { text };
        say::whole(&text).or_fail(Code::IO, || "write the result".into())
    })
}

/// Whether everything could be looked at is the answer.
fn list(typed: &ArgMatches, as_json: bool) -> Result<bool> {
    let environment = Environment::of_this_process()?;
    let network = Some(asked::network(typed)).filter(|network| !network.is_empty());
    let inventory = inventory::look(&environment.conf, network)?;
    inventory.faults.iter().for_each(|fault| complain(&format!("Warning: {fault}")));
    say::either(as_json, || inventory.text(), || inventory.json())?;
    Ok(inventory.faults.is_empty())
}

/// Whether the operation succeeded is the answer: its error is told behind the tree, or in it.
fn trace(typed: &ArgMatches, as_json: bool) -> Result<bool> {
    let environment = Environment::of_this_process()?;
    let verb = operation::verb(typed.get_one::<String>("verb").map_or("", String::as_str))?;
    let operation = Operation { verb, environment: &environment, typed };
    // What a plugin has on stderr is in the tree.
    let runtime = Runtime { hold_signals: true, ..Runtime::new(environment.path.clone()) };
    let record = typed.get_one::<PathBuf>("record").map(PathBuf::as_path);
    let traced = trace::trace(&operation, runtime, record)?;
    if traced.calls.is_empty() && traced.outcome.is_err() {
        return traced.outcome.map(|()| true);
    }
    say::either(as_json, || traced.text(), || traced.json())?;
    match traced.outcome {
        Err(_) if as_json => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

fn replay(typed: &ArgMatches, as_json: bool) -> Result<bool> {
    let environment = Environment::of_this_process()?;
    let root = typed.get_one::<PathBuf>("folder").map_or(Path::new(""), PathBuf::as_path);
    let replayed = replay::replay(root, &environment.path)?;
    say::either(as_json, || replayed.text(), || replayed.json())?;
    Ok(replayed.is_same())
}

fn explain(typed: &ArgMatches, as_json: bool) -> Result<()> {
    let environment = Environment::of_this_process()?;
    let verb = operation::verb(typed.get_one::<String>("verb").map_or("add", String::as_str))?;
    let operation = Operation { verb, environment: &environment, typed };
    let runtime = Runtime::new(environment.path.clone());
    operation.explain(&runtime, |it| say::either(as_json, || it.text(), || it.json()))?
}

/// Tells of each thing as it goes; what is told to nobody goes all the same.
fn purge(rehearse: bool, as_json: bool) -> Result<()> {
    let deed = if rehearse { "would remove" } else { "removed" };
    let purged = plugins::attachment::purge::purge(rehearse, |thing| {
        say::deed(deed, thing, as_json);
    });
    purged.map_err(|error| advised(error, &[Capability::NetAdmin]))
}

/// Tells of each attachment whose rules are there again.
fn restore(rehearse: bool, as_json: bool) -> Result<()> {
    let deed = if rehearse { "would restore" } else { "restored" };
    let path = Environment::of_this_process()?.path;
    restore::restore(&path, rehearse, |whose| say::deed(deed, whose, as_json))
        .map_err(|error| advised(error, &[Capability::NetAdmin]))
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
    let report = Report::of(&files, path, &environment.conf, with_host);
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
    let (list, _) = operation::configured(&environment, typed)?;
    let spoken = version::of(&list, &environment.path)?;
    say::either(as_json, || version::text(&list, &spoken), || version::json(&list, &spoken))
}

/// As plugins wrote it; a terminal gets nothing that would move its cursor.
fn pass_on(_plugin: &PluginName, stderr: &[u8]) {
    let plain = || plain_lines(&String::from_utf8_lossy(stderr)).into_bytes();
    let shown = if std::io::stderr().is_terminal() { &plain() } else { stderr };
    // Nobody to tell if that cannot be written.
    let _ = std::io::stderr().write_all(shown);
}
