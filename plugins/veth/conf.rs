//! The configuration twice: as written, and as meant.

use cni::delegate::Ipam;
use cni::error::{Error, Result};
use cni::name::PluginName;
use cni::result::Dns;
use serde::Deserialize;

use crate::attachment::masquerade::Backend;
use crate::attachment::mtu::{self, Mtu};
use crate::attachment::release::Leaving;
use crate::veth::PLUGIN;

/// As written: the keys of the Go plugin `ptp`, 1.9.1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: mtu::Written,
    ipam: Ipam,
    dns: Dns,
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// MTU of the pair.
    pub mtu: Mtu,
    /// What the container sends out of its subnet carries the host's address, by whom.
    pub masquerade: Option<Backend>,
    /// Who gives addresses: a routed pair is nothing without one.
    pub ipam: PluginName,
    /// Goes into the result, instead of what IPAM said, if it says anything.
    pub dns: Dns,
}

impl Conf {
    /// What the configuration means.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] for what makes no sense.
    pub fn meant(raw: Raw) -> Result<Conf> {
        let Some(ipam) = raw.ipam.plugin else { return Err(no_ipam()) };
        let masquerade = Backend::meant(raw.ip_masq, raw.ip_masq_backend.as_deref())?;
        Ok(Conf { mtu: Mtu::meant(&raw.mtu)?, masquerade, ipam, dns: raw.dns })
    }
}

impl Raw {
    /// What DEL and GC have to know, right even if nothing else in the configuration is any more.
    pub fn leaving(&self) -> Leaving<'_> {
        Leaving { plugin: PLUGIN, ipam: self.ipam.plugin.as_ref(), masquerades: self.ip_masq }
    }
}

/// Nobody gives addresses, or nobody is told that they are free again.
pub fn no_ipam() -> Error {
    Error::config("ipam: no plugin name provided").details("a routed pair needs an ipam.type")
}
