//! The messages of D-Bus on the wire, as its specification lays them out ("Message Protocol"): a fixed part, an array of header
//! fields, each aligned to eight bytes, and the arguments, which are all texts here.

use std::io::{self, Read};

use super::{Callee, nonsense};

/// Longer answers are none to our questions.
const LONGEST: u32 = 1 << 20;

const CALL: u8 = 1;
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
/// `NO_AUTO_START`
const AS_IT_IS: u8 = 2;

/// A call with these texts as its arguments.
pub(super) fn message(serial: u32, to: Callee, method: &str, arguments: &[&str]) -> Vec<u8> {
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

pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

pub(super) fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

pub(super) fn put_number(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend(number.to_ne_bytes());
}

pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, length(text.as_bytes()));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A message that has come.
pub(super) struct Incoming {
    pub(super) kind: u8,
    /// The number of the call that it answers.
    pub(super) of: Option<u32>,
    pub(super) error: String,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl Incoming {
    /// Reads one message, and not a byte more.
    pub(super) fn hear(from: &mut impl Read) -> io::Result<Incoming> {
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

/// Reads what is laid out by alignment.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) is_big: bool,
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

    pub(super) fn number(&mut self) -> Option<u32> {
        self.align(4);
        let is_big = self.is_big;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn text(&mut self) -> Option<String> {
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
