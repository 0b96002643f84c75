//! A list, as a runtime reads it: what stands outside its plugins.

use cni::conflist::version::Version;
use cni::name::NetworkName;
use cni::spec::Spec;

use super::finding::Findings;
use super::located::{Node, Value};
use super::plugin;
use super::similar::similar;

/// The keys of a list. Runtimes take no other case for the same.
const KEYS: [&str; 7] =
    ["name", "cniVersion", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins"];

/// Looks at a list.
pub(crate) fn check(list: &Node, found: &mut Findings<'_>) {
    if !matches!(list.value, Value::Object(_)) {
        return found.error(list.at, format!("a network is an object, and this is {}", list.kind()));
    }
    for member in list.members().iter().filter(|member| !KEYS.contains(&member.key.as_str())) {
        let key = &member.key;
        match (similar(key, KEYS), plugin::who_knows(key)) {
            (Some(meant), _) => {
                found.warning(member.at, format!("a list has no key {key:?}; did you mean {meant:?}?"));
            }
            (None, Some(who)) => {
                let text = format!("a list has no key {key:?}; in \"plugins\" {who} has one");
                found.warning(member.at, text);
            }
            // Runtimes keep things of their own there, and people comments.
            (None, None) => {
                found.note(member.at, format!("a list has no key {key:?}: plugins do not see it"))
            }
        }
    }
    twice(list, found, |one, other| one == other);
    name(list, found);
    versions(list, found);
    for key in ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] {
        flag(list, key, found);
    }
    plugins(list, found);
}

/// A key that is written twice.
pub(crate) fn twice(object: &Node, found: &mut Findings<'_>, same: fn(&str, &str) -> bool) {
    let members = object.members();
    for (number, member) in members.iter().enumerate() {
        let earlier = members.iter().take(number).find(|earlier| same(&earlier.key, &member.key));
        if let Some(earlier) = earlier {
            let line = found.place(earlier.at).line;
            let text =
                format!("{:?} again, which stands in line {line} already; the last one counts", member.key);
            found.warning(member.at, text);
        }
    }
}

pub(crate) fn name(list: &Node, found: &mut Findings<'_>) {
    let Some(member) = list.get_exact("name") else {
        return found.error(list.at, "no name: runtimes find a network by its \"name\"");
    };
    match member.node.text().map(str::parse::<NetworkName>) {
        None => found.error(member.node.at, format!("invalid name type: it is {}", member.node.kind())),
        Some(Err(error)) => {
            let text = format!(
                "{error}; it begins with a letter or digit, and has letters, digits, '_', '.' and '-'"
            );
            found.error(member.node.at, text);
        }
        Some(Ok(_)) => {}
    }
}

fn versions(list: &Node, found: &mut Findings<'_>) {
    let (single, several) = (list.get_exact("cniVersion"), list.get_exact("cniVersions"));
    if let Some(member) = single {
        version(&member.node, several.is_none(), found);
    }
    match several.map(|several| (&several.node, &several.node.value)) {
        None if single.is_none() => {
            let text = "no cniVersion: 0.1.0 is meant, which knows neither CHECK nor several addresses; \
                 write \"cniVersion\": \"1.0.0\"";
            found.warning(list.at, text);
        }
        None => {}
        Some((node, Value::List(items))) => {
            items.iter().for_each(|item| version(item, false, found));
            if items.is_empty() && single.is_none() {
                found.warning(node.at, "no version at all: 0.1.0 is meant");
            }
        }
        Some((node, _)) => {
            found.error(
                node.at,
                format!("invalid cniVersions type: it is {}, and has to be a list", node.kind()),
            );
        }
    }
}

/// One version. What is not known is passed over in `cniVersions`, and taken as it is in `cniVersion`.
pub(crate) fn version(node: &Node, counts: bool, found: &mut Findings<'_>) {
    let Some(text) = node.text() else {
        return found.error(node.at, format!("invalid cniVersion type: it is {}", node.kind()));
    };
    match Version::parse(text) {
        Err(error) => found.error(node.at, error.msg()),
        Ok(version) if version.spec().is_none() => {
            let known = Spec::ALL.map(Spec::as_str).join(", ");
            let text = format!("there is no version {text:?}; there are {known}");
            if counts { found.error(node.at, text) } else { found.note(node.at, text) }
        }
        Ok(_) => {}
    }
}

fn flag(list: &Node, key: &str, found: &mut Findings<'_>) {
    let Some(member) = list.get_exact(key) else { return };
    let node = &member.node;
    match &node.value {
        Value::Flag(_) => {}
        Value::Text(text) if ["true", "false"].contains(&text.to_ascii_lowercase().as_str()) => {
            found.note(
                node.at,
                format!("{key} is a text; it is read as the boolean {}", text.to_ascii_lowercase()),
            );
        }
        Value::Text(text) => found.error(node.at, format!("invalid value {text:?} for {key}: true or false")),
        _ => found
            .error(node.at, format!("invalid {key} type: it is {}, and has to be a boolean", node.kind())),
    }
}

fn plugins(list: &Node, found: &mut Findings<'_>) {
    let whole = list.get_exact("loadOnlyInlinedPlugins").map(|member| &member.node.value);
    let whole = match whole {
        Some(Value::Flag(flag)) => *flag,
        Some(Value::Text(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    let Some(member) = list.get_exact("plugins") else {
        if whole {
            found.error(list.at, "loadOnlyInlinedPlugins is true, and there are no plugins");
        }
        return;
    };
    match &member.node.value {
        Value::List(items) if items.is_empty() => found.error(member.node.at, "no plugins in list"),
        Value::List(_) => {}
        _ => {
            let text = format!("invalid plugins type: it is {}, and has to be a list", member.node.kind());
            found.error(member.node.at, text);
        }
    }
}
