//! `cnitool explain`: which plugin would be told what. Nothing is run.

use std::path::{Path, PathBuf};

use cni::conflist::Runtime;
use cni::conflist::list::List;
use cni::conflist::object::Object;
use cni::conflist::told::{Prev, Told};
use cni::env::Verb;
use cni::error::Result;
use cni::exec;
use cni::keys::Shape;
use cni::name::PluginName;
use cni::plain::{plain, plain_lines};
use serde_json::{Value as Json, json};

use super::pretty::pretty;
use super::tree::{Branch, block, draw};
use super::validate::known;
use super::version::ipam_of;

/// An operation, explained.
pub(super) struct Explained<'a> {
    pub(super) verb: Verb,
    pub(super) list: &'a List,
    /// Where the list was found.
    pub(super) file: Option<&'a Path>,
    pub(super) path: &'a [PathBuf],
    /// In the order in which they are asked.
    pub(super) told: Vec<Told>,
    /// What the caller supplies for capabilities.
    pub(super) supplied: &'a Object,
}

/// What a runtime does besides asking the plugins.
fn besides(verb: Verb) -> &'static str {
    match verb {
        Verb::Add => "the first that fails ends it: then every plugin gets DEL, backwards",
        Verb::Check => "the first that fails ends it",
        Verb::Del => "backwards; the first that fails ends it, and the attachment stays remembered",
        Verb::Gc => "before that, every remembered attachment of the network gets DEL",
        Verb::Status => "the first that is not ready ends it",
        Verb::Version => "",
    }
}

impl Explained<'_> {
    /// Why no plugin is asked, if none is.
    fn idle(&self) -> Option<&'static str> {
        let (list, version) = (self.list, &self.list.version);
        let knows_result = self.told.iter().any(|told| told.prev == Prev::Remembered);
        match self.verb {
            Verb::Check if !version.has_check() => Some("the list's version has no CHECK: cnitool refuses"),
            Verb::Check if list.disable_check => Some("disableCheck is true: no plugin is asked"),
            Verb::Check if !knows_result => {
                Some("it is not attached, so that there is nothing to check: cnitool refuses")
            }
            Verb::Gc if list.disable_gc => Some("disableGC is true: no plugin is asked"),
            Verb::Gc if !version.has_gc() => Some("the list's version has no GC: no plugin is asked for it"),
            Verb::Status if !version.has_gc() => Some("the list's version has no STATUS: no plugin is asked"),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        let (name, version) = (self.list.name.as_str(), plain(self.list.version.as_str()));
        let from = self.file.map(|file| format!(", from {}", plain(&file.to_string_lossy())));
        let verb = self.verb;
        let mut text = format!("network {name}, version {version}{}\n", from.unwrap_or_default());
        match self.idle() {
            Some(why) => text += &format!("{verb}: {why}\n"),
            None => {
                text += &format!("{verb}: {}\n", besides(verb));
                // They are the same for all.
                let env = self.told.first().map_or(&[][..], |told| told.env.as_slice());
                for (key, value) in env {
                    text += &format!("{key}={}\n", plain(&value.to_string_lossy()));
                }
                text += &draw(&self.told.iter().map(|told| self.branch(told)).collect::<Vec<_>>());
            }
        }
        let unheard = self.unheard();
        if !unheard.is_empty() && verb != Verb::Gc && verb != Verb::Status {
            text += &format!(
                "CAP_ARGS: no plugin declares {}, so that none gets it\n",
                plain(&unheard.join(", "))
            );
        }
        text
    }

    fn branch(&self, told: &Told) -> Branch {
        let program = match &told.program {
            Ok(program) => plain(&program.to_string_lossy()),
            Err(error) => plain(&error.msg()),
        };
        let stdin = plain_lines(&pretty(&String::from_utf8_lossy(&told.stdin)));
        let mut body = block("stdin", &stdin);
        body.extend(match told.prev {
            Prev::Remembered => Some("prevResult: what add has answered, from the cache".to_owned()),
            Prev::Before => Some("prevResult: what the plugin before it answers".to_owned()),
            Prev::None => None,
        });
        let declared = &told.plugin.capabilities;
        if !declared.is_empty()
            && told.env.iter().any(|(key, value)| *key == "CNI_IFNAME" && !value.is_empty())
        {
            let (given, missing): (Vec<&str>, Vec<&str>) =
                declared.iter().map(String::as_str).partition(|name| self.supplied.get(name).is_some());
            let none =
                |names: &[&str]| if names.is_empty() { "none".into() } else { plain(&names.join(", ")) };
            body.push(format!(
                "capabilities: given {}; declared and not given {}",
                none(&given),
                none(&missing)
            ));
        }
        let below = delegate(told).map(|ipam| {
            let program = exec::find(&ipam, self.path);
            let program = program.map_or_else(|error| error.msg(), |it| it.to_string_lossy().into_owned());
            Branch {
                head: format!("{}: {}", plain(ipam.as_str()), plain(&program)),
                body: vec!["asked for addresses: the same variables, the same stdin to the byte".into()],
                below: Vec::new(),
            }
        });
        Branch {
            head: format!("{}: {program}", plain(told.plugin.program.as_str())),
            body,
            below: below.into_iter().collect(),
        }
    }

    /// What the caller supplies and no plugin declares.
    fn unheard(&self) -> Vec<&str> {
        let declared = |name: &str| {
            self.list.plugins.iter().any(|plugin| plugin.capabilities.iter().any(|own| own == name))
        };
        self.supplied.iter().map(|(name, _)| name).filter(|name| !declared(name)).collect()
    }

    pub(super) fn json(&self) -> Json {
        let plugin = |told: &Told| {
            let env = told.env.iter().map(|(key, value)| ((*key).to_owned(), json!(value.to_string_lossy())));
            let ipam = delegate(told).map(|ipam| {
                let program = exec::find(&ipam, self.path).ok();
                json!({"type": ipam.as_str(), "program": program.map(|it| it.to_string_lossy().into_owned())})
            });
            json!({
                "type": told.plugin.program.as_str(),
                "program": told.program.as_ref().ok().map(|program| program.to_string_lossy()),
                "environment": env.collect::<serde_json::Map<_, _>>(),
                "stdin": serde_json::from_slice::<Json>(&told.stdin).unwrap_or_default(),
                "prevResult": match told.prev {
                    Prev::None => None,
                    Prev::Before => Some("before"),
                    Prev::Remembered => Some("remembered"),
                },
                "asks": ipam,
            })
        };
        let why = self.idle();
        let told = self.told.iter().filter(|_| why.is_none());
        json!({
            "name": self.list.name.as_str(),
            "cniVersion": self.list.version.as_str(),
            "file": self.file.map(|file| file.to_string_lossy()),
            "verb": self.verb.as_str(),
            "plugins": told.map(plugin).collect::<Vec<_>>(),
            "nothing": why,
            "unheard": self.unheard(),
        })
    }
}

/// Whom a plugin asks for addresses. One of ours that reads no `ipam` asks nobody.
fn delegate(told: &Told) -> Option<PluginName> {
    let asks = |shape: &Shape| shape.get("ipam").is_some();
    let reads = known::named(told.plugin.program.as_str()).is_none_or(|known| asks(&known.shape()));
    ipam_of(&told.plugin).filter(|_| reads)
}

/// What each plugin would be told.
///
/// # Errors
/// A cache that cannot be read.
pub(super) fn explain<'a>(
    verb: Verb,
    runtime: &'a Runtime,
    (list, file): (&'a List, Option<&'a Path>),
    request: Option<&'a cni::conflist::Request>,
    supplied: &'a Object,
) -> Result<Explained<'a>> {
    let told = runtime.told(verb, list, request)?;
    Ok(Explained { verb, list, file, path: &runtime.path, told, supplied })
}
