//! DEL and GC with a configuration of which some keys, or with `CNI_ARGS` of which some pairs, cannot be read: these count as
//! not given. What ADD made has to go, whatever somebody has written into the file since; but what cannot be read makes
//! neither of them touch anything more.

use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::decode::{Unread, decode_what_can_be};
use crate::env::Verb;
use crate::error::{Error, OrFail, Result};

/// Without these nobody knows who gave the addresses.
const GIVERS: [&str; 2] = ["ipam", "ipam.type"];

/// A configuration, as far as it can be read.
pub(crate) struct Readable<C> {
    /// Without the keys that were passed over.
    pub(crate) conf: C,
    /// What was passed over, for people: lines.
    pub(crate) told: String,
    /// The error with which the verb ends when it has done what it could.
    pub(crate) rest: Result<()>,
}

/// Reads the configuration of a DEL or GC, and notes in the call which keys it is without. `places` are the plugin's.
///
/// # Errors
/// As [`crate::decode::decode`], for what is missing, and for a key that says where things are kept.
pub(crate) fn readable<C: DeserializeOwned>(
    verb: Verb,
    places: &[&str],
    call: &mut Call,
) -> Result<Readable<C>> {
    let doing = || "failed to load netconf".to_owned();
    let (conf, unread) = decode_what_can_be::<C>(&call.config).doing(doing)?;
    let (mut told, mut rest) = (String::new(), Ok(()));
    if let Err(error) = call.args.verdict() {
        told += &format!("{verb} of network {} passes over a part of {}\n", call.network, error.msg());
    }
    for Unread { key, error } in unread {
        told += &format!("{verb} of network {} passes over {key}: {}\n", call.network, error.msg());
        let failed = Err::<(), Error>(error).doing(doing);
        if places.contains(&key.as_str()) {
            failed?;
        } else if GIVERS.contains(&key.as_str()) {
            rest = rest.and(failed);
        }
        call.unread.push(key);
    }
    Ok(Readable { conf, told, rest })
}
