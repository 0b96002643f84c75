//! host-local: one address from each set of ranges, leased to one interface of one container.
//!
//! The same configuration, files and words as the Go plugin of this name; docs/differences.md lists where we differ.
//!
//! - `verbs`: what it does when it is asked; `give`: which addresses an ADD gets; `full`: what to say when there is none;
//! - [`by_hand`]: the program as a person runs it; `listing`, `verify`: what that prints.

pub mod by_hand;
mod full;
mod give;
mod listing;
mod verbs;
mod verify;

#[cfg(test)]
mod stories;

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::Result;

use crate::conf::Raw;
use crate::store::Machine;

/// The plugin.
pub struct HostLocal;

impl Plugin for HostLocal {
    type Conf = Raw;
    const ENTERS: bool = false;
    const NEEDS: &'static [Capability] = &[];
    const PLACES: &'static [&'static str] = &["ipam", "ipam.dataDir"];

    fn add(add: &Add, raw: Raw) -> Result<Attached> {
        verbs::add(&Machine::this(), add, raw)
    }

    fn del(del: &Del, raw: Raw) -> Result<()> {
        verbs::del(&Machine::this(), del, raw)
    }

    fn check(check: &Check, raw: Raw) -> Result<()> {
        verbs::check(&Machine::this(), check, raw)
    }

    fn status(call: &Call, raw: Raw) -> Result<()> {
        verbs::status(&Machine::this(), call, raw)
    }

    fn gc(gc: &Gc, raw: Raw) -> Result<()> {
        verbs::gc(&Machine::this(), gc, raw)
    }
}
