//! Who reaches whom: the table of docs/reachability.md, sent as packets.
//!
//! The document is the table of this test: what it says is expected, and what is asked is [`ways`] here. Each column is a world
//! of its own ([`world`]). It is asked three times: when all are attached; after somebody has flushed all rules and `cnitool
//! restore` has made them again; and after GC has taken a neighbour away.

mod table;
mod ways;
mod world;

use table::Table;
use world::{Promise, World};

use crate::lab::lab_with;
use crate::lab::world::{Need, variable};

/// What the Go plugins answer otherwise, whatever the option: the way, their answer, and the key of the difference.
const THEIRS: &[(&str, &str, &str)] = &[("router advertisement → its network", "yes", "ra")];

/// An emulated kernel is slow, and is asked what most depends on it: translation, bridges, and what is between them.
const EMULATED: &[&str] = &["ipMasq", "macspoofchk", "isolated", "hostIP"];

/// Asks everything of one column, and compares.
fn column(option: &'static Promise) {
    if variable("JACKFIELD_GUEST").is_some() && !EMULATED.contains(&option.name) {
        return;
    }
    let needs: Vec<Need> = option.ours.iter().map(|key| Need::Ours(key)).collect();
    lab_with(&needs, |host| {
        let table = Table::of_the_document();
        let mut expected = table.column(option.name);
        for (way, theirs, key) in THEIRS {
            let row = table.rows().iter().position(|row| row == way).unwrap();
            expected[row] = host.differs(key, || expected[row].clone(), || (*theirs).to_owned());
        }
        let mut world = World::make(host, option);
        world.answers("at first", &expected);
        if !host.is_reference() {
            world.flush_and_restore();
            world.answers("after `nft flush ruleset` and `cnitool restore`", &expected);
            world.collect_a_neighbour();
            world.answers("after GC of a neighbour", &expected);
        }
    });
}

macro_rules! columns {
    ($($test:ident: $number:literal,)*) => {
        $(#[test]
        fn $test() {
            column(&world::OPTIONS[$number]);
        })*

        const TESTED: &[usize] = &[$($number),*];
    };
}

columns! {
    who_reaches_whom_without_addresses: 0,
    who_reaches_whom_without_any_option: 1,
    who_reaches_whom_with_a_gateway: 2,
    who_reaches_whom_with_masquerade: 3,
    who_reaches_whom_with_the_spoof_check: 4,
    who_reaches_whom_with_isolated_ports: 5,
    who_reaches_whom_where_forward_drops: 6,
    who_reaches_whom_where_forward_drops_and_firewall_lets_through: 7,
    who_reaches_whom_where_firewall_keeps_bridges_apart: 8,
    who_reaches_whom_where_firewall_keeps_containers_apart: 9,
    who_reaches_whom_with_published_ports: 10,
    who_reaches_whom_with_ports_published_at_one_address: 11,
    who_reaches_whom_with_ports_published_and_sources_kept: 12,
    who_reaches_whom_with_ports_published_and_all_sources_replaced: 13,
    who_reaches_whom_with_everything_together_where_forward_drops: 14,
    who_reaches_whom_with_everything_by_iptables_where_forward_drops: 15,
    who_reaches_whom_with_ports_published_by_iptables: 16,
}

#[test]
fn the_document_has_every_way_and_every_option_and_each_is_tested() {
    let table = Table::of_the_document();
    let names: Vec<&str> = world::OPTIONS.iter().map(|option| option.name).collect();
    assert_eq!(table.columns(), names);
    let ways: Vec<String> = ways::WAYS.iter().map(|way| way.name()).collect();
    assert_eq!(table.rows(), ways);
    assert_eq!(TESTED, (0..names.len()).collect::<Vec<_>>());
}
