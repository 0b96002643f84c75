//! What to do when the kernel says that one may not: it depends on who one is.

use std::fs::read_to_string;

use cni::capability::Capability;

/// A line for whoever was refused what this capability is for; nothing, if nothing is known that would help.
pub(crate) fn advice(needed: Capability) -> String {
    match Caller::this(needed) {
        Caller::User => {
            let alone = own_world().unwrap_or_else(|why| why);
            format!("Note: this needs root, so try it with sudo. {alone}")
        }
        Caller::RootWithoutCapability => {
            let name = needed.to_string();
            let more = match needed {
                // What such a profile keeps from a container is to mount.
                Capability::SysAdmin => " --security-opt apparmor=unconfined",
                Capability::NetAdmin | Capability::SysPtrace | Capability::Kill => "",
            };
            format!(
                "Note: this root lacks the capability {name}, as root of a container does unless it was started with it \
                 (docker run --cap-add {}{more}).",
                name.trim_start_matches("CAP_")
            )
        }
        Caller::RootOfUserNamespace => {
            "Note: this is root of a user namespace, and what belongs to the world outside it may not be \
             changed; a /run of one's own may: unshare -m, then mount -t tmpfs none /run."
                .into()
        }
        Caller::Root => String::new(),
    }
}

/// Whether this process lacks it.
pub(crate) fn lacks(capability: Capability) -> bool {
    matches!(Caller::this(capability), Caller::User | Caller::RootWithoutCapability)
}

/// Whether the kernel may let this process make and enter namespaces.
pub(crate) fn may_make_namespaces() -> bool {
    !lacks(Capability::SysAdmin)
}

/// Whether this process is root outside of all user namespaces.
pub(crate) fn is_root() -> bool {
    Caller::this(Capability::SysAdmin) == Caller::Root
}

/// How to do everything here without root.
const OWN_WORLD: &str = "unshare -Urnm sh -c 'mount -t tmpfs none /run && exec sh'";

/// How this caller gets a world of his own, or why he does not.
fn own_world() -> Result<String, String> {
    let is = |setting: &str, value: &str| {
        let path = format!("/proc/sys/{}", setting.replace('.', "/"));
        let found = read_to_string(path).is_ok_and(|text| text.trim() == value);
        found.then(|| {
            format!("A world of one's own is not to be had: {setting} is {value}, which root can change.")
        })
    };
    is("user.max_user_namespaces", "0")
        .or_else(|| is("user.max_net_namespaces", "0"))
        .or_else(|| is("kernel.unprivileged_userns_clone", "0"))
        .or_else(|| is("kernel.apparmor_restrict_unprivileged_userns", "1"))
        .map_or_else(|| Ok(format!("In a world of one's own it works without: {OWN_WORLD}")), Err)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    User,
    /// In a container, for example.
    RootWithoutCapability,
    RootOfUserNamespace,
    Root,
}

impl Caller {
    fn this(needed: Capability) -> Caller {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let map = read_to_string("/proc/self/uid_map").unwrap_or_default();
        Caller::of(&status, &map, needed)
    }

    /// From `/proc/self/status` and `/proc/self/uid_map`.
    fn of(status: &str, map: &str, needed: Capability) -> Caller {
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let is_root = uids.split_whitespace().nth(1) == Some("0");
        // The first user namespace maps everybody to himself (user_namespaces(7)).
        let is_first = map.split_whitespace().eq(["0", "0", "4294967295"]);
        match (needed.is_held_by(status).unwrap_or(true), is_root, is_first) {
            (true, _, true) => Caller::Root,
            (true, _, false) => Caller::RootOfUserNamespace,
            (false, true, _) => Caller::RootWithoutCapability,
            (false, false, _) => Caller::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_his_capabilities() {
        let status =
            |uid, capabilities| format!("Name:\tx\nUid:\t{uid}\t{uid}\t0\t0\nCapEff:\t{capabilities}\n");
        let everybody = "         0          0 4294967295\n";
        let one = "         0       1000          1\n";
        for (uid, capabilities, map, who) in [
            (1000, "0000000000000000", everybody, Caller::User),
            (65534, "0000000000000000", "", Caller::User),
            (0, "000001ffffffffff", everybody, Caller::Root),
            (1000, "0000000000200000", everybody, Caller::Root),
            (0, "00000000a80425fb", everybody, Caller::RootWithoutCapability),
            (0, "000001ffffffffff", one, Caller::RootOfUserNamespace),
        ] {
            let found = Caller::of(&status(uid, capabilities), map, Capability::SysAdmin);
            assert_eq!(found, who, "{uid} {capabilities} {map}");
        }
    }
}
