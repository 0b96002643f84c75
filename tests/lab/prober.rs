//! Somebody in a place who asks many at once, and answers whoever asks: this very test program, started there.
//!
//! That nobody answers is known without a clock. Everything in a world that takes part runs on one processor, where the
//! kernel takes packets from links in the order in which they were sent, one queue for all namespaces. A *turn* sends a
//! packet to oneself and answers whatever comes before it: then every packet that was under way has gone one link further.
//! After more turns than a way there and back has links, an answer that has not come does not come.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, sendto,
    setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use super::place::Place;
use super::world;

/// What the started program is to do.
const ROLE: &str = "JACKFIELD_LAB_PROBER";
/// Where everybody answers, by TCP and UDP.
pub const PORT: u16 = 8080;
/// More than any way there and back has links.
const TURNS: usize = 16;

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// `icmp`, `tcp` or `udp`.
    pub protocol: &'static str,
    pub to: SocketAddr,
    /// An address of one's own.
    pub from: Option<IpAddr>,
}

/// Somebody who asks and answers. He ends with this value.
pub struct Prober {
    child: Child,
    hears: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From now on this thread, and whatever it starts, runs on one processor. Worlds are spread over all.
pub fn stay_on_one_processor(world: usize) {
    let here = Pid::from_raw(0);
    let all = sched_getaffinity(here).unwrap();
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap()).collect();
    let mut one = CpuSet::new();
    one.set(usable[world % usable.len()]).unwrap();
    sched_setaffinity(here, &one).unwrap();
}

impl Prober {
    /// Starts one, who answers from now on.
    pub fn start(place: &Place) -> Prober {
        place.sh("ip link set lo up");
        let own = std::env::current_exe().unwrap();
        let mut command: Command = place.command(own.to_str().unwrap());
        command.args(["--exact", "lab::prober::speak", "--nocapture", "--test-threads=1"]).env(ROLE, "yes");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this program");
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut prober = Prober { hears: child.stdin.take().unwrap(), says, child };
        prober.until("ready");
        prober
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.hears, "{words}").expect("a prober hears");
    }

    /// What he says before that word.
    fn until(&mut self, end: &str) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.says.next() {
                Some(Ok(line)) if line == end => return said,
                Some(Ok(line)) => said.push(line),
                _ => panic!("a prober has ended: {said:?}"),
            }
        }
    }

    /// Sends a router advertisement from his link-local address by a link, as soon as he has one that he may use.
    pub fn advertise(&mut self, place: &Place, link: u32, to: Ipv6Addr) {
        let usable = "until ip -6 addr show dev eth0 scope link -tentative | grep fe80; do :; done";
        let said = place.sh(&format!("timeout 20 sh -c '{usable}'"));
        let own = said.split(['/', ' ']).find(|word| word.starts_with("fe80")).expect("an address");
        self.tell(&format!("advertise {own} {link} {to}"));
        self.until("advertised");
    }
}

/// Lets each of these ask what stands behind his number, all at once. An answer is `yes`, or by UDP the address that was seen.
pub fn ask(probers: &mut [Prober], questions: &[(usize, Question)]) -> Vec<Option<String>> {
    for (number, (who, Question { protocol, to, from })) in questions.iter().enumerate() {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        probers[*who].tell(&format!("ask {number} {protocol} {to} {}", from.unwrap_or(any)));
    }
    settle(probers);
    let mut answers = BTreeMap::new();
    for prober in probers {
        prober.tell("judge");
        for line in prober.until("judged") {
            if let Some((number, answer)) = line.split_once(' ') {
                answers.insert(number.parse::<usize>().unwrap(), answer.to_owned());
            }
        }
    }
    (0..questions.len()).map(|number| answers.remove(&number)).collect()
}

/// Everything that was under way has arrived, or does not arrive.
pub fn settle(probers: &mut [Prober]) {
    for _ in 0..TURNS {
        for prober in &mut *probers {
            prober.tell("turn");
            prober.until("turned");
        }
    }
}

/// Not a test, but what the started programs do.
#[test]
fn speak() {
    if world::variable(ROLE).is_none() {
        return;
    }
    // Who may ping without being root: root, here.
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
    let server = UdpSocket::bind(("::", PORT)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let listener = TcpListener::bind(("::", PORT)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let marker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut asked: Vec<(String, Asked)> = Vec::new();
    println!("\nready");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["ask", number, protocol, to, from] => {
                let question = send(protocol, to.parse().unwrap(), from.parse().unwrap());
                asked.extend(question.ok().map(|question| ((*number).to_owned(), question)));
            }
            ["turn"] => {
                turn(&server, &listener, &marker);
                println!("turned");
            }
            ["judge"] => {
                for (number, question) in asked.drain(..) {
                    if let Some(answer) = question.answer() {
                        println!("{number} {answer}");
                    }
                }
                println!("judged");
            }
            ["advertise", from, link, to] => {
                advertise(from.parse().unwrap(), link.parse().unwrap(), to.parse().unwrap());
                println!("advertised");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a packet to oneself, and answers what comes before it.
fn turn(server: &UdpSocket, listener: &TcpListener, marker: &UdpSocket) {
    let own = marker.local_addr().unwrap();
    marker.send_to(b"turn", ("127.0.0.1", PORT)).unwrap();
    loop {
        let (_, asker) = server.recv_from(&mut [0; 64]).expect("what was sent to oneself");
        let ip = asker.ip().to_canonical();
        if (ip, asker.port()) == (own.ip(), own.port()) {
            break;
        }
        let _ = server.send_to(ip.to_string().as_bytes(), asker);
    }
    while listener.accept().is_ok() {}
}

/// A question that was sent.
enum Asked {
    Ping(OwnedFd),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Asked {
    fn answer(self) -> Option<String> {
        match self {
            Asked::Tcp(stream) => stream.peer_addr().ok().map(|_| "yes".to_owned()),
            Asked::Udp(socket) => {
                let mut answer = [0; 64];
                let length = socket.recv(&mut answer).ok()?;
                Some(String::from_utf8_lossy(&answer[..length]).into_owned())
            }
            Asked::Ping(socket) => {
                let mut answer = [0; 64];
                let length = std::fs::File::from(socket).read(&mut answer).ok()?;
                // Echo replies, of both families.
                (length > 0 && [0, 129].contains(&answer[0])).then(|| "yes".to_owned())
            }
        }
    }
}

fn send(protocol: &str, to: SocketAddr, from: IpAddr) -> std::io::Result<Asked> {
    let own = SocketAddr::new(from, 0);
    if protocol == "udp" {
        let socket = UdpSocket::bind(own)?;
        socket.set_nonblocking(true)?;
        // Who listens at every address of his answers from the nearest. What the network makes of it is another matter: from
        // a port that leads elsewhere the answer comes from where was asked, or not at all.
        if to.port() == PORT {
            socket.send_to(b"?", to)?;
        } else {
            socket.connect(to)?;
            socket.send(b"?")?;
        }
        return Ok(Asked::Udp(socket));
    }
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, what) = match (protocol, to.is_ipv4()) {
        ("tcp", _) => (SockType::Stream, SockProtocol::Tcp),
        (_, true) => (SockType::Datagram, SockProtocol::Icmp),
        (_, false) => (SockType::Datagram, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let one = socket(family, kind, flags, what)?;
    bind(one.as_raw_fd(), &SockaddrStorage::from(own))?;
    match connect(one.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    if protocol == "tcp" {
        return Ok(Asked::Tcp(one.into()));
    }
    // An echo request; the kernel fills in who asks, and the sum.
    let mut socket = std::fs::File::from(one);
    socket.write_all(&[if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 1])?;
    Ok(Asked::Ping(socket.into()))
}

/// A router that lives for half an hour, in a packet that has not passed any other.
fn advertise(from: Ipv6Addr, link: u32, to: Ipv6Addr) {
    let one =
        socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6).unwrap();
    setsockopt(&one, sockopt::Ipv6Ttl, &255).unwrap();
    bind(one.as_raw_fd(), &SockaddrStorage::from(SocketAddr::V6(SocketAddrV6::new(from, 0, 0, link))))
        .unwrap();
    let message = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let to = SockaddrStorage::from(SocketAddr::V6(SocketAddrV6::new(to, 0, 0, 0)));
    sendto(one.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
}
