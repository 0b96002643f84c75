//! A crash at every system call.
//!
//! Each program is started under a tracer that counts the system calls of the program, its threads and its children, and
//! before one of them kills it, or all of them; or has the kernel refuse that one. Then comes what a runtime does next, and
//! the node must be what it was before. Nothing is chosen: whatever lies between any two system calls has been the last
//! moment once. docs/reliability.md has the counts.
//!
//! `make test` tries a sample, the same each time (`JACKFIELD_SEED=N` tries another); `make reliability` tries all.

pub mod calls;
pub mod machine;
mod scene;
pub mod tracer;
mod walk;
mod witness;

use std::io::Write;

use scene::{Layout, Scene, VERBS, Who};
use tracer::{Asked, Deed};
use walk::{AFTERMATHS, Aftermath, Case, Count, Walk};
use witness::Node;

use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::world::{self, Need};

const OURS: &[Need] = &[Need::Ours("crash-anywhere"), Need::Static];

/// All kills of these calls.
fn kills(all: &[Asked]) -> Vec<Case> {
    let mut cases = Vec::new();
    for asked in all {
        for aftermath in AFTERMATHS {
            cases.push(Case { asked: asked.clone(), deed: Deed::KillAll, aftermath });
            if asked.has_company {
                cases.push(Case { asked: asked.clone(), deed: Deed::KillOne, aftermath });
            }
        }
    }
    cases
}

/// All refusals of these calls, but of what the runtime does before a program's `main`, or before what a thread is for.
fn refusals(all: &[Asked]) -> Vec<Case> {
    let mut begun: Vec<(Vec<usize>, String)> = Vec::new();
    let mut cases = Vec::new();
    if !machine::CAN_REFUSE {
        world::skip("refused system calls", "no answer can be set on this processor");
        return cases;
    }
    for asked in all {
        let image = (asked.point.task.clone(), asked.program.clone());
        if !begun.contains(&image) {
            if calls::is_before_main(asked) {
                continue;
            }
            begun.push(image);
        }
        let errors = calls::refusals(asked).iter();
        cases.extend(errors.map(|errno| Case {
            asked: asked.clone(),
            deed: Deed::Refuse(*errno),
            aftermath: Aftermath::Del,
        }));
    }
    cases
}

/// A line for whoever waits.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tries some cases of a verb.
fn walk(walk: &mut Walk<'_, '_>, title: &str, cases: &[Case]) {
    for (n, case) in cases.iter().enumerate() {
        let before = walk.count.left.len();
        walk.attempt(case);
        walk.count.left.iter().skip(before).for_each(|found| say(found));
        if n % 250 == 249 {
            say(&format!(
                "  {title}: {} of {}, {} left something",
                n + 1,
                cases.len(),
                walk.count.left.len()
            ));
        }
    }
}

/// A scene whose two containers have come and gone once: what is shared is there.
fn laid_out<'h>(host: &'h Host, pods: &'h [Pod; 2], layout: Layout) -> Scene<'h> {
    let scene = layout(host, pods);
    for who in [Who::First, Who::Second] {
        tracer::follow(&(scene.call)("ADD", who, None)).outcome.result();
    }
    for who in [Who::First, Who::Second] {
        tracer::follow(&(scene.call)("DEL", who, None)).outcome.silent();
    }
    scene
}

/// The whole walk of one verb, and its line of the table.
fn all_of(layout: Layout, verb: &'static str) {
    lab_with(OURS, |host| {
        let pods = [host.pod(), host.pod()];
        let scene = laid_out(host, &pods, layout);
        let mut node = Node::new(host, &[&pods[0], &pods[1]]);
        let mut verb_walk = Walk::new(&scene, &mut node, verb);
        let all = verb_walk.record(3);
        let title = format!("{} {verb}", scene.name);
        walk(&mut verb_walk, &title, &kills(&all));
        walk(&mut verb_walk, &title, &refusals(&all));
        let Count { calls, kills, faults, missed, left } = &verb_walk.count;
        say(&format!(
            "| {} | {verb} | {calls} | {kills} | {faults} | {missed} | {} |",
            scene.name,
            left.len()
        ));
        assert!(left.is_empty(), "{}", left.join("\n"));
    });
}

/// Some numbers, the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).expect("small")
    }

    /// So many of them, no matter which.
    fn some(&mut self, all: &[Case], count: usize) -> Vec<Case> {
        if all.is_empty() {
            return Vec::new();
        }
        (0..count).map(|_| all[self.below(all.len())].clone()).collect()
    }
}

/// How many kills and how many refusals of each verb are in the sample.
const SAMPLE: (usize, usize) = (6, 6);

/// A sample of the walks of all verbs.
fn some_of(layout: Layout) {
    lab_with(OURS, |host| {
        let given = world::variable("JACKFIELD_SEED").and_then(|seed| seed.to_str()?.parse().ok());
        let mut dice = Dice(given.unwrap_or(7));
        println!("JACKFIELD_SEED={}", dice.0);
        let pods = [host.pod(), host.pod()];
        let scene = laid_out(host, &pods, layout);
        let mut node = Node::new(host, &[&pods[0], &pods[1]]);
        let mut left = Vec::new();
        for verb in VERBS {
            let mut walk = Walk::new(&scene, &mut node, verb);
            let all = walk.record(1);
            dice.some(&kills(&all), SAMPLE.0).iter().for_each(|case| walk.attempt(case));
            dice.some(&refusals(&all), SAMPLE.1).iter().for_each(|case| walk.attempt(case));
            left.append(&mut walk.count.left);
        }
        assert!(left.is_empty(), "{}", left.join("\n"));
    });
}

/// The whole walks of a scene, one for each verb: `bridge::add` and so on.
macro_rules! whole_walks {
    ($layout:ident: $($verb:ident $word:literal)*) => { $(
        #[test]
        #[ignore = "make reliability"]
        fn $verb() { super::all_of(super::scene::$layout, $word); }
    )* };
}

/// A scene is a line, and so is a verb.
macro_rules! walks {
    ($($sample:ident of $layout:ident;)*) => { $(
        #[test]
        fn $sample() { some_of(scene::$layout); }

        mod $layout {
            whole_walks! { $layout:
                add "ADD"
                check "CHECK"
                del "DEL"
                gc "GC"
                status "STATUS"
            }
        }
    )* };
}

walks! {
    a_bridge_that_dies_anywhere_leaves_nothing of bridge;
    a_guarded_bridge_that_dies_anywhere_leaves_nothing of guarded;
    a_veth_that_dies_anywhere_leaves_nothing of veth;
    a_portmap_that_dies_anywhere_leaves_nothing of portmap;
    a_firewall_that_dies_anywhere_leaves_nothing of firewall;
    a_bandwidth_that_dies_anywhere_leaves_nothing of bandwidth;
    a_tuning_that_dies_anywhere_leaves_nothing of tuning;
    a_loopback_that_dies_anywhere_leaves_nothing of loopback;
    a_host_local_that_dies_anywhere_leaves_nothing of host_local;
    a_static_that_dies_anywhere_leaves_nothing of fixed;
    a_cnitool_that_dies_anywhere_leaves_nothing of cnitool;
}
