//! What the kernel keeps for user space and does not read: comments, and what `nft` needs to print a set.
//!
//! The layout is libnftnl's (`include/libnftnl/udata.h`): kind and length of one byte each, then the value,
//! unaligned. It is what makes `nft list ruleset` show a comment as a comment.

/// Longer comments are refused by `nft` when it is given its own listing again (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const LONGEST: usize = 128;

/// A comment's kind on tables, chains, rules and elements.
const COMMENT: u8 = 0;
/// A comment's kind on sets and maps.
const SET_COMMENT: u8 = 7;
const SET_KEY_BYTE_ORDER: u8 = 0;
const SET_DATA_BYTE_ORDER: u8 = 1;

/// The comment of a table, a chain, a rule or an element.
pub(super) fn write(comment: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_text(&mut bytes, COMMENT, comment);
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Option<String> {
    find(bytes, COMMENT)
}

/// What `nft` wants to know of a set, and its comment. The byte orders are libnftnl's: 0 none, 1 host, 2 network.
pub(super) fn write_of_set(key_order: u32, data_order: Option<u32>, comment: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, SET_KEY_BYTE_ORDER, &key_order.to_ne_bytes());
    if let Some(order) = data_order {
        put(&mut bytes, SET_DATA_BYTE_ORDER, &order.to_ne_bytes());
    }
    if let Some(comment) = comment {
        put_text(&mut bytes, SET_COMMENT, comment);
    }
    bytes
}

pub(super) fn read_of_set(bytes: &[u8]) -> Option<String> {
    find(bytes, SET_COMMENT)
}

/// Writes as much of a comment as `nft` accepts. A listing has no way to escape a quotation mark or a line's
/// end: they become apostrophes and spaces.
fn put_text(bytes: &mut Vec<u8>, kind: u8, comment: &str) {
    let mut text: String = comment
        .chars()
        .map(|c| match c {
            '"' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    while text.len() > LONGEST {
        text.pop();
    }
    text.push('\0');
    put(bytes, kind, text.as_bytes());
}

fn put(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    bytes.extend([kind, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    bytes.extend_from_slice(value);
}

fn find(mut bytes: &[u8], wanted: u8) -> Option<String> {
    loop {
        let (&[kind, length], rest) = bytes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if kind == wanted {
            let text = value.split(|&b| b == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_laid_out_as_libnftnl_does() {
        assert_eq!(write("x"), b"\x00\x02x\x00");
        assert_eq!(read(b"\x01\x01\x07\x00\x02x\x00").as_deref(), Some("x"));
        let set = write_of_set(1, Some(2), Some("zz"));
        assert_eq!(set, b"\x00\x04\x01\x00\x00\x00\x01\x04\x02\x00\x00\x00\x07\x03zz\x00");
        assert_eq!(read_of_set(&set).as_deref(), Some("zz"));
    }

    #[test]
    fn a_comment_is_never_one_that_nft_could_not_read_back() {
        assert_eq!(read(&write("a \"b\"\nc")).as_deref(), Some("a 'b' c"));
        let long = read(&write(&"é".repeat(100))).unwrap();
        assert_eq!(long, "é".repeat(64));
    }

    #[test]
    fn a_cut_or_strange_record_says_nothing() {
        for bytes in [&b""[..], b"\x00", b"\x00\x09x", b"\x05\x01x"] {
            assert_eq!(read(bytes), None);
        }
    }
}
