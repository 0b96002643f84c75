//! One program and verb: killed before each of its system calls, or refused each of them, and what a runtime does next.

use std::collections::BTreeMap;

use nix::errno::Errno;
use serde_json::Value;

use super::calls;
use super::scene::{Scene, Who};
use super::tracer::{self, Asked, Deed, Point, Run};
use super::witness::Node;
use crate::lab::call::Call;
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::Snapshot;

/// What a runtime does after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// It deletes the container, of which it has no result.
    Del,
    /// It collects what belongs to no living container, and no container lives.
    Gc,
    /// It tries again with another container, and deletes both later.
    Again,
}

/// All of them.
pub const AFTERMATHS: [Aftermath; 3] = [Aftermath::Del, Aftermath::Gc, Aftermath::Again];

/// What is done to one run.
#[derive(Clone, Debug)]
pub struct Case {
    pub asked: Asked,
    pub deed: Deed,
    /// After a kill.
    pub aftermath: Aftermath,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Asked { point, program, .. } = &self.asked;
        let call = calls::name(point.call);
        match self.deed {
            Deed::KillOne => write!(f, "{program} killed before {call} ({point}), then {:?}", self.aftermath),
            Deed::KillAll => {
                write!(f, "all killed before {call} of {program} ({point}), then {:?}", self.aftermath)
            }
            Deed::Refuse(errno) => write!(f, "{errno:?} from {call} of {program} ({point})"),
        }
    }
}

/// What a walk has come to.
#[derive(Debug, Default)]
pub struct Count {
    pub calls: usize,
    pub kills: usize,
    pub faults: usize,
    /// Cases whose system call was not made this time.
    pub missed: usize,
    pub left: Vec<String>,
}

/// A verb of a scene on its node.
pub struct Walk<'a, 'h> {
    scene: &'a Scene<'h>,
    node: &'a mut Node<'h>,
    verb: &'static str,
    before: Snapshot,
    looks: usize,
    pub count: Count,
}

impl<'a, 'h> Walk<'a, 'h> {
    pub fn new(scene: &'a Scene<'h>, node: &'a mut Node<'h>, verb: &'static str) -> Walk<'a, 'h> {
        let before = node.look(true, true);
        Walk { scene, node, verb, before, looks: 0, count: Count::default() }
    }

    fn call(&self, verb: &str, who: Who, result: Option<&Value>) -> Call {
        (self.scene.call)(verb, who, result)
    }

    /// Makes the state in which the verb is called, and the call.
    fn prepared(&self) -> Call {
        let result = match self.verb {
            "CHECK" | "DEL" | "GC" => {
                Some(tracer::follow(&self.call("ADD", Who::First, None)).outcome.result())
            }
            _ => None,
        };
        self.call(self.verb, Who::First, result.as_ref())
    }

    /// All system calls that the verb makes. Some depend on who of two threads was first: several runs know more than one.
    pub fn record(&mut self, runs: usize) -> Vec<Asked> {
        let mut all: Vec<Asked> = Vec::new();
        let mut places: BTreeMap<Point, usize> = BTreeMap::new();
        for _ in 0..runs {
            let run = tracer::record(&self.prepared());
            assert!(run.outcome.succeeded(), "{}", run.outcome);
            assert!(run.asked.len() > 10, "{:?}", run.asked);
            for asked in run.asked {
                let place = *places.entry(asked.point.clone()).or_insert(all.len());
                match all.get_mut(place) {
                    Some(known) => known.has_company |= asked.has_company,
                    None => all.push(asked),
                }
            }
            self.clean();
        }
        let left = self.differences(true);
        assert!(left.is_empty(), "without any harm done:\n{}", left.join("\n"));
        self.count.calls = all.len();
        all
    }

    fn clean(&self) {
        for who in [Who::First, Who::Second] {
            tracer::follow(&self.call("DEL", who, None));
        }
        (self.scene.put_back)();
    }

    /// What a container's end would have taken with it.
    fn end_container(&self, found: &mut Vec<String>) {
        self.must("DEL", Who::First, found);
        (self.scene.put_back)();
    }

    /// Settings of the kernel outlive a case, and cost more to read than all the rest: where they are not what a program is
    /// about they are read after every tenth case.
    fn differences(&mut self, into_pods: bool) -> Vec<String> {
        self.looks += 1;
        let at_settings = self.scene.is_about_settings || self.looks.is_multiple_of(10);
        let after = self.node.look(into_pods, at_settings);
        let goes_with_the_container =
            |key: &str| key.starts_with("pod") || self.scene.host_ends.iter().any(|end| key.contains(end));
        let counts = |key: &str| {
            (into_pods || !goes_with_the_container(key)) && (at_settings || !key.contains("sysctl/"))
        };
        self.before.clone().only(counts).differences(&after.only(counts), &[])
    }

    /// Tries one case. What it finds is noted, and cleaned away, so that the next case starts from a clean node.
    pub fn attempt(&mut self, case: &Case) {
        tracer::stay_on_one_processor(self.looks);
        let run = tracer::at(&self.prepared(), &case.asked.point, case.deed);
        if !run.reached {
            self.count.missed += 1;
            return self.clean();
        }
        let found = match case.deed {
            Deed::Refuse(errno) => {
                self.count.faults += 1;
                self.after_refusal(&run, &case.asked, errno)
            }
            Deed::KillOne | Deed::KillAll => {
                self.count.kills += 1;
                self.after_kill(&run, case.aftermath)
            }
        };
        if !found.is_empty() {
            let (name, verb) = (&self.scene.name, self.verb);
            self.count.left.push(format!("{name} {verb}: {case}:\n{}{}", in_short(&found), run.outcome));
            self.clean();
            tracer::follow(&self.call("GC", Who::First, None));
            self.before = self.node.look(true, true);
        }
    }

    fn must(&self, verb: &str, who: Who, found: &mut Vec<String>) {
        let outcome = tracer::follow(&self.call(verb, who, None)).outcome;
        if !outcome.succeeded() {
            found.push(format!("{verb} of the {who:?} one failed:\n{outcome}"));
        }
    }

    fn after_kill(&mut self, run: &Run, aftermath: Aftermath) -> Vec<String> {
        let mut found = Vec::new();
        match aftermath {
            Aftermath::Del => self.must("DEL", Who::First, &mut found),
            Aftermath::Gc => self.must("GC", Who::First, &mut found),
            Aftermath::Again => {
                self.must("ADD", Who::Second, &mut found);
                self.must("DEL", Who::First, &mut found);
                self.must("DEL", Who::Second, &mut found);
            }
        }
        let collected = aftermath == Aftermath::Gc || self.verb == "GC";
        let into_pods = !collected || self.scene.gc_clears_pods;
        found.extend(self.differences(into_pods));
        if !into_pods {
            self.end_container(&mut found);
        }
        found.extend(panicked(&run.outcome));
        found
    }

    /// The call has done its work, or says why not and has done nothing (DEL and GC: what is left goes the next time).
    fn after_refusal(&mut self, run: &Run, asked: &Asked, errno: Errno) -> Vec<String> {
        let mut found: Vec<String> = panicked(&run.outcome).into_iter().collect();
        let succeeded = run.outcome.succeeded();
        let died = run.outcome.status().code().is_none();
        if died && !calls::is_about_memory(asked) {
            found.push("it died of that".into());
        } else if !died && !succeeded {
            found.extend(self.unclear(&run.outcome, asked, errno));
        }
        let whole = succeeded || died;
        match self.verb {
            "ADD" if succeeded => {
                let result: Value = serde_json::from_str(&run.outcome.stdout()).unwrap_or_default();
                let check = tracer::follow(&self.call("CHECK", Who::First, Some(&result))).outcome;
                if !check.succeeded() {
                    found.push(format!("ADD succeeded, but CHECK says otherwise:\n{check}"));
                }
                self.must("DEL", Who::First, &mut found);
            }
            "ADD" if !whole => found.extend(self.differences(true)),
            "ADD" | "CHECK" => self.must("DEL", Who::First, &mut found),
            "DEL" | "GC" if !succeeded => self.must(self.verb, Who::First, &mut found),
            _ => {}
        }
        let into_pods = self.verb != "GC" || self.scene.gc_clears_pods;
        match (self.verb, whole) {
            // It has been looked at already; a runtime deletes what could not be added.
            ("ADD", false) => self.must("DEL", Who::First, &mut found),
            _ => found.extend(self.differences(into_pods)),
        }
        if !into_pods {
            self.end_container(&mut found);
        }
        found
    }

    /// What is wrong with the way in which an error was told.
    fn unclear(&self, outcome: &Outcome, asked: &Asked, errno: Errno) -> Option<String> {
        let is_answer = calls::name(asked.point.call) == "write" && (asked.first == 1 || asked.first == 2);
        let stdout: Value = serde_json::from_str(&outcome.stdout()).unwrap_or_default();
        let mut text = format!("{} {}", stdout["msg"], stdout["details"]).to_lowercase();
        if !self.scene.is_plugin || is_answer {
            text = outcome.stderr().to_lowercase();
        } else if stdout["code"].as_i64().is_none() || stdout["msg"].as_str().is_none_or(str::is_empty) {
            return Some("no error object".into());
        }
        let also = calls::words(if calls::is_about_threads(asked) { Errno::EAGAIN } else { errno });
        let words = calls::words(errno);
        let of_it = |line: &&str| words.iter().chain(also).any(|word| line.contains(*word));
        let bare = |line: &str| {
            words.iter().chain(also).any(|word| line.trim_matches(['"', ' ']).starts_with(*word))
        };
        let told: Vec<&str> = text.lines().filter(of_it).collect();
        match told.as_slice() {
            _ if is_answer => None,
            [] => Some(format!("the error does not say {words:?}: {text}")),
            // What a program that died had said itself may come before it.
            lines if lines.iter().all(|line| bare(line)) => {
                Some(format!("the error does not say what was being done: {text}"))
            }
            _ => None,
        }
    }
}

/// The first findings, a line each; a link that is left brings a hundred settings with it.
fn in_short(found: &[String]) -> String {
    let shown = found.iter().filter(|line| !line.contains("sysctl/net/")).take(12);
    let lines = shown.map(|line| format!("    {}\n", line.chars().take(400).collect::<String>()));
    format!("    {} findings:\n{}", found.len(), lines.collect::<String>())
}

/// A fault of the program's own.
fn panicked(outcome: &Outcome) -> Option<String> {
    let said = [outcome.stdout(), outcome.stderr()];
    let is_fault =
        said.iter().any(|text| text.contains("panicked") || text.contains("a fault in this plugin"));
    is_fault.then(|| "a panic".to_owned())
}
