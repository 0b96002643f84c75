//! `netns graph`: who is wired to whom, over all namespaces that this user can see.
//!
//! - [`model`]: what there is: namespaces, their links, and where each link leads
//! - [`gather`]: reads it from the kernel, one namespace after the other; [`wires`] finds the other ends
//! - [`words`]: what all pictures say in the same words
//! - [`tree`]: for a terminal, see [`terminal`]; [`json`]: for programs; [`dot`]: for graphviz; [`mermaid`]: for pages of
//!   text that draw by themselves; [`svg`]: for everybody, by a [`layout`] of our own
//!
//! Nothing is changed, and nothing has to be: a namespace that may not be entered is shown with the reason.

mod dot;
mod gather;
#[cfg(test)]
mod hostile;
mod json;
mod layout;
mod mermaid;
mod model;
mod natural;
mod svg;
mod terminal;
pub(crate) mod tree;
mod wires;
mod words;

use crate::text::told_json;
use crate::words::Options;
use crate::{Refusal, show};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::ffi::OsString;

/// The forms of the picture, by their words.
const FORMS: [(&str, Form); 5] = [
    ("tree", Form::Tree),
    ("svg", Form::Svg),
    ("dot", Form::Dot),
    ("mermaid", Form::Mermaid),
    ("json", Form::Json),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Tree,
    Svg,
    Dot,
    Mermaid,
    Json,
}

/// The options and arguments of the command.
pub(crate) fn arguments(command: clap::Command) -> clap::Command {
    let format =
        Arg::new("format").long("format").value_name("FORMAT").value_parser(FORMS.map(|(word, _)| word));
    let routes = Arg::new("routes").long("routes").action(ArgAction::SetTrue);
    let names = Arg::new("names").value_name("NAME").num_args(0..).value_parser(value_parser!(OsString));
    command
        .arg(routes.help("Routes of the main table, too"))
        .arg(format.help("How it is drawn; `netns --json graph` is the same as --format json"))
        .arg(names.help("Only these namespaces, and the one that this program runs in"))
}

/// Writes the picture.
pub(crate) fn graph(options: &Options, words: &ArgMatches) -> Result<(), Refusal> {
    let names: Vec<OsString> = words.get_many("names").unwrap_or_default().cloned().collect();
    let graph = gather::gather(&names, words.get_flag("routes"))?;
    let asked = words.get_one::<String>("format");
    let form = asked.and_then(|asked| FORMS.iter().find(|(word, _)| word == asked).map(|(_, form)| *form));
    show(&match form.unwrap_or(if options.json { Form::Json } else { Form::Tree }) {
        Form::Tree => tree::tree(&graph, &terminal::Terminal::of_stdout()).into_bytes(),
        Form::Svg => svg::svg(&graph).into_bytes(),
        Form::Dot => dot::dot(&graph).into_bytes(),
        Form::Mermaid => mermaid::mermaid(&graph).into_bytes(),
        Form::Json => told_json(json::json(&graph, options.pretty).map_err(Refusal::failed)?),
    })
}
