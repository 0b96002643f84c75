//! The variables that mean something to this program. Nothing else of it reads them.
#![expect(clippy::disallowed_methods, reason = "this is the one place")]

use std::ffi::OsString;
use std::path::PathBuf;

/// Where programs are looked for.
pub(crate) fn search_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// Where networks are configured, as for `cnitool`.
pub(crate) fn configurations() -> PathBuf {
    given("NETCONFPATH").unwrap_or_else(|| "/etc/cni/net.d".into()).into()
}

/// Where the plugins of networks are looked for, as for `cnitool`, which wants the variable set.
pub(crate) fn plugins() -> OsString {
    given("CNI_PATH").unwrap_or_else(|| "/opt/cni/bin".into())
}

/// Who called sudo, if that is where we come from (sudo(8), "Environment").
pub(crate) fn caller_of_sudo() -> Option<u32> {
    given("SUDO_UID")?.to_str()?.parse().ok()
}

fn given(key: &str) -> Option<OsString> {
    std::env::var_os(key).filter(|value| !value.is_empty())
}
