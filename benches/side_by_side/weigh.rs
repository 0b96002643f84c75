//! One way to run a program and to say what it took, for all comparisons.

use crate::Result;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Where Debian installs the Go plugins.
pub(crate) const GO_PLUGINS: &str = "/usr/lib/cni";

/// A program to run, with everything it gets.
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) stdin: String,
}

/// What one run of a program took, with the programs that it ran in turn.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// From before its start until after its end.
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory at its highest, in KiB; of several processes, the largest.
    pub(crate) peak: u64,
}

/// Starts this program again in namespaces of its own, where the rest of the run happens.
pub(crate) fn enter(args: &[&str]) -> Result<()> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount"]);
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare.arg(std::env::current_exe()?).arg("--inside").args(args).status()?;
    if status.success() { Ok(()) } else { Err("the comparison did not come to its end".into()) }
}

/// Runs a program once under `scale`, which starts weigh.c's program, and returns what it printed and what it cost. A
/// program that fails ends the comparison.
pub(crate) fn weigh(scale: &mut Command, invocation: &Invocation) -> Result<(Vec<u8>, Cost)> {
    let out = run(scale.arg(&invocation.program), invocation)?;
    let said = String::from_utf8_lossy(&out.stderr);
    let figures: Vec<u64> =
        said.lines().last().unwrap_or("").split(' ').filter_map(|word| word.parse().ok()).collect();
    match figures.as_slice() {
        &[wall, cpu, peak, 0] => {
            let (wall, cpu) = (Duration::from_nanos(wall), Duration::from_micros(cpu));
            Ok((out.stdout, Cost { wall, cpu, peak }))
        }
        _ => {
            let who = invocation.program.display();
            Err(format!("{who}: {}{said}", String::from_utf8_lossy(&out.stdout)).into())
        }
    }
}

/// Runs `command` with the invocation's arguments, environment and input. The input is a file, since a writer at the
/// other end of a pipe would take a part in the race.
pub(crate) fn run(command: &mut Command, invocation: &Invocation) -> Result<Output> {
    let input = "/run/stdin";
    fs::write(input, &invocation.stdin)?;
    let env = invocation.env.iter().map(|(key, value)| (key, value));
    Ok(command.args(&invocation.args).env_clear().envs(env).stdin(File::open(input)?).output()?)
}

/// Builds one of the C programs of this folder's parent.
pub(crate) fn compile(source: &str, program: &Path, flags: &[&str]) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(source);
    output(
        Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror"])
            .args(flags)
            .arg("-o")
            .arg(program)
            .arg(source),
    )?;
    Ok(())
}

/// Runs a program of the system; `line` holds its arguments.
pub(crate) fn tool(program: &str, line: &str) -> Result<String> {
    output(Command::new(program).args(line.split(' ')))
}

/// What `command` prints; an error that quotes it where it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().map_err(|fault| format!("{:?}: {fault}", command.get_program()))?;
    if out.status.success() {
        return Ok(String::from_utf8(out.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&out.stderr)).into())
}
