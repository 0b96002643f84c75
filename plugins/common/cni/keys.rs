//! Which keys a configuration has: asked of the very code that reads it, so that nobody has to keep a list beside it.
//!
//! serde's derive tells whoever it reads from which fields a struct has. So a struct is read here from a document that does
//! not exist: it says what it would like to find, is given one key of that, says what it would like to find there, and so on.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::{Code, OrFail, Result};
use crate::value::Value;
use crate::{call, log};

/// What is read at one place of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A value without keys, or one whose keys are data: texts, numbers, labels.
    Value,
    /// A list of such items.
    List(Box<Shape>),
    /// An object with these keys, and no others that mean anything.
    Keys(Vec<(&'static str, Shape)>),
}

impl Shape {
    /// What stands under a key.
    pub fn get(&self, key: &str) -> Option<&Shape> {
        self.keys().iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, shape)| shape)
    }

    /// The keys of an object; of anything else, none.
    pub fn keys(&self) -> &[(&'static str, Shape)] {
        match self {
            Shape::Keys(keys) => keys,
            Shape::Value | Shape::List(_) => &[],
        }
    }
}

/// What a configuration of this type reads.
pub fn of<T: DeserializeOwned>() -> Shape {
    below::<T>(&mut Vec::new())
}

/// What may stand in every plugin's configuration: the keys that the protocol itself has, with `args`, which are anybody's.
pub const OF_ALL: [&str; 7] =
    ["cniVersion", "name", "type", "capabilities", "runtimeConfig", "prevResult", "args"];

/// What every plugin of ours reads besides its own keys.
pub const OF_OURS: [&str; 2] = [log::KEY, call::WAIT];

/// What a plugin of ours says of these, whichever it is: nothing, if all is well.
///
/// # Errors
/// The plugin's own.
pub fn judge_those_of_ours(stdin: &[u8]) -> Result<()> {
    log::place(stdin)?;
    let config = Value::parse(stdin).or_fail(Code::DECODE, || "read".into())?;
    call::wants_to_wait(&config).map(drop)
}

/// Deeper than any configuration; a type that holds itself would have no end.
const DEEPEST: usize = 16;

fn below<T: DeserializeOwned>(path: &mut Vec<Step>) -> Shape {
    let mut wish = Wish::Value;
    // It always fails: nothing is ever given but keys.
    let _ = T::deserialize(Nothing { path, wish: &mut wish });
    let mut at = |step: Step| {
        path.push(step);
        let shape = if path.len() < DEEPEST { below::<T>(path) } else { Shape::Value };
        path.pop();
        shape
    };
    match wish {
        Wish::Value => Shape::Value,
        Wish::Items => Shape::List(Box::new(at(Step::Item))),
        Wish::Fields(fields) => {
            Shape::Keys(fields.iter().map(|field| (*field, at(Step::Field(field)))).collect())
        }
    }
}

/// One step from a value to a part of it.
#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Item,
}

/// What the reader would like to find at the end of the path.
enum Wish {
    Value,
    Items,
    Fields(&'static [&'static str]),
}

/// The document that does not exist.
struct Nothing<'a> {
    path: &'a [Step],
    wish: &'a mut Wish,
}

/// The reader has said what it wants, and gets no more.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to read")
    }
}

impl std::error::Error for Enough {}

impl serde::de::Error for Enough {
    fn custom<T: fmt::Display>(_: T) -> Enough {
        Enough
    }
}

impl<'de> Deserializer<'de> for Nothing<'_> {
    type Error = Enough;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Enough> {
        Err(Enough)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Enough> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Enough> {
        match self.path.split_first() {
            None => *self.wish = Wish::Items,
            Some((Step::Item, path)) => return visitor.visit_seq(Part { path, key: None, wish: self.wish }),
            Some((Step::Field(_), _)) => {}
        }
        Err(Enough)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Enough> {
        match self.path.split_first() {
            None => *self.wish = Wish::Fields(fields),
            Some((Step::Field(key), path)) => {
                return visitor.visit_map(Part { path, key: Some(key), wish: self.wish });
            }
            Some((Step::Item, _)) => {}
        }
        Err(Enough)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// The one field, or the one item, that the path leads through.
struct Part<'a> {
    path: &'a [Step],
    key: Option<&'static str>,
    wish: &'a mut Wish,
}

impl<'de> MapAccess<'de> for Part<'_> {
    type Error = Enough;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Enough> {
        self.key.take().map(|key| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Enough> {
        seed.deserialize(Nothing { path: self.path, wish: self.wish })
    }
}

impl<'de> SeqAccess<'de> for Part<'_> {
    type Error = Enough;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Enough> {
        seed.deserialize(Nothing { path: self.path, wish: self.wish }).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Conf {
        mtu: u32,
        port_mappings: Option<Vec<Option<Port>>>,
        sysctl: BTreeMap<String, String>,
        any: crate::value::Members,
        ipam: crate::delegate::Ipam,
        #[serde(skip)]
        own: u8,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "nothing is ever read into it")]
    struct Port {
        #[serde(rename = "hostIP", deserialize_with = "crate::value::ip")]
        host_ip: Option<IpAddr>,
        /// Without a default: that it is missing must not hide the other.
        #[serde(rename = "hostPort", alias = "port")]
        host_port: u16,
    }

    #[test]
    fn the_keys_are_those_that_serde_reads() {
        let Shape::Keys(keys) = of::<Conf>() else { panic!("no object") };
        let port =
            Shape::Keys(vec![("hostIP", Shape::Value), ("hostPort", Shape::Value), ("port", Shape::Value)]);
        let expected = vec![
            ("mtu", Shape::Value),
            ("portMappings", Shape::List(Box::new(port))),
            ("sysctl", Shape::Value),
            ("any", Shape::List(Box::new(Shape::Value))),
            ("ipam", Shape::Keys(vec![("type", Shape::Value)])),
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_holds_itself_comes_to_an_end() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "nothing is ever read into it")]
        struct Itself {
            it: Box<Itself>,
        }
        assert!(of::<Itself>().get("IT").is_some());
        assert_eq!(of::<u8>(), Shape::Value);
    }
}
