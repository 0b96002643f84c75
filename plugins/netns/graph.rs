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

use crate::{Refusal, show};
use std::ffi::OsString;

/// What to draw, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// These namespaces, and the one that this program runs in; all, if none is named.
    pub(crate) names: Vec<OsString>,
    pub(crate) form: Form,
    /// The routes of the main table, too.
    pub(crate) routes: bool,
}

/// The forms of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Tree,
    Json { pretty: bool },
}

/// Writes the picture.
pub(crate) fn graph(wish: &Wish) -> Result<(), Refusal> {
    let graph = gather::gather(&wish.names, wish.routes)?;
    show(&match wish.form {
        Form::Tree => tree::tree(&graph, &terminal::Terminal::of_stdout()).into_bytes(),
        Form::Json { pretty } => json::json(&graph, pretty).map_err(Refusal::failed)?,
    })
}
