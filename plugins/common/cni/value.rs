//! JSON as Go reads it: members stay in the order of the document, and a key may stand in it twice.
//!
//! Neither serde's derive nor `serde_json::Value` will do as they are: the first refuses a repeated key, the second
//! forgets the order. Both matter, because every runtime and every plugin that exists was tested against Go, where
//! the last key wins and `HostPort` is `hostPort`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::{Code, Error, Result};

/// One JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `null`: to the protocol the same as an absent key.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with all its digits if it is a 64-bit integer.
    Number(serde_json::Number),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// Members in the order of the document, repeated keys included.
    Object(Vec<(String, Value)>),
}

/// Keys that travel with a value although nobody here knows them.
pub type Members = Vec<(String, Value)>;

impl Value {
    /// Reads one document. Bytes that are not UTF-8 become U+FFFD, as in Go.
    ///
    /// # Errors
    /// [`Code::DECODE`] for anything that is not exactly one JSON value, and for one nested deeper than 128 levels.
    pub fn parse(bytes: &[u8]) -> Result<Value> {
        document(bytes, PhantomData::<Value>)
    }

    /// The member called `key`, whatever its case; the last one wins, and `null` is absent.
    pub fn get(&self, key: &str) -> Option<Cow<'_, Value>> {
        let Value::Object(members) = self else { return None };
        members
            .iter()
            .filter(|(name, value)| names(name, key) && !value.is_null())
            .map(|(_, value)| value)
            .fold(None, |before, value| {
                Some(match before {
                    Some(before) => merged(before, value),
                    None => Cow::Borrowed(value),
                })
            })
    }

    /// The members whose keys are none of `known`.
    pub fn members_except(&self, known: &[&str]) -> Members {
        let Value::Object(members) = self else { return Members::new() };
        let unknown = |(name, _): &&(String, Value)| !known.iter().any(|key| names(name, key));
        members.iter().filter(unknown).cloned().collect()
    }

    /// `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}

/// Reads one document as `reader` reads it.
pub(crate) fn document<T>(bytes: &[u8], reader: impl for<'de> DeserializeSeed<'de, Value = T>) -> Result<T> {
    let text = String::from_utf8_lossy(bytes);
    let mut json = serde_json::Deserializer::from_str(&text);
    let read = reader.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| {
        let empty = text.trim().is_empty();
        let why = if empty { "unexpected end of JSON input".into() } else { error.to_string() };
        Error::new(Code::DECODE, why)
    })
}

/// Does the document's `name` mean the known `key`?
pub(crate) fn names(name: &str, key: &str) -> bool {
    name.eq_ignore_ascii_case(key)
}

/// What a repeated key means: objects are united, anything else is replaced.
///
/// What was united already is added to: a key that is repeated ten thousand times costs no more than ten thousand keys.
pub(crate) fn merged<'a>(before: Cow<'a, Value>, after: &'a Value) -> Cow<'a, Value> {
    match (before, after) {
        (Cow::Owned(Value::Object(mut first)), Value::Object(second)) => {
            first.extend_from_slice(second);
            Cow::Owned(Value::Object(first))
        }
        (Cow::Borrowed(Value::Object(first)), Value::Object(second)) => {
            Cow::Owned(Value::Object(first.iter().chain(second).cloned().collect()))
        }
        _ => Cow::Borrowed(after),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Value::Object(members))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => to.serialize_unit(),
            Value::Bool(value) => to.serialize_bool(*value),
            Value::Number(value) => value.serialize(to),
            Value::String(value) => to.serialize_str(value),
            Value::Array(items) => to.collect_seq(items),
            Value::Object(members) => {
                let mut object = to.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    object.serialize_entry(key, value)?;
                }
                object.end()
            }
        }
    }
}

/// Reads Go's `net.IP`: an empty text is "not set", an IPv4-mapped IPv6 address is IPv4, octets have no leading zero.
///
/// For `#[serde(default, deserialize_with = "cni::value::ip")]`.
///
/// # Errors
/// `invalid IP address: X`, as Go says it.
pub fn ip<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<Cow<'_, str>>::deserialize(from)? else { return Ok(None) };
    match text.parse::<IpAddr>() {
        _ if text.is_empty() => Ok(None),
        Ok(address) => Ok(Some(address.to_canonical())),
        Err(_) => Err(D::Error::custom(format!("invalid IP address: {text}"))),
    }
}

/// Reads Go's `net.IPNet` as the CNI library does: the host bits stay, and a missing prefix length is an error.
///
/// For `#[serde(deserialize_with = "cni::value::cidr")]`.
///
/// # Errors
/// `invalid CIDR address: X`, as Go says it.
pub fn cidr<'de, D: Deserializer<'de>>(from: D) -> Result<IpNetwork, D::Error> {
    let text = Cow::<'_, str>::deserialize(from)?;
    parse_cidr(&text).ok_or_else(|| D::Error::custom(format!("invalid CIDR address: {text}")))
}

/// `address/length`, both in decimal; no netmask form, no missing length.
pub fn parse_cidr(text: &str) -> Option<IpNetwork> {
    let (address, length) = text.split_once('/')?;
    let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|digit| digit.is_ascii_digit());
    IpNetwork::new(address.parse().ok()?, length.parse().ok().filter(|_| plain)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn a_document_keeps_its_order_its_repetitions_and_its_digits() {
        let written = r#"{"b":1,"a":[9007199254740993,-1,1.5],"b":{"x":null}}"#;
        assert_eq!(text(&Value::parse(written.as_bytes()).unwrap()), written);
    }

    #[test]
    fn a_key_is_found_whatever_its_case_and_the_last_one_wins() {
        let value = Value::parse(br#"{"Name":"a","NAME":"b","name":null,"o":{"x":1},"O":{"y":2}}"#).unwrap();
        assert_eq!(value.get("name").unwrap().into_owned(), Value::String("b".into()));
        assert_eq!(text(&value.get("o").unwrap()), r#"{"x":1,"y":2}"#);
        assert_eq!(value.members_except(&["name"]).len(), 2);
    }

    #[test]
    fn what_is_no_document_is_a_decoding_error() {
        let deep = "[".repeat(12_000);
        for bad in
            [&b""[..], b"{{{", b"{\"a\":", b"nonsense", b"{}x", b"{}{}", b"\xef\xbb\xbf{}", deep.as_bytes()]
        {
            assert_eq!(
                Value::parse(bad).unwrap_err().code(),
                Code::DECODE,
                "{:?}",
                &bad[..bad.len().min(20)]
            );
        }
        assert!(Value::parse(b"{\"a\":\"\xff\"}\n").is_ok());
    }

    #[test]
    fn a_key_that_is_repeated_all_the_time_is_one_object_of_all_of_them() {
        let members: Vec<String> = (0..20_000).map(|n| format!(r#""args":{{"k{n}":1}}"#)).collect();
        let document = Value::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
        let united = document.get("ARGS").unwrap();
        assert!(matches!(united.as_ref(), Value::Object(all) if all.len() == 20_000));
    }

    #[test]
    fn a_number_travels_on_as_it_came_whatever_its_length() {
        for number in
            ["18446744073709551615", "-9223372036854775808", "1.8449223372036855e+22", "0.12345678901234568"]
        {
            let read = Value::parse(number.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), number);
        }
    }

    #[test]
    fn an_address_with_a_length_is_read_as_go_reads_it() {
        assert_eq!(parse_cidr("10.1.2.3/24").unwrap().to_string(), "10.1.2.3/24");
        assert_eq!(parse_cidr("fd00::5/64").unwrap().to_string(), "fd00::5/64");
        for bad in
            ["10.1.2.3", "10.1.2.3/33", "10.1.2.03/24", "10.0.0.0/255.0.0.0", "x/24", "10.0.0.0/+8", "/8"]
        {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
    }
}
