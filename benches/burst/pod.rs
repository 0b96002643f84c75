//! A container, and how its plugin is asked (CNI spec 1.0.0, section 3).

use std::fs::{self, File};
use std::process::Command;

use serde_json::{Value, json};

use crate::Result;
use crate::node::{Candidate, PATH, Pod, Verb};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Bridge,
    Masquerade,
}

impl Work {
    pub(crate) const ALL: [Work; 2] = [Work::Bridge, Work::Masquerade];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::Bridge => "bridge + host-local",
            Work::Masquerade => "bridge + host-local + ipMasq",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Bridge => "bridge",
            Work::Masquerade => "masquerade",
        }
    }
}

impl Candidate {
    pub(crate) fn title(self, work: Work) -> &'static str {
        match (self, work) {
            (Candidate::Ours, _) => "Jackfield",
            (Candidate::Go, Work::Bridge) => "Go plugins",
            (Candidate::Go, Work::Masquerade) => "Go plugins, iptables",
        }
    }
}

impl Pod {
    fn question(&self) -> String {
        format!("/run/{}.stdin", self.name())
    }

    /// Writes what the plugin will read, before the clock runs.
    pub(crate) fn prepare(&self, work: Work, prev: Option<Value>) -> Result<()> {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": format!("burst-{}", work.name()), "type": "bridge",
            "bridge": "br0", "isGateway": true, "ipMasq": work == Work::Masquerade,
            "ipam": {
                "type": "host-local", "subnet": "10.70.0.0/16", "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": format!("/run/leases-{}", self.candidate.name()),
            },
        });
        if let (Some(conf), Some(prev)) = (conf.as_object_mut(), prev) {
            conf.insert("prevResult".into(), prev);
        }
        Ok(fs::write(self.question(), conf.to_string())?)
    }

    /// The call, ready to be made.
    pub(crate) fn call(&self, verb: Verb) -> Result<Command> {
        let folder = self.candidate.folder();
        let mut call = Command::new(folder.join("bridge"));
        call.env_clear()
            .env("PATH", PATH)
            .env("CNI_COMMAND", verb.word())
            .env("CNI_PATH", folder)
            .env("CNI_CONTAINERID", self.name())
            .env("CNI_NETNS", format!("/run/netns/{}", self.name()))
            .env("CNI_IFNAME", "eth0")
            .stdin(File::open(self.question())?);
        Ok(call)
    }
}
