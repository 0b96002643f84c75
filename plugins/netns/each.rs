//! `exec --each NAME... -- PROGRAM`: one program in several namespaces, one after the other, with the name before each line
//! of what it says.

use crate::exec::{child, command, verdict};
use crate::text::shown;
use crate::words::name;
use crate::{Refusal, Status};
use linux::named::{self, Name};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

/// The option of `exec`.
pub(crate) const EACH: &str = "--each";

/// Runs the program. One that fails does not keep it from the other namespaces; one that is killed does.
pub(crate) fn each(words: &[OsString]) -> Result<(), Refusal> {
    let end = words.iter().position(|word| word == "--");
    let end =
        end.ok_or_else(|| Refusal::rejected("exec --each NAME... -- PROGRAM: the \"--\" is missing"))?;
    let (names, rest) = words.split_at_checked(end).unwrap_or_default();
    let (program, arguments) = command(rest.get(1..).unwrap_or_default())?;
    let names: Vec<Name> = names.iter().map(|word| name(Some(word))).collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err(name(None).err().unwrap_or_else(Refusal::said));
    }
    // Before anything is run anywhere.
    names.iter().try_for_each(|name| named::exists(name).map_err(Refusal::not_entered))?;
    let mut done = Ok(());
    for name in &names {
        match run(name, child(name, program, arguments)) {
            Err(refusal) if refusal.status == Status::Killed => return Err(refusal),
            Err(refusal) => done = Err(refusal),
            Ok(()) => {}
        }
    }
    done
}

/// Runs one to its end, and to the end of what it says.
fn run(name: &Name, mut program: std::process::Command) -> Result<(), Refusal> {
    let not_started = |error: io::Error| Refusal::failed(format!("Cannot start a process: {error}"));
    // One standard input cannot be read several times.
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = program.spawn().map_err(not_started)?;
    let prefix = format!("{}: ", shown(name.as_os_str().as_bytes()));
    let (said, complained) = (running.stdout.take(), running.stderr.take());
    let told = std::thread::scope(|scope| {
        scope.spawn(|| complained.map(|complained| pass_on(&prefix, complained, &mut io::stderr())));
        said.map_or(Ok(()), |said| pass_on(&prefix, said, &mut io::stdout()))
    });
    let ended = running.wait().map_err(not_started)?;
    told.map_err(|error| Refusal::failed(format!("write error: {}", error.kind())))?;
    verdict(ended)
}

/// Line by line, so that lines of the two outputs do not mix.
fn pass_on(prefix: &str, from: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        to.write_all(&[prefix.as_bytes(), &line].concat())?;
        to.flush()?;
        line.clear();
    }
    Ok(())
}
