//! The attachments of a run to its networks, by their plugins.

use crate::{Refusal, complain, environment};
use cni::call::Attachment;
use cni::conflist::list::List;
use cni::conflist::{OnFailure, Request, Runtime, folder};
use cni::error::Error;
use cni::name::PluginName;
use cni::plain::plain_lines;
use linux::named::Name;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Networks, with what it takes to attach to them.
pub(super) struct Networks {
    /// The networks in the order in which they were asked for, each with its configuration.
    found: Vec<(String, List)>,
    pub(super) configurations: PathBuf,
    pub(super) plugins: OsString,
    runtime: Runtime,
}

impl Networks {
    /// Networks by name.
    pub(super) fn find(folder: &Path, plugins: &OsStr, names: &[String]) -> Result<Networks, Refusal> {
        let find = |name: &String| {
            let found = folder::find(folder, name)
                .map_err(|error| refusal(&format!("find network \"{name}\""), &error))?;
            for unreadable in &found.unreadable {
                complain(&format!("Warning: passed over {}", unreadable.msg()));
            }
            Ok((name.clone(), found.list))
        };
        let found = names.iter().map(find).collect::<Result<_, Refusal>>()?;
        Ok(Networks::of(folder, plugins, found))
    }

    /// The same for a run that was killed. A network whose configuration is gone is that which the runtime remembers; one
    /// that it does not remember was not attached to.
    pub(super) fn remembered(folder: &Path, plugins: &OsStr, names: &[String], run: &Name) -> Networks {
        let mut networks = Networks::of(folder, plugins, Vec::new());
        // Where the plugins were then they need not be any more, or never all were.
        networks.runtime.path.extend(folders(&environment::plugins()));
        for (number, name) in names.iter().enumerate() {
            let list = networks.remembers(run, number, name);
            let list = list.or_else(|| folder::find(folder, name).ok().map(|found| found.list));
            networks.found.extend(list.map(|list| (name.clone(), list)));
        }
        networks
    }

    fn of(folder: &Path, plugins: &OsStr, found: Vec<(String, List)>) -> Networks {
        let runtime = Runtime { overhear: pass_on, hold_signals: true, ..Runtime::new(folders(plugins)) };
        Networks { found, configurations: folder.into(), plugins: plugins.into(), runtime }
    }

    fn remembers(&self, run: &Name, number: usize, name: &str) -> Option<List> {
        let Request { container, ifname, .. } = request(run, number).ok()?;
        let network = name.parse().ok()?;
        let record = self.runtime.cache.read(&Attachment { network, container, ifname }).ok()??;
        record.list().ok().flatten()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.found.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Fails if a plugin of any of them is missing; nothing is run.
    pub(super) fn look_for_plugins(&self) -> Result<(), Refusal> {
        self.found.iter().try_for_each(|(name, list)| {
            let found = self.runtime.look_for_plugins(list);
            found.map_err(|error| refusal(&format!("attach to network \"{name}\""), &error))
        })
    }

    /// Attaches the namespace to all of them, up to the first that fails. What that one has left is for [`Networks::detach`].
    pub(super) fn attach(&self, run: &Name) -> Result<(), Refusal> {
        for (number, (name, list)) in self.found.iter().enumerate() {
            let attached = request(run, number)
                .and_then(|request| self.runtime.add(list, &request, OnFailure::Leave).map(drop));
            attached.map_err(|error| refusal(&format!("attach to network \"{name}\""), &error))?;
        }
        Ok(())
    }

    /// Detaches it again from all, the last one first; one that fails does not keep the others. What was not attached is
    /// detached.
    pub(super) fn detach(&self, run: &Name) -> Result<(), Refusal> {
        let mut done = Ok(());
        for (number, (name, list)) in self.found.iter().enumerate().rev() {
            let detached = request(run, number).and_then(|request| self.runtime.del(list, &request));
            if let Err(error) = detached {
                refusal(&format!("detach from network \"{name}\""), &error).tell();
                done = Err(Refusal::said());
            }
        }
        done
    }
}

fn folders(plugins: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(plugins).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// The run is the container; its first network is eth0.
fn request(run: &Name, number: usize) -> cni::error::Result<Request> {
    let container = run.as_os_str().to_string_lossy();
    Ok(Request::new(container.parse()?, format!("eth{number}").parse()?, run.file().to_string_lossy()))
}

/// An error of plugins in one line.
pub(super) fn refusal(doing: &str, error: &Error) -> Refusal {
    let more = error.more().map(|more| format!("; {more}")).unwrap_or_default();
    Refusal::failed(format!("Cannot {doing}: {}{more} (code {})", error.msg(), error.code().0))
}

fn pass_on(_plugin: &PluginName, stderr: &[u8]) {
    let plain = || plain_lines(&String::from_utf8_lossy(stderr)).into_bytes();
    let shown = if std::io::stderr().is_terminal() { &plain() } else { stderr };
    // Nobody to tell if that cannot be written.
    let _ = std::io::stderr().write_all(shown);
}
