//! A range without a free address: what there is to say about it.

use std::fmt;

use cni::error::{Code, Error};

use crate::range::RangeSet;
use crate::store::Store;
use crate::store::census::Tally;
use crate::store::rest::Resting;

/// The words that everybody searches for, and behind them who has the addresses and what to do.
pub(super) fn error(store: &mut Store, set: &RangeSet, resting: &Resting, code: Code) -> Error {
    let error = Error::new(code, format!("no IP addresses available in range set: {set}"));
    let is_meant = |ip| set.range_of(ip).is_some() && set.withheld(ip).is_none();
    let resting = resting.count(is_meant) as u64;
    match store.tally(is_meant) {
        Ok(tally) => error
            .details(Full { set, tally, resting, folder: store.folder().display().to_string() }.to_string()),
        Err(_) => error,
    }
}

struct Full<'a> {
    set: &'a RangeSet,
    tally: Tally,
    resting: u64,
    folder: String,
}

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { present, unknown, elsewhere, foreign, dead } = self.tally;
        write!(
            f,
            "{} has {} addresses to give, and all are taken: {present} by leases of this boot",
            self.set,
            self.set.size()
        )?;
        for (count, what) in [
            (unknown, "by leases that do not tell their boot, as another plugin writes them"),
            (elsewhere, "by leases of another machine"),
            (foreign, "by files that are no lease"),
            (self.resting, "because they were freed less than cooldownSeconds ago"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(
            f,
            "; {dead} are of an earlier boot or rubbish (those are given again). `host-local --list {}` shows who has them. \
             DEL for containers that are gone frees them, and so does GC; else the range is too small for this node",
            self.folder
        )
    }
}
