//! The command line as a newcomer reads it: what [`crate::commands`] says, laid out by clap.

use crate::commands::{COMMANDS, Command, Deed};
use clap::{Arg, ArgAction, ArgMatches};
use std::ffi::OsString;

const ABOUT: &str = "Make network namespaces, list them, run programs in them, and delete them";

const USAGE: &str = "netns [OPTIONS] [COMMAND]\n       netns [OPTIONS] --batch FILE";

const EXAMPLES: &str = "\
A network namespace is a network of its own: its own links, addresses, routes and firewall rules. A name is
a file in /run/netns that keeps the namespace alive without a process in it. The names are those of
`ip netns`: each tool sees what the other made.

Any beginning of a command or an option will do (`netns del`, `netns -j ls`). Options come before the command.

Examples:
  netns add blue                       make a namespace: it has one link, lo, which is down
  netns exec blue ip link set lo up    run a program in it
  netns exec blue ping -c1 127.0.0.1
  netns exec blue sh                   look around in it; `exit` leaves it
  netns                                list the names
  netns graph                          draw all namespaces and what joins them
  netns delete blue                    also ends it, unless something still runs in it

Namespaces need root. Without it, try in a world of your own:
  unshare -Urnm sh -c 'mount -t tmpfs none /run && exec sh'";

/// The whole command line: the pages are made from it, and whatever else describes it to people or shells.
pub(crate) fn command_line() -> clap::Command {
    let netns = Arg::new("netns").long("netns").short('n').value_name("NAME").action(ArgAction::Append);
    let batch = Arg::new("batch").long("batch").short('b').value_name("FILE");
    clap::Command::new("netns")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .override_usage(USAGE)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .arg(flag("json", 'j', "Write lists as JSON"))
        .arg(flag("pretty", 'p', "With --json: one value to a line"))
        .arg(flag("all", 'a', "With delete and exec: every name, one after the other"))
        .arg(netns.help("Do everything as seen from inside the namespace NAME"))
        .arg(batch.help("Perform the commands in a file, one to a line; `-` is standard input"))
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("With --batch: go on behind a failure"),
        )
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .subcommands(COMMANDS.iter().copied().map(clap_command))
}

/// The first page.
pub(crate) fn help() -> String {
    command_line().render_help().to_string()
}

/// The page of one command.
pub(crate) fn of(command: &Command) -> String {
    clap_command(command).render_help().to_string()
}

/// The words of a command that is ours, or why they make no sense, or its page.
pub(crate) fn read(command: &Command, words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    clap_command(command).no_binary_name(true).try_get_matches_from(words)
}

/// The version.
pub(crate) fn version() -> String {
    command_line().render_version()
}

fn flag(name: &'static str, letter: char, help: &'static str) -> Arg {
    Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue).help(help)
}

fn clap_command(command: &Command) -> clap::Command {
    let described = clap::Command::new(command.name)
        .visible_aliases(command.aliases)
        .about(command.about)
        .override_usage(command.usage)
        .after_help(command.more)
        .hide(command.name == "help" || command.about.is_empty());
    match command.deed {
        Deed::Words(_) => described,
        Deed::Read { arguments, .. } => arguments(described),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_agrees_with_the_table() {
        super::command_line().debug_assert();
    }
}
