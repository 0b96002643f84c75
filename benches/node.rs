//! What benches of many pods share: who is compared, and the pods of each.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::weigh::{GO_PLUGINS, tool};

/// Where the Go plugins look for iptables.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    Ours,
    /// Debian's package containernetworking-plugins.
    Go,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Add,
    Del,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
        }
    }
}

impl Candidate {
    pub(crate) const ALL: [Candidate; 2] = [Candidate::Ours, Candidate::Go];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Candidate::Ours => "ours",
            Candidate::Go => "go",
        }
    }

    /// The namespace that is this candidate's host: nobody's rules and links are in another's way.
    pub(crate) fn node(self) -> String {
        format!("node-{}", self.name())
    }

    /// Where its plugins are.
    pub(crate) fn folder(self) -> PathBuf {
        match self {
            Candidate::Ours => {
                Path::new(env!("CARGO_BIN_EXE_bridge")).parent().unwrap_or(Path::new("/")).into()
            }
            Candidate::Go => GO_PLUGINS.into(),
        }
    }
}

/// A container of a candidate. How its plugins are asked is each bench's own.
pub(crate) struct Pod {
    pub(crate) candidate: Candidate,
    pub(crate) number: u16,
}

impl Pod {
    pub(crate) fn new(candidate: Candidate, number: u16) -> Pod {
        Pod { candidate, number }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.candidate.name(), self.number)
    }

    /// Its namespace.
    pub(crate) fn make(&self) -> Result<()> {
        tool("ip", &format!("netns add {}", self.name())).map(drop)
    }
}
