//! Changes an input at random, the same way each time: flipped bits, lying lengths, cut ends, and words and numbers in the
//! place of others, so that what was JSON often still is.

use std::ops::Range;

/// No input grows longer by being changed.
pub const LONGEST: usize = 8192;

/// Numbers at the edges of what somebody may count in.
const EDGES: [&str; 24] = [
    "-1",
    "0",
    "1",
    "2",
    "7",
    "8",
    "31",
    "32",
    "63",
    "64",
    "127",
    "128",
    "255",
    "256",
    "1500",
    "4094",
    "4095",
    "65535",
    "65536",
    "2147483647",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
];

/// Bytes that mean something to somebody.
const BYTES: [u8; 20] =
    [0, 1, 2, 4, 8, 16, 0x7f, 0x80, 0xfe, 0xff, b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'\n', b' '];

/// A row of changes, each following from the seed.
pub struct Mutation {
    state: u64,
    words: Vec<Vec<u8>>,
}

impl Mutation {
    /// The row that has this name, with these words to put in.
    pub fn of(name: &str, words: Vec<Vec<u8>>) -> Mutation {
        let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Mutation { state, words }
    }

    /// The next number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one; 0 below 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// The seed, changed once or several times; `other` is one to take parts from.
    pub fn change(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            self.once(&mut bytes, other);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn once(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(12) {
            0 => self.flip(bytes, at),
            1 => self.put(bytes, at),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(self.part(bytes.len()))),
            4 => {
                let twice = bytes[self.part(bytes.len())].to_vec();
                self.insert(bytes, at, &twice);
            }
            5 => {
                let part = other[self.part(other.len())].to_vec();
                self.insert(bytes, at, &part);
            }
            6 => {
                let end = other[self.below(other.len())..].to_vec();
                bytes.truncate(at);
                bytes.extend(end);
            }
            7 => {
                let word = self.word();
                self.insert(bytes, at, &word);
            }
            8 => self.replace_number(bytes, at),
            9 => self.replace_text(bytes, at),
            10 => self.lie(bytes, at),
            _ => {
                let noise: Vec<u8> = (0..self.below(8)).map(|_| self.next() as u8).collect();
                self.insert(bytes, at, &noise);
            }
        }
    }

    fn flip(&mut self, bytes: &mut [u8], at: usize) {
        let bit = 1 << self.below(8);
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
    }

    fn put(&mut self, bytes: &mut [u8], at: usize) {
        let byte = BYTES[self.below(BYTES.len())];
        bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
    }

    /// A part of so many bytes, mostly a short one.
    fn part(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length);
        let most = if self.below(8) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(most + 1)
    }

    fn insert(&mut self, bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
        bytes.splice(at..at, part.iter().copied());
    }

    fn word(&mut self) -> Vec<u8> {
        let at = self.below(self.words.len());
        self.words.get(at).cloned().unwrap_or_default()
    }

    /// The next digits become a number at the edge of something.
    fn replace_number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let digits = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = bytes.iter().skip(at).position(digits).map(|found| at + found) else { return };
        let end = bytes.iter().skip(start).position(|byte| !digits(byte)).map_or(bytes.len(), |n| start + n);
        let number = EDGES[self.below(EDGES.len())];
        bytes.splice(start..end, number.bytes());
    }

    /// The next text in quotation marks becomes a word, with or without them.
    fn replace_text(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let quote = |from: usize| bytes.iter().skip(from).position(|byte| *byte == b'"').map(|n| from + n);
        let Some(start) = quote(at) else { return };
        let Some(end) = quote(start + 1) else { return };
        let word = self.word();
        bytes.splice(start..=end, word);
    }

    /// Two or four bytes become a length that is not so, in the order of this machine, as netlink has it.
    fn lie(&mut self, bytes: &mut [u8], at: usize) {
        let lengths = [0, 1, 3, 4, 5, 15, 16, 17, bytes.len(), bytes.len() + 1, 0x7fff, 0xffff, 0x7fff_ffff];
        let length = lengths[self.below(lengths.len())] as u32;
        let size = if self.below(2) == 0 { 2 } else { 4 };
        let places = bytes.iter_mut().skip(at & !3).take(size);
        places.zip(length.to_ne_bytes()).for_each(|(place, byte)| *place = byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_change_fits_every_input() {
        let words = vec![b"\"word\"".to_vec()];
        let mut mutation = Mutation::of("test", words);
        for seed in [&b""[..], b"1", b"\"a\":10", &[0; 64]] {
            for other in [&b""[..], b"x\"y\"z"] {
                for _ in 0..2000 {
                    assert!(mutation.change(seed, other).len() <= LONGEST);
                }
            }
        }
    }

    #[test]
    fn json_often_stays_json() {
        let seed = br#"{"mtu":1500,"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}}"#;
        let mut mutation = Mutation::of("json", crate::words());
        let valid = |bytes: &Vec<u8>| {
            let text = String::from_utf8_lossy(bytes);
            text.matches('{').count() == 2 && text.matches('}').count() == 2 && text.ends_with("}}")
        };
        let whole = (0..1000).filter(|_| valid(&mutation.change(seed, seed))).count();
        assert!(whole > 200, "{whole} of 1000");
    }
}
