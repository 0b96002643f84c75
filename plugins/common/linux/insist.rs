//! A socket that could not do it this time.

use std::io::{self, ErrorKind};

use nix::errno::Errno;

/// How often it is asked.
const ATTEMPTS: usize = 3;

/// Tries to send or to receive, and again if it fails for something of the moment: then nothing was sent, or nothing was
/// taken, and whatever was lacking may be there the next time.
///
/// A conversation that were given up at the first failure would end just when the things that were made in it have to be
/// undone, in it; and an answer that is not read leaves open whether there is anything to undo.
pub(crate) fn insist<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if is_of_the_moment(&error) => {}
            done => return done,
        }
    }
    attempt()
}

/// That there is nothing to read, that something was lost, or that a message is too long is so the next time, too.
fn is_of_the_moment(error: &io::Error) -> bool {
    let lasting = [Errno::ENOBUFS as i32, Errno::EMSGSIZE as i32];
    error.kind() != ErrorKind::WouldBlock
        && error.raw_os_error().is_none_or(|number| !lasting.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(errno: Errno) -> usize {
        let mut made = 0;
        let outcome = insist(|| -> io::Result<()> {
            made += 1;
            Err(errno.into())
        });
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(errno as i32));
        made
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        assert_eq!([Errno::ENOMEM, Errno::EINTR].map(attempts), [ATTEMPTS; 2]);
        assert_eq!([Errno::EAGAIN, Errno::ENOBUFS, Errno::EMSGSIZE].map(attempts), [1; 3]);
    }
}
