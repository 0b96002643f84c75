//! The table that the figures end in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Result;
use crate::figures::{Row, machine};
use crate::node::{Candidate, Verb};
use crate::orphans::Rest;
use crate::pod::CHAIN;
use crate::weigh::Cost;

type Key = (Verb, u16, Candidate);

/// Each target: what is judged, how much it may be, and the figure.
type Target = (&'static str, f64, fn(&Table) -> f64);

const TARGETS: [Target; 5] = [
    ("chain ADD, wall / Go", 0.1, |table| table.against_go(Verb::Add, |row| row.wall)),
    ("chain ADD, CPU / Go", 0.1, |table| table.against_go(Verb::Add, |row| row.cpu)),
    ("chain DEL, wall / Go", 0.1, |table| table.against_go(Verb::Del, |row| row.wall)),
    ("chain ADD beside 1,000 pods, wall / beside none", 1.3, |table| table.against_none(Verb::Add)),
    ("chain DEL beside 1,000 pods, wall / beside none", 1.3, |table| table.against_none(Verb::Del)),
];

pub(crate) struct Table {
    sums: BTreeMap<Key, Vec<Cost>>,
    parts: BTreeMap<(Key, &'static str), Vec<Cost>>,
    rests: BTreeMap<Key, Vec<Rest>>,
    head: String,
}

impl Table {
    pub(crate) fn new(samples: usize) -> Result<Table> {
        let head = format!("{}, {samples} runs of each", machine()?);
        Ok(Table { sums: BTreeMap::new(), parts: BTreeMap::new(), rests: BTreeMap::new(), head })
    }

    pub(crate) fn note(
        &mut self,
        verb: Verb,
        crowd: u16,
        candidate: Candidate,
        costs: &[(&'static str, Cost)],
        rest: Rest,
    ) {
        let key = (verb, crowd, candidate);
        self.rests.entry(key).or_default().push(rest);
        let total = |of: fn(&Cost) -> Duration| costs.iter().map(|(_, cost)| of(cost)).sum();
        let peak = costs.iter().map(|(_, cost)| cost.peak).max().unwrap_or_default();
        let sum = Cost { wall: total(|cost| cost.wall), cpu: total(|cost| cost.cpu), peak };
        self.sums.entry(key).or_default().push(sum);
        for (plugin, cost) in costs {
            self.parts.entry((key, plugin)).or_default().push(*cost);
        }
    }

    pub(crate) fn print(&self) {
        println!("{}.\n", self.head);
        println!(
            "| | pods there | | wall, ms (p10–p90) | CPU, ms | peak, MB | wall / Go | CPU / Go | wall of {} | after the answer, ms (CPU) |",
            CHAIN.join(", ")
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        self.sums.keys().for_each(|key| self.print_row(*key));
        println!("\n| target | at most | measured | |\n|---|---|---|---|");
        for (what, at_most, figure) in TARGETS {
            let measured = figure(self);
            let verdict = if measured <= at_most { "met" } else { "missed" };
            println!("| {what} | {at_most} | {measured:.2} | {verdict} |");
        }
    }

    fn print_row(&self, key: Key) {
        let (verb, crowd, candidate) = key;
        let (it, go) = (self.row(key), self.row((verb, crowd, Candidate::Go)));
        let against = |of: f64, to: f64| {
            let is_wanted = candidate == Candidate::Ours && !to.is_nan();
            if is_wanted { format!("{:.2}", of / to) } else { String::new() }
        };
        let part = |plugin: &&'static str| {
            let costs = self.parts.get(&(key, *plugin)).map_or(&[][..], Vec::as_slice);
            format!("{:.1}", Row::of(costs).wall)
        };
        println!(
            "| {} | {crowd} | {} | {:.1} ({:.1}–{:.1}) | {:.1} | {:.1} | {} | {} | {} | {} |",
            verb.word(),
            candidate.title(),
            it.wall,
            it.low,
            it.high,
            it.cpu,
            it.peak,
            against(it.wall, go.wall),
            against(it.cpu, go.cpu),
            CHAIN.iter().map(part).collect::<Vec<_>>().join(", "),
            self.rest(key),
        );
    }

    /// What an ADD of ours and the Go plugins leave is nothing.
    fn rest(&self, key: Key) -> String {
        let rests = self.rests.get(&key).map_or(&[][..], Vec::as_slice);
        Rest::medians(rests).map_or_else(String::new, |(wall, cpu)| format!("{wall:.1} ({cpu:.1})"))
    }

    /// On an empty node.
    fn against_go(&self, verb: Verb, figure: fn(&Row) -> f64) -> f64 {
        let row = |candidate| figure(&self.row((verb, 0, candidate)));
        row(Candidate::Ours) / row(Candidate::Go)
    }

    fn against_none(&self, verb: Verb) -> f64 {
        let wall = |crowd| self.row((verb, crowd, Candidate::Ours)).wall;
        wall(1000) / wall(0)
    }

    fn row(&self, key: Key) -> Row {
        Row::of(self.sums.get(&key).map_or(&[][..], Vec::as_slice))
    }
}
