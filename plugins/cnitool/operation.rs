//! A verb about a network: with what it is done, and doing it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use cni::call::Attachment;
use cni::capability::{Capability, advised};
use cni::conflist::list::List;
use cni::conflist::{OnFailure, Request, Runtime, folder};
use cni::env::Verb;
use cni::error::{Code, Error, OrFail, Result};
use linux::netns::NetNs;
use serde_json::value::RawValue;

use super::asked::{self, Environment};
use super::explain::{self, Explained};
use super::say::complain;

/// An operation, as it was typed.
pub(super) struct Operation<'a> {
    pub(super) verb: Verb,
    pub(super) environment: &'a Environment,
    pub(super) typed: &'a ArgMatches,
}

/// The verb that is called so on the command line.
pub(super) fn verb(word: &str) -> Result<Verb> {
    let verbs = [Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status];
    let found = verbs.into_iter().find(|verb| verb.as_str().eq_ignore_ascii_case(word));
    found.ok_or_else(|| Error::internal(format!("{word} is no command")))
}

impl Operation<'_> {
    /// The network's name, as it was typed.
    pub(super) fn network(&self) -> &str {
        asked::network(self.typed)
    }

    /// Does it. The result of ADD is for `tell`: where nobody gets it, ADD has failed.
    ///
    /// # Errors
    /// As [`Runtime`] has them; a network or a namespace that is not there; what `tell` says.
    pub(super) fn run(&self, runtime: &Runtime, tell: impl FnOnce(&RawValue) -> Result<()>) -> Result<()> {
        let list = || self.configured().map(|(list, _)| list);
        match self.verb {
            Verb::Add => add(runtime, &list()?, &self.request()?, tell),
            Verb::Check => {
                let request = self.request()?;
                runtime.check(&self.as_added(runtime, &request)?.0, &request)
            }
            Verb::Del => {
                let request = self.request()?;
                runtime.del(&self.as_added(runtime, &request)?.0, &request)
            }
            Verb::Gc => runtime.gc(&list()?, None),
            Verb::Status => runtime.status(&list()?),
            Verb::Version => Err(Error::internal("VERSION is about a plugin, and not about a network")),
        }
    }

    /// The same in words, without doing it. Where no namespace was typed, one is made up.
    ///
    /// # Errors
    /// A network that is not there, or a cache that cannot be read.
    pub(super) fn explain<T>(&self, runtime: &Runtime, tell: impl FnOnce(&Explained<'_>) -> T) -> Result<T> {
        let typed = asked::netns(self.typed).unwrap_or(OsStr::new("/run/netns/NETNS"));
        let request = self.environment.request(self.typed, typed)?;
        let of_container = matches!(self.verb, Verb::Add | Verb::Check | Verb::Del);
        let (list, file) = match self.verb {
            Verb::Check | Verb::Del => self.as_added(runtime, &request)?,
            _ => self.configured().map(|(list, file)| (list, Some(file)))?,
        };
        let whom = of_container.then_some(&request);
        let found = (&list, file.as_deref());
        explain::explain(self.verb, runtime, found, whom, &request.capabilities).map(|it| tell(&it))
    }

    /// Whom the operation is about, if it is about an attachment.
    ///
    /// # Errors
    /// As [`Environment::request`]; no namespace was typed.
    pub(super) fn whom(&self) -> Result<Option<Request>> {
        match self.verb {
            Verb::Add | Verb::Check | Verb::Del => self.request().map(Some),
            Verb::Gc | Verb::Status | Verb::Version => Ok(None),
        }
    }

    fn request(&self) -> Result<Request> {
        let missing = || {
            let verb = self.verb.as_str().to_lowercase();
            Error::new(Code::ENVIRONMENT, format!("{verb} needs NETNS, the path of a network namespace"))
        };
        self.environment.request(self.typed, asked::netns(self.typed).ok_or_else(missing)?)
    }

    /// The network that was asked for, from the folder or from the file that was named.
    ///
    /// # Errors
    /// It is not there, or makes no sense.
    pub(super) fn configured(&self) -> Result<(List, PathBuf)> {
        configured(self.environment, self.typed)
    }

    /// The same, or the list that `add` used, for a network whose configuration is gone or broken by now.
    fn as_added(&self, runtime: &Runtime, request: &Request) -> Result<(List, Option<PathBuf>)> {
        let gone = match self.configured() {
            Ok((list, file)) => return Ok((list, Some(file))),
            Err(gone) => gone,
        };
        let (container, ifname) = (request.container.clone(), request.ifname.clone());
        let network = asked::network(self.typed).parse();
        let record =
            network.and_then(|network| runtime.cache.read(&Attachment { network, container, ifname }));
        let list = record.ok().flatten().and_then(|record| record.list().ok().flatten()).ok_or(gone)?;
        Ok((list, None))
    }
}

fn add(
    runtime: &Runtime,
    list: &List,
    request: &Request,
    tell: impl FnOnce(&RawValue) -> Result<()>,
) -> Result<()> {
    let netns = NetNs::open(Path::new(&request.netns));
    let netns = netns.or_fail(Code::ENVIRONMENT, || format!("failed to open netns {:?}", request.netns))?;
    let link = netns.rtnl().and_then(|rtnl| rtnl.link_by_name(request.ifname.as_str()));
    // Whose an interface is that was there before nobody knows: an ADD that fails on it must not take it away.
    let link = link.doing(|| format!("look for {} in {:?}", request.ifname, request.netns));
    let on_failure = match link.map_err(|error| advised(error, &[Capability::SysAdmin]))? {
        None => OnFailure::Delete,
        Some(_) => OnFailure::Leave,
    };
    runtime.add_and_tell(list, request, on_failure, tell).map(drop)
}

/// The network that was asked for, and the file that holds it.
///
/// # Errors
/// It is not there, or makes no sense.
pub(super) fn configured(environment: &Environment, typed: &ArgMatches) -> Result<(List, PathBuf)> {
    let network = asked::network(typed);
    if let Some(file) = typed.get_one::<PathBuf>("conf") {
        let list = folder::read_any(file)?;
        if list.name.as_str() != network {
            let (file, other) = (file.display(), list.name.as_str());
            return Err(Error::config(format!("{file} holds the network {other:?}, and not {network:?}")));
        }
        return Ok((list, file.clone()));
    }
    let found = folder::find(&environment.conf, network)?;
    for unreadable in &found.unreadable {
        complain(&format!("Warning: passed over {}", unreadable.msg()));
    }
    Ok((found.list, found.file))
}
