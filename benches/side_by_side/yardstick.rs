//! The yardstick's own system calls, recorded in benches/yardstick.strace: a yardstick that grew a call longer would
//! make everybody else look better.

use crate::Result;
use crate::candidate::{Candidate, Verb, Work};
use crate::request::{Container, Network};
use crate::weigh;
use crate::world::World;
use std::fs;
use std::path::{Path, PathBuf};

/// The recording is for reading, and a link as strace prints it fills a page.
const WIDTH: usize = 140;

/// strace names message types only on sockets of its own namespace.
const HEAD: &str = "\
# System calls of benches/yardstick.c, written by `cargo bench --bench side_by_side -- --record`.
# Types without a name: 0x10 RTM_NEWLINK, 0x11 RTM_DELLINK, 0x12 RTM_GETLINK, 0x14 RTM_NEWADDR, 0x18 RTM_NEWROUTE.
";

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/yardstick.strace")
}

/// Writes the recording anew.
pub(crate) fn record(world: &World) -> Result<()> {
    fs::write(recording(), format!("{HEAD}{}", trace(world)?))?;
    Ok(())
}

/// Refuses to measure with a yardstick that makes other system calls than the recorded ones.
pub(crate) fn verify(world: &World) -> Result<()> {
    let (then, now) = (fs::read_to_string(recording())?, trace(world)?);
    let differs = calls(&then).zip(calls(&now)).find(|(then, now)| then != now);
    if let Some((then, now)) = differs {
        return Err(format!("the yardstick calls {now} where benches/yardstick.strace has {then}").into());
    }
    let (then, now) = (calls(&then).count(), calls(&now).count());
    if then == now {
        Ok(())
    } else {
        Err(format!("the yardstick makes {now} system calls, not {then}").into())
    }
}

/// The system calls in order: their names, and how many bytes were sent.
fn calls(trace: &str) -> impl Iterator<Item = String> {
    let lines = trace.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('(').zip(line.rsplit_once(" = "))).map(
        |((name, _), (_, answer))| {
            let sent = if name == "sendto" { answer } else { "" };
            format!("{name} {sent}").trim_end().to_owned()
        },
    )
}

fn trace(world: &World) -> Result<String> {
    let mut all = String::new();
    for work in Work::ALONE {
        for &verb in work.verbs() {
            all += &trace_one(world, work, verb)?;
        }
    }
    Ok(all)
}

fn trace_one(world: &World, work: Work, verb: Verb) -> Result<String> {
    let network = Network::of(work, Candidate::Kernel);
    let container = Container::of(Candidate::Kernel, work, 0);
    let invocation = world.ask(Candidate::Kernel, &network, verb, &container);
    let mut strace = World::on(Candidate::Kernel, "/usr/bin/strace");
    let out = weigh::run(strace.args(["-o", "/run/trace", "-s", "1"]).arg(&invocation.program), &invocation)?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(format!("strace of yardstick {:?}: {said}", invocation.args).into());
    }
    let trace = fs::read_to_string("/run/trace")?;
    // The first line is the start itself, with a path and an environment that differ from machine to machine.
    let lines = trace.lines().skip(1).map(shorten).map(|line| line + "\n");
    Ok(format!("\n# yardstick {}\n{}", invocation.args.join(" "), lines.collect::<String>()))
}

fn shorten(line: &str) -> String {
    match line.rsplit_once(" = ") {
        Some((call, answer)) if call.len() > WIDTH => {
            format!("{}… = {answer}", call.chars().take(WIDTH).collect::<String>())
        }
        _ => line.to_owned(),
    }
}
