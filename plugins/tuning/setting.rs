//! Sysctls by the names that people write.

use cni::error::{Error, OrFail, Result};
use linux::sysctl;

/// The word in a key that stands for the interface's name.
const IFNAME: &str = "IFNAME";

/// A setting of the container's namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// As it is written.
    pub key: String,
    /// Its file below /proc/sys.
    pub file: String,
    /// The value that it is to have.
    pub value: String,
}

impl Setting {
    /// What a key means. It is written with dots or, as sysctl(8) has it, with slashes: then a dot is a dot, as in the name
    /// of a VLAN.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`]: the key does not lead below /proc/sys/net, where the settings of a network namespace are.
    pub fn meant(key: &str, value: &str, ifname: &str) -> Result<Setting> {
        let dots_separate =
            key.find(['.', '/']).is_some_and(|first| key.get(first..).is_some_and(|it| it.starts_with('.')));
        let path = if dots_separate { key.replace('.', "/") } else { key.to_owned() };
        let file = path.replacen(IFNAME, ifname, 1);
        let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        match file.split_once('/') {
            Some(("net", below)) if below.split('/').all(is_name) => {
                Ok(Setting { key: key.into(), file, value: value.into() })
            }
            _ => Err(Error::config(format!("invalid net sysctl key: {key:?}"))),
        }
    }

    /// Sets it in the namespace that the thread is in; returns what was there. What can only be written was nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn apply(&self) -> Result<Option<String>> {
        let before = self.current()?;
        sysctl::write(&self.file, &self.value).doing(|| format!("set sysctl {}", self.key))?;
        Ok(before)
    }

    /// Sets it, where nobody needs to know what was there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put_back(&self) -> Result<()> {
        sysctl::write(&self.file, &self.value).doing(|| format!("put back sysctl {}", self.file))
    }

    /// The value that it has; `None` where it has none but does something when it is written, and where there is no such
    /// setting: whoever writes it will be told.
    ///
    /// # Errors
    /// What the kernel says: what cannot be read could not be put back.
    pub fn current(&self) -> Result<Option<String>> {
        match sysctl::read(&self.file) {
            Err(error) if error.is_absent() || error.is_denied() => Ok(None),
            value => value.map(Some).doing(|| format!("read sysctl {}", self.key)),
        }
    }

    /// It has its value. The kernel puts tabs where people put spaces.
    ///
    /// # Errors
    /// It has another; what the kernel says.
    pub fn check(&self) -> Result<()> {
        let Setting { key, file, value } = self;
        let current = sysctl::read(file).doing(|| format!("read sysctl {key}"))?;
        match current.split_whitespace().eq(value.split_whitespace()) {
            true => Ok(()),
            false => Err(Error::internal(format!(
                "Error: Tuning configured value of {file} is {value}, current value is {current}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_with_dots_or_with_slashes() {
        for (key, ifname, file) in [
            ("net.ipv4.conf.IFNAME.arp_filter", "eth0", "net/ipv4/conf/eth0/arp_filter"),
            ("net.ipv4.conf.IFNAME.arp_filter", "eth0.100", "net/ipv4/conf/eth0.100/arp_filter"),
            ("net/ipv4/conf/eth0.100/arp_filter", "eth0", "net/ipv4/conf/eth0.100/arp_filter"),
            ("net.core.somaxconn", "eth0", "net/core/somaxconn"),
        ] {
            assert_eq!(Setting::meant(key, "1", ifname).unwrap().file, file);
        }
    }

    #[test]
    fn no_key_leads_out_of_the_namespaces_settings() {
        for key in [
            "",
            "net",
            "net.",
            "kernel.hostname",
            "net/../kernel/hostname",
            "../net/x",
            "/net/ipv4",
            "net..x",
            "net/./x",
            "net/a\0",
        ] {
            let error = Setting::meant(key, "1", "eth0").unwrap_err();
            assert_eq!(error.msg(), format!("invalid net sysctl key: {key:?}"));
        }
    }
}
