//! What a kubelet asks of a runtime about pods: runtime.v1 of k8s.io/cri-api, as far as networks need it. The messages are
//! written by hand (they are few and small), curl(1) speaks HTTP/2 on the socket.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A protobuf message under construction.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Message {
        Message::default()
    }

    /// Adds a text; an empty one is what a missing one means.
    pub fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    /// Adds a message.
    pub fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    /// Adds a number or a choice.
    pub fn number(mut self, field: u64, number: u64) -> Message {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, number);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// An answer, or a message within one.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// The messages (or texts) of this field.
    pub fn all(&self, field: u64) -> Vec<Answer> {
        let mut rest = self.0.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let key = take_varint(&mut rest);
            let length = match key & 7 {
                0 => {
                    take_varint(&mut rest);
                    continue;
                }
                1 => 8,
                2 => usize::try_from(take_varint(&mut rest)).unwrap(),
                5 => 4,
                other => panic!("no such kind of field: {other}"),
            };
            let (value, after) = rest.split_at(length);
            rest = after;
            if key >> 3 == field {
                found.push(Answer(value.to_vec()));
            }
        }
        found
    }

    /// The only message (or text) of this field; an empty one where it is missing.
    pub fn one(&self, field: u64) -> Answer {
        self.all(field).pop().unwrap_or(Answer(Vec::new()))
    }

    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.clone()).expect("text")
    }
}

fn take_varint(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    for (turn, byte) in (0..).step_by(7).zip(from.iter().copied()) {
        number |= u64::from(byte & 0x7f) << turn;
        if byte < 0x80 {
            *from = &from[turn / 7 + 1..];
            break;
        }
    }
    number
}

/// A runtime that listens on a socket.
#[derive(Debug, Clone)]
pub struct Runtime {
    socket: PathBuf,
}

impl Runtime {
    /// The runtime behind this socket.
    pub fn at(socket: &Path) -> Runtime {
        Runtime { socket: socket.to_owned() }
    }

    /// One call of the service, whatever comes of it: the answer, or the runtime's complaint.
    pub fn call(&self, method: &str, request: &Message) -> Result<Answer, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2-prior-knowledge", "-D", "/dev/stderr", "--data-binary", "@-"]);
        curl.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "--unix-socket"])
            .arg(&self.socket);
        curl.arg(format!("http://runtime/runtime.v1.{method}"));
        curl.env("PATH", crate::lab::call::PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = curl.spawn().expect("curl(1)");
        // gRPC's frame: not compressed, and how long.
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(request.0.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&request.0);
        let _ = child.stdin.take().unwrap().write_all(&frame);
        let output = child.wait_with_output().expect("curl(1)");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match said.lines().any(|line| line.trim_end() == "grpc-status: 0") {
            true => Ok(Answer(output.stdout.get(5..).unwrap_or_default().to_vec())),
            false => Err(format!("{method}: {said}")),
        }
    }
}
