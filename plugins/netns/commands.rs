//! Every command in one table: its words, its page, its deed. Whatever describes the command line is made from it.

use crate::words::Options;
use crate::{Refusal, exec, graph, ids, list, names, page, processes, run};
use clap::ArgMatches;
use std::ffi::OsString;

/// A command.
pub(crate) struct Command {
    /// The word for it.
    pub(crate) name: &'static str,
    /// Other words for it.
    pub(crate) aliases: &'static [&'static str],
    /// What it does, in a line; nothing for one that is nobody's business.
    pub(crate) about: &'static str,
    /// How it is typed, one line for each way.
    pub(crate) usage: &'static str,
    /// What else there is to say.
    pub(crate) more: &'static str,
    /// What is done.
    pub(crate) deed: Deed,
}

/// Does a command.
pub(crate) type Perform<Words> = fn(&Options, &Words) -> Result<(), Refusal>;

/// What is done, and how the words behind the command are read.
pub(crate) enum Deed {
    /// A command of `ip netns`. Its words are taken as iproute2 takes them: anything may be a name, and what is too much is
    /// ignored.
    Words(Perform<[OsString]>),
    /// A command that `ip netns` does not have. clap reads its words.
    Read {
        /// Puts its options and arguments in.
        arguments: fn(clap::Command) -> clap::Command,
        perform: Perform<ArgMatches>,
    },
}

impl Command {
    /// All words for it.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// In iproute2's order, because any beginning stands for the first that begins so; then those that it does not have.
pub(crate) static COMMANDS: [&Command; 14] = [
    &LIST,
    &LIST_ID,
    &HELP,
    &ADD,
    &SET,
    &DELETE,
    &IDENTIFY,
    &PIDS,
    &EXEC,
    &MONITOR,
    &ATTACH,
    &GRAPH,
    &RUN,
    &RUN_INSIDE,
];

static LIST: Command = Command {
    name: "list",
    aliases: &["show", "ls", "lst"],
    about: "List the names; the same as no command at all",
    usage: "netns [--json [--pretty]] list",
    more: "\
`(id: N)` after a name is the number under which the kernel knows that namespace in this one,
if it has one: it gets one, for example, when the other end of a veth pair lies there.",
    deed: Deed::Words(list::list),
};

static LIST_ID: Command = Command {
    name: "list-id",
    aliases: &[],
    about: "List the numbers under which the kernel knows other namespaces in this one",
    usage: "netns [--json [--pretty]] list-id [target-nsid NUMBER] [nsid NUMBER]",
    more: "\
With `target-nsid`: the numbers that the namespace has which is that number here. With `nsid`: one number.

Examples:
  netns set blue 5
  netns list-id                   nsid 5 (iproute2 netns name: blue)
  netns list-id target-nsid 5     whom blue knows",
    deed: Deed::Words(ids::list_id),
};

static HELP: Command = Command {
    name: "help",
    aliases: &[],
    about: "Print this page, with exit status 255 as `ip netns help`",
    usage: "netns help",
    more: "",
    // As in iproute2, where `help` is what a wrong word gets; the same page with status 0 is `--help`.
    deed: Deed::Words(|_, _| Err(Refusal::rejected(page::help()))),
};

static ADD: Command = Command {
    name: "add",
    aliases: &[],
    about: "Make a namespace and give it a name",
    usage: "netns add [--with-loopback] NAME",
    more: "\
NAME is whatever can name a file, up to 255 bytes. The namespace is empty but for lo, which is down, or up
with --with-loopback. Fails if the name is taken.",
    deed: Deed::Words(names::add),
};

static SET: Command = Command {
    name: "set",
    aliases: &[],
    about: "Choose the number under which the kernel knows a namespace in this one",
    usage: "netns set NAME NUMBER|auto",
    more: "\
`auto` takes the lowest number that is free. A namespace keeps its number as long as it lives: there is no
other way to take it away.",
    deed: Deed::Words(ids::set),
};

static DELETE: Command = Command {
    name: "delete",
    aliases: &[],
    about: "Take a name away; the namespace ends when nothing uses it any more",
    usage: "netns delete NAME\n       netns --all delete",
    more: "\
The namespace lives on while a program runs in it or another name leads to it. When it ends, its
virtual links vanish and its physical ones return to the host. Processes that are still in it are named.",
    deed: Deed::Words(names::delete),
};

static IDENTIFY: Command = Command {
    name: "identify",
    aliases: &[],
    about: "Tell the name of the namespace that a process is in",
    usage: "netns identify [PID]\n       netns --all identify [PID]",
    more: "\
Without PID: of the caller's. An empty line if the namespace has no name; where it has several, the last of
them, or with --all each in a line of its own.",
    deed: Deed::Words(processes::identify),
};

static PIDS: Command = Command {
    name: "pids",
    aliases: &[],
    about: "List the processes in a namespace",
    usage: "netns pids NAME",
    more: "\
One number to a line, ascending. Without root only those of the caller.",
    deed: Deed::Words(processes::pids),
};

static EXEC: Command = Command {
    name: "exec",
    aliases: &[],
    about: "Run a program in a namespace",
    usage: "\
netns exec NAME PROGRAM [ARGUMENT...]
       netns exec --each NAME... -- PROGRAM [ARGUMENT...]
       netns --all exec PROGRAM [ARGUMENT...]",
    more: "\
The program takes the place of netns: same process, terminal, folder and environment, and the exit
status is the program's (1 if it cannot be run, 255 if the namespace cannot be entered).

It sees the namespace's own /sys, and for each file in /etc/netns/NAME that file in place of the
one in /etc: put a resolv.conf there to give the namespace a resolver of its own.

With --each the program runs in several namespaces, one after the other, and each line that it says has the
name before it; its standard input is empty. With --all it runs in every one.

Examples:
  netns exec blue sh
  netns exec --each red blue -- ip -br address",
    deed: Deed::Words(exec::exec),
};

static MONITOR: Command = Command {
    name: "monitor",
    aliases: &[],
    about: "Tell of names as they come and go",
    usage: "netns monitor",
    more: "\
A line for each, `add NAME` or `delete NAME`, until it is interrupted. `add` comes when the file of the name is
made; the namespace is mounted on it a moment later.",
    deed: Deed::Words(names::monitor),
};

static ATTACH: Command = Command {
    name: "attach",
    aliases: &[],
    about: "Give a name to the namespace that a process is in",
    usage: "netns attach NAME PID",
    more: "\
The namespace of a container, for example, that no tool has a name for. It may have several names; each of
them keeps it alive.",
    deed: Deed::Words(processes::attach),
};

static GRAPH: Command = Command {
    name: "graph",
    aliases: &[],
    about: "Draw all namespaces that you can see, and what joins them",
    usage: "netns graph [--routes] [--format FORMAT] [NAME...]",
    more: "\
Shown are the host's namespace, this process's, those with names and those that any process is in. With
names, only these and this process's own. What may not be entered is shown with the reason.

Examples:
  netns graph                          as a tree
  netns graph --routes red blue        two namespaces, and where their packets go
  netns graph --format svg >graph.svg  for a browser
  netns -p graph --format json | jq '.namespaces[] | select(.processes == 0).names'",
    deed: Deed::Read { arguments: graph::arguments, perform: graph::graph },
};

static RUN: Command = Command {
    name: "run",
    aliases: &[],
    about: "Run a program in a namespace that is made for it, and goes with it",
    usage: "netns run [--network NETWORK]... [--as-root] [--] PROGRAM [ARGUMENT...]",
    more: "\
The namespace has lo, which is up, and an interface for each NETWORK: those of /etc/cni/net.d, by plugins in
/opt/cni/bin, or where NETCONFPATH and CNI_PATH say. The exit status is the program's.

When the program has ended, everything is taken away; also on a signal, which the program gets; and after a
kill -9, with which the program ends too, by the next `netns run`. While it runs, the namespace is called run-...
in `netns list`, and other tools can look into it.

Under sudo the program runs as the user who called sudo. Without root, and without networks, it runs in a user
namespace, where the system lets users make them.

Examples:
  netns run -- sh                                 nothing that is done in it reaches the network
  sudo netns run --network jackfield -- curl ...  attached to a network, as yourself",
    deed: Deed::Read { arguments: run::arguments, perform: run::run },
};

/// What `run` starts this program with.
static RUN_INSIDE: Command = Command {
    name: "run-inside",
    aliases: &[],
    about: "",
    usage: "netns run-inside NAME RUNNER USER PROGRAM [ARGUMENT...]",
    more: "",
    deed: Deed::Words(run::inside),
};
