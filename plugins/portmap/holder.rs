//! Who holds a port, and whether he lives. A record says what his life hangs by.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use cni::call::{Attachment, Owner};
use cni::error::{Error, Result};
use linux::error::{Error as Unknown, Result as Answer};
use linux::nft::object::Element;
use linux::rtnl::Rtnl;
use serde::{Deserialize, Serialize};

use crate::attachment::{life, record, ruleset};
use crate::portmap::PLUGIN;
use crate::portmap::iptables::rules::Published;
use crate::portmap::key::{Key, Range};

/// A line of our records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// What the attachment is about to claim.
    Claims(Claims),
    /// The owner of another attachment of the same container that wants some of the same ports, and gets them when this one
    /// ends: podman sends the same list for every network of a container.
    Heir(String),
    /// What the attachment is about to publish by iptables, beside what such lines before this one say: whoever is killed may have
    /// left the rules of either. Nothing, and theirs are gone.
    Published(Option<Published>),
}

/// What an attachment claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// The ports.
    pub ports: Vec<Range>,
    /// The addresses to which they lead.
    pub addresses: Vec<IpAddr>,
}

impl Claims {
    /// Nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.addresses.is_empty()
    }

    /// Its ports, one by one.
    pub fn keys(&self) -> Vec<Key> {
        self.ports.iter().flat_map(Range::keys).collect()
    }
}

/// Who holds ports, seen by one attachment: each holder is looked up once.
pub struct Holders<'a> {
    host: &'a Rtnl,
    seen: RefCell<BTreeMap<Owner, Standing>>,
}

/// What a holder is to whoever wants his port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The same attachment.
    Same,
    /// Another attachment of the same container: the port leads to it already.
    Sibling,
    /// Somebody else, who lives.
    Living,
    /// Somebody who is gone.
    Gone,
}

impl Holders<'_> {
    /// Nobody is known yet.
    pub fn new(host: &Rtnl) -> Holders<'_> {
        Holders { host, seen: RefCell::default() }
    }

    /// What the holder of an element is to this attachment. An element that does not say whose it is counts as living: it is
    /// not ours to take.
    ///
    /// # Errors
    /// As [`standing`]'s.
    pub fn standing(&self, element: &Element, attachment: &Attachment) -> Answer<Standing> {
        let Some(mark) = ruleset::mark(element) else { return Ok(Standing::Living) };
        if let Some(known) = self.seen.borrow().get(mark.owner()) {
            return Ok(*known);
        }
        let looked_up = standing(self.host, mark.owner(), attachment);
        let unknown = |error: Error| Unknown::plain("look up whether its holder lives", error.msg());
        let standing = looked_up.map_err(unknown)?;
        self.seen.borrow_mut().insert(mark.owner().clone(), standing);
        Ok(standing)
    }
}

/// What an owner is to an attachment.
///
/// # Errors
/// What the kernel says; his record cannot be read: whoever cannot be looked up is not taken for gone.
pub fn standing(host: &Rtnl, owner: &Owner, attachment: &Attachment) -> Result<Standing> {
    if *owner == attachment.owner() {
        return Ok(Standing::Same);
    }
    let record = record::of_owner(PLUGIN, owner)?;
    Ok(match record {
        _ if !life::lives(host, owner)? => Standing::Gone,
        Some(record) if record.attachment.container == attachment.container => Standing::Sibling,
        _ => Standing::Living,
    })
}

/// What a record claims.
pub fn claims(lines: &[Line]) -> Option<&Claims> {
    lines.iter().find_map(|line| match line {
        Line::Claims(claims) => Some(claims),
        Line::Heir(_) | Line::Published(_) => None,
    })
}

/// What a record publishes by iptables: the last of it, unless its ADD was killed.
pub fn published(lines: &[Line]) -> Vec<&Published> {
    let mut all = Vec::new();
    for line in lines {
        match line {
            Line::Published(Some(published)) => all.push(published),
            Line::Published(None) => all.clear(),
            Line::Claims(_) | Line::Heir(_) => {}
        }
    }
    all
}

/// Who gets what an owner leaves, as his record says.
///
/// # Errors
/// It cannot be read.
pub fn heirs(owner: &Owner) -> Result<Vec<Owner>> {
    let lines = record::written::<Line>(PLUGIN, owner)?.map(|written| written.lines).unwrap_or_default();
    let heir = |line| match line {
        Line::Heir(owner) => Owner::read(&owner),
        Line::Claims(_) | Line::Published(_) => None,
    };
    Ok(lines.into_iter().filter_map(heir).collect())
}

/// The holder of an element, for people.
pub fn name(element: &Element) -> String {
    match ruleset::mark(element).and_then(|mark| record::of_owner(PLUGIN, mark.owner()).ok().flatten()) {
        Some(record) => record.attachment.to_string(),
        None => format!("{:?}", element.comment.as_deref().unwrap_or_default()),
    }
}
