//! Waits of the kernel, left to a child process.
//!
//! Whoever deletes a link, or closes the conversation in which rules were deleted, is held until every processor has
//! forgotten them: 10 to 20 ms, long after they have vanished from everybody's view and their names are free again. Nothing
//! depends on that wait, so a child can sit through it: it is forked for this alone, closes every descriptor that it does not
//! need, and ends by itself.
//!
//! ```text
//!   parent                               child
//!   fork ──────────────────────────────► send RTM_DELLINK ─┐
//!   poll: RTM_DELLINK of that link       (in the kernel)   │ 15-20 ms
//!   the link is gone: answers, ends      ◄─────────────────┘
//!                                        the parent has ended: close the conversations (10 ms), end
//! ```
//!
//! An error of the kernel has no notification: it arrives as the answer to the child's message, in the socket that both
//! share. A child that dies early is seen by the line between them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};

use self::child::Task;
use crate::error::{Doing, Error, Result};
use crate::heard::{HEADER, Heard, messages};
use crate::rtnl::Rtnl;

mod child;

/// How long the kernel may take, as in [`Rtnl`].
const PATIENCE: Duration = Duration::from_secs(60);

const RTM_DELLINK: u16 = 17;
/// `RTMGRP_LINK`
const LINKS: u32 = 1;
/// The length of a `struct ifinfomsg`.
const ABOUT: usize = 16;
/// Larger than any datagram about a link.
const DATAGRAM: usize = 32 * 1024;

/// Has a child process keep these conversations open until this process has ended, so that it is the child who waits when
/// they are closed at last.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`, `EMFILE`: there can be no child. Nothing has happened then.
pub fn close_later(conversations: &[&dyn AsRawFd]) -> Result<()> {
    let doing = || "leave a wait to a child process";
    let (ours, theirs) = line().doing(doing)?;
    let kept = sorted(conversations, [theirs.as_raw_fd()]);
    child::start(&Task { kept: &kept, order: None, line: theirs.as_fd() }).doing(doing)?;
    drop(theirs);
    // Not before the child has let go of everything else, locks above all, is anything answered. If it is killed instead, that
    // ends this as well.
    while nix::unistd::read(&ours, &mut [0]) == Err(Errno::EINTR) {}
    // It is closed by the end of this process.
    let _ = ours.into_raw_fd();
    Ok(())
}

/// The removal of a link, under way in a child process.
pub struct Removal {
    link: u32,
    socket: Socket,
    line: OwnedFd,
}

impl Removal {
    /// Begins to delete a link of the namespace that the calling thread is in. The child keeps these conversations open, as
    /// [`close_later`] has it.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`, `EMFILE`: there can be no child. Nothing has happened then.
    pub fn begin(link: u32, conversations: &[&dyn AsRawFd]) -> Result<Removal> {
        let doing = || format!("delete link {link}");
        let socket = watch().doing(doing)?;
        let (ours, theirs) = line().doing(doing)?;
        let kept = sorted(conversations, [socket.as_raw_fd(), theirs.as_raw_fd()]);
        let message = order(link);
        let order = Some((socket.as_fd(), message.as_slice()));
        child::start(&Task { kept: &kept, order, line: theirs.as_fd() }).doing(doing)?;
        Ok(Removal { link, socket, line: ours })
    }

    /// Waits until the link is gone from everybody's view; its name may be used again then. `host` is a conversation about
    /// the same namespace.
    ///
    /// # Errors
    /// As [`Rtnl::delete_link`]; and the child has died before it was heard.
    pub fn end(self, host: &Rtnl) -> Result<()> {
        let doing = || format!("delete link {}", self.link);
        let until = Instant::now() + PATIENCE;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            let has_ended = self.wait(until).doing(doing)?;
            // What it has to say is read first: the child ends right after it.
            if let Some(verdict) = self.read(&mut datagram, host) {
                // It is closed by the end of this process.
                let _ = self.line.into_raw_fd();
                return verdict;
            }
            if has_ended {
                return match host.link_by_index(self.link)? {
                    None => Ok(()),
                    Some(_) => Err(Error::plain(doing(), "the child process that does it was killed")),
                };
            }
        }
    }

    /// Waits for a word of the kernel or for the end of the child, and says whether that has come.
    fn wait(&self, until: Instant) -> nix::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        let mut ready = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => Err(Errno::ETIMEDOUT),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
            Ok(_) => Ok(ready.last().and_then(PollFd::any).unwrap_or(false)),
        }
    }

    /// Reads what the kernel has said; `None` if the end is not among it.
    fn read(&self, datagram: &mut Vec<u8>, host: &Rtnl) -> Option<Result<()>> {
        loop {
            datagram.clear();
            match self.socket.recv(datagram, MsgFlags::MSG_DONTWAIT.bits()) {
                Ok(_) => {
                    if let Some(verdict) = messages(datagram).find_map(|heard| self.judge(&heard)) {
                        return Some(verdict);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // More was said than the socket could hold: so the kernel is asked.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    match host.link_by_index(self.link) {
                        Ok(Some(_)) => {}
                        Ok(None) => return Some(Ok(())),
                        Err(error) => return Some(Err(error)),
                    }
                }
                Err(error) => return Some(Err(error).doing(|| format!("delete link {}", self.link))),
            }
        }
    }

    /// Whether this tells that the link is gone, or that it will not go.
    fn judge(&self, heard: &Heard<'_>) -> Option<Result<()>> {
        let is_answer = heard.kind == NLMSG_ERROR && heard.sequence == SEQUENCE;
        if is_answer {
            return Some(match heard.errno() {
                None | Some(Errno::ENODEV) => Ok(()),
                Some(errno) => Err(heard.refusal(errno, &format!("delete link {}", self.link))),
            });
        }
        // A bridge speaks of its ports in a family of its own, also when one only leaves it.
        let (&[family, ..], about) = (heard.body.first_chunk::<8>()?, heard.body.get(4..8)?);
        let index = about.first_chunk().map(|index| u32::from_ne_bytes(*index));
        (heard.kind == RTM_DELLINK && family == 0 && index == Some(self.link)).then_some(Ok(()))
    }
}

/// The number of the only message that is ever sent.
const SEQUENCE: u32 = 1;

/// RTM_DELLINK, by number.
fn order(link: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + ABOUT);
    bytes.extend(u32::try_from(HEADER + ABOUT).unwrap_or_default().to_ne_bytes());
    bytes.extend(RTM_DELLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend([0; 8]); // whom it is from, and family and type of the link
    bytes.extend(link.to_ne_bytes());
    bytes.resize(HEADER + ABOUT, 0);
    bytes
}

/// A socket that hears of links.
fn watch() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.bind(&SocketAddr::new(0, LINKS))?;
    Ok(socket)
}

/// A line: each side sees when the other one has closed its end.
fn line() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
}

fn sorted<const N: usize>(conversations: &[&dyn AsRawFd], more: [RawFd; N]) -> Vec<RawFd> {
    let mut kept: Vec<RawFd> = conversations.iter().map(|it| it.as_raw_fd()).chain(more).collect();
    kept.sort_unstable();
    kept
}
