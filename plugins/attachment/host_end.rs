//! The host's half of a veth pair: finding it, and removing it with its other half.

use std::path::Path;

use cni::call::{Attachment, Del, Owner};
use cni::error::{Code, Error, OrFail, Result};
use cni::log;
use linux::link::Link;
use linux::netns::{NetNs, OpenError};
use linux::rtnl::Rtnl;

use crate::attachment::mark::{self, Mark};
use crate::attachment::waits::Waits;

/// Opens the container's namespace.
///
/// # Errors
/// [`Code::ENVIRONMENT`]: the path is wrong, or no namespace.
pub fn open_netns(path: &Path) -> Result<NetNs> {
    NetNs::open(path)
        .or_fail(Code::ENVIRONMENT, || format!("failed to open netns {:?}", path.display().to_string()))
        .map_err(|error| error.details("variable CNI_NETNS"))
}

/// Opens a conversation about the container's namespace.
///
/// # Errors
/// [`Code::ENVIRONMENT`]: the path is wrong, or leads to a namespace of another kind.
pub fn converse(netns: &NetNs) -> Result<Rtnl> {
    let path = netns.path().display().to_string();
    netns
        .rtnl()
        .or_fail(Code::ENVIRONMENT, || format!("failed to open netns {path:?}"))
        .map_err(|error| error.details("variable CNI_NETNS"))
}

/// Who holds the derived name of an owner's host end?
enum Holder {
    Nobody,
    Ours(Link),
    Another(Link),
}

fn holder(host: &Rtnl, owner: &Owner) -> Result<Holder> {
    let name = mark::host_end_of(owner)?;
    let Some(link) = host.link_by_name(name.as_str()).doing(|| "look up the host end".into())? else {
        return Ok(Holder::Nobody);
    };
    let ours = match link.alias.as_deref() {
        Some(alias) => Mark::read(alias).is_some_and(|mark| mark.is_of(owner)),
        // We died between making the link and setting its alias: name and group are all it got.
        None => link.group == mark::GROUP && link.is_kind("veth"),
    };
    Ok(if ours { Holder::Ours(link) } else { Holder::Another(link) })
}

/// Makes sure, before anything is touched, that this attachment does not exist: an ADD that failed later would take the
/// living one's lease with it.
///
/// # Errors
/// It does exist, or its host end's name is taken by somebody else, whom the error names.
pub fn refuse_second(host: &Rtnl, container: &Rtnl, attachment: &Attachment) -> Result<()> {
    let (ifname, host_end) = (&attachment.ifname, mark::host_end(attachment)?);
    if container.link_by_name(ifname.as_str()).doing(|| format!("look up {ifname}"))?.is_some() {
        let text = format!(
            "container veth name ({:?}) peer provided ({:?}) already exists",
            ifname.as_str(),
            host_end.as_str()
        );
        return Err(Error::internal(text).details(format!("a link {ifname} is in the namespace already")));
    }
    match holder(host, &attachment.owner())? {
        Holder::Nobody => Ok(()),
        Holder::Ours(_) => Err(Error::internal(format!("{attachment} already exists"))
            .details(format!("its host end {host_end} is there; DEL comes before a second ADD"))),
        Holder::Another(link) => {
            Err(Error::internal(format!("the host end's name {host_end} already exists"))
                .details(format!("wanted for {attachment}; held by {:?}", link.alias.unwrap_or_default())))
        }
    }
}

/// The attachment's host end, where it is ours and there.
///
/// # Errors
/// What the kernel says.
pub fn find(host: &Rtnl, attachment: &Attachment) -> Result<Option<Link>> {
    find_of(host, &attachment.owner())
}

/// The same, where nothing but the hash is known.
///
/// # Errors
/// What the kernel says.
pub fn find_of(host: &Rtnl, owner: &Owner) -> Result<Option<Link>> {
    match holder(host, owner)? {
        Holder::Ours(link) => Ok(Some(link)),
        Holder::Nobody | Holder::Another(_) => Ok(None),
    }
}

/// Removes an attachment's veth pair, whoever made it, and nothing else. `is_theirs` decides whether a host end could
/// have been made by the Go plugin of the same name for this configuration.
///
/// Ours is found by its name, with one look-up and without the namespace. The Go plugins' is found by the previous
/// result, and without that through the container's namespace.
///
/// # Errors
/// There is a host end of which nobody can tell whether it is this attachment's; what the kernel says. A link or a namespace
/// that is gone is no error.
pub fn remove(host: &Rtnl, del: &Del, is_theirs: impl Fn(&Link) -> bool, waits: &mut Waits) -> Result<()> {
    let _step = log::step("links");
    let link = match find(host, &del.attachment)? {
        None => theirs(host, del, is_theirs)?,
        ours => ours,
    };
    let Some(link) = link else { return Ok(()) };
    waits.delete_link(host, link.index).doing(|| format!("failed to delete {:?}", link.name))
}

/// Is this a host end that we made?
pub fn is_ours(link: &Link) -> bool {
    link.group == mark::GROUP
}

/// The name that the Go plugins give a host end: `veth` and four random bytes.
fn is_go_name(name: &str) -> bool {
    let digits = name.strip_prefix("veth").unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The host end that the Go plugin of the same name made for this attachment. Any other is somebody else's, or might be.
///
/// The configuration may have changed since: it proves a link, and does not disprove one. What else proves one is that the
/// previous result names it, and that it is either behind `CNI_IFNAME` or has the MAC that stands there. (A name is no more than
/// four random bytes; and a MAC changes, for systemd gives links others a moment after they are made.)
///
/// # Errors
/// One of which none of that can be said: as long as it is there the attachment may be, and its addresses with it. What the
/// kernel says.
fn theirs(host: &Rtnl, del: &Del, is_theirs: impl Fn(&Link) -> bool) -> Result<Option<Link>> {
    let named = named(host, del)?;
    if let Some(it) = named.iter().find(|it| it.has_its_mac && is_theirs(&it.link)) {
        return Ok(Some(it.link.clone()));
    }
    let is_named = |link: &Link| named.iter().any(|it| it.link.index == link.index);
    let is_gone = match behind(host, del)? {
        Behind::Theirs(link) if is_named(&link) || is_theirs(&link) => return Ok(Some(link)),
        Behind::Theirs(link) => return Err(unproven(host, &del.attachment, &link)),
        Behind::NoneOfTheirs => true,
        Behind::Unknown => false,
    };
    if let [only] = named.as_slice()
        && only.has_its_mac
    {
        return Ok(Some(only.link.clone()));
    }
    // Where the namespace is there and leads to no such link, one of that name with another MAC is another's.
    let doubtful = named.iter().find(|it| it.has_its_mac || !is_gone);
    doubtful.map_or(Ok(None), |it| Err(unproven(host, &del.attachment, &it.link)))
}

/// Why a link stays that is called as the Go plugins call theirs.
fn unproven(host: &Rtnl, attachment: &Attachment, link: &Link) -> Error {
    let bridge = link.master.and_then(|master| host.link_by_index(master).ok().flatten());
    let place = bridge.map_or("no port of a bridge".into(), |bridge| format!("a port of {:?}", bridge.name));
    let text = format!("failed to delete {:?}: nothing proves that it belongs to {attachment}", link.name);
    Error::internal(text).details(format!(
        "it is called as the Go plugins call host ends, and is {place}: this configuration makes no such link; as long as it is \
         there the addresses stay taken"
    ))
}

/// A host end that the previous result names, as the Go plugins name theirs.
struct Named {
    link: Link,
    has_its_mac: bool,
}

fn named(host: &Rtnl, del: &Del) -> Result<Vec<Named>> {
    let mut named = Vec::new();
    let interfaces = del.prev.iter().flat_map(|prev| &prev.interfaces);
    for interface in interfaces.filter(|it| it.sandbox.is_none() && is_go_name(&it.name)) {
        let found = host.link_by_name(&interface.name).doing(|| format!("look up {}", interface.name))?;
        if let Some(link) = found.filter(|link| link.is_kind("veth")) {
            let said = interface.mac.as_deref().map(str::to_lowercase);
            let has_its_mac = said.is_some() && said == link.mac.map(|mac| mac.to_string());
            named.push(Named { link, has_its_mac });
        }
    }
    Ok(named)
}

/// What is behind the link `CNI_IFNAME` of the container.
enum Behind {
    /// A host end that the Go plugins named.
    Theirs(Link),
    /// Any other link, or none.
    NoneOfTheirs,
    /// There is no namespace to look into.
    Unknown,
}

fn behind(host: &Rtnl, del: &Del) -> Result<Behind> {
    let Some(path) = &del.netns else { return Ok(Behind::Unknown) };
    let doing = || format!("failed to open netns {:?}", path.display().to_string());
    let netns = match NetNs::open(path) {
        // A file that is no namespace is what an unmounted one leaves behind.
        Err(OpenError::Absent(_) | OpenError::NotANamespace(..)) => return Ok(Behind::Unknown),
        opened => opened.doing(doing)?,
    };
    let container = match netns.rtnl() {
        // A namespace of another kind.
        Err(error) if error.is_invalid() => return Ok(Behind::Unknown),
        entered => entered.doing(doing)?,
    };
    let ifname = &del.attachment.ifname;
    let inner = container
        .link_by_name(ifname.as_str())
        .doing(|| format!("failed to lookup {:?}", ifname.as_str()))?;
    let outer = match inner.filter(|link| link.is_kind("veth")) {
        Some(inner) => other_end(host, &inner, &netns)?,
        None => None,
    };
    let theirs = outer.filter(|link| is_go_name(&link.name));
    Ok(theirs.map_or(Behind::NoneOfTheirs, Behind::Theirs))
}

/// The other end of a container's link, if it is on the host.
///
/// # Errors
/// What the kernel says.
pub fn other_end(host: &Rtnl, inner: &Link, netns: &NetNs) -> Result<Option<Link>> {
    let Some(peer) = inner.peer else { return Ok(None) };
    let outer = host.link_by_index(peer).doing(|| format!("look up the other end of {:?}", inner.name))?;
    match outer {
        Some(link) if is_other_end(host, &link, inner, netns)? => Ok(Some(link)),
        _ => Ok(None),
    }
}

/// Whether this link of the host is the other end of that link in the namespace. Every namespace counts its links for
/// itself, and lets its root choose the numbers, so that an index alone may be another pair's.
///
/// # Errors
/// What the kernel says.
pub fn is_other_end(host: &Rtnl, link: &Link, inner: &Link, netns: &NetNs) -> Result<bool> {
    if !link.is_kind("veth") || link.peer != Some(inner.index) {
        return Ok(false);
    }
    // A pair of which both ends are on the host has no number for where it leads; nor does a namespace to which no link does.
    let Some(leads_to) = link.peer_nsid.and_then(|id| u32::try_from(id).ok()) else { return Ok(false) };
    let there = host.nsid_of(netns).doing(|| format!("look where {:?} leads", link.name))?;
    Ok(there == Some(leads_to))
}

#[cfg(test)]
mod tests {
    use super::is_go_name;

    #[test]
    fn the_go_plugins_names_are_told_from_ours() {
        assert!(is_go_name("veth1a2b3c4d"));
        for other in
            ["veth1a2b3c4", "veth1a2b3c4d5", "veth1A2B3C4D", "vethabcdefgh", "eth0", "veth0123456789a"]
        {
            assert!(!is_go_name(other), "{other}");
        }
    }
}
