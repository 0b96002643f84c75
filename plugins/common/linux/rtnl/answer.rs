//! What an answer means: done, refused, or torn.

use std::collections::BTreeMap;

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
    if number < 0 { Err(Refusal { errno: Errno::from_raw(number.wrapping_neg()), sentence }) } else { Ok(()) }
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
        if let (entries, Reading::Whole) = reading(doing, ask()?)? {
            return Ok(entries);
        }
    }
    Err(Error::plain(doing, format!("the list changed while it was read, {DUMP_ATTEMPTS} times")))
}

/// Reads a list that may never stand still, such as the links of a node on which containers come and go all the time.
///
/// If no reading is whole, everything counts that any of them has told, by `key` and as it was told last. The kernel goes on
/// behind the last entry that it has told, and before Linux 6.9 behind as many as it has told: then one that was there all the
/// while is passed over if somebody before it goes in that moment, and would have to be passed over each time to be missing
/// here. Who has gone meanwhile may be told.
pub(super) fn seen<K: Ord>(
    doing: &str,
    key: impl Fn(&RtnlMessage) -> Option<K>,
    mut ask: impl FnMut() -> Result<Vec<Message>>,
) -> Result<Vec<RtnlMessage>> {
    let mut seen = BTreeMap::new();
    for _ in 0..DUMP_ATTEMPTS {
        let (entries, reading) = reading(doing, ask()?)?;
        if reading == Reading::Whole {
            return Ok(entries);
        }
        seen.extend(entries.into_iter().filter_map(|entry| Some((key(&entry)?, entry))));
    }
    Ok(seen.into_values().collect())
}

#[derive(PartialEq, Eq)]
enum Reading {
    Whole,
    Torn,
}

/// The entries of one reading.
fn reading(doing: &str, answers: Vec<Message>) -> Result<(Vec<RtnlMessage>, Reading)> {
    let is_torn = answers.iter().any(|answer| answer.header.flags & NLM_F_DUMP_INTR != 0);
    let mut found = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer.payload {
            NetlinkPayload::InnerMessage(entry) => found.push(entry),
            payload => judge(&payload, answer.header.flags).map_err(|refusal| refusal.doing(doing))?,
        }
    }
    Ok((found, if is_torn { Reading::Torn } else { Reading::Whole }))
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
    fn of_links_that_never_stand_still_everyone_counts_who_was_told_once() {
        let mut readings = vec![
            vec![link(3, 0), link(4, 0), done(0, NLM_F_DUMP_INTR)],
            vec![link(2, NLM_F_DUMP_INTR), link(2, 0), link(3, 0), done(0, 0)],
            vec![link(1, NLM_F_DUMP_INTR), done(0, 0)],
            vec![done(0, NLM_F_DUMP_INTR)],
            vec![link(1, 0), link(3, 0), done(0, NLM_F_DUMP_INTR)],
        ];
        let index = |message: &RtnlMessage| indexes(std::slice::from_ref(message)).pop();
        let found = seen("list links", index, || Ok(readings.pop().unwrap())).unwrap();
        assert_eq!(indexes(&found), [1, 2, 3, 4]);
        // A reading that is whole needs no other.
        let mut readings = vec![vec![link(2, 0), done(0, 0)], vec![link(1, 0), done(0, NLM_F_DUMP_INTR)]];
        let found = seen("list links", index, || Ok(readings.pop().unwrap())).unwrap();
        assert_eq!(indexes(&found), [2]);
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_that_error() {
        let failed = whole("list links", || Ok(vec![link(1, 0), done(-(Errno::ENODEV as i32), 0)]));
        assert_eq!(failed.unwrap_err().errno(), Some(Errno::ENODEV));
    }

    #[test]
    fn a_number_that_has_no_opposite_is_a_refusal_too() {
        let failed = whole("list links", || Ok(vec![done(i32::MIN, 0)]));
        assert_eq!(failed.unwrap_err().errno(), Some(Errno::UnknownErrno));
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
