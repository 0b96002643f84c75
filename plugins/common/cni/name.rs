//! Names, parsed once: whoever holds one of these types need not look at it again.

use std::fmt;
use std::str::FromStr;

use crate::error::{Code, Error};

/// A letter or digit, then letters, digits, `_`, `.` and `-`, all of ASCII: the specification's rule for container
/// IDs and network names. Such a name cannot leave a folder.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Longest ID or name that still fits a file name with something beside it; the specification has no bound.
const LONGEST: usize = 200;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(|error: Error| match error.more() {
                    Some(details) => serde::de::Error::custom(format!("{error}: {details}")),
                    None => serde::de::Error::custom(error),
                })
            }
        }
    };
}

name! {
    /// `CNI_CONTAINERID` (spec, section "Parameters").
    ContainerId
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(id: &str) -> Result<ContainerId, Error> {
        let wrong = match id {
            id if !is_plain(id) => "invalid characters in containerID",
            id if id.len() > LONGEST => "containerID is longer than 200 bytes",
            id => return Ok(ContainerId(id.into())),
        };
        Err(Error::new(Code::ENVIRONMENT, format!("{wrong} (CNI_CONTAINERID)")).details(id))
    }
}

name! {
    /// `name` of a network configuration.
    NetworkName
}

impl FromStr for NetworkName {
    type Err = Error;

    fn from_str(name: &str) -> Result<NetworkName, Error> {
        let wrong = match name {
            "" => return Err(Error::config("missing network name")),
            name if !is_plain(name) => "invalid characters found in network name",
            name if name.len() > LONGEST => "network name is longer than 200 bytes",
            name => return Ok(NetworkName(name.into())),
        };
        Err(Error::config(wrong).details(name))
    }
}

name! {
    /// The name of a link: what `dev_valid_name` in net/core/dev.c accepts, less Unicode's white space, and less what is a
    /// pattern to the kernel: it fills in the `%d` of `eth%d`, and no link has the name that was asked for.
    IfName
}

impl FromStr for IfName {
    type Err = Error;

    fn from_str(name: &str) -> Result<IfName, Error> {
        let unfit = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
        let wrong = match name {
            "" => "interface name is empty",
            name if name.len() > 15 => {
                "interface name is too long: interface name should be less than 16 characters"
            }
            "." | ".." => "interface name is . or ..",
            name if name.contains(unfit) => "interface name contains / or : or whitespace characters",
            name if name.contains('%') => "interface name contains %, in which the kernel would put a number",
            name => return Ok(IfName(name.into())),
        };
        Err(Error::new(Code::ENVIRONMENT, wrong).details(format!("{name:?}")))
    }
}

name! {
    /// `type` of a plugin: the name of a file in one of the folders of `CNI_PATH`, never a path.
    PluginName
}

impl FromStr for PluginName {
    type Err = Error;

    fn from_str(name: &str) -> Result<PluginName, Error> {
        match name {
            "" => Err(Error::config("no plugin name provided")),
            name if name.contains(['/', '\0']) || matches!(name, "." | "..") => {
                Err(Error::config(format!("invalid plugin name: {name}")))
            }
            name => Ok(PluginName(name.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_id_is_a_letter_or_digit_and_then_little_else() {
        for good in ["a", "0", "a.b-c_d", &"f".repeat(64)] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good:?}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "a;b", "../x", "é", "a\n", &"f".repeat(201)] {
            let error = bad.parse::<ContainerId>().unwrap_err();
            assert_eq!(error.code(), Code::ENVIRONMENT, "{bad:?}");
            assert!(error.msg().contains("CNI_CONTAINERID"), "{bad:?}");
        }
    }

    #[test]
    fn a_network_name_cannot_leave_its_folder() {
        assert!("10-net.a_b".parse::<NetworkName>().is_ok());
        for bad in ["", "a/b", "-a", ".a", "..", "a b", "é", "n\n"] {
            assert_eq!(bad.parse::<NetworkName>().unwrap_err().code(), Code::CONFIG, "{bad:?}");
        }
    }

    #[test]
    fn a_link_name_is_what_the_kernel_takes() {
        assert!("eth0.100".parse::<IfName>().is_ok());
        assert!("fifteen-bytes-x".parse::<IfName>().is_ok());
        for bad in
            ["", ".", "..", "a/b", "a:b", "a b", "a\t", "a\u{a0}", "sixteen-bytes-xx", "a\0b", "eth%d", "a%"]
        {
            assert_eq!(bad.parse::<IfName>().unwrap_err().code(), Code::ENVIRONMENT, "{bad:?}");
        }
    }

    #[test]
    fn a_plugin_is_a_file_name_and_no_path() {
        assert!("host-local".parse::<PluginName>().is_ok());
        for bad in ["", "../x", "a/b", ".", ".."] {
            assert_eq!(bad.parse::<PluginName>().unwrap_err().code(), Code::CONFIG, "{bad:?}");
        }
    }
}
