//! What an attachment costs: our plugins, Debian's Go plugins and the kernel's own price (`yardstick.c`), side by
//! side in one run. Prints a Markdown table for docs/performance.md.
//!
//! ```text
//! cargo bench --bench side_by_side                     96 samples of everything
//! cargo bench --bench side_by_side -- --samples 400
//! cargo bench --bench side_by_side -- --record         writes benches/yardstick.strace anew
//! ```
//!
//! How the figures are made comparable:
//! - Everything happens in network and mount namespaces of its own (with a user namespace where we are not root),
//!   which vanish with the run.
//! - The candidates take turns, and who goes first changes with every turn, so that a busy moment of the machine
//!   falls on all of them. Each has a bridge, a folder of leases and a pool of namespaces of its own.
//! - A deleted veth keeps the kernel busy (RCU) after DEL has returned, and the next ADD would pay for that. So a
//!   round attaches the whole pool, rests, detaches the whole pool, and rests; after each single run there is the
//!   same pause for every candidate.
//! - The first round fills caches and is thrown away. Medians are quoted, with the 10th and 90th percentile.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark sleeps on purpose: the pauses are part of the method"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]

mod candidate;
mod table;
mod world;
mod yardstick;

use candidate::{CANDIDATES, Candidate, Pod, Verb, Work};
use std::error::Error;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use table::Table;
use world::World;

/// Any failure ends the run: a table with a hole in it would be quoted all the same.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Namespaces per candidate. More would crowd the bridges, fewer would let rests dominate the run.
const POOL: usize = 8;
/// After an ADD: the kernel announces carrier and starts IPv6 on the new links in its own time.
const AFTER_ADD: Duration = Duration::from_millis(20);
/// After a DEL: the RCU work of a deleted pair takes 15 to 40 ms.
const AFTER_DEL: Duration = Duration::from_millis(60);
/// Between the halves of a round.
const REST: Duration = Duration::from_millis(500);

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
        [] => Some(96),
        ["--samples", count] => Some(count.parse()?),
        ["--record"] => None,
        _ => {
            return Err("arguments are --samples N or --record; benches/side_by_side/main.rs explains".into());
        }
    };
    if !inside {
        return world::enter(asked);
    }
    let world = World::build(POOL)?;
    match samples {
        Some(count) => compare(&world, count),
        None => yardstick::record(&world),
    }
}

fn compare(world: &World, samples: usize) -> Result<()> {
    yardstick::verify(world)?;
    let rounds = samples.div_ceil(POOL);
    let mut table = Table::new(rounds * POOL)?;
    for work in Work::ALL {
        eprintln!("{} …", work.title());
        for round in 0..=rounds {
            for &verb in work.verbs() {
                sweep(world, work, verb, round, &mut table)?;
            }
        }
    }
    table.print();
    Ok(())
}

/// One verb for the whole pool of every candidate.
fn sweep(world: &World, work: Work, verb: Verb, round: usize, table: &mut Table) -> Result<()> {
    for turn in 0..POOL {
        for candidate in in_turn(round + turn) {
            let cost = world.weigh(candidate, work, verb, &Pod { candidate, number: turn })?;
            if round > 0 {
                table.note(work, verb, candidate, cost);
            }
            sleep(if verb == Verb::Del { AFTER_DEL } else { AFTER_ADD });
        }
    }
    sleep(REST);
    Ok(())
}

/// All candidates, each going first equally often.
fn in_turn(turn: usize) -> impl Iterator<Item = Candidate> {
    CANDIDATES.into_iter().cycle().skip(turn % CANDIDATES.len()).take(CANDIDATES.len())
}
