//! Netlink attributes: length, kind, value, padding to four bytes (`include/uapi/linux/netlink.h`).
//!
//! nf_tables writes its numbers in network byte order, and the padding with zeroes.

/// The value is made of attributes itself. nf_tables asks for the flag on some of them and ignores it on none.
const NESTED: u16 = 0x8000;
/// The bits of a kind that are no flags.
const KIND: u16 = 0x3fff;

/// Attributes being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn new() -> Attributes {
        Attributes::default()
    }

    /// An attribute of these bytes. A value that no attribute can hold gets a length that the kernel refuses.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Attributes {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Attributes {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn long(self, kind: u16, value: u64) -> Attributes {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(self, kind: u16, inner: Attributes) -> Attributes {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// The attributes, with those that `more` adds if there is something to add them for.
    pub(crate) fn with<T>(
        self,
        what: Option<T>,
        more: impl FnOnce(Attributes, T) -> Attributes,
    ) -> Attributes {
        match what {
            Some(what) => more(self, what),
            None => self,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Attributes as the kernel wrote them. A cut attribute ends them, as it does for the kernel's own readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a>(pub(crate) &'a [u8]);

impl<'a> Read<'a> {
    /// The value of the first attribute of this kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub(crate) fn nest(self, kind: u16) -> Option<Read<'a>> {
        self.get(kind).map(Read)
    }

    pub(crate) fn number(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn long(self, kind: u16) -> Option<u64> {
        self.get(kind)?.try_into().ok().map(u64::from_be_bytes)
    }

    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?.split(|&b| b == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl<'a> Iterator for Read<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (&[l0, l1, k0, k1], _) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Attributes::new().number(1, 7).text(2, "abc");
        let all = Attributes::new().bytes(9, &[1, 2, 3, 4, 5]).nest(4, inner).long(5, 1 << 40);
        let read = Read(all.as_slice());
        assert_eq!(read.get(9), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(read.long(5), Some(1 << 40));
        let inner = read.nest(4).unwrap();
        assert_eq!((inner.number(1), inner.text(2).as_deref()), (Some(7), Some("abc")));
        assert_eq!(inner.number(2), Some(0x6162_6300), "four bytes are a number if one asks so");
        assert_eq!((inner.number(3), inner.long(1)), (None, None));
    }

    #[test]
    fn a_cut_or_lying_attribute_ends_the_reading() {
        let whole = Attributes::new().number(1, 7).number(2, 8);
        for length in 0..whole.as_slice().len() {
            assert!(Read(&whole.as_slice()[..length]).count() <= 1, "{length} bytes");
        }
        assert_eq!(Read(&[0; 8]).count(), 0, "an attribute of length 0");
        assert_eq!(Read(&[0xff; 8]).count(), 0);
    }
}
