//! The door: the environment and stdin become a call, or an error, before anybody acts.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::call::{Add, Attachment, Call, Check, Del, Gc, wants_to_wait};
use crate::decode::decode;
use crate::env::{Args, Env, Verb, missing};
use crate::error::{Code, Error, OrFail, Result};
use crate::living;
use crate::name::{ContainerId, IfName, NetworkName};
use crate::result::Success;
use crate::spec::Spec;
use crate::value::{Value, document, names};

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

/// What of a configuration is still asked for when it has been passed on; nothing of one that cannot be read.
pub(crate) fn head_of(stdin: &[u8]) -> Value {
    document(stdin, Only(&["cniVersion", "name"])).unwrap_or(Value::Null)
}

/// Which version its sender speaks, for error objects.
pub(crate) fn spec_in(head: &Value) -> Option<Spec> {
    match head.get("cniVersion")?.as_ref() {
        Value::String(version) if !version.is_empty() => version.parse().ok(),
        _ => None,
    }
}

/// The members of an object with these keys; all others are passed over.
struct Only(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Only {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Only {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = object.next_key::<String>()? {
            match self.0.iter().any(|known| names(&key, known)) {
                true => members.push((key, object.next_value()?)),
                false => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(members))
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
        let (config, valid) = match verb {
            Verb::Gc => living::read(&stdin).doing(doing)?,
            _ => (Value::parse(&stdin).doing(doing)?, Ok(None)),
        };
        if enters && env.is_asked_for_addresses() {
            return Err(gives_no_addresses(&config));
        }
        let head: Head = decode(&config).doing(doing)?;
        let network: NetworkName = head.name.parse()?;
        let spec: Spec = head.version.parse()?;
        if spec < verb.since() {
            let text = format!("config version does not allow {verb}");
            return Err(Error::new(Code::INCOMPATIBLE_VERSION, text).details(format!("config is \"{spec}\"")));
        }
        let path = env.get("CNI_PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        let call = Call { network, spec, args: Args::of(env), path, stdin, config, unread: Vec::new() };
        if !matches!(verb, Verb::Del | Verb::Gc) {
            call.args.verdict()?;
            wants_to_wait(&call.config)?;
        }
        match verb {
            Verb::Gc => Ok(Request::Gc(Gc { valid: valid?, call })),
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

/// A plugin of interfaces that were its own IPAM plugin would ask itself, and so on until there is no process left.
fn gives_no_addresses(config: &Value) -> Error {
    let ipam = config.get("ipam");
    let named = ipam.as_ref().and_then(|ipam| ipam.get("type"));
    let named = match named.as_deref() {
        Some(Value::String(name)) => format!("{name:?}"),
        _ => "this plugin".into(),
    };
    Error::config(format!("ipam.type: {named} makes interfaces, and gives no addresses"))
        .details("ipam.type is the name of an IPAM plugin, as \"host-local\"")
}

/// Does this path lead to the namespace in which we run? Device and inode say so (namespaces(7)). One that cannot be
/// looked at is not ours.
fn is_our_own(netns: &Path) -> bool {
    let (Ok(theirs), Ok(ours)) = (netns.metadata(), Path::new("/proc/self/ns/net").metadata()) else {
        return false;
    };
    (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
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
                Request::Gc(gc) => gc.valid.map(|valid| valid.names().count()),
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
    fn a_check_needs_a_result_and_a_del_never_fails_by_one() {
        assert_eq!(read(Verb::Check, &[], CONF).unwrap_err().code(), Code::CONFIG);
        let torn =
            r#"{"cniVersion":"1.1.0","name":"net","type":"x","prevResult":{"ips":[{"address":"nope"}]}}"#;
        assert!(matches!(read(Verb::Del, &[], torn).unwrap(), Request::Del(Del { prev: None, .. })));
        assert!(read(Verb::Add, &[], torn).unwrap_err().msg().contains("prevResult"));
    }
}
