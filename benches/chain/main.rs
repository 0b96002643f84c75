//! What a pod costs with the plugins that podman and Kubernetes put behind one another: ours and Debian's Go plugins, side by
//! side in one run, on an empty node and on crowded ones. Prints a Markdown table for docs/performance.md.
//!
//! ```text
//! cargo bench --bench chain                     48 samples of everything, in about three minutes
//! cargo bench --bench chain -- --samples 200
//! ```
//!
//! Everything is as in `side_by_side`, whose scale this is: namespaces of its own, a host for each candidate, candidates in turn,
//! a pool that is attached as a whole before it is detached, medians with the 10th and 90th percentile, the first round thrown
//! away. A chain is weighed plugin by plugin, and the sum is noted: what a runtime takes in between is not in it.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark sleeps on purpose: the pauses are part of the method"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]

#[path = "../side_by_side/figures.rs"]
mod figures;
#[path = "../node.rs"]
mod node;
#[path = "../side_by_side/orphans.rs"]
mod orphans;
mod pod;
mod table;
#[path = "../side_by_side/weigh.rs"]
mod weigh;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use node::{Candidate, Pod, Verb};
use table::Table;
use weigh::tool;

/// Any failure ends the run: a table with a hole in it would be quoted all the same.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pods of each candidate that are weighed.
const POOL: u16 = 8;
/// How many others are there already, and who is weighed beside them: by the thousand the Go plugins would take an hour.
const CROWDS: [(u16, &[Candidate]); 3] = [
    (0, &[Candidate::Ours, Candidate::Go]),
    (60, &[Candidate::Ours, Candidate::Go]),
    (1000, &[Candidate::Ours]),
];
/// After an ADD: the kernel announces carrier and starts IPv6 on the new links in its own time.
const AFTER_ADD: Duration = Duration::from_millis(20);
/// After a DEL: the RCU work of a deleted pair takes 15 to 40 ms.
const AFTER_DEL: Duration = Duration::from_millis(60);
/// Between the halves of a round.
const REST: Duration = Duration::from_millis(500);
/// New links look for routers and other neighbours in the first seconds of their lives.
const AFTER_CROWD: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("chain: {fault}");
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
    let samples: usize = match asked {
        [] => 48,
        ["--samples", count] => count.parse()?,
        _ => return Err("the only argument is --samples N; benches/chain/main.rs explains".into()),
    };
    if inside { compare(samples.div_ceil(POOL.into())) } else { weigh::enter(asked) }
}

fn compare(rounds: usize) -> Result<()> {
    let scale = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("weigh");
    weigh::compile("weigh.c", &scale, &["-static"])?;
    orphans::adopt()?;
    tool("mount", "-t tmpfs tmpfs /run")?;
    for candidate in Candidate::ALL {
        tool("ip", &format!("netns add {}", candidate.node()))?;
        tool("ip", &format!("-n {} link set lo up", candidate.node()))?;
        for number in 0..POOL {
            Pod::new(candidate, number).make()?;
        }
    }
    let mut table = Table::new(rounds * usize::from(POOL))?;
    let mut there = 0;
    for (crowd, candidates) in CROWDS {
        eprintln!("beside {crowd} …");
        for number in there..crowd {
            for &candidate in candidates {
                let neighbour = Pod::new(candidate, POOL + number);
                neighbour.make()?;
                neighbour.weigh(&scale, Verb::Add)?;
            }
        }
        there = crowd;
        sleep(if crowd == 0 { REST } else { AFTER_CROWD });
        for round in 0..=rounds {
            for verb in [Verb::Add, Verb::Del] {
                for number in 0..POOL {
                    let first = (round + usize::from(number)) % candidates.len();
                    for &candidate in candidates.iter().cycle().skip(first).take(candidates.len()) {
                        let costs = Pod::new(candidate, number).weigh(&scale, verb)?;
                        let rest = orphans::end()?;
                        if round > 0 {
                            table.note(verb, crowd, candidate, &costs, rest);
                        }
                        sleep(if verb == Verb::Del { AFTER_DEL } else { AFTER_ADD });
                    }
                }
                sleep(REST);
            }
        }
    }
    table.print();
    Ok(())
}
