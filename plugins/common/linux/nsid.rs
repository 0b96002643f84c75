//! Namespace ids: the numbers under which one namespace knows others (`RTM_GETNSID`, rtnetlink(7),
//! `net/core/net_namespace.c`).

use std::os::fd::{AsFd, AsRawFd};

use crate::rtnl::message::RtnlMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use crate::error::Result;
use crate::netns::NetNs;
use crate::rtnl::Rtnl;

impl Rtnl {
    /// The number under which this namespace knows the other one; none if it has not been given one.
    /// Asking gives none either.
    ///
    /// # Errors
    /// `EINVAL` if what was opened is no network namespace.
    pub fn nsid_of(&self, other: &NetNs) -> Result<Option<u32>> {
        let mut question = NsidMessage::default();
        // Descriptors are small and never negative: an i32 by the C interface alone.
        question.attributes.push(NsidAttribute::Fd(other.as_fd().as_raw_fd().cast_unsigned()));
        let doing = || format!("ask for the id of namespace {}", other.path().display());
        let answer = self.look_up(RtnlMessage::GetNsId(question), doing)?;
        let Some(RtnlMessage::NewNsId(told)) = answer else { return Ok(None) };
        Ok(told.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => u32::try_from(*id).ok(), // NETNSA_NSID_NOT_ASSIGNED is -1
            _ => None,
        }))
    }
}
