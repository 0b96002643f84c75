//! `cnitool version`: which versions the plugins of a network speak.

use std::path::PathBuf;

use cni::conflist::Runtime;
use cni::conflist::list::{List, Plugin};
use cni::conflist::object::Object;
use cni::error::Result;
use cni::exec;
use cni::name::PluginName;
use cni::plain::plain;
use serde_json::{Value as Json, json};

/// What one program says.
pub(super) struct Spoken {
    name: PluginName,
    /// The plugin that asks it, if it is asked by one.
    by: Option<PluginName>,
    program: PathBuf,
    versions: Vec<String>,
}

/// Asks the plugins of a list, and those that they ask for addresses.
///
/// # Errors
/// Of the first that is missing, or does not answer.
pub(super) fn of(list: &List, path: &[PathBuf]) -> Result<Vec<Spoken>> {
    let runtime = Runtime::new(path.to_vec());
    let mut all = Vec::new();
    for plugin in &list.plugins {
        let ipam = ipam_of(plugin).map(|ipam| (ipam, Some(plugin.program.clone())));
        for (name, by) in [(plugin.program.clone(), None)].into_iter().chain(ipam) {
            let (program, versions) = (exec::find(&name, path)?, runtime.versions(&name)?);
            all.push(Spoken { name, by, program, versions });
        }
    }
    Ok(all)
}

/// The plugin that this one asks for addresses.
pub(super) fn ipam_of(plugin: &Plugin) -> Option<PluginName> {
    let section = Object::parse(plugin.object().get_folded("ipam")?.get().as_bytes()).ok()?;
    let name: String = serde_json::from_str(section.get_folded("type")?.get()).ok()?;
    name.parse().ok()
}

pub(super) fn text(list: &List, spoken: &[Spoken]) -> String {
    let (name, version) = (list.name.as_str(), plain(list.version.as_str()));
    let mut text = format!("network {name}, version {version}\n");
    for one in spoken {
        let by = one.by.as_ref().map_or_else(String::new, |by| format!(", asked by {}", plain(by.as_str())));
        let lacks = if one.speaks(list) { String::new() } else { format!("; it does not speak {version}") };
        let (name, program) = (plain(one.name.as_str()), plain(&one.program.to_string_lossy()));
        text += &format!("{name} ({program}{by}): {}{lacks}\n", plain(&one.versions.join(", ")));
    }
    text
}

pub(super) fn json(list: &List, spoken: &[Spoken]) -> Json {
    let plugin = |one: &Spoken| {
        json!({
            "type": one.name.as_str(),
            "askedBy": one.by.as_ref().map(PluginName::as_str),
            "program": one.program.to_string_lossy(),
            "supportedVersions": one.versions,
            "speaksTheList": one.speaks(list),
        })
    };
    let plugins: Vec<Json> = spoken.iter().map(plugin).collect();
    json!({"name": list.name.as_str(), "cniVersion": list.version.as_str(), "plugins": plugins})
}

impl Spoken {
    fn speaks(&self, list: &List) -> bool {
        self.versions.iter().any(|version| version == list.version.as_str())
    }
}
