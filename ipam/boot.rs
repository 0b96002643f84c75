//! Which boot a lease is of. Pure: what the machine says about itself is read elsewhere.
//!
//! No network namespace survives a boot, so no lease of an earlier one has a holder. A lease that we write carries its
//! machine and its boot, where the Go plugin does not look. Of any other only the time of writing is known, and clocks
//! step while a machine starts: such a lease counts as old only when two clocks agree that it is. To take a living lease
//! for an old one gives its address away twice, so whatever is not certain counts as living.

use std::time::{Duration, SystemTime};

/// How old a lease is, counted in boots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Age {
    /// Written in this boot of this machine.
    Present,
    /// Written before this machine was started.
    Earlier,
    /// Written by another machine, of whose boots we know nothing: the folder lies on a shared file system.
    Elsewhere,
    /// Written by somebody who leaves no mark, and not provably before this boot.
    Unknown,
}

/// This machine and this boot, by the numbers that the kernel and the administrator gave them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Here {
    /// machine-id(5); `None` where there is none, as in many containers.
    pub machine: Option<Id>,
    /// `/proc/sys/kernel/random/boot_id` (random(4)).
    pub boot: Option<Id>,
}

impl Here {
    /// What a lease that is written now has to carry; `None` where the kernel does not tell its boot.
    pub fn mark(&self) -> Option<Mark> {
        self.boot.map(|boot| Mark { machine: self.machine, boot })
    }

    /// The age of a lease by its mark, or without one by the time it was written: before `start`, which is a moment
    /// before which nothing of this boot was written, or `None` where no such moment is certain.
    pub fn age(
        &self,
        mark: Option<Mark>,
        written: SystemTime,
        start: impl FnOnce() -> Option<SystemTime>,
    ) -> Age {
        match mark {
            Some(mark) if Some(mark.boot) == self.boot => Age::Present,
            Some(Mark { machine: Some(machine), .. }) if self.boot.is_some() => match self.machine {
                Some(ours) if ours == machine => Age::Earlier,
                _ => Age::Elsewhere,
            },
            _ if start().is_some_and(|start| written < start) => Age::Earlier,
            _ => Age::Unknown,
        }
    }
}

/// The moment before which nothing of this boot was written: the birth of /run, or now minus uptime, whichever is earlier.
///
/// Each is told by a clock that may be wrong: the birth by the clock of that moment, the other by the clock of now.
pub fn start(run_born: SystemTime, now: SystemTime, uptime: Duration) -> Option<SystemTime> {
    Some(run_born.min(now.checked_sub(uptime)?))
}

/// A number of 128 bits that nobody else has. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id([u8; 16]);

impl Id {
    /// Reads 32 hexadecimal digits, with or without dashes. Anything else (`uninitialized`, while a system is started for the
    /// very first time) is no number.
    pub fn read(text: &str) -> Option<Id> {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        Id::of(number?.to_be_bytes())
    }

    /// The number in its 16 bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    fn of(bytes: [u8; 16]) -> Option<Id> {
        (bytes != [0; 16]).then_some(Id(bytes))
    }
}

/// What a lease of ours carries in an extended attribute: 16 bytes for the machine, zeros where it has no number, and 16
/// for the boot. That is short enough to lie in the file's own inode on ext4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    machine: Option<Id>,
    boot: Id,
}

impl Mark {
    /// The attribute's value.
    pub fn bytes(self) -> Vec<u8> {
        [self.machine.map_or([0; 16], Id::bytes), self.boot.bytes()].concat()
    }

    /// Reads the attribute's value; what is no mark says nothing.
    pub fn read(value: &[u8]) -> Option<Mark> {
        let (machine, boot) = value.split_first_chunk::<16>()?;
        Some(Mark { machine: Id::of(*machine), boot: Id::of(boot.try_into().ok()?)? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn id(digit: char) -> Option<Id> {
        Id::read(&digit.to_string().repeat(32))
    }

    fn here(machine: Option<Id>, boot: Option<Id>) -> Here {
        Here { machine, boot }
    }

    #[test]
    fn numbers_are_read_with_and_without_dashes_and_nothing_else_is_one() {
        let dashed = Id::read("3d310bf2-0ced-43df-b6e4-a1eb94a811e6\n").unwrap();
        assert_eq!(Id::read("3d310bf20ced43dfb6e4a1eb94a811e6"), Some(dashed));
        for none in ["", "uninitialized", "3d310bf2", &"0".repeat(32), &"g".repeat(32), &"1".repeat(33), "+1"]
        {
            assert_eq!(Id::read(none), None, "{none}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        for machine in [id('a'), None] {
            let mark = here(machine, id('b')).mark().unwrap();
            assert_eq!((Mark::read(&mark.bytes()), mark.bytes().len()), (Some(mark), 32));
        }
        assert_eq!(here(id('a'), None).mark(), None);
        for none in [&[][..], &[1; 31], &[1; 33], &[0; 32]] {
            assert_eq!(Mark::read(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_mark_says_which_boot_whatever_the_time() {
        let (us, them) = (id('a'), id('b'));
        let (now, then) = (id('1'), id('2'));
        let long_ago = UNIX_EPOCH;
        let start = Some(UNIX_EPOCH + Duration::from_secs(9));
        for (lease, reader, age) in [
            (here(us, now), here(us, now), Age::Present),
            (here(us, then), here(us, now), Age::Earlier),
            (here(them, then), here(us, now), Age::Elsewhere),
            // Our boot under another machine's name: a container with a file of its own, on this very machine.
            (here(them, now), here(us, now), Age::Present),
            (here(None, now), here(us, now), Age::Present),
            // Who does not know its own name knows only what is of this boot.
            (here(us, then), here(None, now), Age::Elsewhere),
            (here(us, now), here(None, now), Age::Present),
            // Without a machine's name the mark of another boot says as much as none: the time decides.
            (here(None, then), here(us, now), Age::Earlier),
        ] {
            assert_eq!(reader.age(lease.mark(), long_ago, || start), age, "{lease:?} read by {reader:?}");
        }
        // A kernel that does not tell its boot can call nothing old by its mark.
        assert_eq!(here(us, None).age(here(us, then).mark(), long_ago, || None), Age::Unknown);
    }

    #[test]
    fn without_a_mark_a_lease_is_old_only_if_it_is_certainly_older_than_the_boot() {
        let here = here(id('a'), id('1'));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(here.age(None, at(8), || Some(at(9))), Age::Earlier);
        assert_eq!(here.age(None, at(9), || Some(at(9))), Age::Unknown);
        assert_eq!(here.age(None, at(8), || None), Age::Unknown);
    }

    #[test]
    fn a_boot_began_when_the_earlier_of_two_clocks_says() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let up = Duration::from_secs(100);
        for (why, born, now, began) in [
            ("both right", 1001, 1100, 1000),
            ("a clock that started in 1970 and was set right later", 1, 1100, 1),
            ("a clock that was ahead and was set right later", 9001, 1100, 1000),
            ("a clock that is ahead now", 1001, 9100, 1001),
        ] {
            assert_eq!(start(at(born), at(now), up), Some(at(began)), "{why}");
        }
        assert_eq!(start(at(1), at(0), Duration::MAX), None);
    }
}
