//! A document without what cannot be read in it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::{Node, Step, path};
use crate::error::{Error, Result};
use crate::value::{Value, names};

/// So many places are passed over one by one; of what goes on like that the whole key of the first level is. Every place
/// costs reading the rest again.
const ONE_BY_ONE: usize = 64;

/// What was passed over.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The place that counts as not given: the path of a key, or of an item.
    pub(crate) key: String,
    /// What is wrong with it.
    pub(crate) error: Error,
}

/// As [`super::decode`], but what cannot be read counts as not given.
///
/// # Errors
/// Something is missing, and nothing could be left out to mend that.
pub(crate) fn decode_what_can_be<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<Unread>)> {
    let (mut rest, mut unread) = (Cow::Borrowed(value), Vec::new());
    loop {
        let fault = match T::deserialize(Node(&rest)) {
            Ok(read) => return Ok((read, unread)),
            Err(fault) => fault,
        };
        let mut steps: Vec<Step> = fault.steps.iter().rev().cloned().collect();
        if unread.len() >= ONE_BY_ONE {
            steps.truncate(1);
        }
        let error = fault.told();
        let Some(depth) = remove(rest.to_mut(), &steps) else { return Err(error) };
        steps.truncate(depth);
        unread.push(Unread { key: path(steps.iter()), error });
    }
}

/// Removes the innermost place on the way that is there, and tells how many steps lead to it.
fn remove(value: &mut Value, steps: &[Step]) -> Option<usize> {
    let (step, below) = steps.split_first()?;
    let inside = match value {
        Value::Object(members) => {
            let named = members.iter_mut().filter(|(name, _)| step.is(name));
            named.filter_map(|(_, child)| remove(child, below)).max()
        }
        Value::Array(items) => step.item().and_then(|at| items.get_mut(at)).and_then(|it| remove(it, below)),
        _ => None,
    };
    if let Some(depth) = inside {
        return Some(depth + 1);
    }
    let before = size(value);
    match (&mut *value, step.item()) {
        (Value::Object(members), _) => members.retain(|(name, _)| !step.is(name)),
        (Value::Array(items), Some(at)) if at < items.len() => drop(items.remove(at)),
        _ => {}
    }
    (size(value) < before).then_some(1)
}

impl Step {
    fn is(&self, name: &str) -> bool {
        match self {
            Step::Field(field) => names(name, field),
            Step::Member(member) => name == member,
            Step::Item(_) => false,
        }
    }

    fn item(&self) -> Option<usize> {
        match self {
            Step::Item(at) => Some(*at),
            Step::Field(_) | Step::Member(_) => None,
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Conf {
        mtu: u32,
        name: String,
        routes: Vec<Route>,
        nested: Nested,
        sysctl: BTreeMap<String, String>,
    }

    #[derive(Deserialize, PartialEq, Debug, Default)]
    #[serde(default)]
    struct Nested {
        mtu: u32,
        name: String,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct Route {
        dst: u32,
    }

    fn read(text: &str) -> (Conf, Vec<String>) {
        let (conf, unread) = decode_what_can_be(&Value::parse(text.as_bytes()).unwrap()).unwrap();
        (conf, unread.into_iter().map(|it| it.key).collect())
    }

    #[test]
    fn what_cannot_be_read_is_not_given_and_the_rest_is() {
        for (text, keys) in [
            (r#"{"name":"a"}"#, &[] as &[&str]),
            (r#"{"name":"a","mtu":"x"}"#, &["mtu"]),
            (r#"{"name":"a","MTU":"x","mtu":-1}"#, &["mtu"]),
            (r#"{"name":"a","nested":5}"#, &["nested"]),
            (r#"{"name":"a","nested":{"mtu":[]}}"#, &["nested.mtu"]),
            (r#"{"name":"a","Nested":{"MTU":[]},"nested":{"mtu":"x"}}"#, &["nested.mtu"]),
            (r#"{"name":"a","routes":{}}"#, &["routes"]),
            (r#"{"name":"a","routes":[5]}"#, &["routes[0]"]),
            (r#"{"name":"a","routes":[{"dst":"default"}]}"#, &["routes[0].dst", "routes[0]"]),
            (r#"{"name":"a","sysctl":{"x":5}}"#, &["sysctl.x"]),
        ] {
            let (conf, unread) = read(text);
            assert_eq!(unread, keys, "{text}");
            assert_eq!(conf, Conf { name: "a".into(), ..Conf::default() }, "{text}");
        }
        let (conf, unread) = read(r#"{"routes":[{"dst":1},{},{"dst":2}],"sysctl":{"A":"1","a":2}}"#);
        assert_eq!(unread, ["routes[1]", "sysctl.a"]);
        assert_eq!(conf.routes, [Route { dst: 1 }, Route { dst: 2 }]);
        assert_eq!(conf.sysctl.into_iter().collect::<Vec<_>>(), [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_list_without_end_is_passed_over_as_a_whole() {
        let items = vec!["{}"; 100_000].join(",");
        let (conf, unread) = read(&format!(r#"{{"name":"a","routes":[{items}]}}"#));
        assert_eq!((unread.len(), conf.routes.len()), (ONE_BY_ONE + 1, 0));
        assert_eq!(unread.last().unwrap(), "routes");
    }

    #[test]
    fn what_is_missing_stays_an_error() {
        let error = decode_what_can_be::<Route>(&Value::Object(Vec::new())).unwrap_err();
        assert_eq!(error.msg(), "dst: missing");
        assert!(decode_what_can_be::<Route>(&Value::Bool(true)).is_err());
    }
}
