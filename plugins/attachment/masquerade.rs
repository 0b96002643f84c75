//! Masquerade (`ipMasq`): what a container sends out of its subnet carries the host's address.
//!
//! - [`nftables`]: the rules in a table of ours, a container being an element of a map;
//! - `layout`: their names and texts;
//! - [`iptables`]: the Go plugins' rules, by that program, for an administrator who insists.

pub mod iptables;
mod layout;
pub mod nftables;

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use cni::attach::Trail;
use cni::call::{Attachment, Check, Del};
use cni::error::{Code, Error, Faults, Result};
use cni::log;
use cni::result::Success;
use ipnetwork::IpNetwork;
use linux::nft::Nft;
use serde::{Deserialize, Serialize};

use crate::attachment::mark::Mark;
use crate::attachment::record::claim::Claim;
use crate::attachment::record::{Masqueraded, Noted, Record};
use crate::attachment::waits::Waits;
use crate::attachment::{inherited, ruleset};

/// Who keeps the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// The kernel's nf_tables, in a table of ours.
    #[default]
    Nftables,
    /// iptables, in its own tables.
    Iptables,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Nftables => "nftables",
            Backend::Iptables => "iptables",
        })
    }
}

impl Backend {
    /// What `ipMasq` and `ipMasqBackend` mean together; `None` is no masquerade. Unless told otherwise it is nftables:
    /// its rules cost the same beside ten containers and beside a thousand.
    ///
    /// # Errors
    /// [`Code::CONFIG`]: there is no such backend.
    pub fn meant(ip_masq: bool, backend: Option<&str>) -> Result<Option<Backend>> {
        match backend.filter(|_| ip_masq) {
            None => Ok(ip_masq.then_some(Backend::Nftables)),
            Some("nftables") => Ok(Some(Backend::Nftables)),
            Some("iptables") => Ok(Some(Backend::Iptables)),
            Some(other) => Err(Error::config(format!("unknown ipmasq backend {other:?}"))
                .details("ipMasqBackend is \"nftables\" or \"iptables\"")),
        }
    }

    /// Would an ADD find what it needs?
    ///
    /// # Errors
    /// [`Code::NOT_AVAILABLE`]: the kernel cannot do it, or the program is missing.
    pub fn status(self) -> Result<()> {
        let usable = match self {
            Backend::Nftables => open().and_then(|nft| nftables::rehearse(&nft)),
            Backend::Iptables => iptables::usable(),
        };
        usable.map_err(|error| {
            Error::new(Code::NOT_AVAILABLE, format!("ipMasq by {self} cannot work: {}", error.msg()))
        })
    }

    /// Whether everything is there that ADD made for these addresses.
    ///
    /// # Errors
    /// The first thing that is missing or was changed.
    pub fn check(self, check: &Check, addresses: &[IpNetwork]) -> Result<()> {
        match self {
            Backend::Nftables => nftables::check(&open()?, &check.attachment, addresses),
            Backend::Iptables => iptables::check(&check.attachment, addresses),
        }
    }
}

/// Whether the Go plugins' rules do it for all of these addresses, by either of their backends: which one they have taken, no
/// configuration says.
///
/// # Errors
/// What the kernel or the program says.
pub fn is_done_by_others(attachment: &Attachment, addresses: &[IpNetwork]) -> Result<bool> {
    let nft = ruleset::open_if_any()?;
    if let Some(nft) = &nft
        && inherited::present::masquerades(nft, attachment, addresses)?
    {
        return Ok(true);
    }
    iptables::is_done_by_others(nft.as_ref(), attachment, addresses)
}

/// A backend that an ADD is about to use: what it needs is there.
pub enum Masquerade {
    /// A conversation with the kernel's nf_tables.
    Nftables(Rc<Nft>),
    /// A program, which is there.
    Iptables,
}

impl Masquerade {
    /// Makes sure of the backend before anything is touched.
    ///
    /// # Errors
    /// The kernel cannot do it, or the program is missing.
    pub fn open(backend: Backend) -> Result<Masquerade> {
        match backend {
            Backend::Nftables => open().map(|nft| Masquerade::Nftables(Rc::new(nft))),
            Backend::Iptables => iptables::locate().map(|()| Masquerade::Iptables),
        }
    }

    /// Masquerades what the attachment will send from these addresses. They are in the record before any rule knows them.
    ///
    /// # Errors
    /// What the kernel or the program says; what was made is undone.
    pub fn ensure(
        &self,
        trail: &mut Trail,
        claim: &mut Claim,
        attachment: &Attachment,
        addresses: &[IpNetwork],
    ) -> Result<()> {
        let _step = log::step("rules");
        match self {
            Masquerade::Nftables(nft) => {
                trail.step(|| claim.note_masquerade(addresses, Backend::Nftables))?;
                let made = trail.step(|| nftables::ensure(nft, attachment, addresses))?;
                let (nft, owner) = (nft.clone(), attachment.owner());
                trail.undo(move || nftables::remove(&nft, &owner, &made));
            }
            Masquerade::Iptables => {
                trail.step(|| claim.note_masquerade(addresses, Backend::Iptables))?;
                // One family may be written when the other one fails.
                let (whose, claimed) =
                    (attachment.clone(), addresses.iter().map(IpNetwork::ip).collect::<Vec<_>>());
                trail.undo(move || iptables::remove(&whose, &claimed));
                trail.step(|| iptables::ensure(attachment, addresses))?;
            }
        }
        Ok(())
    }
}

/// Ends the masquerade of an attachment. Which addresses it had says its record; where that is lost the previous result;
/// without either, the rules themselves are asked whose they are.
///
/// An attachment without a record may be the Go plugins', and then the rules are theirs. What they wrote over nf_tables is
/// looked for whatever the configuration says today, for it costs three questions; for iptables-legacy a program is run, so
/// that is done only where `ipMasq` is still set, or nobody can read whether it is.
///
/// The kernel makes whoever closes a conversation in which something was deleted wait until no packet is on its way through
/// the old rules: it goes to the waits.
///
/// # Errors
/// What the kernel says, after everything was tried.
pub fn end(del: &Del, record: Option<&Record>, may_masquerade: bool, waits: &mut Waits) -> Result<()> {
    match record {
        Some(record) => end_noted(record, waits),
        None => {
            let addresses = del.prev.as_ref().map(addresses_of);
            End { attachment: &del.attachment, addresses, by: None, is_wanted: may_masquerade }.come(waits)
        }
    }
}

/// Ends the masquerade that a record speaks of, and waits as [`end`] does.
///
/// # Errors
/// What the kernel says, after everything was tried.
pub fn end_noted(record: &Record, waits: &mut Waits) -> Result<()> {
    let (addresses, by) = match &record.masquerade {
        Noted::Nothing => return Ok(()),
        Noted::This(Masqueraded { addresses, by, .. }) => (Some(addresses.clone()), Some(*by)),
        Noted::Torn => (None, None),
    };
    End { attachment: &record.attachment, addresses, by, is_wanted: true }.come(waits)
}

/// A masquerade that ends, as far as it is known.
struct End<'a> {
    attachment: &'a Attachment,
    /// Which addresses it had; `None` if only the rules can tell.
    addresses: Option<Vec<IpAddr>>,
    /// Who kept the rules, if that is known.
    by: Option<Backend>,
    /// Whether to look also where that costs something.
    is_wanted: bool,
}

impl End<'_> {
    fn come(self, waits: &mut Waits) -> Result<()> {
        let _step = log::step("rules");
        let (attachment, addresses) = (self.attachment, self.addresses.as_deref());
        let may_be = |by| self.by.is_none_or(|known| known == by);
        let nft = ruleset::open_if_any()?;
        let mut faults = Faults::default();
        if let Some(nft) = &nft {
            if may_be(Backend::Nftables) && self.is_wanted {
                faults.note(match addresses {
                    Some(addresses) => nftables::remove(nft, &attachment.owner(), addresses),
                    None => nftables::sweep(nft, |mark| mark.is_of(&attachment.owner())),
                });
            }
            if may_be(Backend::Iptables) {
                faults.note(inherited::remove(nft, attachment, addresses.unwrap_or_default()));
            }
        }
        if may_be(Backend::Iptables) && self.is_wanted {
            faults.note(inherited::remove_legacy(attachment, addresses.unwrap_or_default()));
        }
        nft.into_iter().for_each(|nft| waits.keep(nft));
        faults.verdict()
    }
}

/// Ends the masquerade by iptables of a stale record: its rules name no owner, so [`sweep`] does not know them.
///
/// # Errors
/// What the kernel or the program says.
pub fn end_stale(record: &Record) -> Result<()> {
    match &record.masquerade {
        Noted::Nothing | Noted::This(Masqueraded { by: Backend::Nftables, .. }) => Ok(()),
        Noted::This(Masqueraded { addresses, .. }) => iptables::remove(&record.attachment, addresses),
        Noted::Torn => iptables::remove(&record.attachment, &[]),
    }
}

/// Makes the rules again that somebody has flushed. True if the attachment is masqueraded.
///
/// # Errors
/// What the kernel or the program says; an earlier version has not written down what it takes.
pub fn restore(record: &Record) -> Result<bool> {
    let attachment = &record.attachment;
    let claimed = match &record.masquerade {
        Noted::Nothing => return Ok(false),
        Noted::This(claimed) => claimed,
        Noted::Torn => return Err(unknown(attachment)),
    };
    let addresses = claimed.networks().ok_or_else(|| unknown(attachment))?;
    match claimed.by {
        Backend::Nftables => nftables::ensure(&open()?, attachment, &addresses).map(drop)?,
        Backend::Iptables => iptables::ensure(attachment, &addresses)?,
    }
    Ok(true)
}

fn unknown(attachment: &Attachment) -> Error {
    Error::internal(format!("the record of {attachment} does not say what is masqueraded"))
}

/// Ends the masquerade of everything whose owner is stale.
///
/// # Errors
/// What the kernel says.
pub fn sweep(is_stale: impl Fn(&Mark) -> bool) -> Result<()> {
    ruleset::open_if_any()?.map_or(Ok(()), |nft| nftables::sweep(&nft, is_stale))
}

fn addresses_of(result: &Success) -> Vec<IpAddr> {
    result.ips.iter().map(|ip| ip.address.ip()).collect()
}

fn open() -> Result<Nft> {
    ruleset::open("ipMasq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nftables_is_meant_unless_another_backend_is_named() {
        assert_eq!(Backend::meant(false, None).unwrap(), None);
        assert_eq!(Backend::meant(true, None).unwrap(), Some(Backend::Nftables));
        assert_eq!(Backend::meant(true, Some("nftables")).unwrap(), Some(Backend::Nftables));
        assert_eq!(Backend::meant(true, Some("iptables")).unwrap(), Some(Backend::Iptables));
        assert_eq!(Backend::meant(false, Some("iptables")).unwrap(), None);
        for unknown in ["", "pf", "NFTABLES"] {
            let error = Backend::meant(true, Some(unknown)).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG);
            assert_eq!(error.msg(), format!("unknown ipmasq backend {unknown:?}"));
        }
    }
}
