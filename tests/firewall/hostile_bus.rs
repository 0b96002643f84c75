//! A bus that does not do as a bus should: it floods, lies, promises, hangs up. ADD says so, in little memory, and has then
//! undone what it had done by the same bus.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::{Container, OURS};
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
const WRONGS: [(Wrong, usize, &str); 14] = [
    (Wrong::HangsUp, 0, "hung up"),
    (Wrong::Garbage, 0, "does not know us"),
    (Wrong::HangsUp, 1, "hung up"),
    (Wrong::Garbage, 1, "the bus answers with"),
    (Wrong::Flood, 1, "what was not asked for"),
    (Wrong::TooMuch, 1, "more than was asked for"),
    (Wrong::Fields, 2, "a header that cannot be read"),
    (Wrong::Sort, 2, "neither yes nor no"),
    (Wrong::Part, 2, "hung up"),
    (Wrong::Flood, 3, "what was not asked for"),
    (Wrong::Complaint, 3, "failed to add the address 10.9.0.2 to trusted zone"),
    (Wrong::HangsUp, 4, "failed to add the address fd00:9::2 to trusted zone"),
    (Wrong::Flood, 4, "what was not asked for"),
    (Wrong::Part, 4, "hung up"),
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

/// A conversation, in which one answer is wrong; every question is written down.
fn converse(
    stream: UnixStream,
    (wrong, at): (Wrong, usize),
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = stream;
    let mut first = [0; 64];
    let length = stream.read(&mut first)?;
    assert!(first[..length].starts_with(b"\0AUTH EXTERNAL"));
    if at == 0 {
        return goes_wrong(&mut stream, wrong, 0);
    }
    stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n")?;
    let mut number = 0;
    while let Some((serial, words)) = question(&mut stream) {
        number += 1;
        heard.lock().unwrap().push(words.clone());
        if number == at {
            return goes_wrong(&mut stream, wrong, serial);
        }
        stream.write_all(&match words {
            words if words.contains("NameHasOwner") => message(RETURN, serial, "b", &1_u32.to_le_bytes()),
            _ => message(RETURN, serial, "s", &text("trusted")),
        })?;
    }
    Ok(())
}

#[test]
fn a_hostile_bus_is_told_in_time_and_what_it_took_is_asked_back() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web").with("backend", json!("firewalld"));
        let bus = UnixListener::bind(SOCKET).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let turn = Arc::new(Mutex::new((Wrong::Nothing, usize::MAX)));
        let (of_thread, next) = (heard.clone(), turn.clone());
        // It ends with the world. It is wrong once, and has no part in it when it is asked to take something back.
        thread::spawn(move || {
            for stream in bus.incoming() {
                let wrong = std::mem::replace(&mut *next.lock().unwrap(), (Wrong::Nothing, usize::MAX));
                let heard = of_thread.clone();
                thread::spawn(move || converse(stream.unwrap(), wrong, &heard));
            }
        });
        let call = |verb: &str| {
            let call = web.wall.call_with(verb, &web.result).under(&BOUNDS);
            call.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={SOCKET}"))
        };
        let before = (host.snapshot(), web.pod.snapshot());
        for (wrong, at, words) in WRONGS {
            heard.lock().unwrap().clear();
            *turn.lock().unwrap() = (wrong, at);
            let answer = call("ADD").run();
            let fault = answer.fails(999).names(&[words]);
            assert!(fault.msg.len() < 3000, "{wrong:?} at {at}: {} bytes", fault.msg.len());
            // Also what it may have taken without saying so.
            let heard: Vec<String> = std::mem::take(&mut *heard.lock().unwrap());
            let is_asked_back = |address: &str| {
                heard.iter().any(|words| words.contains("removeSource") && words.contains(address))
            };
            let back = ["10.9.0.2/32", "fd00:9::2/128"].map(is_asked_back);
            let lost = !matches!(wrong, Wrong::Complaint);
            assert_eq!(back, [at == 4 || (at == 3 && lost), at == 4], "{wrong:?} at {at}: {heard:?}");
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&web.pod.snapshot(), &[]);
        }
        call("ADD").run().result();
        *turn.lock().unwrap() = (Wrong::Flood, 3);
        call("DEL").run().fails(999).names(&["failed to remove the address", "what was not asked for"]);
        call("DEL").run().silent();
        before.0.same_as(&host.snapshot(), &[Shared::Records]);
    });
}
