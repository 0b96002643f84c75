//! The thousand who are there already: 500 on each of two bridges of every candidate, for a bridge takes 1,023 ports.
//!
//! A neighbour is one container in three networks, one of each candidate, so that whatever it costs to have a thousand
//! namespaces on a machine, all candidates pay it. What a frame to everybody costs is the same for all of them, too: as
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

/// As [`Work::Crowd`] is titled.
const NEIGHBOURS: u16 = 1000;

/// For how many the Go plugin writes the rules: the first one on each bridge.
const TEMPLATES: usize = 2;

/// The yardstick has no IPAM: its neighbours' addresses begin behind those of the pool.
const FIRST_ADDRESS: u16 = 256;

/// Who gathers neighbours and is measured beside them, before the next do. The Go plugin's visits to a thousand namespaces
/// make every later look-up of a sysctl on this machine dearer, also those of others, so it comes last.
pub(crate) const IN_TURN: [&[Candidate]; 2] = [&[Candidate::Kernel, Candidate::Ours], &[Candidate::Go]];

/// Attaches the neighbours of these candidates.
pub(crate) fn gather(world: &World, candidates: &[Candidate]) -> Result<()> {
    if !Path::new("/run/netns/crowd0").exists() {
        let all: String = (0..NEIGHBOURS).map(|number| format!("netns add crowd{number}\n")).collect();
        fs::write("/run/batch", all)?;
        output(Command::new("ip").args(["-batch", "/run/batch"]))?;
    }
    for &candidate in candidates {
        eprintln!("a thousand neighbours: {} …", candidate.name());
        let bridges = bridges(candidate);
        let [_, second] = &bridges;
        world.make_bridge(candidate, second)?;
        let turns = (0..NEIGHBOURS).zip(bridges.iter().cycle());
        let attached = turns.map(|(number, bridge)| attach(world, candidate, bridge, number));
        let neighbours = attached.collect::<Result<Vec<_>>>()?;
        if candidate == Candidate::Go {
            copy_rules(&neighbours)?;
        }
    }
    Ok(())
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
    let is_copied = candidate == Candidate::Go && usize::from(number) >= TEMPLATES;
    let network = Network { masquerade: !is_copied, ..network.clone() };
    let (answer, _) = world.weigh(candidate, &world.ask(candidate, &network, Verb::Add, &container))?;
    let result: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let address = result.pointer("/ips/0/address").and_then(Value::as_str).unwrap_or_default();
    Ok(Neighbour { id, address: address.split('/').next().unwrap_or_default().to_owned() })
}

/// Gives every neighbour of the Go plugin the rules that it wrote for the first one on the same bridge.
fn copy_rules(neighbours: &[Neighbour]) -> Result<()> {
    let written = output(World::on(Candidate::Go, "iptables-save").args(["-t", "nat"]))?;
    let mut copies = String::from("*nat\n");
    let (templates, others) = neighbours.split_at(TEMPLATES);
    for ((number, other), template) in others.iter().enumerate().zip(templates.iter().cycle()) {
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
