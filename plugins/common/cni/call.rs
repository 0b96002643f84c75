//! What a plugin is told, verb by verb: values that were checked at the door.

use std::fmt;
use std::path::PathBuf;

use nix::unistd::getppid;
use sha2::{Digest, Sha256};

use crate::env::{self, Args};
use crate::error::{Code, Error, Result};
pub use crate::living::Attachments;
use crate::name::{ContainerId, IfName, NetworkName};
use crate::result::Success;
use crate::spec::Spec;
use crate::value::Value;

/// The key of a configuration that has DEL wait for the kernel.
pub(crate) const WAIT: &str = "jackfieldWait";

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
    /// The keys of it that DEL or GC cannot read, and count as not given.
    pub unread: Vec<String>,
}

impl Call {
    /// Does this key of the configuration, something in it, or what it is in, count as not given because nobody could read it?
    /// Then DEL must not do what the plugin does where it is not given, should that be more; nor leave out, and say nothing,
    /// what it does where it is given.
    pub fn cannot_read(&self, key: &str) -> bool {
        self.unread.iter().any(|unread| is_at(unread, key) || is_at(key, unread))
    }

    /// The last word of a DEL that has not looked for something, since nobody could read one of the keys that lead there.
    ///
    /// # Errors
    /// [`Code::DECODE`]: one of them could not be read.
    pub fn must_have_read(&self, keys: &[&str], what: &str) -> Result<()> {
        match keys.iter().find(|key| self.cannot_read(key)) {
            None => Ok(()),
            Some(key) => {
                let text = format!("failed to load netconf: {key} cannot be read: nobody knows {what}");
                Err(Error::new(Code::DECODE, text))
            }
        }
    }

    /// Whether DEL has to wait until the kernel has finished what nobody sees any more: somebody wants it (`JACKFIELD_WAIT`,
    /// or the key [`WAIT`]), or there is nobody to whom a child process could be left. An orphan becomes a child of
    /// process 1; if that is the very runtime, it may not know what to do with children that it has not started.
    pub fn waits_for_the_kernel(&self) -> bool {
        // Whoever says something that is neither yes nor no has it his way at the cost of some milliseconds.
        getppid().as_raw() <= 1 || env::wants_to_wait() || wants_to_wait(&self.config).unwrap_or(true)
    }
}

/// Is the place of this path the other one, or in it?
fn is_at(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a configuration has DEL wait for the kernel.
///
/// # Errors
/// Code 7 if it says neither yes nor no. A verb that takes away is not kept from it.
pub(crate) fn wants_to_wait(config: &Value) -> Result<bool> {
    match config.get(WAIT).as_deref() {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(wish)) => Ok(*wish),
        Some(other) => {
            let text = serde_json::to_string(other).unwrap_or_default();
            Err(Error::config(format!("invalid {WAIT} {text}")).details(format!("{WAIT} is true or false")))
        }
    }
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
    /// Reads the digits back; `None` if they are none of ours.
    pub fn read(digits: &str) -> Option<Owner> {
        let fits = digits.len() == 32 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Owner(digits.into()))
    }

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
    pub valid: Option<Attachments>,
}

impl Gc {
    /// Does this attachment have to go? Never, where the runtime did not say what lives.
    pub fn is_stale(&self, container: &ContainerId, ifname: &IfName) -> bool {
        self.valid.as_ref().is_some_and(|valid| !valid.has(container, ifname))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_a_whole_or_not() {
        let call = |unread: &[&str]| Call {
            network: "net".parse().unwrap(),
            spec: Spec::V1_0_0,
            args: Args::default(),
            path: Vec::new(),
            stdin: Vec::new(),
            config: Value::Null,
            unread: unread.iter().map(|key| (*key).to_owned()).collect(),
        };
        for unread in ["runtimeConfig", "runtimeConfig.ports", "runtimeConfig.ports[0].host"] {
            assert!(call(&["mtu", unread]).cannot_read("runtimeConfig.ports"), "{unread}");
        }
        for unread in ["runtime", "runtimeConfig.port", "runtimeConfig.portsOf", "runtimeConfig.ips[0]"] {
            assert!(!call(&["mtu", unread]).cannot_read("runtimeConfig.ports"), "{unread}");
        }
        let error = call(&["b"]).must_have_read(&["a", "b"], "where").unwrap_err();
        assert_eq!(error.msg(), "failed to load netconf: b cannot be read: nobody knows where");
        assert_eq!(error.code(), Code::DECODE);
        call(&["b"]).must_have_read(&["a"], "where").unwrap();
    }

    #[test]
    fn no_two_attachments_have_one_owner() {
        let owner = |network: &str, container: &str| {
            let (network, container) = (network.parse().unwrap(), container.parse().unwrap());
            Attachment { network, container, ifname: "eth0".parse().unwrap() }.owner()
        };
        assert_ne!(owner("net", "1abc"), owner("net1", "abc"));
        assert_eq!(owner("net", "a").as_str().len(), 32);
        assert_eq!(Owner::read(owner("net", "a").as_str()), Some(owner("net", "a")));
        assert_eq!(Owner::read(&"G".repeat(32)), None);
    }
}
