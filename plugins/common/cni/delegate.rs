//! A plugin that asks another one: IPAM (spec, section "Plugin delegation").
//!
//! The delegate is found on `CNI_PATH`, so that an administrator's own wins, and is told exactly what we were told: the
//! same environment but for the verb, and stdin to the byte.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Pid, getppid};
use serde::{Deserialize, Deserializer};

use crate::call::Call;
use crate::env::{Env, Verb};
use crate::error::{Code, Error, OrFail, Result};
use crate::exec::{self, Output, Started};
use crate::hold;
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

    /// Starts the delegate for an ADD that may still be refused; a program takes longer to start than to answer, and there is
    /// other work to do meanwhile. Only for one that does nothing before it has read its configuration, and nothing where it
    /// finds none: if the ADD is refused, it gets an empty one.
    pub fn get_ready(self) -> Ready {
        let started = Started::at_once(&self.program, &self.env(Verb::Add));
        Ready { delegate: self, started }
    }

    /// The same, but it is started when it is asked.
    pub fn wait_for_its_turn(self) -> Ready {
        Ready { delegate: self, started: None }
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

    fn env(&self, verb: Verb) -> [(&'static str, OsString); 2] {
        let parent = std::process::id().to_string();
        [("CNI_COMMAND", OsString::from(verb.as_str())), (PARENT, OsString::from(parent))]
    }

    fn run(&self, verb: Verb) -> Result<Vec<u8>> {
        let _step = log::step("ipam");
        heard(exec::run(&self.program, &self.env(verb), &self.call.stdin)?)
    }
}

fn heard(output: Output) -> Result<Vec<u8>> {
    if !output.stderr.is_empty() {
        // A delegate's log is our log, whether it succeeded or not; nobody to tell if that cannot be written.
        let _ = std::io::stderr().write_all(&output.stderr);
    }
    output.verdict()
}

/// A delegate that is about to be asked to ADD.
pub struct Ready {
    delegate: Delegate,
    started: Option<Started>,
}

impl Ready {
    /// ADD. A delegate that fails, or answers what nobody can read, is told to DEL before its error is passed up. The delegate
    /// that is given back can be told to DEL as well.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn add(self) -> Result<(Success, Delegate)> {
        let Ready { delegate, started } = self;
        let asked = match started {
            Some(started) => {
                let _step = log::step("ipam");
                started.finish(exec::PLUGIN, &delegate.call.stdin).and_then(heard)
            }
            None => delegate.run(Verb::Add),
        };
        let answered = asked.and_then(|answer| {
            let value = if answer.is_empty() { Ok(Value::Null) } else { Value::parse(&answer) };
            // Whatever is wrong with it, it is not the configuration.
            let read = value.and_then(|value| Success::read(&value, delegate.call.spec));
            read.map_err(|error| {
                let plugin = delegate.program.display();
                Error::internal(format!("failed to unmarshal raw result of {plugin}: {}", error.msg()))
            })
        });
        if answered.is_err() {
            // The error of the ADD is what the runtime has to know.
            let _ = delegate.del();
        }
        answered.map(|given| (given, delegate))
    }
}

/// Runs a program in the place of this process, which was started as that program: signals that come are passed on to it, and
/// where a plugin of ours has asked for it as its delegate, it ends with that plugin.
///
/// # Errors
/// When it cannot be started; when the plugin that asked has died.
pub fn stand_in(program: &Path, mut env: Vec<(OsString, OsString)>, stdin: &[u8]) -> Result<Output> {
    let own = Env::of_this_process();
    die_with_the_parent(&own)?;
    if own.parent().is_some() {
        env.push((PARENT.into(), std::process::id().to_string().into()));
    }
    hold::begin()?;
    exec::run(program, &env, stdin)
}

/// Ends as another process has ended: with its exit status, or by its signal.
pub fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
        // One that is held ends the process here; one that is not has done so before.
        let _ = raise(signal);
        hold::end();
    }
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
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

/// A delegate of ours ends with the plugin that started it: nobody would ask for what it made. The parent starts us
/// from its main thread, as PR_SET_PDEATHSIG is about threads (prctl(2)); a runtime written in Go cannot promise that, so
/// only our own plugins ask for it.
pub(crate) fn die_with_the_parent(env: &Env) -> Result<()> {
    let Some(parent) = env.parent().map(Pid::from_raw) else { return Ok(()) };
    let is_ours = getppid() == parent;
    if is_ours {
        set_pdeathsig(Signal::SIGKILL).doing(|| format!("set {PARENT}"))?;
    }
    // With another parent from the beginning we are either late, or there is somebody between us who passes our answer on.
    match getppid() == parent || (!is_ours && is_heard()) {
        true => Ok(()),
        false => Err(Error::internal("the plugin that asked has died")),
    }
}

/// Whether anybody can still read our answer. Of a process that dies the files are closed before its children get another
/// parent (`do_exit` in kernel/exit.c), so this does not say yes of one that is dead; and it is true in any PID namespace.
fn is_heard() -> bool {
    let stdout = std::io::stdout();
    // The other end of a pipe is told without being asked for (poll(2)).
    let mut ours = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut ours, PollTimeout::ZERO) == Ok(0)
}
