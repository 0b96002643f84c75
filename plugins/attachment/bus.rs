//! The system's message bus (D-Bus), as far as somebody has to go who calls a method with a few words and hears one answer. Who we
//! are the bus reads off the socket (`EXTERNAL`); [`wire`] has the messages.
//!
//! Whatever listens there is somebody else's program: each question has one end in time, and whatever is said instead of an answer
//! one in number.

mod wire;

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use wire::{Cursor, ERROR, Incoming, RETURN, message};

/// How long an answer may take: firewalld loads rules before it answers. It is what other clients of the bus allow.
const PATIENCE: Duration = Duration::from_secs(25);

/// How many messages may come before the answer. Who asks for no signals is told his name, and no more.
const OTHERS: usize = 64;

/// How much of an error's text is passed on, in characters.
const TOLD: usize = 1000;

/// A connection to the bus.
pub struct Bus {
    line: BufReader<Line>,
    serial: u32,
}

/// The socket, and until when it is listened to.
struct Line {
    stream: UnixStream,
    patience: Duration,
    until: Instant,
}

impl Line {
    fn of(stream: UnixStream, patience: Duration) -> Line {
        Line { stream, patience, until: Instant::now() + patience }
    }

    /// Asks, and the time for the answer begins.
    fn ask(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.until = Instant::now() + self.patience;
        self.stream.set_write_timeout(Some(self.patience))?;
        self.stream
            .write_all(bytes)
            .map_err(|error| if is_late(&error) { late(self.patience) } else { error })
    }
}

impl Read for Line {
    /// Waits no longer than until the time is over, however little comes at a time.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(self.patience));
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(into) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the bus has hung up")),
            Err(error) if is_late(&error) => Err(late(self.patience)),
            read => read,
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn late(patience: Duration) -> io::Error {
    io::Error::new(
        ErrorKind::TimedOut,
        format!("the bus has not answered within {} s", patience.as_secs_f32()),
    )
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
        let stream = connect(&cni::env::system_bus(), PATIENCE)?;
        let mut bus = Bus { line: BufReader::new(Line::of(stream, PATIENCE)), serial: 0 };
        bus.introduce()?;
        bus.call(BUS, "Hello", &[])?;
        Ok(bus)
    }

    fn introduce(&mut self) -> io::Result<()> {
        self.line.get_mut().ask(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for _ in 0..4 {
            let mut line = Vec::new();
            Read::take(&mut self.line, 1024).read_until(b'\n', &mut line)?;
            match String::from_utf8_lossy(&line).split([' ', '\r']).next().unwrap_or_default() {
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
        self.line.get_mut().ask(&message(self.serial, to, method, arguments))?;
        // What else comes are signals: the bus tells us our name.
        for _ in 0..OTHERS {
            let answer = Incoming::hear(&mut self.line)?;
            if answer.of != Some(self.serial) {
                continue;
            }
            let Incoming { kind, error, signature, body, .. } = answer;
            let answer = Answer { signature, body };
            let told = || answer.text().unwrap_or_default().chars().take(TOLD).collect();
            return match kind {
                RETURN => Ok(answer),
                ERROR => Err(Refusal::Said(error.chars().take(TOLD).collect(), told())),
                _ => Err(nonsense("something else").into()),
            };
        }
        Err(nonsense("what was not asked for").into())
    }
}

/// The addresses are alternatives: `unix:path=/run/dbus/system_bus_socket;unix:abstract=name,guid=…`.
fn connect(addresses: &str, patience: Duration) -> io::Result<UnixStream> {
    let mut refused = io::Error::new(ErrorKind::NotFound, format!("no address of a bus: {addresses:?}"));
    for address in addresses.split(';') {
        let keys = address.strip_prefix("unix:").unwrap_or_default().split(',');
        let place = keys.filter_map(|key| key.split_once('=')).find_map(|(key, value)| match key {
            "path" => Some(SocketAddrUnix::new(value)),
            "abstract" => Some(SocketAddrUnix::new_abstract_name(value.as_bytes())),
            _ => None,
        });
        match place.map(|place| place.map_err(io::Error::from).and_then(|place| reach(&place, patience))) {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => refused = error,
            None => {}
        }
    }
    Err(refused)
}

/// Connects, in time: where more are waiting than the bus takes, the kernel lets us wait as long as we write.
fn reach(place: &SocketAddrUnix, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    match retry_on_intr(|| rustix::net::connect(&socket, place)).map_err(io::Error::from) {
        Err(error) if is_late(&error) => Err(late(patience)),
        connected => connected.map(|()| UnixStream::from(socket)),
    }
}

impl Answer {
    /// Its first argument, a text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self) -> Result<String, Refusal> {
        let mut body = Cursor { bytes: &self.body, at: 0, is_big: cfg!(target_endian = "big") };
        let text = self.signature.starts_with('s').then(|| body.text()).flatten();
        text.ok_or_else(|| nonsense("no text").into())
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

/// What is done with what comes from the bus ([`crate::hostile`]): message after message, each within what came.
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest.len();
        let Ok(Incoming { signature, body, .. }) = Incoming::hear(&mut rest) else { return };
        assert!(rest.len() + 16 + body.len() <= before, "a message that is longer than what came");
        let answer = Answer { signature, body };
        assert!(answer.text().ok().is_none_or(|text| text.chars().count() <= answer.body.len()));
        assert!(answer.truth().is_err() || answer.signature.starts_with('b'));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::wire::{align, length, put_number, put_text};
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
        let mut bus = Bus { line: BufReader::new(Line::of(ours, PATIENCE)), serial: 0 };
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

    /// A bus that goes on with this, piece after piece, until nobody hears it.
    fn hears_without_end(piece: &[u8], patience: Duration) -> Refusal {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let piece = piece.to_vec();
        let speaks = thread::spawn(move || while theirs.write_all(&piece).is_ok() {});
        let mut bus = Bus { line: BufReader::new(Line::of(ours, patience)), serial: 0 };
        let refusal = bus.call(BUS, "NameHasOwner", &["a.b"]).unwrap_err();
        drop(bus);
        speaks.join().unwrap();
        refusal
    }

    #[test]
    fn whoever_says_everything_but_the_answer_is_not_listened_to_for_ever() {
        let signal = incoming(4, 0, &[(1, b'o', "/x"), (8, b'g', "s")], b"\x01\0\0\0x\0");
        let refusal = hears_without_end(&signal, PATIENCE).to_string();
        assert!(refusal.contains("what was not asked for"), "{refusal}");
    }

    #[test]
    fn an_answer_that_does_not_come_is_waited_for_once() {
        let soon = Duration::from_millis(20);
        // Somebody who says nothing, and somebody who promises a megabyte and says it letter by letter.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut bus = Bus { line: BufReader::with_capacity(1, Line::of(ours, soon)), serial: 0 };
        let silence = bus.call(BUS, "NameHasOwner", &["a.b"]).unwrap_err();
        theirs.write_all(&[b'l', RETURN, 0, 1, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let speaks = thread::spawn(move || while theirs.write_all(b"x").is_ok() {});
        let drops = bus.call(BUS, "NameHasOwner", &["a.b"]).unwrap_err();
        drop(bus);
        speaks.join().unwrap();
        for refusal in [silence, drops] {
            assert_eq!(refusal.to_string(), "the bus has not answered within 0.02 s");
        }
    }

    #[test]
    fn a_bus_that_takes_nobody_in_is_waited_for_once() {
        let folder = std::env::temp_dir().join(format!("jackfield-bus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("socket");
        let bus = UnixListener::bind(&socket).unwrap();
        nix::sys::socket::listen(&bus, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let address = format!("unix:path={}", socket.display());
        // One is let wait, and the next one is not.
        let waiting = connect(&address, PATIENCE).unwrap();
        let refused = connect(&address, Duration::from_millis(20)).unwrap_err();
        assert_eq!(refused.to_string(), "the bus has not answered within 0.02 s");
        drop((waiting, bus));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn of_a_long_complaint_the_beginning_is_told() {
        let mut text = Vec::new();
        put_text(&mut text, &"x".repeat(100_000));
        let refused = asks(incoming(ERROR, 1, &[(4, b's', "a.b"), (8, b'g', "s")], &text)).0.unwrap_err();
        assert_eq!(refused.to_string().len(), TOLD);
    }

    #[test]
    fn addresses_are_alternatives() {
        let connect = |addresses| connect(addresses, PATIENCE);
        let none = connect("tcp:host=localhost;unix:path=/nonexistent/socket;unix:abstract=jackfield-nobody");
        assert_eq!(none.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(connect("").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
