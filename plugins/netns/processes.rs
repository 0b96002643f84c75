//! `attach`, `identify` and `pids`: names and the processes in their namespaces.

use crate::text::told;
use crate::words::{Options, name};
use crate::{Refusal, advice, complain, number, show};
use cni::capability::Capability;
use linux::named::{self, Process};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Gives a name to the namespace of a process.
pub(crate) fn attach(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let [first, process, ..] = words else { return Err(Refusal::failed("No netns name and PID specified")) };
    let name = name(Some(first))?;
    match number::read(process) {
        None | Some(0) => Err(Refusal::failed(format!("Invalid PID: {}", process.display()))),
        Some(process) => named::attach(&name, process).map_err(Refusal::by_name),
    }
}

/// Writes the name of the namespace that a process is in.
pub(crate) fn identify(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let process = match words {
        [] => Process::this(),
        [word] => word
            .to_str()
            .and_then(Process::numbered)
            .ok_or_else(|| Refusal::failed(format!("Specified string '{}' is not a pid", word.display())))?,
        _ => return Err(Refusal::failed("extra arguments specified")),
    };
    let names = named::names_of(&process).map_err(Refusal::by_name)?;
    // `ip netns` looks at each and keeps the last.
    let shown =
        if options.all { names.as_slice() } else { names.last().map_or(&[][..], std::slice::from_ref) };
    let lines: Vec<_> = shown.iter().map(|name| told(name.as_os_str().as_bytes())).collect();
    show(&[&lines.join(&b'\n'), &b"\n"[..]].concat())
}

/// Writes the numbers of the processes in a namespace.
pub(crate) fn pids(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    if words.len() > 1 {
        return Err(Refusal::failed("extra arguments specified"));
    }
    let members = named::processes_in(&name(words.first())?).map_err(Refusal::by_name)?;
    let lines: String = members.processes.iter().map(|process| format!("{process}\n")).collect();
    show(lines.as_bytes())?;
    if members.hidden > 0 {
        let lacking = advice::lacks(Capability::SysPtrace);
        let why = if lacking { format!(" without {}", Capability::SysPtrace) } else { String::new() };
        complain(&format!(
            "Note: {} processes may not be looked at{why}, and may be there, too",
            members.hidden
        ));
    }
    Ok(())
}
