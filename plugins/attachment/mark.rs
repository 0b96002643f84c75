//! The names and texts by which our links say whose they are.

use std::collections::BTreeSet;
use std::fmt;

use cni::call::{Attachment, Gc, Owner};
use cni::error::{OrFail, Result};
use cni::name::{IfName, NetworkName};
use sha2::{Digest, Sha256};

/// The link group (`IFLA_GROUP`) of every host end that we make: the mark that a link has from its first instant, should
/// we die before its alias is set.
pub const GROUP: u32 = 0x6a66;

/// The host end of an attachment: `veth` and 11 digits of the owner's hash. It can be derived, so DEL needs no memory; 44
/// bits make a collision a rarity, and [`Mark::read`] tells it.
///
/// # Errors
/// Never in practice: the name fits by its making.
pub fn host_end(attachment: &Attachment) -> Result<IfName> {
    host_end_of(&attachment.owner())
}

/// The same, where nothing but the hash is known.
///
/// # Errors
/// As above.
pub fn host_end_of(owner: &Owner) -> Result<IfName> {
    let digits = owner.as_str().get(..11).unwrap_or_default();
    format!("veth{digits}").parse().doing(|| "name the host end".into())
}

/// What a link's alias says: whose it is, and to which network that belongs. Only the two hashes are matched; the text
/// behind them is for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    owner: Owner,
    network: String,
}

/// The names behind an alias, as many of them as fitted: the last one may be cut short, and those after it are empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The name of the interface in the container.
    pub ifname: &'a str,
    /// The container's ID.
    pub container: &'a str,
}

impl Mark {
    /// The mark of an attachment.
    pub fn of(attachment: &Attachment) -> Mark {
        Mark { owner: attachment.owner(), network: network_hash(&attachment.network) }
    }

    /// Reads an alias; `None` if it is not one of ours.
    pub fn read(alias: &str) -> Option<Mark> {
        let (hashes, _) = alias.split_once(' ')?;
        let (owner, network) = hashes.split_once('-')?;
        let is_hash = network.len() == 16 && network.bytes().all(|c| c.is_ascii_hexdigit());
        Some(Mark { owner: Owner::read(owner)?, network: network.into() }).filter(|_| is_hash)
    }

    /// What an alias of ours says to people; `None` if it is not one of ours.
    pub fn told(alias: &str) -> Option<Told<'_>> {
        Mark::read(alias)?;
        let (_, text) = alias.split_once(" jackfield: ")?;
        let mut names = text.splitn(3, ' ');
        let mut next = || names.next().unwrap_or_default();
        Some(Told { network: next(), ifname: next(), container: next() })
    }

    /// Whose the thing is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Is this link the attachment's?
    pub fn is_of(&self, owner: &Owner) -> bool {
        self.owner == *owner
    }

    /// Does this link belong to the network?
    pub fn is_in(&self, network: &NetworkName) -> bool {
        self.network == network_hash(network)
    }

    /// The alias to write: the hashes, then as much of the names as fits. (`IFALIASZ` is 256, and the kernel wants room for
    /// two NULs.)
    pub fn alias(&self, attachment: &Attachment) -> String {
        let Attachment { network, container, ifname } = attachment;
        // Names are ASCII but for the interface's, which may be cut within a character.
        let mut alias = format!("{self} jackfield: {network} {ifname} {container}");
        while alias.len() > 254 {
            alias.pop();
        }
        alias
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.owner, self.network)
    }
}

/// Tells the marks that GC has to remove: those of its network whose attachments do not live. `None` where the runtime did
/// not say what lives.
pub fn stale(gc: &Gc) -> Option<impl Fn(&Mark) -> bool> {
    let living = gc.valid.as_ref()?.of(&gc.call.network);
    let living: BTreeSet<Owner> = living.map(|attachment| attachment.owner()).collect();
    Some(move |mark: &Mark| mark.is_in(&gc.call.network) && !living.contains(mark.owner()))
}

fn network_hash(network: &NetworkName) -> String {
    Sha256::digest(network.as_str()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(network: &str, container: &str) -> Attachment {
        let (network, container) = (network.parse().unwrap(), container.parse().unwrap());
        Attachment { network, container, ifname: "eth0".parse().unwrap() }
    }

    #[test]
    fn a_host_end_has_a_name_that_can_be_derived_and_fits() {
        let name = host_end(&attachment("net", "c1")).unwrap();
        assert_eq!((name.as_str().len(), name.as_str().get(..4)), (15, Some("veth")));
        assert_ne!(name, host_end(&attachment("net", "c2")).unwrap());
    }

    #[test]
    fn an_alias_is_read_back_whatever_the_length_of_the_names() {
        for attachment in [attachment("net", "c1"), attachment(&"n".repeat(200), &"c".repeat(200))] {
            let alias = Mark::of(&attachment).alias(&attachment);
            assert!(alias.len() <= 254);
            let mark = Mark::read(&alias).unwrap();
            let told = Mark::told(&alias).unwrap();
            assert!(!told.network.is_empty() && attachment.network.as_str().starts_with(told.network));
            assert!("eth0".starts_with(told.ifname));
            assert!(attachment.container.as_str().starts_with(told.container));
            assert!(mark.is_of(&attachment.owner()) && mark.is_in(&attachment.network));
            assert!(!mark.is_in(&"other".parse().unwrap()));
        }
    }

    #[test]
    fn a_strangers_alias_is_not_ours() {
        for alias in ["", "uplink", "00-11 x", &format!("{}-{} x", "g".repeat(32), "0".repeat(16))] {
            assert_eq!(Mark::read(alias), None, "{alias:?}");
            assert_eq!(Mark::told(alias), None, "{alias:?}");
        }
    }
}
