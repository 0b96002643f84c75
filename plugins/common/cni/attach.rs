//! An ADD is a value that unmakes itself unless it was answered.

use crate::error::{Error, Faults, Result};
use crate::hold;
use crate::result::Success;

/// What is left to unmake, should the ADD fail: one entry for each step that succeeded.
///
/// It undoes what *this* call made. It never runs DEL, which would tear down a healthy older attachment.
#[derive(Default)]
pub struct Trail {
    unmake: Vec<Unmake>,
}

type Undo = Box<dyn FnOnce() -> Result<()>>;

enum Unmake {
    /// Whatever becomes of the others.
    Always(Undo),
    /// If nothing is left of what came after it.
    IfAllElseIs(Undo),
}

impl Trail {
    /// Makes one step, unless a signal has asked us to stop.
    ///
    /// # Errors
    /// Those of `make`, and "interrupted by SIGTERM" and its kin.
    pub fn step<T>(&mut self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        hold::refuse_when_arrived()?;
        make()
    }

    /// Remembers how to undo what has just been made. Called the moment it succeeded.
    pub fn undo(&mut self, unmake: impl FnOnce() -> Result<()> + 'static) {
        self.unmake.push(Unmake::Always(Box::new(unmake)));
    }

    /// Remembers how to forget what has just been written down about the steps that follow. It is forgotten only if all of them
    /// could be undone: DEL will need to know of what is left.
    pub fn forget(&mut self, forget: impl FnOnce() -> Result<()> + 'static) {
        self.unmake.push(Unmake::IfAllElseIs(Box::new(forget)));
    }

    /// Undoes everything, last step first; one that fails does not keep the others from it.
    fn unmake(&mut self) -> Faults {
        let mut faults = Faults::default();
        while let Some(unmake) = self.unmake.pop() {
            match unmake {
                Unmake::IfAllElseIs(_) if !faults.is_empty() => {}
                Unmake::Always(undo) | Unmake::IfAllElseIs(undo) => drop(faults.note(undo())),
            }
        }
        faults
    }
}

/// A panic on the way undoes as much as an error does.
impl Drop for Trail {
    fn drop(&mut self) {
        let _ = self.unmake();
    }
}

/// An ADD that has succeeded and waits to be answered. Dropped before that, it unmakes itself.
pub struct Attached {
    result: Success,
    trail: Trail,
}

impl Attached {
    /// What to answer.
    pub fn result(&self) -> &Success {
        &self.result
    }

    /// The runtime has the answer: what was made stays. [`serve`](crate::serve()) says so, and nobody else but a test.
    pub fn keep(mut self) {
        self.trail.unmake.clear();
    }

    /// The runtime cannot have the answer: what was made goes, and `error` tells what could not be undone.
    pub(crate) fn fail(mut self, error: Error) -> Error {
        with_faults(error, self.trail.unmake())
    }
}

/// Runs an ADD. If `make` fails, all that it made is unmade, backwards.
///
/// # Errors
/// Those of `make`; what could not be undone is in the details.
pub fn attach(make: impl FnOnce(&mut Trail) -> Result<Success>) -> Result<Attached> {
    let mut trail = Trail::default();
    match make(&mut trail) {
        Ok(result) => Ok(Attached { result, trail }),
        Err(error) => Err(with_faults(error, trail.unmake())),
    }
}

fn with_faults(error: Error, faults: Faults) -> Error {
    match faults.verdict() {
        Ok(()) => error,
        Err(fault) => {
            let rest = fault.more().map(|more| format!("; {more}")).unwrap_or_default();
            let text = format!("not undone: {}{rest}", fault.msg());
            error.details(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    type Log = Rc<RefCell<Vec<u32>>>;

    fn leave(trail: &mut Trail, log: &Log, step: u32) {
        let log = log.clone();
        trail.undo(move || {
            log.borrow_mut().push(step);
            Ok(())
        });
    }

    #[test]
    fn a_failed_add_unmakes_its_steps_backwards_and_says_what_it_could_not() {
        let log = Log::default();
        let outcome = attach(|trail| {
            leave(trail, &log, 1);
            trail.undo(|| Err(Error::internal("busy")));
            leave(trail, &log, 3);
            Err(Error::config("no"))
        });
        let error = outcome.err().unwrap();
        assert_eq!(*log.borrow(), [3, 1]);
        assert_eq!((error.msg().as_str(), error.more()), ("no", Some("not undone: busy")));
    }

    #[test]
    fn what_was_written_down_is_forgotten_only_if_nothing_is_left_of_it() {
        for (works, expected) in [(true, vec![2, 1]), (false, vec![2])] {
            let log = Log::default();
            let outcome = attach(|trail| {
                let of_trail = log.clone();
                trail.forget(move || {
                    of_trail.borrow_mut().push(1);
                    Ok(())
                });
                leave(trail, &log, 2);
                if !works {
                    trail.undo(|| Err(Error::internal("busy")));
                }
                Err(Error::config("no"))
            });
            assert_eq!((outcome.is_err(), &*log.borrow()), (true, &expected));
        }
    }

    #[test]
    fn an_answered_add_stays_and_an_unanswered_one_goes() {
        for (answered, expected) in [(true, vec![]), (false, vec![1])] {
            let log = Log::default();
            let attached = attach(|trail| {
                leave(trail, &log, 1);
                Ok(Success::default())
            });
            match answered {
                true => attached.unwrap().keep(),
                false => drop(attached),
            }
            assert_eq!(*log.borrow(), expected);
        }
    }

    #[test]
    fn a_panic_unmakes_as_an_error_does() {
        let log = Log::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = attach(|trail| {
                leave(trail, &log, 1);
                panic!("a fault of ours")
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(*log.borrow(), [1]);
    }
}
