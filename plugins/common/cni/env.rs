//! The environment: `CNI_*`, read once and passed on as values.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::delegate::PARENT;
use crate::error::{Code, Error, Result};
use crate::log;
use crate::spec::Spec;

/// The `CNI_*` variables, our own word between a plugin and its delegate, and what the line of a call needs.
#[derive(Clone, Debug, Default)]
pub struct Env(Vec<(OsString, OsString)>);

impl Env {
    /// The only place that reads the process environment. (`vars` would panic on a stranger's bytes.)
    #[expect(clippy::disallowed_methods, reason = "this is the one place that the lint speaks of")]
    pub fn of_this_process() -> Env {
        let named = [PARENT, log::VARIABLE, log::TRACEPARENT].map(OsStr::new);
        let ours = |key: &OsString| key.as_bytes().starts_with(b"CNI_") || named.contains(&key.as_os_str());
        Env(std::env::vars_os().filter(|(key, _)| ours(key)).collect())
    }

    /// An environment made by hand.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Env {
        Env(vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// A variable; an empty one is absent.
    pub(crate) fn get(&self, key: &str) -> Option<&OsString> {
        self.0
            .iter()
            .find(|(name, value)| name.as_os_str() == key && !value.is_empty())
            .map(|(_, value)| value)
    }

    /// Is this variable absent, or empty, which is the same?
    pub fn is_empty_of(&self, key: &str) -> bool {
        self.get(key).is_none()
    }

    /// The plugin of ours that started us as its delegate.
    pub(crate) fn parent(&self) -> Option<i32> {
        self.get(PARENT)?.to_str()?.parse().ok()
    }

    /// Did a plugin of ours ask for addresses? A name is enough: whoever stands between passes it on.
    pub(crate) fn is_asked_for_addresses(&self) -> bool {
        self.get(PARENT).is_some()
    }

    /// A variable that has to be text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.to_str().map(Some).ok_or_else(|| {
            let text = format!("{key} is not valid UTF-8");
            Error::new(Code::ENVIRONMENT, text).details(value.to_string_lossy().escape_debug().to_string())
        })
    }
}

/// The folders of the system's programs: those of `PATH`, and then those for which a runtime's is often too short.
#[expect(clippy::disallowed_methods, reason = "the environment is read in this file alone")]
pub(crate) fn folders_of_tools() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A relative folder would make the caller's working folder decide what runs as root.
    let named = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    named.chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from)).collect()
}

/// Where the system's message bus is, in its own words: `DBUS_SYSTEM_BUS_ADDRESS`, or its usual place.
#[expect(clippy::disallowed_methods, reason = "the environment is read in this file alone")]
pub fn system_bus() -> String {
    let named = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").and_then(|address| address.into_string().ok());
    named
        .filter(|address| !address.is_empty())
        .unwrap_or_else(|| "unix:path=/run/dbus/system_bus_socket".into())
}

/// Whether `JACKFIELD_WAIT` says that DEL is to wait for the kernel: any text but `0`.
#[expect(clippy::disallowed_methods, reason = "the environment is read in this file alone")]
pub(crate) fn wants_to_wait() -> bool {
    std::env::var_os("JACKFIELD_WAIT").is_some_and(|text| !text.is_empty() && text != "0")
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Compare an attachment with what ADD answered.
    Check,
    /// Remove what belongs to no attachment any more.
    Gc,
    /// Would ADD work?
    Status,
    /// Which versions are spoken?
    Version,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }

    /// `CNI_COMMAND`, exactly as the specification spells it.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`] for anything else.
    pub fn of(env: &Env) -> Result<Verb> {
        let Some(command) = env.text("CNI_COMMAND")? else { return Err(missing(&["CNI_COMMAND"])) };
        let verbs = [Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status, Verb::Version];
        verbs
            .into_iter()
            .find(|verb| verb.as_str() == command)
            .ok_or_else(|| Error::new(Code::ENVIRONMENT, format!("unknown CNI_COMMAND: {command}")))
    }

    /// The variables without which this verb makes no sense (spec, section "Parameters").
    pub(crate) fn needs(self) -> &'static [&'static str] {
        match self {
            Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Verb::Gc | Verb::Status | Verb::Version => &[],
        }
    }

    /// The first version that has this verb.
    pub(crate) fn since(self) -> Spec {
        match self {
            Verb::Check => Spec::V0_4_0,
            Verb::Gc | Verb::Status => Spec::V1_1_0,
            Verb::Add | Verb::Del | Verb::Version => Spec::V0_1_0,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for variables that are not there.
pub(crate) fn missing(names: &[&str]) -> Error {
    Error::new(Code::ENVIRONMENT, format!("required env variables [{}] missing", names.join(",")))
}

/// `CNI_ARGS`: `K=V;K2=V2`. The runtime gives the same to every plugin of a list, so unknown keys are somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Args {
    pairs: Vec<(String, String)>,
    /// What stands there and is no pair, in quotes.
    others: Vec<String>,
}

impl Args {
    /// Whether all of it is pairs, [`Args::verdict`] says.
    pub(crate) fn of(env: &Env) -> Args {
        let text = env.get("CNI_ARGS").map(|text| text.as_bytes()).unwrap_or_default();
        let mut args = Args::default();
        for pair in text.split(|byte| *byte == b';').filter(|pair| !pair.is_empty()) {
            let read = std::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('='));
            match read.filter(|(key, _)| !key.is_empty()) {
                Some((key, value)) => args.pairs.push((key.into(), value.into())),
                None => args.others.push(format!("{:?}", String::from_utf8_lossy(pair))),
            }
        }
        args
    }

    /// # Errors
    /// [`Code::ENVIRONMENT`], naming what is no pair.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.others.is_empty() {
            true => Ok(()),
            false => {
                let text = format!("CNI_ARGS: invalid pair {}", self.others.join(", "));
                Err(Error::new(Code::ENVIRONMENT, text))
            }
        }
    }

    /// The value of a key, which is matched exactly; the last one wins, and an empty one is absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        let last = self.pairs.iter().rev().find(|(name, value)| name == key && !value.is_empty());
        last.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cni_args_are_pairs_and_unknown_ones_are_somebody_elses() {
        let args = |text: &[u8]| Args::of(&Env::of([("CNI_ARGS", OsStr::from_bytes(text))]));
        let read = args(b"IgnoreUnknown=1;MAC=a=b;");
        assert_eq!((read.get("MAC"), read.get("mac")), (Some("a=b"), None));
        assert!(read.verdict().is_ok());
        for (bad, named) in
            [(&b"A=1;FOO"[..], r#""FOO""#), (b"=x;A=1;;y", r#""=x", "y""#), (b"A=1;B=\xff", "\"B=\u{fffd}\"")]
        {
            let read = args(bad);
            assert_eq!(read.get("A"), Some("1"), "what is beside it is read");
            let error = read.verdict().unwrap_err();
            assert_eq!(
                (error.code(), error.msg()),
                (Code::ENVIRONMENT, format!("CNI_ARGS: invalid pair {named}"))
            );
        }
    }
}
