//! The attachments that live, as a GC is told them: a list that may be longer than all else together. It is read item by
//! item and never stands in memory as a value.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::call::Attachment;
use crate::decode::decode;
use crate::error::{Code, Error, OrFail, Result};
use crate::name::{ContainerId, IfName, NetworkName};
use crate::value::{Value, document, names};

/// Containers and interfaces, each in a line of one text: a list of sixty thousand takes no more than what was sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attachments {
    /// `container/interface`; neither name can hold a `/` or the end of a line.
    lines: String,
}

impl Attachments {
    fn push(&mut self, container: &ContainerId, ifname: &IfName) {
        for part in [container.as_str(), "/", ifname.as_str(), "\n"] {
            self.lines.push_str(part);
        }
    }

    /// The names of all of them, in the order of the list.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.lines().filter_map(|line| line.split_once('/'))
    }

    /// Those of this network.
    pub fn of(&self, network: &NetworkName) -> impl Iterator<Item = Attachment> {
        self.names().filter_map(|(container, ifname)| {
            let (container, ifname) = (container.parse().ok()?, ifname.parse().ok()?);
            Some(Attachment { network: network.clone(), container, ifname })
        })
    }

    /// Is this one among them?
    pub fn has(&self, container: &ContainerId, ifname: &IfName) -> bool {
        self.names().any(|names| names == (container.as_str(), ifname.as_str()))
    }
}

/// Its name has always been the first in the specification's text; the release of 1.1.0 and libcni also have the second.
const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// A configuration, and the list that stood in it: `None` where there was none; one that is `null` is empty.
///
/// # Errors
/// [`Code::DECODE`] for what is no JSON; [`Code::CONFIG`] for two lists that differ. The list alone may be wrong: what is
/// wrong with the rest is said first, by whoever reads that.
pub(crate) fn read(bytes: &[u8]) -> Result<(Value, Result<Option<Attachments>>)> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Ok((Value::parse(bytes)?, Ok(None)));
    }
    let (config, lists) = document(bytes, Configuration { longest: bytes.len() })?;
    Ok((config, one(lists)))
}

fn one(lists: Lists) -> Result<Option<Attachments>> {
    let named = |(list, key): (Option<Result<Attachments>>, &&str)| {
        list.map(|list| list.or_fail(Code::CONFIG, || (*key).into())).transpose()
    };
    let [first, second] = lists;
    let [one, two] = [(first, &KEYS[0]), (second, &KEYS[1])].map(named);
    match (one?, two?) {
        (Some(one), Some(two)) if one != two => {
            Err(Error::config(format!("{} and {} differ", KEYS[0], KEYS[1])))
        }
        (one, two) => Ok(one.or(two)),
    }
}

/// One for each key. Of a key that is repeated the last one counts.
type Lists = [Option<Result<Attachments>>; 2];

/// The members of an object but for the lists.
struct Configuration {
    /// No list takes more than it takes here: one that need not grow is never in memory twice.
    longest: usize,
}

impl<'de> DeserializeSeed<'de> for Configuration {
    type Value = (Value, Lists);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Configuration {
    type Value = (Value, Lists);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut members, mut lists) = (Vec::new(), [None, None]);
        while let Some(key) = object.next_key::<String>()? {
            match KEYS.iter().zip(&mut lists).find(|(known, _)| names(&key, known)) {
                Some((_, list)) => *list = Some(object.next_value_seed(List { longest: self.longest })?),
                None => members.push((key, object.next_value()?)),
            }
        }
        Ok((Value::Object(members), lists))
    }
}

#[derive(Deserialize)]
struct Living {
    #[serde(rename = "containerID")]
    container: ContainerId,
    ifname: IfName,
}

/// One list. What is wrong in it is no fault of the document: that is read to its end.
struct List {
    longest: usize,
}

impl<'de> DeserializeSeed<'de> for List {
    type Value = Result<Attachments>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Result<Attachments>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attachments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut attachments, mut at) = (Attachments { lines: String::with_capacity(self.longest) }, 0);
        while let Some(item) = items.next_element::<Value>()? {
            match decode::<Living>(&item) {
                Ok(it) => attachments.push(&it.container, &it.ifname),
                Err(error) => {
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                    let joint = if matches!(item, Value::Object(_)) { "." } else { ": " };
                    return Ok(Err(Error::new(error.code(), format!("[{at}]{joint}{}", error.msg()))));
                }
            }
            at += 1;
        }
        Ok(Ok(attachments))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(Attachments::default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(no_list("object"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(no_list("string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(no_list("bool"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(no_list("number"))
    }
}

fn no_list(kind: &str) -> Result<Attachments> {
    Err(Error::new(Code::DECODE, format!("cannot unmarshal {kind} into a list of attachments")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(members: &str) -> Result<Vec<String>> {
        let (config, list) = read(format!(r#"{{"name":"net"{members},"x":[1]}}"#).as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), r#"{"name":"net","x":[1]}"#);
        Ok(list?.unwrap_or_default().names().map(|(id, ifname)| format!("{id}/{ifname}")).collect())
    }

    #[test]
    fn of_a_repeated_list_the_last_one_counts_and_the_rest_stays_as_it_is() {
        let one = r#","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]"#;
        let other = r#","CNI.dev/Valid-Attachments":[{"CONTAINERID":"b","ifname":"x","ifname":"eth1","more":{"y":[]}}]"#;
        let wrong = r#","cni.dev/valid-attachments":[{"containerID":7,"ifname":"eth0"},{"containerID":"a"}]"#;
        assert_eq!(found(one).unwrap(), ["a/eth0"]);
        assert_eq!(found(&[one, other].concat()).unwrap(), ["b/eth1"]);
        assert_eq!(found(&[wrong, one].concat()).unwrap(), ["a/eth0"]);
        assert!(found(&[one, wrong].concat()).is_err());
        assert!(found(&[one, r#","cni.dev/valid-attachments":null"#].concat()).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_in_a_list_is_named_by_its_place() {
        for (list, code, words) in [
            (r#"[{"containerID":"a","ifname":"eth0"},{"containerID":7}]"#, Code::DECODE, "[1].containerID: "),
            (
                r#"[{"containerID":"a/b","ifname":"eth0"}]"#,
                Code::CONFIG,
                "[0].containerID: invalid characters",
            ),
            (r#"[{"containerID":"a"}]"#, Code::CONFIG, "[0].ifname: missing"),
            ("[7]", Code::DECODE, "[0]: cannot unmarshal number"),
            ("{}", Code::DECODE, "cannot unmarshal object"),
            ("\"x\"", Code::DECODE, "cannot unmarshal string"),
            ("true", Code::DECODE, "cannot unmarshal bool"),
            ("-1", Code::DECODE, "cannot unmarshal number"),
        ] {
            let error = found(&format!(r#","cni.dev/attachments":{list}"#)).unwrap_err();
            let whole = format!("cni.dev/attachments: {words}");
            assert!(error.code() == code && error.msg().starts_with(&whole), "{list}: {}", error.msg());
        }
    }
}
