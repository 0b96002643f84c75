//! The socket, and how messages go through it.
//!
//! The kernel carries out what it is sent before `send` returns, and has queued the answer by then; the later
//! parts of a dump are made while the earlier ones are read. So nothing here ever waits: an answer that is not
//! there will not come.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};

use crate::error::{Doing, Error, Result};
use crate::heard::{HEADER, Heard, messages};
use crate::insist::insist;
use crate::nft::attribute::{Attributes, Read};

/// A part of nfnetlink (`NFNL_SUBSYS_*`): the upper byte of every message's kind, and whom a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Part {
    /// Connections that are tracked.
    Conntrack = 1,
    /// nf_tables.
    Tables = 10,
}

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_BATCH_GENID`
const BATCH_GENERATION: u16 = 1;

/// The header that every netfilter message has after that of netlink (`struct nfgenmsg`).
const FAMILY_HEADER: usize = 4;

/// Larger than any datagram the kernel makes: dumps come in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// The kernel makes the pieces of a dump no longer than its reader has room for, but for this much (`NLMSG_GOODSIZE`).
const SMALL_DATAGRAM: usize = 8 * 1024;

/// A change or a question, not yet sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) family: u8,
    pub(crate) attributes: Attributes,
    pub(crate) doing: String,
}

impl Message {
    fn encode(&self, part: Part, flags: u16, sequence: u32, bytes: &mut Vec<u8>) {
        let kind = ((part as u16) << 8) | self.kind;
        put(
            bytes,
            kind,
            self.flags | flags | NLM_F_REQUEST,
            sequence,
            [self.family, 0, 0, 0],
            &self.attributes,
        );
    }
}

fn put(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: [u8; 4], attributes: &Attributes) {
    let length = HEADER + FAMILY_HEADER + attributes.as_slice().len();
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(family);
    bytes.extend_from_slice(attributes.as_slice());
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it is in force.
    Done,
    /// None of it is: somebody has changed the ruleset since the generation that it was made for.
    Overtaken,
}

/// Whoever is spoken to: the kernel at the other end of a socket.
pub(crate) trait Kernel {
    /// Sends a datagram, which is carried out by then.
    fn send(&self, bytes: &[u8]) -> io::Result<()>;

    /// Fetches the next datagram of an answer into `datagram`, which is empty. False if there is none.
    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<bool>;
}

/// The socket, the number of the next message, and room for an answer.
pub(crate) struct Line<K = Socket> {
    kernel: K,
    part: Part,
    sequence: u32,
    datagram: Vec<u8>,
    /// The number of a dump whose answer was not read to its end.
    unfinished: Option<u32>,
}

impl AsRawFd for Line {
    fn as_raw_fd(&self) -> RawFd {
        self.kernel.as_raw_fd()
    }
}

impl Line {
    pub(crate) fn open(part: Part) -> io::Result<Line> {
        Line::with_room(part, DATAGRAM)
    }

    /// A line on which dumps come in small pieces: for whoever wants to see the beginning of one.
    pub(crate) fn open_for_beginnings() -> io::Result<Line> {
        Line::with_room(Part::Tables, SMALL_DATAGRAM)
    }

    fn with_room(part: Part, room: usize) -> io::Result<Line> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.set_ext_ack(true)?;
        // A refusal need not repeat the message that it refuses.
        socket.set_cap_ack(true)?;
        Ok(Line::to(socket, part, room))
    }
}

impl<K: Kernel> Line<K> {
    /// A line to this one, with so much room for a datagram.
    pub(crate) fn to(kernel: K, part: Part, room: usize) -> Line<K> {
        Line { kernel, part, sequence: 1, datagram: Vec::with_capacity(room), unfinished: None }
    }

    /// Sends a batch, for this generation of the ruleset or for any.
    ///
    /// Only the last message asks for an acknowledgement: refusals come unasked, and a thousand
    /// acknowledgements would overflow the socket.
    pub(crate) fn commit(&mut self, batch: &[Message], generation: Option<u32>) -> Result<Outcome> {
        self.submit(batch, generation, true)
    }

    /// Sends a batch without its end. The kernel tries it, validates the ruleset that it would make, answers, and takes
    /// it back (`nfnetlink_rcv_batch`): so does `nft --check`.
    pub(crate) fn rehearse(&mut self, batch: &[Message]) -> Result<()> {
        self.submit(batch, None, false).map(|_| ())
    }

    fn submit(&mut self, batch: &[Message], generation: Option<u32>, in_earnest: bool) -> Result<Outcome> {
        const DOING: &str = "change the nftables ruleset";
        let begin = self.sequence;
        let mut bytes = Vec::new();
        let about = Attributes::new().with(generation, |all, number| all.number(BATCH_GENERATION, number));
        let [upper, lower] = (self.part as u16).to_be_bytes();
        put(&mut bytes, BATCH_BEGIN, NLM_F_REQUEST, begin, [0, 0, upper, lower], &about);
        let mut last = begin;
        for (position, message) in batch.iter().enumerate() {
            last = last.wrapping_add(1);
            let flags = if position + 1 == batch.len() { NLM_F_ACK } else { 0 };
            message.encode(self.part, flags, last, &mut bytes);
        }
        let end = last.wrapping_add(1);
        if in_earnest {
            put(&mut bytes, BATCH_END, NLM_F_REQUEST, end, [0, 0, upper, lower], &Attributes::new());
        }
        self.sequence = end.wrapping_add(1);
        self.kernel.send(&bytes).doing(|| DOING)?;

        let mut refused = None;
        while self.receive().doing(|| DOING)? {
            for heard in messages(&self.datagram).filter(|heard| heard.kind == NLMSG_ERROR) {
                // Counted from the beginning: 0 is the batch as a whole.
                let place = heard.sequence.wrapping_sub(begin);
                if place > last.wrapping_sub(begin) {
                    continue; // the rest of an earlier conversation
                }
                let message = usize::try_from(place).ok().and_then(|place| batch.get(place.wrapping_sub(1)));
                match (heard.errno(), message) {
                    // Said about the batch; or about a message whose module had to be loaded, while others had their turn.
                    (Some(Errno::ERESTART), _) => return Ok(Outcome::Overtaken),
                    (Some(errno), None) => return Err(refused.unwrap_or(heard.refusal(errno, DOING))),
                    (Some(errno), Some(message)) => {
                        refused = refused.or(Some(heard.refusal(errno, &message.doing)));
                    }
                    (None, _) => {}
                }
                if heard.sequence == last {
                    return refused.map_or(Ok(Outcome::Done), Err);
                }
            }
        }
        Err(refused.unwrap_or(Error::plain(DOING, "the kernel did not answer")))
    }

    /// Has one thing done that needs no batch.
    pub(crate) fn order(&mut self, order: &Message) -> Result<()> {
        let sequence = self.ask(order, NLM_F_ACK)?;
        let doing = order.doing.as_str();
        while self.receive().doing(|| doing)? {
            let verdict = messages(&self.datagram)
                .find(|heard| heard.sequence == sequence && heard.kind == NLMSG_ERROR);
            if let Some(heard) = verdict {
                return heard.errno().map_or(Ok(()), |errno| Err(heard.refusal(errno, doing)));
            }
        }
        Err(Error::plain(doing, "the kernel did not answer"))
    }

    /// Asks for one thing. None if it is not there.
    pub(crate) fn look_up<T>(
        &mut self,
        question: &Message,
        read: impl FnOnce(Read<'_>) -> Option<T>,
    ) -> Result<Option<T>> {
        let sequence = self.ask(question, 0)?;
        let doing = question.doing.as_str();
        while self.receive().doing(|| doing)? {
            let Some(heard) = messages(&self.datagram).find(|heard| heard.sequence == sequence) else {
                continue;
            };
            return match (heard.kind, heard.errno()) {
                (NLMSG_ERROR, Some(Errno::ENOENT)) => Ok(None),
                (NLMSG_ERROR, Some(errno)) => Err(heard.refusal(errno, doing)),
                _ => {
                    let found = heard.body.get(FAMILY_HEADER..).and_then(|about| read(Read(about)));
                    found.map(Some).ok_or_else(|| incomprehensible(doing))
                }
            };
        }
        Err(Error::plain(doing, "the kernel did not answer"))
    }

    /// Asks for everything that fits, and hands it to `keep`, one message after the other, until that has seen
    /// enough. False if somebody has changed the ruleset meanwhile, so that what was kept may be neither the old
    /// nor the new.
    pub(crate) fn dump(
        &mut self,
        question: &Message,
        mut keep: impl FnMut(Read<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        self.finish()?;
        let sequence = self.ask(question, NLM_F_DUMP)?;
        let doing = question.doing.as_str();
        let mut whole = true;
        while self.receive().doing(|| doing)? {
            for heard in messages(&self.datagram).filter(|heard| heard.sequence == sequence) {
                whole &= heard.flags & NLM_F_DUMP_INTR == 0;
                match (heard.kind, heard.errno()) {
                    (NLMSG_ERROR | NLMSG_DONE, None | Some(Errno::ENOENT)) => return Ok(whole),
                    (NLMSG_ERROR | NLMSG_DONE, Some(Errno::EINTR)) => return Ok(false),
                    (NLMSG_ERROR | NLMSG_DONE, Some(errno)) => return Err(heard.refusal(errno, doing)),
                    _ => {
                        let about = heard.body.get(FAMILY_HEADER..).unwrap_or_default();
                        if keep(Read(about)).is_break() {
                            self.unfinished = Some(sequence);
                            return Ok(whole);
                        }
                    }
                }
            }
        }
        Err(Error::plain(doing, "the kernel did not answer"))
    }

    /// Reads the rest of a dump that was broken off: until then the kernel begins no other on this socket (`EBUSY`).
    fn finish(&mut self) -> Result<()> {
        const DOING: &str = "hear out an earlier answer about the nftables ruleset";
        let Some(sequence) = self.unfinished.take() else { return Ok(()) };
        let ends =
            |heard: Heard<'_>| heard.sequence == sequence && matches!(heard.kind, NLMSG_ERROR | NLMSG_DONE);
        while self.receive().doing(|| DOING)? {
            if messages(&self.datagram).any(ends) {
                break;
            }
        }
        Ok(())
    }

    fn ask(&mut self, question: &Message, flags: u16) -> Result<u32> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        question.encode(self.part, flags, sequence, &mut bytes);
        self.kernel.send(&bytes).doing(|| question.doing.as_str())?;
        Ok(sequence)
    }

    fn receive(&mut self) -> io::Result<bool> {
        self.datagram.clear();
        self.kernel.receive(&mut self.datagram)
    }
}

impl Kernel for Socket {
    /// A batch is one datagram, whatever its size: the socket is given room for it.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut roomy = false;
        loop {
            match insist(|| self.send_to(bytes, &SocketAddr::new(0, 0), 0)) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(Errno::EMSGSIZE as i32) && !roomy => {
                    roomy = true;
                    let room = bytes.len().saturating_add(4096);
                    // Past net.core.wmem_max only with CAP_NET_ADMIN in the first user namespace.
                    if setsockopt(self, sockopt::SndBufForce, &room).is_err() {
                        setsockopt(self, sockopt::SndBuf, &room)?;
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match insist(|| self.recv(datagram, MsgFlags::MSG_DONTWAIT.bits())) {
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Refusals beyond what the socket holds are lost; the first ones, which count, are there.
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn incomprehensible(doing: &str) -> Error {
    Error::plain(doing, "the kernel's answer cannot be understood")
}
