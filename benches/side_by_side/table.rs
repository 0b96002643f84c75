//! The figures, and the table that they end in.

use crate::Result;
use crate::candidate::{CANDIDATES, Candidate, Verb, Work};
use crate::chart::Chart;
use crate::figures::{Row, machine};
use crate::orphans::Rest;
use crate::weigh::Cost;
use std::collections::BTreeMap;

struct Target {
    what: &'static str,
    at_most: f64,
    figure: fn(&Table) -> f64,
}

/// What the project promises.
const TARGETS: [Target; 10] = [
    Target {
        what: "bridge + host-local ADD, wall / kernel",
        at_most: 1.5,
        figure: |table| table.against(Work::Bridge, Candidate::Kernel, |row| row.wall),
    },
    Target {
        what: "bridge + host-local ADD, wall / Go",
        at_most: 0.25,
        figure: |table| table.against(Work::Bridge, Candidate::Go, |row| row.wall),
    },
    Target {
        what: "bridge + host-local ADD, CPU / Go",
        at_most: 0.2,
        figure: |table| table.against(Work::Bridge, Candidate::Go, |row| row.cpu),
    },
    Target {
        what: "bridge + host-local DEL, wall, ms",
        at_most: 3.0,
        figure: |table| table.row(Work::Bridge, Verb::Del, Candidate::Ours).wall,
    },
    Target {
        what: "loopback ADD, wall / Go",
        at_most: 0.25,
        figure: |table| table.against(Work::Loopback, Candidate::Go, |row| row.wall),
    },
    Target {
        what: "ADD with ipMasq, wall / without",
        at_most: 1.3,
        figure: |table| table.masquerading(Verb::Add),
    },
    Target {
        what: "DEL with ipMasq, wall / without",
        at_most: 1.3,
        figure: |table| table.masquerading(Verb::Del),
    },
    Target {
        what: "ADD with ipMasq beside 1,000 others, less what they cost the kernel, wall / beside none",
        at_most: 1.3,
        figure: |table| table.crowding(Verb::Add),
    },
    Target {
        what: "DEL with ipMasq beside 1,000 others, less what they cost the kernel, wall / beside none",
        at_most: 1.3,
        figure: |table| table.crowding(Verb::Del),
    },
    Target { what: "Jackfield's highest peak, MB", at_most: 4.0, figure: Table::peak },
];

pub(crate) struct Table {
    costs: BTreeMap<(Work, Verb, Candidate), Vec<Cost>>,
    /// What our DELs have left to a child process.
    rests: Vec<Rest>,
    head: String,
}

impl Table {
    pub(crate) fn new(samples: usize) -> Result<Table> {
        Ok(Table {
            costs: BTreeMap::new(),
            rests: Vec::new(),
            head: format!("{}, {samples} runs of each", machine()?),
        })
    }

    pub(crate) fn note(&mut self, work: Work, verb: Verb, candidate: Candidate, cost: Cost, rest: Rest) {
        if (verb, candidate) == (Verb::Del, Candidate::Ours) && work.makes_links() {
            self.rests.push(rest);
        }
        self.costs.entry((work, verb, candidate)).or_default().push(cost);
    }

    pub(crate) fn print(&self) {
        println!("{}.\n", self.head);
        println!("| | | wall, ms (p10–p90) | CPU, ms | peak, MB | wall / kernel | wall / Go | CPU / Go |");
        println!("|---|---|---|---|---|---|---|---|");
        for work in Work::ALL {
            for &verb in work.verbs() {
                CANDIDATES.into_iter().for_each(|candidate| self.print_row(work, verb, candidate));
            }
        }
        if let Some((wall, cpu)) = Rest::medians(&self.rests) {
            println!(
                "\nAfter a DEL of Jackfield is answered, a child process sits through {wall:.1} ms of the kernel's, with {cpu:.1} ms of CPU."
            );
        }
        println!("\n| target | at most | measured | |\n|---|---|---|---|");
        for Target { what, at_most, figure } in TARGETS {
            let measured = figure(self);
            let verdict = if measured <= at_most { "met" } else { "missed" };
            println!("| {what} | {at_most} | {measured:.2} | {verdict} |");
        }
    }

    /// Our ADD's figure divided by another's.
    fn against(&self, work: Work, other: Candidate, figure: fn(&Row) -> f64) -> f64 {
        let row = |candidate| figure(&self.row(work, Verb::Add, candidate));
        row(Candidate::Ours) / row(other)
    }

    fn masquerading(&self, verb: Verb) -> f64 {
        let wall = |work| self.row(work, verb, Candidate::Ours).wall;
        wall(Work::Masquerade) / wall(Work::Bridge)
    }

    /// What the yardstick pays for the neighbours is the kernel's price of them: no plugin can do without.
    fn crowding(&self, verb: Verb) -> f64 {
        let wall = |work, candidate| self.row(work, verb, candidate).wall;
        let more = |candidate| wall(Work::Crowd(1000), candidate) - wall(Work::Masquerade, candidate);
        1.0 + (more(Candidate::Ours) - more(Candidate::Kernel)) / wall(Work::Masquerade, Candidate::Ours)
    }

    /// ADD, by how many attachments are there with it.
    pub(crate) fn chart(&self) -> String {
        let works = || [Work::Masquerade].into_iter().chain(Work::CROWDS.map(Work::Crowd));
        let points = |candidate| {
            let wall = |work| (f64::from(work_size(work)), self.row(work, Verb::Add, candidate).wall);
            works().map(wall).collect()
        };
        let lines = [
            ("Go plugins", Candidate::Go),
            ("Jackfield", Candidate::Ours),
            ("the kernel alone", Candidate::Kernel),
        ];
        Chart {
            title: "ADD of bridge + host-local with ipMasq",
            across: "attachments on the node",
            up: "ms, median",
            lines: lines.into_iter().map(|(name, candidate)| (name, points(candidate))).collect(),
        }
        .svg()
    }

    fn peak(&self) -> f64 {
        let ours = self.costs.keys().filter(|(_, _, candidate)| *candidate == Candidate::Ours);
        ours.map(|&(work, verb, candidate)| self.row(work, verb, candidate).peak).fold(0.0, f64::max)
    }

    fn row(&self, work: Work, verb: Verb, candidate: Candidate) -> Row {
        Row::of(self.costs.get(&(work, verb, candidate)).map_or(&[][..], Vec::as_slice))
    }

    fn print_row(&self, work: Work, verb: Verb, candidate: Candidate) {
        let row = |candidate| self.row(work, verb, candidate);
        let (it, go, kernel) = (row(candidate), row(Candidate::Go), row(Candidate::Kernel));
        let first = candidate == Candidate::Ours;
        let what = if first { format!("{} {}", work.title(), verb.word()) } else { String::new() };
        println!(
            "| {what} | {} | {:.2} ({:.2}–{:.2}) | {:.2} | {:.1} | {} | {} | {} |",
            candidate.title(work),
            it.wall,
            it.low,
            it.high,
            it.cpu,
            it.peak,
            ratio(candidate != Candidate::Kernel, it.wall, kernel.wall),
            ratio(first, it.wall, go.wall),
            ratio(first, it.cpu, go.cpu),
        );
    }
}

/// How many are there, in round numbers: on a node without others the pool is, of eight.
fn work_size(work: Work) -> u16 {
    if let Work::Crowd(others) = work { others } else { 1 }
}

fn ratio(wanted: bool, of: f64, to: f64) -> String {
    if wanted { format!("{:.2}", of / to) } else { String::new() }
}
