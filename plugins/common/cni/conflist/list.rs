//! A network configuration list, as a runtime reads it.

use serde_json::value::RawValue;

use super::object::{Object, raw, verbatim};
use super::version::Version;
use crate::error::{Code, Error, OrFail, Result};
use crate::name::{NetworkName, PluginName};
use crate::spec::Spec;

/// Marks a list as whole: nothing is to be added from the folder beside it.
const WHOLE: &str = "loadOnlyInlinedPlugins";

/// A network: plugins to be run one after another, under one name and one version.
#[derive(Clone, Debug)]
pub struct List {
    /// The network's name, which every plugin gets.
    pub name: NetworkName,
    /// The version that every plugin gets: the highest that both we and the list know.
    pub version: Version,
    /// CHECK is never to be run.
    pub disable_check: bool,
    /// GC is never to be run.
    pub disable_gc: bool,
    /// In the order of ADD.
    pub plugins: Vec<Plugin>,
    whole: bool,
    appended: usize,
    document: Object,
    written: Vec<u8>,
}

/// One plugin of a list.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// `type`: the program's name.
    pub program: PluginName,
    /// The configuration's own `name`, for messages; the plugin gets the network's.
    pub name: Option<String>,
    /// The capabilities that it declares as `true`, in the order of the document.
    pub capabilities: Vec<String>,
    object: Object,
}

impl List {
    /// Reads a list (`*.conflist`).
    ///
    /// # Errors
    /// Code 6 for what is no JSON object, 7 for a list that breaks the specification (section "Network
    /// configuration format"): no name or a bad one, a bad version, a plugin without a type, a member of the wrong
    /// type, `loadOnlyInlinedPlugins` without plugins. All of it before anything is executed.
    pub fn parse(bytes: &[u8]) -> Result<List> {
        List::read(bytes).or_fail(Code::CONFIG, || "error parsing configuration list".into())
    }

    fn read(bytes: &[u8]) -> Result<List> {
        let document = Object::parse(bytes)?;
        let name = document.get("name").ok_or_else(|| Error::config("no name"))?;
        let whole = flag(&document, WHOLE)?;
        let plugins = match document.get("plugins") {
            None if whole => return Err(Error::config(format!("{WHOLE} is true, and there are no plugins"))),
            None => Vec::new(),
            Some(plugins) => inlined(plugins)?,
        };
        Ok(List {
            name: text(name, "name")?.parse()?,
            version: version(&document)?,
            disable_check: flag(&document, "disableCheck")?,
            disable_gc: flag(&document, "disableGC")?,
            plugins,
            whole,
            appended: 0,
            written: bytes.to_vec(),
            document,
        })
    }

    /// Reads the configuration of a single plugin (`*.conf`, `*.json`) as a list of one.
    ///
    /// # Errors
    /// As [`List::parse`].
    pub fn wrap(bytes: &[u8]) -> Result<List> {
        let wrapped = || {
            let single = Object::parse(bytes)?;
            let plugin = Plugin::of(single.clone())?;
            let mut document = Object::default();
            let null = || RawValue::NULL.to_owned();
            let empty = raw("");
            document.set("cniVersion", single.get_folded("cniVersion").map_or(empty, ToOwned::to_owned));
            document.set("name", single.get_folded("name").map_or_else(null, ToOwned::to_owned));
            document.set("plugins", verbatim(format!("[{}]", plugin.object.text())));
            if document.get("name").is_some_and(|name| name.get() == "null") {
                return Err(Error::config("no name"));
            }
            List::read(document.text().as_bytes())
        };
        wrapped().or_fail(Code::CONFIG, || "error parsing configuration".into())
    }

    /// The list stands for itself: plugins from the folder beside it are not wanted.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Adds a plugin that is written down elsewhere.
    pub fn append(&mut self, plugin: Plugin) {
        self.plugins.push(plugin);
        self.appended += 1;
    }

    /// The document as it was found, without what was appended.
    pub fn as_written(&self) -> &[u8] {
        &self.written
    }

    /// A document that holds the list with all its plugins, wherever they came from; it is the file to the byte
    /// where nothing was appended.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.appended == 0 {
            return self.written.clone();
        }
        let plugins: Vec<String> = self.plugins.iter().map(|plugin| plugin.object.text()).collect();
        let mut document = self.document.clone();
        document.set("plugins", verbatim(format!("[{}]", plugins.join(","))));
        document.set(WHOLE, RawValue::TRUE.to_owned());
        document.text().into_bytes()
    }
}

impl Plugin {
    /// Reads one plugin's configuration.
    ///
    /// # Errors
    /// Code 6 for what is no JSON object; 7 for a missing or bad `type`, or for `capabilities` that are no booleans.
    pub fn parse(bytes: &[u8]) -> Result<Plugin> {
        Object::parse(bytes)
            .and_then(Plugin::of)
            .or_fail(Code::CONFIG, || "error parsing configuration".into())
    }

    fn of(object: Object) -> Result<Plugin> {
        let program = object.get_folded("type").ok_or_else(|| Error::config("missing 'type'"))?;
        let program = text(program, "type")?;
        if program.is_empty() {
            return Err(Error::config("missing 'type'"));
        }
        let mut capabilities = Vec::new();
        if let Some(declared) = object.get_folded("capabilities") {
            let declared =
                Object::parse(declared.get().as_bytes()).or_fail(Code::CONFIG, || "capabilities".into())?;
            for (name, wanted) in declared.iter() {
                match wanted.get() {
                    "true" => capabilities.push(name.to_owned()),
                    "false" | "null" => capabilities.retain(|earlier| earlier != name),
                    _ => return Err(wrong_type(&format!("capabilities.{name}"), wanted)),
                }
            }
        }
        let name = object.get_folded("name").and_then(|name| serde_json::from_str(name.get()).ok());
        Ok(Plugin { program: program.parse()?, name, capabilities, object })
    }

    /// The configuration as it was written.
    pub fn object(&self) -> &Object {
        &self.object
    }
}

fn inlined(plugins: &RawValue) -> Result<Vec<Plugin>> {
    let objects: Vec<&RawValue> =
        serde_json::from_str(plugins.get()).map_err(|_| wrong_type("plugins", plugins))?;
    if objects.is_empty() {
        return Err(Error::config("no plugins in list"));
    }
    let numbered = objects.into_iter().enumerate();
    numbered
        .map(|(number, object)| {
            let plugin = Object::parse(object.get().as_bytes()).and_then(Plugin::of);
            plugin.or_fail(Code::CONFIG, || format!("failed to parse plugin config {number}"))
        })
        .collect()
}

/// The version to use: the highest of `cniVersion` and `cniVersions` that we know ourselves.
fn version(document: &Object) -> Result<Version> {
    let single =
        document.get("cniVersion").map_or_else(|| Ok(String::new()), |single| text(single, "cniVersion"))?;
    let single = Version::parse(&single)?;
    let Some(several) = document.get("cniVersions") else { return Ok(single) };
    let entries: Vec<&RawValue> =
        serde_json::from_str(several.get()).map_err(|_| wrong_type("cniVersions", several))?;
    let mut known: Vec<Spec> = document.get("cniVersion").and(single.spec()).into_iter().collect();
    for entry in entries {
        known.extend(Version::parse(&text(entry, "cniVersions")?)?.spec());
    }
    known.into_iter().max().map_or(Ok(single), |highest| Version::parse(highest.as_str()))
}

/// A boolean, also as the text that some deployment tools make of it.
fn flag(document: &Object, key: &str) -> Result<bool> {
    let Some(value) = document.get(key) else { return Ok(false) };
    let said = serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned());
    match said.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        lower if value.get().starts_with('"') => {
            Err(Error::config(format!("invalid value {lower:?} for {key}")))
        }
        _ => Err(wrong_type(key, value)),
    }
}

fn text(value: &RawValue, key: &str) -> Result<String> {
    serde_json::from_str(value.get()).map_err(|_| wrong_type(key, value))
}

fn wrong_type(key: &str, value: &RawValue) -> Error {
    let found = match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    };
    Error::config(format!("invalid {key} type {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        let error = List::parse(json.as_bytes()).unwrap_err();
        assert!([Code::CONFIG, Code::DECODE].contains(&error.code()), "{json}");
        error.msg()
    }

    fn chosen(versions: &str) -> String {
        let json = format!(r#"{{"name":"n",{versions},"plugins":[{{"type":"a"}}]}}"#);
        List::parse(json.as_bytes()).unwrap().version.to_string()
    }

    #[test]
    fn the_highest_version_that_both_know_is_chosen_by_number() {
        assert_eq!(
            chosen(r#""cniVersion":"0.4.0","cniVersions":["0.3.1","1.0.0","1.1.0","9.0.0"]"#),
            "1.1.0"
        );
        assert_eq!(chosen(r#""cniVersion":"0.4.0","cniVersions":["9.0.0"]"#), "0.4.0");
        assert_eq!(chosen(r#""cniVersions":["1.1.0","0.10.0","0.4.0"]"#), "1.1.0");
        assert_eq!(chosen(r#""cniVersions":["0.10.0","0.4.0"]"#), "0.4.0");
        assert_eq!(chosen(r#""cniVersion":"1.2.0""#), "1.2.0");
        assert_eq!(chosen(r#""cniVersion":"1.2.0","cniVersions":[]"#), "1.2.0");
        assert_eq!(chosen(r#""cniVersion":"""#), "0.1.0");
    }

    #[test]
    fn a_version_that_is_none_is_refused() {
        for bad in [
            r#""cniVersions":[1]"#,
            r#""cniVersions":["abc"]"#,
            r#""cniVersions":"1.0.0""#,
            r#""cniVersion":1"#,
        ] {
            let message = refused(&format!(r#"{{"name":"n",{bad},"plugins":[{{"type":"a"}}]}}"#));
            assert!(message.starts_with("error parsing configuration list: invalid "), "{message}");
        }
    }

    #[test]
    fn a_list_without_a_good_name_is_refused() {
        assert_eq!(refused(r#"{"plugins":[{"type":"a"}]}"#), "error parsing configuration list: no name");
        assert!(refused(r#"{"name":1,"plugins":[{"type":"a"}]}"#).ends_with("invalid name type number"));
        for bad in ["", "a/b", "..", "a b"] {
            refused(&format!(r#"{{"name":"{bad}","plugins":[{{"type":"a"}}]}}"#));
        }
    }

    #[test]
    fn a_plugin_without_a_good_type_is_refused() {
        for bad in ["{}", r#"{"type":""}"#, r#"{"type":"a/b"}"#, r#"{"type":1}"#, "1", "null"] {
            refused(&format!(r#"{{"name":"n","plugins":[{bad}]}}"#));
        }
    }

    #[test]
    fn a_list_has_plugins_or_may_get_them_from_its_folder() {
        assert!(refused(r#"{"name":"n","plugins":[]}"#).ends_with("no plugins in list"));
        refused(r#"{"name":"n","loadOnlyInlinedPlugins":true}"#);
        refused(r#"{"name":"n","plugins":{}}"#);
        assert!(List::parse(br#"{"name":"n"}"#).unwrap().plugins.is_empty());
    }

    #[test]
    fn a_flag_is_a_boolean_or_its_name() {
        let read = |value: &str| {
            let json = format!(r#"{{"name":"n","disableCheck":{value},"plugins":[{{"type":"a"}}]}}"#);
            List::parse(json.as_bytes()).map(|list| list.disable_check).map_err(|error| error.msg())
        };
        assert_eq!((read("true"), read("\"TRUE\""), read("\"False\"")), (Ok(true), Ok(true), Ok(false)));
        assert!(read("\"yes\"").unwrap_err().ends_with("invalid value \"yes\" for disableCheck"));
        assert!(read("1").unwrap_err().ends_with("invalid disableCheck type number"));
    }

    #[test]
    fn a_single_plugin_becomes_a_list_of_one() {
        let list = List::wrap(br#"{"cniVersion":"0.4.0","name":"n","type":"a","x":{"y":1.0}}"#).unwrap();
        assert_eq!((list.name.as_str(), list.version.as_str(), list.plugins.len()), ("n", "0.4.0", 1));
        assert_eq!(List::parse(&list.to_bytes()).unwrap().plugins.len(), 1);
        let error = List::wrap(br#"{"name":"n"}"#).unwrap_err();
        assert_eq!(error.msg(), "error parsing configuration: missing 'type'");
        assert!(List::wrap(br#"{"type":"a"}"#).is_err());
    }

    #[test]
    fn a_list_with_appended_plugins_is_written_whole() {
        let mut list = List::parse(br#"{"name":"n","plugins":[{"type":"a"}],"x":1}"#).unwrap();
        list.append(Plugin::parse(br#"{"type":"b", "n":9007199254740993}"#).unwrap());
        let again = List::parse(&list.to_bytes()).unwrap();
        assert!(again.is_whole() && again.plugins.len() == 2);
        assert!(String::from_utf8(list.to_bytes()).unwrap().contains("9007199254740993"));
    }
}
