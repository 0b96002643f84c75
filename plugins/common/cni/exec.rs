//! Runs a plugin: finds its program, feeds it stdin, collects what it says (spec, section "Execution of plugins").

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::decode::decode;
use crate::error::{Code, Error, OrFail, Result};
use crate::hold;
use crate::name::PluginName;
use crate::value::Value;

/// What sort of program is run: the word for it, and how long its answer may be, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Sort {
    word: &'static str,
    longest: usize,
}

/// Its answer is a result.
pub(crate) const PLUGIN: Sort = Sort { word: "plugin", longest: 4 << 20 };

/// Its answer is a listing: kube-proxy's rules alone take more than a kilobyte for each service.
pub(crate) const TOOL: Sort = Sort { word: "program", longest: 256 << 20 };

/// Of a log so much is kept, in bytes.
const LONGEST_LOG: usize = 4 << 20;

/// How long a plugin that is not asked anything may take to end.
const MOMENT: Duration = Duration::from_secs(1);

/// What a program has said.
#[derive(Debug)]
pub struct Output {
    /// The program.
    pub program: PathBuf,
    /// How it ended.
    pub status: ExitStatus,
    /// Its answer.
    pub stdout: Vec<u8>,
    /// Its log.
    pub stderr: Vec<u8>,
}

/// Looks a plugin up in the folders of a search path, in order; the first regular file of that name is it.
///
/// # Errors
/// [`Code::ENVIRONMENT`] when there is no search path, [`Code::INTERNAL`] when no folder has the plugin.
pub fn find(plugin: &PluginName, path: &[PathBuf]) -> Result<PathBuf> {
    if path.is_empty() {
        let text = "required env variables [CNI_PATH] missing: no paths provided";
        return Err(Error::new(Code::ENVIRONMENT, text).details(format!("needed to find plugin {plugin}")));
    }
    let folders: Vec<String> = path.iter().map(|folder| folder.display().to_string()).collect();
    let missing = || format!("failed to find plugin {:?} in path [{}]", plugin.as_str(), folders.join(" "));
    for program in path.iter().map(|folder| folder.join(plugin.as_str())) {
        match program.metadata() {
            Ok(found) if found.is_file() => return Ok(program),
            Err(error) if !is_elsewhere(&error) => return Err(error).doing(missing),
            _ => {}
        }
    }
    Err(Error::internal(missing()))
}

/// A folder that is not there, or that we may not look into, has no plugin for us.
fn is_elsewhere(error: &std::io::Error) -> bool {
    let elsewhere = [Errno::ENOENT, Errno::ENOTDIR, Errno::EACCES, Errno::ELOOP, Errno::ENAMETOOLONG];
    elsewhere.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Runs a program to its end with the environment of this process, changed by `env`. A signal that arrives meanwhile
/// is passed on to it, so that it can undo what it did; then we go on as if nothing had happened, and the caller's
/// next step is refused.
///
/// # Errors
/// When the program cannot be started. How it ended is not judged here: see [`Output::verdict`].
pub fn run<K: AsRef<OsStr>>(program: &Path, env: &[(K, OsString)], stdin: &[u8]) -> Result<Output> {
    finish(with_env(program, env), program, PLUGIN, stdin)
}

fn with_env<K: AsRef<OsStr>>(program: &Path, env: &[(K, OsString)]) -> Command {
    let mut command = Command::new(program);
    command.envs(env.iter().map(|(key, value)| (key, value)));
    command
}

/// Runs a program to its end, whatever it is told and by whom.
pub(crate) fn finish(mut command: Command, program: &Path, sort: Sort, stdin: &[u8]) -> Result<Output> {
    let child = start(piped(&mut command))
        .doing(|| format!("failed to start {} {}", sort.word, program.display()))?;
    Started { program: program.into(), child }.finish(sort, stdin)
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// A program that has begun, and has been told nothing yet but its environment. Let go before it is asked, it hears the end of its
/// stdin and nothing else, and has a moment to end by itself.
pub(crate) struct Started {
    program: PathBuf,
    child: Child,
}

impl Started {
    /// Starts a plugin, unless something speaks against it this very moment: whoever needs it then hears of that from [`run`].
    pub(crate) fn at_once<K: AsRef<OsStr>>(program: &Path, env: &[(K, OsString)]) -> Option<Started> {
        let child = piped(&mut with_env(program, env)).spawn().ok()?;
        Some(Started { program: program.into(), child })
    }

    /// As [`run`], from here on.
    ///
    /// # Errors
    /// As [`run`].
    pub(crate) fn finish(mut self, sort: Sort, stdin: &[u8]) -> Result<Output> {
        let program = self.program.clone();
        let name = || format!("{} {}", sort.word, program.display());
        let (stdout, stderr) =
            converse(&mut self.child, stdin, sort.longest).doing(|| format!("talk with {}", name()))?;
        let status = self.child.wait().doing(|| format!("wait for {}", name()))?;
        Ok(Output { program, status, stdout, stderr })
    }

    /// Waits until it has ended, for as long as a program may need that has nothing to do.
    fn hears_nothing(&mut self) {
        let until = Instant::now() + MOMENT;
        let mut stdout = Hearing::of(self.child.stdout.take(), PLUGIN.longest);
        while let Some(fd) = stdout.fd() {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], left) {
                Ok(1..) if stdout.hear().is_ok() => {}
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }
}

impl Drop for Started {
    /// Nobody hears any more what it makes. It must not go on while that is being undone. One that has ended is left alone.
    fn drop(&mut self) {
        if self.child.stdin.take().is_some() {
            self.hears_nothing();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that is being written over cannot be started for a moment (ETXTBSY); an installer that copies in place
/// does that. A second is long enough for the copy, and no event tells when the writer closes.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells when another process closes the program for writing"
)]
fn start(command: &mut Command) -> std::io::Result<Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20))
            }
            outcome => return outcome,
        }
    }
    command.spawn()
}

/// Writes stdin and reads both outputs at once, so that no pipe can fill up and stop either side.
fn converse(child: &mut Child, mut unsent: &[u8], longest: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut stdin = child.stdin.take().filter(|_| !unsent.is_empty());
    let mut stdout = Hearing::of(child.stdout.take(), longest);
    let mut stderr = Hearing::of(child.stderr.take(), LONGEST_LOG);
    // Whoever is here with a signal behind him is undoing: the program he runs must not be disturbed.
    let mut signals = hold::arrivals().filter(|_| hold::arrived().is_none());
    while !(stdout.is_over() && stderr.is_over()) {
        let speaking = stdin.as_ref().map(AsFd::as_fd).map(|fd| (fd, PollFlags::POLLOUT));
        let hearing = [stdout.fd(), stderr.fd(), signals].map(|fd| fd.map(|fd| (fd, PollFlags::POLLIN)));
        let [to_stdin, from_stdout, from_stderr, signal] =
            ready([speaking, hearing[0], hearing[1], hearing[2]])?;
        if to_stdin && let Some(pipe) = &mut stdin {
            // A pipe that polls writable takes PIPE_BUF bytes without blocking (pipe(7)).
            let chunk = unsent.get(..unsent.len().min(4096)).unwrap_or(unsent);
            let sent = match pipe.write(chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                // It does not read, which is its right.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => unsent.len(),
                sent => sent.doing(|| "write its stdin".into())?,
            };
            unsent = unsent.get(sent..).unwrap_or_default();
            if unsent.is_empty() {
                stdin = None;
            }
        }
        if from_stdout && !stdout.hear()? {
            return Err(Error::internal(format!("its answer is longer than {} MiB", longest >> 20)));
        }
        if from_stderr {
            stderr.hear()?;
        }
        if signal && let Some(signal) = hold::arrived() {
            let _ = kill(pid, signal);
            signals = None;
        }
    }
    Ok((stdout.heard, stderr.heard))
}

/// Waits until at least one of the descriptors can be used, and says which.
fn ready<const N: usize>(wanted: [Option<(BorrowedFd<'_>, PollFlags)>; N]) -> Result<[bool; N]> {
    let mut fds: Vec<PollFd<'_>> =
        wanted.iter().flatten().map(|(fd, event)| PollFd::new(*fd, *event)).collect();
    while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(errno).doing(|| "poll".into());
        }
    }
    let mut answers = fds.iter().map(|fd| fd.any().unwrap_or(true));
    Ok(wanted.map(|asked| asked.is_some() && answers.next().unwrap_or(false)))
}

/// One of a program's outputs.
struct Hearing<R> {
    from: Option<R>,
    heard: Vec<u8>,
    longest: usize,
}

impl<R: Read + AsFd> Hearing<R> {
    fn of(from: Option<R>, longest: usize) -> Hearing<R> {
        Hearing { from, heard: Vec::new(), longest }
    }

    fn is_over(&self) -> bool {
        self.from.is_none()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// False for what came when there was enough, and is not kept.
    fn hear(&mut self) -> Result<bool> {
        let Some(from) = &mut self.from else { return Ok(true) };
        let mut chunk = [0; 4096];
        match from.read(&mut chunk) {
            Ok(0) => self.from = None,
            Ok(length) if self.heard.len() + length > self.longest => return Ok(false),
            Ok(length) => self.heard.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).doing(|| "read its output".into()),
        }
        Ok(true)
    }
}

/// An error object as a plugin writes it.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl Output {
    /// The answer of a plugin that succeeded.
    ///
    /// # Errors
    /// The plugin's own error, unchanged; [`Code::INTERNAL`] with everything that is known, where it left none.
    pub fn verdict(self) -> Result<Vec<u8>> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let (said, logged) = (String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr));
        let (said, logged) = (said.trim(), logged.trim());
        let how = how_it_ended(self.status);
        let program = format!("plugin {}", self.program.display());
        if said.is_empty() {
            let text = match logged {
                "" => format!("netplugin failed with no error message: {how}"),
                logged => format!("netplugin failed: {logged:?}: {how}"),
            };
            return Err(Error::internal(text).details(program));
        }
        let complaint: Complaint =
            Value::parse(said.as_bytes()).and_then(|value| decode(&value)).map_err(|error| {
                let msg = error.msg();
                Error::internal(format!(
                    "netplugin failed but error parsing its diagnostic message {said:?}: {msg}"
                ))
            })?;
        let code = if complaint.code == 0 { Code::INTERNAL } else { Code(complaint.code) };
        Err(Error::new(code, complaint.msg).details(complaint.details))
    }
}

/// `exit status 1`, `killed by signal 9`.
pub(crate) fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &[u8]) -> Output {
        // The script comes in the environment: a program gets no arguments from us.
        let folder =
            std::env::temp_dir().join(format!("jackfield-exec-{}-{}", std::process::id(), script.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("plugin");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = run(&program, &[("CNI_COMMAND", "ADD".into())], stdin).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        output
    }

    #[test]
    fn large_documents_pass_both_ways_at_once() {
        let document = vec![b'x'; 3_000_000];
        let output = shell("exec cat", &document);
        assert_eq!(output.verdict().unwrap(), document);
    }

    #[test]
    fn a_program_that_never_reads_is_not_waited_for() {
        let output = shell("echo $CNI_COMMAND; echo log >&2", &vec![b'x'; 1_000_000]);
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"ADD\n"[..], &b"log\n"[..]));
    }

    #[test]
    fn an_answer_without_end_is_not_heard_to_its_end() {
        let endless = Command::new("/usr/bin/yes");
        let error = finish(endless, Path::new("/usr/bin/yes"), PLUGIN, b"").unwrap_err();
        assert_eq!(error.msg(), "talk with plugin /usr/bin/yes: its answer is longer than 4 MiB");
        let output = shell("head -c 6000000 /dev/zero >&2; echo {}", b"");
        assert_eq!((output.stdout.as_slice(), output.stderr.len() <= LONGEST_LOG), (&b"{}\n"[..], true));
    }

    #[test]
    fn a_plugins_own_error_is_passed_up_unchanged() {
        let error =
            shell(r#"echo '{"code":11,"msg":"later","details":"dd"}'; exit 1"#, b"").verdict().unwrap_err();
        assert_eq!(
            (error.code(), error.msg().as_str(), error.more()),
            (Code::TRY_AGAIN, "later", Some("dd"))
        );
    }

    #[test]
    fn a_plugin_that_fails_without_an_error_object_is_quoted() {
        for (script, part) in [
            ("exit 3", "netplugin failed with no error message: exit status 3"),
            ("echo oops >&2; exit 1", "netplugin failed: \"oops\": exit status 1"),
            ("echo oops; exit 1", "netplugin failed but error parsing its diagnostic message \"oops\""),
            ("kill -9 $$", "killed by signal 9"),
        ] {
            let error = shell(script, b"").verdict().unwrap_err();
            assert_eq!(error.code(), Code::INTERNAL, "{script}");
            assert!(error.msg().contains(part), "{script} gives {}", error.msg());
        }
    }

    #[test]
    fn a_plugin_is_looked_for_in_order_and_the_error_names_every_folder() {
        let plugin: PluginName = "no-such-plugin".parse().unwrap();
        let error = find(&plugin, &["/a".into(), "/b".into()]).unwrap_err();
        assert_eq!(error.msg(), "failed to find plugin \"no-such-plugin\" in path [/a /b]");
        assert_eq!(find(&plugin, &[]).unwrap_err().code(), Code::ENVIRONMENT);
        assert_eq!(
            find(&"sh".parse().unwrap(), &["/a".into(), "/bin".into()]).unwrap(),
            Path::new("/bin/sh")
        );
    }
}
