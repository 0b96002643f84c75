//! What a run makes, in a file that is locked for as long as the run lives. A lock that can be had is one whose holder has
//! died: the next run cleans up after it. Both are in /run, and gone with the boot, as namespaces are.

use super::unmake;
use super::wired::Networks;
use crate::{Refusal, complain};
use cni::capability::Capability;
use cni::files;
use cni::whole::Draft;
use linux::named::{Name, reason};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder of the records; each has the name of its namespace.
const FOLDER: &str = "/run/jackfield/runs";

/// A run that is under way.
pub(super) struct Record {
    name: Name,
    file: PathBuf,
    /// The lock is this opening's. No other process has it: it is closed when a program is executed.
    _held: File,
}

/// What the file says. Paths are bytes: they need not be text.
#[derive(Serialize, Deserialize)]
struct Written {
    networks: Vec<String>,
    configurations: Vec<u8>,
    plugins: Vec<u8>,
}

impl Record {
    /// Makes a record under a name that nobody has.
    pub(super) fn begin(networks: &Networks) -> Result<Record, Refusal> {
        let written = Written {
            networks: networks.names().into_iter().map(str::to_owned).collect(),
            configurations: networks.configurations.as_os_str().as_bytes().to_vec(),
            plugins: networks.plugins.as_bytes().to_vec(),
        };
        let make = || {
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
            let name = format!("run-{}", id.get(..8).unwrap_or(&id));
            let file = Path::new(FOLDER).join(&name);
            // It gets its name when it is whole and locked: nobody takes it for one whose holder has died.
            let mut draft = Draft::begin(Path::new(FOLDER))?;
            draft.file().try_lock()?;
            draft.file().write_all(&serde_json::to_vec(&written)?)?;
            draft.name(&file)?;
            Ok::<_, io::Error>((name, file, draft.into_file()))
        };
        let (name, file, held) = make().map_err(|error| {
            let why = reason(&error);
            let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
            Refusal {
                forbidden: is_forbidden.then_some(Capability::SysAdmin),
                ..Refusal::failed(format!("Cannot keep a record in {FOLDER}: {why}"))
            }
        })?;
        let name = Name::try_from(OsStr::new(&name)).map_err(Refusal::failed)?;
        Ok(Record { name, file, _held: held })
    }

    /// The name of the namespace, which is to be made by whoever has the record.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Takes everything away, and last of all the record: where something stays, the next run tries again.
    pub(super) fn end(self, networks: &Networks) -> Result<(), Refusal> {
        unmake(&self.name, networks)?;
        fs::remove_file(&self.file).map_err(|error| {
            Refusal::failed(format!("Cannot remove {}: {}", self.file.display(), reason(&error)))
        })
    }
}

/// Cleans up after the runs that were killed. What cannot be taken away is told, and keeps nobody from a run of his own.
pub(super) fn clean_up_after_the_killed() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        if let Some(Err(refusal)) = clean_up_after(&entry.path()) {
            refusal.tell();
            let record = entry.path();
            complain(&format!(
                "Note: this is left of an earlier run; the next one tries again ({})",
                record.display()
            ));
        }
    }
}

/// None if whoever made this lives.
fn clean_up_after(file: &Path) -> Option<Result<(), Refusal>> {
    // It says what is to be executed: nobody else's word counts.
    let held = files::open_trusted(file).ok()?;
    held.try_lock().ok()?;
    let found = held.metadata().ok()?;
    // Its holder has just removed it: then he has not died, or somebody else was quicker than we are.
    if found.nlink() == 0 {
        return None;
    }
    let name = Name::try_from(file.file_name()?).ok()?;
    // An earlier version gave it such a name first, and the right one before anything was made.
    if name.as_os_str().as_bytes().starts_with(b".") || found.len() == 0 {
        let _ = fs::remove_file(file);
        return None;
    }
    // What nobody can read today somebody may tomorrow: another version, or this one when the error has passed.
    let written = match read(&held) {
        Ok(written) => written,
        Err(why) => return Some(Err(Refusal::failed(format!("Cannot read {}: {why}", file.display())))),
    };
    let (folder, plugins) =
        (Path::new(OsStr::from_bytes(&written.configurations)), OsStr::from_bytes(&written.plugins));
    let networks = Networks::remembered(folder, plugins, &written.networks, &name);
    Some(Record { name, file: file.into(), _held: held }.end(&networks))
}

fn read(held: &File) -> Result<Written, String> {
    let why = |error: io::Error| match error.raw_os_error() {
        Some(_) => reason(&error).to_owned(),
        None => error.to_string(),
    };
    let text = files::whole(held).map_err(why)?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
