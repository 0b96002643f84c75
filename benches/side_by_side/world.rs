//! The place where the comparison happens: namespaces of its own, tools built for it, and one way to run a program.

use crate::Result;
use crate::candidate::{CANDIDATES, Candidate, Verb, Work};
use crate::request::{self, Container, Invocation, Network};
use std::ffi::OsStr;
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
    /// Builds the C programs, and for each candidate a host with a bridge and `pool` namespaces. Call it inside only.
    pub(crate) fn build(pool: u16) -> Result<World> {
        let tools = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let ours = Path::new(env!("CARGO_BIN_EXE_bridge")).parent().ok_or("our programs have no folder")?;
        let world =
            World { ours: ours.to_owned(), yardstick: tools.join("yardstick"), weigh: tools.join("weigh") };
        compile("yardstick.c", &world.yardstick, &FREESTANDING)?;
        compile("weigh.c", &world.weigh, &["-static"])?;

        tool("mount", "-t tmpfs tmpfs /run")?;
        for candidate in CANDIDATES {
            let node = candidate.node();
            tool("ip", &format!("netns add {node}"))?;
            tool("ip", &format!("-n {node} link set lo up"))?;
            world.make_bridge(candidate, &Network::of(Work::Bridge, candidate))?;
            for number in 0..pool {
                let container = Container::of(candidate, Work::Bridge, number);
                tool("ip", &format!("netns add {}", container.id))?;
            }
        }
        Ok(world)
    }

    /// A bridge with its gateway's address, as it is after the first ADD. Its own MAC keeps it from taking its ports'.
    pub(crate) fn make_bridge(&self, candidate: Candidate, network: &Network) -> Result<()> {
        let (node, bridge, subnet) = (candidate.node(), &network.bridge, &network.subnet);
        tool("ip", &format!("-n {node} link add {bridge} address 02:00:00:00:00:01 type bridge"))?;
        tool("ip", &format!("-n {node} address add {subnet}.0.1/16 dev {bridge}"))?;
        tool("ip", &format!("-n {node} link set {bridge} up"))?;
        Ok(())
    }

    pub(crate) fn ask(
        &self,
        candidate: Candidate,
        network: &Network,
        verb: Verb,
        container: &Container,
    ) -> Invocation {
        match candidate {
            Candidate::Ours => request::plugin(&self.ours, network, verb, container),
            Candidate::Go => request::plugin(Path::new(GO_PLUGINS), network, verb, container),
            Candidate::Kernel => request::yardstick(&self.yardstick, network, verb, container),
        }
    }

    /// A program on a candidate's host. `nsenter` becomes that program, so it takes no part in what is weighed.
    pub(crate) fn on(candidate: Candidate, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net=/run/netns/{}", candidate.node())).arg(program);
        command
    }

    /// Runs one candidate once, and returns what it printed and what it cost. A program that fails ends the comparison.
    pub(crate) fn weigh(&self, candidate: Candidate, invocation: &Invocation) -> Result<(Vec<u8>, Cost)> {
        let out = run(World::on(candidate, &self.weigh).arg(&invocation.program), invocation)?;
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
