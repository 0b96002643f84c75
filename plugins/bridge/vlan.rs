//! VLANs: which ones a network is in, as written and as meant, and the membership of a container's port.
//!
//! - [`gateway`]: the host's own link in a VLAN, shared by all containers there.

pub mod gateway;

use std::collections::BTreeSet;

use cni::error::{Error, OrFail, Result};
use cni::name::IfName;
use linux::link::Link;
use linux::rtnl::{Request, Rtnl};
use linux::vlan::{self, Member, VlanId, Vlans};
use serde::Deserialize;

/// An item of `vlanTrunk` as written: one VLAN, or a row of them, or both.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Item {
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
    id: Option<i64>,
}

/// What VLANs are to a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tagging {
    /// Nothing: its bridge may tell them apart or not.
    None,
    /// The bridge tells them apart, and the port is wherever the bridge puts every port.
    Usual,
    /// The bridge tells them apart, and the port is in these.
    Member(Membership),
}

/// The VLANs of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The one whose frames carry no tag on the container's side.
    native: VlanId,
    /// Those whose frames carry one; never the native one.
    trunk: BTreeSet<VlanId>,
    /// The port stays in the VLAN that the bridge puts every port into.
    keeps_default: bool,
    /// The host's link in the native VLAN, where the network has its gateway there; else the gateway is the bridge.
    gateway: Option<IfName>,
}

impl Tagging {
    /// What `vlan`, `vlanTrunk` and `preserveDefaultVlan` mean; `gateway` is the bridge, if it is to be one.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] with key and value.
    pub fn meant(
        vlan: i64,
        trunk: Option<&[Option<Item>]>,
        keeps_default: bool,
        gateway: Option<&IfName>,
    ) -> Result<Tagging> {
        let access = (vlan != 0)
            .then(|| {
                let text = format!("invalid VLAN ID {vlan} (must be between 0 and 4094)");
                id(vlan).ok_or_else(|| Error::config(text).details(format!("vlan: {vlan}")))
            })
            .transpose()?;
        let mut members = trunk_members(trunk.unwrap_or_default())?;
        let Some(native) = access.or((!members.is_empty()).then_some(VlanId::USUAL)) else {
            return Ok(if trunk.is_some() { Tagging::Usual } else { Tagging::None });
        };
        // A frame either has a tag or has none: where one is native, a trunk of 1 to 4094 means the others.
        members.remove(&native);
        let gateway = access.and(gateway).map(|bridge| gateway::name(bridge, native)).transpose()?;
        Ok(Tagging::Member(Membership { native, trunk: members, keeps_default, gateway }))
    }

    /// The port's VLANs, where they are the network's business.
    pub fn membership(&self) -> Option<&Membership> {
        match self {
            Tagging::Member(membership) => Some(membership),
            Tagging::None | Tagging::Usual => None,
        }
    }

    /// The bridge has to tell VLANs apart.
    pub fn filters(&self) -> bool {
        *self != Tagging::None
    }

    /// Makes sure, before anything is touched, that the kernel can do it: a bridge that is there tells.
    ///
    /// # Errors
    /// It cannot: a container that hears other VLANs would be worse than none.
    pub fn refuse_kernel_without(&self, bridge: Option<&Link>) -> Result<()> {
        let can = match bridge {
            _ if !self.filters() => true,
            Some(bridge) => bridge.filtering.is_some(),
            None => vlan::is_known_to_kernel().doing(|| "ask the kernel for a bridge with VLANs".into())?,
        };
        match can {
            true => Ok(()),
            false => {
                Err(Error::internal("this kernel's bridges cannot tell VLANs apart: operation not supported")
                    .details("vlan and vlanTrunk need a kernel with CONFIG_BRIDGE_VLAN_FILTERING"))
            }
        }
    }

    /// Makes sure that a bridge tells VLANs apart, whoever made it. What its other ports send without a tag is in its
    /// default VLAN, as it was.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ensure_filtering(&self, host: &Rtnl, bridge: &Link) -> Result<()> {
        if !self.filters() || is_filtering(bridge) {
            return Ok(());
        }
        let on = Request::set_vlan_filtering(bridge.index, true);
        host.send(on).doing(|| format!("failed to make bridge {:?} tell VLANs apart", bridge.name))
    }

    /// CHECK of a container's port.
    ///
    /// # Errors
    /// The bridge does not tell VLANs apart any more, or the port is in others.
    pub fn check(&self, host: &Rtnl, bridge: &Link, port: &Link) -> Result<()> {
        let (on, name) = (&bridge.name, &port.name);
        if self.filters() && !is_filtering(bridge) {
            let text = format!("bridge {on} does not tell VLANs apart: vlan_filtering is off");
            return Err(Error::internal(text));
        }
        let Some(membership) = self.membership() else { return Ok(()) };
        let present = host.vlans_of(port.index).doing(|| format!("list the VLANs of port {name}"))?;
        let wanted = membership.vlans_on(bridge);
        match present == wanted {
            true => Ok(()),
            false => Err(Error::internal(format!("port {name}: VLANs are {present}, not {wanted}"))),
        }
    }
}

impl Membership {
    /// Puts a new port into its VLANs. No frame passes a port whose other end is down, so none finds it in a wrong one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn join(&self, host: &Rtnl, bridge: &Link, port: u32, name: &str) -> Result<()> {
        let leave = default_of(bridge).filter(|_| !self.keeps_default).map(|default| {
            let doing = format!("failed to remove default vlan on interface {name:?}");
            Request::delete_vlans(Member::Port(port), [default]).in_order_to(doing)
        });
        let doing = format!("failed to setup vlan tag on interface {name:?}");
        let join = Request::add_vlans(Member::Port(port), &self.vlans()).in_order_to(doing);
        host.all(leave.into_iter().chain([join])).doing(|| format!("put {name} into its VLANs"))
    }

    fn vlans(&self) -> Vlans {
        let untagged = BTreeSet::from([self.native]);
        Vlans { pvid: Some(self.native), untagged, tagged: self.trunk.clone() }
    }

    /// With the default VLAN of this bridge, if it is kept.
    fn vlans_on(&self, bridge: &Link) -> Vlans {
        let mut vlans = self.vlans();
        let default = default_of(bridge).filter(|_| self.keeps_default);
        vlans.untagged.extend(default.filter(|default| !self.trunk.contains(default)));
        vlans
    }
}

fn is_filtering(bridge: &Link) -> bool {
    bridge.filtering.is_some_and(|filtering| filtering.on)
}

fn default_of(bridge: &Link) -> Option<VlanId> {
    bridge.filtering.and_then(|filtering| filtering.default_pvid)
}

fn id(number: i64) -> Option<VlanId> {
    u16::try_from(number).ok().and_then(VlanId::new)
}

fn trunk_members(items: &[Option<Item>]) -> Result<BTreeSet<VlanId>> {
    let mut members = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let wrong = |text: &str, key: &str, value: &str| {
            Error::config(text).details(format!("vlanTrunk[{at}]{key}: {value}"))
        };
        let Some(Item { min, max, id: single }) = *item else {
            return Err(wrong("incorrect trunk parameter", "", "null"));
        };
        let known = |key: &str, number: i64| {
            let parameter = key.trim_start_matches('.');
            let text = format!("incorrect trunk {parameter} parameter");
            id(number).ok_or_else(|| wrong(&text, key, &number.to_string()))
        };
        let half = |missing: &str, key, number: i64| {
            let both = "minID and maxID should be configured simultaneously";
            Err(wrong(&format!("{both}, {missing} is missing"), key, &number.to_string()))
        };
        match (min, max) {
            (None, None) => {}
            (None, Some(max)) => return half("minID", ".maxID", max),
            (Some(min), None) => return half("maxID", ".minID", min),
            (Some(min), Some(max)) => {
                let (first, last) = (known(".minID", min)?, known(".maxID", max)?);
                if first > last {
                    let span = format!("{min}, maxID: {max}");
                    return Err(wrong("minID is greater than maxID in trunk parameter", ".minID", &span));
                }
                members.extend((first.number()..=last.number()).filter_map(VlanId::new));
            }
        }
        members.extend(single.map(|single| known(".id", single)).transpose()?);
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use cni::error::Code;

    use super::*;

    fn item(min: Option<i64>, max: Option<i64>, id: Option<i64>) -> Option<Item> {
        Some(Item { min, max, id })
    }

    fn meant(vlan: i64, trunk: Option<&[Option<Item>]>) -> Result<Tagging> {
        Tagging::meant(vlan, trunk, false, None)
    }

    fn vlans(vlan: i64, trunk: &[Option<Item>]) -> String {
        meant(vlan, Some(trunk)).unwrap().membership().unwrap().vlans().to_string()
    }

    #[test]
    fn without_a_vlan_there_is_no_tagging_and_an_empty_trunk_is_the_bridges_business() {
        assert_eq!(meant(0, None).unwrap(), Tagging::None);
        assert_eq!(meant(0, Some(&[])).unwrap(), Tagging::Usual);
        assert_eq!(meant(0, Some(&[item(None, None, None)])).unwrap(), Tagging::Usual);
        assert!(!Tagging::None.filters() && Tagging::Usual.filters());
    }

    #[test]
    fn the_native_vlan_is_vlan_and_that_of_a_trunk_alone_is_1() {
        let trunk = [item(Some(200), Some(202), Some(300)), item(None, None, Some(201))];
        assert_eq!(vlans(100, &[]), "100 untagged (pvid 100)");
        assert_eq!(vlans(100, &trunk), "100 untagged (pvid 100), 200-202,300 tagged");
        assert_eq!(vlans(0, &trunk), "1 untagged (pvid 1), 200-202,300 tagged");
        assert_eq!(vlans(4094, &[]), "4094 untagged (pvid 4094)");
    }

    #[test]
    fn a_trunk_that_names_the_native_vlan_means_the_others() {
        let all = [item(Some(1), Some(4094), None)];
        assert_eq!(vlans(100, &all), "100 untagged (pvid 100), 1-99,101-4094 tagged");
        assert_eq!(vlans(0, &all), "1 untagged (pvid 1), 2-4094 tagged");
    }

    #[test]
    fn nonsense_is_refused_with_key_and_value() {
        let span = |min, max| item(Some(min), Some(max), None);
        let id = |id| item(None, None, Some(id));
        for (vlan, trunk, text, named) in [
            (-1, None, "invalid VLAN ID -1 (must be between 0 and 4094)", "vlan: -1"),
            (4095, None, "invalid VLAN ID 4095 (must be between 0 and 4094)", "vlan: 4095"),
            (1 << 40, None, "invalid VLAN ID 1099511627776", "vlan: 1099511627776"),
            (0, Some(span(0, 5)), "incorrect trunk minID parameter", "vlanTrunk[0].minID: 0"),
            (0, Some(span(1, 4095)), "incorrect trunk maxID parameter", "vlanTrunk[0].maxID: 4095"),
            (0, Some(span(9, 5)), "minID is greater than maxID in trunk parameter", "minID: 9, maxID: 5"),
            (0, Some(item(None, Some(5), None)), "simultaneously, minID is missing", "vlanTrunk[0].maxID: 5"),
            (0, Some(item(Some(5), None, None)), "simultaneously, maxID is missing", "vlanTrunk[0].minID: 5"),
            (0, Some(id(0)), "incorrect trunk id parameter", "vlanTrunk[0].id: 0"),
            (100, Some(id(5000)), "incorrect trunk id parameter", "vlanTrunk[0].id: 5000"),
            (0, Some(None), "incorrect trunk parameter", "vlanTrunk[0]: null"),
        ] {
            let trunk = trunk.map(|item| [item]);
            let error = meant(vlan, trunk.as_ref().map(<[_; 1]>::as_slice)).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG, "{text}");
            assert!(error.msg().contains(text), "{} is not {text}", error.msg());
            assert!(error.more().unwrap().contains(named), "{:?} is not {named}", error.more());
        }
    }

    #[test]
    fn a_gateway_in_a_vlan_has_a_link_of_its_own_if_its_name_fits() {
        let gateway = |vlan, bridge: &str| {
            let bridge = bridge.parse().unwrap();
            let trunk = [item(None, None, Some(7))];
            let tagging = Tagging::meant(vlan, Some(&trunk), false, Some(&bridge))?;
            Ok::<_, Error>(tagging.membership().unwrap().gateway.as_ref().map(ToString::to_string))
        };
        assert_eq!(gateway(100, "br0").unwrap().as_deref(), Some("br0.100"));
        assert_eq!(gateway(0, "br0").unwrap(), None, "the gateway of a trunk alone is the bridge");
        let error = gateway(1000, "a-long-name").unwrap_err();
        assert_eq!(error.code(), Code::CONFIG);
        assert!(error.msg().contains("a-long-name.1000"), "{}", error.msg());
    }
}
