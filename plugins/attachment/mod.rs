//! What an attachment leaves on a node, and how it is known again: shared by every plugin that makes a link.
//!
//! - [`mark`]: the names and texts by which our links say whose they are;
//! - [`mtu`]: the largest packet;
//! - [`record`]: what an attachment is about to claim, written down before it does;
//! - [`host_end`]: finding and removing the host's half of a veth pair, ours or the Go plugins';
//! - [`ruleset`]: what all our nftables rules have in common;
//! - [`iptables`]: rules by that program, for those who insist;
//! - [`gate`]: the way through the administrator's own rules; [`allowed`]: what has it, as records say;
//! - [`firewalld`]: the same by that daemon, which is spoken to over the [`bus`];
//! - [`masquerade`]: what a container sends out of its subnet carries the host's address;
//! - [`inherited`]: what the Go plugins wrote for an attachment that ends with us;
//! - [`published`]: who has ports by iptables, and their end;
//! - [`life`]: what an attachment's life hangs by, where a plugin comes behind others;
//! - [`forwarding`]: the host forwards packets; [`localnet`]: packets for 127.0.0.0/8 come and go by a link;
//! - [`lease`]: what IPAM gave, and when it goes back; [`leased`]: whose an address is by now;
//! - [`container_end`]: settings, addresses and routes inside the container;
//! - [`pair`]: making the veth pair;
//! - [`release`]: DEL and GC, in the one order that is safe;
//! - [`waits`]: what the kernel makes a DEL wait for though it is done;
//! - [`purge`]: what no host end owns any more;
//! - [`compare`]: the kernel against the result of ADD.

pub mod allowed;
pub mod bus;
pub mod compare;
pub mod container_end;
pub mod firewalld;
pub mod forwarding;
pub mod gate;
pub mod host_end;
pub mod inherited;
pub mod iptables;
pub mod lease;
pub mod leased;
pub mod life;
pub mod localnet;
pub mod mark;
pub mod masquerade;
pub mod mtu;
pub mod pair;
pub mod published;
pub mod purge;
pub mod record;
pub mod release;
pub mod ruleset;
pub mod waits;
