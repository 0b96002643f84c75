//! What a lease file says. Pure.

use crate::boot::Age;

/// Who holds a lease: one interface of one container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Holder {
    /// The container's ID.
    pub container: String,
    /// The interface; old plugins did not write it, and their leases belong to the whole container.
    pub ifname: Option<String>,
}

impl Holder {
    /// What a lease file says: CR and LF between the two, on every system, and nothing at the end.
    pub fn text(&self) -> String {
        match &self.ifname {
            Some(ifname) => format!("{}\r\n{ifname}", self.container),
            None => self.container.clone(),
        }
    }
}

/// A file named like an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Whose the address is.
    pub says: Says,
    /// Whether it still is.
    pub age: Age,
}

impl Lease {
    /// Whether the address is somebody's: not when the file is rubbish, nor when its holder went with an earlier boot.
    pub fn holds(&self) -> bool {
        match self.says {
            Says::Held(_) => self.age != Age::Earlier,
            Says::Foreign => true,
            Says::Torn => false,
        }
    }
}

/// What a file named like an address says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Says {
    /// The address is this one's.
    Held(Holder),
    /// The address is taken by something that is no container's lease, and that we leave alone.
    Foreign,
    /// Rubbish of a crash: nobody's address.
    Torn,
}

impl Says {
    /// Reads the text of a file. White space around it does not count, as in the Go plugin.
    pub fn read(text: &[u8]) -> Says {
        let Ok(text) = std::str::from_utf8(text) else { return Says::Foreign };
        // A file system that loses power may also leave the length and no bytes.
        if text.chars().all(|c| c == '\0' || c.is_whitespace()) {
            return Says::Torn;
        }
        let (container, ifname) = match text.trim().split_once("\r\n") {
            Some((container, ifname)) => (container, Some(ifname)),
            None => (text.trim(), None),
        };
        let is_name = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
        if !is_name(container) || !ifname.is_none_or(is_name) {
            return Says::Foreign;
        }
        Says::Held(Holder { container: container.into(), ifname: ifname.map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_is_written() {
        for ifname in [None, Some("eth0".to_string())] {
            let holder = Holder { container: "c1".into(), ifname };
            assert_eq!(Says::read(holder.text().as_bytes()), Says::Held(holder));
        }
    }

    #[test]
    fn white_space_around_a_lease_does_not_count_and_inside_it_makes_no_lease() {
        let held = Says::read(b"c1\r\neth0");
        assert_eq!(Says::read(b" c1\r\neth0\n"), held);
        for other in
            [&b"c1\neth0"[..], b"c1 eth0", b"\r\neth0\xff", b"c1\r\neth0\r\neth1", b"held for a printer"]
        {
            assert_eq!(Says::read(other), Says::Foreign, "{other:?}");
        }
        for rubbish in [&b""[..], b"\n", b"\0\0\0\0", b"\0\0\x0b"] {
            assert_eq!(Says::read(rubbish), Says::Torn, "{rubbish:?}");
        }
    }

    #[test]
    fn an_address_is_free_when_its_holder_went_with_an_earlier_boot_or_never_was() {
        let held = Says::read(b"c1\r\neth0");
        for (says, age, holds) in [
            (held.clone(), Age::Present, true),
            (held.clone(), Age::Unknown, true),
            (held.clone(), Age::Elsewhere, true),
            (held, Age::Earlier, false),
            (Says::Foreign, Age::Earlier, true),
            (Says::Torn, Age::Present, false),
        ] {
            let lease = Lease { says, age };
            assert_eq!(lease.holds(), holds, "{lease:?}");
        }
    }
}
