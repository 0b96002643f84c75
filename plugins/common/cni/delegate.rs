//! A plugin that asks another one: IPAM (spec, section "Plugin delegation").
//!
//! The delegate is found on `CNI_PATH`, so that an administrator's own wins, and is told exactly what we were told: the
//! same environment but for the verb, and stdin to the byte.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::call::Call;
use crate::env::Verb;
use crate::error::{Code, Error, Result};
use crate::exec;
use crate::log;
use crate::name::PluginName;
use crate::result::Success;
use crate::value::Value;

/// The variable by which a delegate of ours knows that it should not outlive us.
pub(crate) const PARENT: &str = "JACKFIELD_PARENT";

/// The `ipam` section, as far as the plugin above it reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Ipam {
    /// `type`; none, where it is empty too.
    #[serde(default, rename = "type", deserialize_with = "some_plugin")]
    pub plugin: Option<PluginName>,
}

fn some_plugin<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PluginName>, D::Error> {
    let name = String::deserialize(from)?;
    if name.is_empty() {
        return Ok(None);
    }
    name.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A plugin that works for us.
#[derive(Clone, Debug)]
pub struct Delegate {
    program: PathBuf,
    call: Call,
}

impl Delegate {
    /// Finds the delegate.
    ///
    /// # Errors
    /// As [`exec::find`].
    pub fn find(plugin: &PluginName, call: &Call) -> Result<Delegate> {
        Ok(Delegate { program: exec::find(plugin, &call.path)?, call: call.clone() })
    }

    /// ADD. A delegate that fails, or answers what nobody can read, is told to DEL before its error is passed up.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn add(&self) -> Result<Success> {
        let answered = self.run(Verb::Add).and_then(|answer| {
            let value = if answer.is_empty() { Ok(Value::Null) } else { Value::parse(&answer) };
            // Whatever is wrong with it, it is not the configuration.
            let read = value.and_then(|value| Success::read(&value, self.call.spec));
            read.map_err(|error| {
                let plugin = self.program.display();
                Error::internal(format!("failed to unmarshal raw result of {plugin}: {}", error.msg()))
            })
        });
        if answered.is_err() {
            // The error of the ADD is what the runtime has to know.
            let _ = self.del();
        }
        answered
    }

    /// DEL.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn del(&self) -> Result<()> {
        self.run(Verb::Del).map(drop)
    }

    /// CHECK.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn check(&self) -> Result<()> {
        self.run(Verb::Check).map(drop)
    }

    /// STATUS.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn status(&self) -> Result<()> {
        self.run(Verb::Status).map(drop)
    }

    /// GC.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn gc(&self) -> Result<()> {
        self.run(Verb::Gc).map(drop)
    }

    fn run(&self, verb: Verb) -> Result<Vec<u8>> {
        let _step = log::step("ipam");
        let env = [
            ("CNI_COMMAND", OsString::from(verb.as_str())),
            (PARENT, OsString::from(std::process::id().to_string())),
        ];
        let output = exec::run(&self.program, &env, &self.call.stdin)?;
        if !output.stderr.is_empty() {
            // A delegate's log is our log, whether it succeeded or not; nobody to tell if that cannot be written.
            let _ = std::io::stderr().write_all(&output.stderr);
        }
        output.verdict()
    }
}

/// STATUS of the delegate, if there is one: would it be found, and does it say that it works?
///
/// # Errors
/// [`Code::NOT_AVAILABLE`] where it is missing; the delegate's own otherwise.
pub fn status(plugin: Option<&PluginName>, call: &Call) -> Result<()> {
    let Some(plugin) = plugin else { return Ok(()) };
    let delegate = Delegate::find(plugin, call).map_err(|error| match error.code() {
        Code::ENVIRONMENT => error,
        _ => Error::new(Code::NOT_AVAILABLE, error.msg()),
    })?;
    delegate.status()
}

/// GC of the delegate, if there is one.
///
/// # Errors
/// As [`exec::find`], and the delegate's own.
pub fn gc(plugin: Option<&PluginName>, call: &Call) -> Result<()> {
    match plugin {
        Some(plugin) => Delegate::find(plugin, call)?.gc(),
        None => Ok(()),
    }
}
