//! The whole life of a plugin's process: the only place that speaks.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::Plugin;
use crate::attach::Attached;
use crate::call::Call;
use crate::capability::advised;
use crate::decode::decode;
use crate::delegate;
use crate::env::{Env, Verb};
use crate::error::{Code, Error, Faults, OrFail, Result};
use crate::files;
use crate::hold;
use crate::log::Log;
use crate::passed_over::{self, Readable};
use crate::plain::plain_lines;
use crate::request::{Request, head_of, spec_in};
use crate::spec::Spec;

/// Answers one call of a plugin and ends: `main` is this line.
///
/// The result or the error object goes to stdout, and only one of them ever; exit status 0 or 1.
pub fn serve<P: Plugin>() -> ExitCode {
    let env = Env::of_this_process();
    let verb = match Verb::of(&env) {
        Ok(Verb::Version) => return version(),
        Ok(verb) => verb,
        Err(error) => return no_verb(&env, &error),
    };
    files::keep_others_out();
    let mut log = Log::begin(&env);
    let mut stdin = Vec::with_capacity(8192);
    let read = read_all(&mut stdin).or_fail(Code::IO, || "error reading from stdin".into());
    let head = head_of(&stdin);
    // From here on; whoever waits at a terminal for the end of stdin may still be interrupted.
    let begun = read.and_then(|_| delegate::die_with_the_parent(&env)).and_then(|()| hold::begin());
    let begun = log.hear(verb, &stdin).and(begun);
    let request = begun.and_then(|()| Request::read(verb, &env, stdin, P::ENTERS));
    let outcome = request.and_then(|request| unless_it_panics(|| dispatch::<P>(request)));
    match outcome.and_then(answer) {
        // A signal that comes after the answer has nothing left to stop: to die of it would make the answer a lie.
        Ok(()) => {
            log.write(verb, &env, &head, None);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = advised(error, P::NEEDS);
            let code = complain(spec_in(&head), &error);
            log.write(verb, &env, &head, Some(&error));
            hold::end();
            code
        }
    }
}

/// The same for a plugin that can tell a person something: called with words, it writes the page that `page` makes of them
/// to stdout. A runtime uses no words.
pub fn serve_or_list<P: Plugin>(page: impl FnOnce(&[String]) -> Result<String>) -> ExitCode {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if words.is_empty() {
        return serve::<P>();
    }
    match page(&words) {
        // Whoever has read enough may close the pipe.
        Ok(text) => ExitCode::from(u8::from(write_out(text.as_bytes()).is_err())),
        Err(error) => {
            warn(&format!("{}\n", error.msg()));
            ExitCode::FAILURE
        }
    }
}

/// Calls the plugin. What is to be answered comes back with the version to answer in.
fn dispatch<P: Plugin>(request: Request) -> Result<Option<(Attached, Spec)>> {
    match request {
        Request::Add(add) => {
            let attached = P::add(&add, conf::<P>(&add.call)?)?;
            Ok(Some((attached, add.call.spec)))
        }
        Request::Del(mut del) => {
            let (conf, rest) = readable::<P>(Verb::Del, &mut del.call)?;
            in_any_case(P::del(&del, conf), rest)
        }
        Request::Check(check) => P::check(&check, conf::<P>(&check.call)?).map(|()| None),
        Request::Gc(mut gc) => {
            let (conf, rest) = readable::<P>(Verb::Gc, &mut gc.call)?;
            in_any_case(P::gc(&gc, conf), rest)
        }
        Request::Status(call) => P::status(&call, conf::<P>(&call)?).map(|()| None),
    }
}

fn conf<P: Plugin>(call: &Call) -> Result<P::Conf> {
    decode(&call.config).doing(|| "failed to load netconf".into())
}

/// What DEL and GC can read of the configuration, and what is still to be said when they have done what they could. The rest
/// goes to the log.
fn readable<P: Plugin>(verb: Verb, call: &mut Call) -> Result<(P::Conf, Result<()>)> {
    let Readable { conf, told, rest } = passed_over::readable(verb, P::PLACES, call)?;
    warn(&plain_lines(&told));
    Ok((conf, rest))
}

fn in_any_case<T>(done: Result<()>, rest: Result<()>) -> Result<Option<T>> {
    let mut faults = Faults::default();
    faults.note(rest);
    faults.note(done);
    faults.verdict().map(|()| None)
}

/// A fault of ours is an answer, too: the stack is unwound, hence what was made is undone.
fn unless_it_panics<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Error::internal(format!("a fault in this plugin: {text}")))
    })
}

/// Gives the runtime its result. Only when it has it does the ADD stay.
fn answer(outcome: Option<(Attached, Spec)>) -> Result<()> {
    let Some((attached, spec)) = outcome else { return Ok(()) };
    let told = hold::refuse_when_arrived()
        .and_then(|()| attached.result().render(spec))
        .and_then(|result| say(&result).or_fail(Code::IO, || "cannot write the result to stdout".into()));
    match told {
        Ok(()) => {
            attached.keep();
            Ok(())
        }
        Err(error) => Err(attached.fail(error)),
    }
}

/// Writes the error object. An error that cannot be told on stdout is at least a line on stderr.
fn complain(spec: Option<Spec>, error: &Error) -> ExitCode {
    let mut object = json!({
        "cniVersion": spec.unwrap_or(Spec::NEWEST).as_str(),
        "code": error.code().0,
        "msg": error.msg(),
    });
    if let (Some(details), Json::Object(members)) = (error.more(), &mut object) {
        members.insert("details".into(), json!(details));
    }
    // An error may repeat what a stranger has said, and be read on a terminal. (What a plugin answers is its caller's own.)
    if let Err(cause) = indented(&object).and_then(|text| write_out(plain_lines(&text).as_bytes())) {
        warn(&format!("{}: and the error object cannot be written to stdout: {cause}\n", error.msg()));
    }
    ExitCode::FAILURE
}

/// One JSON document on stdout.
fn say(document: &Json) -> std::io::Result<()> {
    write_out(indented(document)?.as_bytes())
}

/// Indented by four spaces, as the Go plugins do.
fn indented(document: &Json) -> std::io::Result<String> {
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indented))?;
    String::from_utf8(text).map_err(std::io::Error::other)
}

/// std's stdout would split the text at its last line end, and wake the reader twice.
fn write_out(text: &[u8]) -> std::io::Result<()> {
    let mut rest = text;
    while !rest.is_empty() {
        match nix::unistd::write(std::io::stdout(), rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A line for people. There is nobody to tell when it cannot be written.
fn warn(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// No verb, or one that does not exist. A person at a terminal wants to know what this program is; a program wants an
/// error object.
fn no_verb(env: &Env, error: &Error) -> ExitCode {
    if !env.is_empty_of("CNI_COMMAND") {
        return complain(None, error);
    }
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let versions: Vec<&str> = Spec::ALL.iter().map(|spec| spec.as_str()).collect();
    warn(&format!(
        "CNI {name} plugin v{} (Jackfield)\nCNI protocol versions supported: {}\n",
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    ));
    match std::io::stdin().is_terminal() || std::io::stdout().is_terminal() {
        true => ExitCode::SUCCESS,
        false => complain(None, error),
    }
}

/// VERSION, before anything else and without a wait: podman asks every plugin at every command.
fn version() -> ExitCode {
    let spec = version_asked().unwrap_or(Spec::NEWEST);
    let versions = Spec::ALL.map(Spec::as_str);
    let text = json!({"cniVersion": spec.as_str(), "supportedVersions": versions}).to_string() + "\n";
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            warn(&format!("cannot write the versions to stdout: {cause}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Reads stdin to its end. What is longer than a configuration is the list of a GC: it has room from the beginning, so that
/// it is seldom in memory twice. Room that is not used costs nothing but addresses.
fn read_all(stdin: &mut Vec<u8>) -> std::io::Result<()> {
    const ORDINARY: u64 = 256 << 10;
    const ROOM: usize = 8 << 20;
    let mut from = std::io::stdin().lock();
    if (&mut from).take(ORDINARY).read_to_end(stdin)? as u64 == ORDINARY {
        stdin.reserve(ROOM);
        from.read_to_end(stdin)?;
    }
    Ok(())
}

/// The version in which VERSION was asked, if the asker says so at once. One that leaves stdin open without a word is
/// answered after 20 milliseconds; to a terminal we do not listen at all.
fn version_asked() -> Option<Spec> {
    let mut stdin = std::io::stdin().lock();
    let mut heard = Vec::new();
    while !stdin.is_terminal() {
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(20_u8)).ok()? == 0 {
            return None;
        }
        let mut chunk = [0; 4096];
        let length = stdin.read(&mut chunk).ok()?;
        heard.extend_from_slice(chunk.get(..length)?);
        if let Some(spec) = spec_in(&head_of(&heard)) {
            return Some(spec);
        }
        if length == 0 {
            return None;
        }
    }
    None
}
