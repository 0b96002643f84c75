//! `netns graph`: who is wired to whom, over all namespaces that this user can see.
//!
//! - [`model`]: what there is: namespaces, their links, and where each link leads
//! - [`gather`]: reads it from the kernel, one namespace after the other; [`wires`] finds the other ends
//! - [`text`]: names are other people's texts, and are made harmless before anybody sees them
//! - [`tree`]: for a terminal, see [`terminal`]; [`json`]: for programs
//!
//! Nothing is changed, and nothing has to be: a namespace that may not be entered is shown with the reason.

mod gather;
mod json;
mod model;
mod natural;
mod terminal;
mod text;
mod tree;
mod wires;

use crate::words::Options;
use crate::{Refusal, show};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::ffi::OsString;

/// The options and arguments of the command.
pub(crate) fn arguments(command: clap::Command) -> clap::Command {
    let format = Arg::new("format").long("format").value_name("FORMAT").value_parser(["tree", "json"]);
    let routes = Arg::new("routes").long("routes").action(ArgAction::SetTrue);
    let names = Arg::new("names").value_name("NAME").num_args(0..).value_parser(value_parser!(OsString));
    command
        .arg(routes.help("Routes of the main table, too"))
        .arg(format.help("How it is drawn; `netns --json graph` is the same as --format json"))
        .arg(names.help("Only these namespaces, and the one that this program runs in"))
}

/// The forms of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Tree,
    Json { pretty: bool },
}

/// Writes the picture.
pub(crate) fn graph(options: &Options, words: &ArgMatches) -> Result<(), Refusal> {
    let names: Vec<OsString> = words.get_many("names").unwrap_or_default().cloned().collect();
    let graph = gather::gather(&names, words.get_flag("routes"))?;
    let asked = words.get_one::<String>("format").map(String::as_str);
    show(&match form(options, asked) {
        Form::Tree => tree::tree(&graph, &terminal::Terminal::of_stdout()).into_bytes(),
        Form::Json { pretty } => json::json(&graph, pretty).map_err(Refusal::failed)?,
    })
}

fn form(options: &Options, asked: Option<&str>) -> Form {
    let json = Form::Json { pretty: options.pretty };
    match asked {
        Some("json") => json,
        None if options.json => json,
        _ => Form::Tree,
    }
}
