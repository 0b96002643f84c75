//! What the kernel makes a DEL wait for though it is done: links and rules are gone from everybody's view, but not yet from
//! every processor's memory. A child process sits through that, unless somebody wants to wait ([`Call::waits_for_the_kernel`]).

use std::os::fd::AsRawFd;

use cni::call::Call;
use linux::errand::{self, Removal};
use linux::error::Result;
use linux::rtnl::Rtnl;

/// The waits of one DEL. At its end the conversations are closed, here or by a child process.
pub struct Waits {
    are_left: bool,
    /// Those in which something was deleted: whoever closes one is made to wait.
    conversations: Vec<Box<dyn AsRawFd>>,
}

impl Waits {
    /// Nothing to wait for yet.
    pub fn of(call: &Call) -> Waits {
        Waits { are_left: !call.waits_for_the_kernel(), conversations: Vec::new() }
    }

    /// Of somebody who waits himself: nothing is left to a child process.
    pub fn here() -> Waits {
        Waits { are_left: false, conversations: Vec::new() }
    }

    /// Closes a conversation later: beside the removal of a link, or at the end. The kernel then waits for the packets on
    /// their way once, not twice.
    pub fn keep(&mut self, conversation: impl AsRawFd + 'static) {
        self.conversations.push(Box::new(conversation));
    }

    /// Deletes a link; returns when it is gone from everybody's view.
    ///
    /// # Errors
    /// As [`Rtnl::delete_link`].
    pub fn delete_link(&mut self, host: &Rtnl, link: u32) -> Result<()> {
        if let Some(removal) = self.are_left.then(|| Removal::begin(link, &self.open())).and_then(Result::ok)
        {
            removal.end(host)?;
            // The child holds them, too.
            self.conversations.clear();
            return Ok(());
        }
        host.delete_link(link)
    }

    fn open(&self) -> Vec<&dyn AsRawFd> {
        self.conversations.iter().map(AsRef::as_ref).collect()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.are_left && !self.conversations.is_empty() {
            // Where there can be no child, we wait.
            let _ = errand::close_later(&self.open());
        }
    }
}
