//! Calls of plugins on disk: a folder for each, `1-bridge`, with the folders of the calls that were made within it.
//!
//! stdin, stdout and stderr are files of these names, to the byte; `call.json` holds the rest. Of the environment only `CNI_*` is
//! kept: the rest is the runtime's, and may be secret. Above them all lies `trace.json`, by which a recording is known.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use cni::error::{Code, Error, OrFail, Result};
use cni::files;
use serde::{Deserialize, Serialize};

/// The file by which a recording is known.
const TRACE: &str = "trace.json";
const CALL: &str = "call.json";

/// Below a recording: its calls.
pub(super) const CALLS: &str = "calls";

/// What is written there now; a later form gets another number.
const FORM: u32 = 1;

/// More calls within calls than anybody makes.
const DEEPEST: usize = 16;

/// A whole recording is not longer, in bytes: it is read at once, and somebody else may have made it.
const LONGEST: usize = 8 << 20;

/// What a call takes at least, however little it says.
const LEAST: usize = 1024;

/// What a whole recording is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    form: u32,
    pub(super) verb: String,
    pub(super) network: String,
    #[serde(rename = "containerID", default, skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ifname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) netns: Option<String>,
    /// What the runtime made of it; none where it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl About {
    pub(super) fn new(verb: &str, network: &str) -> About {
        let (verb, network) = (verb.to_owned(), network.to_owned());
        About { form: FORM, verb, network, container: None, ifname: None, netns: None, error: None }
    }
}

/// A call without its documents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Outline {
    pub(super) program: String,
    pub(super) environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) microseconds: Option<u64>,
}

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) outline: Outline,
    pub(super) stdin: Vec<u8>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) within: Vec<Call>,
}

impl Call {
    pub(super) fn verb(&self) -> &str {
        self.outline.environment.get("CNI_COMMAND").map_or("", String::as_str)
    }
}

impl Outline {
    /// What is written in `call.json`.
    fn read(text: &[u8]) -> serde_json::Result<Outline> {
        serde_json::from_slice(text)
    }

    /// The environment of the protocol: what else is in a recording has no business there, whoever has put it there, and a name
    /// with a `=` would be another one's to whoever reads it.
    pub(super) fn of_the_protocol(&self) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().filter(|(key, _)| key.starts_with("CNI_") && !key.contains('='))
    }

    pub(super) fn ended(&mut self, status: ExitStatus) {
        (self.exit, self.signal) = (status.code(), status.signal());
    }

    /// How it ended, in words.
    pub(super) fn end(&self) -> String {
        match (self.exit, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "not ended".into(),
        }
    }
}

/// A folder that is the caller's alone, new.
///
/// # Errors
/// Code 5: it is there already, or cannot be made.
pub(super) fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a file that is the caller's alone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Says what a recording is about.
///
/// # Errors
/// Code 5.
pub(super) fn begin(root: &Path, about: &About) -> Result<()> {
    let path = root.join(TRACE);
    let text = serde_json::to_string_pretty(about).or_fail(Code::IO, || "write JSON".into())?;
    write(&path, text.as_bytes()).or_fail(Code::IO, || format!("write {}", path.display()))
}

/// Makes the folder for the next call within a folder.
pub(super) fn next(within: &Path, name: &OsStr) -> std::io::Result<PathBuf> {
    let mut number = places(within)?.len() + 1;
    loop {
        let folder = within.join(numbered(number, name));
        // Two calls at once: the one that comes second is the next.
        let taken = places(within)?.into_iter().any(|(taken, _, _)| taken == number);
        match if taken { Err(ErrorKind::AlreadyExists.into()) } else { make_folder(&folder) } {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(()) => return Ok(folder),
        }
    }
}

fn numbered(number: usize, name: &OsStr) -> OsString {
    let mut folder = OsString::from(format!("{number}-"));
    folder.push(name);
    folder
}

pub(super) fn write_outline(folder: &Path, outline: &Outline) -> std::io::Result<()> {
    write(&folder.join(CALL), serde_json::to_string_pretty(outline)?.as_bytes())
}

/// The folders of calls in a folder, in order, by number and name.
fn places(within: &Path) -> std::io::Result<Vec<(usize, String, PathBuf)>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(within)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.split_once('-').and_then(|(number, name)| Some((number.parse().ok()?, name)));
        if let Some((number, name)) = number.filter(|_| entry.file_type().is_ok_and(|sort| sort.is_dir())) {
            places.push((number, name.to_owned(), entry.path()));
        }
    }
    places.sort();
    Ok(places)
}

/// What a recording is about.
///
/// # Errors
/// Code 5 for what cannot be read; code 7 for a folder that is no recording.
pub(super) fn about(root: &Path) -> Result<About> {
    let path = root.join(TRACE);
    let foreign = |why: &str| {
        let root = root.display();
        Error::config(format!("{root} is no recording{why}; `cnitool trace --record DIR` makes one"))
    };
    let text = match files::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(foreign(": there is no trace.json in it"));
        }
        text => text.or_fail(Code::IO, || format!("read {}", path.display()))?,
    };
    About::read(&text).map_err(|why| foreign(&why))
}

impl About {
    /// What is written in `trace.json`, or what is wrong with it.
    fn read(text: &[u8]) -> std::result::Result<About, String> {
        let about: About = serde_json::from_slice(text).map_err(|error| format!(": trace.json: {error}"))?;
        match about.form {
            FORM => Ok(about),
            other => Err(format!(" of form {FORM}, but {other}")),
        }
    }
}

/// The calls of a recording, in order.
///
/// # Errors
/// Code 5 for what cannot be read, 6 for what cannot be understood, 7 for more than anybody records.
pub(super) fn calls(root: &Path) -> Result<Vec<Call>> {
    let mut room = LONGEST;
    read(&root.join(CALLS), 0, &mut room)
}

/// `room` is how much may still be read.
fn read(within: &Path, depth: usize, room: &mut usize) -> Result<Vec<Call>> {
    let reading = |path: &Path| format!("read {}", path.display());
    let places = places(within).or_fail(Code::IO, || reading(within))?;
    if depth == DEEPEST {
        return Err(Error::config(format!("{}: more than {DEEPEST} calls within calls", within.display())));
    }
    let mut call = |(_, name, folder): (usize, String, PathBuf)| {
        let mut file = |name: &str| match files::read(&folder.join(name)) {
            // It was killed before it came to that.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            bytes => {
                let bytes = bytes.or_fail(Code::IO, || reading(&folder.join(name)))?;
                *room = room.checked_sub(bytes.len() + LEAST).ok_or_else(|| {
                    let limit = LONGEST >> 20;
                    Error::config(format!("{}: the recording has more than {limit} MiB", folder.display()))
                })?;
                Ok(bytes)
            }
        };
        let path = folder.join(CALL);
        let outline = Outline::read(&file(CALL)?).or_fail(Code::DECODE, || reading(&path))?;
        let (stdin, stdout, stderr) = (file("stdin")?, file("stdout")?, file("stderr")?);
        Ok(Call { name, outline, stdin, stdout, stderr, within: read(&folder, depth + 1, room)? })
    };
    places.into_iter().map(&mut call).collect()
}

/// The call that is under way, the innermost.
pub(super) fn under_way(within: &Path) -> Option<String> {
    let (_, name, folder) = places(within).ok()?.pop()?;
    let outline = Outline::read(&files::read(&folder.join(CALL)).ok()?).ok()?;
    let here = (outline.exit, outline.signal) == (None, None);
    here.then(|| under_way(&folder).unwrap_or(name))
}

/// The variables of the protocol among these, as text.
pub(super) fn of_the_protocol(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    let ours = variables.filter(|(key, _)| key.as_bytes().starts_with(b"CNI_"));
    ours.map(|(key, value)| (key.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::{replay, trace, tree};
    use super::*;

    /// A recording of one call in one document; what is no document stands for a text that a plugin has said.
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        trace: &'a RawValue,
        #[serde(borrow)]
        call: &'a RawValue,
        #[serde(borrow)]
        stdout: &'a RawValue,
    }

    fn recorded(bytes: &[u8]) -> Option<(About, Call)> {
        let whole: Whole<'_> = serde_json::from_slice(bytes).ok()?;
        let about = About::read(whole.trace.get().as_bytes()).ok()?;
        let outline = Outline::read(whole.call.get().as_bytes()).ok()?;
        Some((about, said(outline, whole.stdout.get().as_bytes())))
    }

    fn said(outline: Outline, stdout: &[u8]) -> Call {
        let (name, stdout) = (outline.program.clone(), stdout.to_vec());
        Call { name, outline, stdin: Vec::new(), stdout, stderr: Vec::new(), within: Vec::new() }
    }

    /// What is shown is plain, and in proportion; what is passed on is of the protocol; a call is no other than itself.
    #[test]
    fn whatever_a_recording_holds_can_be_shown_and_compared() {
        fuzz::attack("recording", |bytes| {
            let read = recorded(bytes).map(|(_, call)| call);
            let call = read.unwrap_or_else(|| said(Outline::default(), bytes));
            let text = tree::draw(&[trace::branch(&call, None)]);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(text.len() <= 4096 + 512 * bytes.len(), "{} of {}", text.len(), bytes.len());
            assert!(replay::is_same(&call, &call));
            let mut kept = call.outline.of_the_protocol();
            assert!(kept.all(|(key, _)| key.starts_with("CNI_") && !key.contains('=')));
        });
    }
}
