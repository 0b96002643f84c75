//! A bus that does not do as a bus should: it floods, lies, promises, hangs up. ADD says so, in little memory, and has then
//! undone what it had done by the same bus.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::{Container, OURS};
use crate::lab::call::Call;
use crate::lab::lab_with;
use crate::lab::snapshot::Shared;

const SOCKET: &str = "/run/lab/hostile-bus";

/// 64 MiB of addresses, and no end of patience.
const BOUNDS: [&str; 4] = ["sh", "-c", "ulimit -v 65536; exec timeout -s KILL 60 \"$@\"", "sh"];

const SIGNAL: u8 = 4;
const ERROR: u8 = 3;
const RETURN: u8 = 2;

/// What comes in the place of an answer.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nothing,
    HangsUp,
    Garbage,
    /// Signals, for as long as they are heard.
    Flood,
    /// A body of two gigabytes.
    TooMuch,
    /// A body of half a megabyte, of which a part comes.
    Part,
    /// Header fields of no known type.
    Fields,
    /// Another sort of argument, where one is expected.
    Sort,
    /// A long complaint that would clear a terminal.
    Complaint,
}

/// What is wrong, at which question (the first is who we are), and the words by which ADD tells it.
const WRONGS: [(Wrong, usize, &str); 16] = [
    (Wrong::HangsUp, 0, "hung up"),
    (Wrong::Garbage, 0, "does not know us"),
    (Wrong::HangsUp, 1, "hung up"),
    (Wrong::Garbage, 1, "the bus answers with"),
    (Wrong::Flood, 1, "what was not asked for"),
    (Wrong::TooMuch, 1, "more than was asked for"),
    (Wrong::Fields, 2, "a header that cannot be read"),
    (Wrong::Sort, 2, "neither yes nor no"),
    (Wrong::Part, 2, "hung up"),
    (Wrong::Sort, 3, "neither yes nor no"),
    (Wrong::Flood, 4, "what was not asked for"),
    (Wrong::Complaint, 4, "failed to add the address 10.9.0.2 to trusted zone"),
    (Wrong::Part, 5, "hung up"),
    (Wrong::HangsUp, 6, "failed to add the address fd00:9::2 to trusted zone"),
    (Wrong::Flood, 6, "what was not asked for"),
    (Wrong::Part, 6, "hung up"),
];

fn message(kind: u8, of: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend(of.to_le_bytes());
    fields.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap()]);
    fields.extend(signature.bytes().chain([0]));
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend([length(body), 7_u32.to_le_bytes(), length(&fields)].concat());
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    [&length[..], text.as_bytes(), &[0]].concat()
}

/// One question: its number, and all of its words.
fn question(from: &mut UnixStream) -> Option<(u32, String)> {
    let mut fixed = [0; 16];
    from.read_exact(&mut fixed).ok()?;
    let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().unwrap());
    let mut rest = vec![0; (number(12).next_multiple_of(8) + number(4)) as usize];
    from.read_exact(&mut rest).ok()?;
    Some((number(8), String::from_utf8_lossy(&rest).into_owned()))
}

/// What comes in the place of the answer to this question. Nobody is left to be answered then.
fn goes_wrong(to: &mut UnixStream, wrong: Wrong, of: u32) -> std::io::Result<()> {
    let whole = message(RETURN, of, "s", &text(&"x".repeat(1 << 19)));
    match wrong {
        Wrong::Nothing | Wrong::HangsUp => return Ok(()),
        Wrong::Garbage => to.write_all(&[b"l\xff \xff\r\n", [0xff; 64].as_slice()].concat())?,
        Wrong::Flood => loop {
            to.write_all(&message(SIGNAL, 0, "s", &text("x")))?;
        },
        Wrong::TooMuch => {
            let [mut lying, length] = [message(RETURN, of, "s", b""), 0x7fff_ffff_u32.to_le_bytes().to_vec()];
            lying[4..8].copy_from_slice(&length);
            to.write_all(&lying)?;
        }
        Wrong::Part => return to.write_all(&whole[..whole.len() / 2]),
        Wrong::Fields => {
            let mut odd = message(RETURN, of, "s", b"");
            odd[18] = b'a';
            to.write_all(&odd)?;
        }
        Wrong::Sort => to.write_all(&message(RETURN, of, "s", &text("yes")))?,
        Wrong::Complaint => to.write_all(&message(ERROR, of, "s", &text(&"\u{1b}[2J%s".repeat(100_000))))?,
    }
    // Whoever has heard enough hangs up.
    to.read(&mut [0; 1]).map(drop)
}

/// What is different this time.
#[derive(Clone, Copy, Debug)]
struct Turn {
    wrong: Wrong,
    at: usize,
    /// Whether every address is in the zone before.
    is_there: bool,
}

const NOTHING: Turn = Turn { wrong: Wrong::Nothing, at: usize::MAX, is_there: false };

/// It is wrong once, and has no part in it when it is asked to take something back. It ends with the world.
#[derive(Clone, Debug)]
struct HostileBus {
    heard: Arc<Mutex<Vec<String>>>,
    /// One for each conversation, the last one first.
    turns: Arc<Mutex<Vec<Turn>>>,
}

impl HostileBus {
    fn start() -> HostileBus {
        let bus = HostileBus { heard: Arc::default(), turns: Arc::default() };
        let (listener, of_thread) = (UnixListener::bind(SOCKET).unwrap(), bus.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let turn = of_thread.turns.lock().unwrap().pop().unwrap_or(NOTHING);
                let bus = of_thread.clone();
                thread::spawn(move || bus.converse(stream.unwrap(), turn));
            }
        });
        bus
    }

    /// From now on it is wrong like this, and has heard nothing.
    fn will(&self, wrong: Wrong, at: usize, is_there: bool) {
        self.heard.lock().unwrap().clear();
        *self.turns.lock().unwrap() = vec![Turn { wrong, at, is_there }];
    }

    /// And the conversation after that one is wrong, too.
    fn and_then(&self, wrong: Wrong, at: usize) {
        self.turns.lock().unwrap().insert(0, Turn { wrong, at, is_there: false });
    }

    /// Whether it was asked this about an address.
    fn was_asked(&self, method: &str, address: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.iter().any(|words| words.contains(method) && words.contains(address))
    }

    /// A conversation, in which one answer is wrong; every question is written down.
    fn converse(&self, stream: UnixStream, turn: Turn) -> std::io::Result<()> {
        let mut stream = stream;
        let mut first = [0; 64];
        let length = stream.read(&mut first)?;
        assert!(first[..length].starts_with(b"\0AUTH EXTERNAL"));
        if turn.at == 0 {
            return goes_wrong(&mut stream, turn.wrong, 0);
        }
        stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n")?;
        let mut number = 0;
        while let Some((serial, words)) = question(&mut stream) {
            number += 1;
            self.heard.lock().unwrap().push(words.clone());
            if number == turn.at {
                return goes_wrong(&mut stream, turn.wrong, serial);
            }
            let truth = |it| message(RETURN, serial, "b", &u32::to_le_bytes(it));
            stream.write_all(&match words {
                words if words.contains("NameHasOwner") => truth(1),
                words if words.contains("querySource") => truth(turn.is_there.into()),
                _ => message(RETURN, serial, "s", &text("trusted")),
            })?;
        }
        Ok(())
    }
}

const ADDRESSES: [&str; 2] = ["10.9.0.2/32", "fd00:9::2/128"];

fn call(web: &Container<'_>, verb: &str) -> Call {
    let call = web.wall.call_with(verb, &web.result).under(&BOUNDS);
    call.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={SOCKET}"))
}

#[test]
fn a_hostile_bus_is_told_in_time_and_what_it_took_is_asked_back() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").with("backend", json!("firewalld"));
        let bus = HostileBus::start();
        let before = (host.snapshot(), web.pod.snapshot());
        for (wrong, at, words) in WRONGS {
            bus.will(wrong, at, false);
            let answer = call(&web, "ADD").run();
            let fault = answer.fails(999).names(&[words]);
            assert!(fault.msg.len() < 3000, "{wrong:?} at {at}: {} bytes", fault.msg.len());
            // Also what it may have taken without saying so.
            let back = ADDRESSES.map(|address| bus.was_asked("removeSource", address));
            let lost = !matches!(wrong, Wrong::Complaint);
            assert_eq!(back, [at > 4 || (at == 4 && lost), at == 6], "{wrong:?} at {at}: {bus:?}");
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&web.pod.snapshot(), &[]);
        }
        call(&web, "ADD").run().result();
        bus.will(Wrong::Flood, 3, false);
        call(&web, "DEL").run().fails(999).names(&["failed to remove the address", "what was not asked for"]);
        call(&web, "DEL").run().silent();
        before.0.same_as(&host.snapshot(), &[Shared::Records]);
    });
}

/// DEL knows then what nobody could ask back.
#[test]
fn what_the_bus_does_not_give_back_is_in_the_record() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").with("backend", json!("firewalld"));
        let before = host.snapshot();
        let bus = HostileBus::start();
        for (at, back_at) in [(4, 0), (4, 1), (4, 3), (6, 3)] {
            bus.will(Wrong::HangsUp, at, false);
            bus.and_then(Wrong::HangsUp, back_at);
            let add = call(&web, "ADD").run();
            let words = ["hung up", "not undone"];
            assert!(add.fails(999).names(&words[..1]).details.contains(words[1]), "{add}");
            assert!(host.sh("ls /run/jackfield/attachments").contains(".firewall"), "{at} {back_at}");
            // A runtime has no result of an ADD that has failed.
            bus.will(Wrong::Nothing, usize::MAX, false);
            let del = web.wall.call("DEL").env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={SOCKET}"));
            del.run().silent();
            assert!(ADDRESSES[..at / 2 - 1].iter().all(|it| bus.was_asked("removeSource", it)), "{bus:?}");
            before.same_as(&host.snapshot(), &[Shared::Records]);
            assert!(!host.sh("ls /run/jackfield/attachments").contains(".firewall"), "{at} {back_at}");
        }
    });
}

#[test]
fn what_was_in_the_zone_before_an_add_stays_there_when_the_bus_breaks() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").with("backend", json!("firewalld"));
        let bus = HostileBus::start();
        let stays = || {
            assert!(ADDRESSES.iter().all(|address| !bus.was_asked("removeSource", address)), "{bus:?}");
        };
        // The administrator had put the first address there; the bus breaks at the second.
        bus.will(Wrong::HangsUp, 4, true);
        call(&web, "ADD").run().fails(999).names(&["failed to add the address fd00:9::2"]);
        assert!(!bus.was_asked("addSource", ADDRESSES[0]), "{bus:?}");
        stays();
        // An earlier ADD had.
        call(&web, "ADD").run().result();
        for at in [3, 4] {
            bus.will(Wrong::HangsUp, at, false);
            call(&web, "ADD").run().fails(999).names(&["failed to add the address"]);
            assert!(bus.was_asked("addSource", ADDRESSES[at - 3]), "{bus:?}");
            stays();
        }
        call(&web, "DEL").run().silent();
        assert!(ADDRESSES.iter().all(|address| bus.was_asked("removeSource", address)), "{bus:?}");
    });
}

/// Where there is no bus, firewalld does not run. Of a bus that does not tell nobody knows, and DEL is for the next time too.
#[test]
fn del_knows_a_bus_that_is_not_there_from_one_that_does_not_tell() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").with("backend", json!("firewalld"));
        let web = web.with("ingressPolicy", json!("isolated"));
        let before = host.snapshot();
        let bus = HostileBus::start();
        call(&web, "ADD").run().result();
        assert!(host.sh("nft list ruleset").contains("10.9.0.2"));
        for (wrong, at) in [(Wrong::HangsUp, 0), (Wrong::Garbage, 0), (Wrong::HangsUp, 1), (Wrong::Flood, 2)]
        {
            bus.will(wrong, at, false);
            call(&web, "DEL").run().fails(999).names(&["ask the system's bus for firewalld"]);
            assert!(!host.sh("nft list ruleset").contains("10.9.0.2"), "the rest is done");
        }
        bus.will(Wrong::Nothing, usize::MAX, false);
        call(&web, "DEL").run().silent();
        assert!(ADDRESSES.iter().all(|address| bus.was_asked("removeSource", address)), "{bus:?}");
        before.same_as(&host.snapshot(), &[Shared::Records]);
        // Nobody listens there any more.
        drop(UnixListener::bind("/run/lab/nobody").unwrap());
        for address in ["unix:path=/nonexistent/socket", "unix:path=/run/lab/nobody"] {
            call(&web, "ADD").run().result();
            call(&web, "DEL").env("DBUS_SYSTEM_BUS_ADDRESS", address).run().silent();
            before.same_as(&host.snapshot(), &[Shared::Records]);
        }
    });
}
