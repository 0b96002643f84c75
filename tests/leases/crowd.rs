//! Never twice: many at once take and free addresses of one small network, by our plugin and by the Go plugin, and some
//! are killed on the way. A witness who knows who was told what sees to it that no address has two living owners.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{leases, network};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::switching::{OURS, THEIRS};

const NET: &str = "/run/leases/net-a";

/// How many live at once, and for how long this goes on.
const WORKERS: u64 = 64;
const TIME: Duration = Duration::from_secs(6);

/// Addresses that a /24 has to give.
const SIZE: usize = 253;

/// Random numbers (xorshift64*): the seed of a run is in the message of a failure.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// Who was told to have which address, from the moment of the answer until the DEL begins.
#[derive(Default)]
struct Witness {
    owners: Mutex<BTreeMap<String, String>>,
    adds: AtomicU64,
    kills: AtomicU64,
}

impl Witness {
    fn is_told(&self, ip: &str, id: &str) {
        let before = self.owners.lock().unwrap().insert(ip.to_owned(), id.to_owned());
        assert_eq!(before, None, "{ip} was given to {id} while it was another's");
        self.adds.fetch_add(1, Ordering::Relaxed);
    }

    fn goes(&self, ip: &str) {
        self.owners.lock().unwrap().remove(ip);
    }
}

/// One caller after another, each with a container ID that nobody had before.
struct Worker<'a> {
    conf: &'a Value,
    plugins: &'a [&'a str],
    witness: &'a Witness,
    number: u64,
    dice: Dice,
    mine: Vec<(String, String)>,
}

impl Worker<'_> {
    fn call(&mut self, verb: &str, id: &str) -> Call {
        let folder = Path::new(self.plugins[self.dice.roll(self.plugins.len() as u64) as usize]);
        Call::new(folder.join("host-local"), verb, self.conf, folder).netns("/none").container(id)
    }

    fn works(mut self, until: Instant) {
        let mut turn = 0;
        while Instant::now() < until {
            turn += 1;
            let id = format!("w{}-{turn}", self.number);
            match self.dice.roll(10) {
                0..4 => self.comes(&id),
                4 => self.is_killed(&id),
                5 => self.asks_again(),
                _ => self.goes(),
            }
        }
    }

    fn comes(&mut self, id: &str) {
        let add = self.call("ADD", id);
        // Some want a certain address, as often as not somebody's.
        let wish = self.dice.roll(4) == 0;
        let add =
            if wish { add.env("CNI_ARGS", format!("IP=10.1.1.{}", 2 + self.dice.roll(250))) } else { add };
        self.hears(id, &add.run());
    }

    fn hears(&mut self, id: &str, answer: &Outcome) {
        match answer.succeeded() {
            true => {
                let result: Value = serde_json::from_str(&answer.stdout()).unwrap();
                let ip = result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
                self.witness.is_told(&ip, id);
                self.mine.push((id.to_owned(), ip));
            }
            false => {
                let known = ["is not available", "no IP addresses available"];
                assert!(known.iter().any(|words| answer.stdout().contains(words)), "{answer}");
            }
        }
    }

    /// Nobody heard what it had to say, so the runtime sends DEL.
    fn is_killed(&mut self, id: &str) {
        let mut add = self.call("ADD", id).start();
        for _ in 0..self.dice.roll(60) {
            std::thread::yield_now();
        }
        add.kill();
        let answer = add.finish();
        if answer.status().code().is_some() {
            return self.hears(id, &answer);
        }
        self.witness.kills.fetch_add(1, Ordering::Relaxed);
        self.call("DEL", id).run().silent();
    }

    /// A second ADD is refused and takes nothing away.
    fn asks_again(&mut self) {
        let Some((id, ip)) = self.mine.last().cloned() else { return };
        let answer = self.call("ADD", &id).run();
        assert!(!answer.succeeded() && answer.stdout().contains("duplicate allocation"), "{answer}");
        assert_eq!(fs::read_to_string(format!("{NET}/{ip}")).unwrap(), format!("{id}\r\neth0"));
    }

    fn goes(&mut self) {
        if self.mine.is_empty() {
            return;
        }
        let (id, ip) = self.mine.swap_remove(self.dice.roll(self.mine.len() as u64) as usize);
        self.witness.goes(&ip);
        self.call("DEL", &id).run().silent();
    }
}

// IPM-05, IPM-17
#[test]
fn no_address_ever_has_two_living_owners() {
    lab_with(&[Need::Ours("lease-whole")], |host| {
        let conf = conf::with(&network(host, "/run/leases", "10.1.1.0/24"), "/cniVersion", "1.0.0".into());
        let theirs = Path::new(THEIRS).join("host-local").exists();
        // Five of ours to one of theirs: a call of theirs takes as long as five of ours.
        let both = [OURS, OURS, OURS, OURS, OURS, THEIRS];
        let plugins = if theirs { &both[..] } else { &both[..1] };
        let witness = Witness::default();
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed {seed}");
        let until = Instant::now() + TIME;
        std::thread::scope(|crowd| {
            for number in 0..WORKERS {
                let (conf, witness) = (&conf, &witness);
                let dice = Dice(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
                crowd.spawn(move || {
                    Worker { conf, plugins, witness, number, dice, mine: Vec::new() }.works(until)
                });
            }
        });
        let owners = witness.owners.into_inner().unwrap();
        let (adds, kills) = (witness.adds.into_inner(), witness.kills.into_inner());
        println!("{adds} addresses given, {kills} callers killed, {} live", owners.len());
        assert!(adds > 20, "{adds}");
        // Each of the living has its file, and nobody else has one: no address is lost.
        let files: BTreeMap<_, _> = leases(NET)
            .into_iter()
            .map(|ip| (fs::read_to_string(format!("{NET}/{ip}")).unwrap(), ip))
            .filter(|(text, _)| !text.is_empty()) // the Go plugin, killed: rubbish
            .map(|(text, ip)| (ip, text.strip_suffix("\r\neth0").unwrap().to_owned()))
            .collect();
        assert_eq!(files, owners);
        let rest = (owners.len()..SIZE).map(|n| {
            let answer =
                host.call("host-local", "ADD", &conf).netns("/none").container(format!("rest-{n}")).run();
            super::address(&answer)
        });
        let rest: Vec<String> = rest.collect();
        assert!(rest.iter().all(|ip| !owners.contains_key(ip)));
        let last = host.call("host-local", "ADD", &conf).netns("/none").container("last").run();
        assert!(!last.succeeded() && last.stdout().contains("no IP addresses available"), "{last}");
    });
}
