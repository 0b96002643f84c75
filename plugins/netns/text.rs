//! Names of namespaces, links and processes are other people's texts. On a terminal they could move the cursor or change the
//! title, and right-to-left marks would turn a line around: such characters are written out.

use cni::plain::plain_lines;
use std::borrow::Cow;
use std::io::IsTerminal;

/// A text of any bytes as it can be shown: what is not UTF-8 as `\xff`, what cannot be printed as `\u{202e}`, a backslash
/// doubled, all else as it is.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\'' | '"' => text.push(letter),
                _ => text.extend(letter.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A name for standard output: a program gets its very bytes, as from `ip netns`, and a terminal what [`shown`] makes of them.
pub(crate) fn told(name: &[u8]) -> Cow<'_, [u8]> {
    match std::io::stdout().is_terminal() {
        true => Cow::Owned(shown(name).into_bytes()),
        false => Cow::Borrowed(name),
    }
}

/// JSON for standard output: of the two ways in which it can write a character, a terminal gets the one that does nothing.
pub(crate) fn told_json(text: Vec<u8>) -> Vec<u8> {
    match std::io::stdout().is_terminal() {
        true => plain_lines(&String::from_utf8_lossy(&text)).into_bytes(),
        false => text,
    }
}

/// How many cells of a terminal a text takes that was made by [`shown`]: no character of it takes none.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// The first and last of the characters that take two cells (Unicode, EastAsianWidth.txt, W and F, in broad strokes).
const WIDE: [(char, char); 9] = [
    ('\u{1100}', '\u{115f}'),
    ('\u{2e80}', '\u{a4cf}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff00}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1faff}'),
    ('\u{20000}', '\u{3fffd}'),
];

fn cells(letter: char) -> usize {
    if WIDE.iter().any(|(first, last)| (*first..=*last).contains(&letter)) { 2 } else { 1 }
}

/// As much of a text as fits into so many cells, and the rest.
pub(crate) fn split(text: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, letter)| {
        used += cells(letter);
        (used > room).then_some(at)
    });
    end.and_then(|end| text.split_at_checked(end)).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_do_something_is_written_out() {
        for (bytes, text) in [
            (&b"eth0"[..], "eth0"),
            (b"a'b\"c", "a'b\"c"),
            (b"\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
            (b"a\nb\tc\rd", "a\\nb\\tc\\rd"),
            (b"back\\slash", "back\\\\slash"),
            (b"caf\xe9\xff!", "caf\\xe9\\xff!"),
            ("é日本".as_bytes(), "é日本"),
            ("\u{202e}x\u{200b}\u{9b}".as_bytes(), "\\u{202e}x\\u{200b}\\u{9b}"),
            ("e\u{301}".as_bytes(), "e\\u{301}"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn every_byte_and_every_character_is_shown_by_printable_ones() {
        for byte in 0..=255 {
            assert!(!shown(&[byte]).chars().any(char::is_control), "{byte}");
        }
        for letter in ('\0'..=char::MAX).filter(|c| c.is_control() || ('\u{2000}'..'\u{2070}').contains(c)) {
            let text = shown(letter.to_string().as_bytes());
            assert!(text.chars().all(|c| !c.is_control() && width(c.encode_utf8(&mut [0; 4])) > 0));
        }
    }

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!((width("eth0"), width("日本"), width("")), (4, 4, 0));
        assert_eq!(split("eth0", 3), ("eth", "0"));
        assert_eq!(split("日本", 3), ("日", "本"));
        assert_eq!(split("日本", 4), ("日本", ""));
        assert_eq!(split("日本", 0), ("", "日本"));
    }
}
