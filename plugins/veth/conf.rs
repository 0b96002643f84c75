//! The configuration twice: as written, and as meant.

use cni::delegate::Ipam;
use cni::error::{Code, Error, Result};
use cni::name::PluginName;
use cni::result::Dns;
use serde::Deserialize;

use crate::attachment::mtu;

/// As written: the keys of the Go plugin `ptp`, 1.9.1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    ip_masq: bool,
    mtu: i64,
    ipam: Ipam,
    dns: Dns,
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// MTU of the pair in bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
    /// Who gives addresses: a routed pair is nothing without one.
    pub ipam: PluginName,
    /// Goes into the result, instead of what IPAM said, if it says anything.
    pub dns: Dns,
}

impl Conf {
    /// What the configuration means.
    ///
    /// # Errors
    /// [`Code::CONFIG`] for what makes no sense; [`Code::UNSUPPORTED_FIELD`] for what this version cannot do.
    pub fn meant(raw: Raw) -> Result<Conf> {
        if raw.ip_masq {
            return Err(Error::new(Code::UNSUPPORTED_FIELD, "ipMasq: true is not supported yet"));
        }
        let Some(ipam) = raw.ipam.plugin else {
            return Err(
                Error::config("ipam: no plugin name provided").details("a routed pair needs an ipam.type")
            );
        };
        Ok(Conf { mtu: mtu::meant(raw.mtu)?, ipam, dns: raw.dns })
    }
}
