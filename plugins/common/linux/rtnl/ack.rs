//! What the kernel says besides a number: the extended acknowledgement of `NETLINK_EXT_ACK`.
//!
//! Nothing in the netlink crates reads it. The layout is in `include/uapi/linux/netlink.h`: after the error
//! number comes the header of the message that failed; then, unless `NLM_F_CAPPED` is set, the rest of that
//! message; then, if `NLM_F_ACK_TLVS` is set, attributes.

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED};

const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The sentence in an error message, given the bytes after its number and the flags of its header.
pub(crate) fn sentence(after_the_number: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let quoted = if flags & NLM_F_CAPPED != 0 { HEADER } else { length_at(after_the_number)? };
    text_in(after_the_number.get(aligned(quoted)..)?)
}

/// The sentence among the attributes, if there is one.
pub(super) fn text_in(mut attributes: &[u8]) -> Option<String> {
    loop {
        let (&[l0, l1, k0, k1], _) = attributes.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) == NLMSGERR_ATTR_MSG {
            let text = value.split(|&b| b == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

fn length_at(header: &[u8]) -> Option<usize> {
    let (length, _) = header.split_first_chunk()?;
    usize::try_from(u32::from_ne_bytes(*length)).ok()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute as the kernel writes it: length, kind, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    /// The header of a message of this length.
    fn header(length: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.resize(HEADER, 0);
        bytes
    }

    #[test]
    fn the_sentence_stands_after_the_message_that_failed() {
        let failed = [header(18), vec![7, 7, 0, 0]].concat();
        let said = [failed, attribute(2, &[0, 0, 0, 9]), attribute(1, b"Unknown device type\0")].concat();
        assert_eq!(sentence(&said, NLM_F_ACK_TLVS).as_deref(), Some("Unknown device type"));
    }

    #[test]
    fn the_sentence_stands_after_the_header_if_the_message_is_left_out() {
        let said = [header(400), attribute(1, b"Nexthop has invalid gateway\0")].concat();
        let flags = NLM_F_ACK_TLVS | NLM_F_CAPPED;
        assert_eq!(sentence(&said, flags).as_deref(), Some("Nexthop has invalid gateway"));
    }

    #[test]
    fn there_need_not_be_a_sentence() {
        assert_eq!(sentence(&header(16), 0), None);
        assert_eq!(sentence(&header(16), NLM_F_ACK_TLVS), None);
        assert_eq!(sentence(&[header(16), attribute(2, &[0; 4])].concat(), NLM_F_ACK_TLVS), None);
    }

    #[test]
    fn a_cut_or_lying_message_says_nothing() {
        let said = [header(16), attribute(1, b"cut\0")].concat();
        for length in 0..said.len() - 1 {
            assert_eq!(sentence(&said[..length], NLM_F_ACK_TLVS), None, "{length} bytes");
        }
        assert_eq!(
            sentence(&[header(16), vec![0; 8]].concat(), NLM_F_ACK_TLVS),
            None,
            "an attribute of length 0"
        );
        assert_eq!(sentence(&header(u32::MAX), NLM_F_ACK_TLVS), None);
    }
}
