//! The rules of published ports that iptables-nft and `nft` wrote, over netlink.
//!
//! ```text
//! table ip nat {                           by iptables; ip6 for IPv6
//!     chain CNI-HOSTPORT-DNAT {
//!         tcp dport { 8080 } jump CNI-DN-2bbe0c48b91a7d1b8a675
//!     }
//!     chain CNI-DN-2bbe0c48b91a7d1b8a675 {       one per network and container
//!         tcp dport 8080 dnat to 10.22.0.5:80
//!     }
//! }
//! table ip cni_hostport {                  by their nftables backend; ip6 for IPv6
//!     chain hostports {
//!         tcp dport 8080 dnat to 10.22.0.5:80 comment "<container ID>"
//!     }
//! }
//! ```
//!
//! What all containers share stays, as it does after their own DEL.

use std::net::IpAddr;

use cni::call::Attachment;
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::datatype::Part;
use linux::nft::expression::Expression;
use linux::nft::object::{Rule, Table};
use linux::nft::{Family, Nft};

use super::names;
use super::rules::{IPTABLES, Left, leave_chain};
use crate::attachment::leased;

const NFTABLES: [Table<'static>; 2] = [
    Table { family: Family::Ipv4, name: names::PORTS_TABLE },
    Table { family: Family::Ipv6, name: names::PORTS_TABLE },
];

pub(super) fn remove(nft: &Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Answer<()> {
    nft.settle(|| {
        let mut batch = Batch::new();
        leave_chains(nft, &mut batch, attachment)?;
        for table in NFTABLES {
            if nft.table(table)?.is_some() {
                leave_rules(nft, &mut batch, table, attachment, addresses)?;
            }
        }
        Ok(batch)
    })
}

/// The same for the rules by iptables alone.
pub(super) fn remove_chains(nft: &Nft, attachment: &Attachment) -> Answer<()> {
    nft.settle(|| {
        let mut batch = Batch::new();
        leave_chains(nft, &mut batch, attachment)?;
        Ok(batch)
    })
}

fn leave_chains(nft: &Nft, batch: &mut Batch, attachment: &Attachment) -> Answer<()> {
    for table in IPTABLES {
        for (from, start) in names::PORTS {
            let (chain, comment) = (names::ports_chain(start, attachment), names::comment(attachment));
            let left = Left { from, chain: &chain, addresses: &[], comment: Some(&comment) };
            leave_chain(nft, batch, table, left)?;
        }
    }
    Ok(())
}

fn leave_rules(
    nft: &Nft,
    batch: &mut Batch,
    table: Table<'_>,
    attachment: &Attachment,
    addresses: &[IpAddr],
) -> Answer<()> {
    for chain in names::PUBLISHED.into_iter().chain([names::MASQUERADING]) {
        for found in nft.rules(table, chain)? {
            let is_the_containers = found.rule.comment.as_deref() == Some(attachment.container.as_str());
            let is_own = || match addresses {
                [] => !leads_to_another(&found.rule, attachment),
                addresses => leads_to(&found.rule, addresses),
            };
            if is_the_containers && is_own() {
                batch.delete_rule(table, chain, found.handle);
            }
        }
    }
    Ok(())
}

/// Does the rule name one of these addresses?
fn leads_to(rule: &Rule, addresses: &[IpAddr]) -> bool {
    let bytes: Vec<Vec<u8>> = addresses.iter().map(|address| Part::Address(*address).bytes()).collect();
    named(rule).any(|value| bytes.iter().any(|bytes| bytes == value))
}

/// Does it name one that the container has by another of its attachments?
fn leads_to_another(rule: &Rule, attachment: &Attachment) -> bool {
    let addresses = named(rule).filter_map(|value| {
        let v4 = || <[u8; 4]>::try_from(value.as_slice()).map(IpAddr::from);
        v4().or_else(|_| <[u8; 16]>::try_from(value.as_slice()).map(IpAddr::from)).ok()
    });
    addresses.into_iter().any(|address| leased::to_another_of_the_container(attachment, address))
}

/// The values that a rule names: what it translates to, and what it asks for. Among them are its addresses.
fn named(rule: &Rule) -> impl Iterator<Item = &Vec<u8>> {
    rule.expressions.iter().filter_map(|step| match step {
        Expression::Load { value, .. } => Some(value),
        Expression::Compare { with, .. } => Some(with),
        _ => None,
    })
}
