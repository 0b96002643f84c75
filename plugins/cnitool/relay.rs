//! A plugin's place taken: what it is told and what it says is written down on the way.
//!
//! `trace` puts a folder before CNI_PATH in which every plugin's name leads to this program. Called so, it finds the plugin where
//! CNI_PATH goes on, and runs it; and whatever that plugin asks in its turn comes here too, with the folder of its call.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use cni::delegate;
use cni::error::{Code, Error, OrFail, Result};
use cni::exec;
use cni::name::PluginName;

use super::recording::{self, Outline};
use super::say;

/// The variable that says in which folder the next call is written down.
pub(super) const VARIABLE: &str = "JACKFIELD_TRACE";

/// A call that is not meant for `cnitool`.
pub(super) struct Relay {
    name: OsString,
    /// Where this program stands for others.
    links: PathBuf,
    within: PathBuf,
}

/// The plugin that this process was started as, if it was.
#[expect(clippy::disallowed_methods, reason = "the variable by which a trace is known")]
pub(super) fn asked() -> Option<Relay> {
    let within = std::env::var_os(VARIABLE)?.into();
    let called = PathBuf::from(std::env::args_os().next()?);
    let name = called.file_name()?.to_owned();
    let links = called.parent()?.to_owned();
    (name != "cnitool").then_some(Relay { name, links, within })
}

impl Relay {
    /// Runs the plugin, and ends as it ends.
    pub(super) fn run(&self) -> ExitCode {
        self.pass_on().unwrap_or_else(|error| {
            say::error(&error, true);
            ExitCode::FAILURE
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the plugin gets what we got")]
    fn pass_on(&self) -> Result<ExitCode> {
        let mut stdin = Vec::new();
        std::io::stdin().lock().read_to_end(&mut stdin).or_fail(Code::IO, || "read stdin".into())?;
        let path = std::env::var_os("CNI_PATH").unwrap_or_default();
        let path: Vec<PathBuf> = without(&path, &self.links);
        let name = self.name.to_str().ok_or_else(|| Error::internal("a plugin's name is not UTF-8"))?;
        let program = exec::find(&name.parse::<PluginName>()?, &path)?;
        let mut environment = recording::of_the_protocol(std::env::vars_os());
        if let Ok(path) = std::env::join_paths(&path) {
            environment.insert("CNI_PATH".into(), path.to_string_lossy().into_owned());
        }
        let program_name = program.to_string_lossy().into_owned();
        let mut outline = Outline { program: program_name, environment, ..Outline::default() };
        // A call that cannot be written down is made all the same.
        let folder = noted(recording::next(&self.within, &self.name));
        let note = |outline: &Outline, files: &[(&str, &[u8])]| {
            if let Some(folder) = &folder {
                for (name, bytes) in files {
                    noted(recording::write(&folder.join(name), bytes));
                }
                noted(recording::write_outline(folder, outline));
            }
        };
        note(&outline, &[("stdin", &stdin)]);
        let within = folder.clone().unwrap_or_else(|| self.within.clone());
        let started = Instant::now();
        let output = delegate::stand_in(&program, vec![(VARIABLE.into(), within.into())], &stdin)?;
        outline.microseconds = u64::try_from(started.elapsed().as_micros()).ok();
        outline.ended(output.status);
        note(&outline, &[("stdout", &output.stdout), ("stderr", &output.stderr)]);
        // Whoever asked may have gone.
        let _ = std::io::stderr().write_all(&output.stderr);
        let _ = std::io::stdout().write_all(&output.stdout).and_then(|()| std::io::stdout().flush());
        Ok(delegate::end_as(output.status))
    }
}

fn noted<T>(outcome: std::io::Result<T>) -> Option<T> {
    outcome
        .map_err(|error| say::complain(&format!("cnitool trace: a call is not written down: {error}")))
        .ok()
}

/// A search path without one of its folders.
fn without(path: &std::ffi::OsStr, folder: &Path) -> Vec<PathBuf> {
    std::env::split_paths(path).filter(|entry| entry != folder && !entry.as_os_str().is_empty()).collect()
}
