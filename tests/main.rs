//! The behaviour of every program, each test in a world of its own (see `lab`).
//!
//! One binary holds all of it, so that the suite links once and the same file runs on another kernel
//! (tests/guest) and against another set of plugins (`CNI_REFERENCE=/usr/lib/cni`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail, and says where by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "a test binary has no outside; `pub` says what of a module is for the others"
)]
#![allow(clippy::print_stdout, reason = "libtest shows what a failed test has printed")]

mod accepted;
mod add;
mod bad_bytes;
mod bad_input;
mod bandwidth;
mod bridge;
mod burst;
mod capability;
mod chain;
mod check;
mod cnitool;
mod concurrency;
mod conf;
mod conformance;
mod del;
mod delegation;
mod environment;
mod errors;
mod examples;
mod firewall;
mod host_local;
mod hostile;
mod input;
mod iptables;
mod kernel;
#[allow(dead_code, reason = "the lab is used by parts; a part that no test uses yet is still the lab")]
mod lab;
mod leases;
mod limits;
mod log;
mod loopback;
mod masquerade;
mod mtu;
mod neighbours;
mod netns;
mod nft;
mod pairs;
mod pools;
mod portmap;
mod privilege;
mod reachability;
mod records;
mod reliability;
mod result;
mod runtimes;
mod shells;
mod spoof;
mod r#static;
mod status;
mod switching;
mod tampering;
mod tidy;
mod tuning;
mod unreadable;
mod version;
mod veth;
mod vlan;
mod waits;
