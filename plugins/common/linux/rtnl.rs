//! The conversation with the kernel about links, addresses and routes: a blocking face on rtnetlink.
//!
//! A [`Rtnl`] belongs to the namespace in which its socket was opened. The operations are methods in the
//! files of their subjects; a [`Request`] is one of them not yet sent, for those that go together in one
//! datagram.
//!
//! No file outside this folder knows tokio. It has little to do: the kernel answers a request before `send`
//! returns, so the answer is fetched by polling once, by hand. Only waiting for an *event* starts a runtime.

pub(crate) mod ack;
mod answer;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
pub(crate) mod message;
mod wait;
mod wire;

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_sys::{AsyncSocket, Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use rtnetlink::proto::{Connection, ConnectionHandle, from_socket_with_codec};

use self::answer::{Broken, Refusal, judge, seen, verdict, whole};
use self::message::RtnlMessage;
use self::wait::wait;
use self::wire::{Codec, Wire};
use crate::error::{Doing, Error, Result};

/// How long an answer may take: the Go plugins' netlink library waits as long. The kernel answers at once,
/// unless somebody holds its lock.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many requests go in one datagram: the kernel acknowledges each before it lets go of the datagram, and drops without a
/// word what the socket cannot hold (some 260 acknowledgements; `netlink_ack` in net/netlink/af_netlink.c).
const TOGETHER: usize = 64;

type Message = NetlinkMessage<RtnlMessage>;

/// One operation, not yet sent. Made by the functions in the files of their subjects, and sent by
/// [`Rtnl::send`] or, several in one datagram, by [`Rtnl::all`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    message: Message,
    doing: String,
    forgiven: &'static [Errno],
}

impl Request {
    /// An operation with these flags beside `NLM_F_REQUEST | NLM_F_ACK`.
    pub(crate) fn new(what: RtnlMessage, flags: u16, doing: impl Into<String>) -> Request {
        let mut message = Message::from(what);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        Request { message, doing: doing.into(), forgiven: &[] }
    }

    /// What will be asked, for tests.
    #[cfg(test)]
    pub(crate) fn what(&self) -> &RtnlMessage {
        match &self.message.payload {
            NetlinkPayload::InnerMessage(what) => what,
            other => panic!("{other:?} is no request"),
        }
    }

    /// With these errors the operation has what it wanted.
    pub(crate) fn forgiving(mut self, errors: &'static [Errno]) -> Request {
        self.forgiven = errors;
        self
    }

    /// The same message, with a purpose that its words do not tell.
    pub fn in_order_to(mut self, doing: impl Into<String>) -> Request {
        self.doing = doing.into();
        self
    }
}

/// What can be watched: the multicast groups of rtnetlink, by their numbers (include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// RTNLGRP_LINK
    Links = 1,
    /// RTNLGRP_IPV6_IFADDR
    V6Addresses = 9,
}

/// A conversation with the kernel about one namespace.
pub struct Rtnl(Mutex<Line>);

/// The parts of a connection. Nobody drives it in the background: whoever waits for an answer does, so that
/// the socket closes, and lets go of its namespace, the moment this value is dropped.
struct Line {
    connection: Connection<RtnlMessage, Wire, Codec>,
    requests: ConnectionHandle<RtnlMessage>,
    events: Pin<Box<dyn Stream<Item = (Message, SocketAddr)> + Send>>,
}

impl Rtnl {
    /// Opens a conversation about the namespace that the calling thread is in. For another one, use
    /// [`crate::netns::NetNs::rtnl`].
    ///
    /// # Errors
    /// `EMFILE` and the like; nothing that a namespace or a privilege decides.
    pub fn here() -> Result<Rtnl> {
        let open = || {
            let socket = Socket::new(NETLINK_ROUTE)?;
            socket.set_ext_ack(true)?;
            // Without this, a dump's filters are ignored by the kernel (Documentation/userspace-api/netlink).
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        let socket = std::io::Result::doing(open(), || "open a route socket")?;
        let (mut connection, requests, events) = from_socket_with_codec(Wire::new(socket));
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        Ok(Rtnl(Mutex::new(Line { connection, requests, events: Box::pin(events) })))
    }

    /// Sends one operation and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's refusal, with its number and its sentence.
    pub fn send(&self, request: Request) -> Result<()> {
        self.all([request])
    }

    /// Sends several operations in one datagram, or in a few where there are many, and waits for all acknowledgements.
    ///
    /// The kernel carries them out in this order, and goes on after one that fails: put together only what
    /// belongs to one link, so that removing the link undoes all of it.
    ///
    /// # Errors
    /// The first refusal.
    pub fn all(&self, requests: impl IntoIterator<Item = Request>) -> Result<()> {
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            self.together(requests.by_ref().take(TOGETHER))?;
        }
        Ok(())
    }

    fn together(&self, requests: impl Iterator<Item = Request>) -> Result<()> {
        let (messages, deeds): (Vec<_>, Vec<_>) =
            requests.map(|r| (r.message, (r.doing, r.forgiven))).unzip();
        let Some((first, _)) = deeds.first() else { return Ok(()) };
        let answers = self.exchange(messages).map_err(|e| e.doing(first))?;
        let mut verdicts = answers.into_iter().filter_map(verdict);
        for (doing, forgiven) in deeds {
            match verdicts.next() {
                Some(Ok(())) => {}
                Some(Err(refusal)) if forgiven.contains(&refusal.errno) => {}
                Some(Err(refusal)) => return Err(refusal.doing(doing)),
                None => return Err(Error::plain(doing, "the kernel did not answer")),
            }
        }
        Ok(())
    }

    /// Sends one operation of which the kernel may tell the outcome (`NLM_F_ECHO`).
    pub(crate) fn send_for_echo(&self, request: Request) -> Result<Option<RtnlMessage>> {
        let Request { message, doing, .. } = request;
        let answers = self.exchange(vec![message]).map_err(|e| e.doing(&doing))?;
        let mut echo = None;
        for answer in answers {
            match (answer.payload, answer.header.flags) {
                (NetlinkPayload::InnerMessage(told), _) => echo = echo.or(Some(told)),
                (payload, flags) => {
                    judge(&payload, flags).map_err(|refusal| refusal.doing(doing.as_str()))?
                }
            }
        }
        Ok(echo)
    }

    /// Asks for one thing. None if it is not there.
    pub(crate) fn look_up<S: Into<String>>(
        &self,
        what: RtnlMessage,
        doing: impl Fn() -> S,
    ) -> Result<Option<RtnlMessage>> {
        let mut question = Message::from(what);
        question.header.flags = NLM_F_REQUEST;
        for answer in self.exchange(vec![question]).map_err(|e| e.doing(doing()))? {
            match answer.payload {
                NetlinkPayload::InnerMessage(found) => return Ok(Some(found)),
                payload => match judge(&payload, answer.header.flags) {
                    Err(Refusal { errno: Errno::ENODEV | Errno::ENOENT | Errno::ESRCH, .. }) => {}
                    other => other.map_err(|refusal| refusal.doing(doing()))?,
                },
            }
        }
        Ok(None)
    }

    /// Asks for everything that fits `what`; the kernel filters.
    pub(crate) fn dump(&self, what: RtnlMessage, doing: &str) -> Result<Vec<RtnlMessage>> {
        let question = dump_of(what);
        whole(doing, || self.exchange(vec![question.clone()]).map_err(|e| e.doing(doing)))
    }

    /// The same of what may never stand still. The answer may then hold what has gone meanwhile. No other way to dump.
    pub(crate) fn dump_moving<K: Ord>(
        &self,
        what: RtnlMessage,
        doing: &str,
        key: impl Fn(&RtnlMessage) -> Option<K>,
    ) -> Result<Vec<RtnlMessage>> {
        let question = dump_of(what);
        seen(doing, key, || self.exchange(vec![question.clone()]).map_err(|e| e.doing(doing)))
    }

    /// Sends these messages in one datagram and returns everything that is said in answer to them.
    fn exchange(&self, messages: Vec<Message>) -> Result<Vec<Message>, Broken> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = SocketAddr::new(0, 0);
        let mut answers = line.requests.request_batch(messages, kernel).map_err(|_| Broken(None))?;
        let mut heard = Vec::new();
        let mut listen = |cx: &mut Context<'_>| {
            line.turn(cx)?;
            while let Poll::Ready(answer) = answers.poll_next_unpin(cx) {
                match answer {
                    Some(answer) => heard.push(answer),
                    None => return Poll::Ready(Ok(())),
                }
            }
            Poll::Pending
        };
        match listen(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(heard) => heard?,
            Poll::Pending => wait(PATIENCE, listen)?.ok_or(Broken(Some(Errno::ETIMEDOUT)))?,
        }
        Ok(heard)
    }

    /// Watches a part of this namespace until `look` has seen what it wants or the patience is at an end.
    ///
    /// `look` is called once after the watch has begun, so that no change can slip between the two, and then
    /// with each change; without one where changes were lost. None if it never found what it wanted.
    pub(crate) fn watch<T>(
        &self,
        part: Part,
        patience: Duration,
        doing: &str,
        mut look: impl FnMut(Option<RtnlMessage>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let group = part as u32;
        let membership = |join: bool| {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            line.forget_events();
            let socket = line.connection.socket_mut().socket_ref();
            if join { socket.add_membership(group) } else { socket.drop_membership(group) }
        };
        membership(true).doing(|| doing)?;
        let found = match look(None) {
            Ok(None) => self.listen(patience, doing, look),
            found => found,
        };
        membership(false).doing(|| doing)?;
        found
    }

    fn listen<T>(
        &self,
        patience: Duration,
        doing: &str,
        mut look: impl FnMut(Option<RtnlMessage>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let heard = wait(left, |cx| self.hear(cx, &mut look)).map_err(|broken| broken.doing(doing))?;
            match heard.transpose()? {
                None => return Ok(None),
                Some(Event::Seen(seen)) => return Ok(Some(seen)),
                // What is waited for may be among it. What is still to be heard is older than what is seen now, and the change
                // that followed it may be lost.
                Some(Event::Lost) => {
                    self.forget().map_err(|broken| broken.doing(doing))?;
                    if let Some(seen) = look(None)? {
                        return Ok(Some(seen));
                    }
                }
            }
        }
    }

    /// Drops every change that has come.
    fn forget(&self) -> Result<(), Broken> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.turn(&mut Context::from_waker(Waker::noop()))?;
        line.forget_events();
        Ok(())
    }

    /// Looks at each change that has come, until there is one to speak of.
    fn hear<T>(
        &self,
        cx: &mut Context<'_>,
        look: &mut impl FnMut(Option<RtnlMessage>) -> Result<Option<T>>,
    ) -> Poll<Result<Result<Event<T>>, Broken>> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.turn(cx)?;
        while let Poll::Ready(Some((event, _))) = line.events.poll_next_unpin(cx) {
            let seen = match event.payload {
                NetlinkPayload::InnerMessage(event) => look(Some(event)).map(|seen| seen.map(Event::Seen)),
                NetlinkPayload::Overrun(_) => Ok(Some(Event::Lost)),
                _ => Ok(None),
            };
            if let Some(seen) = seen.transpose() {
                return Poll::Ready(Ok(seen));
            }
        }
        Poll::Pending
    }
}

/// What somebody who watches has heard.
enum Event<T> {
    /// What he waits for.
    Seen(T),
    /// More has happened than the socket could hold.
    Lost,
}

fn dump_of(what: RtnlMessage) -> Message {
    let mut question = Message::from(what);
    question.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    question
}

impl Line {
    /// Sends what is to be sent and hands on what has come.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        self.connection.poll_requests(cx);
        self.connection.poll_send_messages(cx);
        self.connection.poll_read_messages(cx);
        self.connection.forward_unsolicited_messages();
        self.connection.forward_responses();
        if self.connection.should_shut_down() {
            return Err(Broken(self.connection.socket_mut().failure()));
        }
        Ok(())
    }

    /// Drops what an earlier watch has left behind.
    fn forget_events(&mut self) {
        while let Poll::Ready(Some(_)) = self.events.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
        {
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_serves_every_thread() {
        let here = Rtnl::here().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(here.link_by_name("lo").unwrap().unwrap().name, "lo");
                        assert_eq!(here.link_by_name("no-such-link").unwrap(), None);
                    }
                });
            }
        });
    }

    #[test]
    fn a_refusal_names_the_deed_and_does_not_end_the_conversation() {
        let here = Rtnl::here().unwrap();
        let too_long = here.link_by_name("longer-than-any-name").unwrap_err();
        assert_eq!(too_long.errno(), Some(Errno::ERANGE));
        assert!(
            too_long
                .to_string()
                .starts_with("look up link longer-than-any-name: numerical result out of range")
        );
        assert!(here.link_by_index(1).unwrap().is_some());
    }

    #[test]
    fn nothing_to_send_is_nothing_to_wait_for() {
        assert_eq!(Rtnl::here().unwrap().all([]), Ok(()));
    }
}
