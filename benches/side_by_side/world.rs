//! The place where the comparison happens: namespaces of its own, and tools built for it.

use crate::Result;
use crate::candidate::{CANDIDATES, Candidate, Verb, Work};
use crate::request::{self, Container, Network};
use crate::weigh::{self, Cost, GO_PLUGINS, Invocation, compile, tool};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The yardstick has no C library beneath it (its head says why).
const FREESTANDING: [&str; 5] =
    ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns"];

pub(crate) struct World {
    ours: PathBuf,
    pub(crate) yardstick: PathBuf,
    weigh: PathBuf,
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
        weigh::weigh(&mut World::on(candidate, &self.weigh), invocation)
    }
}
