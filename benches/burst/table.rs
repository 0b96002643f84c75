//! The table that the figures end in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Result;
use crate::chart::Chart;
use crate::figures::machine;
use crate::node::{Candidate, Verb};
use crate::pod::Work;
use crate::turn::{Turn, Turned};

type Key = (Work, Verb, usize, Candidate);

pub(crate) struct Table {
    rows: BTreeMap<Key, Turned>,
    head: String,
}

impl Table {
    pub(crate) fn new() -> Result<Table> {
        Ok(Table { rows: BTreeMap::new(), head: machine()? })
    }

    pub(crate) fn note(&mut self, turn: Turn, turned: Vec<Turned>) {
        for (verb, turned) in [Verb::Add, Verb::Del].into_iter().zip(turned) {
            self.rows.insert((turn.work, verb, turn.workers, turn.candidate), turned);
        }
    }

    pub(crate) fn print(&self) {
        println!("{}.\n", self.head);
        println!(
            "| | workers | | calls | failed | calls per second | p50, ms | p99, ms | slowest, ms | CPU of a call, ms | after the last answer, ms | calls per second / Go |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
        self.rows.iter().for_each(|(key, turned)| self.print_row(*key, turned));
    }

    /// How many ADDs are answered in a second, by how many workers ask.
    pub(crate) fn chart(&self) -> String {
        let names = [
            ("Jackfield", Candidate::Ours, Work::Bridge),
            ("Go plugins", Candidate::Go, Work::Bridge),
            ("Jackfield, ipMasq", Candidate::Ours, Work::Masquerade),
            ("Go plugins, ipMasq", Candidate::Go, Work::Masquerade),
        ];
        let rates = |whose, of| {
            let rows = self.rows.iter().filter(move |((work, verb, _, candidate), _)| {
                (*work, *verb, *candidate) == (of, Verb::Add, whose)
            });
            rows.map(|((_, _, workers, _), it)| (*workers as f64, rate(it))).collect()
        };
        Chart {
            title: "ADD of bridge + host-local",
            across: "workers",
            up: "calls answered in a second",
            lines: names.into_iter().map(|(name, whose, of)| (name, rates(whose, of))).collect(),
        }
        .svg()
    }

    fn print_row(&self, key: Key, it: &Turned) {
        let (work, verb, workers, candidate) = key;
        let is_first = candidate == Candidate::Ours;
        let what = match (is_first, workers) {
            (true, 1) => format!("{} {}", work.title(), verb.word()),
            _ => String::new(),
        };
        let go = self.rows.get(&(work, verb, workers, Candidate::Go)).filter(|_| is_first);
        let against = go.map(|go| format!("{:.1}", rate(it) / rate(go))).unwrap_or_default();
        let mut each = it.each.clone();
        each.sort();
        println!(
            "| {what} | {} | {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {against} |",
            if is_first { workers.to_string() } else { String::new() },
            candidate.title(work),
            each.len(),
            it.failed,
            rate(it),
            at(&each, 0.5),
            at(&each, 0.99),
            at(&each, 1.0),
            it.cpu.as_secs_f64() * 1e3 / each.len() as f64,
            it.rest.as_secs_f64() * 1e3,
        );
    }
}

/// Calls that were answered without an error, in a second; those of a DEL count once their processes have ended.
fn rate(it: &Turned) -> f64 {
    (it.each.len() - it.failed) as f64 / (it.wall + it.rest).as_secs_f64()
}

/// The time below which `share` of the sorted ones lie, in milliseconds.
fn at(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).ceil() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
