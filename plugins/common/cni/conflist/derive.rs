//! What a plugin reads on stdin, derived from the list (spec, section "Deriving request configuration from plugin
//! configuration"): everything that the runtime does not know travels on to the byte.

use serde_json::value::RawValue;

use super::list::{List, Plugin};
use super::object::{Object, raw, verbatim};
use crate::name::{ContainerId, IfName};

/// What a verb adds to the configuration.
pub(super) enum Extra<'a> {
    /// ADD, CHECK, DEL: the arguments of the capabilities that the plugin declares, and a result if there is one.
    Attachment { capabilities: &'a Object, prev: Option<&'a RawValue> },
    /// GC: the attachments that are valid, where the caller knows them.
    Gc(Option<&'a [(ContainerId, IfName)]>),
    /// STATUS.
    Nothing,
}

/// The document for one plugin's stdin.
pub(super) fn stdin(list: &List, plugin: &Plugin, extra: &Extra<'_>) -> Vec<u8> {
    let mut object = plugin.object().clone();
    object.remove("capabilities");
    object.remove("prevResult");
    object.remove_prefixed("cni.dev/");
    object.set("cniVersion", raw(list.version.as_str()));
    object.set("name", raw(list.name.as_str()));
    match extra {
        Extra::Attachment { capabilities, prev } => {
            let wanted = arguments(plugin, capabilities);
            if !wanted.is_empty() {
                object.set("runtimeConfig", wanted.to_raw());
            }
            if let Some(prev) = prev {
                object.set("prevResult", (*prev).to_owned());
            }
        }
        Extra::Gc(valid) => {
            object.remove("runtimeConfig");
            if let Some(valid) = valid {
                // The second key is the name that the released text of 1.1.0 has.
                object.set("cni.dev/valid-attachments", attachments(valid));
                object.set("cni.dev/attachments", attachments(valid));
            }
        }
        Extra::Nothing => object.remove("runtimeConfig"),
    }
    object.text().into_bytes()
}

/// Of what the caller supplied, that which the plugin declares.
fn arguments(plugin: &Plugin, supplied: &Object) -> Object {
    let mut wanted = Object::default();
    for name in &plugin.capabilities {
        if let Some(value) = supplied.get(name) {
            wanted.set(name, value.to_owned());
        }
    }
    wanted
}

fn attachments(valid: &[(ContainerId, IfName)]) -> Box<RawValue> {
    let one = |(container, ifname): &(ContainerId, IfName)| {
        format!(r#"{{"containerID":{},"ifname":{}}}"#, raw(container.as_str()), raw(ifname.as_str()))
    };
    verbatim(format!("[{}]", valid.iter().map(one).collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(plugin: &str, extra: &Extra<'_>) -> String {
        let list = format!(r#"{{"cniVersion":"1.1.0","name":"net","plugins":[{plugin}]}}"#);
        let list = List::parse(list.as_bytes()).unwrap();
        String::from_utf8(stdin(&list, list.plugins.first().unwrap(), extra)).unwrap()
    }

    #[test]
    fn name_and_version_are_the_lists_and_the_rest_stays_to_the_byte() {
        let plugin =
            r#"{"type":"a","name":"own","cniVersion":"0.1.0","big":9007199254740993,"o":{ "f":1.0 }}"#;
        assert_eq!(
            derived(plugin, &Extra::Nothing),
            r#"{"type":"a","big":9007199254740993,"o":{ "f":1.0 },"cniVersion":"1.1.0","name":"net"}"#
        );
    }

    #[test]
    fn a_plugin_gets_the_arguments_of_the_capabilities_it_declares_and_not_the_declaration() {
        let plugin = r#"{"type":"a","capabilities":{"portMappings":true,"mac":false}}"#;
        let supplied = Object::parse(br#"{"portMappings":[{"HostPort":1}],"mac":"x","ips":[]}"#).unwrap();
        let stdin = derived(plugin, &Extra::Attachment { capabilities: &supplied, prev: None });
        assert!(stdin.ends_with(r#""runtimeConfig":{"portMappings":[{"HostPort":1}]}}"#), "{stdin}");
        assert!(!stdin.contains("capabilities"), "{stdin}");
    }

    #[test]
    fn nothing_to_pass_leaves_the_key_as_the_file_has_it() {
        let nothing = Object::default();
        let extra = Extra::Attachment { capabilities: &nothing, prev: None };
        assert!(!derived(r#"{"type":"a","capabilities":{"mac":true}}"#, &extra).contains("runtimeConfig"));
        assert!(
            derived(r#"{"type":"a","runtimeConfig":{"mac":"x"}}"#, &extra)
                .contains(r#""runtimeConfig":{"mac":"x"}"#)
        );
    }

    #[test]
    fn keys_of_the_runtime_in_a_stored_configuration_are_not_passed_on() {
        let plugin =
            r#"{"type":"a","prevResult":{},"cni.dev/valid-attachments":[],"cni.dev/x":1,"runtimeConfig":{}}"#;
        assert_eq!(derived(plugin, &Extra::Gc(None)), r#"{"type":"a","cniVersion":"1.1.0","name":"net"}"#);
    }

    #[test]
    fn gc_gets_the_valid_attachments_under_both_names() {
        let valid = [("c1".parse().unwrap(), "eth0".parse().unwrap())];
        let list = r#"[{"containerID":"c1","ifname":"eth0"}]"#;
        let stdin = derived(r#"{"type":"a"}"#, &Extra::Gc(Some(&valid)));
        assert!(
            stdin.contains(&format!(r#""cni.dev/valid-attachments":{list},"cni.dev/attachments":{list}"#)),
            "{stdin}"
        );
        assert!(
            derived(r#"{"type":"a"}"#, &Extra::Gc(Some(&[]))).contains(r#""cni.dev/valid-attachments":[]"#)
        );
    }
}
