//! The names, the rule and the elements of the spoof check, decided before anything is asked.

use cni::call::Attachment;
use cni::name::IfName;
use linux::mac::Mac;
use linux::nft::Family;
use linux::nft::datatype::{Part, Type, concatenated};
use linux::nft::expression::{Expression, Meta};
use linux::nft::object::{Base, Chain, Element, Hook, Kind, Policy, Rule, Set, SetTarget, Table, Target};
use linux::nft::phrase;
use linux::nft::verdict::Verdict;

use crate::attachment::mark::Mark;

/// The table of everything that we do with frames on their way through a bridge.
pub(super) const TABLE: Table<'static> = Table { family: Family::Bridge, name: "jackfield" };

// The number in the names is that of the layout: whoever changes what an element means, or what the rule does, counts on,
// and removes the earlier layouts' elements too.

/// The chain that the kernel calls.
pub(super) const CHAIN: &str = "spoof1";
/// The host ends whose frames are looked at.
pub(super) const GUARDED: &str = "spoof1_guarded";
/// The addresses from which they may come.
pub(super) const ALLOWED: &str = "spoof1_allowed";

/// Before everybody else on a bridge, who begin at -300 (`NF_BR_PRI_NAT_DST_BRIDGED`, `dstnat` in `nft`): nobody counts,
/// marks or redirects a frame that should not be.
const PRIORITY: i32 = -310;

/// The chain that the kernel calls.
pub(super) fn chain() -> Chain {
    let (kind, hook) = (Kind::Filter, Hook::Prerouting);
    let base = Base { kind, hook, priority: PRIORITY, policy: Policy::Accept };
    Chain { name: CHAIN.into(), base: Some(base), comment: None }
}

/// Its rules.
pub(super) fn rules() -> [Rule; 1] {
    let mut expressions = Vec::from(phrase::link_name_in(Meta::InputName, GUARDED));
    expressions.extend(phrase::link_and_ether_source_not_in(ALLOWED));
    expressions.extend([Expression::Counter, Expression::Decide(Verdict::Drop)]);
    [Rule { expressions, comment: None }]
}

/// What it looks into.
pub(super) fn sets() -> [Set; 2] {
    let set = |name: &str, key, comment: &str| Set {
        name: name.into(),
        key,
        target: SetTarget::Nothing,
        comment: Some(comment.into()),
    };
    [
        set(GUARDED, vec![Type::IfName], "host ends that pass frames from allowed addresses alone"),
        set(ALLOWED, vec![Type::IfName, Type::Ether], "host ends, each with its container's address"),
    ]
}

/// The element that says that an attachment's host end is guarded.
pub(super) fn guarded(attachment: &Attachment, host_end: &IfName) -> Element {
    element(guarded_key(host_end), attachment)
}

/// The element that allows it an address.
pub(super) fn allowed(attachment: &Attachment, host_end: &IfName, mac: Mac) -> Element {
    element(allowed_key(host_end, mac), attachment)
}

fn element(key: Vec<u8>, attachment: &Attachment) -> Element {
    let comment = Some(Mark::of(attachment).alias(attachment));
    Element { key, target: Target::Nothing, comment }
}

pub(super) fn guarded_key(host_end: &IfName) -> Vec<u8> {
    Part::IfName(host_end.as_str()).bytes()
}

pub(super) fn allowed_key(host_end: &IfName, mac: Mac) -> Vec<u8> {
    concatenated(&[Part::IfName(host_end.as_str()), Part::Ether(mac)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0x5e, 0x10, 0, 1]);

    fn host_end() -> IfName {
        "veth0123456789a".parse().unwrap()
    }

    #[test]
    fn a_key_is_laid_out_as_the_rule_loads_its_registers() {
        let key = allowed_key(&host_end(), MAC);
        assert_eq!(key, b"veth0123456789a\0\x02\x00\x5e\x10\x00\x01\0\0");
        assert_eq!(key[..16], guarded_key(&host_end()));
    }

    #[test]
    fn an_element_names_its_owner() {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        let attachment = Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        };
        for element in [guarded(&attachment, &host_end()), allowed(&attachment, &host_end(), MAC)] {
            assert!(crate::attachment::ruleset::is_of(&element, &attachment.owner()));
        }
    }
}
