//! The words: the Container Network Interface, versions 0.1.0 to 1.1.0, as values.
//!
//! A plugin is a type that implements [`Plugin`]; its `main` is one line:
//!
//! ```no_run
//! # struct Bridge;
//! # impl cni::Plugin for Bridge {
//! #     type Conf = cni::delegate::Ipam;
//! #     const ENTERS: bool = true;
//! #     const NEEDS: &'static [cni::capability::Capability] = &[];
//! #     const PLACES: &'static [&'static str] = &[];
//! #     fn add(_: &cni::call::Add, _: Self::Conf) -> cni::error::Result<cni::attach::Attached> { cni::attach::attach(|_| Ok(Default::default())) }
//! #     fn del(_: &cni::call::Del, _: Self::Conf) -> cni::error::Result<()> { Ok(()) }
//! #     fn check(_: &cni::call::Check, _: Self::Conf) -> cni::error::Result<()> { Ok(()) }
//! #     fn status(_: &cni::call::Call, _: Self::Conf) -> cni::error::Result<()> { Ok(()) }
//! #     fn gc(_: &cni::call::Gc, _: Self::Conf) -> cni::error::Result<()> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     cni::serve::<Bridge>()
//! }
//! ```
//!
//! This crate touches the environment, stdin, stdout and other programs, in [`conflist`] the folders of a runtime, in [`log`]
//! a file or the journal, in [`files`] those that it is told to, and nothing else: it has never heard of links or namespaces. In reading order:
//!
//! - [`error`]: what went wrong, in three parts;
//! - [`name`], [`spec`]: names and versions, validated once;
//! - [`value`], [`decode`], [`keys`]: JSON as Go reads it, and which of it is read;
//! - [`result`]: what an ADD answers, in every version;
//! - [`env`](mod@env), [`call`], [`request`]: what a plugin is told, checked at the door;
//! - [`attach`]: an ADD that undoes itself;
//! - [`exec`], [`delegate`]: running other plugins;
//! - [`tool`]: running a program of the system;
//! - [`conflist`]: the runtime's half: networks found, their plugins run one after another;
//! - [`log`]: one line for each call, where somebody wants it;
//! - [`plain`]: text for a terminal, whoever wrote it;
//! - [`capability`]: parts of root's rights;
//! - [`files`]: files in whose place there may be something else; [`whole`]: files that appear whole or not at all;
//! - `living`: what GC is told; `passed_over`: what DEL and GC cannot read; `hold`, `serve`: the life of the process.

pub mod error;

pub mod name;
pub mod spec;

pub mod decode;
pub mod keys;
pub mod value;

pub mod result;

pub mod call;
pub mod env;
pub mod request;

pub mod attach;

pub mod delegate;
pub mod exec;
pub mod tool;

pub mod conflist;

pub mod capability;
pub mod files;
pub mod log;
pub mod whole;

pub mod plain;

mod hold;
mod living;
mod passed_over;
mod serve;

#[cfg(any(test, fuzzing))]
pub mod hostile;

pub use serve::{serve, serve_or_list};

use serde::de::DeserializeOwned;

use crate::capability::Capability;

/// A plugin: every verb, none optional, so that a verb that does nothing has to say so in code.
pub trait Plugin {
    /// The configuration as it is written, read by [`decode::decode`].
    type Conf: DeserializeOwned;

    /// It goes into the container's namespace, so that must not be its own. (To find out costs more than reading the whole
    /// configuration, so IPAM plugins do not.)
    const ENTERS: bool;

    /// What it needs of root's rights: an error names those that are missing. docs/security.md has them for each verb.
    const NEEDS: &'static [Capability];

    /// The keys of its configuration that say where it keeps things. Where DEL or GC cannot read one of them they touch
    /// nothing: in another place is nothing, or what somebody else needs.
    const PLACES: &'static [&'static str];

    /// Attaches a container.
    ///
    /// # Errors
    /// Any; what the call had made is unmade by then.
    fn add(add: &call::Add, conf: Self::Conf) -> error::Result<attach::Attached>;

    /// Detaches a container. Succeeds when there is nothing to detach, any number of times.
    ///
    /// # Errors
    /// What could not be removed, after everything was tried.
    fn del(del: &call::Del, conf: Self::Conf) -> error::Result<()>;

    /// Compares the kernel with the result of ADD. Changes nothing.
    ///
    /// # Errors
    /// The first difference.
    fn check(check: &call::Check, conf: Self::Conf) -> error::Result<()>;

    /// Says whether ADD would work. Changes nothing.
    ///
    /// # Errors
    /// Codes 50 and 51 of the specification, or whatever keeps ADD from working.
    fn status(call: &call::Call, conf: Self::Conf) -> error::Result<()>;

    /// Removes what belongs to no living attachment of this network.
    ///
    /// # Errors
    /// What could not be removed, after everything was tried.
    fn gc(gc: &call::Gc, conf: Self::Conf) -> error::Result<()>;
}
