//! One call of one program, with exactly the environment and the stdin that the test says.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;

use super::outcome::Outcome;

/// The search path of every process in a world.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A call that has not been made yet.
#[derive(Debug, Clone)]
pub struct Call {
    wrapper: Vec<String>,
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<OsString, OsString>,
    stdin: Input,
    stdout: Option<PathBuf>,
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Input {
    Bytes(Vec<u8>),
    File(PathBuf),
    /// A pipe that stays open until the program has ended.
    Open(Vec<u8>),
}

impl Call {
    /// A call with every variable that the verb could want, but CNI_NETNS and CNI_ARGS.
    pub fn new(program: PathBuf, verb: &str, conf: &Value, path: &Path) -> Call {
        let stdin = serde_json::to_vec(conf).expect("JSON");
        let call = Call {
            wrapper: Vec::new(),
            program,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            stdin: Input::Bytes(stdin),
            stdout: None,
            folder: None,
        };
        let call = call.env("PATH", PATH).env("CNI_COMMAND", verb).env("CNI_PATH", path);
        match verb {
            "GC" | "STATUS" | "VERSION" => call,
            _ => call.env("CNI_CONTAINERID", "container-1").env("CNI_IFNAME", "eth0"),
        }
    }

    /// Any other program, without a variable and with empty stdin.
    pub fn of(program: impl Into<PathBuf>, arguments: &[&str]) -> Call {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let call = Call {
            wrapper: Vec::new(),
            program: program.into(),
            arguments,
            environment: BTreeMap::new(),
            stdin: Input::Bytes(Vec::new()),
            stdout: None,
            folder: None,
        };
        call.env("PATH", PATH)
    }

    /// Lets another program start this one, such as strace(1) with its options.
    pub fn under(mut self, wrapper: &[&str]) -> Call {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Call {
        self.environment.insert(key.into(), value.as_ref().into());
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, key: &str) -> Call {
        self.environment.remove(OsStr::new(key));
        self
    }

    /// Sets CNI_NETNS.
    pub fn netns(self, path: impl AsRef<OsStr>) -> Call {
        self.env("CNI_NETNS", path)
    }

    /// Sets CNI_CONTAINERID.
    pub fn container(self, id: impl AsRef<OsStr>) -> Call {
        self.env("CNI_CONTAINERID", id)
    }

    /// Sets CNI_IFNAME.
    pub fn ifname(self, name: impl AsRef<OsStr>) -> Call {
        self.env("CNI_IFNAME", name)
    }

    /// Replaces stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.stdin = Input::Bytes(bytes.into());
        self
    }

    /// Replaces stdin by a file (or a folder).
    pub fn stdin_from(mut self, path: impl Into<PathBuf>) -> Call {
        self.stdin = Input::File(path.into());
        self
    }

    /// Gives these bytes on stdin and then keeps it open.
    pub fn stdin_left_open(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.stdin = Input::Open(bytes.into());
        self
    }

    /// Sends stdout to a file, such as /dev/full.
    pub fn stdout_to(mut self, path: impl Into<PathBuf>) -> Call {
        self.stdout = Some(path.into());
        self
    }

    /// Starts the program in this folder.
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Call {
        self.folder = Some(path.into());
        self
    }

    /// What the program will find on stdin.
    pub fn stdin_bytes(&self) -> String {
        match &self.stdin {
            Input::Bytes(bytes) | Input::Open(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Input::File(path) => std::fs::read_to_string(path).expect("the file for stdin"),
        }
    }

    /// Makes the call and waits for its end.
    pub fn run(&self) -> Outcome {
        self.start().finish()
    }

    /// Makes the call and does not wait.
    pub fn start(&self) -> Running {
        let mut words = self.wrapper.iter().map(OsString::from).chain([self.program.clone().into()]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words).args(&self.arguments).env_clear().envs(&self.environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Input::File(path) = &self.stdin {
            command.stdin(File::open(path).expect("the file for stdin"));
        }
        if let Some(path) = &self.stdout {
            command.stdout(File::options().write(true).open(path).expect("the file for stdout"));
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", self.program.display()));
        let stdin = child.stdin.take();
        let held = match (&self.stdin, stdin) {
            (Input::Bytes(bytes), Some(mut pipe)) => {
                let bytes = bytes.clone();
                // A program that does not read (VERSION) breaks the pipe, which is its right.
                std::thread::spawn(move || drop(pipe.write_all(&bytes)));
                None
            }
            (Input::Open(bytes), Some(mut pipe)) => {
                drop(pipe.write_all(bytes));
                Some(pipe)
            }
            _ => None,
        };
        Running { child, held, said: self.to_string() }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variables = self.environment.iter().filter(|(key, _)| *key != "PATH");
        for (key, value) in variables {
            write!(f, "{}={} ", key.display(), value.display())?;
        }
        for word in &self.wrapper {
            write!(f, "{word} ")?;
        }
        write!(f, "{} {}", self.program.display(), self.arguments.join(" "))?;
        match &self.stdin {
            Input::Bytes(bytes) | Input::Open(bytes) => {
                let shown = bytes.get(..bytes.len().min(2000)).unwrap_or_default();
                write!(f, "\n  stdin: {}", String::from_utf8_lossy(shown))
            }
            Input::File(path) => write!(f, " < {}", path.display()),
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    held: Option<std::process::ChildStdin>,
    said: String,
}

impl Running {
    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill(1)").success(), "send {name}");
    }

    /// Sends KILL at once, without a program that has to start first.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Writes more to a stdin that was left open.
    pub fn write(&mut self, bytes: &[u8]) {
        self.held.as_mut().expect("stdin was left open").write_all(bytes).expect("the program reads");
    }

    /// Closes a stdin that was left open.
    pub fn close_stdin(&mut self) {
        self.held = None;
    }

    /// Waits for the end.
    pub fn finish(self) -> Outcome {
        let Running { child, held, said } = self;
        let output = child.wait_with_output().expect("wait");
        drop(held); // only now: the call must have ended by itself
        Outcome::new(said, output)
    }

    /// What a tracer says, who has waited for the end: of the program, and of all that it started.
    pub fn ended(self, status: ExitStatus) -> Outcome {
        let Running { mut child, said, .. } = self;
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        child.stdout.take().expect("a pipe").read_to_end(&mut output.stdout).expect("stdout");
        child.stderr.take().expect("a pipe").read_to_end(&mut output.stderr).expect("stderr");
        Outcome::new(said, output)
    }
}
