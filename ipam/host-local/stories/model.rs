//! What a folder has to hold after each call, told without files, an index or a search that is clever: a map of
//! addresses, walked one by one. Nothing of the plugin's own arithmetic is used here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, once as it is configured and once as it is meant.
pub(super) struct Shape {
    /// `ranges`, as JSON.
    pub(super) ranges: &'static str,
    /// First address, last address and gateway of each range, set by set.
    pub(super) sets: &'static [&'static [[&'static str; 3]]],
    /// `exclude`, as JSON.
    pub(super) exclude: &'static str,
    /// Its rows, first and last address.
    pub(super) rows: &'static [[&'static str; 2]],
    /// Addresses that people ask for or write into the folder, some of them outside.
    pub(super) named: &'static [&'static str],
}

/// Small ones, so that they get full; at the end of both families; one with more addresses than anybody can walk.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        ranges: r#"[[{"subnet":"10.0.0.0/29"}]]"#,
        sets: &[&[["10.0.0.1", "10.0.0.6", "10.0.0.1"]]],
        exclude: r#"["10.0.0.4/31"]"#,
        rows: &[["10.0.0.4", "10.0.0.5"]],
        named: &[
            "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.6", "10.0.0.1", "10.0.0.0", "10.0.0.7", "10.0.1.2",
        ],
    },
    Shape {
        ranges: r#"[[{"subnet":"10.0.0.0/28","rangeStart":"10.0.0.3","rangeEnd":"10.0.0.4"},
                     {"subnet":"10.0.0.0/28","rangeStart":"10.0.0.8","rangeEnd":"10.0.0.10","gateway":"10.0.0.9"}],
                    [{"subnet":"fd00::/125"}]]"#,
        sets: &[
            &[["10.0.0.3", "10.0.0.4", "10.0.0.1"], ["10.0.0.8", "10.0.0.10", "10.0.0.9"]],
            &[["fd00::1", "fd00::7", "fd00::1"]],
        ],
        exclude: r#"["10.0.0.3","fd00::4-fd00::6"]"#,
        rows: &[["10.0.0.3", "10.0.0.3"], ["fd00::4", "fd00::6"]],
        named: &["10.0.0.3", "10.0.0.4", "fd00::2", "fd00::7", "10.0.0.10", "10.0.0.9", "10.0.0.5", "fd00::"],
    },
    Shape {
        ranges: r#"[[{"subnet":"255.255.255.248/29"}],[{"subnet":"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8/125"}]]"#,
        sets: &[
            &[["255.255.255.249", "255.255.255.254", "255.255.255.249"]],
            &[[
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff9",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff9",
            ]],
        ],
        exclude: r#"["255.255.255.254", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]"#,
        rows: &[
            ["255.255.255.254", "255.255.255.254"],
            ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ],
        named: &[
            "255.255.255.250",
            "255.255.255.254",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "255.255.255.255",
            "255.255.255.249",
        ],
    },
    Shape {
        ranges: r#"[[{"subnet":"fd00:9::/64"}],
                    [{"subnet":"10.7.0.0/24","rangeStart":"10.7.0.5","rangeEnd":"10.7.0.5"},
                     {"subnet":"10.8.0.0/24","rangeStart":"10.8.0.254","rangeEnd":"10.8.0.255"}]]"#,
        sets: &[
            &[["fd00:9::1", "fd00:9::ffff:ffff:ffff:ffff", "fd00:9::1"]],
            &[["10.7.0.5", "10.7.0.5", "10.7.0.1"], ["10.8.0.254", "10.8.0.255", "10.8.0.1"]],
        ],
        exclude: r#"["fd00:9::2/127", "10.7.0.9"]"#,
        rows: &[["fd00:9::2", "fd00:9::3"], ["10.7.0.9", "10.7.0.9"]],
        named: &[
            "fd00:9::2",
            "fd00:9::4",
            "10.7.0.5",
            "10.8.0.255",
            "fd00:9::7f",
            "10.7.0.1",
            "fd00:9::ffff:ffff:ffff:ffff",
        ],
    },
];

/// A container and an interface of it.
pub(super) type Who = (u8, u8);

/// What a file named like an address says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// A lease; the oldest plugins wrote no interface.
    Lease(u8, Option<u8>),
    /// A word of a person.
    Reserved,
    /// It is a folder.
    Folder,
    /// Nothing, or zeros.
    Torn,
}

/// Such a file, and the machine and the boot that it is marked with.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) text: Text,
    pub(super) mark: Option<(u32, u32)>,
}

/// The policy keys of one call.
#[derive(Clone, Copy, Default)]
pub(super) struct Keys {
    pub(super) exclude: bool,
    pub(super) cooldown: bool,
    pub(super) sticky: bool,
    pub(super) random: bool,
}

impl Keys {
    /// These, but for the others, which are turned around.
    pub(super) fn but(self, others: Keys) -> Keys {
        Keys {
            exclude: self.exclude ^ others.exclude,
            cooldown: self.cooldown ^ others.cooldown,
            sticky: self.sticky ^ others.sticky,
            random: self.random ^ others.random,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.exclude, "exclude"),
            (self.cooldown, "cooldown"),
            (self.sticky, "sticky"),
            (self.random, "random"),
        ];
        let set: Vec<&str> = all.into_iter().filter(|(set, _)| *set).map(|(_, key)| key).collect();
        write!(f, "[{}]", set.join(" "))
    }
}

/// What an ADD asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) who: Who,
    pub(super) requested: Vec<IpAddr>,
    pub(super) keys: Keys,
    pub(super) pod: Option<u8>,
}

/// A refusal: code, and words that are in its message.
pub(super) type Refusal = (u32, &'static str);

struct Range {
    first: IpAddr,
    last: IpAddr,
    gateway: IpAddr,
}

/// The folder, as it should be.
pub(super) struct Model {
    sets: Vec<Vec<Range>>,
    excluded: Vec<(IpAddr, IpAddr)>,
    pub(super) files: BTreeMap<IpAddr, File>,
    /// Rubbish that a failed ADD may have cleared away.
    pub(super) shaky: BTreeSet<IpAddr>,
    pub(super) last: Vec<Option<IpAddr>>,
    pub(super) resting: BTreeMap<IpAddr, Option<u8>>,
    /// Where the search for a pod may begin, by all that was seen of it.
    homes: BTreeMap<(u8, usize), Vec<IpAddr>>,
    pub(super) machine: u32,
    pub(super) boot: u32,
    /// Whether the file system keeps marks.
    pub(super) marks: bool,
}

/// As many addresses as are looked at one by one.
const WALK: usize = 64;

impl Model {
    pub(super) fn of(shape: &Shape, marks: bool) -> Model {
        let range = |[first, last, gateway]: &[&str; 3]| Range {
            first: ip(first),
            last: ip(last),
            gateway: ip(gateway),
        };
        Model {
            sets: shape.sets.iter().map(|set| set.iter().map(range).collect()).collect(),
            excluded: shape.rows.iter().map(|[first, last]| (ip(first), ip(last))).collect(),
            files: BTreeMap::new(),
            shaky: BTreeSet::new(),
            last: vec![None; shape.sets.len()],
            resting: BTreeMap::new(),
            homes: BTreeMap::new(),
            machine: 1,
            boot: 1,
            marks,
        }
    }

    /// Whether the answer to an ADD is one that it may have, and what follows from it. One that nobody was told is undone.
    pub(super) fn add(
        &mut self,
        asked: &Asked,
        answer: &Result<Vec<IpAddr>, (u32, String)>,
        is_told: bool,
    ) -> Result<(), String> {
        let Some(wishes) = self.assign(&asked.requested) else {
            return refused(answer, (7, "failed to allocate all requested IPs"));
        };
        if self.held_by(asked.who).into_iter().any(|ip| self.set_of(ip).is_some()) {
            return refused(answer, (999, "duplicate allocation is not allowed"));
        }
        for (i, wish) in wishes.iter().enumerate() {
            if let Some(refusal) = self.refusal(i, *wish, asked) {
                let cleared = self.files.keys().filter(|ip| self.set_of(**ip).is_some_and(|set| set < i));
                let cleared: Vec<IpAddr> = cleared.filter(|ip| !self.is_held(**ip)).copied().collect();
                self.shaky.extend(cleared);
                return refused(answer, refusal);
            }
        }
        let Ok(given) = answer else { return Err("refused, and there was no reason to".into()) };
        if given.len() != wishes.len() {
            return Err(format!("{} addresses for {} sets", given.len(), wishes.len()));
        }
        for (i, (ip, wish)) in given.iter().zip(&wishes).enumerate() {
            self.fits(i, *wish, asked, *ip)?;
            if wish.is_some() || !(asked.keys.random || asked.keys.sticky && asked.pod.is_some()) {
                self.last[i] = Some(*ip);
            }
            self.files.remove(ip);
            if is_told {
                let mark = self.marks.then_some((self.machine, self.boot));
                self.files.insert(*ip, File { text: Text::Lease(asked.who.0, Some(asked.who.1)), mark });
            }
        }
        Ok(())
    }

    /// DEL; `pod` is the name that it is told.
    pub(super) fn del(&mut self, who: Who, keys: Keys, pod: Option<u8>) {
        for ip in self.written_for(who) {
            self.free(ip, keys.cooldown, pod);
        }
    }

    /// GC.
    pub(super) fn gc(&mut self, living: Option<&[Who]>, keys: Keys) {
        let Some(living) = living else { return };
        let is_dead = |file: &File| match file.text {
            Text::Lease(c, Some(ifname)) => !living.contains(&(c, ifname)),
            Text::Lease(c, None) => !living.iter().any(|(other, _)| *other == c),
            Text::Torn => true,
            Text::Reserved | Text::Folder => false,
        };
        let dead: Vec<IpAddr> =
            self.files.iter().filter(|(_, file)| is_dead(file)).map(|(ip, _)| *ip).collect();
        for ip in dead {
            self.free(ip, keys.cooldown, None);
        }
    }

    fn free(&mut self, ip: IpAddr, rests: bool, pod: Option<u8>) {
        if rests && self.is_held(ip) {
            self.resting.insert(ip, pod);
        }
        self.files.remove(&ip);
    }

    /// CHECK of a result with these addresses.
    pub(super) fn check(&self, who: Who, result: &[IpAddr]) -> Option<Refusal> {
        let held = self.held_by(who);
        if held.is_empty() {
            return Some((999, "Failed to find address added by container"));
        }
        let stranger = result.iter().any(|ip| self.set_of(*ip).is_some() && !held.contains(ip));
        stranger.then_some((999, "is not leased to container"))
    }

    /// STATUS.
    pub(super) fn status(&self, keys: Keys) -> Option<Refusal> {
        let asked = Asked { who: (0, 0), requested: Vec::new(), keys, pod: None };
        let full = (0..self.sets.len()).any(|i| self.refusal(i, None, &asked).is_some());
        full.then_some((50, "no IP addresses available in range set"))
    }

    /// The addresses whose files name this interface; if there are none, those that name its container as a whole.
    fn written_for(&self, (container, ifname): Who) -> Vec<IpAddr> {
        let of = |ifname| {
            let theirs =
                self.files.iter().filter(move |(_, file)| file.text == Text::Lease(container, ifname));
            theirs.map(|(ip, _)| *ip).collect::<Vec<_>>()
        };
        let own = of(Some(ifname));
        if own.is_empty() { of(None) } else { own }
    }

    /// The addresses that are this interface's now.
    pub(super) fn held_by(&self, who: Who) -> Vec<IpAddr> {
        self.written_for(who).into_iter().filter(|ip| self.is_held(*ip)).collect()
    }

    /// Whether the address is somebody's.
    pub(super) fn is_held(&self, ip: IpAddr) -> bool {
        self.files.get(&ip).is_some_and(|file| match file.text {
            // No network namespace survives a boot; of other machines' boots nothing is known.
            Text::Lease(..) => {
                !file.mark.is_some_and(|(machine, boot)| machine == self.machine && boot != self.boot)
            }
            Text::Reserved | Text::Folder => true,
            Text::Torn => false,
        })
    }

    /// The first request in each set; `None` if one is left over.
    fn assign(&self, requested: &[IpAddr]) -> Option<Vec<Option<IpAddr>>> {
        let first = |i: usize| requested.iter().copied().find(|ip| self.set_of(*ip) == Some(i));
        let wishes: Vec<_> = (0..self.sets.len()).map(first).collect();
        requested.iter().all(|ip| wishes.contains(&Some(*ip))).then_some(wishes)
    }

    /// The set in which an address lies.
    pub(super) fn set_of(&self, ip: IpAddr) -> Option<usize> {
        self.sets.iter().position(|set| set.iter().any(|range| range.first <= ip && ip <= range.last))
    }

    fn is_gateway(&self, i: usize, ip: IpAddr) -> bool {
        self.sets[i].iter().any(|range| range.gateway == ip)
    }

    fn is_excluded(&self, ip: IpAddr, keys: Keys) -> bool {
        keys.exclude && self.excluded.iter().any(|(first, last)| (*first..=*last).contains(&ip))
    }

    /// Whether a search may end here.
    fn is_free(&self, i: usize, ip: IpAddr, asked: &Asked) -> bool {
        let pod = asked.pod.filter(|_| asked.keys.sticky);
        let rests = |last: &Option<u8>| asked.keys.cooldown && (last.is_none() || *last != pod);
        let withheld = self.is_gateway(i, ip) || self.is_excluded(ip, asked.keys);
        !withheld && !self.is_held(ip) && !self.resting.get(&ip).is_some_and(rests)
    }

    fn refusal(&self, i: usize, wish: Option<IpAddr>, asked: &Asked) -> Option<Refusal> {
        match wish {
            Some(ip) if self.is_gateway(i, ip) => Some((7, "is subnet's gateway")),
            Some(ip) if self.is_excluded(ip, asked.keys) => Some((7, "is excluded")),
            Some(ip) if self.is_held(ip) => Some((999, "is not available in range set")),
            Some(_) => None,
            None => match self.walk(i, None).any(|ip| self.is_free(i, ip, asked)) {
                true => None,
                false => Some((999, "no IP addresses available in range set")),
            },
        }
    }

    /// Whether this set may have given this address.
    fn fits(&mut self, i: usize, wish: Option<IpAddr>, asked: &Asked, ip: IpAddr) -> Result<(), String> {
        if let Some(wish) = wish {
            return if wish == ip { Ok(()) } else { Err(format!("{ip} was given, {wish} requested")) };
        }
        if self.set_of(ip) != Some(i) || !self.is_free(i, ip, asked) {
            return Err(format!("{ip} was given, which is not to be given"));
        }
        let first_from = |start: Option<IpAddr>| self.walk(i, start).find(|ip| self.is_free(i, *ip, asked));
        if let Some(pod) = asked.pod.filter(|_| asked.keys.sticky) {
            if self.walk(i, None).nth(WALK).is_some() {
                return Ok(());
            }
            let known = self.homes.get(&(pod, i)).cloned().unwrap_or_else(|| self.walk(i, None).collect());
            let homes: Vec<IpAddr> =
                known.into_iter().filter(|home| first_from(Some(*home)) == Some(ip)).collect();
            let is_at_home = !homes.is_empty();
            self.homes.insert((pod, i), homes);
            return if is_at_home {
                Ok(())
            } else {
                Err(format!("{ip} was given, which is not where the pod belongs"))
            };
        }
        if asked.keys.random {
            return Ok(());
        }
        // Behind the last one, which so comes last itself.
        let last = self.last[i].filter(|last| self.set_of(*last) == Some(i));
        let behind = last.and_then(|last| self.walk(i, Some(last)).nth(1));
        match first_from(behind) {
            Some(next) if next == ip => Ok(()),
            next => Err(format!("{ip} was given, {next:?} is the next one after {last:?}")),
        }
    }

    /// All addresses of a set, going round once from this one or the first; of a range that nobody can walk through, the
    /// beginning.
    fn walk(&self, i: usize, start: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let row = |first: IpAddr, last: IpAddr| {
            let row = std::iter::successors(Some(first), move |ip| (*ip != last).then(|| next(*ip)));
            row.take(4 * WALK)
        };
        let set = &self.sets[i];
        let start = start.unwrap_or(set[0].first);
        let at = set.iter().position(|range| range.first <= start && start <= range.last).unwrap();
        let others = set[at + 1..].iter().chain(&set[..at]);
        let before = row(set[at].first, start).take_while(move |ip| *ip != start);
        row(start, set[at].last)
            .chain(others.flat_map(move |range| row(range.first, range.last)))
            .chain(before)
    }
}

fn refused(answer: &Result<Vec<IpAddr>, (u32, String)>, refusal: Refusal) -> Result<(), String> {
    match answer {
        Err((code, words)) if *code == refusal.0 && words.contains(refusal.1) => Ok(()),
        _ => Err(format!("should have been refused with {refusal:?}")),
    }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) + 1).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) + 1).into(),
    }
}
