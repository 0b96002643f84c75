//! rtnetlink as somebody might play it ([`crate::hostile`]).

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload};
use netlink_sys::{AsyncSocket, Socket, SocketAddr};
use rtnetlink::proto::{NetlinkMessageCodec, from_socket_with_codec};

use super::Message;
use super::answer::{judge, verdict, whole};
use super::message::RtnlMessage;
use super::wire::Codec;
use crate::hostile::datagrams;
use crate::qdisc::message::Tc;
use crate::{address, nsid, qdisc, route};

/// One datagram, message by message: each is inside it, and means what it means to whoever asked.
pub(crate) fn datagram(bytes: &[u8]) {
    let mut rest = BytesMut::from(bytes);
    let mut answers: Vec<Message> = Vec::new();
    while !rest.is_empty() {
        let before = rest.len();
        let Ok(Some(message)) = Codec::decode(&mut rest) else { break };
        assert!(rest.len() < before, "a message of no length");
        if let NetlinkPayload::InnerMessage(told) = &message.payload {
            understood(told);
        }
        answers.push(message);
    }
    judged(answers);
}

/// What becomes of an answer, taken for a verdict and for a list.
fn judged(answers: Vec<Message>) {
    for answer in &answers {
        let _ = judge(&answer.payload, answer.header.flags);
        if let Some(Err(refusal)) = verdict(answer.clone()) {
            assert!(!refusal.doing("ask").to_string().is_empty());
        }
    }
    let count = answers.len();
    assert!(whole("list", || Ok(answers.clone())).is_ok_and(|found| found.len() <= count) || count > 0);
}

/// Reads out of a message whatever anybody reads.
fn understood(told: &RtnlMessage) {
    let _ = (address::read(told.clone()), route::read(told.clone()), nsid::known(told));
    if let RtnlMessage::NewQdisc(tc) | RtnlMessage::NewFilter(tc) = told {
        let Tc { .. } = tc;
        let _ = (qdisc::shape(tc), qdisc::redirect_of(tc), tc.is("tbf"));
    }
}

/// A socket that answers with what was written for it, and is broken after that.
struct Script {
    socket: Socket,
    datagrams: Mutex<VecDeque<Vec<u8>>>,
}

impl AsyncSocket for Script {
    fn socket_ref(&self) -> &Socket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn new(protocol: isize) -> io::Result<Script> {
        Ok(Script { socket: Socket::new(protocol)?, datagrams: Mutex::default() })
    }

    fn poll_send(&self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_send_to(&self, _: &mut Context<'_>, bytes: &[u8], _: &SocketAddr) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buffer: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buffer).map_ok(|_| ())
    }

    fn poll_recv_from<B: BufMut>(&self, _: &mut Context<'_>, buffer: &mut B) -> Poll<io::Result<SocketAddr>> {
        let next = self.datagrams.lock().ok().and_then(|mut all| all.pop_front());
        Poll::Ready(match next {
            Some(datagram) => {
                // As from a socket: what there is no room for is cut off.
                buffer.put_slice(datagram.get(..buffer.remaining_mut()).unwrap_or(&datagram));
                Ok(SocketAddr::new(0, 0))
            }
            None => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        let mut whole = Vec::new();
        self.poll_recv_from(cx, &mut whole).map_ok(|from| (whole, from))
    }
}

/// A question whose answers are these datagrams, whatever number they bear: the conversation comes to an end.
pub(crate) fn conversation(bytes: &[u8]) {
    for flags in [NLM_F_REQUEST | NLM_F_ACK, NLM_F_REQUEST | NLM_F_DUMP] {
        let Ok(script) = <Script as AsyncSocket>::new(0) else { return };
        let script = Script { datagrams: Mutex::new(datagrams(bytes).into()), ..script };
        let (mut connection, requests, mut events) = from_socket_with_codec::<RtnlMessage, _, Codec>(script);
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let mut question = Message::from(RtnlMessage::GetQdisc(Tc::at(1, 0, 0)));
        question.header.flags = flags;
        let Ok(mut answers) = requests.request_batch(vec![question], SocketAddr::new(0, 0)) else { return };
        let cx = &mut Context::from_waker(Waker::noop());
        let mut heard = Vec::new();
        loop {
            connection.poll_requests(cx);
            connection.poll_send_messages(cx);
            connection.poll_read_messages(cx);
            connection.forward_unsolicited_messages();
            connection.forward_responses();
            while let Poll::Ready(Some(answer)) = answers.poll_next_unpin(cx) {
                heard.push(answer);
            }
            while let Poll::Ready(Some(_)) = events.poll_next_unpin(cx) {}
            if connection.should_shut_down() || heard.len() > bytes.len() {
                break;
            }
        }
        assert!(heard.len() * 16 <= bytes.len(), "{} messages in {} bytes", heard.len(), bytes.len());
        judged(heard);
    }
}
