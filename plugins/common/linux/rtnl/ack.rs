//! What the kernel says besides a number: the extended acknowledgement of `NETLINK_EXT_ACK`.
//!
//! Nothing in the netlink crates reads it. The layout is in `include/uapi/linux/netlink.h`: after the error
//! number comes the header of the message that failed; then, unless `NLM_F_CAPPED` is set, the rest of that
//! message; then, if `NLM_F_ACK_TLVS` is set, attributes.

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED};

const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The sentence in an error message, given the bytes after its number and the flags of its header.
pub(super) fn sentence(after_the_number: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let quoted = if flags & NLM_F_CAPPED != 0 { HEADER } else { aligned(length_at(after_the_number)?) };
    text_in(after_the_number.get(quoted..)?)
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
