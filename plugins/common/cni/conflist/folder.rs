//! Finding a network in the configuration folder.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::list::{List, Plugin};
use super::object::Object;
use crate::error::{Code, Error, OrFail, Result};

/// A network that was found.
#[derive(Debug)]
pub struct Found {
    /// The network, with the plugins of its own folder appended.
    pub list: List,
    /// The file that holds it.
    pub file: PathBuf,
    /// Files before it that could not be read: one of them might have meant this network too.
    pub unreadable: Vec<Error>,
}

/// Finds a network by name: first in `*.conflist`, then in `*.conf` and `*.json`, each in the order of their paths;
/// the first one wins. A file that cannot be read hides no other network, unless its `name` says that it is the one
/// that is wanted.
///
/// # Errors
/// Code 7 when there is no such network, with the unreadable files in the details; what [`read`] says of a broken
/// file with the wanted name; code 5 when the folder cannot be read.
pub fn find(folder: &Path, network: &str) -> Result<Found> {
    let files = files(folder)?;
    let mut unreadable = Vec::new();
    let (lists, singles): (Vec<&PathBuf>, Vec<&PathBuf>) =
        files.iter().partition(|file| extension(file) == "conflist");
    for file in lists.into_iter().chain(singles) {
        match read(file) {
            Ok(list) if list.name.as_str() == network => {
                return Ok(Found { list, file: file.clone(), unreadable });
            }
            Ok(_) => {}
            Err(broken) if claims(file, network) => return Err(broken),
            Err(broken) => unreadable.push(broken),
        }
    }
    let folder = folder.display();
    let missing = match files.as_slice() {
        [] => Error::config(format!("no net configurations found in {folder}")),
        _ => Error::config(format!("no net configuration with name {network:?} in {folder}")),
    };
    Err(unreadable.iter().fold(missing, |missing, broken| missing.details(broken.msg())))
}

/// Reads one file: a list if it is called `*.conflist`, else a single plugin, which becomes a list of one. A list gets
/// the plugins of the folder that has the network's name and stands beside the file, unless it says
/// `loadOnlyInlinedPlugins`.
///
/// # Errors
/// Code 5 for a file that cannot be read, else as [`List::parse`]; the message names the file.
pub fn read(file: &Path) -> Result<List> {
    read_if(file, |_| extension(file) == "conflist")
}

/// Reads one file that somebody has named, whatever it is called: a list if it has `plugins`.
///
/// # Errors
/// As [`read`].
pub fn read_any(file: &Path) -> Result<List> {
    let has_plugins =
        |bytes: &[u8]| Object::parse(bytes).is_ok_and(|document| document.get("plugins").is_some());
    read_if(file, |bytes| extension(file) == "conflist" || has_plugins(bytes))
}

fn read_if(file: &Path, is_list: impl FnOnce(&[u8]) -> bool) -> Result<List> {
    let read = || {
        let bytes = bytes(file)?;
        if !is_list(&bytes) {
            return List::wrap(&bytes);
        }
        let mut list = List::parse(&bytes)?;
        if !list.is_whole() {
            append_folder(&mut list, file)?;
        }
        if list.plugins.is_empty() {
            return Err(Error::config("error parsing configuration list: no plugin configs found"));
        }
        Ok(list)
    };
    read().or_fail(Code::CONFIG, || file.display().to_string())
}

/// Every one of these plugins is part of the network: one that cannot be read breaks it.
fn append_folder(list: &mut List, beside: &Path) -> Result<()> {
    let folder = beside.with_file_name(list.name.as_str());
    for file in files(&folder)?.iter().filter(|file| extension(file) == "conf") {
        let plugin = bytes(file).and_then(|bytes| Plugin::parse(&bytes));
        list.append(plugin.or_fail(Code::CONFIG, || file.display().to_string())?);
    }
    Ok(())
}

/// Does a file that cannot be used say that it is this network's?
fn claims(file: &Path, network: &str) -> bool {
    let name = || {
        let document = Object::parse(&bytes(file).ok()?).ok()?;
        serde_json::from_str::<String>(document.get("name")?.get()).ok()
    };
    name().is_some_and(|name| name == network)
}

/// The configuration files of a folder, in the order of their names; a folder that is not there has none.
///
/// # Errors
/// Code 5 when the folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("read the folder {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.or_fail(Code::IO, unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.or_fail(Code::IO, unreadable)?.path();
        if ["conflist", "conf", "json"].contains(&extension(&file)) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn bytes(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).or_fail(Code::IO, || "error reading file".into())
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(OsStr::to_str).unwrap_or_default()
}
