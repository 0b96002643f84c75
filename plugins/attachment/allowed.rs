//! What the plugin `firewall` has claimed for a container, as its record says, and the end of what no owner is written on.

use std::net::IpAddr;

use cni::call::Owner;
use cni::error::{Faults, Result};
use serde::{Deserialize, Serialize};

use crate::attachment::firewalld::Firewalld;
use crate::attachment::record::{self, Written, leftover};
use crate::attachment::{inherited, ruleset};

/// The name in records.
pub const PLUGIN: &str = "firewall";

/// A line of its records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// What the attachment is about to claim.
    Allowed(Allowed),
}

/// What is let through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowed {
    /// The addresses of the container.
    pub addresses: Vec<IpAddr>,
    /// The ports of a bridge that are kept from each other.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Who keeps the rules.
    pub by: Backend,
}

/// Who keeps the rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// The kernel's nf_tables, in a table of ours.
    Nftables,
    /// iptables, in its own tables.
    Iptables,
    /// firewalld, in this zone.
    Firewalld(String),
}

/// What an owner's record says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// There is no record.
    NoRecord,
    /// This, and whatever earlier ADDs have claimed.
    These(Vec<Allowed>),
    /// This, and more: a line is torn, or a crash came before the first one. Only the kernel knows.
    More(Vec<Allowed>),
}

impl Claimed {
    /// Reads the record.
    ///
    /// # Errors
    /// It cannot be read, or is of a later version.
    pub fn of(owner: &Owner) -> Result<Claimed> {
        record::written(PLUGIN, owner).map(Claimed::from)
    }

    /// What is known.
    pub fn these(&self) -> &[Allowed] {
        match self {
            Claimed::NoRecord => &[],
            Claimed::These(these) | Claimed::More(these) => these,
        }
    }
}

impl From<Option<Written<Line>>> for Claimed {
    fn from(written: Option<Written<Line>>) -> Claimed {
        let Some(Written { lines, is_torn, .. }) = written else { return Claimed::NoRecord };
        let these: Vec<Allowed> = lines.into_iter().map(|Line::Allowed(allowed)| allowed).collect();
        if is_torn || these.is_empty() { Claimed::More(these) } else { Claimed::These(these) }
    }
}

impl Allowed {
    /// Ends it, where the rules do not say whose they are: an address that another attachment has claimed by the same backend
    /// stays.
    ///
    /// # Errors
    /// What the kernel or the program says, after everything was tried.
    pub fn end(&self, owner: &Owner) -> Result<()> {
        // Only asked where there is something to end.
        let others = if self.by == Backend::Nftables { Vec::new() } else { others(owner)? };
        let is_anothers = |address: IpAddr| {
            others.iter().any(|other| other.by == self.by && other.addresses.contains(&address))
        };
        match &self.by {
            Backend::Nftables => Ok(()),
            Backend::Iptables => end_by_iptables(&self.addresses, is_anothers),
            Backend::Firewalld(zone) => end_by_firewalld(zone, &self.addresses, is_anothers),
        }
    }
}

/// What all other attachments have claimed.
fn others(owner: &Owner) -> Result<Vec<Allowed>> {
    let others = leftover::all()?.into_iter().filter(|record| record.owner != *owner);
    let claimed: Vec<Claimed> = others.map(|record| Claimed::of(&record.owner)).collect::<Result<_>>()?;
    Ok(claimed.iter().flat_map(Claimed::these).cloned().collect())
}

/// Which of its two tables iptables writes to is a matter of the day, so both are looked into.
fn end_by_iptables(addresses: &[IpAddr], is_anothers: impl Fn(IpAddr) -> bool) -> Result<()> {
    let mut faults = Faults::default();
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        faults.note(inherited::remove_accepted(&nft, addresses, &is_anothers));
    }
    faults.note(inherited::remove_legacy_accepted(addresses, &is_anothers));
    faults.verdict()
}

/// Where firewalld does not run, nothing is left of its sources.
fn end_by_firewalld(zone: &str, addresses: &[IpAddr], is_anothers: impl Fn(IpAddr) -> bool) -> Result<()> {
    let Some(mut firewalld) = Firewalld::find_to_end()? else { return Ok(()) };
    let mut faults = Faults::default();
    for address in addresses.iter().filter(|address| !is_anothers(**address)) {
        faults.note(firewalld.remove(zone, *address));
    }
    faults.verdict()
}

/// Ends what a stale owner's record tells of rules that name no owner.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn end_stale(owner: &Owner) -> Result<()> {
    let mut faults = Faults::default();
    for allowed in Claimed::of(owner)?.these() {
        faults.note(allowed.end(owner));
    }
    faults.verdict()
}
