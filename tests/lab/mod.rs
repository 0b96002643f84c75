//! A throw-away world for each test.
//!
//! ```ignore
//! use crate::lab::{conf, lab};
//!
//! #[test]
//! fn del_frees_the_address_when_the_namespace_is_already_gone() {
//!     lab(|host| {
//!         let pod = host.pod();
//!         let before = host.snapshot();
//!         let web = host.attach("bridge", conf::bridge(host), &pod);
//!         web.add().result();
//!         pod.delete();
//!         web.del().silent();
//!         before.same_as(&host.snapshot(), &[Shared::Bridge("br0"), Shared::Forwarding, Shared::Store]);
//!     });
//! }
//! ```
//!
//! `lab` starts this very test a second time, under its own name, inside fresh user, network, mount and
//! process namespaces with a tmpfs on /run and on /var/lib. So a test needs no root, cannot touch the machine,
//! runs beside all others, and when it ends (or is killed) the kernel removes whatever it made, processes
//! included. Inside, the test *is* the host: programs are started as a runtime would start them, pods are
//! further network namespaces, and what happened is read with `ip -j`, `nft -j` and `ping`, never with the
//! netlink code under test.
//!
//! Variables that choose the world:
//! - `JACKFIELD_LAB=root`: real root, without a user namespace (which hides owners, trusted attributes, …);
//! - `CNI_REFERENCE=/usr/lib/cni`: the Go plugins instead of ours; it tests the test;
//! - `JACKFIELD_BIN=DIR`: our programs from DIR instead of this build (the second kernel uses it);
//! - `JACKFIELD_LONGEST=SECONDS`: how long a test may take;
//! - `JACKFIELD_ALOUD=1`: what a test says on stderr is seen at once;
//! - `JACKFIELD_NO_SKIPS=1`: a test that cannot run here fails instead of being counted and named.
//!
//! Where the Go plugins answer differently and the difference is meant, a test asserts both answers as a pair
//! (`Outcome::fails_or`, `Host::differs`) under a key of `differences::all`; docs/differences.md explains
//! each key, and tests/conformance.rs holds the two together.

pub mod attach;
pub mod call;
pub mod conf;
pub mod differences;
pub mod echo;
pub mod host;
pub mod iptables;
pub mod outcome;
pub mod place;
pub mod prober;
pub mod snapshot;
pub mod stub;
pub mod witness;
pub mod world;

use host::Host;
use world::Need;

/// Runs `test` in a world of its own.
pub fn lab(test: impl FnOnce(&Host)) {
    world::enter(&[], test);
}

/// The same, where the world must offer something that not every world has.
pub fn lab_with(needs: &[Need], test: impl FnOnce(&Host)) {
    world::enter(needs, test);
}
