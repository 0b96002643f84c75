//! Namespace ids: the numbers under which one namespace knows others (`RTM_NEWNSID`, `RTM_GETNSID`, rtnetlink(7),
//! `net/core/net_namespace.c`). A number goes with the namespace that it stands for; nobody can take it away before.

use std::os::fd::{AsFd, AsRawFd};

use crate::rtnl::message::RtnlMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use crate::error::{Error, Result};
use crate::netns::NetNs;
use crate::rtnl::{Request, Rtnl};

/// A namespace that another one has a number for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The number under which it is known there; none if it has not been given one.
    pub id: Option<u32>,
    /// If "there" is not here: the number under which it is known here, if it has been given one.
    pub here: Option<Option<u32>>,
}

/// What the kernel takes for "none", and for "whichever is free" (`NETNSA_NSID_NOT_ASSIGNED`).
const NOT_ASSIGNED: i32 = -1;

impl Rtnl {
    /// The number under which this namespace knows the other one; none if it has not been given one.
    /// Asking gives none either.
    ///
    /// # Errors
    /// `EINVAL` if what was opened is no network namespace.
    pub fn nsid_of(&self, other: &NetNs) -> Result<Option<u32>> {
        let question = about([NsidAttribute::Fd(descriptor(other))]);
        let doing = || format!("ask for the id of namespace {}", other.path().display());
        let answer = self.look_up(RtnlMessage::GetNsId(question), doing)?;
        Ok(answer.and_then(|answer| known(&answer).id))
    }

    /// Gives the other namespace a number in this one, or the lowest that is free.
    ///
    /// # Errors
    /// `EEXIST` if it has a number already, or another namespace has this one; `EPERM` without `CAP_NET_ADMIN`; `EINVAL` if
    /// what was opened is no network namespace.
    pub fn assign_nsid(&self, other: &NetNs, id: Option<u32>) -> Result<()> {
        let wanted = id.map_or(NOT_ASSIGNED, u32::cast_signed);
        let wish = about([NsidAttribute::Fd(descriptor(other)), NsidAttribute::Id(wanted)]);
        let doing = format!("give namespace {} an id", other.path().display());
        self.send(Request::new(RtnlMessage::NewNsId(wish), 0, doing))
    }

    /// All the numbers that this namespace has for others, ascending; or those that the namespace has which is number
    /// `there` here.
    ///
    /// # Errors
    /// `EINVAL` if nobody is number `there`.
    pub fn nsids(&self, there: Option<u32>) -> Result<Vec<Known>> {
        let question = about(there.map(u32::cast_signed).map(NsidAttribute::TargetNsid));
        let answers = self.dump(RtnlMessage::GetNsId(question), "list the ids of namespaces")?;
        Ok(answers.iter().map(known).collect())
    }

    /// The number that the namespace which is number `there` has for the one which is number `id` here; without `there`,
    /// whether there is such a number here.
    ///
    /// # Errors
    /// `ENOENT` if nobody is number `id`, `EINVAL` if nobody is number `there`.
    pub fn nsid(&self, id: u32, there: Option<u32>) -> Result<Known> {
        let there = there.map(u32::cast_signed).map(NsidAttribute::TargetNsid);
        let question = about([NsidAttribute::Id(id.cast_signed())].into_iter().chain(there));
        let doing = format!("ask for namespace {id}");
        let answer = self.send_for_echo(Request::new(RtnlMessage::GetNsId(question), 0, doing.as_str()))?;
        answer.as_ref().map(known).ok_or_else(|| Error::plain(doing, "the kernel did not answer"))
    }
}

fn about(attributes: impl IntoIterator<Item = NsidAttribute>) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes.extend(attributes);
    message
}

/// Descriptors are small and never negative: an i32 by the C interface alone.
fn descriptor(of: &NetNs) -> u32 {
    of.as_fd().as_raw_fd().cast_unsigned()
}

pub(crate) fn known(answer: &RtnlMessage) -> Known {
    let mut known = Known { id: None, here: None };
    if let RtnlMessage::NewNsId(told) = answer {
        for attribute in &told.attributes {
            match attribute {
                NsidAttribute::Id(id) => known.id = u32::try_from(*id).ok(),
                NsidAttribute::CurrentNsid(id) => known.here = Some(u32::try_from(*id).ok()),
                _ => {}
            }
        }
    }
    known
}
