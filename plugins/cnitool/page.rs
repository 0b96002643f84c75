//! The command line, in one place: what is typed, what `--help` says, and whatever is generated from it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// What the end of every page says.
const ENVIRONMENT: &str = "\
Environment:
  NETCONFPATH  folder of the network configurations [default: /etc/cni/net.d]
  CNI_PATH     folders of the plugins, with ':' between them
  CNI_IFNAME   name of the interface, where no --ifname is given [default: eth0]
  CNI_ARGS     arguments for the plugins, KEY=VALUE;KEY=VALUE
  CAP_ARGS     arguments for capabilities, a JSON object

Examples:
  ip netns add red
  CNI_PATH=/opt/cni/bin cnitool add mynet /run/netns/red
  CNI_PATH=/opt/cni/bin cnitool del mynet /run/netns/red
  cnitool validate /etc/cni/net.d/*.conflist";

const GC: &str = "\
Deletes every attachment of the network that is in the cache, and then asks each plugin for GC. They are not told who lives, and
remove nothing then: what they left of attachments that nobody remembers is for `purge`, and leases for `host-local --verify`.";

const PURGE: &str = "\
Removes elements of the tables `inet jackfield` and `bridge jackfield`, chains and tables that are empty then, and
records in /run/jackfield/attachments, where the host end of their attachment is gone: after other plugins have
removed the links. Prints a line for each. To be run where the plugins run: in the host's network namespace.";

const RESTORE: &str = "\
Makes the rules of every attachment again whose link is there: masquerade, spoof check, published ports, and what the
firewall lets through. For when somebody has flushed the ruleset, or loaded another one. What is there already is left
alone. Prints a line for each attachment and plugin. CNI_PATH says where the plugins are; to be run where they run: in the
host's network namespace.";

const VALIDATE: &str = "\
Reads files as runtimes read them, and tells with line and column what these or the plugins would refuse (error), what is
hardly meant (warning), and what is worth knowing (note): keys that no plugin reads, capabilities that are missing or mean
nothing, subnets that overlap each other or the host's routes. Plugins are looked for in CNI_PATH, if it is set, and asked
for their versions; nothing else is run, and nothing is changed. Without a FILE it is every file in NETCONFPATH. The keys of
a plugin are known if it is one of this project.

The exit status is 1 if there is an error.";

const EXPLAIN: &str = "\
Tells what each plugin of a network would be told: its program, its variables, and its stdin as the runtime derives it, with name,
version, the arguments of its capabilities (CAP_ARGS) and the place of the result before it; and whom it asks for addresses.
Nothing is run. For check and del it is what is remembered of the add. Where no NETNS is named, one is made up.";

const LIST: &str = "\
Shows the networks in NETCONFPATH, the attachments that cnitool, or another runtime on libcni's cache, remembers, and whether the
kernel still has them, and the leases of host-local. With a NETWORK, what there is of that. Changes nothing.";

const TRACE: &str = "\
Does what VERB says, and prints every call of a plugin as a tree, with the calls within it: stdin, stdout, stderr, exit status and
time. For that a folder with links to cnitool stands before CNI_PATH meanwhile, so that it meets whatever is called along CNI_PATH,
by whomever. --record keeps what was said, in a folder that is for the caller alone: a file for each, and call.json for the rest.";

const REPLAY: &str = "\
Makes the calls of a recording again, in their order, with the same variables and stdin, and tells what is different. The plugins are
those of CNI_PATH now. It is they that are run, and not the operation: the namespace has to be there, what they attach is
attached, and the cache learns nothing of it. To take down what a replayed add has made, replay a del.

The exit status is 1 if anything is different.";

const VERSION: &str = "\
Asks every plugin of a network for the versions that it speaks, as runtimes do before they use it, and the plugins that
these ask for addresses. Without a NETWORK it is cnitool's own version that is told.";

/// The command line.
pub(super) fn command() -> Command {
    Command::new("cnitool")
        .about("Attaches network namespaces to networks by hand, as a container runtime would")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(ENVIRONMENT)
        .arg(ifname())
        .arg(json())
        .subcommand(of_a_container("add", "Attach a namespace to a network, and print the result"))
        .subcommand(of_a_container("check", "Check that an attachment is as add left it"))
        .subcommand(of_a_container("del", "Detach a namespace from a network"))
        .subcommand(
            of_a_whole_network("gc", "Delete every remembered attachment of a network, and ask for GC")
                .long_about(GC),
        )
        .subcommand(of_a_whole_network("status", "Ask whether a network is ready for add"))
        .subcommand(validate())
        .subcommand(explain())
        .subcommand(list())
        .subcommand(trace())
        .subcommand(replay())
        .subcommand(version())
        .subcommand(purge())
        .subcommand(restore())
}

fn ifname() -> Arg {
    let ifname = Arg::new("ifname").short('i').long("ifname").value_name("NAME").global(true);
    ifname.help("name of the interface in the namespace [default: $CNI_IFNAME or eth0]")
}

/// The option is everybody's, and accepted everywhere. A page on which it means nothing does not speak of it.
fn no_ifname() -> Arg {
    ifname().hide(true)
}

fn json() -> Arg {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).global(true);
    json.help("print JSON instead of text; an error is an object on stdout, as plugins write it")
}

fn network() -> Arg {
    Arg::new("network").value_name("NETWORK").help("the `name` in its configuration")
}

fn netns() -> Arg {
    let netns = Arg::new("netns").value_name("NETNS").help("path of the network namespace");
    netns.value_parser(value_parser!(OsString))
}

/// A verb about a network.
fn of_a_network(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).arg(network().required(true)).arg(conf())
}

/// The same, where the original wants a namespace too, and does nothing with it.
fn of_a_whole_network(name: &'static str, about: &'static str) -> Command {
    let netns = netns().help("taken, for the original wants it, and not looked at");
    of_a_network(name, about).arg(netns).arg(no_ifname())
}

/// A verb about one attachment.
fn of_a_container(name: &'static str, about: &'static str) -> Command {
    of_a_network(name, about).arg(netns().required(true))
}

fn conf() -> Arg {
    let conf = Arg::new("conf").long("conf").value_name("FILE").value_parser(value_parser!(PathBuf));
    conf.help("the file that holds the network, instead of those in NETCONFPATH")
}

fn dry_run(help: &'static str) -> Arg {
    Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help(help)
}

// What follows the original does not have.

fn validate() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let file = Arg::new("file").value_name("FILE").action(ArgAction::Append);
    Command::new("validate")
        .about("Tell what is wrong with configurations, and where")
        .long_about(VALIDATE)
        .arg(no_ifname())
        .arg(file.value_parser(value_parser!(PathBuf)).help("a configuration [default: all in NETCONFPATH]"))
        .arg(flag("strict").help("exit status 1 for warnings, too"))
        .arg(flag("files-only").help("look at the files alone, and not at this host's plugins and routes"))
        .arg(flag("keys").help("print the keys that plugins read; each FILE is then a plugin's name"))
}

/// A verb as a word.
fn verb() -> Arg {
    Arg::new("verb").value_name("VERB").value_parser(["add", "check", "del", "gc", "status"])
}

fn explain() -> Command {
    of_a_network("explain", "Tell which plugin would be told what")
        .long_about(EXPLAIN)
        .arg(netns())
        .arg(verb().long("verb").default_value("add").help("what would be asked of the plugins"))
}

fn list() -> Command {
    Command::new("list")
        .about("Show networks, attachments and leases")
        .long_about(LIST)
        .arg(no_ifname())
        .arg(network())
}

fn trace() -> Command {
    let record = Arg::new("record").long("record").value_name("DIR").value_parser(value_parser!(PathBuf));
    Command::new("trace")
        .about("Do something and tell everything that plugins were told and said")
        .long_about(TRACE)
        .arg(verb().required(true).help("what to do"))
        .arg(network().required(true))
        .arg(netns())
        .arg(conf())
        .arg(record.help("keep what was said in this folder, which is new or empty"))
}

fn replay() -> Command {
    let folder = Arg::new("folder").value_name("DIR").value_parser(value_parser!(PathBuf)).required(true);
    Command::new("replay")
        .about("Make the calls of a recording again and tell what is different")
        .long_about(REPLAY)
        .arg(no_ifname())
        .arg(folder.help("a folder that `trace --record` has written"))
}

fn version() -> Command {
    Command::new("version")
        .about("Ask the plugins of a network which versions they speak")
        .long_about(VERSION)
        .arg(no_ifname())
        .arg(network())
        .arg(conf())
}

/// About this node, and not about a network.
fn purge() -> Command {
    Command::new("purge")
        .about("Remove what the Jackfield plugins left of attachments whose links are gone")
        .long_about(PURGE)
        .arg(no_ifname())
        .arg(dry_run("tell what would be removed, and remove nothing"))
}

fn restore() -> Command {
    Command::new("restore")
        .about("Make the rules again that Jackfield plugins made for living attachments, after a flush")
        .long_about(RESTORE)
        .arg(no_ifname())
        .arg(dry_run("tell whose rules would be made, and make none"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }

    #[test]
    fn the_interface_is_taken_everywhere_and_spoken_of_where_it_means_something() {
        let mut command = super::command();
        command.build();
        for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
            let means = ["add", "check", "del", "explain", "trace"].contains(&below.get_name());
            let page = below.render_long_help().to_string();
            assert_eq!(page.contains("--ifname"), means, "{page}");
        }
        for words in ["-i net1 gc net", "gc -i net1 net /run/netns/red", "list --ifname net1"] {
            let typed =
                super::command().try_get_matches_from(["cnitool"].into_iter().chain(words.split(' ')));
            let typed = typed.unwrap();
            assert_eq!(typed.subcommand().unwrap().1.get_one::<String>("ifname").unwrap(), "net1");
        }
    }
}
