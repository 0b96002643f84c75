//! Which iptables a node has: Debian has both, and a search path chooses.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::call::PATH;
use super::host::Host;

/// The two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iptables {
    /// It writes nf_tables.
    Nft,
    /// It has tables of its own ([`super::world::Need::IptablesLegacy`]).
    Legacy,
}

impl Iptables {
    /// A search path on which this is the iptables.
    pub fn path(self) -> String {
        let name = format!("{self:?}").to_lowercase();
        let folder = Path::new("/run/lab").join(&name);
        if !folder.exists() {
            std::fs::create_dir(&folder).expect("a folder of the lab");
            for family in ["iptables", "ip6tables"] {
                for deed in ["", "-save", "-restore"] {
                    let program = format!("/usr/sbin/{family}-{name}{deed}");
                    symlink(program, folder.join(format!("{family}{deed}"))).expect("a link");
                }
            }
        }
        format!("{}:{PATH}", folder.display())
    }

    /// Runs iptables and ip6tables, each with its own word for ADDRESS, and tells what both said.
    pub fn run(self, host: &Host, words: &str) -> String {
        let families = [("iptables", "10.99.0.9"), ("ip6tables", "fd00:99::9")];
        families
            .map(|(program, address)| self.run_one(host, program, &words.replace("ADDRESS", address)))
            .concat()
    }

    /// Runs one of them on the table nat.
    pub fn run_one(self, host: &Host, program: &str, words: &str) -> String {
        host.sh(&format!("PATH={} {program} -w -t nat {words}", self.path()))
    }

    /// The rules of both families.
    pub fn listing(self, host: &Host) -> String {
        self.run(host, "-S")
    }

    /// Rules of others: of a container of the Go plugins that stays, and of an administrator. With them come the base
    /// chains, which iptables never removes.
    pub fn with_neighbours(self, host: &Host) {
        for words in [
            "-N CNI-0123456789abcdef01234567",
            "-A CNI-0123456789abcdef01234567 -d ADDRESS -j ACCEPT -m comment --comment 'name: \"net-a\" id: \"other\"'",
            "-A POSTROUTING -s ADDRESS -j CNI-0123456789abcdef01234567",
            "-A POSTROUTING -s ADDRESS -o eth7 -j MASQUERADE",
        ] {
            self.run(host, words);
        }
    }
}
