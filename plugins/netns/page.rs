//! The command line as a newcomer reads it.

use clap::{Arg, ArgAction, Command, value_parser};
use std::ffi::OsString;

const ABOUT: &str = "Make network namespaces, list them, run programs in them, and delete them";

const USAGE: &str = "\
netns [--json [--pretty]] [list]
       netns add NAME
       netns delete NAME
       netns exec NAME PROGRAM [ARGUMENT...]
       netns graph [--routes] [--format FORMAT] [NAME...]";

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

/// The page, and the words that [`crate::words`] has spelled out.
pub(crate) fn command() -> Command {
    Command::new("netns")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .override_usage(USAGE)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .arg(flag("json", 'j', "Write the list as JSON"))
        .arg(flag("pretty", 'p', "With --json: one value to a line"))
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .subcommand(list())
        .subcommand(add())
        .subcommand(delete())
        .subcommand(exec())
        .subcommand(graph())
        .subcommand(
            with_words("help").about("Print this page, with exit status 255 as `ip netns help`").hide(true),
        )
}

fn flag(name: &'static str, letter: char, help: &'static str) -> Arg {
    Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue).help(help)
}

/// What is missing or too much is decided where iproute2's messages are: here all words are welcome.
fn with_words(name: &'static str) -> Command {
    let words = Arg::new("words").num_args(0..).value_parser(value_parser!(OsString)).hide(true);
    Command::new(name).arg(words)
}

fn list() -> Command {
    with_words("list")
        .visible_aliases(["ls", "show"])
        .about("List the names; the same as no command at all")
        .override_usage("netns [--json [--pretty]] list")
        .after_help(
            "`(id: N)` after a name is the number under which the kernel knows that namespace in this one,
if it has one: it gets one, for example, when the other end of a veth pair lies there.",
        )
}

fn add() -> Command {
    with_words("add")
        .about("Make a namespace and give it a name")
        .override_usage("netns add NAME")
        .after_help(
        "NAME is whatever can name a file, up to 255 bytes. The namespace is empty but for lo, which is down.
Fails if the name is taken.",
    )
}

fn delete() -> Command {
    with_words("delete")
        .about("Take a name away; the namespace ends when nothing uses it any more")
        .override_usage("netns delete NAME")
        .after_help(
            "The namespace lives on while a program runs in it or another name leads to it. When it ends, its
virtual links vanish and its physical ones return to the host.",
        )
}

fn exec() -> Command {
    with_words("exec")
        .about("Run a program in a namespace")
        .override_usage("netns exec NAME PROGRAM [ARGUMENT...]")
        .after_help(
            "The program takes the place of netns: same process, terminal, folder and environment, and the exit
status is the program's (1 if it cannot be run, 255 if the namespace cannot be entered).

It sees the namespace's own /sys, and for each file in /etc/netns/NAME that file in place of the
one in /etc: put a resolv.conf there to give the namespace a resolver of its own.",
        )
}

fn graph() -> Command {
    with_words("graph")
        .about("Draw all namespaces that you can see, and what joins them")
        .override_usage("netns graph [--routes] [--format FORMAT] [NAME...]")
        .arg(Arg::new("routes").long("routes").action(ArgAction::SetTrue).help("Routes of the main table, too"))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["tree", "json"])
                .help("How it is drawn; `netns --json graph` is the same as --format json"),
        )
        .after_help(
            "Shown are the host's namespace, this process's, those with names and those that any process is in. With
names, only these and this process's own. What may not be entered is shown with the reason.

Examples:
  netns graph                          as a tree
  netns graph --routes red blue        two namespaces, and where their packets go
  netns -p graph --format json | jq '.namespaces[] | select(.processes == 0).names'",
        )
}
