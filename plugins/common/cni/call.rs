//! What a plugin is told: the environment and stdin, read once, checked at the door, and passed on as values.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::decode::decode;
use crate::delegate::PARENT;
use crate::error::{Code, Error, OrFail, Result};
use crate::name::{ContainerId, IfName, NetworkName};
use crate::result::Success;
use crate::spec::Spec;
use crate::value::Value;

/// The `CNI_*` variables, and our own word between a plugin and its delegate.
#[derive(Clone, Debug, Default)]
pub struct Env(Vec<(OsString, OsString)>);

impl Env {
    /// The only place that reads the process environment. (`vars` would panic on a stranger's bytes.)
    #[expect(clippy::disallowed_methods, reason = "this is the one place that the lint speaks of")]
    pub fn of_this_process() -> Env {
        let ours = |key: &OsString| key.as_bytes().starts_with(b"CNI_") || key.as_os_str() == PARENT;
        Env(std::env::vars_os().filter(|(key, _)| ours(key)).collect())
    }

    /// An environment made by hand.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Env {
        Env(vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// A variable; an empty one is absent.
    fn get(&self, key: &str) -> Option<&OsString> {
        self.0
            .iter()
            .find(|(name, value)| name.as_os_str() == key && !value.is_empty())
            .map(|(_, value)| value)
    }

    /// Is this variable absent, or empty, which is the same?
    pub(crate) fn is_empty_of(&self, key: &str) -> bool {
        self.get(key).is_none()
    }

    /// The plugin of ours that started us as its delegate.
    pub(crate) fn parent(&self) -> Option<i32> {
        self.get(PARENT)?.to_str()?.parse().ok()
    }

    /// A variable that has to be text.
    fn text(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.to_str().map(Some).ok_or_else(|| {
            let text = format!("{key} is not valid UTF-8");
            Error::new(Code::ENVIRONMENT, text).details(value.to_string_lossy().escape_debug().to_string())
        })
    }
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
    fn needs(self) -> &'static [&'static str] {
        match self {
            Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Verb::Gc | Verb::Status | Verb::Version => &[],
        }
    }

    /// The first version that has this verb.
    fn since(self) -> Spec {
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

fn missing(names: &[&str]) -> Error {
    Error::new(Code::ENVIRONMENT, format!("required env variables [{}] missing", names.join(",")))
}

/// What every verb is told.
#[derive(Clone, Debug)]
pub struct Call {
    /// `name` of the configuration.
    pub network: NetworkName,
    /// `cniVersion` of the configuration.
    pub spec: Spec,
    /// `CNI_ARGS`.
    pub args: Args,
    /// `CNI_PATH`: where delegates are looked for, best first.
    pub path: Vec<PathBuf>,
    /// stdin to the byte, for delegates.
    pub stdin: Vec<u8>,
    /// stdin as a value.
    pub config: Value,
}

/// Who an attachment is: everything that is kept for it carries these three.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attachment {
    /// The network's name.
    pub network: NetworkName,
    /// `CNI_CONTAINERID`.
    pub container: ContainerId,
    /// `CNI_IFNAME`.
    pub ifname: IfName,
}

impl Attachment {
    /// The hash by which this attachment's objects are known.
    pub fn owner(&self) -> Owner {
        let mut hash = Sha256::new();
        for part in [self.network.as_str(), self.container.as_str(), self.ifname.as_str()] {
            // No name holds a NUL, so no two attachments are hashed alike.
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        Owner(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {} in network {}", self.ifname, self.container, self.network)
    }
}

/// 128 bits over network, container ID and interface name, as 32 hexadecimal digits. IDs have no maximal length, while
/// a link's alias ends at 255 bytes and an nftables comment at 128: objects are matched by this hash alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner(String);

impl Owner {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// ADD: attach this.
#[derive(Clone, Debug)]
pub struct Add {
    /// What every verb is told.
    pub call: Call,
    /// Who.
    pub attachment: Attachment,
    /// The container's namespace, as the runtime wrote it; not our own.
    pub netns: PathBuf,
    /// The result of the plugin before us in a list.
    pub prev: Option<Success>,
}

/// CHECK: is this attachment as ADD left it?
#[derive(Clone, Debug)]
pub struct Check {
    /// What every verb is told.
    pub call: Call,
    /// Who.
    pub attachment: Attachment,
    /// The container's namespace, as the runtime wrote it.
    pub netns: PathBuf,
    /// The result of the whole list's ADD.
    pub prev: Success,
}

/// DEL: undo what ADD did; best effort, and any number of times.
#[derive(Clone, Debug)]
pub struct Del {
    /// What every verb is told.
    pub call: Call,
    /// Who.
    pub attachment: Attachment,
    /// The container's namespace. A path that now leads to our own namespace (a process number used again) counts as
    /// gone, like an empty one.
    pub netns: Option<PathBuf>,
    /// The result of the whole list's ADD, where the runtime still has it. One that cannot be read counts as lost.
    pub prev: Option<Success>,
}

/// GC: remove what belongs to no attachment of this network any more.
#[derive(Clone, Debug)]
pub struct Gc {
    /// What every verb is told.
    pub call: Call,
    /// The attachments that live; `None` when the runtime said nothing, which means: remove nothing.
    pub valid: Option<Vec<(ContainerId, IfName)>>,
}

impl Gc {
    /// Does this attachment have to go? Never, where the runtime did not say what lives.
    pub fn is_stale(&self, container: &ContainerId, ifname: &IfName) -> bool {
        let lives = |(id, name): &(ContainerId, IfName)| id == container && name == ifname;
        self.valid.as_ref().is_some_and(|valid| !valid.iter().any(lives))
    }
}

/// A call, checked.
#[derive(Clone, Debug)]
pub enum Request {
    /// ADD.
    Add(Add),
    /// DEL.
    Del(Del),
    /// CHECK.
    Check(Check),
    /// GC.
    Gc(Gc),
    /// STATUS.
    Status(Call),
}

/// The keys that the protocol itself reads.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "cniVersion")]
    version: String,
    #[serde(default, rename = "prevResult")]
    prev: Option<Value>,
}

/// `cni.dev/valid-attachments`. Its name has always been this in the specification's text; the release of 1.1.0 and
/// libcni also have `cni.dev/attachments`.
#[derive(Deserialize)]
struct Living {
    #[serde(rename = "containerID")]
    container: ContainerId,
    ifname: IfName,
}

/// Reads the configuration far enough to say which version its sender speaks, for error objects.
pub(crate) fn spec_of(stdin: &[u8]) -> Option<Spec> {
    match Value::parse(stdin).ok()?.get("cniVersion")?.as_ref() {
        Value::String(version) if !version.is_empty() => version.parse().ok(),
        _ => None,
    }
}

impl Request {
    /// Checks a call in full before anybody acts on it.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`], [`Code::DECODE`], [`Code::CONFIG`], [`Code::INCOMPATIBLE_VERSION`], or
    /// [`Code::OWN_NETNS`] for an ADD into the plugin's own namespace; a plugin that goes into none is not asked.
    pub fn read(verb: Verb, env: &Env, stdin: Vec<u8>, enters: bool) -> Result<Request> {
        let who = Who::read(verb, env, enters)?;
        let doing = || "error unmarshall network config".into();
        let config = Value::parse(&stdin).doing(doing)?;
        let head: Head = decode(&config).doing(doing)?;
        let network: NetworkName = head.name.parse()?;
        let spec: Spec = head.version.parse()?;
        if spec < verb.since() {
            let text = format!("config version does not allow {verb}");
            return Err(Error::new(Code::INCOMPATIBLE_VERSION, text).details(format!("config is \"{spec}\"")));
        }
        let path = env.get("CNI_PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        let call = Call { network, spec, args: Args::of(env)?, path, stdin, config };
        match verb {
            Verb::Gc => Ok(Request::Gc(Gc { valid: valid(&call.config)?, call })),
            Verb::Status | Verb::Version => Ok(Request::Status(call)),
            Verb::Add | Verb::Del | Verb::Check => {
                let prev = head
                    .prev
                    .map(|prev| Success::read(&prev, spec).doing(|| "could not parse prevResult".into()));
                who.request(verb, call, prev)
            }
        }
    }
}

/// The container's half of the environment.
struct Who {
    container: Option<ContainerId>,
    ifname: Option<IfName>,
    netns: Option<PathBuf>,
    sane: bool,
}

impl Who {
    fn read(verb: Verb, env: &Env, enters: bool) -> Result<Who> {
        let needed = verb.needs();
        let wanted = |key: &str| if needed.contains(&key) { env.text(key) } else { Ok(None) };
        let container = wanted("CNI_CONTAINERID")?.map(str::parse).transpose()?;
        let ifname = wanted("CNI_IFNAME")?.map(str::parse).transpose().map_err(|error: Error| {
            Error::new(error.code(), format!("{error} (CNI_IFNAME)"))
                .details(error.more().unwrap_or_default())
        })?;
        let absent: Vec<&str> = needed.iter().copied().filter(|key| env.get(key).is_none()).collect();
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        let netns = env.get("CNI_NETNS").map(PathBuf::from);
        let overridden = env
            .get("CNI_NETNS_OVERRIDE")
            .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let sane = !enters || overridden || !netns.as_deref().is_some_and(is_our_own);
        Ok(Who { container, ifname, netns, sane })
    }

    fn request(self, verb: Verb, call: Call, prev: Option<Result<Success>>) -> Result<Request> {
        let (Some(container), Some(ifname)) = (self.container, self.ifname) else {
            return Err(missing(verb.needs()));
        };
        let attachment = Attachment { network: call.network.clone(), container, ifname };
        if verb == Verb::Del {
            let netns = self.netns.filter(|_| self.sane);
            return Ok(Request::Del(Del { call, attachment, netns, prev: prev.and_then(Result::ok) }));
        }
        let Some(netns) = self.netns else { return Err(missing(&["CNI_NETNS"])) };
        let prev = prev.transpose()?;
        if verb == Verb::Check {
            let prev = prev.ok_or_else(|| Error::config("Required prevResult missing"))?;
            return Ok(Request::Check(Check { call, attachment, netns, prev }));
        }
        if !self.sane {
            let text = "plugin's netns and netns from CNI_NETNS should not be the same";
            return Err(Error::new(Code::OWN_NETNS, text).details(netns.display().to_string()));
        }
        Ok(Request::Add(Add { call, attachment, netns, prev }))
    }
}

/// Does this path lead to the namespace in which we run? Device and inode say so (namespaces(7)). One that cannot be
/// looked at is not ours.
fn is_our_own(netns: &Path) -> bool {
    let (Ok(theirs), Ok(ours)) = (netns.metadata(), Path::new("/proc/self/ns/net").metadata()) else {
        return false;
    };
    (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
}

/// The list of living attachments: absent is `None`; present and `null` is empty; anything else must be readable.
fn valid(config: &Value) -> Result<Option<Vec<(ContainerId, IfName)>>> {
    let lists: Vec<Vec<(ContainerId, IfName)>> = ["cni.dev/valid-attachments", "cni.dev/attachments"]
        .into_iter()
        .filter_map(|key| living(config, key).transpose())
        .collect::<Result<_>>()?;
    match lists.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [one, two, ..] if one == two => Ok(Some(one.clone())),
        _ => Err(Error::config("cni.dev/valid-attachments and cni.dev/attachments differ")),
    }
}

fn living(config: &Value, key: &str) -> Result<Option<Vec<(ContainerId, IfName)>>> {
    let Value::Object(members) = config else { return Ok(None) };
    let Some((_, list)) = members.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)) else {
        return Ok(None);
    };
    if list.is_null() {
        return Ok(Some(Vec::new()));
    }
    let living: Vec<Living> = decode(list).or_fail(Code::CONFIG, || key.into())?;
    Ok(Some(living.into_iter().map(|it| (it.container, it.ifname)).collect()))
}

/// `CNI_ARGS`: `K=V;K2=V2`. The runtime gives the same to every plugin of a list, so unknown keys are somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Args(Vec<(String, String)>);

impl Args {
    fn of(env: &Env) -> Result<Args> {
        let mut pairs = Vec::new();
        for pair in env.text("CNI_ARGS")?.unwrap_or_default().split(';').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => pairs.push((key.into(), value.into())),
                _ => return Err(Error::new(Code::ENVIRONMENT, format!("CNI_ARGS: invalid pair {pair:?}"))),
            }
        }
        Ok(Args(pairs))
    }

    /// The value of a key, which is matched exactly; the last one wins, and an empty one is absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        let base = [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/nowhere"), ("CNI_IFNAME", "eth0")];
        let kept = base.iter().filter(|(key, _)| !pairs.iter().any(|(other, _)| other == key));
        Env::of(kept.chain(pairs).copied())
    }

    fn read(verb: Verb, pairs: &[(&str, &str)], stdin: &str) -> Result<Request> {
        Request::read(verb, &env(pairs), stdin.into(), true)
    }

    const CONF: &str = r#"{"cniVersion":"1.1.0","name":"net","type":"x"}"#;

    #[test]
    fn missing_variables_are_all_named_in_order() {
        let empty = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", "")];
        let error = read(Verb::Add, &empty, CONF).unwrap_err();
        assert_eq!(error.code(), Code::ENVIRONMENT);
        assert_eq!(error.msg(), "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
        assert!(read(Verb::Del, &[("CNI_NETNS", "")], CONF).is_ok());
        assert!(read(Verb::Status, &empty, CONF).is_ok());
    }

    #[test]
    fn a_name_that_is_not_an_input_of_the_verb_is_not_looked_at() {
        assert!(read(Verb::Gc, &[("CNI_CONTAINERID", "///"), ("CNI_IFNAME", "a/b")], CONF).is_ok());
        let error = read(Verb::Del, &[("CNI_IFNAME", "a/b")], CONF).unwrap_err();
        assert!(error.msg().contains("CNI_IFNAME"));
    }

    #[test]
    fn our_own_namespace_is_error_8_for_add_and_gone_for_del() {
        let own = [("CNI_NETNS", "/proc/self/ns/net")];
        assert_eq!(read(Verb::Add, &own, CONF).unwrap_err().code(), Code::OWN_NETNS);
        let Request::Del(del) = read(Verb::Del, &own, CONF).unwrap() else { panic!("not a DEL") };
        assert_eq!(del.netns, None);
        let overridden = [("CNI_NETNS", "/proc/self/ns/net"), ("CNI_NETNS_OVERRIDE", "True")];
        assert!(read(Verb::Add, &overridden, CONF).is_ok());
    }

    #[test]
    fn verbs_exist_from_their_version_on() {
        for (verb, version, fits) in [
            (Verb::Check, "0.3.1", false),
            (Verb::Gc, "1.0.0", false),
            (Verb::Status, "1.0.0", false),
            (Verb::Status, "1.1.0", true),
            (Verb::Add, "", true),
        ] {
            let conf = format!(r#"{{"cniVersion":"{version}","name":"net","type":"x"}}"#);
            let code = read(verb, &[], &conf).map(|_| ()).map_err(|error| error.code());
            assert_eq!(code, if fits { Ok(()) } else { Err(Code::INCOMPATIBLE_VERSION) }, "{verb} {version}");
        }
    }

    #[test]
    fn the_kinds_of_missing_list_are_told_apart() {
        let gc = |list: &str| {
            let conf = format!(r#"{{"cniVersion":"1.1.0","name":"net","type":"x"{list}}}"#);
            read(Verb::Gc, &[], &conf).map(|request| match request {
                Request::Gc(gc) => gc.valid.map(|valid| valid.len()),
                _ => panic!("not a GC"),
            })
        };
        assert_eq!(gc("").unwrap(), None);
        assert_eq!(gc(r#","cni.dev/valid-attachments":null"#).unwrap(), Some(0));
        assert_eq!(gc(r#","cni.dev/valid-attachments":[]"#).unwrap(), Some(0));
        assert_eq!(gc(r#","cni.dev/attachments":[{"containerID":"a","ifname":"eth0"}]"#).unwrap(), Some(1));
        for bad in [r#""x""#, "[1]", r#"[{"containerID":"a"}]"#, r#"[{"containerID":"a/b","ifname":"eth0"}]"#]
        {
            let code = gc(&format!(r#","cni.dev/valid-attachments":{bad}"#)).unwrap_err().code();
            assert!(matches!(code, Code::DECODE | Code::CONFIG), "{bad}");
        }
        assert!(
            gc(r#","cni.dev/valid-attachments":[],"cni.dev/attachments":[{"containerID":"a","ifname":"b"}]"#)
                .is_err()
        );
    }

    #[test]
    fn cni_args_are_pairs_and_unknown_ones_are_somebody_elses() {
        let args = |text: &str| Args::of(&Env::of([("CNI_ARGS", text)]));
        let read = args("IgnoreUnknown=1;MAC=a=b;").unwrap();
        assert_eq!((read.get("MAC"), read.get("mac")), (Some("a=b"), None));
        for bad in ["FOO", "=x"] {
            assert!(args(bad).unwrap_err().msg().contains("CNI_ARGS"), "{bad}");
        }
    }

    #[test]
    fn no_two_attachments_have_one_owner() {
        let owner = |network: &str, container: &str| {
            let (network, container) = (network.parse().unwrap(), container.parse().unwrap());
            Attachment { network, container, ifname: "eth0".parse().unwrap() }.owner()
        };
        assert_ne!(owner("net", "1abc"), owner("net1", "abc"));
        assert_eq!(owner("net", "a").as_str().len(), 32);
    }

    #[test]
    fn a_check_needs_a_result_and_a_del_never_fails_by_one() {
        assert_eq!(read(Verb::Check, &[], CONF).unwrap_err().code(), Code::CONFIG);
        let torn =
            r#"{"cniVersion":"1.1.0","name":"net","type":"x","prevResult":{"ips":[{"address":"nope"}]}}"#;
        assert!(matches!(read(Verb::Del, &[], torn).unwrap(), Request::Del(Del { prev: None, .. })));
        assert!(read(Verb::Add, &[], torn).unwrap_err().msg().contains("prevResult"));
    }
}
