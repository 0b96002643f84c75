//! What the Go plugins wrote for an attachment that ends with us: their masquerade rules, and those of published ports. They
//! are found by names that no other attachment has, and nothing else is touched.
//!
//! ```text
//! table ip nat {                           by iptables; ip6 for IPv6
//!     chain POSTROUTING {
//!         ip saddr 10.22.0.5 jump CNI-8b944e9033db3997b0caec66
//!     }
//!     chain CNI-8b944e9033db3997b0caec66 {       one per network and container
//!         ip daddr 10.22.0.0/16 accept
//!         ip daddr != 224.0.0.0/4 masquerade
//!     }
//! }
//! table inet cni_plugins_masquerade {      by their nftables backend
//!     chain masq_checks {
//!         ip saddr 10.22.0.5 ip daddr != 10.22.0.0/16 masquerade comment "d23676b4f2d9fe04-08ce0d72fbebba8b, …"
//!     }
//! }
//! ```
//!
//! - `names`: the names, derived as they derive them;
//! - `rules`: both tables above, over netlink;
//! - `ports`: the rules of published ports, over netlink;
//! - [`present`]: whether those of a container that lives are there;
//! - `accepted`: the rules that let packets pass, by iptables-nft and iptables-legacy;
//! - `legacy`: the same rules in the tables of iptables-legacy, of which the kernel speaks to that program alone.
//!
//! The chain's name says nothing of the interface: two attachments of one container to one network share it. So only
//! the jumps of the addresses that leave are deleted, and the chain goes with the last of them. (The Go plugins empty it
//! with the first.)
//!
//! Their base chains and the table `cni_plugins_masquerade` stay, as they do after their own DEL.

mod accepted;
pub(in crate::attachment) mod legacy;
mod names;
mod ports;
pub mod present;
mod rules;

use std::net::IpAddr;

use cni::call::Attachment;
use cni::error::{Faults, OrFail, Result};
use linux::nft::batch::Batch;
use linux::nft::object::Table;
use linux::nft::{Family, Nft};

pub(super) use self::names::chain;
pub use self::names::{FORWARD, comment};

/// The table of addresses.
const NAT: &str = "nat";

/// Removes what iptables-nft and `nft` wrote, in one batch. Where there is nothing, this costs three questions.
///
/// `addresses` are those of the attachment; if there are none, nobody knows them any more, and all rules of the container in
/// this network go.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove(nft: &Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Result<()> {
    rules::remove(nft, attachment, addresses)
        .doing(|| format!("failed to remove the masquerade that another plugin wrote for {attachment}"))
}

/// Removes what iptables-legacy wrote. Where its tables are not in use, this costs a look into /proc.
///
/// # Errors
/// What the program says, after both families were tried. One that is not installed has written nothing.
pub fn remove_legacy(attachment: &Attachment, addresses: &[IpAddr]) -> Result<()> {
    let (chain, comment) = (chain(attachment), comment(attachment));
    let left = rules::Left { from: names::POSTROUTING, chain: &chain, addresses, comment: Some(&comment) };
    legacy::remove(NAT, left).doing(|| format!("failed to remove the iptables-legacy rules of {attachment}"))
}

/// Removes the rules that let packets of these addresses pass, whoever has them written by iptables-nft. `is_anothers` is asked
/// about those that have some.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove_accepted(nft: &Nft, addresses: &[IpAddr], is_anothers: &dyn Fn(IpAddr) -> bool) -> Result<()> {
    accepted::remove(nft, addresses, is_anothers)
        .doing(|| "failed to remove the iptables rules that let packets pass".into())
}

/// The same by iptables-legacy. Where its tables are not in use, this costs a look into /proc.
///
/// # Errors
/// What the program says, after both families were tried.
pub fn remove_legacy_accepted(addresses: &[IpAddr], is_anothers: &dyn Fn(IpAddr) -> bool) -> Result<()> {
    accepted::remove_legacy(addresses, is_anothers)
        .doing(|| "failed to remove the iptables-legacy rules that let packets pass".into())
}

/// The rules by which iptables lets packets of an address pass, as it lists them.
pub fn accepting(address: IpAddr) -> [String; 2] {
    accepted::lines(address)
}

/// Removes the rules of published ports that iptables-nft and `nft` wrote, in one batch. Where there is nothing, this costs
/// six questions.
///
/// The rules of the nftables backend say whose container they are, and not which of its attachments; where `addresses` are
/// known, those that lead to others stay, and else those that lead to what another attachment of the container has leased.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove_ports(nft: &Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Result<()> {
    ports::remove(nft, attachment, addresses)
        .doing(|| format!("failed to remove the published ports that another plugin wrote for {attachment}"))
}

/// The same for the rules by iptables alone, whoever has told it.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove_ports_by_iptables(nft: &Nft, attachment: &Attachment) -> Result<()> {
    ports::remove_chains(nft, attachment)
        .doing(|| format!("failed to remove the published ports of {attachment}"))
}

/// The chain of iptables that has an attachment's published ports.
pub fn ports_chain(attachment: &Attachment) -> String {
    let [(_, start), _] = names::PORTS;
    names::ports_chain(start, attachment)
}

/// Removes a chain of iptables, and what leads there from another one of its table, in both of the tables that may be meant.
/// It is one for IPv4.
///
/// # Errors
/// What the kernel or the program says, after both were tried.
pub fn remove_chain(nft: Option<&Nft>, table: &str, from: &str, chain: &str) -> Result<()> {
    let by_nft = |nft: &Nft| {
        nft.settle(|| {
            let mut batch = Batch::new();
            let table = Table { family: Family::Ipv4, name: table };
            let left = rules::Left { from, chain, addresses: &[], comment: None };
            rules::leave_chain(nft, &mut batch, table, left)?;
            Ok(batch)
        })
    };
    let (doing, mut faults) =
        (|| format!("failed to remove chain {chain} of table {table}"), Faults::default());
    faults.note(nft.map_or(Ok(()), by_nft).doing(doing));
    let left = rules::Left { from, chain, addresses: &[], comment: None };
    faults.note(legacy::remove(table, left).doing(doing));
    faults.verdict()
}

/// Removes the rules of published ports that iptables-legacy wrote. Where its tables are not in use, this costs a look into
/// /proc.
///
/// # Errors
/// What the program says, after both families were tried.
pub fn remove_legacy_ports(attachment: &Attachment) -> Result<()> {
    let mut faults = Faults::default();
    for (from, start) in names::PORTS {
        let (chain, comment) = (names::ports_chain(start, attachment), names::comment(attachment));
        let left = rules::Left { from, chain: &chain, addresses: &[], comment: Some(&comment) };
        faults.note(legacy::remove(NAT, left));
    }
    let doing = || format!("failed to remove the iptables-legacy rules of published ports of {attachment}");
    faults.verdict().doing(doing)
}
