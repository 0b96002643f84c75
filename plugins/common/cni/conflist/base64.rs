//! Base64 (RFC 4648, section 4, with padding): the form in which Go's JSON holds bytes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group =
            three.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET.get((group >> (18 - 6 * place) & 63) as usize);
            let digit = digit.filter(|_| place <= three.len()).unwrap_or(&b'=');
            text.push(char::from(*digit));
        }
    }
    text
}

/// `None` for anything that [`encode`] does not write; line breaks are skipped, as in Go.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.bytes().filter(|c| !matches!(c, b'\r' | b'\n')).collect();
    let mut bytes = Vec::with_capacity(symbols.len() / 4 * 3);
    if !symbols.len().is_multiple_of(4) {
        return None;
    }
    let mut groups = symbols.chunks(4).peekable();
    while let Some(four) = groups.next() {
        let last = groups.peek().is_none();
        let digits = four.iter().take_while(|c| **c != b'=').count();
        let padded = four.iter().skip(digits).all(|c| *c == b'=');
        if digits < 2 || !padded || (digits < 4 && !last) {
            return None;
        }
        let mut group = 0u32;
        for symbol in four.iter().take(digits) {
            let digit = ALPHABET.iter().position(|c| c == symbol)?;
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        group <<= 6 * (4 - digits);
        bytes.extend(group.to_be_bytes().iter().skip(1).take(digits - 1));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold_both_ways() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["Z", "Zg=", "Zg==Zg==", "Z===", "Zm9*", "=Zg="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
