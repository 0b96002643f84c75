//! Parts of root's rights (capabilities(7)): who lacks one that a program needs is told so behind the kernel's "operation not
//! permitted".

use std::fmt;

use crate::error::{Code, Error};

/// A part that some program here needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Links, addresses, routes, rules and settings of a network namespace.
    NetAdmin,
    /// Namespaces: to make one, and to go into it.
    SysAdmin,
}

impl Capability {
    /// Its number in linux/capability.h.
    fn number(self) -> u32 {
        match self {
            Capability::NetAdmin => 12,
            Capability::SysAdmin => 21,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

/// The error of a program that needs these, with those that this process lacks. What the input is to blame for needs none.
pub(crate) fn advised(error: Error, needs: &[Capability]) -> Error {
    let by_input = matches!(error.code(), Code::DECODE | Code::CONFIG | Code::INCOMPATIBLE_VERSION);
    if by_input || needs.is_empty() {
        return error;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok();
    let Some(held) = status.as_deref().and_then(effective) else { return error };
    let missing = needs.iter().filter(|capability| (held >> capability.number()) & 1 == 0);
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
    }

    #[test]
    fn whoever_wrote_nonsense_is_told_of_nothing_else() {
        let error = advised(Error::config("no such key"), &[Capability::NetAdmin, Capability::SysAdmin]);
        assert_eq!(error.more(), None);
    }
}
