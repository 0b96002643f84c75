//! Those who are there already, half of them on each of two bridges of every candidate, for a bridge takes 1,023 ports.
//!
//! A neighbour is one container in three networks, one of each candidate, so that whatever it costs to have a thousand
//! namespaces on a machine, all candidates pay it: they are all there from the beginning. What a frame to everybody costs is the same for all of them, too: as
//! many ports, the same namespaces behind them, an address in each.
//!
//! Each candidate attaches its own neighbours. The Go plugin would take minutes for their rules, as it runs iptables nine
//! times for each, every time for longer. So it writes those of the first container on each bridge; the others' are
//! copies of these, with their own address and name, put in place by one iptables-restore.

use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::candidate::{Candidate, Verb, Work};
use crate::request::{Container, Network};
use crate::weigh::output;
use crate::world::World;

/// For how many the Go plugin writes the rules: the first one on each bridge.
const TEMPLATES: usize = 2;

/// The yardstick has no IPAM: its neighbours' addresses begin behind those of the pool.
const FIRST_ADDRESS: u16 = 256;

/// Who gathers neighbours and is measured beside them, before the next do. The Go plugin's visits to a thousand namespaces
/// make every later look-up of a sysctl on this machine dearer, also those of others, so it comes last.
pub(crate) const IN_TURN: [&[Candidate]; 2] = [&[Candidate::Kernel, Candidate::Ours], &[Candidate::Go]];

/// The neighbours of one candidate, who become more and more.
pub(crate) struct Crowd {
    candidate: Candidate,
    bridges: [Network; 2],
    /// What the first ones have, for copies.
    templates: Vec<Neighbour>,
    there: u16,
}

impl Crowd {
    /// Nobody yet, but their namespaces, and a second bridge.
    pub(crate) fn new(world: &World, candidate: Candidate) -> Result<Crowd> {
        if !Path::new("/run/netns/crowd0").exists() {
            let most = Work::CROWDS.into_iter().max().unwrap_or_default();
            let all: String = (0..most).map(|number| format!("netns add crowd{number}\n")).collect();
            fs::write("/run/batch", all)?;
            output(Command::new("ip").args(["-batch", "/run/batch"]))?;
        }
        let bridges = bridges(candidate);
        let [_, second] = &bridges;
        world.make_bridge(candidate, second)?;
        Ok(Crowd { candidate, bridges, templates: Vec::new(), there: 0 })
    }

    /// Attaches neighbours until there are so many.
    pub(crate) fn grow(&mut self, world: &World, to: u16) -> Result<()> {
        eprintln!("{to} neighbours: {} …", self.candidate.name());
        let mut copied = Vec::new();
        for number in self.there..to {
            let is_copied = self.candidate == Candidate::Go && usize::from(number) >= TEMPLATES;
            let bridge = self.bridges.iter().cycle().nth(number.into()).ok_or("no bridge")?;
            let network = Network { masquerade: !is_copied, ..bridge.clone() };
            let neighbour = attach(world, self.candidate, &network, number)?;
            if is_copied { copied.push((number, neighbour)) } else { self.templates.push(neighbour) }
        }
        self.there = to;
        if copied.is_empty() { Ok(()) } else { copy_rules(&self.templates, &copied) }
    }
}

/// The one that is measured, and another one. A neighbour has the yardstick's default route, and needs no second.
fn bridges(candidate: Candidate) -> [Network; 2] {
    let first = Network { default_route: false, ..Network::of(Work::Masquerade, candidate) };
    let second = Network {
        name: format!("{}-2", first.name),
        bridge: format!("{}-2", first.bridge),
        subnet: format!("10.{}", 90 + candidate as u8),
        ..first.clone()
    };
    [first, second]
}

/// How the Go plugin's rules name a neighbour.
struct Neighbour {
    id: String,
    /// Empty where no IPAM has chosen one.
    address: String,
}

fn attach(world: &World, candidate: Candidate, network: &Network, number: u16) -> Result<Neighbour> {
    let ifname = match candidate {
        Candidate::Ours => "eth0",
        Candidate::Kernel => "eth1",
        Candidate::Go => "eth2",
    };
    let (id, netns) = (format!("{}-c{number}", candidate.name()), format!("/run/netns/crowd{number}"));
    let container = Container { id: id.clone(), netns, ifname, number: FIRST_ADDRESS + number };
    let (answer, _) = world.weigh(candidate, &world.ask(candidate, network, Verb::Add, &container))?;
    let result: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let address = result.pointer("/ips/0/address").and_then(Value::as_str).unwrap_or_default();
    Ok(Neighbour { id, address: address.split('/').next().unwrap_or_default().to_owned() })
}

/// Gives neighbours of the Go plugin, by their numbers, the rules that it wrote for the first one on the same bridge.
fn copy_rules(templates: &[Neighbour], others: &[(u16, Neighbour)]) -> Result<()> {
    let written = output(World::on(Candidate::Go, "iptables-save").args(["-t", "nat"]))?;
    let mut copies = String::from("*nat\n");
    for (number, other) in others {
        let template =
            templates.iter().cycle().nth((*number).into()).ok_or("the Go plugin has no neighbour yet")?;
        let source = |whose: &Neighbour| format!("-s {}/32 ", whose.address);
        let name = |whose: &Neighbour| format!(r#"id: \"{}\""#, whose.id);
        let jump = written.lines().find(|line| line.contains(&source(template))).unwrap_or_default();
        let (_, chain) = jump.rsplit_once(" -j ").ok_or("the Go plugin has written no rule of iptables")?;
        for line in written.lines().filter(|line| line.contains(chain)) {
            let line = line.replace(chain, &format!("CNI-{number:024x}"));
            let line = line.replace(&source(template), &source(other));
            copies += &line.replace(&name(template), &name(other));
            copies.push('\n');
        }
    }
    fs::write("/run/rules", copies + "COMMIT\n")?;
    output(World::on(Candidate::Go, "iptables-restore").arg("--noflush").stdin(File::open("/run/rules")?))?;
    Ok(())
}
