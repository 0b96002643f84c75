//! The socket below rtnetlink, and how its bytes become messages.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use netlink_packet_core::{NetlinkBuffer, NetlinkDeserializable, NetlinkMessage, NetlinkSerializable};
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use rtnetlink::proto::{NetlinkCodec, NetlinkMessageCodec};
use tokio::io::unix::AsyncFd;

use crate::insist::insist;

/// A netlink socket that tries before it waits.
///
/// The kernel answers a route request before `send` returns, so the answer can nearly always be fetched at
/// once. tokio's reactor, with its epoll and event descriptors, is asked only where there is really something
/// to wait for, and only inside its runtime; outside, "not yet" is the whole answer.
pub(super) struct Wire {
    socket: Socket,
    /// A second descriptor of the same socket, known to tokio's reactor and used for nothing else.
    reactor: OnceLock<AsyncFd<OwnedFd>>,
    /// The number of the last failure: the connection above keeps only the fact.
    failure: AtomicI32,
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Wire {
        Wire { socket, reactor: OnceLock::new(), failure: AtomicI32::new(0) }
    }

    /// Why the socket stopped working; none if it is not the kernel that said so.
    pub(super) fn failure(&self) -> Option<Errno> {
        match self.failure.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Errno::from_raw(number)),
        }
    }

    /// Polls the reactor for what `try_it` needs, and tries again each time it may have come.
    fn poll_again<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut try_it: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let reactor = self.reactor()?;
        loop {
            let mut readiness = match direction {
                Direction::In => ready!(reactor.poll_read_ready(cx))?,
                Direction::Out => ready!(reactor.poll_write_ready(cx))?,
            };
            if let Ok(done) = readiness.try_io(|_| try_it()) {
                return Poll::Ready(done);
            }
        }
    }

    #[expect(
        deprecated,
        reason = "its successor has the caller vouch for the descriptor; this one is owned, and never touched"
    )]
    fn reactor(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(reactor) = self.reactor.get() {
            return Ok(reactor);
        }
        let registered = AsyncFd::new(self.socket.as_fd().try_clone_to_owned()?)?;
        Ok(self.reactor.get_or_init(|| registered))
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut try_it: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let done = match insist(&mut try_it) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_again(cx, direction, try_it)),
            done => done,
        };
        if let Err(e) = &done {
            self.failure.store(e.raw_os_error().unwrap_or(0), Ordering::Relaxed);
        }
        Poll::Ready(done)
    }
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// Try, do not sleep: this spares the calls that would make the whole socket non-blocking.
const AT_ONCE: i32 = MsgFlags::MSG_DONTWAIT.bits();

impl AsyncSocket for Wire {
    fn socket_ref(&self) -> &Socket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn new(protocol: isize) -> io::Result<Wire> {
        Socket::new(protocol).map(Wire::new)
    }

    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Out, || self.socket.send(buf, AT_ONCE))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], to: &SocketAddr) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Out, || self.socket.send_to(buf, to, AT_ONCE))
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<()>> {
        self.poll(cx, Direction::In, || self.socket.recv(buf, AT_ONCE).map(|_| ()))
    }

    fn poll_recv_from<B: BufMut>(&self, cx: &mut Context<'_>, buf: &mut B) -> Poll<io::Result<SocketAddr>> {
        self.poll(cx, Direction::In, || self.socket.recv_from(buf, AT_ONCE).map(|(_, from)| from))
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        // The connection reads with poll_recv_from into a buffer larger than any netlink message (32 KiB);
        // this way in exists for other users of the trait.
        let mut whole = Vec::with_capacity(MAX_DATAGRAM);
        self.poll_recv_from(cx, &mut whole).map_ok(|from| (whole, from))
    }
}

/// Larger than any datagram the kernel makes (`NLMSG_GOODSIZE` and the 32 KiB of a dump).
const MAX_DATAGRAM: usize = 64 * 1024;

/// rtnetlink's own codec drops a message that it cannot read, with a line in a log: a look-up would then wait
/// for an answer that had come, and a dump would be one link short. Here that is a failure.
pub(super) struct Codec;

impl NetlinkMessageCodec for Codec {
    fn decode<T>(src: &mut BytesMut) -> io::Result<Option<NetlinkMessage<T>>>
    where
        T: NetlinkDeserializable + std::fmt::Debug,
    {
        if src.is_empty() {
            return Ok(None);
        }
        let length = NetlinkBuffer::new_checked(src.as_ref()).map_err(io::Error::other)?.length();
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(src.len());
        let message = src.split_to(length);
        NetlinkMessage::deserialize(&message).map(Some).map_err(io::Error::other)
    }

    fn encode<T>(message: NetlinkMessage<T>, buf: &mut BytesMut) -> io::Result<()>
    where
        T: NetlinkSerializable + std::fmt::Debug,
    {
        NetlinkCodec::encode(message, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtnl::message::RtnlMessage;

    fn decode(bytes: &[u8]) -> io::Result<Option<NetlinkMessage<RtnlMessage>>> {
        Codec::decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn an_unreadable_message_is_an_error_and_not_silence() {
        assert!(decode(&[]).unwrap().is_none());
        assert!(decode(&[16, 0]).is_err(), "a cut header");
        assert!(decode(&[0; 16]).is_err(), "a message shorter than its own header");
        let lying = [&200u32.to_ne_bytes()[..], &[0; 12]].concat();
        assert!(decode(&lying).is_err(), "longer than the datagram");
        let no_link = [&20u32.to_ne_bytes()[..], &16u16.to_ne_bytes(), &[0; 14]].concat();
        assert!(decode(&no_link).is_err(), "RTM_NEWLINK without a link");
    }
}
