//! Who keeps the rules of an attachment: decided once, and then the same to all verbs.

use std::net::IpAddr;
use std::rc::Rc;

use cni::attach::Trail;
use cni::call::{Attachment, Check};
use cni::error::{Error, OrFail, Result};
use linux::nft::Nft;

use crate::attachment::allowed::{Allowed, Backend};
use crate::attachment::gate;
use crate::firewall::conf::{Choice, Conf, IngressPolicy, Named};
use crate::firewall::plan::Plan;
use crate::firewall::{admit, iptables, open, release};

/// A backend that an ADD is about to use: what it needs is there.
pub enum Keeper {
    /// A conversation with the kernel's nf_tables.
    Nftables(Rc<Nft>),
    /// A program, which is there.
    Iptables,
}

/// The backend that this configuration means on this node.
///
/// # Errors
/// Whatever keeps us from asking.
pub fn chosen(conf: &Conf) -> Result<Named> {
    Ok(match conf.choice {
        Choice::This(named) | Choice::FirewalldOr(named) => named,
    })
}

impl Keeper {
    /// Makes sure of the backend before anything is touched.
    ///
    /// # Errors
    /// The kernel cannot do it, or the program is missing.
    pub fn open(conf: &Conf, plan: &Plan) -> Result<Keeper> {
        match chosen(conf)? {
            Named::Nftables => open().map(|nft| Keeper::Nftables(Rc::new(nft))),
            Named::Iptables => iptables::locate(plan).map(|()| Keeper::Iptables),
            Named::Firewalld => Err(Error::internal("no firewalld")),
        }
    }

    /// What it is about to claim.
    pub fn claims(&self, plan: &Plan) -> Allowed {
        let Plan { addresses, ports, .. } = plan.clone();
        match self {
            Keeper::Nftables(_) => Allowed { addresses, ports, by: Backend::Nftables },
            Keeper::Iptables => Allowed { addresses, ports: Vec::new(), by: Backend::Iptables },
        }
    }

    /// Lets the packets of an attachment pass. `older` is what earlier ADDs of it have claimed.
    ///
    /// # Errors
    /// What the kernel or the program says; what was made is undone.
    pub fn ensure(
        &self,
        trail: &mut Trail,
        attachment: &Attachment,
        conf: &Conf,
        plan: &Plan,
        older: &[Allowed],
    ) -> Result<()> {
        let owner = attachment.owner();
        match self {
            Keeper::Nftables(nft) => {
                let made = trail.step(|| admit::ensure(nft, attachment, plan, conf.mark_bit))?;
                let of_undo = nft.clone();
                trail.undo(move || release::remove(&of_undo, &owner, &made.addresses, &made.ports));
                trail.step(|| {
                    let bit =
                        admit::bit(nft, conf.mark_bit).doing(|| "look up the bit of the mark".into())?;
                    gate::legacy::ensure(bit, &admit::families(&plan.addresses))
                })
            }
            Keeper::Iptables => {
                let mut new = self.claims(plan);
                let had = |address: &IpAddr| {
                    older.iter().any(|older| older.by == new.by && older.addresses.contains(address))
                };
                let addresses = plan.addresses.iter().copied().filter(|address| !had(address)).collect();
                new.addresses = addresses;
                // One family may be written when the other one fails.
                trail.undo(move || new.end(&owner));
                trail.step(|| iptables::ensure(plan, &conf.admin_chain))
            }
        }
    }
}

/// Whether all is there that ADD made: by whom its record says, and else by whom this configuration means.
///
/// # Errors
/// The first thing that is missing or was changed.
pub fn check(check: &Check, conf: &Conf, plan: &Plan, claimed: &[Allowed]) -> Result<()> {
    let named = match claimed.first().map(|first| &first.by) {
        Some(Backend::Nftables) => Named::Nftables,
        Some(Backend::Iptables) => Named::Iptables,
        None => chosen(conf)?,
    };
    match named {
        Named::Nftables => check_nftables(check, conf, plan),
        Named::Iptables => iptables::check(plan, &conf.admin_chain),
        Named::Firewalld => Err(Error::internal("no firewalld")),
    }
}

fn check_nftables(check: &Check, conf: &Conf, plan: &Plan) -> Result<()> {
    let nft = open()?;
    admit::check(&nft, &check.attachment, plan, conf.mark_bit)?;
    let bit = admit::bit(&nft, conf.mark_bit).doing(|| "look up the bit of the mark".into())?;
    match gate::legacy::is_missing(bit, &admit::families(&plan.addresses))? {
        true => Err(Error::internal(format!(
            "the packets of {} do not pass: FORWARD of iptables-legacy has no rule that accepts their mark",
            check.attachment
        ))),
        false => Ok(()),
    }
}

/// Would an ADD find what it needs?
///
/// # Errors
/// What it would not.
pub fn usable(conf: &Conf) -> Result<()> {
    match chosen(conf)? {
        Named::Nftables => {
            let isolates = conf.policy == IngressPolicy::Isolated;
            admit::rehearse(&open()?, isolates, conf.mark_bit.unwrap_or(gate::MARK_BIT))
        }
        Named::Iptables => iptables::usable(),
        Named::Firewalld => Err(Error::internal("no firewalld")),
    }
}
