//! CHECK: is everything there that ADD made?

use cni::call::{Attachment, Check};
use cni::error::{Error, OrFail, Result};
use ipnetwork::IpNetwork;
use linux::error::Result as Answer;
use linux::nft::Nft;
use linux::nft::datatype::Part;
use linux::nft::object::Target;
use linux::nft::verdict::Verdict;
use linux::rtnl::Rtnl;

use crate::attachment::record;
use crate::attachment::ruleset::{Repair, TABLE, is_of};
use crate::portmap::add::ways;
use crate::portmap::claim::{Around, map_of, mark_bit};
use crate::portmap::conf::{By, Conf, Raw, Words};
use crate::portmap::holder::{self, Holders, Line, Standing};
use crate::portmap::key::target;
use crate::portmap::layout::{self, CONDITIONS, MARK_BIT, Way};
use crate::portmap::plan::{Plan, plan};
use crate::portmap::{PLUGIN, iptables, loopback, open, theirs};

/// Compares the kernel with what the configuration wants.
///
/// # Errors
/// The first thing that is missing or was changed, and what the kernel says.
pub fn check(check: &Check, raw: Raw) -> Result<()> {
    let conf = Conf::meant(raw)?;
    let written = record::written::<Line>(PLUGIN, &check.attachment.owner())?;
    let is_ours = written.is_some();
    let is_by_iptables = written.is_some_and(|written| !holder::published(&written.lines).is_empty());
    match &conf.by {
        By::Iptables(words) => iptables::check(check, &conf, words, is_ours),
        By::Either if is_by_iptables => iptables::check(check, &conf, &Words::default(), is_ours),
        By::Either | By::Nftables(_) => by_nftables(check, &conf).or_else(|missing| {
            let by_others = || theirs::are_published(check, &conf).is_ok_and(|is_done| is_done);
            if !is_ours && by_others() { Ok(()) } else { Err(missing) }
        }),
    }
}

fn by_nftables(check: &Check, conf: &Conf) -> Result<()> {
    let plan = plan(conf, &check.attachment, &check.prev);
    if plan.is_empty() {
        return Ok(());
    }
    let nft = open()?;
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let ways = ways(&host, &plan)?;
    let looking = Looking { nft: &nft, host: &host, attachment: &check.attachment, plan: &plan, ways: &ways };
    let missing =
        looking.missing().doing(|| format!("failed to look up the ports of {}", check.attachment))?;
    if let Some(what) = missing {
        return Err(Error::internal(format!("the ports of {} are not published: {what}", check.attachment)));
    }
    let mut links = ways.iter().filter_map(|(_, way)| way.loopback_by.as_deref());
    links.try_for_each(|link| loopback::check(&check.attachment, link))
}

struct Looking<'a> {
    nft: &'a Nft,
    host: &'a Rtnl,
    attachment: &'a Attachment,
    plan: &'a Plan,
    ways: &'a [(IpNetwork, Way)],
}

type Missing = Answer<Option<String>>;

impl Looking<'_> {
    fn missing(&self) -> Missing {
        match self.nft.table(TABLE)? {
            None => return Ok(Some(format!("there is no table {TABLE}"))),
            Some(table) if table.dormant => return Ok(Some(format!("the table {TABLE} is dormant"))),
            Some(_) => {}
        }
        if let Some(what) = self.chains()? {
            return Ok(Some(what));
        }
        if let Some(what) = self.addresses()? {
            return Ok(Some(what));
        }
        self.ports()
    }

    fn chains(&self) -> Missing {
        let network = &self.attachment.network;
        let mut chains = layout::frame(mark_bit(self.nft)?.unwrap_or(MARK_BIT));
        chains.extend(self.ways.iter().map(|(_, way)| (way.chain(network), way.rules())));
        let mut jumps = Vec::new();
        for (space, condition) in &self.plan.spaces {
            if let Some((jump, chain, rules)) = layout::conditional(space, &condition.steps, network) {
                chains.push((chain, rules.into()));
                jumps.push(jump);
            }
        }
        for (chain, rules) in chains {
            let is_wrong = match chain.name.as_str() {
                CONDITIONS => {
                    let found = self.nft.rules(TABLE, CONDITIONS)?;
                    jumps.iter().any(|jump| !found.iter().any(|found| found.rule == *jump))
                }
                _ => Repair::needed(self.nft, TABLE, &chain, &rules)?.is_some(),
            };
            if is_wrong {
                return Ok(Some(format!("chain {} of table {TABLE} is gone or changed", chain.name)));
            }
        }
        Ok(None)
    }

    fn addresses(&self) -> Missing {
        for (address, way) in self.ways {
            let (address, map) = (address.ip(), map_of(address.ip()));
            let chain = way.chain(&self.attachment.network).name;
            let wanted = Target::Verdict(Verdict::Goto(chain));
            match self.nft.element(TABLE, map, &Part::Address(address).bytes())? {
                None => return Ok(Some(format!("{address} is not in map {map} of table {TABLE}"))),
                Some(found) if !is_of(&found, &self.attachment.owner()) || found.target != wanted => {
                    return Ok(Some(format!("{address} is another's in map {map} of table {TABLE}")));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn ports(&self) -> Missing {
        let keys: Vec<_> = self.plan.ports.iter().map(|(key, _)| key).collect();
        let around = Around::look(self.nft, &keys)?;
        let holders = Holders::new(self.host);
        for (key, to) in &self.plan.ports {
            let Some(found) = around.at(key) else {
                return Ok(Some(format!("{key} is not in map {} of table {TABLE}", key.map())));
            };
            match holders.standing(found, self.attachment)? {
                Standing::Same if found.target == target(*to) => {}
                Standing::Same => return Ok(Some(format!("{key} does not lead to {to}"))),
                // Another interface of the container has it.
                Standing::Sibling => {}
                Standing::Living | Standing::Gone => {
                    return Ok(Some(format!("{key} belongs to {}", holder::name(found))));
                }
            }
        }
        Ok(None)
    }
}
