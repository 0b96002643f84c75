//! What the tests of a case have said together.

use std::collections::{BTreeMap, BTreeSet};

use crate::cases::{Test, page};

/// What became of one test.
#[derive(Debug, Clone)]
enum Fate {
    Passed,
    Failed,
    /// It passes with the answers of the Go plugins, which differ from ours in these ways.
    Differs(Vec<Difference>),
    Skipped(String),
}

/// A key of docs/differences.md, and the cases that are not met by whoever answers so. A test may find more than its cases ask.
#[derive(Debug, Clone)]
struct Difference {
    key: String,
    cases: String,
}

/// The fates of all tests of a run.
#[derive(Debug, Default)]
pub struct Log {
    fates: BTreeMap<String, Fate>,
    /// What the Go plugins do, by the keys of docs/differences.md.
    known: BTreeMap<String, String>,
}

impl Log {
    /// Reads what a run has printed: libtest's lines, and the lab's about tests that were skipped or that took another answer.
    pub fn read(text: &str) -> Log {
        let mut log = Log { fates: BTreeMap::new(), known: known() };
        let mut said = BTreeMap::new();
        for line in text.lines() {
            if let Some((test, fate)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
                let fate = if fate == "ok" { Fate::Passed } else { Fate::Failed };
                log.fates.insert(named(test), fate);
            } else if let Some((test, keys)) =
                line.strip_prefix("differs: ").and_then(|rest| rest.split_once(": "))
            {
                said.insert(
                    test.to_owned(),
                    Fate::Differs(keys.split_whitespace().map(difference).collect()),
                );
            } else if let Some((test, reason)) = skipped(line) {
                said.entry(named(test)).or_insert_with(|| Fate::Skipped(reason.to_owned()));
            }
        }
        // A test that was skipped has passed, for libtest.
        for (test, fate) in said {
            if matches!(log.fates.get(&test), Some(Fate::Passed)) {
                log.fates.insert(test, fate);
            }
        }
        log
    }

    /// The verdict on a case with these tests.
    pub fn verdict(&self, case: &str, tests: &BTreeSet<Test>) -> Verdict {
        let about_plugins: Vec<_> = tests.iter().filter(|test| !is_of_a_tool(&test.file)).collect();
        if about_plugins.is_empty() {
            let files: BTreeSet<_> = tests.iter().map(|test| test.file.as_str()).collect();
            return Verdict::Unbound(format!("binds a runtime or a library of ours: {}", listed(files)));
        }
        let fates: Vec<_> = about_plugins.iter().map(|test| (*test, self.fates.get(&test.path))).collect();
        let failed = fates.iter().filter(|(_, fate)| matches!(fate, None | Some(Fate::Failed)));
        let mut faults: BTreeSet<_> = failed.map(|(test, _)| test.path.clone()).collect();
        let mut remarks = BTreeSet::new();
        for (test, fate) in &fates {
            match fate {
                Some(Fate::Skipped(reason)) => {
                    remarks.insert(reason.clone());
                }
                Some(Fate::Differs(ways)) if ways.is_empty() => {
                    remarks.insert(format!("asks for more than that: {}", test.path));
                }
                Some(Fate::Differs(ways)) => {
                    for Difference { key, cases } in ways {
                        let is_about_it = cases.split('+').any(|one| one == case);
                        let (told, kind) =
                            if is_about_it { (&mut faults, "") } else { (&mut remarks, "beside it, ") };
                        told.insert(format!("{kind}{}", self.known.get(key).unwrap_or(key)));
                    }
                }
                _ => {}
            }
        }
        let is_met = |fate: &Option<&Fate>| matches!(fate, Some(Fate::Passed | Fate::Differs(_)));
        match (faults.is_empty(), fates.iter().any(|(_, fate)| is_met(fate))) {
            (false, _) => Verdict::Fails(listed(faults.iter().map(String::as_str))),
            (true, true) => Verdict::Passes(remarks.into_iter().collect()),
            (true, false) => Verdict::Skipped(listed(remarks.iter().map(String::as_str))),
        }
    }
}

/// `key=ENV-01+ENV-02`
fn difference(word: &str) -> Difference {
    let (key, cases) = word.split_once('=').unwrap_or((word, ""));
    Difference { key: key.to_owned(), cases: cases.to_owned() }
}

/// The second column of docs/differences.md, with its key.
fn known() -> BTreeMap<String, String> {
    let page = page("differences.md");
    let rows = page.lines().filter_map(|line| {
        let (key, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (theirs, _) = rest.split_once(" | ")?;
        Some((key.to_owned(), format!("`{key}`: {theirs}")))
    });
    rows.collect()
}

/// A module may have the name of a word of Rust, as `static` has; its file has not the marks of it.
fn named(test: &str) -> String {
    test.trim_start_matches("r#").to_owned()
}

/// `skipped (7): test: reason`
fn skipped(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.strip_prefix("skipped (")?.split_once("): ")?;
    rest.split_once(": ")
}

/// Tests of our runtime and of the libraries are not about the folder.
fn is_of_a_tool(file: &str) -> bool {
    ["cnitool", "netns", "ipam"].iter().any(|tool| file.split('/').next() == Some(tool))
}

fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// The level of a row, without its remarks.
pub fn level(level: &str) -> &'static str {
    ["must", "should", "may", "convention", "practice"]
        .into_iter()
        .find(|known| level.starts_with(known))
        .unwrap_or("open")
}

/// What is to be said of a case.
#[derive(Debug)]
pub enum Verdict {
    /// Perhaps not all of its tests could run.
    Passes(Vec<String>),
    /// By a test that fails, or by an answer that is known to differ from what is demanded.
    Fails(String),
    /// No test of it could run here.
    Skipped(String),
    /// It binds somebody else.
    Unbound(String),
}

impl Verdict {
    /// A demand that is not met.
    pub const FAILS: &'static str = "FAILS";
    /// All words, in the order of the table of counts.
    pub const WORDS: [&'static str; 4] = ["passes", Verdict::FAILS, "skipped", "not about plugins"];

    /// Of a case that the page explains and no test is about.
    pub fn none(place: &str) -> Verdict {
        Verdict::Unbound(place.to_owned())
    }

    /// In a word.
    pub fn word(&self) -> &'static str {
        let [passes, fails, skipped, unbound] = Verdict::WORDS;
        match self {
            Verdict::Passes(_) => passes,
            Verdict::Fails(_) => fails,
            Verdict::Skipped(_) => skipped,
            Verdict::Unbound(_) => unbound,
        }
    }

    /// Why.
    pub fn reason(&self) -> String {
        match self {
            Verdict::Passes(remarks) => remarks.join("; "),
            Verdict::Fails(reason) | Verdict::Skipped(reason) | Verdict::Unbound(reason) => reason.clone(),
        }
    }
}
