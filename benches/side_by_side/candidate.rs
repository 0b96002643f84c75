//! Who is compared, and at what.

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

    pub(crate) fn title(self, work: Work) -> &'static str {
        match self {
            Candidate::Ours => "Jackfield",
            Candidate::Go if work.masquerades() => "Go plugins, iptables",
            Candidate::Go => "Go plugins",
            Candidate::Kernel if work.masquerades() => "the kernel's price, announced, no rules",
            Candidate::Kernel => "the kernel's price",
        }
    }

    /// The namespace that is this candidate's host: nobody's rules and links are in another's way.
    pub(crate) fn node(self) -> String {
        format!("node-{}", self.name())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Bridge,
    Masquerade,
    Veth,
    Loopback,
    Version,
    /// What [`Work::Masquerade`] is, once a crowd of so many is there.
    Crowd(u16),
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
    /// What is measured on hosts that have no other attachments.
    pub(crate) const ALONE: [Work; 5] =
        [Work::Bridge, Work::Masquerade, Work::Veth, Work::Loopback, Work::Version];
    /// How many others are there, in the end and on the way.
    pub(crate) const CROWDS: [u16; 3] = [10, 100, 1000];
    pub(crate) const ALL: [Work; 8] = [
        Work::Bridge,
        Work::Masquerade,
        Work::Crowd(10),
        Work::Crowd(100),
        Work::Crowd(1000),
        Work::Veth,
        Work::Loopback,
        Work::Version,
    ];

    pub(crate) fn title(self) -> String {
        match self {
            Work::Bridge => "bridge + host-local".into(),
            Work::Masquerade => "bridge + host-local + ipMasq".into(),
            Work::Veth => "veth (ptp) + host-local".into(),
            Work::Loopback => "loopback".into(),
            Work::Version => "bridge".into(),
            Work::Crowd(others) => format!("the same beside {others} others"),
        }
    }

    pub(crate) fn verbs(self) -> &'static [Verb] {
        match self {
            Work::Version => &[Verb::Version],
            _ => &[Verb::Add, Verb::Del],
        }
    }

    /// The program's file name: the Go plugins call the routed pair ptp, and ours is installed under both names.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Work::Bridge | Work::Masquerade | Work::Version | Work::Crowd(_) => "bridge",
            Work::Veth => "ptp",
            Work::Loopback => "loopback",
        }
    }

    pub(crate) fn ifname(self) -> &'static str {
        if self == Work::Loopback { "lo" } else { "eth0" }
    }

    pub(crate) fn masquerades(self) -> bool {
        matches!(self, Work::Masquerade | Work::Crowd(_))
    }

    pub(crate) fn makes_links(self) -> bool {
        !matches!(self, Work::Loopback | Work::Version)
    }
}
