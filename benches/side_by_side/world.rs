//! The place where the comparison happens: namespaces of its own, tools built for it, and one way to run a program.

use crate::Result;
use crate::candidate::{self, CANDIDATES, Candidate, Invocation, Pod, Verb, Work};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Where Debian installs the Go plugins.
const GO_PLUGINS: &str = "/usr/lib/cni";

/// The yardstick has no C library beneath it (its head says why).
const FREESTANDING: [&str; 5] =
    ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns"];

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

pub(crate) struct World {
    ours: PathBuf,
    pub(crate) yardstick: PathBuf,
    weigh: PathBuf,
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

impl World {
    /// Builds the C programs, the bridges and `pool` namespaces for each candidate. Call it inside only.
    pub(crate) fn build(pool: usize) -> Result<World> {
        let tools = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let ours = Path::new(env!("CARGO_BIN_EXE_bridge")).parent().ok_or("our programs have no folder")?;
        let world =
            World { ours: ours.to_owned(), yardstick: tools.join("yardstick"), weigh: tools.join("weigh") };
        compile("yardstick.c", &world.yardstick, &FREESTANDING)?;
        compile("weigh.c", &world.weigh, &["-static"])?;

        tool("mount", "-t tmpfs tmpfs /run")?;
        tool("ip", "link set lo up")?;
        for candidate in CANDIDATES {
            let bridge = candidate.bridge();
            let gateway = format!("{}.0.1/16", candidate.subnet(Work::Bridge));
            tool(
                "ip",
                &format!("link add {bridge} address 02:00:00:00:00:0{} type bridge", candidate as u8),
            )?;
            tool("ip", &format!("address add {gateway} dev {bridge}"))?;
            tool("ip", &format!("link set {bridge} up"))?;
            for number in 0..pool {
                tool("ip", &format!("netns add {}", Pod { candidate, number }.name()))?;
            }
        }
        Ok(world)
    }

    pub(crate) fn ask(&self, candidate: Candidate, work: Work, verb: Verb, pod: &Pod) -> Invocation {
        match candidate {
            Candidate::Ours => candidate::plugin(&self.ours, work, verb, pod),
            Candidate::Go => candidate::plugin(Path::new(GO_PLUGINS), work, verb, pod),
            Candidate::Kernel => candidate::yardstick(&self.yardstick, work, verb, pod),
        }
    }

    /// Runs one candidate once. A program that fails ends the comparison.
    pub(crate) fn weigh(&self, candidate: Candidate, work: Work, verb: Verb, pod: &Pod) -> Result<Cost> {
        let invocation = self.ask(candidate, work, verb, pod);
        let out = run(Command::new(&self.weigh).arg(&invocation.program), &invocation)?;
        let said = String::from_utf8_lossy(&out.stderr);
        let figures: Vec<u64> =
            said.lines().last().unwrap_or("").split(' ').filter_map(|word| word.parse().ok()).collect();
        match figures.as_slice() {
            &[wall, cpu, peak, 0] => {
                Ok(Cost { wall: Duration::from_nanos(wall), cpu: Duration::from_micros(cpu), peak })
            }
            _ => {
                let (who, word) = (invocation.program.display(), verb.word());
                Err(format!("{who} {word}: {}{said}", String::from_utf8_lossy(&out.stdout)).into())
            }
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

fn compile(source: &str, program: &Path, flags: &[&str]) -> Result<()> {
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

fn tool(program: &str, line: &str) -> Result<String> {
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
