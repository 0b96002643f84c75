//! Every place of a JSON document, and what may stand there that should not: nothing is left to chance.
//!
//! Random changes find what many inputs reach. That somebody reads one key of one plugin wrongly, if it holds one certain value,
//! they find by luck. So each value at each depth is replaced by each of [`VALUES`], each key by a stranger's, and each member
//! stands twice.

use std::collections::BTreeSet;
use std::ops::Range;

/// What takes the place of a value, whatever sort it was: the edges of every sort, and what has a meaning to somebody. Of each sort
/// the most telling come first, see [`sample`].
const VALUES: [&str; 86] = [
    "0",
    "1",
    "4294967295",
    "65535",
    "-1",
    "4294967296",
    "2147483648",
    "18446744073709551615",
    "7",
    "-9223372036854775808",
    r#""""#,
    r#""x""#,
    r#""0""#,
    r#""..""#,
    r#""10.9.0.9/24""#,
    r#""::/0""#,
    r#""ff:ff:ff:ff:ff:ff""#,
    r#""a/b.c""#,
    r#""../../etc/passwd""#,
    r#""0.0.0.0""#,
    r#""abcdefghijklmnop""#,
    r#""02:00:00:00:00:09""#,
    r#""a\nb""#,
    "null",
    "true",
    "false",
    "-2147483649",
    "-0",
    "31",
    "32",
    "63",
    "64",
    "67",
    "68",
    "255",
    "256",
    "1279",
    "1280",
    "4094",
    "4095",
    "65536",
    "2147483647",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "0.5",
    "1e308",
    "1e400",
    r#"" ""#,
    r#""-1""#,
    r#""4294967296""#,
    r#""X y""#,
    r#"".""#,
    r#""/""#,
    r#""/etc/passwd""#,
    r#""a\u0000b""#,
    r#""\u001b[2J""#,
    r#""\u202e\u00e9""#,
    r#""%s%n""#,
    r#""$(reboot);`x`""#,
    r#""\"'\\""#,
    r#""*""#,
    r#""IFNAME""#,
    r#""abcdefghijklmno""#,
    r#""::""#,
    r#""0.0.0.0/0""#,
    r#""10.9.0.0/31""#,
    r#""255.255.255.255/32""#,
    r#""224.0.0.1""#,
    r#""10.9.0.256""#,
    r#""10.9.0.0/33""#,
    r#""fd00:9::9/64""#,
    r#""ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128""#,
    r#""::ffff:10.9.0.1""#,
    r#""fe80::1%eth0""#,
    r#""00:00:00:00:00:00""#,
    r#""1.1.0""#,
    "[]",
    "[null]",
    "[0]",
    r#"["x","x"]"#,
    "[[{}]]",
    "{}",
    r#"{"":""}"#,
    r#"{"x":null,"X":[]}"#,
    "",
];

/// What takes the place of a key.
const KEYS: [&str; 6] = [r#""""#, r#""nobody""#, r#""a/b.c""#, r#""..""#, r#""\u0000""#, r#""\u202e\n""#];

/// What stands under a key a second time, in capitals: the last one wins, and objects are united.
const TWICE: [&str; 4] = ["null", "7", r#""x""#, "{}"];

/// What takes the place of a word among the variables before a document: `CNI_ARGS=A=b;C=d` has two.
const WORDS: [&[u8]; 20] = [
    b"",
    b"0",
    b"-1",
    b"true",
    b"4294967296",
    b"x",
    b"..",
    b"a/b",
    b"=",
    b";x;;=y",
    b" ",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"%s%n",
    b"abcdefghijklmnop",
    b"10.9.0.9/24",
    b"fd00:9::9/64",
    b"ff:ff:ff:ff:ff:ff",
    b"/proc/self/ns/net",
];

/// No document is nested more deeply by whoever means well.
const DEEPEST: usize = 32;

/// A value of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The keys that lead to it, as `ipam.ranges[][].subnet`. Items of one list have the same path: to whoever reads them they are
    /// alike.
    pub path: String,
    /// Where the key stands before it, in quotation marks.
    key: Option<Range<usize>>,
    /// Where it stands.
    pub value: Range<usize>,
}

/// All values of a document, which may have something before it: the outermost first. None in what is no document.
pub fn places(bytes: &[u8]) -> Vec<Place> {
    let Some(start) = bytes.iter().position(|byte| matches!(byte, b'{' | b'[')) else { return Vec::new() };
    let mut reader = Reader { bytes, at: start, found: Vec::new() };
    match reader.value("", None, 0).and_then(|()| reader.is_over()) {
        Some(()) => reader.found,
        None => Vec::new(),
    }
}

/// The documents that become of a seed when one value, or one key, is another. A place that is known to have had this value, in
/// another seed, is left as it is.
pub fn changes(seed: &[u8], known: &mut BTreeSet<(String, Vec<u8>)>) -> Vec<Vec<u8>> {
    let mut changed = Vec::new();
    for word in words(seed) {
        let path = String::from_utf8_lossy(&seed[..word.start]).into_owned();
        if known.insert((path, seed[word.clone()].to_vec())) {
            changed.extend(WORDS.iter().map(|other| with(seed, &word, other)));
        }
    }
    for Place { path, key, value } in places(seed) {
        if !known.insert((path, seed[value.clone()].to_vec())) {
            continue;
        }
        changed.extend(VALUES.iter().map(|other| with(seed, &value, other.as_bytes())));
        let Some(key) = key else { continue };
        changed.extend(KEYS.iter().map(|other| with(seed, &key, other.as_bytes())));
        let again = seed[key].to_ascii_uppercase();
        changed.extend(TWICE.iter().map(|other| {
            let twice = [&seed[value.clone()], b",", again.as_slice(), b":", other.as_bytes()].concat();
            with(seed, &value, &twice)
        }));
    }
    changed
}

/// Where words stand among variables: each between its key and the next, or the end of the line.
fn words(seed: &[u8]) -> Vec<Range<usize>> {
    let end = seed.windows(2).position(|pair| pair == b"\n\n").unwrap_or(0);
    let is_end = |at: &usize| matches!(seed[*at], b';' | b'\n');
    let starts = (0..end).filter(|at| seed[*at] == b'=').map(|at| at + 1);
    starts.map(|start| start..(start..end).find(is_end).unwrap_or(end)).collect()
}

/// Documents in each of which one value is another of its own sort, as often at each place among these as the sort has other
/// values: first every place once, then every place a second time.
pub fn sample<'a>(seed: &'a [u8], among: impl Fn(&str) -> bool) -> impl Iterator<Item = Vec<u8>> + 'a {
    let places: Vec<Place> = places(seed).into_iter().filter(|place| among(&place.path)).collect();
    (0..VALUES.len()).flat_map(move |number| {
        let changed = |place: &Place| {
            let own = &seed[place.value.clone()];
            let alike = |value: &&&str| sort(value.bytes().next()) == sort(own.first().copied());
            let mut others = VALUES.iter().filter(alike).filter(|value| value.as_bytes() != own);
            Some(with(seed, &place.value, others.nth(number)?.as_bytes()))
        };
        places.iter().filter_map(changed).collect::<Vec<_>>()
    })
}

/// What sort of value begins like this.
fn sort(first: Option<u8>) -> Option<u8> {
    first.map(|byte| match byte {
        b'-' | b'0'..=b'9' => b'0',
        b't' | b'f' => b't',
        other => other,
    })
}

fn with(seed: &[u8], place: &Range<usize>, other: &[u8]) -> Vec<u8> {
    [&seed[..place.start], other, &seed[place.end..]].concat()
}

/// Goes through a document once.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Vec<Place>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn is_over(&mut self) -> Option<()> {
        self.blank();
        self.peek().is_none().then_some(())
    }

    /// Whether this comes next, behind blanks; then it is behind us.
    fn takes(&mut self, byte: u8) -> bool {
        self.blank();
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn value(&mut self, path: &str, key: Option<Range<usize>>, depth: usize) -> Option<()> {
        self.blank();
        let (start, number) = (self.at, self.found.len());
        self.found.push(Place { path: path.to_owned(), key, value: start..start });
        match self.peek()? {
            _ if depth > DEEPEST => return None,
            b'{' => self.members(path, depth)?,
            b'[' => self.items(path, depth)?,
            b'"' => {
                self.text()?;
            }
            _ => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                while self.peek().is_some_and(word) {
                    self.at += 1;
                }
                (self.at > start).then_some(())?;
            }
        }
        self.found[number].value.end = self.at;
        Some(())
    }

    fn members(&mut self, path: &str, depth: usize) -> Option<()> {
        self.takes(b'{').then_some(())?;
        if self.takes(b'}') {
            return Some(());
        }
        loop {
            self.blank();
            let key = self.text()?;
            let name = String::from_utf8_lossy(&self.bytes[key.start + 1..key.end - 1]).into_owned();
            self.takes(b':').then_some(())?;
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            self.value(&path, Some(key), depth + 1)?;
            if !self.takes(b',') {
                return self.takes(b'}').then_some(());
            }
        }
    }

    fn items(&mut self, path: &str, depth: usize) -> Option<()> {
        self.takes(b'[').then_some(())?;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            self.value(&format!("{path}[]"), None, depth + 1)?;
            if !self.takes(b',') {
                return self.takes(b']').then_some(());
            }
        }
    }

    /// A text, with its quotation marks.
    fn text(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.takes(b'"').then_some(())?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = br#"CNI_ARGS=A=b

{"a":[1,{"b":"x,\"}"}], "c" : {"d":null}}"#;

    #[test]
    fn every_value_has_its_place() {
        let text = |range: Range<usize>| String::from_utf8_lossy(&SEED[range]).into_owned();
        let found: Vec<(String, String)> =
            places(SEED).into_iter().map(|place| (place.path, text(place.value))).skip(1).collect();
        let expected = [
            ("a", r#"[1,{"b":"x,\"}"}]"#),
            ("a[]", "1"),
            ("a[]", r#"{"b":"x,\"}"}"#),
            ("a[].b", r#""x,\"}""#),
            ("c", r#"{"d":null}"#),
            ("c.d", "null"),
        ];
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
        for nonsense in [&b"{"[..], b"[1,]", b"\x7b\x00", b"", b"{\"a\"}", b"[1] x"] {
            assert_eq!(places(nonsense), [], "{}", nonsense.escape_ascii());
        }
        assert_eq!(places(&[b'['; 100_000]), []);
    }

    #[test]
    fn every_place_gets_every_value() {
        let mut known = BTreeSet::new();
        let all = changes(SEED, &mut known);
        let of_keys = 4 * (KEYS.len() + TWICE.len());
        assert_eq!(
            all.len(),
            2 * WORDS.len() + 7 * VALUES.len() + of_keys,
            "two words, seven places, four keys"
        );
        assert!(changes(SEED, &mut known).is_empty(), "what is known is not said again");
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let all: Vec<String> = all.iter().map(text).collect();
        for part in [
            "CNI_ARGS=..\n\n{",
            "CNI_ARGS=A=10.9.0.9/24\n",
            r#""c" : {"d":65536}}"#,
            r#"{"nobody":null}"#,
            r#"{"d":null,"D":7}"#,
            r#"{"a":-1, "c""#,
        ] {
            assert!(all.iter().any(|changed| changed.contains(part)), "{part}");
        }
    }

    #[test]
    fn a_sample_has_every_place_before_any_has_its_second_turn() {
        let seed = br#"{"a":true,"b":0,"c":"x","d":null,"other":1}"#;
        let sampled = sample(seed, |path| ["a", "b", "c", "d"].contains(&path));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let sampled: Vec<String> = sampled.map(text).collect();
        let first = [r#"{"a":false,"b":0,"#, r#""b":1,"c":"x""#, r#""c":"","d""#, r#""b":4294967295,"#];
        assert!(first.iter().zip(&sampled).all(|(part, changed)| changed.contains(part)), "{sampled:?}");
        assert!(sampled.iter().all(|changed| changed.ends_with(r#""d":null,"other":1}"#)));
        assert!(sampled.iter().any(|changed| changed.contains("a/b.c")));
    }
}
