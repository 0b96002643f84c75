//! The conversation with the kernel about links, addresses and routes: a blocking face on rtnetlink.
//!
//! A [`Rtnl`] belongs to the namespace in which its socket was opened. The operations are methods in the files
//! of their subjects; a [`Request`] is one of them not yet sent, for those that go together in one datagram.
//!
//! No other file knows tokio. It has little to do: the kernel answers a request before `send` returns, so the
//! answer is fetched by polling once, by hand. Only waiting for an *event* starts a runtime.

mod ack;
mod wire;

use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use rtnetlink::proto::{Connection, ConnectionHandle, from_socket_with_codec};
use tokio::runtime::Runtime;

use self::wire::{Codec, Wire};
use crate::error::{Doing, Error, Result};

/// How long an answer may take: the Go plugins' netlink library waits as long. The kernel answers at once,
/// unless somebody holds its lock.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a dump is repeated that the kernel marks as torn: as often as the Go plugins do.
const DUMP_ATTEMPTS: usize = 5;

type Message = NetlinkMessage<RouteNetlinkMessage>;

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
    pub(crate) fn new(what: RouteNetlinkMessage, flags: u16, doing: impl Into<String>) -> Request {
        let mut message = Message::from(what);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        Request { message, doing: doing.into(), forgiven: &[] }
    }

    /// With these errors the operation has what it wanted.
    pub(crate) fn forgiving(mut self, errors: &'static [Errno]) -> Request {
        self.forgiven = errors;
        self
    }

    /// The same message, with a purpose that its words do not tell.
    pub(crate) fn in_order_to(mut self, doing: impl Into<String>) -> Request {
        self.doing = doing.into();
        self
    }
}

/// A conversation with the kernel about one namespace.
pub struct Rtnl(Mutex<Line>);

/// The parts of a connection. Nobody drives it in the background: whoever waits for an answer does, so that
/// the socket closes, and lets go of its namespace, the moment this value is dropped.
struct Line {
    connection: Connection<RouteNetlinkMessage, Wire, Codec>,
    requests: ConnectionHandle<RouteNetlinkMessage>,
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

    /// Sends several operations in one datagram, and waits for all acknowledgements.
    ///
    /// The kernel carries them out in this order, and goes on after one that fails: put together only what
    /// belongs to one link, so that removing the link undoes all of it.
    ///
    /// # Errors
    /// The first refusal.
    pub fn all(&self, requests: impl IntoIterator<Item = Request>) -> Result<()> {
        let (messages, deeds): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|r| (r.message, (r.doing, r.forgiven))).unzip();
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
    pub(crate) fn send_for_echo(&self, request: Request) -> Result<Option<RouteNetlinkMessage>> {
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
        what: RouteNetlinkMessage,
        doing: impl Fn() -> S,
    ) -> Result<Option<RouteNetlinkMessage>> {
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

    /// Asks for everything that fits `what`; the kernel filters. The only way to dump.
    pub(crate) fn dump(&self, what: RouteNetlinkMessage, doing: &str) -> Result<Vec<RouteNetlinkMessage>> {
        let mut question = Message::from(what);
        question.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        whole(doing, || self.exchange(vec![question.clone()]).map_err(|e| e.doing(doing)))
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

    /// Watches the links of this namespace until `look` has seen what it wants or the patience is at an end.
    ///
    /// `look` is called once after the watch has begun, so that no change can slip between the two, and then
    /// with each change. None if it never found what it wanted.
    pub(crate) fn watch_links<T>(
        &self,
        patience: Duration,
        doing: &str,
        mut look: impl FnMut(Option<RouteNetlinkMessage>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        const RTNLGRP_LINK: u32 = 1;
        let membership = |join: bool| {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            line.forget_events();
            let socket = line.connection.socket_mut().socket_ref();
            if join { socket.add_membership(RTNLGRP_LINK) } else { socket.drop_membership(RTNLGRP_LINK) }
        };
        membership(true).doing(|| doing)?;
        let found = match look(None) {
            Ok(None) => self.watch(patience, doing, look),
            found => found,
        };
        membership(false).doing(|| doing)?;
        found
    }

    fn watch<T>(
        &self,
        patience: Duration,
        doing: &str,
        mut look: impl FnMut(Option<RouteNetlinkMessage>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = wait(patience, |cx| {
            line.turn(cx)?;
            while let Poll::Ready(Some((event, _))) = line.events.poll_next_unpin(cx) {
                if let NetlinkPayload::InnerMessage(event) = event.payload
                    && let Some(seen) = look(Some(event)).transpose()
                {
                    return Poll::Ready(Ok(seen));
                }
            }
            Poll::Pending
        });
        seen.map_err(|broken| broken.doing(doing))?.transpose()
    }
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

/// The conversation is over: the socket failed with this number, or, without one, said what nobody can read.
struct Broken(Option<Errno>);

impl Broken {
    fn doing(self, doing: impl Into<String>) -> Error {
        match self {
            Broken(Some(errno)) => Error::refused(doing, errno),
            Broken(None) => Error::plain(doing, "the kernel's answer cannot be read"),
        }
    }
}

/// The kernel said no.
struct Refusal {
    errno: Errno,
    sentence: Option<String>,
}

impl Refusal {
    fn doing(self, doing: impl Into<String>) -> Error {
        Error::refused(doing, self.errno).saying(self.sentence)
    }
}

/// Whether this part of an answer, with its header's flags, says that the request failed.
fn judge(payload: &NetlinkPayload<RouteNetlinkMessage>, flags: u16) -> Result<(), Refusal> {
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
fn verdict(answer: Message) -> Option<Result<(), Refusal>> {
    match answer.payload {
        NetlinkPayload::InnerMessage(_) | NetlinkPayload::Noop => None,
        payload => Some(judge(&payload, answer.header.flags)),
    }
}

/// Reads a list until it is whole.
///
/// The kernel walks its tables in several steps, and marks what it says (`NLM_F_DUMP_INTR`, perhaps only on the
/// closing message) if they changed in between: entries may then be missing or doubled.
fn whole(doing: &str, mut ask: impl FnMut() -> Result<Vec<Message>>) -> Result<Vec<RouteNetlinkMessage>> {
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

/// Blocks until `listen` is ready; None when the patience is at an end first.
fn wait<T>(
    patience: Duration,
    listen: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Broken>>,
) -> Result<Option<T>, Broken> {
    let heard = runtime()?.block_on(async {
        // The timer must be made inside the runtime.
        tokio::time::timeout(patience, std::future::poll_fn(listen)).await
    });
    heard.ok().transpose()
}

/// The process's only runtime, started by the first thing that has to be waited for.
fn runtime() -> Result<&'static Runtime, Broken> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let started = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let started = started.map_err(|e| Broken(e.raw_os_error().map(Errno::from_raw)))?;
    Ok(RUNTIME.get_or_init(|| started))
}
