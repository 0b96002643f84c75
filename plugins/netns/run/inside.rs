//! What a process does in the namespace of a run before it becomes the program.

use crate::words::{Options, name};
use crate::{Refusal, advice, complain, environment, names};
use cni::capability::Capability;
use linux::job::{die_with, let_through};
use linux::named::{self, Command};
use linux::rtnl::Rtnl;
use linux::user::{self, User};
use std::ffi::{OsStr, OsString};

/// The command that the runner starts itself with: `run-inside NAME RUNNER USER PROGRAM [ARGUMENT...]`.
pub(crate) const COMMAND: &str = "run-inside";

/// Becomes the program, in the namespace and with the rights of the user.
pub(crate) fn inside(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let [first, runner, user, program, arguments @ ..] = words else {
        return Err(Refusal::rejected("This command is for `netns run` itself"));
    };
    let number = |word: &OsString| word.to_str().and_then(|word| word.parse::<u32>().ok());
    let (Some(runner), Some(user)) = (number(runner), number(user)) else {
        return Err(Refusal::rejected("This command is for `netns run` itself"));
    };
    // Nobody waits for a program whose runner was killed.
    die_with(runner).map_err(Refusal::failed)?;
    named::enter(&name(Some(first))?, &mut |fault| complain(&fault)).map_err(Refusal::not_entered)?;
    if user != user::effective() {
        let user = User::numbered(user).map_err(Refusal::failed)?;
        user.become_for_good().map_err(Refusal::failed)?;
        die_with(runner).map_err(Refusal::failed)?;
    }
    let_through().map_err(Refusal::failed)?;
    become_program(program, arguments)
}

/// The same for a caller who may not make namespaces, in a user namespace of his own. Nothing has to be taken away afterwards,
/// so there is no runner either.
pub(super) fn alone(words: &[OsString]) -> Result<(), Refusal> {
    let (program, arguments) = words.split_first().ok_or_else(|| Refusal::failed("No command specified"))?;
    // Whatever the reason, advice is due: ENOSPC is what a limit of none says. Who is root in a namespace of his own by then is
    // asked before.
    let advice = advice::advice(Capability::SysAdmin);
    named::enter_nameless().map_err(|why| Refusal::failed(format!("{why}\n{advice}")))?;
    names::set_lo_up(&Rtnl::here().map_err(Refusal::failed)?)?;
    become_program(program, arguments)
}

fn become_program(program: &OsStr, arguments: &[OsString]) -> Result<(), Refusal> {
    let search = environment::search_path();
    Err(Refusal::failed(named::become_program(&Command { program, arguments, search: search.as_deref() })))
}
