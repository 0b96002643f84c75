//! The links of an attachment: the host end of its pair, and the `ifb` through which it sends.

use std::path::Path;

use cni::call::Attachment;
use cni::error::{Error, OrFail, Result};
use cni::result::Success;
use linux::link::Link;
use linux::rtnl::Rtnl;
use sha2::{Digest, Sha512};

use crate::attachment::host_end::{converse, open_netns};
use crate::attachment::mark::Mark;

/// The host end of the container's interface. The earlier plugin's result has to have it: it might be anybody's otherwise.
///
/// # Errors
/// There is none, in the Go plugin's words.
pub fn host_end(host: &Rtnl, netns: &Path, ifname: &str, prev: &Success) -> Result<Link> {
    if prev.interfaces.is_empty() {
        return Err(Error::internal("no interfaces provided"));
    }
    let container = converse(&open_netns(netns)?)?;
    let inner = container.link_by_name(ifname).doing(|| format!("failed to get {ifname:?}"))?;
    let peer = inner.filter(|link| link.is_kind("veth")).and_then(|link| link.peer);
    let peer =
        peer.ok_or_else(|| Error::internal(format!("container interface {ifname} has no veth peer")))?;
    let link = host.link_by_index(peer).doing(|| format!("look up the peer of {ifname}"))?;
    let link = link
        .filter(|link| link.is_kind("veth"))
        .ok_or_else(|| Error::internal(format!("veth peer with index {peer} is not in host ns")))?;
    let named = prev
        .interfaces
        .iter()
        .any(|it| it.name == link.name && it.sandbox.as_deref().unwrap_or("").is_empty());
    match named {
        true => Ok(link),
        false => Err(Error::internal("no veth peer of container interface found in host ns")),
    }
}

/// The names that the `ifb` of an attachment may have: the Go plugin's, which all interfaces of a container in one network
/// share, and our own for the second of them.
pub fn names(attachment: &Attachment) -> [String; 2] {
    let theirs = Sha512::digest(format!("{}{}", attachment.network, attachment.container));
    let digits: String = theirs.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let ours = attachment.owner();
    [digits.as_str(), ours.as_str().get(..12).unwrap_or_default()].map(|digits| format!("bwp{digits}"))
}

/// Whose an `ifb` of such a name is.
#[derive(PartialEq, Eq, Debug)]
pub enum Whose {
    /// The attachment's.
    Ours,
    /// The Go plugin's, which does not sign: perhaps the attachment's.
    Unsigned,
    /// Another attachment's.
    Another,
}

/// Reads it off the link.
pub fn whose(link: &Link, attachment: &Attachment) -> Whose {
    match link.alias.as_deref().map(Mark::read) {
        None => Whose::Unsigned,
        Some(Some(mark)) if mark.is_of(&attachment.owner()) => Whose::Ours,
        Some(_) => Whose::Another,
    }
}

/// The attachment's own `ifb`, and one that the Go plugin made for it.
///
/// # Errors
/// What the kernel says.
pub fn ifbs(host: &Rtnl, attachment: &Attachment) -> Result<Vec<Link>> {
    let mut found = Vec::new();
    for name in names(attachment) {
        let link = host.link_by_name(&name).doing(|| format!("get ifb device {name}"))?;
        found.extend(link.filter(|link| link.is_kind("ifb") && whose(link, attachment) != Whose::Another));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_the_go_plugins() {
        let [network, container, ifname] = ["test", "1234", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        let [theirs, ours] = names(&attachment);
        // The digits of the chain CNI-2bbe0c48b91a7d1b8a6753a8, which hashes the same text.
        assert_eq!(theirs, "bwp2bbe0c48b91a");
        assert_eq!(ours.len(), 15);
        assert_ne!(ours, theirs);
    }
}
