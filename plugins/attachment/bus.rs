//! The system's message bus (D-Bus), as far as somebody has to go who calls a method with a few words and hears one answer.
//!
//! The messages are those of the D-Bus specification, "Message Protocol": a fixed part, an array of header fields, each aligned to
//! eight bytes, and the arguments, which are all texts here. Who we are the bus reads off the socket (`EXTERNAL`).

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// How long an answer may take: firewalld loads rules before it answers. It is what other clients of the bus allow.
const PATIENCE: Duration = Duration::from_secs(25);

/// Longer answers are none to our questions.
const LONGEST: u32 = 1 << 20;

/// A connection to the bus.
pub struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub struct Callee {
    /// The name on the bus.
    pub name: &'static str,
    /// The path of the object.
    pub path: &'static str,
    /// The interface that has the method.
    pub interface: &'static str,
}

/// The bus itself.
const BUS: Callee =
    Callee { name: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// The answer to a call: its arguments, not yet read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    signature: String,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Refusal {
    /// The connection does not work.
    Broken(io::Error),
    /// Somebody has refused: the name of the error, and what he says.
    Said(String, String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Broken(error) => write!(f, "{error}"),
            Refusal::Said(name, text) if text.is_empty() => f.write_str(name),
            Refusal::Said(_, text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Broken(error)
    }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the bus answers with {what}"))
}

impl Bus {
    /// Connects to the system's bus.
    ///
    /// # Errors
    /// There is none, or it does not take us.
    pub fn system() -> Result<Bus, Refusal> {
        let stream = connect(&cni::env::system_bus())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bus = Bus { stream: BufReader::new(stream), serial: 0 };
        bus.introduce()?;
        bus.call(BUS, "Hello", &[])?;
        Ok(bus)
    }

    fn introduce(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for _ in 0..4 {
            let mut line = String::new();
            Read::take(&mut self.stream, 1024).read_line(&mut line)?;
            match line.split([' ', '\r']).next().unwrap_or_default() {
                "OK" => return Ok(()),
                "DATA" => {}
                _ => break,
            }
        }
        Err(io::Error::new(ErrorKind::PermissionDenied, "the bus does not know us"))
    }

    /// Whether somebody has this name.
    ///
    /// # Errors
    /// The connection does not work.
    pub fn has(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.call(BUS, "NameHasOwner", &[name]) {
            Ok(answer) => answer.truth(),
            Err(refusal) => Err(refusal),
        }
    }

    /// Calls a method, and waits for its answer. Nobody is started for it.
    ///
    /// # Errors
    /// What the callee, or the bus, says; the connection does not work.
    pub fn call(&mut self, to: Callee, method: &str, arguments: &[&str]) -> Result<Answer, Refusal> {
        self.serial += 1;
        self.stream.get_mut().write_all(&message(self.serial, to, method, arguments))?;
        loop {
            let answer = Incoming::hear(&mut self.stream)?;
            if answer.of != Some(self.serial) {
                // A signal: the bus tells us our name.
                continue;
            }
            let Incoming { kind, error, signature, body, .. } = answer;
            let answer = Answer { signature, body };
            return match kind {
                RETURN => Ok(answer),
                ERROR => Err(Refusal::Said(error, answer.text().unwrap_or_default())),
                _ => Err(nonsense("something else").into()),
            };
        }
    }
}

/// The addresses are alternatives: `unix:path=/run/dbus/system_bus_socket;unix:abstract=name,guid=…`.
fn connect(addresses: &str) -> io::Result<UnixStream> {
    let mut refused = io::Error::new(ErrorKind::NotFound, format!("no address of a bus: {addresses:?}"));
    for address in addresses.split(';') {
        let keys = address.strip_prefix("unix:").unwrap_or_default().split(',');
        let place = keys.filter_map(|key| key.split_once('=')).find_map(|(key, value)| match key {
            "path" => Some(SocketAddr::from_pathname(value)),
            "abstract" => Some(SocketAddr::from_abstract_name(value)),
            _ => None,
        });
        match place.map(|place| place.and_then(|place| UnixStream::connect_addr(&place))) {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => refused = error,
            None => {}
        }
    }
    Err(refused)
}

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
/// `NO_AUTO_START`
const AS_IT_IS: u8 = 2;

fn message(serial: u32, to: Callee, method: &str, arguments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    arguments.iter().for_each(|argument| put_text(&mut body, argument));
    let order = if cfg!(target_endian = "big") { b'B' } else { b'l' };
    let mut bytes = vec![order, CALL, AS_IT_IS, 1];
    put_number(&mut bytes, length(&body));
    put_number(&mut bytes, serial);
    let mut fields = Vec::new();
    for (code, kind, value) in
        [(1, b'o', to.path), (2, b's', to.interface), (3, b's', method), (6, b's', to.name)]
    {
        align(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        put_text(&mut fields, value);
    }
    if !arguments.is_empty() {
        align(&mut fields, 8);
        fields.extend([8, 1, b'g', 0]);
        fields.push(u8::try_from(arguments.len()).unwrap_or(u8::MAX));
        fields.extend(arguments.iter().map(|_| b's'));
        fields.push(0);
    }
    put_number(&mut bytes, length(&fields));
    bytes.extend(fields);
    align(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_number(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend(number.to_ne_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, length(text.as_bytes()));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A message that has come.
struct Incoming {
    kind: u8,
    /// The number of the call that it answers.
    of: Option<u32>,
    error: String,
    signature: String,
    body: Vec<u8>,
}

impl Incoming {
    /// Reads one message, and not a byte more.
    fn hear(from: &mut impl Read) -> io::Result<Incoming> {
        let mut fixed = [0; 16];
        from.read_exact(&mut fixed)?;
        let [order, kind, ..] = fixed;
        let is_big = order == b'B';
        let mut fixed = Cursor { bytes: &fixed, at: 4, is_big };
        let (body, _, fields) = (fixed.number(), fixed.number(), fixed.number());
        let (Some(body), Some(fields)) = (body, fields) else { return Err(nonsense("less than a header")) };
        if body > LONGEST || fields > LONGEST {
            return Err(nonsense("more than was asked for"));
        }
        let mut rest = vec![0; (fields.next_multiple_of(8) + body) as usize];
        from.read_exact(&mut rest)?;
        let (header, body) = rest.split_at_checked(fields.next_multiple_of(8) as usize).unwrap_or_default();
        let header = header.get(..fields as usize).unwrap_or_default();
        Incoming::read(kind, Cursor { bytes: header, at: 0, is_big }, body)
            .ok_or_else(|| nonsense("a header that cannot be read"))
    }

    fn read(kind: u8, mut fields: Cursor<'_>, body: &[u8]) -> Option<Incoming> {
        let body = Cursor { bytes: body, ..fields }.in_our_order()?;
        let mut all = Incoming { kind, of: None, error: String::new(), signature: String::new(), body };
        while !fields.is_at_the_end() {
            fields.align(8);
            let code = fields.byte()?;
            match (code, fields.signature()?.as_str()) {
                (5, "u") => all.of = Some(fields.number()?),
                (4, "s") => all.error = fields.text()?,
                (8, "g") => all.signature = fields.signature()?,
                (_, "u") => drop(fields.number()?),
                (_, "g") => drop(fields.signature()?),
                (_, "s" | "o") => drop(fields.text()?),
                _ => return None,
            }
        }
        Some(all)
    }
}

/// What is done with what comes from the bus ([`crate::hostile`]): message after message, each within what came.
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest.len();
        let Ok(Incoming { signature, body, .. }) = Incoming::hear(&mut rest) else { return };
        assert!(rest.len() + 16 + body.len() <= before, "a message that is longer than what came");
        let answer = Answer { signature, body };
        assert!(answer.text().is_none_or(|text| text.chars().count() <= answer.body.len()));
        assert!(answer.truth().is_err() || answer.signature.starts_with('b'));
    }
}

impl Answer {
    /// Its first argument, a text.
    fn text(&self) -> Option<String> {
        let mut body = Cursor { bytes: &self.body, at: 0, is_big: cfg!(target_endian = "big") };
        self.signature.starts_with('s').then(|| body.text()).flatten()
    }

    /// Its first argument, yes or no.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self) -> Result<bool, Refusal> {
        let mut body = Cursor { bytes: &self.body, at: 0, is_big: cfg!(target_endian = "big") };
        let truth = self.signature.starts_with('b').then(|| body.number()).flatten();
        truth.map(|truth| truth != 0).ok_or_else(|| nonsense("neither yes nor no").into())
    }
}

/// Reads what is laid out by alignment.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big: bool,
}

impl Cursor<'_> {
    fn is_at_the_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        let is_big = self.is_big;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    /// The bytes, if nothing in them has to be turned round: whoever answers us is on this machine.
    fn in_our_order(self) -> Option<Vec<u8>> {
        (self.is_big == cfg!(target_endian = "big") || self.bytes.is_empty()).then(|| self.bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What the bus would send for an answer.
    fn incoming(kind: u8, of: u32, fields: &[(u8, u8, &str)], arguments: &[u8]) -> Vec<u8> {
        let mut header = vec![5, 1, b'u', 0];
        put_number(&mut header, of);
        for (code, kind, value) in fields {
            align(&mut header, 8);
            header.extend([*code, 1, *kind, 0]);
            match kind {
                b'g' => {
                    header.push(u8::try_from(value.len()).unwrap());
                    header.extend(value.bytes().chain([0]));
                }
                _ => put_text(&mut header, value),
            }
        }
        let order = if cfg!(target_endian = "big") { b'B' } else { b'l' };
        let mut bytes = vec![order, kind, 0, 1];
        put_number(&mut bytes, length(arguments));
        put_number(&mut bytes, 77);
        put_number(&mut bytes, length(&header));
        bytes.extend(header);
        align(&mut bytes, 8);
        bytes.extend(arguments);
        bytes
    }

    /// Asks a bus that sends this, and tells what it heard of the question.
    fn asks(sends: Vec<u8>) -> (Result<Answer, Refusal>, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let heard = thread::spawn(move || {
            theirs.write_all(&sends).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut bus = Bus { stream: BufReader::new(ours), serial: 0 };
        let answer = bus.call(BUS, "NameHasOwner", &["a.b"]);
        drop(bus);
        (answer, heard.join().unwrap())
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let (_, heard) = asks(Vec::new());
        assert_eq!(heard.len() % 8, 0, "a text of three letters fills eight bytes: {heard:?}");
        let (order, rest) = heard.split_first().unwrap();
        assert_eq!(
            (*order, &rest[..3]),
            (if cfg!(target_endian = "big") { b'B' } else { b'l' }, &[1, 2, 1][..])
        );
        for word in ["/org/freedesktop/DBus\0", "NameHasOwner\0", "\x08\x01g\0\x01s\0", "\0a.b\0"] {
            assert!(heard.windows(word.len()).any(|part| part == word.as_bytes()), "{word:?}");
        }
    }

    #[test]
    fn an_answer_is_told_from_signals_and_errors() {
        let signal = incoming(4, 0, &[(1, b'o', "/x"), (8, b'g', "s")], b"\x01\0\0\0x\0");
        let yes = incoming(RETURN, 1, &[(6, b's', ":1.9"), (8, b'g', "b")], &1_u32.to_ne_bytes());
        let (answer, _) = asks([signal, yes].concat());
        assert!(answer.unwrap().truth().unwrap());
        let mut text = Vec::new();
        put_text(&mut text, "ZONE_ALREADY_SET: x");
        let fields = [(4, b's', "org.fedoraproject.FirewallD1.Exception"), (8, b'g', "s")];
        let refused = asks(incoming(ERROR, 1, &fields, &text)).0.unwrap_err();
        assert!(matches!(&refused, Refusal::Said(name, _) if name.ends_with("Exception")), "{refused:?}");
        assert_eq!(refused.to_string(), "ZONE_ALREADY_SET: x");
    }

    #[test]
    fn nonsense_is_an_error_and_nothing_else() {
        for bytes in [
            vec![0; 16],
            vec![0xff; 64],
            incoming(RETURN, 1, &[(6, b'x', "?")], &[]),
            incoming(RETURN, 1, &[(8, b'g', "s")], &[]),
        ] {
            let (answer, _) = asks(bytes);
            assert!(answer.and_then(|answer| answer.truth()).is_err());
        }
    }

    #[test]
    fn addresses_are_alternatives() {
        let none = connect("tcp:host=localhost;unix:path=/nonexistent/socket;unix:abstract=jackfield-nobody");
        assert_eq!(none.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(connect("").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
