//! `exec`: a program in a namespace, or in each of them.

use crate::each::{EACH, each};
use crate::text::told;
use crate::words::{Options, name};
use crate::{Refusal, Status, complain, environment, show};
use linux::named::{self, Command, Name, NotRun};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process;

/// Becomes a program in a namespace; with `-all`, runs it in every one.
pub(crate) fn exec(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    if options.all {
        let (program, arguments) = command(words)?;
        return everywhere(program, arguments);
    }
    if let Some((EACH, rest)) = words.split_first().and_then(|(first, rest)| Some((first.to_str()?, rest))) {
        return each(rest);
    }
    let name = name(words.first())?;
    let (program, arguments) = command(words.get(1..).unwrap_or_default())?;
    if options.in_batch {
        return finish(child(&name, program, arguments));
    }
    let search = environment::search_path();
    let command = Command { program, arguments, search: search.as_deref() };
    Err(match named::exec(&name, &command, &mut |fault| complain(&fault)) {
        NotRun::NotEntered(e) => Refusal::not_entered(e),
        NotRun::NotExecuted(e) => Refusal::failed(e),
    })
}

/// The program and its arguments.
pub(crate) fn command(words: &[OsString]) -> Result<(&OsStr, &[OsString]), Refusal> {
    let (program, arguments) = words.split_first().ok_or_else(|| Refusal::failed("No command specified"))?;
    Ok((program, arguments))
}

/// One namespace after the other, in the order of the list. A program that fails in one does not keep it from the others; one
/// that is killed does, so that an interrupt ends all of it.
fn everywhere(program: &OsStr, arguments: &[OsString]) -> Result<(), Refusal> {
    let mut done = Ok(());
    for name in named::names().map_err(Refusal::failed)? {
        show(&[b"\nnetns: ", &*told(name.as_os_str().as_bytes()), b"\n"].concat())?;
        match finish(child(&name, program, arguments)) {
            Err(refusal) if refusal.status == Status::Killed => return Err(refusal),
            Err(refusal) => done = Err(refusal),
            Ok(()) => {}
        }
    }
    done
}

/// This program as a process of its own, which becomes the other one. A fork could not do it: what is between a fork and an
/// exec must not allocate.
pub(crate) fn child(name: &Name, program: &OsStr, arguments: &[OsString]) -> process::Command {
    let mut child = process::Command::new("/proc/self/exe");
    child.arg0("netns").arg("exec").arg(name.as_os_str()).arg(program).args(arguments);
    child
}

fn finish(mut child: process::Command) -> Result<(), Refusal> {
    let ended = child.status();
    verdict(ended.map_err(|error| Refusal::failed(format!("Cannot start a process: {error}")))?)
}

/// What the program has to say of its failure it has said itself.
pub(crate) fn verdict(ended: process::ExitStatus) -> Result<(), Refusal> {
    match ended.code() {
        Some(0) => Ok(()),
        Some(_) => Err(Refusal::said()),
        None => Err(Refusal { status: Status::Killed, ..Refusal::said() }),
    }
}
