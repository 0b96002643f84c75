//! Masquerade with nf_tables, through the library: what an address sends out of its subnet gets this host's address.
//!
//! ```text
//! cargo build --example masquerade && cd target/debug/examples
//! unshare --map-root-user --net sh -c './masquerade add 10.22.0.0/16 10.22.0.5 && nft list ruleset'
//! ```
#![allow(clippy::print_stderr, reason = "this is a program for people")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;

use ipnetwork::IpNetwork;
use linux::nft::batch::Batch;
use linux::nft::datatype::{Part, Type};
use linux::nft::expression::{Comparison, Expression};
use linux::nft::object::{Base, Chain, Element, Hook, Kind, Policy, Rule, Set, SetTarget, Table, Target};
use linux::nft::phrase::{self, End};
use linux::nft::verdict::Verdict;
use linux::nft::{Family, Nft};

const TABLE: Table<'static> = Table { family: Family::Inet, name: "example_masq" };
const POSTROUTING: &str = "postrouting";
/// The source of a packet is looked up in the map of its family.
const MAPS: [(Family, &str, Type); 2] =
    [(Family::Ipv4, "sources4", Type::Ipv4), (Family::Ipv6, "sources6", Type::Ipv6)];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Err(e) = run(&words) else { return ExitCode::SUCCESS };
    eprintln!("masquerade: {e}");
    ExitCode::FAILURE
}

fn run(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let addresses = |words: &[String]| words.iter().map(|word| word.parse()).collect::<Result<_, _>>();
    match words {
        [verb, subnet, rest @ ..] if verb == "add" && !rest.is_empty() => {
            let (subnet, addresses): (IpNetwork, BTreeSet<_>) = (subnet.parse()?, addresses(rest)?);
            let stranger = addresses.iter().find(|address| !subnet.contains(**address));
            stranger.map_or(Ok(()), |address| Err(format!("{address} is not in {subnet}")))?;
            Ok(add(&Nft::here()?, subnet, &addresses)?)
        }
        [verb, rest @ ..] if verb == "del" && !rest.is_empty() => Ok(del(&Nft::here()?, &addresses(rest)?)?),
        _ => Err("usage: masquerade add SUBNET ADDRESS... | del ADDRESS...".into()),
    }
}

/// Everything is one batch, so nobody ever sees a half of it. `settle` sends it only to the ruleset that the
/// questions were about: if somebody else was faster, it calls the closure again, which then finds other answers.
fn add(nft: &Nft, subnet: IpNetwork, addresses: &BTreeSet<IpAddr>) -> linux::error::Result<()> {
    nft.settle(|| {
        let mut batch = Batch::new();
        if nft.chain(TABLE, POSTROUTING)?.is_none() {
            lay_the_frame(&mut batch);
        }
        let way_out = chain_of(subnet);
        if nft.chain(TABLE, &way_out.name)?.is_none() {
            batch.ensure_chain(TABLE, &way_out);
            // `ip daddr != 10.22.0.0/16 masquerade`
            let mut expressions = phrase::address(End::Destination, Comparison::Unequal, subnet);
            expressions.push(Expression::Masquerade);
            batch.append_rule(TABLE, &way_out.name, &Rule { expressions, comment: None });
        }
        let [(_, ipv4, _), (_, ipv6, _)] = MAPS;
        let map = if subnet.is_ipv4() { ipv4 } else { ipv6 };
        // An element that is there already stays. One that leads to another subnet is not ours to take: the
        // kernel refuses the batch, and the error names the map.
        let element = |address: &IpAddr| Element {
            key: Part::Address(*address).bytes(),
            target: Target::Verdict(Verdict::Goto(way_out.name.clone())),
            comment: Some(format!("one of {subnet}")),
        };
        batch.add_elements(TABLE, map, &addresses.iter().map(element).collect::<Vec<_>>());
        Ok(batch)
    })
}

/// The table, a map for each family, and the chain that looks into them. What a rule names stands before it.
fn lay_the_frame(batch: &mut Batch) {
    batch.ensure_table(TABLE, Some("made by the example masquerade"));
    let hook = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 100, policy: Policy::Accept };
    batch.ensure_chain(TABLE, &Chain { name: POSTROUTING.into(), base: Some(hook), comment: None });
    for (family, map, key) in MAPS {
        let comment = Some("who is masqueraded, and where it is decided".into());
        let target = SetTarget::Verdict;
        batch.ensure_set(TABLE, &Set { name: map.into(), key: vec![key], target, comment });
        // `ip saddr vmap @sources4`
        let expressions = phrase::address_decides(family, End::Source, map);
        batch.append_rule(TABLE, POSTROUTING, &Rule { expressions, comment: None });
    }
}

/// With the last address of a subnet goes its chain, with the last of all the table.
fn del(nft: &Nft, addresses: &BTreeSet<IpAddr>) -> linux::error::Result<()> {
    let gone: BTreeSet<Vec<u8>> = addresses.iter().map(|address| Part::Address(*address).bytes()).collect();
    nft.settle(|| {
        let (mut batch, mut used, mut left) = (Batch::new(), BTreeSet::new(), BTreeSet::new());
        for (_, map, _) in MAPS {
            for Element { key, target, .. } in nft.elements(TABLE, map)? {
                let leaves = gone.contains(&key);
                if leaves {
                    batch.delete_elements(TABLE, map, [key.as_slice()]);
                }
                if let Target::Verdict(Verdict::Goto(chain)) = target {
                    (if leaves { &mut left } else { &mut used }).insert(chain);
                }
            }
        }
        left.difference(&used).for_each(|chain| batch.delete_chain(TABLE, chain));
        if used.is_empty() && !left.is_empty() {
            batch = Batch::new();
            batch.delete_table(TABLE);
        }
        Ok(batch)
    })
}

/// A name that `nft` can speak of, and for people what it means.
fn chain_of(subnet: IpNetwork) -> Chain {
    let network = format!("{}/{}", subnet.network(), subnet.prefix());
    let name = format!("subnet_{}", network.replace(':', "-"));
    Chain { name, base: None, comment: Some(format!("what leaves {network}")) }
}
