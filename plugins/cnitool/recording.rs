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
    let text = match fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(foreign(": there is no trace.json in it"));
        }
        text => text.or_fail(Code::IO, || format!("read {}", path.display()))?,
    };
    let about: About =
        serde_json::from_slice(&text).map_err(|error| foreign(&format!(": trace.json: {error}")))?;
    match about.form {
        FORM => Ok(about),
        other => Err(foreign(&format!(" of form {FORM}, but {other}"))),
    }
}

/// The calls of a recording, in order.
///
/// # Errors
/// Code 5 for what cannot be read, 6 for what cannot be understood.
pub(super) fn calls(root: &Path) -> Result<Vec<Call>> {
    read(&root.join(CALLS), 0)
}

fn read(within: &Path, depth: usize) -> Result<Vec<Call>> {
    let reading = |path: &Path| format!("read {}", path.display());
    let places = places(within).or_fail(Code::IO, || reading(within))?;
    if depth == DEEPEST {
        return Err(Error::config(format!("{}: more than {DEEPEST} calls within calls", within.display())));
    }
    let call = |(_, name, folder): (usize, String, PathBuf)| {
        let file = |name: &str| match fs::read(folder.join(name)) {
            // It was killed before it came to that.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            bytes => bytes.or_fail(Code::IO, || reading(&folder.join(name))),
        };
        let path = folder.join(CALL);
        let outline = serde_json::from_slice(&file(CALL)?).or_fail(Code::DECODE, || reading(&path))?;
        let (stdin, stdout, stderr) = (file("stdin")?, file("stdout")?, file("stderr")?);
        Ok(Call { name, outline, stdin, stdout, stderr, within: read(&folder, depth + 1)? })
    };
    places.into_iter().map(call).collect()
}

/// The call that is under way, the innermost.
pub(super) fn under_way(within: &Path) -> Option<String> {
    let (_, name, folder) = places(within).ok()?.pop()?;
    let outline: Outline = serde_json::from_slice(&fs::read(folder.join(CALL)).ok()?).ok()?;
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
