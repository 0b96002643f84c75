//! A folder full of leases, and how a candidate is asked about it.

use crate::Result;
use crate::weigh::{GO_PLUGINS, Invocation};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    Ours,
    /// Debian's package containernetworking-plugins.
    Go,
}

/// A kind of network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    /// A /16 of IPv4.
    Wide,
    /// A /64 of IPv6.
    Six,
    /// 64 ranges of IPv4, a /22 each, one behind the other.
    Ranges,
}

/// In the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Add,
    Check,
    Del,
    Status,
    Gc,
    /// An ADD that finds no index, as after a reboot, or when somebody else has changed the folder.
    Rebuild,
}

impl Candidate {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Candidate::Ours => "Jackfield",
            Candidate::Go => "Go plugin",
        }
    }

    /// What it can do; the Go plugin has neither STATUS nor GC nor an index.
    pub(crate) fn verbs(self) -> &'static [Verb] {
        match self {
            Candidate::Ours => &[Verb::Add, Verb::Check, Verb::Del, Verb::Status, Verb::Gc, Verb::Rebuild],
            Candidate::Go => &[Verb::Add, Verb::Check, Verb::Del],
        }
    }
}

impl Verb {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Verb::Rebuild => "ADD without an index",
            Verb::Gc => "GC of one",
            verb => verb.word(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verb::Add | Verb::Rebuild => "ADD",
            Verb::Check => "CHECK",
            Verb::Del => "DEL",
            Verb::Status => "STATUS",
            Verb::Gc => "GC",
        }
    }
}

impl Network {
    pub(crate) const ALL: [Network; 3] = [Network::Wide, Network::Six, Network::Ranges];

    /// How many leases there are, fewest first.
    pub(crate) fn crowds(self) -> &'static [u32] {
        if self == Network::Wide { &[10, 1_000, 60_000] } else { &[10, 60_000] }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Network::Wide => "IPv4, a /16",
            Network::Six => "IPv6, a /64",
            Network::Ranges => "IPv4, 64 ranges",
        }
    }

    /// The lease with this number, counted from 0. None is a gateway; in `Ranges` each /22 gives 1,021.
    fn address(self, n: u32) -> IpAddr {
        match self {
            Network::Wide => Ipv4Addr::from(0x0a40_0002 + n).into(),
            Network::Six => Ipv6Addr::from((0xfd00_0009 << 96) + 2 + u128::from(n)).into(),
            Network::Ranges => Ipv4Addr::from(0x0a80_0002 + (n / 1021) * 1024 + n % 1021).into(),
        }
    }

    fn ranges(self) -> Value {
        match self {
            Network::Wide => json!([[{"subnet": "10.64.0.0/16"}]]),
            Network::Six => json!([[{"subnet": "fd00:9::/64"}]]),
            Network::Ranges => {
                let range =
                    |n: u32| json!({"subnet": format!("{}/22", Ipv4Addr::from(0x0a80_0000 + n * 1024))});
                json!([(0..64).map(range).collect::<Vec<_>>()])
            }
        }
    }
}

/// One candidate's folder of a network, with so many leases.
pub(crate) struct Pool {
    pub(crate) candidate: Candidate,
    pub(crate) network: Network,
    pub(crate) leases: u32,
    data: PathBuf,
}

impl Pool {
    /// Fills a folder as the Go plugin would have: each address after the other, the last one being noted.
    pub(crate) fn fill(candidate: Candidate, network: Network, leases: u32) -> Result<Pool> {
        let data = PathBuf::from(format!("/run/leases/{}-{}-{leases}", candidate as u8, network as u8));
        let pool = Pool { candidate, network, leases, data };
        let folder = pool.folder();
        fs::create_dir_all(&folder)?;
        for n in 0..leases {
            fs::write(folder.join(network.address(n).to_string()), format!("{}\r\neth0", owner(n)))?;
        }
        fs::write(folder.join("last_reserved_ip.0"), network.address(leases - 1).to_string())?;
        Ok(pool)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.data.join("bench")
    }

    /// Where our plugin keeps what it knows of the folder (docs/host-local.md).
    pub(crate) fn index(&self) -> Result<PathBuf> {
        let folder = fs::metadata(self.folder())?;
        Ok(format!("/run/jackfield/leases/{:x}-{:x}.index", folder.dev(), folder.ino()).into())
    }

    /// As a runtime asks for the container `web`: `result` is what ADD has answered. In a GC all others live.
    pub(crate) fn ask(&self, verb: Verb, result: Option<&Value>) -> Invocation {
        let program = match self.candidate {
            Candidate::Ours => PathBuf::from(env!("CARGO_BIN_EXE_host-local")),
            Candidate::Go => Path::new(GO_PLUGINS).join("host-local"),
        };
        let version = if matches!(verb, Verb::Status | Verb::Gc) { "1.1.0" } else { "1.0.0" };
        let ipam = json!({"type": "host-local", "ranges": self.network.ranges(), "dataDir": self.data});
        let living = (verb == Verb::Gc).then(|| {
            (0..self.leases).map(|n| json!({"containerID": owner(n), "ifname": "eth0"})).collect::<Vec<_>>()
        });
        // `null` is to the protocol the same as an absent key, but for the list.
        let mut conf = json!({"cniVersion": version, "name": "bench", "type": "bridge", "ipam": ipam, "prevResult": result});
        if let (Some(living), Some(members)) = (living, conf.as_object_mut()) {
            members.insert("cni.dev/valid-attachments".into(), living.into());
        }
        let env = [
            ("CNI_COMMAND", verb.word()),
            ("CNI_CONTAINERID", "web"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/run/netns/web"),
            ("CNI_PATH", GO_PLUGINS),
        ];
        let env = env.map(|(key, value)| (key, value.to_owned())).to_vec();
        Invocation { program, args: vec![], env, stdin: conf.to_string() }
    }
}

/// Somebody's container ID, as long as they are.
fn owner(n: u32) -> String {
    format!("{n:064x}")
}
