//! The table that the figures end in.

use crate::Result;
use crate::figures::{Row, machine};
use crate::pool::{Candidate, Network, Pool, Verb};
use crate::weigh::Cost;
use std::collections::BTreeMap;

/// A row of the table.
type Key = (Network, Verb, Candidate, u32);

/// What a call among sixty thousand leases may cost, in calls among ten.
const AT_MOST: f64 = 1.5;

pub(crate) struct Table {
    costs: BTreeMap<Key, Vec<Cost>>,
    head: String,
}

impl Table {
    pub(crate) fn new(samples: usize) -> Result<Table> {
        Ok(Table { costs: BTreeMap::new(), head: format!("{}, {samples} runs of each", machine()?) })
    }

    pub(crate) fn note(&mut self, pool: &Pool, verb: Verb, cost: Cost) {
        self.costs.entry((pool.network, verb, pool.candidate, pool.leases)).or_default().push(cost);
    }

    pub(crate) fn print(&self) {
        println!("{}.\n", self.head);
        println!("| | | leases | wall, ms (p10–p90) | CPU, ms | peak, MB | wall / ten leases | wall / Go |");
        println!("|---|---|---|---|---|---|---|---|");
        self.costs.keys().for_each(|key| self.print_row(*key));
        println!("\n| target | at most | measured | |\n|---|---|---|---|");
        for (network, verb, candidate, leases) in self.costs.keys().copied() {
            // A folder cannot be read in no time.
            if (candidate, leases) == (Candidate::Ours, 60_000) && verb != Verb::Rebuild {
                let what = format!("{}, {}: wall among 60,000 / among ten", network.title(), verb.title());
                judge(&what, AT_MOST, self.against_ten((network, verb, candidate, leases)));
            }
        }
        judge("Jackfield's highest peak among 10, MB", 4.0, self.peak(10, |_| true));
        let is_given_a_list = |verb| verb == Verb::Gc;
        let (lists, others) =
            (self.peak(60_000, is_given_a_list), self.peak(60_000, |verb| !is_given_a_list(verb)));
        judge("Jackfield's highest peak among 60,000, but for GC, MB", 16.0, others);
        judge("Jackfield's peak in a GC that is given 60,000, MB", 16.0, lists);
    }

    fn print_row(&self, key: Key) {
        let (network, verb, candidate, leases) = key;
        let (it, go) = (self.row(key), self.row((network, verb, Candidate::Go, leases)));
        let is_first = candidate == Candidate::Ours && leases == 10;
        let what = if is_first { format!("{}: {}", network.title(), verb.title()) } else { String::new() };
        let has_go = candidate == Candidate::Ours && !go.wall.is_nan();
        println!(
            "| {what} | {} | {leases} | {:.2} ({:.2}–{:.2}) | {:.2} | {:.1} | {} | {} |",
            if leases == 10 { candidate.title() } else { "" },
            it.wall,
            it.low,
            it.high,
            it.cpu,
            it.peak,
            if leases == 10 { String::new() } else { format!("{:.2}", self.against_ten(key)) },
            if has_go { share(it.wall / go.wall) } else { String::new() },
        );
    }

    fn against_ten(&self, (network, verb, candidate, leases): Key) -> f64 {
        self.row((network, verb, candidate, leases)).wall / self.row((network, verb, candidate, 10)).wall
    }

    fn peak(&self, leases: u32, of: impl Fn(Verb) -> bool) -> f64 {
        let ours = self.costs.keys().filter(|key| (key.2, key.3) == (Candidate::Ours, leases) && of(key.1));
        ours.map(|key| self.row(*key).peak).fold(0.0, f64::max)
    }

    fn row(&self, key: Key) -> Row {
        Row::of(self.costs.get(&key).map_or(&[][..], Vec::as_slice))
    }
}

/// Small ones have more digits.
fn share(value: f64) -> String {
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.2}") }
}

fn judge(what: &str, at_most: f64, measured: f64) {
    println!(
        "| {what} | {at_most} | {measured:.2} | {} |",
        if measured <= at_most { "met" } else { "missed" }
    );
}
