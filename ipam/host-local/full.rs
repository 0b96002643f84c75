//! A range without a free address: what there is to say about it.

use std::fmt;

use cni::error::{Code, Error};

use crate::range::RangeSet;
use crate::store::Store;
use crate::store::census::Tally;
use crate::store::rest::Resting;

/// The words that everybody searches for, and behind them who has the addresses and what to do.
pub(super) fn error(store: &Store, set: &RangeSet, resting: &Resting, code: Code) -> Error {
    let resting = resting.count(|ip| set.range_of(ip).is_some() && set.withheld(ip).is_none());
    let full = Full {
        set,
        resting: resting as u64,
        tally: store.tally(),
        folder: store.folder().display().to_string(),
    };
    Error::new(code, format!("no IP addresses available in range set: {set}")).details(full.to_string())
}

struct Full<'a> {
    set: &'a RangeSet,
    resting: u64,
    tally: Tally,
    folder: String,
}

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { present, unknown, elsewhere, foreign, dead } = self.tally;
        write!(f, "{} has {} addresses to give, and none is free", self.set, self.set.size())?;
        if self.resting > 0 {
            write!(f, "; {} were freed less than cooldownSeconds ago", self.resting)?;
        }
        write!(f, "; leases of this boot in this network: {present}")?;
        for (count, what) in [
            (unknown, "that do not tell their boot, as another plugin writes them"),
            (elsewhere, "of another machine"),
            (foreign, "files that are no lease"),
        ] {
            if count > 0 {
                write!(f, ", {what}: {count}")?;
            }
        }
        write!(
            f,
            ", of an earlier boot or rubbish (they are given again): {dead}; `host-local --list {}` shows who has them; \
             DEL for containers that are gone frees them, and so does GC; else the range is too small for this node",
            self.folder
        )
    }
}
