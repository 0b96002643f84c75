//! Who keeps the rules of an attachment: decided once, and then the same to all verbs.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use cni::attach::Trail;
use cni::call::{Attachment, Check};
use cni::error::{Error, OrFail, Result};
use linux::nft::Nft;

use crate::attachment::allowed::{Allowed, Backend};
use crate::attachment::firewalld::{Firewalld, Put};
use crate::attachment::{gate, ruleset};
use crate::firewall::conf::{Choice, Conf, IngressPolicy, Named};
use crate::firewall::plan::{Plan, Policy};
use crate::firewall::{admit, iptables, open, release};

/// A backend that an ADD is about to use: what it needs is there.
pub enum Keeper {
    /// A conversation with the kernel's nf_tables.
    Nftables(Rc<Nft>),
    /// A program, which is there.
    Iptables,
    /// A conversation with firewalld, and with nf_tables where a policy needs that.
    Firewalld(RefCell<Firewalld>, Option<Rc<Nft>>),
}

/// The backend that this configuration means on this node. Whoever cannot ask for firewalld is on a node where it does not run.
fn chosen(conf: &Conf) -> Result<(Named, Option<Firewalld>)> {
    match conf.choice {
        Choice::This(Named::Firewalld) => match Firewalld::find()? {
            Some(firewalld) => Ok((Named::Firewalld, Some(firewalld))),
            None => Err(Error::internal("firewalld does not run").details("backend is \"firewalld\"")),
        },
        Choice::This(named) => Ok((named, None)),
        Choice::FirewalldOr(named) => Ok(match Firewalld::find() {
            Ok(Some(firewalld)) => (Named::Firewalld, Some(firewalld)),
            _ => (named, None),
        }),
    }
}

impl Keeper {
    /// Makes sure of the backend before anything is touched.
    ///
    /// # Errors
    /// The kernel cannot do it, or the program is missing.
    pub fn open(conf: &Conf, plan: &Plan) -> Result<Keeper> {
        let nft = || open().map(Rc::new);
        match chosen(conf)? {
            (_, Some(firewalld)) => {
                let nft = if plan.policy == Policy::Open { None } else { Some(nft()?) };
                Ok(Keeper::Firewalld(RefCell::new(firewalld), nft))
            }
            (Named::Iptables, None) => iptables::locate(plan).map(|()| Keeper::Iptables),
            (_, None) => nft().map(Keeper::Nftables),
        }
    }

    /// What it is about to claim.
    pub fn claims(&self, conf: &Conf, plan: &Plan) -> Vec<Allowed> {
        let by = |by| {
            let ports = if by == Backend::Nftables { plan.ports.clone() } else { Vec::new() };
            Allowed { addresses: plan.addresses.clone(), ports, by }
        };
        match self {
            Keeper::Nftables(_) => vec![by(Backend::Nftables)],
            Keeper::Iptables => vec![by(Backend::Iptables)],
            Keeper::Firewalld(_, nft) => {
                let policy = nft.iter().map(|_| by(Backend::Nftables));
                [by(Backend::Firewalld(conf.zone.clone()))].into_iter().chain(policy).collect()
            }
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
        let had = |by: &Backend, address: &IpAddr| {
            older.iter().any(|older| older.by == *by && older.addresses.contains(address))
        };
        match self {
            Keeper::Nftables(nft) => ensure_nftables(trail, nft, attachment, conf, plan),
            Keeper::Iptables => {
                let by = Backend::Iptables;
                let addresses = plan.addresses.iter().copied().filter(|it| !had(&by, it)).collect();
                let new = Allowed { addresses, ports: Vec::new(), by };
                // One family may be written when the other one fails.
                trail.undo(move || new.end(&owner));
                trail.step(|| iptables::ensure(plan, &conf.admin_chain))?;
                match (&plan.policy, ruleset::open_if_any()?) {
                    (Policy::Open, _) | (_, None) => Ok(()),
                    (_, Some(nft)) => {
                        trail.step(|| admit::tell_stages(&nft, &admit::families(&plan.addresses)))
                    }
                }
            }
            Keeper::Firewalld(firewalld, nft) => {
                if let Some(nft) = nft {
                    ensure_nftables(trail, nft, attachment, conf, plan)?;
                }
                for address in &plan.addresses {
                    let by = Backend::Firewalld(conf.zone.clone());
                    let is_claimed = had(&by, address);
                    let put = trail.step(|| firewalld.borrow_mut().add(&conf.zone, *address, is_claimed))?;
                    if !matches!(put, Put::Before) {
                        let new = Allowed { addresses: vec![*address], ports: Vec::new(), by };
                        let owner = owner.clone();
                        trail.undo(move || new.end(&owner));
                    }
                    if let Put::Unknown(error) = put {
                        return Err(error);
                    }
                }
                Ok(())
            }
        }
    }
}

fn ensure_nftables(
    trail: &mut Trail,
    nft: &Rc<Nft>,
    attachment: &Attachment,
    conf: &Conf,
    plan: &Plan,
) -> Result<()> {
    let owner = attachment.owner();
    let made = trail.step(|| admit::ensure(nft, attachment, plan, conf.mark_bit))?;
    let of_undo = nft.clone();
    trail.undo(move || release::remove(&of_undo, &owner, &made.addresses, &made.ports));
    trail.step(|| {
        let bit = admit::bit(nft, conf.mark_bit).doing(|| "look up the bit of the mark".into())?;
        gate::legacy::ensure(bit, &admit::families(&plan.addresses))
    })
}

/// Whether all is there that ADD made: by whom its record says, and else by whom this configuration means, or by the Go plugin.
///
/// # Errors
/// The first thing that is missing or was changed.
pub fn check(check: &Check, conf: &Conf, plan: &Plan, claimed: &[Allowed]) -> Result<()> {
    match claimed.first().map(|first| &first.by) {
        Some(Backend::Nftables) => check_nftables(check, conf, plan),
        Some(Backend::Iptables) => iptables::check(plan, &conf.admin_chain),
        Some(Backend::Firewalld(zone)) => match Firewalld::find()? {
            Some(firewalld) => check_firewalld(check, conf, plan, firewalld, zone),
            None => Err(Error::internal("firewalld does not run any more")),
        },
        None => match chosen(conf)? {
            (_, Some(firewalld)) => check_firewalld(check, conf, plan, firewalld, &conf.zone),
            (Named::Iptables, None) => iptables::check(plan, &conf.admin_chain),
            (_, None) => check_nftables(check, conf, plan).or_else(|missing| {
                let is_done =
                    |nft: Option<Nft>| iptables::is_done_by_others(nft.as_ref(), plan, &conf.admin_chain);
                if ruleset::open_if_any().is_ok_and(is_done) { Ok(()) } else { Err(missing) }
            }),
        },
    }
}

fn check_firewalld(
    check: &Check,
    conf: &Conf,
    plan: &Plan,
    mut firewalld: Firewalld,
    zone: &str,
) -> Result<()> {
    for address in &plan.addresses {
        if !firewalld.has(zone, *address)? {
            return Err(Error::internal(format!("failed to find the address {address} in {zone} zone")));
        }
    }
    if plan.policy == Policy::Open { Ok(()) } else { check_nftables(check, conf, plan) }
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
    let rehearse = || {
        let isolates = conf.policy == IngressPolicy::Isolated;
        admit::rehearse(&open()?, isolates, conf.mark_bit.unwrap_or(gate::MARK_BIT))
    };
    match chosen(conf)? {
        (_, Some(mut firewalld)) => {
            firewalld.knows(&conf.zone)?;
            if conf.policy == IngressPolicy::Open { Ok(()) } else { rehearse() }
        }
        (Named::Iptables, None) => iptables::usable(),
        (_, None) => rehearse(),
    }
}
