//! What a burst of ADDs and DELs takes by 1 to 64 workers: ours and Debian's Go plugins, side by side in one run. Prints a
//! Markdown table for docs/performance.md, and draws docs/bursts.svg.
//!
//! ```text
//! cargo bench --bench burst                           128 containers (64 of the Go plugins' with iptables), in under two minutes
//! cargo bench --bench burst -- --attachments 1000     as many of ours on one bridge, beside the same of the Go plugins'
//! ```
//!
//! As in `side_by_side`: namespaces of its own, a host for each candidate, candidates in turn, and the bridge is there already
//! (the Go plugins fail where two make it at once). A burst is one process that has all containers' calls made by its workers,
//! each the next call that nobody makes yet. All have come before the first one goes.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark sleeps on purpose: the pauses are part of the method"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]

#[path = "../chart.rs"]
mod chart;
#[allow(dead_code, reason = "the other benches' rows are of costs of single calls")]
#[path = "../side_by_side/figures.rs"]
mod figures;
#[path = "../node.rs"]
mod node;
#[allow(dead_code, reason = "the same")]
#[path = "../side_by_side/orphans.rs"]
mod orphans;
mod pod;
mod table;
mod turn;
#[allow(dead_code, reason = "the same: here many calls are made at once")]
#[path = "../side_by_side/weigh.rs"]
mod weigh;

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use node::{Candidate, Pod};
use pod::Work;
use table::Table;
use turn::{Turn, Turned};
use weigh::{output, tool};

/// Any failure ends the run: a table with a hole in it would be quoted all the same.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many make calls at once.
const WORKERS: [usize; 4] = [1, 4, 16, 64];
/// Containers, where nobody asks for another number.
const ATTACHMENTS: u16 = 128;
/// The Go plugins' with iptables: each costs the more the more there are, and these alone take half of the run.
const WITH_IPTABLES: u16 = 64;
/// What a burst leaves to the kernel, it does in the first moments after it.
const REST: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("burst: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["--turn", candidate, work, workers, count] = args.as_slice() {
        return Turn::read(candidate, work, workers, count)?.run();
    }
    let (inside, asked) = match args.as_slice() {
        ["--inside", asked @ ..] => (true, asked),
        asked => (false, asked),
    };
    let attachments = match asked {
        [] => ATTACHMENTS,
        ["--attachments", count] => count.parse()?,
        _ => return Err("the only argument is --attachments N; benches/burst/main.rs explains".into()),
    };
    if inside { compare(attachments) } else { weigh::enter(asked) }
}

fn compare(attachments: u16) -> Result<()> {
    tool("mount", "-t tmpfs tmpfs /run")?;
    for candidate in Candidate::ALL {
        let node = candidate.node();
        tool("ip", &format!("netns add {node}"))?;
        tool("ip", &format!("-n {node} link set lo up"))?;
        tool("ip", &format!("-n {node} link add br0 address 02:00:00:00:00:01 type bridge"))?;
        tool("ip", &format!("-n {node} address add 10.70.0.1/16 dev br0"))?;
        tool("ip", &format!("-n {node} link set br0 up"))?;
        for number in 0..attachments {
            Pod::new(candidate, number).make()?;
        }
    }
    let mut table = Table::new()?;
    // The first burst on a host finds everything cold: it counts for nobody.
    for candidate in Candidate::ALL {
        start(&Turn { candidate, work: Work::Masquerade, workers: 4, count: 8 })?;
    }
    for work in Work::ALL {
        for (place, workers) in WORKERS.into_iter().enumerate() {
            eprintln!("{}, {workers} …", work.title());
            for candidate in Candidate::ALL.into_iter().cycle().skip(place % 2).take(Candidate::ALL.len()) {
                let is_slow = (candidate, work) == (Candidate::Go, Work::Masquerade);
                let count = if is_slow { attachments.min(WITH_IPTABLES) } else { attachments };
                let turn = Turn { candidate, work, workers, count };
                table.note(turn, start(&turn)?);
                sleep(REST);
            }
        }
    }
    table.print();
    fs::write("docs/bursts.svg", table.chart())?;
    Ok(())
}

/// Has a process of its own, on the candidate's host, take its turn.
fn start(turn: &Turn) -> Result<Vec<Turned>> {
    let mut on_node = Command::new("/usr/bin/nsenter");
    on_node.arg(format!("--net=/run/netns/{}", turn.candidate.node())).arg(std::env::current_exe()?);
    let said = output(on_node.arg("--turn").args(turn.words()))?;
    said.lines().map(Turned::read).collect()
}
