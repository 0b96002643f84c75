//! The names in the Go plugins' rules.

use cni::call::Attachment;
use sha2::{Digest, Sha512};

/// The table of their nftables backend.
pub(super) const TABLE: &str = "cni_plugins_masquerade";
/// The chain in it that has the rules of containers.
pub(super) const CHECKS: &str = "masq_checks";
/// The table of published ports of that backend.
pub(super) const PORTS_TABLE: &str = "cni_hostport";
/// The chains in it that have the rules of ports; the second one those of v1.7 and v1.8 at one address.
pub(super) const PUBLISHED: [&str; 2] = ["hostports", "hostip_hostports"];
/// The chain in it that has the rules of sources.
pub(super) const MASQUERADING: &str = "masquerading";
/// The chain of iptables from which packets come to a container's.
pub(super) const POSTROUTING: &str = "POSTROUTING";

/// The chain of iptables that has the rules by which packets of containers pass.
pub const FORWARD: &str = "CNI-FORWARD";

/// A container's chain in the tables of iptables: `FormatChainName` of their `pkg/utils`.
pub(in crate::attachment) fn chain(attachment: &Attachment) -> String {
    format!("CNI-{}", digits(&format!("{}{}", attachment.network, attachment.container), 12))
}

/// The chains from which packets come to the chains of published ports, and what the names of these begin with; the second
/// pair is that of plugins before v0.7.
pub(super) const PORTS: [(&str, &str); 2] =
    [("CNI-HOSTPORT-DNAT", "CNI-DN-"), ("CNI-HOSTPORT-SNAT", "CNI-SN-")];

/// A container's chain of published ports: `genDnatChain` and `genOldSnatChain` of their portmap. A name has 28 letters.
pub(super) fn ports_chain(start: &str, attachment: &Attachment) -> String {
    let digits = digits(&format!("{}{}", attachment.network, attachment.container), 11);
    let mut name = format!("{start}{digits}");
    name.truncate(28);
    name
}

/// The comment of every rule of iptables: `FormatComment`. Neither name can hold what Go would escape.
pub fn comment(attachment: &Attachment) -> String {
    format!("name: \"{}\" id: \"{}\"", attachment.network, attachment.container)
}

/// Does a rule's comment name somebody else than this one does? Two attachments may share a chain: the name of `a` in network
/// `bc` hashes the same text as that of `ab` in `c`. One without names is nobody's in particular, and one that had to be cut
/// does not tell.
pub(super) fn names_another(text: &str, comment: &str) -> bool {
    const LONGEST: usize = 240;
    let said = text.find("name: \"").and_then(|at| text.get(at..));
    comment.len() < LONGEST && said.is_some_and(|said| !said.starts_with(comment))
}

/// How the comment of an nftables rule begins: `commentForInstance`. What follows is for people, and may be cut.
pub(super) fn tag(attachment: &Attachment) -> String {
    let instance = format!("{}:{}", attachment.ifname, attachment.container);
    format!("{}-{}", digits(attachment.network.as_str(), 8), digits(&instance, 8))
}

fn digits(text: &str, bytes: usize) -> String {
    Sha512::digest(text).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment([network, ifname, container]: [&str; 3]) -> Attachment {
        let (network, container) = (network.parse().unwrap(), container.parse().unwrap());
        Attachment { network, container, ifname: ifname.parse().unwrap() }
    }

    #[test]
    fn a_chain_has_the_name_that_the_go_plugins_give_it() {
        for (network, container, name) in [
            ("test", "1234", "CNI-2bbe0c48b91a7d1b8a6753a8"),
            ("mynet", "0123456789ab", "CNI-8b944e9033db3997b0caec66"),
        ] {
            assert_eq!(chain(&attachment([network, "eth0", container])), name);
            assert_eq!(
                chain(&attachment([network, "net1", container])),
                name,
                "the interface does not matter"
            );
        }
        let ports = |network, id| ports_chain("CNI-DN-", &attachment([network, "eth0", id]));
        assert_eq!(ports("test", "1234"), "CNI-DN-2bbe0c48b91a7d1b8a675");
        assert_eq!(ports("mynet", "dummy"), "CNI-DN-1b29d9511ed2bb3134d92");
        let comment = comment(&attachment(["mynet", "eth0", "0123456789ab"]));
        assert_eq!(comment, r#"name: "mynet" id: "0123456789ab""#);
    }

    #[test]
    fn of_two_that_share_a_chain_each_is_told_by_its_comment() {
        let [one, other] = [["net", "eth0", "1abc"], ["net1", "eth0", "abc"]].map(attachment);
        assert_eq!(chain(&one), chain(&other));
        for text in [comment(&one), format!("dnat {}", comment(&one)), format!("x {} -j Y", comment(&one))] {
            assert!(
                !names_another(&text, &comment(&one)) && names_another(&text, &comment(&other)),
                "{text}"
            );
        }
        assert!(!names_another("portfwd conntrack", &comment(&one)));
    }

    #[test]
    fn a_comment_begins_as_the_go_plugins_begin_it() {
        for (names, prefix) in [
            (["mynet", "eth0", "0123456789ab"], "d23676b4f2d9fe04-08ce0d72fbebba8b"),
            (["unit-test", "eth0", "one"], "6fd94d501e58f0aa-287fc69eff0574a2"),
            (["alternate", "net1", "three"], "82783ef24bdc7036-acb19d111858e348"),
        ] {
            assert_eq!(tag(&attachment(names)), prefix);
        }
    }
}
