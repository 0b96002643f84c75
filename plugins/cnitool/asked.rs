//! What is asked for: the environment, and what was typed, as values.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use clap::ArgMatches;
use cni::conflist::Request;
use cni::conflist::object::Object;
use cni::error::{Code, Error, OrFail, Result};
use cni::name::IfName;
use sha2::{Digest, Sha512};

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
    pub(super) fn request(&self, typed: &ArgMatches, netns: &OsStr) -> Result<Request> {
        let netns = plain(&std::path::absolute(netns).or_fail(Code::ENVIRONMENT, || "NETNS".into())?);
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

/// The network that was typed; empty where none was.
pub(super) fn network(typed: &ArgMatches) -> &str {
    typed.get_one::<String>("network").map_or("", String::as_str)
}

/// The namespace that was typed.
pub(super) fn netns(typed: &ArgMatches) -> Option<&OsStr> {
    typed.get_one::<OsString>("netns").map(OsString::as_os_str)
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
        let matches = crate::page::command().try_get_matches_from([&["cnitool"], words].concat()).unwrap();
        matches.subcommand().unwrap().1.clone()
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
