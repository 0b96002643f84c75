//! `cnitool trace`: an operation, with everything that was said on the way.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::conflist::Runtime;
use cni::error::{Code, Error, OrFail, Result};
use cni::exec;
use cni::plain::{plain, plain_lines};
use serde_json::{Value as Json, json};

use super::operation::Operation;
use super::pretty::pretty;
use super::progress::Progress;
use super::recording::{self, About, CALLS, Call};
use super::relay;
use super::tree::{Branch, block, draw};

/// How the folder of a trace begins that is not kept.
const PASSING: &str = "jackfield-trace-";

/// A folder is locked sooner than that.
const SOON: Duration = Duration::from_secs(60);

/// Where calls are written down, and where this program stands for the plugins.
pub(super) struct Trace {
    root: PathBuf,
    keep: bool,
    /// Locked while this process lives.
    _held: Option<File>,
}

/// What came of a traced operation.
pub(super) struct Traced {
    pub(super) about: About,
    pub(super) calls: Vec<Call>,
    pub(super) outcome: Result<()>,
}

impl Trace {
    /// In this folder, which is new or empty and stays; or in one that goes with the trace.
    ///
    /// # Errors
    /// Code 5: it cannot be made, or has something in it.
    pub(super) fn begin(record: Option<&Path>, path: &[PathBuf]) -> Result<Trace> {
        let (root, is_new) = match record {
            Some(folder) => make(folder)?,
            None => (make_passing()?, true),
        };
        let keep = record.is_some();
        let making = || format!("failed to write into {}", root.display());
        let held = File::open(&root).ok().filter(|held| held.try_lock().is_ok());
        let trace = Trace { root: root.clone(), keep, _held: held };
        if let Err(error) = recording::make_folder(&trace.calls()).and_then(|()| trace.link(path)) {
            // What is not begun leaves nothing.
            let _ = fs::remove_dir_all(trace.calls());
            drop(trace);
            let _ = is_new.then(|| fs::remove_dir(&root));
            return Err(error).or_fail(Code::IO, making);
        }
        Ok(trace)
    }

    /// Every plugin's name leads to this program.
    fn link(&self, path: &[PathBuf]) -> std::io::Result<()> {
        let own = std::env::current_exe()?;
        recording::make_folder(&self.links())?;
        for entry in path.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten() {
            let entry = entry?;
            match symlink(&own, self.links().join(entry.file_name())) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn calls(&self) -> PathBuf {
        self.root.join(CALLS)
    }

    fn links(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The program that stands for a plugin.
    pub(super) fn stand_in(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    /// A search path on which everybody is met.
    pub(super) fn path(&self, path: &[PathBuf]) -> Vec<PathBuf> {
        std::iter::once(self.links()).chain(path.iter().cloned()).collect()
    }

    /// The variable that everybody whom we start has to have.
    pub(super) fn variable(&self) -> (std::ffi::OsString, std::ffi::OsString) {
        (relay::VARIABLE.into(), self.calls().into())
    }

    /// What has been written down.
    ///
    /// # Errors
    /// As [`recording::calls`].
    pub(super) fn read(&self) -> Result<Vec<Call>> {
        recording::calls(&self.root)
    }

    /// A line about the call that is under way.
    pub(super) fn progress(&self) -> Progress {
        let calls = self.calls();
        Progress::of(move || recording::under_way(&calls))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Both are ours alone; whoever wants to know what stayed finds it.
        let _ = fs::remove_dir_all(if self.keep { self.links() } else { self.root.clone() });
    }
}

/// Makes a folder that stays, unless it is there and empty; and says whether it did.
fn make(folder: &Path) -> Result<(PathBuf, bool)> {
    let folder = std::path::absolute(folder).or_fail(Code::IO, || "DIR".into())?;
    match recording::make_folder(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_empty(&folder)? => Ok((folder, false)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text =
                format!("{} is there already; a recording needs a folder of its own", folder.display());
            Err(Error::new(Code::IO, text))
        }
        made => {
            made.or_fail(Code::IO, || format!("failed to make {}", folder.display())).map(|()| (folder, true))
        }
    }
}

/// Makes a folder that goes. Who has our number in another container may have taken our name.
fn make_passing() -> Result<PathBuf> {
    let below = std::env::temp_dir();
    sweep(&below);
    let mut number = 0;
    loop {
        let folder = below.join(format!("{PASSING}{}.{number}", std::process::id()));
        match recording::make_folder(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => number += 1,
            made => {
                return made
                    .or_fail(Code::IO, || format!("failed to make {}", folder.display()))
                    .map(|()| folder);
            }
        }
    }
}

/// Removes what a trace has left that was killed. One that lives has its folder locked, soon after it has made it.
fn sweep(folder: &Path) {
    let own = Path::new("/proc/self").metadata().map(|own| own.uid());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PASSING);
        let Some(metadata) = entry.metadata().ok().filter(|metadata| is_ours && metadata.is_dir()) else {
            continue;
        };
        let old = metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > SOON));
        if !old || own.as_ref().is_ok_and(|own| *own != metadata.uid()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|held| held.try_lock().is_ok()) {
            // Whoever comes after us tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    let entries = fs::read_dir(folder).or_fail(Code::IO, || format!("read {}", folder.display()))?;
    Ok(entries.count() == 0)
}

/// Does it, and tells all.
///
/// # Errors
/// What keeps it from being begun: a network, a plugin or a namespace that is not there; a folder that cannot be written.
pub(super) fn trace(operation: &Operation<'_>, runtime: Runtime, record: Option<&Path>) -> Result<Traced> {
    let mut about = About::new(operation.verb.as_str(), operation.network());
    if let Some(whom) = operation.whom()? {
        about.container = Some(whom.container.to_string());
        about.ifname = Some(whom.ifname.to_string());
        about.netns = Some(whom.netns);
    }
    let path = runtime.path.clone();
    // Here, so that the error names the caller's path.
    if let Ok((list, _)) = operation.configured() {
        list.plugins.iter().try_for_each(|plugin| exec::find(&plugin.program, &path).map(drop))?;
    }
    let trace = Trace::begin(record, &path)?;
    recording::begin(&trace.root, &about)?;
    let runtime = Runtime { path: trace.path(&path), variables: vec![trace.variable()], ..runtime };
    let outcome = {
        let _progress = trace.progress();
        operation.run(&runtime, |_| Ok(()))
    };
    if let Err(error) = &outcome {
        about.error = Some(error.msg());
        recording::begin(&trace.root, &about)?;
    }
    Ok(Traced { about, calls: trace.read()?, outcome })
}

impl Traced {
    pub(super) fn text(&self) -> String {
        let About { verb, network, container, ifname, netns, .. } = &self.about;
        let whom = match (ifname, container, netns) {
            (Some(ifname), Some(container), Some(netns)) => {
                format!(": {} of {} ({})", plain(ifname), plain(container), plain(netns))
            }
            _ => String::new(),
        };
        let outcome = if self.outcome.is_ok() { "succeeded" } else { "failed" };
        let branches: Vec<Branch> = self.calls.iter().map(|call| branch(call, None)).collect();
        format!("{} network {}{whom}: {outcome}\n{}", plain(verb), plain(network), draw(&branches))
    }

    pub(super) fn json(&self) -> Json {
        let error = self.outcome.as_ref().err();
        json!({
            "verb": self.about.verb,
            "network": self.about.network,
            "containerID": self.about.container,
            "ifname": self.about.ifname,
            "netns": self.about.netns,
            "error": error.map(|error| json!({"code": error.code().0, "msg": error.msg(), "details": error.more()})),
            "calls": self.calls.iter().map(object).collect::<Vec<_>>(),
        })
    }
}

/// A call in a tree.
pub(super) fn branch(call: &Call, around: Option<&Call>) -> Branch {
    let outline = &call.outline;
    let time = outline
        .microseconds
        .map_or_else(String::new, |time| format!(", {}.{:03} ms", time / 1000, time % 1000));
    let head = format!(
        "{} {} ({}): {}{time}",
        plain(call.verb()),
        plain(&call.name),
        plain(&outline.program),
        outline.end()
    );
    let stdin = match around {
        Some(around) if around.stdin == call.stdin => "the same, to the byte".to_owned(),
        _ => document(&call.stdin),
    };
    let parts = [("stdin", stdin), ("stdout", document(&call.stdout)), ("stderr", document(&call.stderr))];
    let body = parts.iter().flat_map(|(name, text)| block(name, text)).collect();
    Branch { head, body, below: call.within.iter().map(|within| branch(within, Some(call))).collect() }
}

/// JSON on lines of its own, anything else as it is; plain.
fn document(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => plain_lines(&pretty(&text)),
        Err(_) => plain_lines(&text),
    }
}

fn object(call: &Call) -> Json {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "type": call.name,
        "program": call.outline.program,
        "environment": call.outline.environment,
        "stdin": text(&call.stdin),
        "stdout": text(&call.stdout),
        "stderr": text(&call.stderr),
        "exit": call.outline.exit,
        "signal": call.outline.signal,
        "microseconds": call.outline.microseconds,
        "calls": call.within.iter().map(object).collect::<Vec<_>>(),
    })
}
