//! Which address: arithmetic over a locked folder. No netlink, no namespace, nothing of the kernel but files.
//!
//! Read in this order:
//!
//! 1. [`range`]: what a subnet, a start and an end mean together. Pure.
//! 2. [`choose`]: which address of a set is next, when somebody says which are taken. Pure.
//!    [`policy`]: where the search begins, and what is never given. Pure. [`hash`]: numbers for names.
//! 3. [`boot`], [`lease`]: what a lease file says, and whether its holder can still be there. Pure.
//! 4. [`store`]: who has which address; the only part that touches files, and the only one that waits for a lock.
//! 5. [`caller`]: what whoever calls may ask, of any of these plugins.
//! 6. [`conf`]: the configuration of host-local, as written and as meant.
//! 7. [`resolver`]: resolv.conf(5), the one thing that host-local says besides addresses.
//! 8. [`host_local`]: the plugin, which is little more than all this in turn.
//! 9. [`r#static`]: the plugin that gives what is written, and remembers nothing.
//!
//! **Invariant**: host-local never gives an address that is taken, whoever asks for it and however.
//! **Invariant**: an ADD that fails leaves the leases as it found them; an older lease of the same attachment stays.
//! **Invariant**: the Go plugin may use the same folder at the same time.

pub mod range;

pub mod choose;
pub mod hash;
pub mod policy;

#[cfg(test)]
mod properties;

pub mod boot;
pub mod lease;

pub mod store;

pub mod caller;

pub mod conf;

pub mod resolver;

#[path = "host-local/mod.rs"]
pub mod host_local;

pub mod r#static;

#[cfg(any(test, fuzzing))]
pub mod hostile;
