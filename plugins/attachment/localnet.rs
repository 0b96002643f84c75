//! `route_localnet` of a link: whether the kernel takes packets for 127.0.0.0/8 from it, and from 127.0.0.0/8 to it.
//!
//! Any value but 0 sets it, and nobody else writes a 2: so it is known as ours, and set back when it is needed no more. What
//! somebody else has set stays.

use std::path::Path;

use cni::files;
use linux::address::Family;
use linux::error::Result;
use linux::sysctl::Conf;

const OURS: &str = "2";
const OFF: &str = "0";

fn setting(link: &str) -> Conf<'_> {
    Conf { family: Family::V4, link, key: "route_localnet" }
}

/// Sets it.
///
/// # Errors
/// What the kernel says.
pub fn allow(link: &str) -> Result<()> {
    change(link, OFF, OURS)
}

/// Sets it back, if it is ours.
///
/// # Errors
/// What the kernel says.
pub fn forbid(link: &str) -> Result<()> {
    change(link, OURS, OFF)
}

/// Whether it is set.
///
/// # Errors
/// What the kernel says.
pub fn is_allowed(link: &str) -> Result<bool> {
    setting(link).read().map(|value| value != OFF)
}

/// The links on which it is ours.
///
/// # Errors
/// What the file system says.
pub fn ours() -> cni::error::Result<Vec<String>> {
    let links = files::of_folder(Path::new("/proc/sys/net/ipv4/conf"))?;
    let names = links.into_iter().filter_map(|link| link.file_name()?.to_str().map(str::to_owned));
    Ok(names.filter(|link| setting(link).read().is_ok_and(|value| value == OURS)).collect())
}

fn change(link: &str, from: &str, to: &str) -> Result<()> {
    setting(link).read().and_then(|value| match value == from {
        true => setting(link).write(to),
        false => Ok(()),
    })
}
