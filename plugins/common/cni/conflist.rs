//! The runtime's half of CNI: networks found, their plugins run one after another, the results remembered.
//!
//! For programs that attach containers, and for tests. It stands to the Go library `libcni` as the plugins here stand
//! to the Go plugins: the same files, the same environment, the same cache; docs/differences.md says where it departs.
//!
//! ```no_run
//! use cni::conflist::{OnFailure, Request, Runtime, folder};
//!
//! # fn main() -> cni::error::Result<()> {
//! let runtime = Runtime::new(vec!["/opt/cni/bin".into()]);
//! let found = folder::find("/etc/cni/net.d".as_ref(), "mynet")?;
//! let request = Request::new("c1".parse()?, "eth0".parse()?, "/run/netns/c1");
//! let result = runtime.add(&found.list, &request, OnFailure::Delete)?;
//! runtime.del(&found.list, &request)?;
//! # Ok(())
//! # }
//! ```

pub mod list;
pub mod object;
pub mod version;

pub mod folder;

mod derive;
pub mod told;

mod answer;
mod probe;

pub mod cache;

mod base64;
mod lock;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde_json::value::RawValue;

use self::cache::{Cache, Record};
use self::derive::Extra;
use self::list::{List, Plugin};
use self::lock::Turn;
use self::object::Object;
use crate::call::Attachment;
use crate::env::Verb;
use crate::error::{Code, Error, Faults, OrFail, Result};
use crate::exec;
use crate::hold;
use crate::name::{ContainerId, IfName, PluginName};

/// Runs plugins for containers.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Where plugins are looked for, best first; they get it as `CNI_PATH`.
    pub path: Vec<PathBuf>,
    /// Where results are remembered.
    pub cache: Cache,
    /// Gets what a plugin wrote on stderr, succeeded or not. Nothing by default.
    pub overhear: fn(&PluginName, &[u8]),
    /// INT, TERM and HUP wait from the moment when plugins begin to change something until [`end_of_signals`]; the
    /// plugin that runs gets them too, and an ADD is undone. For programs that do nothing else; not the default.
    pub hold_signals: bool,
    /// Variables that plugins get besides the protocol's. None by default.
    pub variables: Vec<(OsString, OsString)>,
}

/// Holds the signals that a [`Runtime`] with `hold_signals` holds, from here on: for a program that makes more than
/// attachments.
///
/// # Errors
/// What sigprocmask(2) and signalfd(2) say.
pub fn hold_signals() -> Result<()> {
    hold::begin()
}

/// Fails once one of the held signals has arrived.
///
/// # Errors
/// Code 999, naming the signal.
pub fn refuse_when_interrupted() -> Result<()> {
    hold::refuse_when_arrived()
}

/// Lets the signals through that a [`Runtime`] held; if one had arrived, the process ends here by it.
pub fn end_of_signals() {
    hold::end();
}

/// Does something on a thread of its own, to which no signal comes: those that are held stay so.
pub fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(|| {
        hold::keep_out();
        work()
    })
}

/// What a runtime wants for a container: one interface of it in one network.
#[derive(Clone, Debug)]
pub struct Request {
    /// The container.
    pub container: ContainerId,
    /// The interface that the plugins are to make in it.
    pub ifname: IfName,
    /// The path of its network namespace; for DEL it may be gone, or empty.
    pub netns: String,
    /// `CNI_ARGS`, in order. CHECK and DEL use those of the ADD where this is empty.
    pub args: Vec<(String, String)>,
    /// Arguments for capabilities, by name: each plugin gets those that it declares. CHECK and DEL use those of the
    /// ADD where this is empty.
    pub capabilities: Object,
}

impl Request {
    /// A request without arguments.
    pub fn new(container: ContainerId, ifname: IfName, netns: impl Into<String>) -> Request {
        let capabilities = Object::default();
        Request { container, ifname, netns: netns.into(), args: Vec::new(), capabilities }
    }

    /// Who this is in a network.
    pub fn attachment(&self, list: &List) -> Attachment {
        Attachment {
            network: list.name.clone(),
            container: self.container.clone(),
            ifname: self.ifname.clone(),
        }
    }
}

/// What follows an ADD that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFailure {
    /// DEL of every plugin, as the specification wants it of a runtime.
    Delete,
    /// Nothing, as in libcni; DEL is up to the caller. For an interface that was there before: DEL would take it away
    /// from whoever made it.
    Leave,
}

impl Runtime {
    /// A runtime with libcni's cache.
    pub fn new(path: Vec<PathBuf>) -> Runtime {
        Runtime {
            path,
            cache: Cache::default(),
            overhear: |_, _| {},
            hold_signals: false,
            variables: Vec::new(),
        }
    }

    /// ADD: runs the plugins in order, each with the result of the one before it, and answers with the last one's, as
    /// that plugin wrote it.
    ///
    /// Should this process die before the answer, a record of the ADD stays, and the next ADD or GC runs DEL first.
    ///
    /// # Errors
    /// The first plugin's that fails, with its code; the plugins after it are not run. None is run if one is missing,
    /// if this attachment is there already (code 7), or if the cache cannot be written (5).
    pub fn add(&self, list: &List, request: &Request, on_failure: OnFailure) -> Result<Box<RawValue>> {
        self.add_and_tell(list, request, on_failure, |_| Ok(()))
    }

    /// The same for a result that somebody has to get: `tell` gives it to him. Where that fails, so has the ADD.
    ///
    /// # Errors
    /// As [`Runtime::add`]; what `tell` says.
    pub fn add_and_tell(
        &self,
        list: &List,
        request: &Request,
        on_failure: OnFailure,
        tell: impl FnOnce(&RawValue) -> Result<()>,
    ) -> Result<Box<RawValue>> {
        let attachment = request.attachment(list);
        self.look_for_plugins(list)?;
        let _turn = self.turn(&request.container)?;
        let on_failure = match self.cache.read(&attachment) {
            Ok(None) => on_failure,
            Ok(Some(record)) if record.result.is_some() => {
                return Err(Error::config(format!(
                    "{attachment} is attached already; it has to be deleted first"
                )));
            }
            Err(unreadable) if unreadable.code() == Code::IO => return Err(unreadable),
            // An ADD that was not completed, or a torn file of libcni's: something may be there.
            Ok(Some(_)) | Err(_) => {
                self.detach(list, request).doing(|| "failed to clean up after an interrupted add".into())?;
                OnFailure::Delete
            }
        };
        let mut record = Record {
            attachment,
            config: list.to_bytes(),
            netns: request.netns.clone(),
            args: request.args.clone(),
            capabilities: request.capabilities.clone(),
            result: None,
        };
        self.cache.write(&record)?;
        let added = self.attach(list, request).and_then(|result| {
            record.result = Some(result.clone());
            self.cache.write(&record)?;
            tell(&result).map(|()| result)
        });
        added.map_err(|error| {
            let cleaned = match on_failure {
                OnFailure::Delete => self.detach(list, request),
                OnFailure::Leave => self.cache.remove(&record.attachment),
            };
            match cleaned {
                Ok(()) => error,
                Err(left) => error.details(format!("failed to clean up: {}", left.msg())),
            }
        })
    }

    /// Looks for the plugins of a list, which is how [`Runtime::add`] begins: for a program that makes more than attachments,
    /// and had better know before it makes anything.
    ///
    /// # Errors
    /// Code 999 for the first that is missing, as ADD has it.
    pub fn look_for_plugins(&self, list: &List) -> Result<()> {
        let find = |plugin: &Plugin| exec::find(&plugin.program, &self.path).doing(|| failed(plugin, "add"));
        list.plugins.iter().try_for_each(|plugin| find(plugin).map(drop))
    }

    fn attach(&self, list: &List, request: &Request) -> Result<Box<RawValue>> {
        let mut prev: Option<Box<RawValue>> = None;
        for plugin in &list.plugins {
            hold::refuse_when_arrived()?;
            let extra = Extra::Attachment { capabilities: &request.capabilities, prev: prev.as_deref() };
            let result = self
                .run(list, plugin, Verb::Add, Some(request), &extra)
                .and_then(|stdout| answer::result(&stdout, &list.version));
            prev = Some(result.doing(|| failed(plugin, "add"))?);
        }
        hold::refuse_when_arrived()?;
        prev.ok_or_else(|| Error::config("no plugin configs found"))
    }

    /// Signals are held only now: whoever waits for his turn can be stopped.
    fn turn(&self, container: &ContainerId) -> Result<Turn> {
        let turn = self.cache.turn(container)?;
        self.hold().map(|()| turn)
    }

    fn hold(&self) -> Result<()> {
        if self.hold_signals { hold::begin() } else { Ok(()) }
    }

    /// CHECK: asks every plugin whether the attachment is as ADD left it.
    ///
    /// # Errors
    /// The first plugin's that fails, with its code. Code 1 if the list's version has no CHECK, 7 if there was no ADD.
    pub fn check(&self, list: &List, request: &Request) -> Result<()> {
        let _turn = self.cache.turn(&request.container)?;
        let attachment = request.attachment(list);
        let record = self.cache.read(&attachment)?;
        let (list, request) = as_added(list, request, record.as_ref());
        if !list.version.has_check() {
            let version = &list.version;
            let why =
                format!("configuration version {:?} does not support the CHECK command", version.as_str());
            return Err(Error::new(Code::INCOMPATIBLE_VERSION, why));
        }
        if list.disable_check {
            return Ok(());
        }
        let Some(result) = record.and_then(|record| record.result) else {
            return Err(Error::config(format!("{attachment} is not attached: there is no result to check")));
        };
        let prev = answer::convert(&result, &list.version)?;
        let extra = Extra::Attachment { capabilities: &request.capabilities, prev: Some(&prev) };
        list.plugins.iter().try_for_each(|plugin| {
            self.run(&list, plugin, Verb::Check, Some(&request), &extra)
                .map(drop)
                .doing(|| failed(plugin, "check"))
        })
    }

    /// DEL: runs the plugins backwards, each with the result of ADD, and forgets the attachment. What was never added
    /// can be deleted, and so can what was deleted.
    ///
    /// After a complete ADD the list is the one that ADD used, whatever the file says by now; after one that was not
    /// completed it is `list`, which somebody may have mended since.
    ///
    /// # Errors
    /// The first plugin's that fails, with its code. The plugins before it are not run, as the specification has it,
    /// and the attachment is not forgotten.
    pub fn del(&self, list: &List, request: &Request) -> Result<()> {
        let _turn = self.turn(&request.container)?;
        self.detach(list, request)
    }

    fn detach(&self, list: &List, request: &Request) -> Result<()> {
        let attachment = request.attachment(list);
        // A record that cannot be read is as good as none: DEL has to work without.
        let record = self.cache.read(&attachment).ok().flatten();
        let (list, request) = as_added(list, request, record.as_ref());
        let result = record.and_then(|record| record.result).filter(|_| list.version.has_check());
        let prev = result.and_then(|result| answer::convert(&result, &list.version).ok());
        let extra = Extra::Attachment { capabilities: &request.capabilities, prev: prev.as_deref() };
        list.plugins.iter().rev().try_for_each(|plugin| {
            self.run(&list, plugin, Verb::Del, Some(&request), &extra)
                .map(drop)
                .doing(|| failed(plugin, "delete"))
        })?;
        self.cache.remove(&attachment)
    }

    /// GC: runs DEL for every remembered attachment of the network that is not valid any more, then GC of every
    /// plugin. Nothing else may run meanwhile, so it waits, and lets wait.
    ///
    /// Without a list of the valid ones none is valid, but the plugins are not told so: what they hold for others, who
    /// have their own cache, stays. Where a file of the cache cannot be read, nothing of it is deleted: nobody knows who lives.
    ///
    /// # Errors
    /// Everything is tried; the first error with the others in its details.
    pub fn gc(&self, list: &List, valid: Option<&[(ContainerId, IfName)]>) -> Result<()> {
        if list.disable_gc {
            return Ok(());
        }
        let _turn = self.cache.turn_alone()?;
        self.hold()?;
        let lives = |who: &Attachment| {
            valid.is_some_and(|valid| {
                valid.iter().any(|(id, name)| *id == who.container && *name == who.ifname)
            })
        };
        let mut faults = Faults::default();
        for record in faults.note(self.cache.of_network(&list.name)).unwrap_or_default() {
            let Attachment { container, ifname, .. } = &record.attachment;
            hold::refuse_when_arrived()?;
            if !lives(&record.attachment) {
                let request = Request::new(container.clone(), ifname.clone(), record.netns.clone());
                let request = Request { args: record.args, capabilities: record.capabilities, ..request };
                let gone = self.detach(list, &request);
                faults.note(gone.doing(|| format!("failed to delete stale attachment {container} {ifname}")));
            }
        }
        if list.version.has_gc() {
            for plugin in &list.plugins {
                let answer = self.run(list, plugin, Verb::Gc, None, &Extra::Gc(valid));
                faults.note(answer.doing(|| format!("failed to GC plugin {}", plugin.program)));
            }
        }
        faults.verdict()
    }

    /// STATUS: asks every plugin whether ADD would work. Lists below 1.1.0 are always ready.
    ///
    /// # Errors
    /// The first plugin's that is not ready, with its code.
    pub fn status(&self, list: &List) -> Result<()> {
        let asked = list.plugins.iter().filter(|_| list.version.has_gc());
        asked.into_iter().try_for_each(|plugin| {
            self.run(list, plugin, Verb::Status, None, &Extra::Nothing)
                .map(drop)
                .doing(|| failed(plugin, "status"))
        })
    }

    fn run(
        &self,
        list: &List,
        plugin: &Plugin,
        verb: Verb,
        request: Option<&Request>,
        extra: &Extra<'_>,
    ) -> Result<Vec<u8>> {
        let program = exec::find(&plugin.program, &self.path)?;
        let own = self.env(verb, request).map(|(key, value)| (OsString::from(key), value));
        let env: Vec<(OsString, OsString)> = own.into_iter().chain(self.variables.iter().cloned()).collect();
        let output = exec::run(&program, &env, &derive::stdin(list, plugin, extra))?;
        if !output.stderr.is_empty() {
            (self.overhear)(&plugin.program, &output.stderr);
        }
        output.verdict()
    }

    /// Every variable is always there, also where it has nothing to say: one that the runtime itself was given must
    /// not reach its plugins.
    fn env(&self, verb: Verb, request: Option<&Request>) -> [(&'static str, OsString); 6] {
        let of = |part: fn(&Request) -> String| request.map(part).unwrap_or_default().into();
        let pairs = |request: &Request| {
            let pairs: Vec<String> =
                request.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
            pairs.join(";")
        };
        let path: Vec<OsString> = self.path.iter().map(OsString::from).collect();
        [
            ("CNI_COMMAND", verb.as_str().into()),
            ("CNI_CONTAINERID", of(|request| request.container.to_string())),
            ("CNI_NETNS", of(|request| request.netns.clone())),
            ("CNI_ARGS", of(pairs)),
            ("CNI_IFNAME", of(|request| request.ifname.to_string())),
            ("CNI_PATH", path.join(":".as_ref())),
        ]
    }
}

/// What ADD was given, for those who come after it: the list as it was then, and its arguments where none are given
/// now. An ADD that was not completed has no say in the list.
fn as_added<'a>(
    list: &'a List,
    request: &'a Request,
    record: Option<&Record>,
) -> (Cow<'a, List>, Cow<'a, Request>) {
    let Some(record) = record else { return (Cow::Borrowed(list), Cow::Borrowed(request)) };
    let mut request = request.clone();
    if request.args.is_empty() {
        request.args = record.args.clone();
    }
    if request.capabilities.is_empty() {
        request.capabilities = record.capabilities.clone();
    }
    // A list of libcni's cache lacks the plugins of the network's folder; where the file is still the same, the list
    // that was just read has them.
    let changed = record.result.is_some() && record.config != list.as_written();
    let earlier = record.list().ok().flatten().filter(|earlier| changed && earlier.name == list.name);
    (earlier.map_or(Cow::Borrowed(list), Cow::Owned), Cow::Owned(request))
}

fn failed(plugin: &Plugin, doing: &str) -> String {
    let name = plugin.name.as_ref().map(|name| format!(" name={name:?}")).unwrap_or_default();
    format!("plugin type={:?}{name} failed ({doing})", plugin.program.as_str())
}
