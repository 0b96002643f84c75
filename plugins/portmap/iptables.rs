//! The iptables back end: for an administrator who asks for it, in its words or by its name, and for a kernel without
//! nf_tables.
//!
//! - [`words`]: what he says in the words of iptables;
//! - [`rules`]: what an attachment publishes, and the rules for it, decided before anything is asked;
//! - [`rivals`]: who else has ports, by either back end;
//! - `add`: the steps of ADD.

mod add;
pub mod rivals;
pub mod rules;
pub mod words;

use std::collections::BTreeSet;

use cni::call::{Attachment, Check};
use cni::error::{Error, Faults, OrFail, Result};
use cni::log;
use linux::nft::{Family, Nft};
use linux::rtnl::Rtnl;

pub use self::add::add;

use crate::attachment::iptables::{Iptables, Rule};
use crate::attachment::{inherited, published, record};
use crate::portmap::conf::{Conf, Words};
use crate::portmap::holder::{self, Line};
use crate::portmap::iptables::rules::{DNAT, Published, Rules, Whose, guard};
use crate::portmap::{PLUGIN, flows, loopback};

const TABLE: &str = "nat";

/// The programs of a family.
fn find(family: Family) -> Result<Iptables> {
    let because = "portmap by iptables needs that program; by \"nftables\" it needs none";
    Iptables::find(family != Family::Ipv6, because)
}

/// Would the program do it? It is asked what ADD would ask it first.
///
/// # Errors
/// The program is missing, or what it says.
pub fn usable() -> Result<()> {
    find(Family::Ipv4)?.list(TABLE, Some("OUTPUT")).map(drop)
}

/// Writes the rules of an attachment as they should be, in one change of each family. What its chain had before gives way;
/// but other interfaces of the same container in the same network have the same chain.
///
/// # Errors
/// A program is missing, or what it says. What was written for another family is there then.
fn write(attachment: &Attachment) -> Result<()> {
    let _step = log::step("rules");
    let sharing = sharing(attachment)?;
    let of_family = |family| {
        let containers = sharing.iter().flat_map(move |(whose, published)| {
            let containers = published.containers().iter().filter(move |it| it.family() == family);
            containers.map(move |container| (whose, published, container))
        });
        containers.collect::<Vec<_>>()
    };
    for family in [Family::Ipv4, Family::Ipv6] {
        let containers = of_family(family);
        if !containers.is_empty() {
            let doing = || format!("failed to publish ports of {attachment} by iptables");
            write_family(&find(family)?, &inherited::ports_chain(attachment), &containers).doing(doing)?;
        }
    }
    Ok(())
}

fn write_family(iptables: &Iptables, chain: &str, containers: &[Whose<'_>]) -> Result<()> {
    let keeps_loopback =
        containers.iter().any(|(_, published, container)| published.by_loopback() == Some(container.address));
    iptables.settle(|iptables| {
        let listing = Listing(iptables.list(TABLE, None)?);
        let mut orders = format!("*{TABLE}\n");
        for (_, published, _) in containers {
            if let Some(foreign) = published.foreign_chain().filter(|foreign| !listing.has_chain(foreign)) {
                return Err(Error::internal(format!("table nat has no chain {foreign}"))
                    .details("externalSetMarkChain is a chain of somebody else"));
            }
            listing.frame(published, &mut orders);
        }
        // A chain that is declared is emptied, or made.
        orders.push_str(&format!(":{chain} - [0:0]\n"));
        listing.entries_of(chain).for_each(|entry| orders.push_str(&format!("-D {entry}\n")));
        let Rules { own, entries } = Rules::of(containers);
        own.iter().chain(&entries).for_each(|rule| orders.push_str(&rule.order()));
        orders.push_str("COMMIT\n");
        if keeps_loopback {
            orders.push_str(&guard_orders(iptables)?);
        }
        Ok(orders)
    })
}

fn guard_orders(iptables: &Iptables) -> Result<String> {
    let [table, _, chain] = published::GUARD;
    let (drops, jump) = guard();
    let mut orders = format!("*{table}\n:{chain} - [0:0]\n");
    drops.iter().for_each(|rule| orders.push_str(&rule.order()));
    Listing(iptables.list(table, None)?).complete(&[jump], &mut orders);
    orders.push_str("COMMIT\n");
    Ok(orders)
}

/// The rules of a table as somebody has just seen them.
struct Listing(String);

impl Listing {
    fn has_chain(&self, chain: &str) -> bool {
        self.0.lines().any(|line| line.strip_prefix("-N ") == Some(chain))
    }

    /// What all containers share, as far as it is not there.
    fn frame(&self, published: &Published, orders: &mut String) {
        let (chains, rules) = published.frame();
        let is_new = |chain: &&&str| !self.has_chain(chain) && !orders.contains(&format!("-N {chain}\n"));
        let new: String = chains.iter().filter(is_new).map(|chain| format!("-N {chain}\n")).collect();
        orders.push_str(&new);
        self.complete(&rules, orders);
    }

    /// The rules that are not there.
    fn complete(&self, rules: &[Rule], orders: &mut String) {
        for rule in rules.iter().filter(|rule| !self.has(rule)) {
            let order = rule.order();
            if !orders.contains(&order) {
                orders.push_str(&order);
            }
        }
    }

    /// Is there a line with all that the rule says? In which order and by which names of options a version of iptables lists
    /// it does not matter. Its own answer to `-C` is not asked for: of IPv6, the legacy one mistakes rules for one another.
    fn has(&self, rule: &Rule) -> bool {
        let start = format!("-A {} ", rule.chain);
        let says = |line: &str| {
            let values = rule.words.iter().filter(|word| !word.starts_with('-'));
            values.into_iter().all(|value| line.contains(value.as_str()))
        };
        self.0.lines().filter_map(|line| line.strip_prefix(&start)).any(says)
    }

    fn count(&self, chain: &str) -> usize {
        let start = format!("-A {chain} ");
        self.0.lines().filter(|line| line.starts_with(&start)).count()
    }

    /// What leads to a container's chain, in the listing's own words.
    fn entries_of(&self, chain: &str) -> impl Iterator<Item = &str> {
        let entries = self.0.lines().filter_map(|line| line.strip_prefix("-A "));
        let target = format!(" -j {chain}");
        entries.filter(move |entry| entry.starts_with(&format!("{DNAT} ")) && entry.ends_with(&target))
    }
}

/// What is published by the attachments that have this one's chain, itself among them.
fn sharing(attachment: &Attachment) -> Result<Vec<(Attachment, Published)>> {
    let chain = inherited::ports_chain(attachment);
    let mut sharing = Vec::new();
    for owner in published::all()? {
        let Some(written) = record::written::<Line>(PLUGIN, &owner)? else { continue };
        if let Some(published) = holder::published(&written.lines).last()
            && inherited::ports_chain(&written.attachment) == chain
        {
            let published = Published::clone(published);
            sharing.push((written.attachment, published));
        }
    }
    Ok(sharing)
}

/// Takes back what an attachment publishes by iptables.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn end(nft: Option<&Nft>, attachment: &Attachment, published: &[&Published]) -> Result<()> {
    let _step = log::step("rules");
    let mut faults = Faults::default();
    let owner = attachment.owner();
    let _turn = published::turn()?;
    let needed = nft.map_or(Ok(BTreeSet::new()), loopback::needed)?;
    faults.note(published::remove_rules(nft, attachment));
    if faults.is_empty() {
        faults.note(published::leave(nft, &owner, |link| needed.contains(link)));
        if faults.note(sharing(attachment)).is_some_and(|sharing| !sharing.is_empty()) {
            faults.note(write(attachment));
        }
    }
    let gone = published.iter().flat_map(|published| published.ports(attachment));
    faults.note(flows::end(&gone.collect::<Vec<_>>()));
    faults.verdict()
}

/// Whether every rule is there that ADD made: ours, or the Go plugin's.
///
/// # Errors
/// The first that is missing, and what the program says.
pub fn check(check: &Check, conf: &Conf, words: &Words, is_ours: bool) -> Result<()> {
    compare(check, &Published::of(conf, words, &check.attachment, &check.prev), is_ours, find)
}

/// Whether the Go plugin has published this, by whichever of the two programs.
///
/// # Errors
/// The first rule that is missing, and what the kernel or the program says.
pub fn check_others(nft: Option<&Nft>, check: &Check, conf: &Conf) -> Result<()> {
    let chain = inherited::ports_chain(&check.attachment);
    let program = |family| {
        let found = inherited::present::program(nft, family, TABLE, &chain)?;
        found.ok_or_else(|| Error::internal(format!("table {TABLE} has no chain {chain}")))
    };
    compare(check, &Published::of(conf, &Words::default(), &check.attachment, &check.prev), false, program)
}

/// Whether every rule is there, by the program of each family. The Go plugin does not keep packets for 127.0.0.0/8 out, so from its
/// containers that is not asked.
fn compare(
    check: &Check,
    published: &Published,
    is_ours: bool,
    program: impl Fn(Family) -> Result<Iptables>,
) -> Result<()> {
    let attachment = &check.attachment;
    let missing = |table: &str, rule: &Rule| {
        let order = rule.order();
        let text = format!("the ports of {attachment} are not published: table {table} has no rule");
        Err(Error::internal(format!("{text} {:?}", order.trim())))
    };
    for container in published.containers() {
        let iptables = program(container.family())?;
        let (_, mut rules) = published.frame();
        let Rules { own, entries } = Rules::of(&[(attachment, published, container)]);
        let (chain, count) = (inherited::ports_chain(attachment), own.len());
        rules.extend([own, entries].concat());
        if let Some(rule) = iptables.missing(TABLE, &rules)? {
            return missing(TABLE, rule);
        }
        // Where rules are mistaken for one another, their number tells.
        let found = Listing(iptables.list(TABLE, Some(&chain))?).count(&chain);
        if found < count {
            let text = format!("chain {chain} of table {TABLE} has {found} rules of {count}");
            return Err(Error::internal(format!("the ports of {attachment} are not published: {text}")));
        }
        if is_ours && published.by_loopback() == Some(container.address) {
            let [table, ..] = published::GUARD;
            let (drops, jump) = guard();
            if let Some(rule) = iptables.missing(table, &[&drops[..], &[jump]].concat())? {
                return missing(table, rule);
            }
        }
    }
    let Some(container) = published.by_loopback() else { return Ok(()) };
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    match loopback::link_towards(&host, container)? {
        Some(link) => loopback::check(attachment, &link),
        None => Ok(()),
    }
}
