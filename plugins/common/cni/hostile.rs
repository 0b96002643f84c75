//! What is done with bytes that anybody may have written, as functions for tests/fuzz (docs/fuzzing.md). Each panics where a
//! promise is broken; that it returns at all is the first of them.

use crate::conflist::cache;
use crate::conflist::list::{List, Plugin};
use crate::decode::decode;
use crate::delegate::Ipam;
use crate::env::{Env, Verb};
use crate::error::Error;
use crate::name::{ContainerId, IfName, NetworkName};
use crate::plain::{plain, plain_lines};
use crate::request::{Request, head_of, spec_in};
use crate::result::Success;
use crate::spec::Spec;
use crate::value::Value;

/// One JSON document: what was read is written, and read as the same again.
pub fn value(bytes: &[u8]) {
    let _ = spec_in(&head_of(bytes));
    let read = match Value::parse(bytes) {
        Ok(read) => read,
        Err(error) => return sayable(&error),
    };
    let again = serde_json::to_vec(&read).map(|text| Value::parse(&text));
    assert_eq!(again.ok().and_then(Result::ok).as_ref(), Some(&read), "what is written is not what was read");
    if let Err(error) = decode::<Ipam>(&read) {
        sayable(&error);
    }
}

/// The environment, one variable to a line, then an empty line, then stdin: what passes the door is what the names promise.
pub fn request(bytes: &[u8]) {
    let (variables, stdin) = fuzz::call(bytes);
    let env = Env::of(variables);
    let verb = match Verb::of(&env) {
        Ok(Verb::Version) | Err(_) => return,
        Ok(verb) => verb,
    };
    let read = Request::read(verb, &env, stdin.clone(), false);
    let same = Request::read(verb, &env, stdin, false);
    assert_eq!(format!("{read:?}"), format!("{same:?}"), "one call, two meanings");
    let (attachment, call) = match &read {
        Err(error) => return sayable(error),
        Ok(Request::Add(it)) => (Some(&it.attachment), &it.call),
        Ok(Request::Check(it)) => (Some(&it.attachment), &it.call),
        Ok(Request::Del(it)) => (Some(&it.attachment), &it.call),
        Ok(Request::Gc(gc)) => {
            let living = gc.valid.iter().flat_map(|valid| valid.names());
            living.for_each(|(container, ifname)| are_names(container, ifname));
            (None, &gc.call)
        }
        Ok(Request::Status(call)) => (None, call),
    };
    is_plain(call.network.as_str());
    if let Some(it) = attachment {
        are_names(it.container.as_str(), it.ifname.as_str());
        assert_eq!(it.owner().as_str().len(), 32);
    }
}

/// A result of any version: it can be said in every version that has words for it, and says the same when it comes back.
pub fn result(bytes: &[u8]) {
    let Ok(value) = Value::parse(bytes) else { return };
    for default in [Spec::V0_2_0, Spec::V0_4_0, Spec::V1_1_0] {
        let read = match Success::read(&value, default) {
            Ok(read) => read,
            Err(error) => {
                sayable(&error);
                continue;
            }
        };
        for spec in Spec::ALL {
            let Ok(said) = read.render(spec) else {
                assert!(!spec.has_interfaces(), "{spec} has no words for a result that could be read");
                continue;
            };
            let text = Value::parse(said.to_string().as_bytes());
            let again = text.and_then(|text| Success::read(&text, Spec::V0_1_0));
            let again = again.and_then(|again| again.render(spec));
            assert_eq!(again.ok().as_ref(), Some(&said), "version {spec} does not come back");
        }
        let behind = read.clone().behind(Some(&read));
        assert_eq!(behind.ips.len(), 2 * read.ips.len());
    }
}

/// A conflist, or one plugin's configuration: what was read can be written and read again.
pub fn conflist(bytes: &[u8]) {
    if let Ok(plugin) = Plugin::parse(bytes) {
        let again = Plugin::parse(plugin.object().text().as_bytes());
        assert_eq!(again.ok().map(|it| it.object().text()), Some(plugin.object().text()));
    }
    for read in [List::parse(bytes), List::wrap(bytes)] {
        let mut list = match read {
            Ok(list) => list,
            Err(error) => {
                sayable(&error);
                continue;
            }
        };
        is_plain(list.name.as_str());
        if let Some(plugin) = list.plugins.first().cloned() {
            list.append(plugin);
        }
        let again = List::parse(&list.to_bytes()).map(|again| (again.name, again.plugins.len()));
        assert_eq!(again.ok(), Some((list.name, list.plugins.len())), "what was written cannot be read");
    }
}

/// A file of the cache, and the list that is in it.
pub fn cached(bytes: &[u8]) {
    cache::hostile(bytes);
}

/// What is said of an error can be said: somebody sees it in a log or at a terminal.
fn sayable(error: &Error) {
    assert!((1..1000).contains(&error.code().0), "code {}", error.code().0);
    assert!(!error.msg().is_empty());
    for text in [error.msg(), error.more().unwrap_or_default().to_owned()] {
        let visible = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        assert!(visible(&plain(&text)) && visible(&plain_lines(&text)));
    }
}

/// Neither leads out of a folder, ends a line, or is too long for a file name.
fn are_names(container: &str, ifname: &str) {
    is_plain(container);
    assert!((1..16).contains(&ifname.len()) && !ifname.contains(['/', '\0', '\n', ' ']), "{ifname:?}");
    assert!(container.parse::<ContainerId>().is_ok() && ifname.parse::<IfName>().is_ok());
}

fn is_plain(name: &str) {
    assert!((1..=200).contains(&name.len()) && !name.contains(['/', '\0', '\n']) && name != "..", "{name:?}");
    assert!(name.parse::<NetworkName>().is_ok());
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_document_comes_back_whatever_it_is() {
        fuzz::attack("value", super::value);
    }

    #[test]
    fn whatever_passes_the_door_has_names_that_are_names() {
        fuzz::attack("request", super::request);
    }

    #[test]
    fn a_result_comes_back_in_every_version() {
        fuzz::attack("result", super::result);
    }

    #[test]
    fn a_list_that_was_read_can_be_written_and_read_again() {
        fuzz::attack("conflist", super::conflist);
    }

    #[test]
    fn a_file_of_the_cache_may_be_anything() {
        fuzz::attack("cached", super::cached);
    }
}
