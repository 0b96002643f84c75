//! The deeds: what the programs ask of the kernel, by blocking calls that name what failed.
//!
//! ```text
//!   NetNs::open("/run/netns/pod")          a namespace is a file held open
//!        │
//!        ├── visit(|| sysctl::write(…))    a thread goes there, does it, and ends
//!        │
//!        └── rtnl() ──► Rtnl               a socket opened by such a visitor; used from anywhere
//!                        │
//!                        ├── link_by_name, create_veth, wait_operational …    one request, one answer
//!                        └── all([Request::set_up(…), Request::add_address(…)])   several in one datagram
//! ```
//!
//! In reading order:
//! - [`error`]: what was being done, what the kernel said, and its number;
//! - [`netns`]: namespaces opened, made and visited; [`named`]: those that have a name in `/run/netns`;
//!   [`census`]: those that processes are in; [`nsid`]: the numbers by which the kernel refers to them;
//! - [`rtnl`]: the conversation with the kernel, which every file below speaks through;
//! - [`mac`], [`link`], [`veth`], [`bridge`], [`vlan`]: network interfaces, and who hears whom on a bridge;
//! - [`address`], [`route`], [`neighbour`]: what is put on them;
//! - [`qdisc`]: how fast a link sends;
//! - [`nft`]: packet filtering and address translation, by nf_tables;
//! - [`conntrack`]: the connections that are tracked, and translated as they once began;
//! - [`sysctl`]: the settings below `/proc/sys`;
//! - [`errand`]: waits of the kernel, left to a child process;
//! - [`job`], [`user`]: a program that is run for somebody, and with whose rights.
//!
//! **Invariant**: no thread stays in a namespace that it visited. [`netns::NetNs::enter`], [`named::enter`] and
//! [`named::enter_nameless`] are the exceptions, for a process that has nothing to do anywhere else.
//!
//! **Invariant**: *create* fails if the thing exists, *ensure* accepts what is there and says whether it made
//! it, *delete* accepts absence. What the kernel says is matched by number, never by text.
//!
//! **Invariant**: no dump where a look-up serves, and every dump goes through one function, which repeats a
//! torn one and lets the kernel do the filtering.
//!
//! This library has never heard of CNI: `netns` uses it as the plugins do.

pub mod census;
pub mod error;
pub mod named;
pub mod netns;
pub mod rtnl;

pub mod address;
pub mod bridge;
pub mod conntrack;
pub mod errand;
mod heard;
mod insist;
pub mod job;
pub mod link;
pub mod mac;
pub mod neighbour;
pub mod nft;
pub mod nsid;
pub mod qdisc;
pub mod route;
pub mod sysctl;
pub mod user;
pub mod veth;
pub mod vlan;

#[cfg(any(test, fuzzing))]
pub mod hostile;
