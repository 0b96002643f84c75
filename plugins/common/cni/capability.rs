//! Parts of root's rights (capabilities(7)): who lacks one that a program needs is told so behind the kernel's "operation not
//! permitted". docs/security.md says which program needs which.

use std::fmt;

use crate::error::{Code, Error};

/// A part that some program here needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Links, addresses, routes, rules and settings of a network namespace.
    NetAdmin,
    /// Namespaces: to make one, and to go into it; mounts.
    SysAdmin,
    /// Processes of others, and such as have more rights: to see in which namespace they are.
    SysPtrace,
    /// Processes of others: to send them signals.
    Kill,
}

impl Capability {
    /// Whether a process has it of which this is `/proc/<pid>/status`; `None` if that does not say.
    pub fn is_held_by(self, status: &str) -> Option<bool> {
        effective(status).map(|held| held >> self.number() & 1 == 1)
    }

    /// Its number in linux/capability.h.
    fn number(self) -> u32 {
        match self {
            Capability::Kill => 5,
            Capability::NetAdmin => 12,
            Capability::SysPtrace => 19,
            Capability::SysAdmin => 21,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::SysPtrace => "CAP_SYS_PTRACE",
            Capability::Kill => "CAP_KILL",
        })
    }
}

/// The error of a program that needs these, with those that this process lacks. What the input is to blame for needs none.
pub fn advised(error: Error, needs: &[Capability]) -> Error {
    let by_input = matches!(error.code(), Code::DECODE | Code::CONFIG | Code::INCOMPATIBLE_VERSION);
    if by_input || needs.is_empty() {
        return error;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok();
    let Some(status) = status else { return error };
    let missing = needs.iter().filter(|capability| capability.is_held_by(&status) == Some(false));
    let names: Vec<String> = missing.map(Capability::to_string).collect();
    match names.is_empty() {
        true => error,
        false => error.details(format!("this process lacks {}", names.join(" and "))),
    }
}

/// The line `CapEff` and its hexadecimal number (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_read_as_the_kernel_writes_it() {
        let held = effective("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000201000\n").unwrap();
        assert_eq!(held, (1 << 12) | (1 << 21));
        assert_eq!(effective("Name:\tx\n"), None);
        let held = |capability: Capability| capability.is_held_by("CapEff:\t0000000000200000\n");
        assert_eq!(held(Capability::SysAdmin), Some(true));
        assert_eq!([Capability::NetAdmin, Capability::SysPtrace].map(held), [Some(false); 2]);
    }

    #[test]
    fn whoever_wrote_nonsense_is_told_of_nothing_else() {
        let error = advised(Error::config("no such key"), &[Capability::NetAdmin, Capability::SysAdmin]);
        assert_eq!(error.more(), None);
    }
}
