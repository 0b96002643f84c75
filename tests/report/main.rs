//! What a folder of plugins answers to the cases of docs/conformance.md: a table, from what a run of the tests has said.
//!
//! ```text
//! make conformance DIR=/opt/cni/bin
//! ```
//!
//! It ends with failure if a case that binds a plugin by *must* does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it ends where it meets the unexpected"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is for the reader of a terminal")]
#![allow(unreachable_pub, reason = "a program has no outside")]

#[path = "../conformance/cases.rs"]
mod cases;
mod verdict;

use std::collections::BTreeMap;
use std::process::ExitCode;

use verdict::{Log, Verdict};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [log, folder] = args.as_slice() else {
        eprintln!("report LOG FOLDER: the log of a run of the tests, and whose programs they ran");
        return ExitCode::FAILURE;
    };
    let log = Log::read(&std::fs::read_to_string(log).expect("the log of the run"));
    let tested = cases::tested();
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut group = String::new();
    println!("# {folder}");
    for row in cases::rows() {
        let tests = tested.get(&row.case);
        let verdict = tests.map_or_else(|| Verdict::none(&row.place), |tests| log.verdict(&row.case, tests));
        if row.group != group {
            println!("\n## {}\n\n| case | level | demand | verdict | |\n|---|---|---|---|---|", row.group);
            group.clone_from(&row.group);
        }
        let (word, reason) = (verdict.word(), verdict.reason());
        println!("| {} | {} | {} | {word} | {reason} |", row.case, row.level, row.demand);
        *counts.entry(verdict::level(&row.level)).or_default().entry(word).or_default() += 1;
    }
    let words = Verdict::WORDS;
    println!("\n| level | {} |\n|---|{}", words.join(" | "), "---|".repeat(words.len()));
    for (level, found) in &counts {
        let numbers = words.map(|word| found.get(word).unwrap_or(&0).to_string());
        println!("| {level} | {} |", numbers.join(" | "));
    }
    match counts.get("must").and_then(|found| found.get(Verdict::FAILS)) {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}
