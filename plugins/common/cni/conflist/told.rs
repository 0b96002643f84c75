//! What each plugin of a list is told, without telling it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::derive::{self, Extra};
use super::list::{List, Plugin};
use super::object::raw;
use super::{Request, Runtime, answer, as_added};
use crate::env::Verb;
use crate::error::Result;
use crate::exec;

/// One plugin's part in an operation.
#[derive(Debug)]
pub struct Told {
    /// The plugin, as the list has it.
    pub plugin: Plugin,
    /// Its program, where there is one.
    pub program: Result<PathBuf>,
    /// The variables that it gets besides the runtime's own.
    pub env: Vec<(&'static str, OsString)>,
    /// What it reads on stdin. Where the result of the plugin before it belongs, which nobody knows yet, stands a text that
    /// says so.
    pub stdin: Vec<u8>,
    /// Where its `prevResult` comes from.
    pub prev: Prev,
}

/// Whose result a plugin gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prev {
    /// Nobody's.
    None,
    /// That of the plugin before it.
    Before,
    /// That of the whole ADD, as it is remembered.
    Remembered,
}

impl Runtime {
    /// What each plugin would be told, in the order in which they would be asked. Nothing is run and nothing waits. CHECK and
    /// DEL use what is remembered of the ADD, as they do when they are run.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub fn told(&self, verb: Verb, list: &List, request: Option<&Request>) -> Result<Vec<Told>> {
        let Some(request) = request else {
            let extra = if verb == Verb::Gc { Extra::Gc(None) } else { Extra::Nothing };
            let told = |plugin| self.one(verb, list, plugin, None, (Prev::None, &extra));
            return Ok(list.plugins.iter().map(told).collect());
        };
        if verb == Verb::Add {
            let capabilities = &request.capabilities;
            let mut before: Option<&Plugin> = None;
            let mut all = Vec::new();
            for plugin in &list.plugins {
                let result = before.map(|before| raw(&format!("<the result of {}>", before.program)));
                let prev = if result.is_some() { Prev::Before } else { Prev::None };
                let extra = Extra::Attachment { capabilities, prev: result.as_deref() };
                all.push(self.one(verb, list, plugin, Some(request), (prev, &extra)));
                before = Some(plugin);
            }
            return Ok(all);
        }
        let record = self.cache.read(&request.attachment(list))?;
        let (list, request) = as_added(list, request, record.as_ref());
        let result = record.and_then(|record| record.result).filter(|_| list.version.has_check());
        let result = result.map(|result| answer::convert(&result, &list.version)).transpose()?;
        let prev = if result.is_some() { Prev::Remembered } else { Prev::None };
        let extra = Extra::Attachment { capabilities: &request.capabilities, prev: result.as_deref() };
        let told = |plugin| self.one(verb, &list, plugin, Some(&request), (prev, &extra));
        let mut all: Vec<Told> = list.plugins.iter().map(told).collect();
        if verb == Verb::Del {
            all.reverse();
        }
        Ok(all)
    }

    fn one(
        &self,
        verb: Verb,
        list: &List,
        plugin: &Plugin,
        request: Option<&Request>,
        (prev, extra): (Prev, &Extra<'_>),
    ) -> Told {
        Told {
            plugin: plugin.clone(),
            program: exec::find(&plugin.program, &self.path),
            env: self.env(verb, request).into(),
            stdin: derive::stdin(list, plugin, extra),
            prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdin(told: &Told) -> String {
        String::from_utf8(told.stdin.clone()).unwrap()
    }

    #[test]
    fn add_is_told_forwards_each_with_the_result_before_it() {
        let list =
            br#"{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"a","capabilities":{"mac":true}},{"type":"b"}]}"#;
        let list = List::parse(list).unwrap();
        let mut request = Request::new("c1".parse().unwrap(), "eth0".parse().unwrap(), "/run/netns/c1");
        request.capabilities.set("mac", raw("x"));
        let runtime = Runtime::new(Vec::new());
        let told = runtime.told(Verb::Add, &list, Some(&request)).unwrap();
        assert_eq!(
            stdin(&told[0]),
            r#"{"type":"a","cniVersion":"1.1.0","name":"net","runtimeConfig":{"mac":"x"}}"#
        );
        assert!(stdin(&told[1]).ends_with(r#""prevResult":"<the result of a>"}"#), "{}", stdin(&told[1]));
        assert_eq!((told[0].prev, told[1].prev), (Prev::None, Prev::Before));
        assert!(told[0].env.contains(&("CNI_IFNAME", "eth0".into())) && told[0].program.is_err());
        let told = runtime.told(Verb::Status, &list, None).unwrap();
        assert_eq!(stdin(&told[0]), r#"{"type":"a","cniVersion":"1.1.0","name":"net"}"#);
    }
}
