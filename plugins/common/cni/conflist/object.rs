//! A JSON object whose members stay as they were written, to the byte: a runtime passes on what it does not know.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Code, Error, Result};

/// A JSON object: members in the order of the document, repeated keys included, values unread.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<Member>);

#[derive(Clone, Debug)]
struct Member {
    /// The key as written, quotes and escapes included.
    key: Box<RawValue>,
    /// The key as meant.
    name: String,
    value: Box<RawValue>,
}

impl Object {
    /// Reads one object. Bytes that are not UTF-8 become U+FFFD, as in Go.
    ///
    /// # Errors
    /// [`Code::DECODE`] for anything that is not exactly one JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Object> {
        let text = String::from_utf8_lossy(bytes);
        serde_json::from_str(&text).map_err(|error| {
            let empty = text.trim().is_empty();
            let why = if empty { "unexpected end of JSON input".into() } else { error.to_string() };
            Error::new(Code::DECODE, why)
        })
    }

    /// The member with exactly this key. The last one wins; `null` is a value here.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rfind(|member| member.name == key).map(|member| &*member.value)
    }

    /// The member with this key in any case, as a Go plugin finds it. The last one wins, and `null` is absent.
    pub fn get_folded(&self, key: &str) -> Option<&RawValue> {
        let fits = |member: &&Member| member.is_called(key) && member.value.get() != "null";
        self.0.iter().rfind(fits).map(|member| &*member.value)
    }

    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|member| (member.name.as_str(), &*member.value))
    }

    /// There are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a member at the end, in place of every member that a Go plugin would take for the same one.
    pub fn set(&mut self, key: &str, value: Box<RawValue>) {
        self.remove(key);
        self.0.push(Member { key: raw(key), name: key.into(), value });
    }

    /// Takes away the members with this key in any case.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|member| !member.is_called(key));
    }

    /// Takes away the members whose keys start like this.
    pub fn remove_prefixed(&mut self, prefix: &str) {
        self.0.retain(|member| !member.name.starts_with(prefix));
    }

    /// The document again: its members to the byte, the white space between them gone.
    pub fn text(&self) -> String {
        let members: Vec<String> =
            self.0.iter().map(|member| format!("{}:{}", member.key.get(), member.value.get())).collect();
        format!("{{{}}}", members.join(","))
    }

    /// The document again, as a value to be put into another.
    pub fn to_raw(&self) -> Box<RawValue> {
        verbatim(self.text())
    }
}

impl Member {
    fn is_called(&self, key: &str) -> bool {
        self.name.eq_ignore_ascii_case(key)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Object, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = object.next_entry::<Box<RawValue>, Box<RawValue>>()? {
            let name = serde_json::from_str(key.get()).map_err(A::Error::custom)?;
            members.push(Member { key, name, value });
        }
        Ok(Object(members))
    }
}

/// A text as a JSON value.
pub(super) fn raw(text: &str) -> Box<RawValue> {
    verbatim(serde_json::Value::from(text).to_string())
}

/// JSON that was put together here out of valid parts; should it not be valid after all, `null`.
pub(super) fn verbatim(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_touches_stays_to_the_byte() {
        let odd = r#"{"big":9007199254740993,"e":1.50e+2,"\u0061":"\u00e9<&","d":{ "x" : [1, 2] },"d":1}"#;
        assert_eq!(Object::parse(odd.as_bytes()).unwrap().text(), odd);
    }

    #[test]
    fn a_set_member_replaces_every_spelling_of_its_key() {
        let mut object = Object::parse(br#"{"Name":1,"a":2,"name":3}"#).unwrap();
        object.set("name", raw("x\"y"));
        assert_eq!(object.text(), r#"{"a":2,"name":"x\"y"}"#);
    }

    #[test]
    fn a_key_is_found_exactly_or_in_any_case() {
        let object = Object::parse(br#"{"Type":"a","TYPE":"b","type":null}"#).unwrap();
        assert_eq!(object.get("type").unwrap().get(), "null");
        assert_eq!(object.get_folded("type").unwrap().get(), "\"b\"");
        assert!(object.get("tYpe").is_none());
    }

    #[test]
    fn what_is_no_object_is_a_decoding_error() {
        for bad in ["", "[]", "\"a\"", "null", "{", "{}x"] {
            assert_eq!(Object::parse(bad.as_bytes()).unwrap_err().code(), Code::DECODE, "{bad:?}");
        }
    }
}
