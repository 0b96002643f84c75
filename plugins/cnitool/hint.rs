//! The next step, for whoever sits at a terminal and got an error.
//!
//! What is said comes from what there is, and not from the words of the error.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use cni::conflist::folder;
use cni::error::Code;

use super::asked::{self, Environment};
use super::validate::similar::similar;

/// What probably helps, if anything comes to mind.
pub(super) fn of(code: Code, verb: &str, typed: &ArgMatches, environment: &Environment) -> Option<String> {
    let takes = |name: &str| typed.ids().any(|id| id.as_str() == name);
    let hint = match typed.try_get_one::<PathBuf>("conf").ok().flatten() {
        Some(file) => about_the_file(file),
        None if takes("network") => about_the_network(asked::network(typed), &environment.conf),
        None => None,
    };
    if hint.is_some() {
        return hint;
    }
    let runs_plugins = !["validate", "list", "purge"].contains(&verb);
    if runs_plugins && environment.path.is_empty() {
        return Some("CNI_PATH names the folders of the plugins: CNI_PATH=/opt/cni/bin, as a rule".into());
    }
    if takes("netns")
        && let Some(hint) = asked::netns(typed).and_then(about_the_namespace)
    {
        return Some(hint);
    }
    // The kernel says there whose the process is. What makes no sense makes none to root either.
    let is_root = Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0);
    let may_be_forbidden = [Code::IO, Code::ENVIRONMENT, Code::INTERNAL].contains(&code);
    (!is_root && may_be_forbidden && verb != "validate").then(|| {
        format!("as root it may go: sudo -E cnitool {verb} …; or in a world of your own: unshare -Urnm")
    })
}

/// A file that is there, and makes no sense.
fn about_the_file(file: &Path) -> Option<String> {
    let is_bad = file.exists() && folder::read_any(file).is_err();
    is_bad.then(|| format!("cnitool validate {} says what is wrong there", file.display()))
}

fn about_the_network(network: &str, folder: &Path) -> Option<String> {
    if network.is_empty() || folder::find(folder, network).is_ok() {
        return None;
    }
    let lists = folder::files(folder).ok()?.into_iter().map(|file| (folder::read(&file), file));
    let (mut names, mut broken) = (Vec::new(), None);
    for (list, file) in lists {
        match list {
            Ok(list) => names.push(list.name.to_string()),
            Err(_) => broken = broken.or(Some(file)),
        }
    }
    match (similar(network, names.iter().map(String::as_str)), broken) {
        (Some(meant), _) => Some(format!("there is a network {meant}")),
        (None, Some(file)) => Some(format!("cnitool validate {} says what is wrong there", file.display())),
        (None, None) if names.is_empty() => Some("NETCONFPATH names the folder of the networks".into()),
        (None, None) => Some(format!("there are the networks {}", names.join(", "))),
    }
}

/// A name is taken for a path, as the original does it.
fn about_the_namespace(netns: &OsStr) -> Option<String> {
    let named = Path::new("/run/netns").join(Path::new(netns).file_name()?);
    let is_path = Path::new(netns).exists();
    (!is_path && named.exists()).then(|| format!("NETNS is a path; there is {}", named.display()))
}
