//! One target, chosen by `JACKFIELD_FUZZ_TARGET`, under libFuzzer; without the variable, their names. `run` calls it.

#![no_main]

use std::sync::OnceLock;

/// Every target by the name of its folder of seeds.
const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("value", cni::hostile::value),
    ("request", cni::hostile::request),
    ("result", cni::hostile::result),
    ("conflist", cni::hostile::conflist),
    ("cached", cni::hostile::cached),
    ("bridge", plugins::hostile::bridge),
    ("veth", plugins::hostile::veth),
    ("portmap", plugins::hostile::portmap),
    ("firewall", plugins::hostile::firewall),
    ("bandwidth", plugins::hostile::bandwidth),
    ("tuning", plugins::hostile::tuning),
    ("loopback", plugins::hostile::loopback),
    ("bus", plugins::hostile::bus),
    ("record", plugins::hostile::record),
    ("host-local", ipam::hostile::host_local),
    ("static", ipam::hostile::fixed),
    ("lease", ipam::hostile::lease),
    ("index", ipam::hostile::index),
    ("rtnl", linux::hostile::rtnl),
    ("rtnl_line", linux::hostile::rtnl_line),
    ("nft", linux::hostile::nft),
    ("nft_line", linux::hostile::nft_line),
];

fn chosen() -> Option<fn(&[u8])> {
    let name = std::env::var("JACKFIELD_FUZZ_TARGET").ok()?;
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

libfuzzer_sys::fuzz_target!(
    init: {
        if chosen().is_none() {
            TARGETS.iter().for_each(|(name, _)| println!("{name}"));
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| {
        static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
        CHOSEN.get_or_init(|| chosen().unwrap_or(|_| {}))(bytes);
    }
);
