//! `run`: a program in a namespace of its own, which is there for as long as the program runs.
//!
//! - [`record`]: what a run has made, for whoever comes after one that was killed
//! - [`wired`]: the attachments to networks
//! - [`inside`]: what the new process does before it becomes the program
//!
//! The namespace has a name, so that every other tool can look into it and plugins find it by a path that nobody else gets.

mod inside;
mod record;
mod wired;

pub(crate) use inside::inside;

use crate::words::Options;
use crate::{Refusal, Status, advice, environment, names, sigpipe};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use cni::capability::Capability;
use cni::conflist;
use linux::job::Signals;
use linux::named::{self, Name};
use linux::user::{self, User};
use record::Record;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use wired::Networks;

/// The options and arguments of the command.
pub(crate) fn arguments(command: clap::Command) -> clap::Command {
    let network =
        Arg::new("network").long("network").short('w').value_name("NETWORK").action(ArgAction::Append);
    let as_root = Arg::new("as-root").long("as-root").action(ArgAction::SetTrue);
    let program =
        Arg::new("program").value_name("PROGRAM").num_args(1..).required(true).trailing_var_arg(true);
    command
        .arg(network.help("Attach the namespace to this network: eth0 is the first, eth1 the second"))
        .arg(as_root.help("Under sudo: run the program as root, and not as the user who called sudo"))
        .arg(program.value_parser(value_parser!(OsString)).help("The program, and its arguments"))
}

/// Runs a program in a namespace that is made for it; what was made goes again, however that ends.
pub(crate) fn run(_: &Options, words: &ArgMatches) -> Result<(), Refusal> {
    let program: Vec<OsString> = words.get_many("program").unwrap_or_default().cloned().collect();
    let names: Vec<String> = words.get_many("network").unwrap_or_default().cloned().collect();
    if !advice::may_make_namespaces() {
        return if names.is_empty() { inside::alone(&program) } else { Err(not_without_root()) };
    }
    let networks = Networks::find(&environment::configurations(), &environment::plugins(), &names)?;
    let uid = if words.get_flag("as-root") { user::caller() } else { caller() };
    sigpipe::ignore();
    conflist::hold_signals().map_err(|error| wired::refusal("hold signals", &error))?;
    let ended = Signals::hold().map_err(Refusal::failed).and_then(|signals| {
        record::clean_up_after_the_killed();
        run_wired(&networks, &signals, uid, &program)
    });
    if let Err(refusal) = &ended {
        refusal.tell();
    }
    // Whoever was interrupted before there was a program ends here, by the signal.
    conflist::end_of_signals();
    ended.map_err(|refusal| Refusal { status: refusal.status, ..Refusal::said() })
}

fn not_without_root() -> Refusal {
    let why = "A network reaches out of the namespace: to attach to one needs root";
    Refusal { forbidden: Some(Capability::SysAdmin), ..Refusal::failed(why) }
}

/// Who runs this: under sudo its caller, who wants a network from root and not root's rights for the program.
fn caller() -> u32 {
    match user::caller() {
        0 if advice::is_root() => environment::caller_of_sudo().unwrap_or(0),
        other => other,
    }
}

fn run_wired(networks: &Networks, signals: &Signals, uid: u32, program: &[OsString]) -> Result<(), Refusal> {
    let user =
        (uid != user::effective()).then(|| User::numbered(uid)).transpose().map_err(Refusal::failed)?;
    // Nothing has begun where a plugin is missing: there is no record of it for others to clean up after, who would look for
    // that plugin in vain.
    networks.look_for_plugins()?;
    // The record comes first: what is made from here on, somebody knows of.
    let record = Record::begin(networks)?;
    let name = record.name();
    let ended = make(name, networks).and_then(|()| {
        conflist::refuse_when_interrupted().map_err(|error| wired::refusal("run", &error))?;
        let mut child = Command::new("/proc/self/exe");
        child.arg0("netns").arg(inside::COMMAND).arg(name.as_os_str());
        child.args([std::process::id().to_string(), uid.to_string()]).args(program);
        if let Some(user) = &user {
            child.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        let mut shrug = |fault| Refusal::by_deed(fault, Capability::Kill).tell();
        signals.run(&mut child, &mut shrug).map_err(Refusal::failed)
    });
    // Why it failed comes before what could then not be taken away.
    if let Err(refusal) = &ended {
        refusal.tell();
    }
    if let Err(refusal) = record.end(networks) {
        refusal.tell();
    }
    let ended = ended.map_err(|refusal| Refusal { status: refusal.status, ..Refusal::said() })?;
    match ended.code().or(ended.signal().map(|signal| 128 + signal)) {
        Some(0) => Ok(()),
        code => {
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            Err(Refusal { status: Status::Program(code), ..Refusal::said() })
        }
    }
}

/// Makes the namespace with everything that belongs into it.
fn make(name: &Name, networks: &Networks) -> Result<(), Refusal> {
    named::add(name).map_err(Refusal::by_name)?;
    names::set_loopback_up(name)?;
    networks.attach(name)
}

/// Takes away what [`make`] has made, or as much of it as is there.
fn unmake(name: &Name, networks: &Networks) -> Result<(), Refusal> {
    let detached = networks.detach(name);
    let deleted = match named::exists(name) {
        Ok(()) => names::delete_one(name),
        Err(_) => Ok(()),
    };
    deleted.and(detached)
}
