//! What was found in a file.

use std::fmt;
use std::path::{Path, PathBuf};

use cni::plain::plain;
use serde_json::{Value as Json, json};

use super::located::{Place, Text};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Worth knowing.
    Note,
    /// Runtimes and plugins take it; it is hardly what was meant.
    Warning,
    /// A runtime or a plugin refuses it.
    Error,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    pub(crate) file: PathBuf,
    pub(crate) place: Option<Place>,
    pub(crate) level: Level,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn to_json(&self) -> Json {
        json!({
            "file": self.file.to_string_lossy(),
            "line": self.place.map(|place| place.line),
            "column": self.place.map(|place| place.column),
            "level": self.level.as_str(),
            "text": self.text,
        })
    }
}

/// As compilers write it, so that editors find the place.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", plain(&self.file.to_string_lossy()))?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {}", self.level.as_str(), plain(&self.text))
    }
}

/// What is found in one file, while it is read.
pub(crate) struct Findings<'a> {
    file: &'a Path,
    text: &'a Text,
    all: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(file: &'a Path, text: &'a Text) -> Findings<'a> {
        Findings { file, text, all: Vec::new() }
    }

    pub(crate) fn file(&self) -> &'a Path {
        self.file
    }

    pub(crate) fn place(&self, at: usize) -> Place {
        self.text.place(at)
    }

    pub(crate) fn error(&mut self, at: usize, text: impl Into<String>) {
        self.add(Level::Error, at, text);
    }

    pub(crate) fn warning(&mut self, at: usize, text: impl Into<String>) {
        self.add(Level::Warning, at, text);
    }

    pub(crate) fn note(&mut self, at: usize, text: impl Into<String>) {
        self.add(Level::Note, at, text);
    }

    fn add(&mut self, level: Level, at: usize, text: impl Into<String>) {
        let (file, place) = (self.file.to_owned(), Some(self.text.place(at)));
        self.all.push(Finding { file, place, level, text: text.into() });
    }

    /// What a runtime says, where nothing better has been said.
    pub(crate) fn error_unless_any(&mut self, at: usize, text: String) {
        if !self.all.iter().any(|found| found.level == Level::Error) {
            self.error(at, text);
        }
    }

    pub(crate) fn into_all(self) -> Vec<Finding> {
        self.all
    }
}
