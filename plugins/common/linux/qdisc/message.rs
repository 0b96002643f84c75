//! Messages of traffic control: `struct tcmsg` and its attributes (include/uapi/linux/rtnetlink.h).

use netlink_packet_core::{DecodeError, Emitable};

const KIND: u16 = 1;
const HEADER: usize = 20;
/// `NLA_HDRLEN`
const ATTRIBUTE: usize = 4;
/// `NLA_TYPE_MASK`: without the flags for nesting and byte order.
const TYPE: u16 = 0x3fff;

/// A discipline or a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tc {
    pub(crate) link: u32,
    pub(crate) handle: u32,
    pub(crate) parent: u32,
    pub(crate) info: u32,
    attributes: Vec<u8>,
}

impl Tc {
    /// What is, or would be, at this place.
    pub(crate) fn at(link: u32, handle: u32, parent: u32) -> Tc {
        Tc { link, handle, parent, info: 0, attributes: Vec::new() }
    }

    /// One of this kind, to be made there.
    pub(crate) fn of(link: u32, handle: u32, parent: u32, kind: &str) -> Tc {
        Tc { attributes: Attributes::new().text(KIND, kind).0, ..Tc::at(link, handle, parent) }
    }

    pub(crate) fn with(mut self, kind: u16, nested: Attributes) -> Tc {
        self.attributes = Attributes(self.attributes).nest(kind, nested).0;
        self
    }

    pub(crate) fn get(&self, kind: u16) -> Option<&[u8]> {
        find(&self.attributes, kind)
    }

    /// Is it of this kind?
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.get(KIND).and_then(|text| text.strip_suffix(&[0])) == Some(kind.as_bytes())
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// It is cut short.
    pub(crate) fn read(payload: &[u8]) -> Result<Tc, DecodeError> {
        let short = || DecodeError::from("a message of traffic control without a header");
        let (header, attributes) = payload.split_at_checked(HEADER).ok_or_else(short)?;
        let word = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).ok_or_else(short)
        };
        let (link, handle, parent, info) = (word(4)?, word(8)?, word(12)?, word(16)?);
        Ok(Tc { link, handle, parent, info, attributes: attributes.into() })
    }
}

impl Emitable for Tc {
    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let words = [0, self.link, self.handle, self.parent, self.info].map(u32::to_ne_bytes);
        let bytes = words.as_flattened().iter().chain(&self.attributes);
        buffer.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    }
}

/// Attributes one after another, each filled up to four bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn new() -> Attributes {
        Attributes::default()
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Attributes {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(crate) fn nest(self, kind: u16, value: Attributes) -> Attributes {
        self.bytes(kind, &value.0)
    }
}

/// The first attribute of a kind.
pub(crate) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (&[l0, l1, k0, k1], _) = attributes.split_first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(ATTRIBUTE..length)?;
        if u16::from_ne_bytes([k0, k1]) & TYPE == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let tc = Tc::of(3, 0x1_0000, 7, "tbf").with(2, Attributes::new().bytes(1, b"abc").bytes(9, b"d"));
        let mut bytes = vec![0; tc.buffer_len()];
        tc.emit(&mut bytes);
        let read = Tc::read(&bytes).unwrap();
        assert_eq!(read, tc);
        assert!(read.is("tbf") && !read.is("tb"));
        assert_eq!(find(read.get(2).unwrap(), 9), Some(&b"d"[..]));
    }

    #[test]
    fn lying_lengths_are_an_end() {
        assert!(Tc::read(&[0; 19]).is_err());
        for attributes in [&[0xff, 0xff, 1, 0][..], &[0, 0, 1, 0], &[3, 0, 1, 0], &[5, 0, 2, 0, 1], &[1]] {
            assert_eq!(find(attributes, 1), None, "{attributes:?}");
        }
    }
}
