//! What is asked for: the command line and the environment, as values.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use cni::conflist::Request;
use cni::conflist::object::Object;
use cni::error::{Code, Error, OrFail, Result};
use cni::name::IfName;
use sha2::{Digest, Sha512};

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
  CNI_PATH=/opt/cni/bin cnitool del mynet /run/netns/red";

const PURGE: &str = "\
Removes elements of the tables `inet jackfield` and `bridge jackfield`, chains and tables that are empty then, and
records in /run/jackfield/attachments, where the host end of their attachment is gone: after other plugins have
removed the links. Prints a line for each. To be run where the plugins run: in the host's network namespace.";

const RESTORE: &str = "\
Makes the rules of every attachment again whose link is there: masquerade, spoof check, published ports, and what the
firewall lets through. For when somebody has flushed the ruleset, or loaded another one. What is there already is left
alone. Prints a line for each attachment and plugin. CNI_PATH says where the plugins are; to be run where they run: in the
host's network namespace.";

/// The command line.
pub(super) fn command() -> Command {
    let network =
        Arg::new("network").value_name("NETWORK").required(true).help("the `name` in its configuration");
    let netns = Arg::new("netns").value_name("NETNS").help("path of the network namespace");
    let netns = netns.value_parser(clap::value_parser!(OsString));
    let ifname = Arg::new("ifname").short('i').long("ifname").value_name("NAME").global(true);
    let verb = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(network.clone());
    let with_netns = |verb: Command| verb.arg(netns.clone().required(true));
    Command::new("cnitool")
        .about("Attaches network namespaces to networks by hand, as a container runtime would")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(ENVIRONMENT)
        .arg(ifname.help("name of the interface in the namespace [default: $CNI_IFNAME or eth0]"))
        .subcommand(with_netns(verb("add", "Attach a namespace to a network, and print the result")))
        .subcommand(with_netns(verb("check", "Check that an attachment is as add left it")))
        .subcommand(with_netns(verb("del", "Detach a namespace from a network")))
        // The original wants a namespace here too, and does nothing with it.
        .subcommand(
            verb("gc", "Delete every remembered attachment of a network, and its leftovers")
                .arg(netns.clone()),
        )
        .subcommand(verb("status", "Ask whether a network is ready for add").arg(netns.clone()))
        .subcommand(purge())
        .subcommand(restore())
}

/// The original does not have this one, nor [`restore`]: they are about this node, and not about a network.
fn purge() -> Command {
    let rehearse = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue);
    Command::new("purge")
        .about("Remove what the Jackfield plugins left of attachments whose links are gone")
        .long_about(PURGE)
        .arg(rehearse.help("tell what would be removed, and remove nothing"))
}

fn restore() -> Command {
    let rehearse = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue);
    Command::new("restore")
        .about("Make the rules again that Jackfield plugins made for living attachments, after a flush")
        .long_about(RESTORE)
        .arg(rehearse.help("tell whose rules would be made, and make none"))
}

/// The variables that mean something to this program.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) conf: PathBuf,
    pub(super) path: Vec<PathBuf>,
    ifname: String,
    args: String,
    capabilities: String,
}

impl Environment {
    /// # Errors
    /// Code 4 for a value that is not UTF-8, where it has to be text.
    #[expect(clippy::disallowed_methods, reason = "this program has variables beyond those of the protocol")]
    pub(super) fn of_this_process() -> Result<Environment> {
        let value = |key| std::env::var_os(key).filter(|value| !value.is_empty());
        let text = |key| {
            let value = value(key).unwrap_or_default().into_string();
            value.map_err(|_| Error::new(Code::ENVIRONMENT, format!("{key} is not valid UTF-8")))
        };
        let path = value("CNI_PATH").unwrap_or_default();
        Ok(Environment {
            conf: value("NETCONFPATH").unwrap_or_else(|| "/etc/cni/net.d".into()).into(),
            path: std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()).collect(),
            ifname: text("CNI_IFNAME")?,
            args: text("CNI_ARGS")?,
            capabilities: text("CAP_ARGS")?,
        })
    }

    /// What a verb about one attachment is asked for. The container's ID is derived from the namespace's path, so that
    /// `check` and `del` find what `add` did.
    ///
    /// # Errors
    /// Code 4 for a variable or an argument that makes no sense.
    pub(super) fn request(&self, typed: &ArgMatches) -> Result<Request> {
        let netns = typed.get_one::<OsString>("netns").map_or_else(PathBuf::new, PathBuf::from);
        let netns = plain(&std::path::absolute(&netns).or_fail(Code::ENVIRONMENT, || "NETNS".into())?);
        let Some(netns) = netns.to_str() else {
            return Err(Error::new(
                Code::ENVIRONMENT,
                format!("NETNS is not valid UTF-8: {}", netns.display()),
            ));
        };
        let request = Request::new(container_id(netns).parse()?, self.ifname(typed)?, netns);
        Ok(Request { args: pairs(&self.args)?, capabilities: self.capabilities()?, ..request })
    }

    fn ifname(&self, typed: &ArgMatches) -> Result<IfName> {
        let typed = typed.get_one::<String>("ifname").map(String::as_str);
        let given = typed.into_iter().chain([self.ifname.as_str()]).find(|name| !name.is_empty());
        given.unwrap_or("eth0").parse()
    }

    fn capabilities(&self) -> Result<Object> {
        if self.capabilities.is_empty() {
            return Ok(Object::default());
        }
        let read = Object::parse(self.capabilities.as_bytes());
        read.map_err(|error| Error::new(Code::ENVIRONMENT, format!("CAP_ARGS is no JSON object: {error}")))
    }
}

/// `CNI_ARGS` in pairs, as strictly as the original has them.
fn pairs(args: &str) -> Result<Vec<(String, String)>> {
    let pair = |pair: &str| match pair.split('=').collect::<Vec<_>>().as_slice() {
        [key, value] if !key.is_empty() && !value.is_empty() => Ok(((*key).to_owned(), (*value).to_owned())),
        _ => Err(Error::new(Code::ENVIRONMENT, format!("invalid CNI_ARGS pair {pair:?}"))),
    };
    if args.is_empty() { Ok(Vec::new()) } else { args.split(';').map(pair).collect() }
}

/// The ID that the original derives: either program deletes what the other added.
fn container_id(netns: &str) -> String {
    let digest = Sha512::digest(netns);
    format!("cnitool-{}", digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The path without `.` and `..`, taken away by name alone, as Go's filepath.Clean does it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> ArgMatches {
        let matches = command().try_get_matches_from([&["cnitool"], words].concat()).unwrap();
        matches.subcommand().unwrap().1.clone()
    }

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn the_container_id_is_the_originals() {
        // printf %s /run/netns/red | sha512sum
        assert_eq!(container_id("/run/netns/red"), "cnitool-5a8afba643291be94fa1");
    }

    #[test]
    fn a_path_is_made_absolute_and_plain_by_name() {
        assert_eq!(plain(Path::new("/run//netns/./x/../red/")), Path::new("/run/netns/red"));
        assert_eq!(plain(Path::new("/../a")), Path::new("/a"));
    }

    #[test]
    fn the_interface_is_the_flags_then_the_variables_then_eth0() {
        let environment = Environment { ifname: "net1".into(), ..Environment::default() };
        let name = |environment: &Environment, words: &[&str]| {
            environment.ifname(&typed(words)).unwrap().to_string()
        };
        assert_eq!(name(&environment, &["add", "-i", "net2", "n", "/x"]), "net2");
        assert_eq!(name(&environment, &["add", "n", "/x", "--ifname="]), "net1");
        assert_eq!(name(&Environment::default(), &["add", "n", "/x"]), "eth0");
        assert!(environment.ifname(&typed(&["add", "-i", "a/b", "n", "/x"])).is_err());
    }

    #[test]
    fn arguments_are_pairs_and_nothing_else() {
        assert_eq!(pairs("A=1;B=2").unwrap(), [("A".into(), "1".into()), ("B".into(), "2".into())]);
        assert!(pairs("").unwrap().is_empty());
        for (bad, pair) in [("A", "A"), ("A=", "A="), ("=1", "=1"), ("A=1;", ""), ("A=1=2", "A=1=2")] {
            let error = pairs(bad).unwrap_err();
            assert_eq!(
                (error.code(), error.msg()),
                (Code::ENVIRONMENT, format!("invalid CNI_ARGS pair {pair:?}"))
            );
        }
    }
}
