//! A VRF that `ip vrf exec` put a process in binds its sockets to a link of the namespace it is about to
//! leave, through a program on the control group `…/vrf/NAME`: so the process goes back to the group above.

use super::{Doing, Result};
use std::path::{Path, PathBuf};

/// Leaves the VRF's control group, if this process is in one.
pub(super) fn leave() -> Result<()> {
    // No /proc, or no control groups: then there is no VRF to leave either.
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let Some(group) = group_above(&groups) else { return Ok(()) };
    let Some(mut joined) = mount_point(&mounts()) else { return Ok(()) };
    joined.push(group.trim_start_matches('/'));
    joined.push("cgroup.procs");
    // Zero is the writer (cgroup-v2.rst, "cgroup.procs").
    std::fs::write(&joined, "0").doing(|| format!("Failed to leave the VRF by {}", joined.display()))
}

/// The group above the VRF's, from `/proc/self/cgroup`; none outside a VRF.
fn group_above(groups: &str) -> Option<&str> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    own.get(..own.find("/vrf/")? + "/vrf".len())
}

/// Where the unified hierarchy is mounted, from `/proc/self/mounts`.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| Path::new(target).to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_group_above_a_vrf_and_only_there() {
        assert_eq!(group_above("4:memory:/a/vrf/no\n0::/user.slice/vrf/red\n"), Some("/user.slice/vrf"));
        assert_eq!(group_above("0::/vrf/red\n"), Some("/vrf"));
        assert_eq!(group_above("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(group_above(""), None);
    }

    #[test]
    fn finds_the_unified_hierarchy() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\nnone /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("tmpfs /run tmpfs rw 0 0\n"), None);
    }
}
