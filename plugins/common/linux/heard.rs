//! What the kernel says over netlink, datagram by datagram: for conversations that we have without rtnetlink.

use nix::errno::Errno;

use crate::error::Error;
use crate::rtnl::ack;

/// The netlink header (`struct nlmsghdr`).
pub(crate) const HEADER: usize = 16;

/// A message of the kernel.
pub(crate) struct Heard<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

impl Heard<'_> {
    /// The error number of an acknowledgement or of the end of a dump; None for success.
    pub(crate) fn errno(&self) -> Option<Errno> {
        let number = self.body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
        (number != 0).then(|| Errno::from_raw(number.wrapping_neg()))
    }

    pub(crate) fn refusal(&self, errno: Errno, doing: &str) -> Error {
        let after = self.body.get(4..).unwrap_or_default();
        Error::refused(doing, errno).saying(ack::sentence(after, self.flags))
    }
}

/// The messages of a datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Heard<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let &[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Heard {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    })
}
