//! What it takes to make an attachment's rules again, when somebody has flushed them: the call that made them, for a plugin that
//! comes behind others, as its ADD may be repeated.
//!
//! The line is added to a record when all is made: what an ADD wanted that was refused or killed is nobody's, and what an earlier
//! one has made is made again as that one wanted it. Whoever does not mean to repeat the call never reads it: a runtime may have
//! named ten thousand ports in it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cni::call::Add;
use cni::error::{OrFail, Result};
use cni::files;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::leftover::Leftover;
use super::lines;

/// Whose turn it is: a lock on this folder.
const TURNS: &str = "/run/jackfield/restore";

/// How the line begins.
pub(super) const START: &[u8] = b"{\"again\":";

#[derive(Deserialize, Serialize)]
struct Line {
    again: Again,
}

/// A call that made rules.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Again {
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    /// stdin, with the result of the plugins before.
    pub stdin: Box<RawValue>,
}

/// The line of a call.
///
/// # Errors
/// It cannot be written as JSON.
pub(super) fn line(add: &Add) -> Result<Vec<u8>> {
    let doing = || "write the call into the attachment's record".to_string();
    // White space between its words may be a line's end.
    let stdin = serde_json::to_string(&add.call.config).doing(doing)?;
    let stdin = RawValue::from_string(stdin).doing(doing)?;
    lines::line(&Line { again: Again { netns: add.netns.clone(), stdin } }).doing(doing)
}

/// The line of the last call that made all it wanted, in the text of a record. A torn one is that of a call which did not.
pub(super) fn line_of(text: &[u8]) -> Option<&[u8]> {
    let mut calls = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.starts_with(START));
    calls.rfind(|line| line.ends_with(b"\n") && lines::is_whole(line))
}

impl Leftover {
    /// The plugin whose record it is: the end of its name.
    pub fn plugin(&self) -> Option<&str> {
        let mut words = self.file.file_name()?.to_str()?.split('.').skip(1);
        let plugin = words.next()?;
        // What a crash has left behind another word is nobody's.
        words.next().is_none().then_some(plugin)
    }

    /// The call that made the rules, if one has made them all.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn again(&self) -> Result<Option<Again>> {
        let doing = || format!("read the call in {}", self.file.display());
        let text = files::read(&self.file).doing(doing)?;
        let read = |line| serde_json::from_slice(line).map(|line: Line| line.again).doing(doing);
        line_of(&text).map(read).transpose()
    }
}

/// Whoever ends attachments holds this beside others of his kind, and whoever makes their rules again holds it alone: what ends
/// in between would come back for ever otherwise.
///
/// # Errors
/// What the file system says.
fn turn(lock: impl FnOnce(&File) -> std::io::Result<()>) -> Result<File> {
    let folder = match File::open(TURNS) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files::folder(Path::new(TURNS)).and_then(|()| File::open(TURNS))
        }
        opened => opened,
    };
    folder.and_then(|folder| lock(&folder).map(|()| folder)).doing(|| format!("lock {TURNS}"))
}

/// The turn of whoever ends attachments that have records: nobody makes the rules of others again.
///
/// # Errors
/// What the file system says.
pub fn turn_to_end() -> Result<File> {
    turn(File::lock_shared)
}

/// The turn of whoever makes rules again.
///
/// # Errors
/// What the file system says.
pub fn turn_to_restore() -> Result<File> {
    turn(File::lock)
}
