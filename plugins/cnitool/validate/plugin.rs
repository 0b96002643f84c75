//! One plugin of a list: its program, its keys, its capabilities, and what it says itself.

use std::path::PathBuf;

use cni::conflist::Runtime;
use cni::error::Error;
use cni::exec;
use cni::keys::{OF_ALL, OF_OURS, Shape};
use cni::name::PluginName;

use super::finding::Findings;
use super::known::{self, Known, OURS, Role};
use super::list::twice;
use super::located::{Member, Node, Value};
use super::similar::similar;

/// Where programs are looked for, and in which version they are to speak.
pub(crate) struct Programs<'a> {
    pub(crate) path: &'a [PathBuf],
    pub(crate) version: Option<&'a str>,
}

/// Looks at the `number`th plugin; `programs` is missing where nobody is to look for them.
pub(crate) fn check(plugin: &Node, number: usize, programs: Option<&Programs<'_>>, found: &mut Findings<'_>) {
    if !matches!(plugin.value, Value::Object(_)) {
        return found.error(plugin.at, format!("a plugin is an object, and this is {}", plugin.kind()));
    }
    let Some((name, at)) = type_of(plugin, found, plugin.at, "missing 'type', which names the program")
    else {
        return;
    };
    look_up(&name, at, programs, found);
    let ours = known::named(name.as_str());
    let section = plugin.get("ipam").map(|member| &member.node).filter(|node| !node.members().is_empty());
    let ipam = section.and_then(|section| section.get("type")).and_then(|member| {
        let name = member.node.text().filter(|name| !name.is_empty())?;
        let parsed = name.parse::<PluginName>().map_err(|error| found.error(member.node.at, error.msg()));
        look_up(&parsed.ok()?, member.node.at, programs, found);
        Some(name)
    });
    twice(plugin, found, |one, other| one.eq_ignore_ascii_case(other));
    of_the_runtime(plugin, found);
    let asked = ipam.and_then(known::named);
    let reads_ipam = ours.is_none_or(|ours| ours.shape().get("ipam").is_some());
    if let (Some(section), Some(asked)) = (section.filter(|_| reads_ipam), asked)
        && let Some(shape) = asked.shape().get("ipam")
    {
        unknown_keys(section, shape, asked.name, &["type"], found);
    }
    if let (Some(section), Some(asked)) = (section, asked.filter(|asked| asked.role != Role::Ipam)) {
        found.error(section.at, format!("{} gives no addresses: host-local and static do", asked.name));
    }
    let Some(ours) = ours else { return };
    match ours.role {
        Role::Chained if number == 0 => {
            let text = format!("{name} comes behind a plugin that makes a link, and here it is the first");
            found.error(at, text);
        }
        Role::Ipam => found.error(at, format!("{name} is asked by another plugin: it belongs into \"ipam\"")),
        Role::Chained | Role::Link => {}
    }
    unknown_keys(plugin, &ours.shape(), ours.name, &[&OF_ALL[..], &OF_OURS].concat(), found);
    // A plugin of somebody else may use whatever it likes.
    if ipam.is_none() || asked.is_some() {
        capabilities(plugin, at, ours, asked, found);
    }
}

/// The `type` of a plugin, and where it stands.
fn type_of(plugin: &Node, found: &mut Findings<'_>, at: usize, missing: &str) -> Option<(PluginName, usize)> {
    let Some(member) = plugin.get("type") else {
        found.error(at, missing);
        return None;
    };
    let at = member.node.at;
    match member.node.text() {
        None => found.error(at, format!("invalid type: it is {}, and names a program", member.node.kind())),
        Some("") => found.error(at, missing),
        Some(name) => match name.parse() {
            Ok(name) => return Some((name, at)),
            Err(error) => found.error(at, Error::msg(&error)),
        },
    }
    None
}

/// Is the program there, and does it speak the list's version?
fn look_up(name: &PluginName, at: usize, programs: Option<&Programs<'_>>, found: &mut Findings<'_>) {
    let Some(Programs { path, version }) = programs else { return };
    if exec::find(name, path).is_err() {
        let folders: Vec<String> = path.iter().map(|folder| folder.display().to_string()).collect();
        let there = OURS
            .iter()
            .map(|known| known.name)
            .filter(|known| known.parse().is_ok_and(|known| exec::find(&known, path).is_ok()));
        let hint = match similar(name.as_str(), there) {
            Some(meant) => format!("; did you mean {meant:?}?"),
            None => "; CNI_PATH names the folders".into(),
        };
        return found.error(at, format!("no program {:?} in {}{hint}", name.as_str(), folders.join(":")));
    }
    match (Runtime::new(path.to_vec()).versions(name), version) {
        (Err(error), _) => found.error(at, format!("{name} does not say its versions: {}", error.msg())),
        (Ok(versions), Some(version)) if !versions.iter().any(|spoken| spoken == version) => {
            let text = format!(
                "{name} does not support config version {version:?}; it speaks {}",
                versions.join(", ")
            );
            found.error(at, text);
        }
        (Ok(_), _) => {}
    }
}

/// What a runtime puts there, whatever the file says.
fn of_the_runtime(plugin: &Node, found: &mut Findings<'_>) {
    for member in plugin.members() {
        let key = &member.key;
        if key.eq_ignore_ascii_case("prevResult") || key.starts_with("cni.dev/") {
            found.warning(
                member.at,
                format!("{key:?} is the runtime's to give: what the file says is left out"),
            );
        }
        if key.eq_ignore_ascii_case("runtimeConfig") {
            let text = "\"runtimeConfig\" is the runtime's to give: what the file says is replaced as soon as it has something";
            found.warning(member.at, text);
        }
    }
}

/// The keys that the plugin does not read. What is below `args` and `runtimeConfig` is others' too.
fn unknown_keys(object: &Node, shape: &Shape, name: &str, also: &[&str], found: &mut Findings<'_>) {
    let known: Vec<&str> = shape.keys().iter().map(|(key, _)| *key).chain(also.iter().copied()).collect();
    for member in object.members() {
        let is_known = known.iter().any(|known| known.eq_ignore_ascii_case(&member.key));
        if !is_known && !member.key.starts_with("cni.dev/") {
            let key = &member.key;
            let elsewhere = || who_knows(key).filter(|_| also.contains(&"cniVersion"));
            match (similar(key, known.iter().copied()), elsewhere()) {
                (Some(meant), _) => {
                    let text = format!("{name} has no key {key:?}; did you mean {meant:?}?");
                    found.warning(member.at, text);
                }
                (None, Some(who)) => {
                    found.warning(member.at, format!("{name} has no key {key:?}; {who} has one"));
                }
                // As comments are written where there are none.
                (None, None) => {
                    found.note(member.at, format!("{name} has no key {key:?}, and does not read it"))
                }
            }
        }
        let others =
            ["args", "runtimeConfig", "ipam"].iter().any(|key| key.eq_ignore_ascii_case(&member.key));
        if let Some(shape) = shape.get(&member.key).filter(|_| !others) {
            below(member, shape, name, found);
        }
    }
}

fn below(member: &Member, shape: &Shape, name: &str, found: &mut Findings<'_>) {
    fn item(node: &Node, shape: &Shape, name: &str, found: &mut Findings<'_>) {
        match shape {
            Shape::Value => {}
            Shape::List(each) => node.items().iter().for_each(|node| item(node, each, name, found)),
            Shape::Keys(_) => {
                twice(node, found, |one, other| one.eq_ignore_ascii_case(other));
                unknown_keys(node, shape, name, &[], found);
            }
        }
    }
    item(&member.node, shape, name, found);
}

/// A plugin of ours that has this key, at the top of its configuration.
pub(crate) fn who_knows(key: &str) -> Option<&'static str> {
    OURS.iter().find(|known| known.shape().get(key).is_some()).map(|known| known.name)
}

/// What the runtime may give, and whether the plugin could use it.
fn capabilities(plugin: &Node, at: usize, ours: &Known, asked: Option<&Known>, found: &mut Findings<'_>) {
    let usable: Vec<&str> =
        ours.capabilities().into_iter().chain(asked.map(Known::capabilities).unwrap_or_default()).collect();
    let declared = plugin.get("capabilities");
    let members = declared.map_or(&[][..], |declared| declared.node.members());
    if let Some(declared) = declared.filter(|declared| !matches!(declared.node.value, Value::Object(_))) {
        let text = format!("capabilities are an object of booleans, and this is {}", declared.node.kind());
        return found.error(declared.node.at, text);
    }
    for member in members {
        if !matches!(member.node.value, Value::Flag(_) | Value::Null) {
            let text =
                format!("the capability {:?} is true or false, and not {}", member.key, member.node.kind());
            found.error(member.node.at, text);
        }
        if matches!(member.node.value, Value::Flag(true)) && !usable.contains(&member.key.as_str()) {
            let hint = match similar(&member.key, usable.iter().copied()) {
                Some(meant) => format!("; did you mean {meant:?}?"),
                None if usable.is_empty() => "; it can use none".into(),
                None => format!("; it can use {}", usable.join(", ")),
            };
            let text = format!("{} can do nothing with the capability {:?}{hint}", ours.name, member.key);
            found.warning(member.at, text);
        }
    }
    let missing: Vec<&str> =
        usable.into_iter().filter(|usable| !members.iter().any(|member| member.key == *usable)).collect();
    if missing.is_empty() {
        return;
    }
    let at = declared.map_or(at, |declared| declared.at);
    let listed: Vec<String> = missing.iter().map(|name| format!("\"{name}\": true")).collect();
    let listed = listed.join(", ");
    if is_idle_without(plugin, ours) {
        let text = format!("{} does nothing until it has \"capabilities\": {{{listed}}}", ours.name);
        found.warning(at, text);
    } else {
        let text = format!("\"capabilities\" could hold {listed}: a runtime's wish for it is not heard");
        found.note(at, text);
    }
}

/// Does the plugin do nothing but what the runtime asks for?
fn is_idle_without(plugin: &Node, ours: &Known) -> bool {
    let has_own = |word: &str| plugin.members().iter().any(|member| member.key.contains(word));
    match ours.name {
        "portmap" => true,
        "bandwidth" => !has_own("Rate"),
        _ => false,
    }
}
