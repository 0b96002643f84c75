//! `cnitool restore`: rules that somebody has flushed are made again, for every attachment that lives.
//!
//! What an attachment had is in its records. The plugin that makes the link would refuse to add it a second time, so what it
//! keeps in rules is made here; a plugin that comes behind it is told its ADD once more, which finds what is there.

use std::ffi::OsString;
use std::path::PathBuf;

use cni::error::{Error, Faults, OrFail, Result};
use cni::exec;
use cni::name::PluginName;
use linux::rtnl::Rtnl;
use plugins::attachment::record::again::{self, Again};
use plugins::attachment::record::leftover::{self, Leftover};
use plugins::attachment::record::{Noted, Record};
use plugins::attachment::{life, masquerade};
use plugins::bridge::spoof;

/// Makes the rules of all attachments again whose links are there, with the plugins of this search path, and tells of each.
/// What is there already is left alone. With `rehearse` it only tells.
///
/// # Errors
/// What could not be made again, after everything was tried.
pub(super) fn restore(path: &[PathBuf], rehearse: bool, mut tell: impl FnMut(&str)) -> Result<()> {
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let mut faults = Faults::default();
    for leftover in leftover::all()? {
        let whose = restore_one(&host, path, &leftover, rehearse);
        faults.note(whose).flatten().iter().for_each(|whose| tell(whose));
    }
    faults.verdict()
}

/// Returns whose rules are there again, if anybody's are.
fn restore_one(host: &Rtnl, path: &[PathBuf], leftover: &Leftover, rehearse: bool) -> Result<Option<String>> {
    let _turn = again::turn_to_restore()?;
    // Shared, as by whoever tidies up: an ADD that meets us waits.
    let Some(held) = leftover.open()? else { return Ok(None) };
    let Some(plugin) = leftover.plugin() else { return Ok(None) };
    if leftover::is_held(held.try_lock_shared())? || !life::lives(host, &leftover.owner)? {
        return Ok(None);
    }
    let doing = || format!("failed to restore the rules in {}", leftover.file.display());
    let record =
        leftover.record()?.ok_or_else(|| Error::internal("the record cannot be read")).doing(doing)?;
    let whose = format!("{plugin} {}", record.attachment);
    let doing = || format!("failed to restore {whose}");
    let has_rules = match leftover.again()? {
        Some(again) => {
            // Its ADD has the record locked for itself.
            drop(held);
            rehearse || repeat(path, plugin, &record, &again).map(|()| true).doing(doing)?
        }
        None if rehearse => has_rules(&record),
        None => masquerade::restore(&record).doing(doing)? | spoof::restore(&record).doing(doing)?,
    };
    Ok(has_rules.then_some(whose))
}

fn has_rules(record: &Record) -> bool {
    record.masquerade != Noted::Nothing || record.spoof_check != Noted::Nothing
}

/// Tells a plugin to ADD as it was told before.
fn repeat(path: &[PathBuf], plugin: &str, record: &Record, again: &Again) -> Result<()> {
    let program = exec::find(&plugin.parse::<PluginName>()?, path)?;
    let path = std::env::join_paths(path).doing(|| "CNI_PATH".into())?;
    let env = [
        ("CNI_COMMAND", OsString::from("ADD")),
        ("CNI_CONTAINERID", record.attachment.container.as_str().into()),
        ("CNI_IFNAME", record.attachment.ifname.as_str().into()),
        ("CNI_NETNS", again.netns.clone().into()),
        ("CNI_ARGS", OsString::new()),
        ("CNI_PATH", path),
    ];
    exec::run(&program, &env, again.stdin.get().as_bytes())?.verdict().map(drop)
}
