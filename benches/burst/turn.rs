//! One burst: all containers of a candidate come, and then all go, by so many workers.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Candidate, Pod, Verb};
use crate::pod::Work;
use crate::{REST, Result, orphans};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) work: Work,
    pub(crate) workers: usize,
    pub(crate) candidate: Candidate,
    pub(crate) count: u16,
}

/// What one verb's burst took.
#[derive(Clone)]
pub(crate) struct Turned {
    /// From the first call until the last answer.
    pub(crate) wall: Duration,
    /// From there until the last process had ended.
    pub(crate) rest: Duration,
    /// User and system time of all processes.
    pub(crate) cpu: Duration,
    pub(crate) failed: usize,
    /// Each call, from before the program's start until after its end.
    pub(crate) each: Vec<Duration>,
}

/// A call's place in the burst, how long it took, and what it answered if it did.
type Answer = (usize, Duration, Option<Value>);

impl Turn {
    pub(crate) fn read(candidate: &str, work: &str, workers: &str, count: &str) -> Result<Turn> {
        let candidate =
            Candidate::ALL.into_iter().find(|it| it.name() == candidate).ok_or("which candidate?")?;
        let work = Work::ALL.into_iter().find(|it| it.name() == work).ok_or("which work?")?;
        Ok(Turn { work, workers: workers.parse()?, candidate, count: count.parse()? })
    }

    pub(crate) fn words(&self) -> [String; 4] {
        let Turn { work, workers, candidate, count } = self;
        [candidate.name().into(), work.name().into(), workers.to_string(), count.to_string()]
    }

    /// Lets them come and go, and tells a line for each verb.
    pub(crate) fn run(&self) -> Result<()> {
        orphans::adopt()?;
        let pods: Vec<Pod> = (0..self.count).map(|number| Pod::new(self.candidate, number)).collect();
        let mut results: Vec<Option<Value>> = vec![None; pods.len()];
        for verb in [Verb::Add, Verb::Del] {
            for (pod, prev) in pods.iter().zip(&mut results) {
                pod.prepare(self.work, prev.take())?;
            }
            let calls = pods.iter().map(|pod| pod.call(verb)).collect::<Result<Vec<_>>>()?;
            let (turned, answers) = burst(self.workers, calls)?;
            println!("{}", turned.line());
            results = answers;
            sleep(REST);
        }
        Ok(())
    }
}

fn burst(workers: usize, calls: Vec<Command>) -> Result<(Turned, Vec<Option<Value>>)> {
    let calls: Vec<Mutex<Command>> = calls.into_iter().map(Mutex::new).collect();
    let (next, begun, before) = (AtomicUsize::new(0), Instant::now(), orphans::used()?);
    let work = || -> std::io::Result<Vec<Answer>> {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(mut call) = calls.get(place).and_then(|call| call.lock().ok()) else { return Ok(done) };
            let begun = Instant::now();
            let output = call.output()?;
            let took = begun.elapsed();
            let answer =
                output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap_or_default());
            done.push((place, took, answer));
        }
    };
    let mut all: Vec<Answer> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended = running.into_iter().map(|worker| worker.join().map_err(|_| "a worker has died".into()));
        let answers = ended.map(|answers: Result<_>| Ok(answers??)).collect::<Result<Vec<_>>>()?;
        Ok::<_, Box<dyn std::error::Error>>(answers.into_iter().flatten().collect())
    })?;
    let wall = begun.elapsed();
    let rest = orphans::end()?.wall;
    let cpu = orphans::used()?.saturating_sub(before);
    all.sort_by_key(|(place, ..)| *place);
    let each = all.iter().map(|(_, took, _)| *took).collect();
    let answers: Vec<Option<Value>> = all.into_iter().map(|(.., answer)| answer).collect();
    let failed = answers.iter().filter(|answer| answer.is_none()).count();
    Ok((Turned { wall, rest, cpu, failed, each }, answers))
}

impl Turned {
    fn line(&self) -> Value {
        let each: Vec<f64> = self.each.iter().map(Duration::as_secs_f64).collect();
        let [wall, rest, cpu] = [self.wall, self.rest, self.cpu].map(|time| time.as_secs_f64());
        json!({"wall": wall, "rest": rest, "cpu": cpu, "failed": self.failed, "each": each})
    }

    pub(crate) fn read(line: &str) -> Result<Turned> {
        let line: Value = serde_json::from_str(line)?;
        let time = |value: Option<&Value>| value.and_then(Value::as_f64).map(Duration::from_secs_f64);
        let of = |key: &str| time(line.get(key)).ok_or("a turn tells no time");
        let each = line.get("each").and_then(Value::as_array).into_iter().flatten();
        Ok(Turned {
            wall: of("wall")?,
            rest: of("rest")?,
            cpu: of("cpu")?,
            failed: line.get("failed").and_then(Value::as_u64).unwrap_or_default().try_into()?,
            each: each.filter_map(|value| time(Some(value))).collect(),
        })
    }
}
