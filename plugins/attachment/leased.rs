//! Whose an address is by now, as host-local's leases tell. What the Go plugins write for a container names an address and no
//! owner, or a container and not which of its interfaces: where somebody else has the lease, he has the rules, too.
//!
//! A plugin in a chain does not know where its network keeps its leases. So they are looked for where host-local keeps them
//! unless it is told otherwise, and where they are elsewhere nobody is found.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use cni::call::Attachment;
use cni::files;

/// Where host-local keeps a folder for each network, with a file for each address.
const NETWORKS: &str = "/var/lib/cni/networks";

/// Who has a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    network: String,
    container: String,
    /// Plugins before v0.7 wrote none.
    ifname: Option<String>,
}

impl Holder {
    fn read(network: &str, text: &str) -> Option<Holder> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let container = lines.next()?.to_owned();
        Some(Holder { network: network.into(), container, ifname: lines.next().map(str::to_owned) })
    }

    fn is(&self, attachment: &Attachment) -> bool {
        let is_named = |ifname: &String| ifname == attachment.ifname.as_str();
        self.network == attachment.network.as_str()
            && self.is_of_the_container(attachment)
            && self.ifname.as_ref().is_none_or(is_named)
    }

    fn is_of_the_container(&self, attachment: &Attachment) -> bool {
        self.container == attachment.container.as_str()
    }
}

/// Has another attachment the lease of this address, and this one none?
pub fn to_another(attachment: &Attachment, address: IpAddr) -> bool {
    let holders = holders(address);
    !holders.is_empty() && !holders.iter().any(|holder| holder.is(attachment))
}

/// The same for another attachment of this container.
pub fn to_another_of_the_container(attachment: &Attachment, address: IpAddr) -> bool {
    let holders = holders(address);
    holders.iter().any(|holder| holder.is_of_the_container(attachment))
        && !holders.iter().any(|holder| holder.is(attachment))
}

/// Who has a lease of this address, in any network. One that cannot be read tells nothing.
fn holders(address: IpAddr) -> Vec<Holder> {
    let networks = fs::read_dir(NETWORKS).into_iter().flatten().flatten();
    let holder = |folder: fs::DirEntry| {
        let network = folder.file_name().into_string().ok()?;
        let text = files::read(&Path::new(NETWORKS).join(&network).join(address.to_string())).ok()?;
        Holder::read(&network, &String::from_utf8_lossy(&text))
    };
    networks.filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_by_all_that_his_lease_says() {
        let attachment = Attachment {
            network: "net".parse().unwrap(),
            container: "web".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let is = |network: &str, text: &str| Holder::read(network, text).unwrap().is(&attachment);
        assert!(is("net", "web\r\neth0") && is("net", "web\neth0\n") && is("net", "web"));
        assert!(!is("net", "web\r\neth1") && !is("other", "web\r\neth0") && !is("net", "web2\r\neth0"));
        assert!(Holder::read("other", "web").unwrap().is_of_the_container(&attachment));
        assert_eq!(Holder::read("net", "\r\n"), None);
    }
}
