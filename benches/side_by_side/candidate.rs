//! Who is compared, at what, and how each is asked to do it.

use std::path::{Path, PathBuf};

/// In the order of the table.
pub(crate) const CANDIDATES: [Candidate; 3] = [Candidate::Ours, Candidate::Go, Candidate::Kernel];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    Ours,
    /// Debian's package containernetworking-plugins.
    Go,
    /// benches/yardstick.c.
    Kernel,
}

impl Candidate {
    /// Short enough to be part of a link's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Candidate::Ours => "ours",
            Candidate::Go => "go",
            Candidate::Kernel => "kernel",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Candidate::Ours => "Jackfield",
            Candidate::Go => "Go plugins",
            Candidate::Kernel => "the kernel's price",
        }
    }

    pub(crate) fn bridge(self) -> String {
        format!("br-{}", self.name())
    }

    /// Each candidate has a /16 of its own for the bridge and another for veth.
    pub(crate) fn subnet(self, work: Work) -> String {
        let row = if work == Work::Veth { 80 } else { 70 };
        format!("10.{}", row + self as u8)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Bridge,
    Veth,
    Loopback,
    Version,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Add,
    Del,
    Version,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Version => "VERSION",
        }
    }
}

impl Work {
    pub(crate) const ALL: [Work; 4] = [Work::Bridge, Work::Veth, Work::Loopback, Work::Version];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::Bridge => "bridge + host-local",
            Work::Veth => "veth (ptp) + host-local",
            Work::Loopback => "loopback",
            Work::Version => "bridge",
        }
    }

    pub(crate) fn verbs(self) -> &'static [Verb] {
        match self {
            Work::Version => &[Verb::Version],
            _ => &[Verb::Add, Verb::Del],
        }
    }

    /// The program's file name: the Go plugins call the routed pair ptp, and ours is installed under both names.
    fn plugin(self) -> &'static str {
        match self {
            Work::Bridge | Work::Version => "bridge",
            Work::Veth => "ptp",
            Work::Loopback => "loopback",
        }
    }

    fn ifname(self) -> &'static str {
        if self == Work::Loopback { "lo" } else { "eth0" }
    }
}

/// One namespace of a candidate's pool.
#[derive(Clone, Copy)]
pub(crate) struct Pod {
    pub(crate) candidate: Candidate,
    pub(crate) number: usize,
}

impl Pod {
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.candidate.name(), self.number)
    }

    pub(crate) fn netns(&self) -> String {
        format!("/run/netns/{}", self.name())
    }
}

/// A program to run, with everything it gets.
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) stdin: String,
}

/// How a plugin in `folder` is asked, as a runtime would (CNI spec 1.0.0, section 2).
pub(crate) fn plugin(folder: &Path, work: Work, verb: Verb, pod: &Pod) -> Invocation {
    let mut env = vec![("CNI_COMMAND", verb.word().to_owned()), ("CNI_PATH", folder.display().to_string())];
    if verb != Verb::Version {
        env.push(("CNI_CONTAINERID", pod.name()));
        env.push(("CNI_NETNS", pod.netns()));
        env.push(("CNI_IFNAME", work.ifname().to_owned()));
    }
    Invocation { program: folder.join(work.plugin()), args: vec![], env, stdin: conf(work, pod.candidate) }
}

fn conf(work: Work, candidate: Candidate) -> String {
    let plugin = work.plugin();
    let ipam = format!(
        r#"{{"type":"host-local","subnet":"{}.0.0/16","routes":[{{"dst":"0.0.0.0/0"}}],"dataDir":"/run/leases/{}"}}"#,
        candidate.subnet(work),
        candidate.name(),
    );
    let keys = match work {
        Work::Bridge | Work::Version => {
            format!(r#","bridge":"{}","isGateway":true,"ipam":{ipam}"#, candidate.bridge())
        }
        Work::Veth => format!(r#","ipam":{ipam}"#),
        Work::Loopback => String::new(),
    };
    format!(r#"{{"cniVersion":"1.0.0","name":"bench-{plugin}","type":"{plugin}"{keys}}}"#)
}

/// How the yardstick is asked; its own head explains the arguments.
pub(crate) fn yardstick(program: &Path, work: Work, verb: Verb, pod: &Pod) -> Invocation {
    let host_end = format!("veth-{}", pod.name());
    let subnet = pod.candidate.subnet(work);
    let attach = |kind: &str| {
        let address = format!("{subnet}.0.{}/16", pod.number + 2);
        vec![
            kind.into(),
            pod.netns(),
            host_end.clone(),
            work.ifname().into(),
            address,
            format!("{subnet}.0.1"),
        ]
    };
    let args = match (work, verb) {
        (Work::Version, _) | (_, Verb::Version) => vec!["nothing".into()],
        (Work::Loopback, Verb::Add) => vec!["loopback".into(), pod.netns(), "up".into()],
        (Work::Loopback, Verb::Del) => vec!["loopback".into(), pod.netns(), "down".into()],
        (Work::Bridge, Verb::Add) => [attach("bridge"), vec![pod.candidate.bridge()]].concat(),
        (Work::Veth, Verb::Add) => attach("veth"),
        (Work::Bridge | Work::Veth, Verb::Del) => vec!["delete".into(), host_end],
    };
    Invocation { program: program.to_owned(), args, env: vec![], stdin: String::new() }
}
