//! `add`, `delete` and `monitor`.

use crate::progress::Progress;
use crate::text::{shown, told};
use crate::words::{Options, name};
use crate::{Refusal, complain, show};
use cni::capability::Capability;
use linux::census::{Identity, census, command_of, namespace_of};
use linux::named::{self, Change, Name};
use linux::netns::NetNs;
use linux::rtnl::Rtnl;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

/// The option of `add` that `ip netns` does not have.
const WITH_LOOPBACK: &str = "--with-loopback";

/// Makes a namespace with a name, on request with `lo` up.
pub(crate) fn add(_: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let with_loopback = words.iter().any(|word| word == WITH_LOOPBACK);
    let name = name(words.iter().find(|word| *word != WITH_LOOPBACK))?;
    named::add(&name).map_err(Refusal::by_name)?;
    if with_loopback {
        set_loopback_up(&name).inspect_err(|_| {
            // The failure is the answer.
            let _ = named::delete(&name);
        })?;
    }
    Ok(())
}

/// Sets `lo` up in a namespace.
pub(crate) fn set_loopback_up(name: &Name) -> Result<(), Refusal> {
    let namespace = NetNs::open(&name.file()).map_err(Refusal::failed)?;
    let there = namespace.rtnl().map_err(|error| Refusal::by_deed(error, Capability::SysAdmin))?;
    set_lo_up(&there)
}

/// Sets `lo` up, by a conversation about its namespace.
pub(crate) fn set_lo_up(there: &Rtnl) -> Result<(), Refusal> {
    match there.link_by_name("lo").map_err(Refusal::failed)? {
        Some(lo) => there.set_up(lo.index).map_err(|error| Refusal::by_deed(error, Capability::NetAdmin)),
        None => Err(Refusal::failed("there is no lo")),
    }
}

/// Takes a name away, or with `-all` every name: one that cannot be taken away does not keep the others.
pub(crate) fn delete(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    if !options.all {
        return delete_one(&name(words.first())?);
    }
    let mut done = Ok(());
    let mut gone = Vec::new();
    let names = named::names().map_err(Refusal::by_name)?;
    let mut progress = Progress::of(names.len());
    for (nth, name) in names.into_iter().enumerate() {
        progress.at(nth);
        let namespace = Identity::of_path(&name.file());
        match named::delete(&name) {
            Ok(()) => gone.extend(namespace.ok().map(|namespace| (name, namespace))),
            Err(fault) => {
                complain(&fault);
                done = Err(Refusal { message: String::new(), ..Refusal::by_name(fault) });
            }
        }
    }
    drop(progress);
    tell_who_lives_on(&gone);
    done
}

/// Takes one name away.
pub(crate) fn delete_one(name: &Name) -> Result<(), Refusal> {
    let namespace = Identity::of_path(&name.file());
    named::delete(name).map_err(Refusal::by_name)?;
    tell_who_lives_on(&namespace.map(|namespace| (name.clone(), namespace)).into_iter().collect::<Vec<_>>());
    Ok(())
}

/// How many processes are named before it is enough.
const FEW: usize = 8;

/// A namespace without a name lives on in its processes. That of this process needs no mention.
fn tell_who_lives_on(gone: &[(Name, Identity)]) {
    let here = Identity::of_path(&namespace_of(std::process::id())).ok();
    let elsewhere = || gone.iter().filter(|(_, namespace)| Some(*namespace) != here);
    if elsewhere().next().is_none() {
        return;
    }
    // What cannot be told is no failure: the name is gone.
    let Ok(everybody) = census() else { return };
    for (name, namespace) in elsewhere() {
        let Some(processes) = everybody.processes.get(namespace) else { continue };
        let process = |pid: &u32| {
            let command = command_of(*pid).map(|command| format!(" ({})", shown(&command)));
            format!("{pid}{}", command.unwrap_or_default())
        };
        let mut named: Vec<String> = processes.iter().take(FEW).map(process).collect();
        if processes.len() > FEW {
            named.push(format!("and {} more", processes.len() - FEW));
        }
        let name = shown(name.as_os_str().as_bytes());
        complain(&format!(
            "Note: the namespace of {name} lives on, as long as processes are in it: {}",
            named.join(", ")
        ));
    }
}

/// Tells of names as they come and go, each as it happens, until nobody listens or a signal ends it.
pub(crate) fn monitor(_: &Options, _words: &[OsString]) -> Result<(), Refusal> {
    let tell = |change| {
        let (what, name) = match &change {
            Change::Added(name) => (&b"add "[..], name),
            Change::Deleted(name) => (&b"delete "[..], name),
        };
        match show(&[what, &told(name.as_bytes()), b"\n"].concat()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unwritten) => ControlFlow::Break(unwritten),
        }
    };
    named::watch(tell).map_err(Refusal::by_name).and_then(Err)
}
