//! What an answer means: done, refused, or torn.

use crate::rtnl::message::RtnlMessage;
use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkPayload};
use nix::errno::Errno;

use super::{Message, ack};
use crate::error::{Error, Result};

/// How often a dump is repeated that the kernel marks as torn: as often as the Go plugins do.
const DUMP_ATTEMPTS: usize = 5;

/// The conversation is over: the socket failed with this number, or, without one, said what nobody can read.
pub(super) struct Broken(pub(super) Option<Errno>);

impl Broken {
    pub(super) fn doing(self, doing: impl Into<String>) -> Error {
        match self {
            Broken(Some(errno)) => Error::refused(doing, errno),
            Broken(None) => Error::plain(doing, "the kernel's answer cannot be read"),
        }
    }
}

/// The kernel said no.
pub(super) struct Refusal {
    pub(super) errno: Errno,
    sentence: Option<String>,
}

impl Refusal {
    pub(super) fn doing(self, doing: impl Into<String>) -> Error {
        Error::refused(doing, self.errno).saying(self.sentence)
    }
}

/// Whether this part of an answer, with its header's flags, says that the request failed.
pub(super) fn judge(payload: &NetlinkPayload<RtnlMessage>, flags: u16) -> Result<(), Refusal> {
    let (number, sentence) = match payload {
        NetlinkPayload::Error(error) => (error.raw_code(), ack::sentence(&error.header, flags)),
        NetlinkPayload::Done(done) => (done.code, ack::text_in(&done.extended_ack)),
        NetlinkPayload::Overrun(_) => (-(Errno::ENOBUFS as i32), None),
        _ => (0, None),
    };
    // A Done's number is the dump's last return value, which may also be a positive count.
    if number < 0 { Err(Refusal { errno: Errno::from_raw(-number), sentence }) } else { Ok(()) }
}

/// The verdict on one request, if this message is one.
pub(super) fn verdict(answer: Message) -> Option<Result<(), Refusal>> {
    match answer.payload {
        NetlinkPayload::InnerMessage(_) | NetlinkPayload::Noop => None,
        payload => Some(judge(&payload, answer.header.flags)),
    }
}

/// Reads a list until it is whole.
///
/// The kernel walks its tables in several steps, and marks what it says (`NLM_F_DUMP_INTR`, perhaps only on
/// the closing message) if they changed in between: entries may then be missing or doubled.
pub(super) fn whole(doing: &str, mut ask: impl FnMut() -> Result<Vec<Message>>) -> Result<Vec<RtnlMessage>> {
    for _ in 0..DUMP_ATTEMPTS {
        let answers = ask()?;
        if answers.iter().any(|answer| answer.header.flags & NLM_F_DUMP_INTR != 0) {
            continue;
        }
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer.payload {
                NetlinkPayload::InnerMessage(entry) => found.push(entry),
                payload => judge(&payload, answer.header.flags).map_err(|refusal| refusal.doing(doing))?,
            }
        }
        return Ok(found);
    }
    Err(Error::plain(doing, format!("the list changed while it was read, {DUMP_ATTEMPTS} times")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{DoneMessage, ErrorMessage, NLM_F_MULTIPART, NetlinkHeader};
    use netlink_packet_route::link::LinkMessage;
    use std::num::NonZeroI32;

    fn part(flags: u16, payload: NetlinkPayload<RtnlMessage>) -> Message {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_MULTIPART | flags;
        Message::new(header, payload)
    }

    fn link(index: u32, flags: u16) -> Message {
        let mut message = LinkMessage::default();
        message.header.index = index;
        part(flags, NetlinkPayload::InnerMessage(RtnlMessage::NewLink(message)))
    }

    fn done(code: i32, flags: u16) -> Message {
        let mut message = DoneMessage::default();
        message.code = code;
        part(flags, NetlinkPayload::Done(message))
    }

    fn indexes(found: &[RtnlMessage]) -> Vec<u32> {
        let index = |m: &RtnlMessage| match m {
            RtnlMessage::NewLink(link) => link.header.index,
            other => panic!("{other:?} is no link"),
        };
        found.iter().map(index).collect()
    }

    #[test]
    fn a_torn_dump_is_read_again_even_if_only_its_closing_message_says_so() {
        let mut readings = vec![
            vec![link(1, 0), link(2, 0), done(0, 0)],
            vec![link(1, 0), done(0, NLM_F_DUMP_INTR)],
            vec![link(1, NLM_F_DUMP_INTR), link(1, 0), done(0, 0)],
        ];
        let found = whole("list links", || Ok(readings.pop().unwrap())).unwrap();
        assert_eq!(indexes(&found), [1, 2]);
        assert!(readings.is_empty());
    }

    #[test]
    fn a_dump_that_stays_torn_is_an_error_and_not_half_a_list() {
        let mut times = 0;
        let torn = whole("list links", || {
            times += 1;
            Ok(vec![link(1, NLM_F_DUMP_INTR), done(0, 0)])
        });
        assert_eq!(times, DUMP_ATTEMPTS);
        assert_eq!(torn.unwrap_err().to_string(), "list links: the list changed while it was read, 5 times");
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_that_error() {
        let failed = whole("list links", || Ok(vec![link(1, 0), done(-(Errno::ENODEV as i32), 0)]));
        assert_eq!(failed.unwrap_err().errno(), Some(Errno::ENODEV));
    }

    #[test]
    fn a_dump_may_end_in_a_count() {
        assert!(whole("list links", || Ok(vec![done(36, 0)])).unwrap().is_empty());
    }

    #[test]
    fn an_acknowledgement_is_a_verdict_and_an_echo_is_none() {
        let ack = |code| {
            let mut message = ErrorMessage::default();
            message.code = NonZeroI32::new(code);
            part(0, NetlinkPayload::Error(message))
        };
        assert!(verdict(ack(0)).unwrap().is_ok());
        assert_eq!(verdict(ack(-17)).unwrap().err().unwrap().errno, Errno::EEXIST);
        assert!(verdict(link(1, 0)).is_none());
    }
}
