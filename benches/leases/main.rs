//! What a lease costs among ten others and among sixty thousand: our host-local and Debian's, side by side in one run.
//! Prints a Markdown table for docs/performance.md.
//!
//! ```text
//! cargo bench --bench leases                     20 samples of everything, in about two minutes
//! cargo bench --bench leases -- --samples 100
//! ```
//!
//! Everything is as in `side_by_side`, whose scale this is: namespaces of its own, candidates in turn, medians with the
//! 10th and 90th percentile, the first round thrown away. The folders of one network stand beside each other with all
//! their sizes, so that a busy moment falls on ten leases as on sixty thousand. They are on a tmpfs: no disk takes part.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]

#[path = "../side_by_side/figures.rs"]
mod figures;
mod pool;
mod table;
#[path = "../side_by_side/weigh.rs"]
mod weigh;

use pool::{Candidate, Network, Pool, Verb};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use table::Table;
use weigh::tool;

/// Any failure ends the run: a table with a hole in it would be quoted all the same.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("leases: {fault}");
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
        [] => 20,
        ["--samples", count] => count.parse()?,
        _ => return Err("the only argument is --samples N; benches/leases/main.rs explains".into()),
    };
    if inside { compare(samples) } else { weigh::enter(asked) }
}

fn compare(samples: usize) -> Result<()> {
    let scale = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("weigh");
    weigh::compile("weigh.c", &scale, &["-static"])?;
    let mut table = Table::new(samples)?;
    for network in Network::ALL {
        eprintln!("{} …", network.title());
        // Half a gigabyte of small files, which the next network does without.
        tool("mount", "-t tmpfs -o size=4g,nr_inodes=1m tmpfs /run")?;
        let mut pools = Vec::new();
        for leases in network.crowds() {
            for candidate in [Candidate::Ours, Candidate::Go] {
                pools.push(Pool::fill(candidate, network, *leases)?);
            }
        }
        for round in 0..=samples {
            for turn in 0..pools.len() {
                let Some(pool) = pools.get((round + turn) % pools.len()) else { continue };
                attach_and_detach(&scale, pool, (round > 0).then_some(&mut table))?;
            }
        }
        tool("umount", "/run")?;
    }
    table.print();
    Ok(())
}

/// Everything that a candidate can do, so that the folder is the same at the end.
fn attach_and_detach(scale: &Path, pool: &Pool, mut table: Option<&mut Table>) -> Result<()> {
    let mut result = None;
    for &verb in pool.candidate.verbs() {
        if verb == Verb::Gc {
            // It has to find one that is dead.
            weigh::weigh(&mut Command::new(scale), &pool.ask(Verb::Add, None))?;
        }
        if verb == Verb::Rebuild {
            fs::remove_file(pool.index()?)?;
        }
        let prev = result.as_ref().filter(|_| matches!(verb, Verb::Check | Verb::Del));
        let (said, cost) = weigh::weigh(&mut Command::new(scale), &pool.ask(verb, prev))?;
        if verb == Verb::Add {
            result = Some(serde_json::from_slice::<Value>(&said)?);
        }
        if let Some(table) = &mut table {
            table.note(pool, verb, cost);
        }
    }
    if pool.candidate.verbs().contains(&Verb::Rebuild) {
        weigh::weigh(&mut Command::new(scale), &pool.ask(Verb::Del, None))?;
    }
    let left = fs::read_dir(pool.folder())?.count();
    // Beside the leases there are the lock and the mark of the set.
    if left == pool.leases as usize + 2 { Ok(()) } else { Err(format!("{left} files are left").into()) }
}
