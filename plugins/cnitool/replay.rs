//! `cnitool replay`: the calls of a recording once more, and what is different.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cni::error::{Code, Error, OrFail, Result};
use cni::exec;
use cni::name::PluginName;
use cni::plain::plain;
use serde_json::{Value as Json, json};

use super::recording::{self, About, Call};
use super::trace::Trace;

/// What came of a recording's calls.
pub(super) struct Replayed {
    about: About,
    calls: Vec<Compared>,
}

/// One call, then and now.
struct Compared {
    /// `bridge`, or `bridge > host-local`.
    whose: String,
    verb: String,
    differences: Vec<String>,
}

/// Makes the calls of a recording again, in their order, with the plugins of this path.
///
/// # Errors
/// A folder that is no recording; a plugin that is missing, before the first is run.
pub(super) fn replay(root: &Path, path: &[PathBuf]) -> Result<Replayed> {
    let (about, recorded) = (recording::about(root)?, recording::calls(root)?);
    if recorded.is_empty() {
        return Err(Error::config(format!("{} holds no call", root.display())));
    }
    for call in &recorded {
        exec::find(&call.name.parse::<PluginName>()?, path)?;
    }
    let trace = Trace::begin(None, path)?;
    let search = std::env::join_paths(trace.path(path)).or_fail(Code::ENVIRONMENT, || "CNI_PATH".into())?;
    {
        let _progress = trace.progress();
        for call in &recorded {
            let kept = call.outline.of_the_protocol();
            let mut env: Vec<(OsString, OsString)> =
                kept.map(|(key, value)| (key.into(), value.into())).collect();
            env.retain(|(key, _)| key != "CNI_PATH");
            env.extend([("CNI_PATH".into(), search.clone()), trace.variable()]);
            exec::run(&trace.stand_in(&call.name), &env, &call.stdin)?;
        }
    }
    let mut calls = Vec::new();
    compare("", &recorded, &trace.read()?, &mut calls);
    Ok(Replayed { about, calls })
}

/// Compares calls, and the calls within them.
fn compare(around: &str, recorded: &[Call], again: &[Call], compared: &mut Vec<Compared>) {
    let whose = |call: &Call| match around {
        "" => call.name.clone(),
        around => format!("{around} > {}", call.name),
    };
    for (number, then) in recorded.iter().enumerate() {
        let now = again.get(number).filter(|now| now.name == then.name);
        let differences = now.map_or_else(|| vec!["is not called any more".into()], |now| between(then, now));
        compared.push(Compared { whose: whose(then), verb: then.verb().into(), differences });
        compare(&whose(then), &then.within, now.map_or(&[], |now| &now.within), compared);
    }
    let new = again.iter().enumerate();
    for (_, now) in new.filter(|(number, now)| recorded.get(*number).is_none_or(|then| then.name != now.name))
    {
        let differences = vec!["was not called".into()];
        compared.push(Compared { whose: whose(now), verb: now.verb().into(), differences });
    }
}

/// What is different about one call. Its time is always.
fn between(then: &Call, now: &Call) -> Vec<String> {
    let mut found = Vec::new();
    if then.outline.end() != now.outline.end() {
        found.push(format!("{}, then {}", now.outline.end(), then.outline.end()));
    }
    for (name, then, now) in [
        ("stdin", &then.stdin, &now.stdin),
        ("stdout", &then.stdout, &now.stdout),
        ("stderr", &then.stderr, &now.stderr),
    ] {
        match (serde_json::from_slice::<Json>(then), serde_json::from_slice::<Json>(now)) {
            (Ok(then), Ok(now)) => values(name, Some(&then), Some(&now), &mut found),
            _ if then == now => {}
            _ => {
                let [now, then] = [now, then].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
                found.push(format!("{name} {now:?}, then {then:?}"));
            }
        }
    }
    found
}

/// The places at which two documents are different.
fn values(at: &str, then: Option<&Json>, now: Option<&Json>, found: &mut Vec<String>) {
    match (then, now) {
        (Some(Json::Object(then)), Some(Json::Object(now))) => {
            let new = now.keys().filter(|key| !then.contains_key(*key));
            for key in then.keys().chain(new) {
                values(&format!("{at}.{key}"), then.get(key), now.get(key), found);
            }
        }
        (Some(Json::Array(then)), Some(Json::Array(now))) => {
            for number in 0..then.len().max(now.len()) {
                values(&format!("{at}[{number}]"), then.get(number), now.get(number), found);
            }
        }
        (then, now) if then == now => {}
        (then, now) => {
            let text = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), Json::to_string);
            found.push(format!("{at} is {}, then {}", text(now), text(then)));
        }
    }
}

impl Replayed {
    /// Everything is as it was.
    pub(super) fn is_same(&self) -> bool {
        self.calls.iter().all(|call| call.differences.is_empty())
    }

    pub(super) fn text(&self) -> String {
        let About { verb, network, .. } = &self.about;
        let different = self.calls.iter().filter(|call| !call.differences.is_empty()).count();
        let mut text = match different {
            0 => format!(
                "{} network {}: {} calls, as recorded\n",
                plain(verb),
                plain(network),
                self.calls.len()
            ),
            _ => format!(
                "{} network {}: {different} of {} calls are different from the recorded\n",
                plain(verb),
                plain(network),
                self.calls.len()
            ),
        };
        for call in &self.calls {
            let verdict = if call.differences.is_empty() { "same" } else { "different" };
            text += &format!("{} {}: {verdict}\n", plain(&call.verb), plain(&call.whose));
            text.extend(call.differences.iter().map(|difference| format!("    {}\n", plain(difference))));
        }
        text
    }

    pub(super) fn json(&self) -> Json {
        let call = |call: &Compared| json!({"plugin": call.whose, "verb": call.verb, "differences": call.differences});
        let calls: Vec<Json> = self.calls.iter().map(call).collect();
        json!({"verb": self.about.verb, "network": self.about.network, "same": self.is_same(), "calls": calls})
    }
}

/// Whether nothing is different about a call.
#[cfg(test)]
pub(super) fn is_same(then: &Call, now: &Call) -> bool {
    between(then, now).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_place_by_place() {
        let mut found = Vec::new();
        let then = json!({"a": [1, {"b": "x"}], "same": null, "gone": true});
        let now = json!({"a": [1, {"b": "y"}, 3], "same": null, "new": {}});
        values("stdout", Some(&then), Some(&now), &mut found);
        let expected = [
            "stdout.a[1].b is \"y\", then \"x\"",
            "stdout.a[2] is 3, then nothing",
            "stdout.gone is nothing, then true",
            "stdout.new is {}, then nothing",
        ];
        assert_eq!(found, expected);
    }
}
