//! What the plugin `firewall` has claimed for a container, as its record says.

use std::net::IpAddr;

use cni::call::Owner;
use serde::{Deserialize, Serialize};

use crate::attachment::record::{self, Written};

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
}

/// What an owner's record says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// There is no record.
    NoRecord,
    /// This, and whatever earlier ADDs have claimed.
    These(Vec<Allowed>),
    /// A line is torn: only the kernel knows.
    Torn,
}

impl Claimed {
    /// Reads the record.
    pub fn of(owner: &Owner) -> Claimed {
        let Some(Written { lines, is_torn, .. }) = record::written::<Line>(PLUGIN, owner) else {
            return Claimed::NoRecord;
        };
        match is_torn {
            true => Claimed::Torn,
            false => Claimed::These(lines.into_iter().map(|Line::Allowed(allowed)| allowed).collect()),
        }
    }
}
