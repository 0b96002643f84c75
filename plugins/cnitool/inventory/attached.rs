//! Attachments as they are remembered, and as the kernel has them.

use std::path::Path;

use cni::call::Attachment;
use cni::conflist::cache::Record;
use cni::plain::plain;
use cni::result::Success;
use cni::spec::Spec;
use cni::value::Value;
use ipnetwork::IpNetwork;
use linux::error::Result;
use linux::netns::{NetNs, OpenError};
use linux::rtnl::Rtnl;
use serde_json::{Value as Json, json};

/// An attachment.
pub(super) struct Attached {
    who: Attachment,
    netns: String,
    addresses: Vec<IpNetwork>,
    state: State,
}

/// What became of it.
enum State {
    /// Its links are there, with their addresses.
    Up,
    /// They are there, and one is switched off.
    Down(String),
    /// An ADD that has not ended, or was interrupted.
    Unfinished,
    /// The namespace is gone.
    NoNamespace,
    /// The path leads to something else by now.
    OtherNamespace,
    /// A link is gone.
    NoLink(String),
    /// An address is gone.
    NoAddress(IpNetwork),
    /// It cannot be looked at.
    Unknown(String),
}

impl Attached {
    /// Looks at one. The result is read as far as that is possible: what cannot be read says nothing.
    pub(super) fn of(record: &Record) -> Attached {
        let result = record.result.as_ref().and_then(|result| {
            let value = Value::parse(result.get().as_bytes()).ok()?;
            Success::read(&value, Spec::V0_1_0).ok()
        });
        let addresses = result.iter().flat_map(|result| &result.ips).map(|ip| ip.address).collect();
        let mut attached = Attached {
            who: record.attachment.clone(),
            netns: record.netns.clone(),
            addresses,
            state: State::Unfinished,
        };
        if record.result.is_some() {
            let of_container = result.iter().flat_map(|result| &result.interfaces);
            let of_container =
                of_container.filter(|link| link.sandbox.as_ref().is_some_and(|it| !it.is_empty()));
            let mut links: Vec<String> = of_container.map(|link| link.name.clone()).collect();
            if links.is_empty() {
                links.push(attached.who.ifname.to_string());
            }
            attached.state = attached.look(&links);
        }
        attached
    }

    fn look(&self, links: &[String]) -> State {
        let netns = match NetNs::open(Path::new(&self.netns)) {
            Ok(netns) => netns,
            Err(OpenError::Absent(_)) => return State::NoNamespace,
            Err(OpenError::NotANamespace(..)) => return State::OtherNamespace,
            Err(OpenError::Other(error)) => return State::Unknown(error.to_string()),
        };
        // The number of a process that is used again leads to whomever.
        if NetNs::here().is_ok_and(|host| host.is_same(&netns)) {
            return State::OtherNamespace;
        }
        let looked = netns.rtnl().and_then(|there| self.compare(&there, links));
        looked.unwrap_or_else(|error| State::Unknown(error.to_string()))
    }

    fn compare(&self, there: &Rtnl, links: &[String]) -> Result<State> {
        let (mut down, mut present) = (None, Vec::new());
        for name in links {
            let Some(link) = there.link_by_name(name)? else { return Ok(State::NoLink(name.clone())) };
            if !link.up {
                down.get_or_insert_with(|| name.clone());
            }
            present.extend(there.addresses_of(link.index)?.into_iter().map(|address| address.net));
        }
        let gone = self.addresses.iter().find(|address| !present.contains(address));
        Ok(match (gone, down) {
            (Some(gone), _) => State::NoAddress(*gone),
            (None, Some(down)) => State::Down(down),
            (None, None) => State::Up,
        })
    }

    fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(IpNetwork::to_string).collect()
    }

    pub(super) fn row(&self) -> [String; 6] {
        let Attachment { network, container, ifname } = &self.who;
        let addresses = if self.addresses.is_empty() { "-".into() } else { self.addresses().join(" ") };
        let netns = if self.netns.is_empty() { "-" } else { &self.netns };
        let (word, more) = self.state.words();
        let state = more.map_or_else(|| word.to_owned(), |more| format!("{word}: {more}"));
        [network.as_str(), container.as_str(), ifname.as_str(), &addresses, netns, &state].map(plain)
    }

    pub(super) fn json(&self) -> Json {
        let (word, more) = self.state.words();
        json!({
            "network": self.who.network.as_str(),
            "containerID": self.who.container.as_str(),
            "ifname": self.who.ifname.as_str(),
            "netns": self.netns,
            "addresses": self.addresses(),
            "state": word,
            "about": more,
        })
    }
}

impl State {
    /// In a word or two, and what that is about.
    fn words(&self) -> (&'static str, Option<String>) {
        match self {
            State::Up => ("up", None),
            State::Down(link) => ("down", Some(link.clone())),
            State::Unfinished => ("add not finished", None),
            State::NoNamespace => ("namespace gone", None),
            State::OtherNamespace => ("path leads elsewhere", None),
            State::NoLink(link) => ("link gone", Some(link.clone())),
            State::NoAddress(address) => ("address gone", Some(address.to_string())),
            State::Unknown(why) => ("unknown", Some(why.clone())),
        }
    }
}
