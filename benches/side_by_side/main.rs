//! What an attachment costs: our plugins, Debian's Go plugins and the kernel's own price (`yardstick.c`), side by
//! side in one run. Prints a Markdown table for docs/performance.md, and draws docs/attach.svg.
//!
//! ```text
//! cargo bench --bench side_by_side                     72 samples of everything
//! cargo bench --bench side_by_side -- --samples 400
//! cargo bench --bench side_by_side -- --record         writes benches/yardstick.strace anew
//! ```
//!
//! How the figures are made comparable:
//! - Everything happens in network and mount namespaces of its own (with a user namespace where we are not root),
//!   which vanish with the run.
//! - The candidates take turns, and who goes first changes with every turn, so that a busy moment of the machine
//!   falls on all of them. Each has a host of its own, which is a namespace with a bridge, a folder of leases and a
//!   pool of containers.
//! - A deleted veth keeps the kernel busy (RCU) after DEL has returned, and the next ADD would pay for that. So a
//!   round attaches the whole pool, rests, detaches the whole pool, and rests; after each single run there is the
//!   same pause for every candidate.
//! - What an attachment costs beside a thousand others is measured last, for the namespaces of so many make everything
//!   a little dearer for as long as they are there.
//! - The first round fills caches and is thrown away. Medians are quoted, with the 10th and 90th percentile.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark sleeps on purpose: the pauses are part of the method"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]

mod candidate;
#[path = "../chart.rs"]
mod chart;
mod crowd;
mod figures;
mod orphans;
mod request;
mod table;
mod weigh;
mod world;
mod yardstick;

use candidate::{CANDIDATES, Candidate, Verb, Work};
use crowd::Crowd;
use request::{Container, Network};
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use table::Table;
use world::World;

/// Any failure ends the run: a table with a hole in it would be quoted all the same.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Namespaces per candidate. More would crowd the bridges, fewer would let rests dominate the run.
const POOL: u16 = 8;
/// After an ADD: the kernel announces carrier and starts IPv6 on the new links in its own time.
const AFTER_ADD: Duration = Duration::from_millis(20);
/// After a DEL: the RCU work of a deleted pair takes 15 to 40 ms.
const AFTER_DEL: Duration = Duration::from_millis(60);
/// Between the halves of a round.
const REST: Duration = Duration::from_millis(500);
/// A thousand new links look for routers and other neighbours in the first seconds of their lives.
const AFTER_CROWD: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("side_by_side: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (inside, asked) = match args.as_slice() {
        ["--inside", asked @ ..] => (true, asked),
        asked => (false, asked),
    };
    let samples = match asked {
        [] => Some(72),
        ["--samples", count] => Some(count.parse()?),
        ["--record"] => None,
        _ => {
            return Err("arguments are --samples N or --record; benches/side_by_side/main.rs explains".into());
        }
    };
    if !inside {
        return weigh::enter(asked);
    }
    orphans::adopt()?;
    let world = World::build(POOL)?;
    match samples {
        Some(count) => compare(&world, count),
        None => yardstick::record(&world),
    }
}

fn compare(world: &World, samples: usize) -> Result<()> {
    yardstick::verify(world)?;
    let rounds = samples.div_ceil(POOL.into());
    let mut table = Table::new(rounds * usize::from(POOL))?;
    // Works take turns, too: they are compared with each other.
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds} …");
        for work in Work::ALONE {
            sweep(world, work, &CANDIDATES, round, &mut table)?;
        }
    }
    for candidates in crowd::IN_TURN {
        let mut crowds =
            candidates.iter().map(|&candidate| Crowd::new(world, candidate)).collect::<Result<Vec<_>>>()?;
        for others in Work::CROWDS {
            crowds.iter_mut().try_for_each(|crowd| crowd.grow(world, others))?;
            sleep(AFTER_CROWD);
            for round in 0..=rounds {
                eprintln!("beside {others} neighbours, round {round} of {rounds} …");
                sweep(world, Work::Crowd(others), candidates, round, &mut table)?;
            }
        }
    }
    fs::write("docs/attach.svg", table.chart())?;
    table.print();
    Ok(())
}

/// Every verb for the whole pool of every candidate, all of them going first equally often.
fn sweep(world: &World, work: Work, candidates: &[Candidate], round: usize, table: &mut Table) -> Result<()> {
    for &verb in work.verbs() {
        for number in 0..POOL {
            let first = (round + usize::from(number)) % candidates.len();
            for &candidate in candidates.iter().cycle().skip(first).take(candidates.len()) {
                let container = Container::of(candidate, work, number);
                let invocation = world.ask(candidate, &Network::of(work, candidate), verb, &container);
                let (_, cost) = world.weigh(candidate, &invocation)?;
                let rest = orphans::end()?;
                if round > 0 {
                    table.note(work, verb, candidate, cost, rest);
                }
                sleep(if verb == Verb::Del && work.makes_links() { AFTER_DEL } else { AFTER_ADD });
            }
        }
        if work.makes_links() {
            sleep(REST);
        }
    }
    Ok(())
}
