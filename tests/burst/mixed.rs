//! Everything at once: containers come and go, are checked and collected, by many workers on one bridge, while others on the
//! node change links, routes and rules of their own.
//!
//! The amount of work is fixed: `JACKFIELD_BURST=1000x64` says how many attachments and how many workers (docs/bursts.md).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::OURS;
use super::ledger::{self, Refusal, Stay};
use super::member::{self, Member};
use super::strangers::Strangers;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::{lab_with, world};

/// How many times the plugins collect what is lost, before and after the middle.
const COLLECTIONS: usize = 4;

/// What a worker does next.
#[derive(Clone, Copy)]
enum Deed {
    /// ADD, unless it is there.
    Come(usize),
    /// Of who is there: CHECK, or DEL, or DEL and at once ADD. Of who is not: ADD.
    Visit(usize, u64),
    /// DEL, even if it is not there.
    Leave(usize),
    /// A container comes and is forgotten, and GC finds it among all the living.
    Collect(usize),
}

/// A container that is there: since when, and what ADD answered.
struct Here {
    begun: Instant,
    there: Instant,
    result: Value,
}

/// What all workers share.
struct Burst {
    members: Vec<(Member, Mutex<Option<Here>>)>,
    lost: Vec<Member>,
    living: Vec<String>,
    bin: PathBuf,
    networks: Vec<(&'static str, Value)>,
    collector: Mutex<()>,
    stays: Mutex<Vec<Stay>>,
    refusals: Mutex<Vec<Refusal>>,
}

impl Burst {
    fn does(&self, deed: Deed) {
        match deed {
            Deed::Come(number) => self.with(number, |it, here| here.or_else(|| self.add(it))),
            Deed::Leave(number) => self.with(number, |it, here| self.del(it, here)),
            Deed::Visit(number, dice) => self.with(number, |it, here| match (here, dice % 4) {
                (None, _) => self.add(it),
                (here, 0) => self.del(it, here),
                (here, 1) => {
                    self.del(it, here);
                    self.add(it)
                }
                (Some(here), _) => {
                    it.check(&here.result);
                    Some(here)
                }
            }),
            Deed::Collect(number) => self.collect(&self.lost[number]),
        }
    }

    /// Nobody else asks about this container meanwhile: a runtime may not, either.
    fn with(&self, number: usize, deed: impl FnOnce(&Member, Option<Here>) -> Option<Here>) {
        let (member, here) = &self.members[number];
        let mut here = here.lock().unwrap();
        *here = deed(member, here.take());
    }

    fn add(&self, it: &Member) -> Option<Here> {
        let begun = Instant::now();
        match it.add() {
            Ok(result) => Some(Here { begun, there: Instant::now(), result }),
            Err(answer) => {
                let now = Instant::now();
                let here = Here { begun, there: now, result: Value::Null };
                self.refusals.lock().unwrap().push(Refusal { stay: stay(it, here, now), answer });
                None
            }
        }
    }

    fn del(&self, it: &Member, here: Option<Here>) -> Option<Here> {
        let leaving = Instant::now();
        it.del(here.as_ref().map(|here| &here.result));
        self.stays.lock().unwrap().extend(here.map(|here| stay(it, here, leaving)));
        None
    }

    /// One GC at a time, and only this one knows nothing of the forgotten.
    fn collect(&self, lost: &Member) {
        let _one = self.collector.lock().unwrap();
        drop(lost.add().unwrap_or_else(|answer| panic!("{answer}")));
        assert_eq!(lost.place.links(), ["eth0"]);
        member::collect(&self.bin, &self.networks, &self.living);
        assert_eq!(lost.place.links(), [""; 0], "GC has not found {}", lost.id);
    }

    fn run(&self, workers: usize, deeds: &[Deed]) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(deed) = deeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.does(*deed);
                    }
                });
            }
        });
    }

    /// Whoever was visited after his DEL, because another worker was quicker, is there again.
    fn overtaken(&self) -> Vec<Deed> {
        let is_here = |number: &usize| self.members[*number].1.lock().unwrap().is_some();
        (0..self.members.len()).filter(is_here).map(Deed::Leave).collect()
    }

    /// While nobody moves: what the store of leases says is what the containers were told.
    fn leases_are_true(&self, host: &Host, of_neighbours: &BTreeSet<String>) {
        let told = |(_, here): &(Member, Mutex<Option<Here>>)| {
            addresses(here.lock().unwrap().as_ref().map_or(&Value::Null, |here| &here.result))
        };
        let told: BTreeSet<String> =
            self.members.iter().flat_map(told).chain(of_neighbours.iter().cloned()).collect();
        assert_eq!(leases(host), told);
    }
}

fn stay(it: &Member, here: Here, leaving: Instant) -> Stay {
    let Here { begun, there, result } = here;
    let (addresses, is_tight) = (addresses(&result), it.is_tight());
    Stay {
        who: it.id.clone(),
        addresses,
        port: it.port,
        is_tight,
        begun,
        there,
        leaving,
        gone: Instant::now(),
    }
}

fn addresses(result: &Value) -> Vec<String> {
    let all = result["ips"].as_array().into_iter().flatten();
    all.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned()).collect()
}

fn leases(host: &Host) -> BTreeSet<String> {
    let listing = host.sh("cd /run/leases && find . -type f -name '[0-9f]*' -printf '%f\n'");
    listing.lines().map(str::to_owned).collect()
}

/// How many attachments, and how many workers.
fn size() -> (usize, usize) {
    let asked = world::variable("JACKFIELD_BURST").and_then(|asked| asked.into_string().ok());
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return (96, 16) };
    let numbers =
        asked.split_once('x').and_then(|(count, workers)| Some((count.parse().ok()?, workers.parse().ok()?)));
    numbers.unwrap_or_else(|| panic!("JACKFIELD_BURST={asked}: as 1000x64, attachments and workers"))
}

/// Numbers without an order, the same in each run (xorshift, after Marsaglia).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }
}

/// Until all have come, and then until all have gone; in between some go and come again.
fn deeds(count: usize) -> [Vec<Deed>; 2] {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut order: Vec<usize> = (0..count).collect();
    (1..count).for_each(|last| order.swap(last, dice.below(last + 1)));
    let mut collections = 0..;
    let mut half = |each: fn(usize) -> Deed, come_first: bool| {
        let mut deeds = Vec::new();
        for (place, number) in order.iter().enumerate() {
            if place % count.div_ceil(COLLECTIONS) == 0 {
                deeds.push(Deed::Collect(collections.next().unwrap()));
            }
            if place % 2 == 0 {
                // Among those who have come already, or have not yet gone.
                let other =
                    if come_first { dice.below(place + 1) } else { place + dice.below(count - place) };
                deeds.push(Deed::Visit(order[other], dice.roll()));
            }
            deeds.push(each(*number));
        }
        deeds
    };
    [half(Deed::Come, true), half(Deed::Leave, false)]
}

// CON-02
#[test]
fn a_burst_of_everything_harms_nobody_and_leaves_nothing() {
    lab_with(OURS, |host| {
        let (count, workers) = size();
        let mut strangers = Strangers::come(host);
        let of_neighbours = leases(host);
        let pods = |name: &str, count: usize| -> Vec<Pod> {
            (0..count).map(|number| host.pod_named(&format!("{name}{number}"))).collect()
        };
        let (coming, lost) = (pods("pod", count), pods("lost", 2 * COLLECTIONS));
        let before = host.snapshot();
        let members: Vec<Member> =
            coming.iter().enumerate().map(|(number, pod)| Member::numbered(host, pod, number)).collect();
        let burst = Burst {
            living: members.iter().map(|member| member.id.clone()).chain(strangers.ids()).collect(),
            members: members.into_iter().map(|member| (member, Mutex::new(None))).collect(),
            lost: (0..).zip(&lost).map(|(number, pod)| Member::whole(host, pod, 11_000 + number)).collect(),
            bin: host.bin(),
            networks: member::networks(host),
            collector: Mutex::new(()),
            stays: Mutex::default(),
            refusals: Mutex::default(),
        };
        let [coming, going] = deeds(count);
        strangers.begin();
        burst.run(workers, &coming);
        burst.leases_are_true(host, &of_neighbours);
        strangers.are_well();
        burst.run(workers, &going);
        burst.run(workers, &burst.overtaken());
        strangers.were_left_alone(host);
        let (stays, refusals) = (burst.stays.into_inner().unwrap(), burst.refusals.into_inner().unwrap());
        assert!(stays.len() >= count / 2, "{} stays, {} refusals", stays.len(), refusals.len());
        ledger::no_address_twice(&stays);
        ledger::were_honest(&stays, &refusals);
        before.same_as(&host.snapshot(), &[Shared::Store]);
    });
}
