//! JSON with its places: which key and which value stands where in a file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// As deep as plugins read.
const DEEPEST: usize = 128;

/// A text, in which offsets are lines and columns.
pub(crate) struct Text {
    text: String,
    starts: Vec<usize>,
}

/// A line and a column, both from 1; columns are characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value, where it begins and where it ends.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Number,
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key with its value, and where the key begins.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) at: usize,
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// Why a text is no JSON, and where that shows.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Unreadable {
    pub(crate) at: usize,
    pub(crate) why: String,
}

impl Text {
    pub(crate) fn new(text: String) -> Text {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Text { text, starts }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.start_of(line);
        let before = self.text.get(start..at).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }

    fn start_of(&self, line: usize) -> usize {
        self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The document.
    pub(crate) fn read(&self) -> Result<Node, Unreadable> {
        let whole: &RawValue = serde_json::from_str(&self.text).map_err(|error| self.unreadable(&error))?;
        // The reader of the whole passes over what it does not need; each part is looked at in its turn.
        serde_json::from_str::<IgnoredAny>(&self.text).map_err(|error| self.unreadable(&error))?;
        self.node(whole, 0)
    }

    fn unreadable(&self, error: &serde_json::Error) -> Unreadable {
        let said = error.to_string();
        let why = said.rsplit_once(" at line ").map_or(said.as_str(), |(why, _)| why);
        let mut why = match why {
            "EOF while parsing a value" if self.text.trim().is_empty() => "it is empty".to_owned(),
            why if error.is_eof() => format!("it ends too early: {why}"),
            why => why.to_owned(),
        };
        if self.text.starts_with('\u{feff}') {
            why = "it begins with a byte order mark; save it without one".into();
        }
        // serde counts the bytes of a line that it has read: the last of them is where it stopped.
        let mut at = self.start_of(error.line()) + error.column().saturating_sub(1);
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let (before, after) = self.text.split_at_checked(at).unwrap_or_default();
        // The commonest slip: serde finds what follows it, and calls it by other names.
        if after.starts_with(['}', ']']) && before.trim_end().ends_with(',') {
            return Unreadable { at: before.trim_end().len() - 1, why: "trailing comma".into() };
        }
        Unreadable { at, why }
    }

    fn node(&self, raw: &RawValue, depth: usize) -> Result<Node, Unreadable> {
        // Both are slices of one text, so that their distance is the offset.
        let at = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let fault = |error: serde_json::Error| Unreadable { at, why: error.to_string() };
        if depth == DEEPEST {
            return Err(Unreadable { at, why: format!("it is nested deeper than {DEEPEST} levels") });
        }
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(raw.get()).map_err(fault)?;
                let member = |(key, value): (&RawValue, &RawValue)| {
                    let at = (key.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
                    let key = serde_json::from_str(key.get()).map_err(fault)?;
                    Ok(Member { at, key, node: self.node(value, depth + 1)? })
                };
                Value::Object(members.into_iter().map(member).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(fault)?;
                let items = items.into_iter().map(|item| self.node(item, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(serde_json::from_str(raw.get()).map_err(fault)?),
            Some(b't') => Value::Flag(true),
            Some(b'f') => Value::Flag(false),
            Some(b'n') => Value::Null,
            _ => Value::Number,
        };
        Ok(Node { at, end: at + raw.get().len(), value })
    }
}

impl Node {
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member that a plugin finds: whatever its case, the last one that is not `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&Member> {
        let fits = |member: &&Member| {
            member.key.eq_ignore_ascii_case(key) && !matches!(member.node.value, Value::Null)
        };
        self.members().iter().rfind(fits)
    }

    /// The member that a runtime finds in a list: exactly so called, the last one.
    pub(crate) fn get_exact(&self, key: &str) -> Option<&Member> {
        self.members().iter().rfind(|member| member.key == key)
    }

    /// What kind of value this is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Flag(_) => "a boolean",
            Value::Number => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// Where a path such as `cni::decode` writes it leads (`portMappings[1].hostPort`), as far as it leads anywhere; `None` if
    /// its first step already leads nowhere. A key may have dots in it.
    pub(crate) fn along(&self, path: &str) -> Option<usize> {
        let path = path.strip_prefix('.').unwrap_or(path);
        if let Some((number, rest)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let item = self.items().get(number.parse::<usize>().ok()?)?;
            return Some(item.along(rest).unwrap_or(item.at));
        }
        let rest = |member: &Member| {
            let (start, rest) = path.split_at_checked(member.key.len())?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            (ends && start.eq_ignore_ascii_case(&member.key)).then_some(rest)
        };
        let fitting = self.members().iter().filter_map(|member| Some((member, rest(member)?)));
        let (member, rest) = fitting.min_by_key(|(_, rest)| rest.len())?;
        Some(member.node.along(rest).unwrap_or(member.at))
    }
}

impl Node {
    /// Where this very text stands, here or below.
    pub(crate) fn holder_of(&self, text: &str) -> Option<usize> {
        let below = || {
            let members = self.members().iter().map(|member| &member.node);
            members.chain(self.items()).find_map(|node| node.holder_of(text))
        };
        if self.text() == Some(text) { Some(self.at) } else { below() }
    }
}

/// The members of one object, unread.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Members<'de>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Place, String) {
        let text = Text::new(text.into());
        let fault = text.read().unwrap_err();
        (text.place(fault.at), fault.why)
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        let text = Text::new("{\n  \"é\": 1, \"plugins\": [\n    {\"type\": \"a\"},\n    7 ]\n}\n".into());
        let document = text.read().unwrap();
        let place = |at| (text.place(at).line, text.place(at).column);
        let plugins = document.get("PLUGINS").unwrap();
        assert_eq!(place(plugins.at), (2, 11));
        assert_eq!(place(plugins.node.items()[1].at), (4, 5));
        assert_eq!(place(document.along("plugins[0].type").unwrap()), (3, 6));
        assert_eq!(place(document.along("plugins[0].nothing").unwrap()), (3, 5));
        assert_eq!(document.along("nothing"), None);
    }

    #[test]
    fn a_key_with_dots_is_one_step() {
        let text = Text::new(r#"{"sysctl":{"net.a":1,"net":2,"net.a.b":[3]}}"#.into());
        let document = text.read().unwrap();
        assert_eq!(document.along("sysctl.net.a.b[0]"), Some(40));
        assert_eq!(document.along("sysctl.net.a"), Some(11));
    }

    #[test]
    fn whatever_a_file_holds_has_its_place_in_it() {
        fn inside(text: &Text, node: &Node) {
            assert!(text.as_str().get(node.at..node.end).is_some_and(|it| !it.is_empty()));
            for member in node.members() {
                assert!(text.as_str().get(member.at..).is_some_and(|it| it.starts_with('"')));
                let is_path = member.key.starts_with(['.', '[']);
                assert!(is_path || node.along(&member.key).is_some());
                assert!(node.get_exact(&member.key).is_some());
                inside(text, &member.node);
            }
            node.items().iter().for_each(|item| inside(text, item));
        }
        fuzz::attack("conflist", |bytes| {
            let text = Text::new(String::from_utf8_lossy(bytes).into_owned());
            let lines = text.as_str().split('\n').count();
            let at = match text.read() {
                Ok(node) => {
                    inside(&text, &node);
                    node.end
                }
                Err(fault) => fault.at,
            };
            let Place { line, column } = text.place(at);
            assert!((1..=lines).contains(&line) && column >= 1, "{line}:{column} of {lines} lines");
        });
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let at = |line, column| Place { line, column };
        assert_eq!(fault("{\n  \"a\": 1,\n}\n"), (at(2, 9), "trailing comma".into()));
        assert_eq!(fault("{\"é\" 1}"), (at(1, 6), "expected `:`".into()));
        assert_eq!(fault(""), (at(1, 1), "it is empty".into()));
        assert_eq!(fault("{} x"), (at(1, 4), "trailing characters".into()));
        assert!(fault("{\"a\":[1,").1.starts_with("it ends too early"));
        assert!(fault("\u{feff}{}").1.contains("byte order mark"));
        assert!(fault(&"[".repeat(100_000)).1.contains("too early"));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(fault(&deep).1.contains("128 levels"));
    }
}
