//! VLANs of bridges: whether a bridge tells them apart, which ones a port is a member of, and which of its frames carry a
//! tag.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeFlag, BridgeVlanInfo, BridgeVlanInfoFlags as Flags, InfoBridge, InfoData, InfoKind,
    LinkAttribute, LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use crate::bridge::BridgeSpec;
use crate::error::Result;
use crate::link;
use crate::mac::Mac;
use crate::netns::NetNs;
use crate::rtnl::message::RtnlMessage;
use crate::rtnl::{Request, Rtnl};

pub(crate) use wire::{Question, read};

/// The number of a VLAN, 1 to 4094 (IEEE 802.1Q; 0 stands for "none" in a tag, 4095 is reserved).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN that bridges put their ports into unless they are told otherwise.
    pub const USUAL: VlanId = VlanId(1);

    /// The VLAN with this number, if there can be one.
    pub fn new(number: u16) -> Option<VlanId> {
        (1..=4094).contains(&number).then_some(VlanId(number))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The VLANs that a port is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    /// The one that a frame belongs to which comes in without a tag (PVID). Without it such a frame is dropped.
    pub pvid: Option<VlanId>,
    /// Those whose frames leave without a tag.
    pub untagged: BTreeSet<VlanId>,
    /// Those whose frames leave with their tag.
    pub tagged: BTreeSet<VlanId>,
}

/// `100 untagged (pvid 100), 200-299,300 tagged`
impl fmt::Display for Vlans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |ids: &BTreeSet<VlanId>| {
            let span = |(first, last): (VlanId, VlanId)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            spans(ids.iter().copied()).into_iter().map(span).collect::<Vec<_>>().join(",")
        };
        let pvid = self.pvid.map_or("without pvid".into(), |pvid| format!("pvid {pvid}"));
        match (self.untagged.is_empty(), self.tagged.is_empty()) {
            (true, true) => f.write_str("none"),
            (true, false) => write!(f, "{} tagged ({pvid})", listed(&self.tagged)),
            (false, true) => write!(f, "{} untagged ({pvid})", listed(&self.untagged)),
            (false, false) => {
                write!(f, "{} untagged ({pvid}), {} tagged", listed(&self.untagged), listed(&self.tagged))
            }
        }
    }
}

/// How a bridge treats VLANs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtering {
    /// It tells them apart.
    pub on: bool,
    /// The VLAN that a new port is made a member of, untagged.
    pub default_pvid: Option<VlanId>,
}

/// Who is a member of VLANs, by the index of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A port of a bridge.
    Port(u32),
    /// A bridge's own link, which is to it like one more port: the way to the host.
    Bridge(u32),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Port(link) => write!(f, "port {link}"),
            Member::Bridge(link) => write!(f, "bridge {link}"),
        }
    }
}

impl Request {
    /// Makes a bridge tell VLANs apart, or not.
    pub fn set_vlan_filtering(bridge: u32, on: bool) -> Request {
        let mut message = link::about(bridge);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)])),
        ]));
        let doing = format!("switch vlan filtering of bridge {bridge} {}", if on { "on" } else { "off" });
        Request::new(RtnlMessage::NewLink(message), 0, doing)
    }

    /// Makes somebody a member of VLANs, beside those that it is in. Where it is a member already, tag and PVID become as
    /// they are here.
    pub fn add_vlans(member: Member, vlans: &Vlans) -> Request {
        let tagged = entries(vlans.tagged.iter().copied(), Flags::empty());
        let untagged = entries(vlans.untagged.iter().copied(), Flags::Untagged);
        // A span cannot have a PVID, so it is told again, alone.
        let pvid = vlans.pvid.into_iter().flat_map(|pvid| {
            let leaves = if vlans.tagged.contains(&pvid) { Flags::empty() } else { Flags::Untagged };
            entries([pvid], leaves | Flags::Pvid)
        });
        let message = membership(member, tagged.into_iter().chain(untagged).chain(pvid));
        Request::new(RtnlMessage::SetLink(message), 0, format!("make {member} a member of vlans {vlans}"))
    }

    /// Takes somebody out of VLANs; those that it is not in, it is out of.
    pub fn delete_vlans(member: Member, ids: impl IntoIterator<Item = VlanId>) -> Request {
        let vlans = Vlans { tagged: ids.into_iter().collect(), ..Vlans::default() };
        let message = membership(member, entries(vlans.tagged.iter().copied(), Flags::empty()));
        Request::new(RtnlMessage::DelLink(message), 0, format!("take {member} out of vlans {vlans}"))
    }
}

impl Rtnl {
    /// The VLANs that a port of a bridge is a member of, or a bridge's own link. The kernel lists those of this link alone.
    ///
    /// # Errors
    /// `ENODEV` without the link, `EINVAL` if it is neither port nor bridge, `EOPNOTSUPP` where bridges have no VLANs.
    pub fn vlans_of(&self, link: u32) -> Result<Vlans> {
        let mut found = self.list_vlans(link, &format!("list the vlans of link {link}"))?;
        Ok(found.remove(&link).unwrap_or_default())
    }

    /// The VLANs of every bridge and every port of one, by the index of its link.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where bridges have no VLANs.
    pub fn vlans(&self) -> Result<BTreeMap<u32, Vlans>> {
        self.list_vlans(0, "list all vlans")
    }

    /// Link 0 is any.
    fn list_vlans(&self, link: u32, doing: &str) -> Result<BTreeMap<u32, Vlans>> {
        let mut found: BTreeMap<u32, Vlans> = BTreeMap::new();
        for part in self.dump(RtnlMessage::GetVlans(Question(link)), doing)? {
            if let RtnlMessage::Vlans(link, part) = part {
                let all = found.entry(link).or_default();
                all.pvid = all.pvid.or(part.pvid);
                all.untagged.extend(part.untagged);
                all.tagged.extend(part.tagged);
            }
        }
        Ok(found)
    }
}

/// Whether this kernel's bridges can tell VLANs apart. Where there is no bridge to look at it makes one to find out, in a
/// namespace that nobody else sees and that goes away with it.
///
/// # Errors
/// What the kernel says besides that it cannot.
pub fn is_known_to_kernel() -> Result<bool> {
    let nowhere = NetNs::create()?.rtnl()?;
    let bridge = BridgeSpec { name: "probe", mac: Mac::random(), mtu: None, vlan_filtering: true };
    match nowhere.create_bridge(&bridge) {
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(false),
        made => made.map(|_| true),
    }
}

/// Numbers in ascending order, as first and last of each unbroken row.
fn spans(ids: impl IntoIterator<Item = VlanId>) -> Vec<(VlanId, VlanId)> {
    let mut spans: Vec<(VlanId, VlanId)> = Vec::new();
    for id in ids {
        match spans.last_mut() {
            Some((_, last)) if last.0.checked_add(1) == Some(id.0) => *last = id,
            _ => spans.push((id, id)),
        }
    }
    spans
}

fn entries(ids: impl IntoIterator<Item = VlanId>, flags: Flags) -> Vec<AfSpecBridge> {
    let entry = |id: VlanId, flags| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid: id.0 });
    let span = |(first, last)| match first == last {
        true => vec![entry(first, flags)],
        false => vec![entry(first, flags | Flags::RangeBegin), entry(last, flags | Flags::RangeEnd)],
    };
    spans(ids).into_iter().flat_map(span).collect()
}

fn membership(member: Member, entries: impl IntoIterator<Item = AfSpecBridge>) -> LinkMessage {
    let (index, whose) = match member {
        Member::Port(index) => (index, BridgeFlag::Controller),
        Member::Bridge(index) => (index, BridgeFlag::LowerDev),
    };
    let mut message = link::about(index);
    message.header.interface_family = AddressFamily::Bridge;
    let what = [AfSpecBridge::Flags(whose)].into_iter().chain(entries).collect();
    message.attributes.push(LinkAttribute::AfSpecBridge(what));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<VlanId> {
        numbers.into_iter().map(|number| VlanId::new(number).unwrap()).collect()
    }

    fn told(request: &Request) -> Vec<(u16, u16)> {
        let (RtnlMessage::SetLink(message) | RtnlMessage::DelLink(message)) = request.what() else {
            panic!("{request:?} is about no link")
        };
        assert_eq!(message.header.interface_family, AddressFamily::Bridge);
        let [LinkAttribute::AfSpecBridge(parts)] = message.attributes.as_slice() else {
            panic!("{message:?} is not about a bridge alone")
        };
        let entry = |part: &AfSpecBridge| match part {
            AfSpecBridge::VlanInfo(entry) => Some((entry.vid, entry.flags.bits())),
            _ => None,
        };
        parts.iter().filter_map(entry).collect()
    }

    #[test]
    fn only_numbers_that_fit_into_a_tag_are_vlans() {
        for number in [0, 4095, 4096, u16::MAX] {
            assert_eq!(VlanId::new(number), None, "{number}");
        }
        for number in [1, 2, 4094] {
            assert_eq!(VlanId::new(number).unwrap().number(), number);
        }
    }

    #[test]
    fn a_row_of_vlans_is_told_by_its_ends_and_the_pvid_alone() {
        let vlans = Vlans {
            pvid: VlanId::new(100),
            untagged: ids([100]),
            tagged: ids((200..=299).chain([301, 4094])),
        };
        // include/uapi/linux/if_bridge.h: 2 is PVID, 4 untagged, 8 and 16 the ends of a range.
        let expected = [(200, 8), (299, 16), (301, 0), (4094, 0), (100, 4), (100, 4 | 2)];
        assert_eq!(told(&Request::add_vlans(Member::Port(7), &vlans)), expected);
        assert_eq!(told(&Request::delete_vlans(Member::Port(7), ids([1, 2, 3]))), [(1, 8), (3, 16)]);
    }

    #[test]
    fn a_port_is_told_from_the_bridge_itself() {
        let flag = |member| {
            let request = Request::add_vlans(member, &Vlans::default());
            let RtnlMessage::SetLink(message) = request.what().clone() else { panic!("no link") };
            message.attributes
        };
        let expected = |flag| vec![LinkAttribute::AfSpecBridge(vec![AfSpecBridge::Flags(flag)])];
        assert_eq!(flag(Member::Port(7)), expected(BridgeFlag::Controller));
        assert_eq!(flag(Member::Bridge(7)), expected(BridgeFlag::LowerDev));
    }

    #[test]
    fn vlans_read_well() {
        let vlans = |pvid, untagged: &[u16], tagged: &[u16]| Vlans {
            pvid: VlanId::new(pvid),
            untagged: ids(untagged.iter().copied()),
            tagged: ids(tagged.iter().copied()),
        };
        assert_eq!(vlans(0, &[], &[]).to_string(), "none");
        assert_eq!(vlans(100, &[1, 100], &[]).to_string(), "1,100 untagged (pvid 100)");
        assert_eq!(vlans(0, &[], &[5, 6, 7, 9]).to_string(), "5-7,9 tagged (without pvid)");
        assert_eq!(vlans(1, &[1], &[5]).to_string(), "1 untagged (pvid 1), 5 tagged");
    }
}
