//! Somebody who listens on a port and says who asked, and somebody who asks: this very test program, started in a place. So
//! every world has both, of TCP, of UDP, and of SCTP where the kernel has it, for both families.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, listen,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::place::Place;
use super::world;

/// What the started program is to do.
const ROLE: &str = "JACKFIELD_LAB_ECHO";

/// How long an answer may take that comes; one that does not come is waited for as long.
const PATIENCE: Duration = Duration::from_secs(3);

/// A listener. It ends with this value.
#[derive(Debug)]
pub struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// From now on this place listens on a port, with all its addresses, and answers `<word> <address of who asked>`.
    #[track_caller]
    pub fn listens(&self, protocol: &str, port: u16, word: &str) -> Listener {
        self.listens_at(protocol, SocketAddr::new([0_u16; 8].into(), port), word)
    }

    /// The same at one address.
    #[track_caller]
    pub fn listens_at(&self, protocol: &str, at: SocketAddr, word: &str) -> Listener {
        let mut child =
            program(self, &format!("listen {protocol} {at} {word}")).spawn().expect("this program");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("listening")), "nobody listens at {at}/{protocol}");
        Listener(child)
    }

    /// Asks from here; `None` if there is no answer.
    pub fn asks(&self, protocol: &str, to: &str) -> Option<String> {
        self.asks_from(protocol, 0, to)
    }

    /// The same from a port, so that a flow of UDP packets can go on.
    pub fn asks_from(&self, protocol: &str, port: u16, to: &str) -> Option<String> {
        let output = program(self, &format!("ask {protocol} {to} {port}")).output().expect("this program");
        let said = String::from_utf8(output.stdout).expect("text");
        said.lines().find_map(|line| line.split_once("answer: ")).map(|(_, answer)| answer.to_owned())
    }
}

fn program(place: &Place, role: &str) -> Command {
    let own = std::env::current_exe().expect("the path of this test");
    let mut command = place.command(own.to_str().expect("a plain path"));
    command.args(["--exact", "lab::echo::speak", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Not a test, but what the started programs do.
#[test]
fn speak() {
    let Some(role) = world::variable(ROLE).and_then(|role| role.into_string().ok()) else { return };
    match role.split(' ').collect::<Vec<_>>().as_slice() {
        ["listen", "tcp", at, word] => listen_tcp(at, word),
        ["listen", "udp", at, word] => listen_udp(at, word),
        ["listen", "sctp", at, word] => listen_sctp(at.parse().unwrap(), word),
        ["ask", "tcp", to, _] => ask_tcp(to.parse().unwrap()),
        ["ask", "udp", to, port] => ask_udp(to.parse().unwrap(), port.parse().unwrap()),
        ["ask", "sctp", to, port] => ask_sctp(to.parse().unwrap(), port.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn answer(word: &str, asker: IpAddr) -> String {
    format!("{word} {}", asker.to_canonical())
}

fn listen_tcp(at: &str, word: &str) {
    answer_each(&TcpListener::bind(at).unwrap(), word);
}

fn answer_each(listener: &TcpListener, word: &str) {
    println!("listening");
    for mut stream in listener.incoming().flatten() {
        let asker = stream.peer_addr().map(|asker| asker.ip());
        let _ = asker.and_then(|asker| stream.write_all(answer(word, asker).as_bytes()));
    }
}

fn listen_udp(at: &str, word: &str) {
    let socket = UdpSocket::bind(at).unwrap();
    println!("listening");
    while let Ok((_, asker)) = socket.recv_from(&mut [0; 64]) {
        let _ = socket.send_to(answer(word, asker.ip()).as_bytes(), asker);
    }
}

fn ask_tcp(to: SocketAddr) {
    let Ok(stream) = TcpStream::connect_timeout(&to, PATIENCE) else { return };
    hear(stream);
}

fn hear(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    if stream.read_to_string(&mut answer).is_ok() {
        println!("answer: {answer}");
    }
}

/// A socket for one association, at that address. Once it is connected, or listens, it is used like one of TCP.
pub fn association(at: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let own = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)?;
    setsockopt(&own, sockopt::ReuseAddr, &true)?;
    bind(own.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(own)
}

fn listen_sctp(at: SocketAddr, word: &str) {
    let own = association(at).unwrap();
    listen(&own, Backlog::new(16).unwrap()).unwrap();
    answer_each(&own.into(), word);
}

fn ask_sctp(to: SocketAddr, port: u16) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let own = association(SocketAddr::new(any, port)).unwrap();
    let patience = TimeVal::seconds(PATIENCE.as_secs().try_into().unwrap());
    setsockopt(&own, sockopt::SendTimeout, &patience).unwrap();
    if connect(own.as_raw_fd(), &SockaddrStorage::from(to)).is_ok() {
        hear(own.into());
    }
}

fn ask_udp(to: SocketAddr, port: u16) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 64];
    // An answer from elsewhere than was asked is none.
    let answered = socket.connect(to).and_then(|()| socket.send(b"?")).and_then(|_| socket.recv(&mut answer));
    if let Ok(length) = answered {
        println!("answer: {}", String::from_utf8_lossy(&answer[..length]));
    }
}
