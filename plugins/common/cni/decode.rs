//! From a [`Value`] to a struct of serde's derive, by Go's rules.
//!
//! The fields of a struct are its *known* keys: they match whatever their case, in the order of the document, and the
//! last one wins. Keys that are data — those of a map — stay as they are.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{CowStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::{Code, Error, Result};
use crate::value::{Value, merged, names};

mod lenient;

pub(crate) use lenient::{Unread, decode_what_can_be};

/// Reads a struct out of a value. Optional fields need `#[serde(default)]`; `#[serde(flatten)]` would see keys as
/// they are written, so it is not for known keys.
///
/// # Errors
/// [`Code::DECODE`] for a value of the wrong type, [`Code::CONFIG`] for one of the right type that makes no sense or
/// is missing; the message starts with the key's path.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(Node(value)).map_err(Fault::told)
}

/// A failure on its way out of the document: it collects the keys that it passes.
#[derive(Debug)]
struct Fault {
    code: Code,
    text: String,
    /// Innermost first.
    steps: Vec<Step>,
}

/// One step from a value into it.
#[derive(Clone, Debug)]
enum Step {
    /// Of a struct, whatever its case in the document.
    Field(&'static str),
    /// Of a map, as it is written.
    Member(String),
    /// Of a list.
    Item(usize),
}

/// Steps from the outside as a text: `ipam.ranges[0]`.
fn path<'a>(steps: impl Iterator<Item = &'a Step>) -> String {
    steps.fold(String::new(), |path, step| {
        let dot = if path.is_empty() { "" } else { "." };
        match step {
            Step::Field(field) => path + dot + field,
            Step::Member(member) => path + dot + member,
            Step::Item(at) => path + &format!("[{at}]"),
        }
    })
}

impl Fault {
    fn below(mut self, step: Step) -> Fault {
        self.steps.push(step);
        self
    }

    fn told(self) -> Error {
        let path = path(self.steps.iter().rev());
        let text = if path.is_empty() { self.text } else { format!("{path}: {}", self.text) };
        Error::new(self.code, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Fault {
        Fault { code: Code::CONFIG, text: text.to_string(), steps: Vec::new() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Fault {
        let text = format!("cannot unmarshal {found}, expected {expected}");
        Fault { code: Code::DECODE, text, steps: Vec::new() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Fault {
        Fault::invalid_type(found, expected)
    }

    fn missing_field(field: &'static str) -> Fault {
        Fault::custom("missing").below(Step::Field(field))
    }
}

/// One value, about to be read.
struct Node<'a>(&'a Value);

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(value) => visit_number(value, visitor),
            Value::String(value) => visitor.visit_str(value),
            Value::Array(items) => visitor.visit_seq(Items { items, at: 0 }),
            Value::Object(members) => visitor.visit_map(Entries { members, at: 0 }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let none = Vec::new();
        let members = match self.0 {
            Value::Object(members) => members,
            Value::Null => &none,
            other => return Err(unfit(other, name)),
        };
        visitor.visit_map(Fields { found: known(members, fields), at: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(variant.as_str().into_deserializer()),
            other => Err(unfit(other, name)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &serde_json::Number, visitor: V) -> Result<V::Value, Fault> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(value), _, _) => visitor.visit_u64(value),
        (None, Some(value), _) => visitor.visit_i64(value),
        (None, None, Some(value)) => visitor.visit_f64(value),
        (None, None, None) => visitor.visit_str(&number.to_string()),
    }
}

fn unfit(value: &Value, expected: &str) -> Fault {
    let text = format!("cannot unmarshal {}, expected {expected}", value.kind());
    Fault { code: Code::DECODE, text, steps: Vec::new() }
}

/// The members that are fields, each once, in the order of the fields.
fn known<'a>(
    members: &'a [(String, Value)],
    fields: &'static [&'static str],
) -> Vec<(&'static str, Cow<'a, Value>)> {
    let mut found: Vec<(&'static str, Cow<'a, Value>)> = Vec::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        // An exact match comes first, so that two fields may differ in case alone.
        let exact = fields.iter().find(|field| **field == name);
        let Some(field) = exact.or_else(|| fields.iter().find(|field| names(name, field))) else { continue };
        match found.iter_mut().find(|(known, _)| known == field) {
            Some((_, before)) => {
                *before = merged(std::mem::replace(before, Cow::Borrowed(&Value::Null)), value);
            }
            None => found.push((field, Cow::Borrowed(value))),
        }
    }
    found
}

/// The fields of a struct.
struct Fields<'a> {
    found: Vec<(&'static str, Cow<'a, Value>)>,
    at: usize,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((field, _)) = self.found.get(self.at) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((field, value)) = self.found.get(self.at) else {
            return Err(serde::de::Error::custom("no value"));
        };
        self.at += 1;
        seed.deserialize(Node(value)).map_err(|fault| fault.below(Step::Field(field)))
    }
}

/// The members of a map, as they are written.
struct Entries<'a> {
    members: &'a [(String, Value)],
    at: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, _)) = self.members.get(self.at) else { return Ok(None) };
        seed.deserialize(CowStrDeserializer::new(Cow::Borrowed(key))).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, value)) = self.members.get(self.at) else {
            return Err(serde::de::Error::custom("no value"));
        };
        self.at += 1;
        seed.deserialize(Node(value)).map_err(|fault| fault.below(Step::Member(key.clone())))
    }
}

/// The items of a list.
struct Items<'a> {
    items: &'a [Value],
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(item) = self.items.get(self.at) else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|fault| fault.below(Step::Item(at)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Port {
        host_port: u16,
        protocol: Option<String>,
        #[serde(deserialize_with = "crate::value::ip", rename = "hostIP")]
        host_ip: Option<IpAddr>,
    }

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Conf {
        mtu: u32,
        port_mappings: Vec<Port>,
        sysctl: BTreeMap<String, String>,
        nested: Option<Port>,
    }

    fn conf(text: &str) -> Result<Conf> {
        decode(&Value::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn containerds_capital_keys_are_read() {
        let read =
            conf(r#"{"PORTMAPPINGS":[{"HostPort":80,"Protocol":"tcp","HostIP":""}],"unknown":[1]}"#).unwrap();
        let port = Port { host_port: 80, protocol: Some("tcp".into()), host_ip: None };
        assert_eq!(read.port_mappings, [port]);
    }

    #[test]
    fn the_last_key_wins_null_is_absent_and_objects_are_united() {
        let read =
            conf(r#"{"mtu":1,"MTU":2,"mtu":null,"nested":{"hostPort":1},"Nested":{"protocol":"udp"}}"#)
                .unwrap();
        assert_eq!(read.mtu, 2);
        assert_eq!(read.nested, Some(Port { host_port: 1, protocol: Some("udp".into()), host_ip: None }));
    }

    #[test]
    fn keys_that_are_data_stay_as_they_are() {
        let read = conf(r#"{"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","A":"1","a":"2"}}"#).unwrap();
        assert_eq!(read.sysctl.len(), 3);
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_the_key() {
        for (text, path) in [
            (r#"{"mtu":"x"}"#, "mtu: "),
            (r#"{"mtu":1500.0}"#, "mtu: "),
            (r#"{"mtu":-1}"#, "mtu: "),
            (r#"{"portMappings":[{},{"hostPort":65536}]}"#, "portMappings[1].hostPort: "),
            (r#"{"sysctl":{"a":1}}"#, "sysctl.a: "),
            (r#"{"nested":[]}"#, "nested: "),
        ] {
            let error = conf(text).unwrap_err();
            assert_eq!(error.code(), Code::DECODE, "{text}");
            assert!(error.msg().starts_with(path), "{text} gives {}", error.msg());
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_a_bad_configuration() {
        let error = conf(r#"{"portMappings":[{"hostIP":"10.0.0.01"}]}"#).unwrap_err();
        assert_eq!(error.code(), Code::CONFIG);
        assert_eq!(error.msg(), "portMappings[0].hostIP: invalid IP address: 10.0.0.01");
    }
}
