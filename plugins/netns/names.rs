//! `add`, `delete` and `monitor`.

use crate::words::{Options, name};
use crate::{Refusal, complain, show};
use linux::named::{self, Change};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

/// Makes a namespace with a name.
pub(crate) fn add(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    named::add(&name(words.first())?).map_err(Refusal::failed)
}

/// Takes a name away, or with `-all` every name: one that cannot be taken away does not keep the others.
pub(crate) fn delete(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    if !options.all {
        return named::delete(&name(words.first())?).map_err(Refusal::failed);
    }
    let mut done = Ok(());
    for name in named::names().map_err(Refusal::failed)? {
        if let Err(fault) = named::delete(&name) {
            complain(&fault);
            done = Err(Refusal::said());
        }
    }
    done
}

/// Tells of names as they come and go, each as it happens, until nobody listens or a signal ends it.
pub(crate) fn monitor(_: &Options, _words: &[OsString]) -> Result<(), Refusal> {
    let tell = |change| {
        let (what, name) = match &change {
            Change::Added(name) => (&b"add "[..], name),
            Change::Deleted(name) => (&b"delete "[..], name),
        };
        match show(&[what, name.as_bytes(), b"\n"].concat()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unwritten) => ControlFlow::Break(unwritten),
        }
    };
    named::watch(tell).map_err(Refusal::failed).and_then(Err)
}
