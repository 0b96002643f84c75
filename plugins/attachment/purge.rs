//! What no host end owns any more goes: for a node on which other plugins have removed the links of ours, and could not know
//! of the rest.
//!
//! It knows no layout: in our own tables everything that belongs to somebody says so, and every record is named after its
//! owner. So what an earlier or later version has written is purged too.

use std::collections::BTreeMap;

use cni::call::Owner;
use cni::error::{Error, Faults, OrFail, Result};
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::datatype;
use linux::nft::object::{Element, Set, Table, Target};
use linux::nft::{Family, Nft};
use linux::rtnl::Rtnl;

use crate::attachment::mark::Mark;
use crate::attachment::record::leftover::{self, Leftover, Outcome};
use crate::attachment::record::{Record, again};
use crate::attachment::{allowed, gate, life, localnet, masquerade, published, ruleset};

/// Our tables. Both go when nothing in them belongs to anybody.
const TABLES: [Table<'static>; 2] =
    [Table { family: Family::Inet, name: "jackfield" }, Table { family: Family::Bridge, name: "jackfield" }];

/// How the chains, sets and maps are called that we make there: one of these words, the number of a layout, and what follows
/// `_`. Whatever else is in a table is somebody's who had a reason.
const OURS: [&str; 6] = ["masquerade", "spoof", "ports", "hairpin", "localnet", "firewall"];

/// Removes elements, chains, tables and records that no living host end owns, and tells of each. With `rehearse` it only
/// tells of what it would remove.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn purge(rehearse: bool, mut tell: impl FnMut(&str)) -> Result<()> {
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let mut faults = Faults::default();
    let has_records = !rehearse && !leftover::all()?.is_empty();
    let _turn = has_records.then(|| faults.note(again::turn_to_end()));
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        for table in TABLES {
            let doing = || format!("purge table {table}");
            let swept = faults.note(sweep(&nft, &host, table, rehearse).doing(doing));
            let Swept { gone, unknown } = swept.unwrap_or_default();
            for fault in unknown {
                faults.note(Err::<(), _>(fault).doing(doing));
            }
            gone.iter().for_each(|line| tell(line));
            if table == ruleset::TABLE {
                let goes = gone.iter().any(|line| *line == format!("table {table}"));
                let ended = faults.note(forbid_loopback(&nft, goes, rehearse)).unwrap_or_default();
                ended.iter().for_each(|line| tell(line));
                let left = faults.note(leave_the_stages(&nft, &gone, rehearse)).unwrap_or_default();
                left.iter().for_each(|line| tell(line));
                let shut = faults.note(shut_the_gate(&nft, goes, rehearse)).unwrap_or_default();
                shut.iter().for_each(|line| tell(line));
            }
        }
    }
    // As long as rules may be there that a record knows of, it stays.
    let records = if faults.is_empty() { faults.note(leftover::all()) } else { None };
    for record in records.into_iter().flatten() {
        faults.note(forget(&host, &record, rehearse)).flatten().iter().for_each(|line| tell(line));
    }
    faults.verdict()
}

/// Where our table goes, or is gone, nothing drops what comes for 127.0.0.0/8 by the links on which we have set that it may.
fn forbid_loopback(nft: &Nft, goes: bool, rehearse: bool) -> Result<Vec<String>> {
    if !goes && nft.table(ruleset::TABLE).doing(|| "look up our table".into())?.is_some() {
        return Ok(Vec::new());
    }
    let needed = published::links()?;
    let mut links = localnet::ours()?;
    links.retain(|link| !needed.contains(link));
    if !rehearse {
        links
            .iter()
            .try_for_each(|link| localnet::forbid(link))
            .doing(|| "set route_localnet back".into())?;
    }
    Ok(links.iter().map(|link| format!("route_localnet of {link}")).collect())
}

/// Where our table goes, or is gone, nothing sets the mark that the administrator's FORWARD accepts.
fn shut_the_gate(nft: &Nft, goes: bool, rehearse: bool) -> Result<Vec<String>> {
    if !goes && nft.table(ruleset::TABLE).doing(|| "look up our table".into())?.is_some() {
        return Ok(Vec::new());
    }
    let mut having = Vec::new();
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        having = gate::remove(nft, &mut batch)?;
        Ok(if rehearse { Batch::new() } else { batch })
    });
    settled.doing(|| "take our rule out of FORWARD".into())?;
    let mut lines: Vec<String> =
        having.iter().map(|table| format!("rule of chain FORWARD of table {table}")).collect();
    let is_back = || Ok(nft.table(ruleset::TABLE).doing(|| "look up our table".into())?.is_some());
    let has_legacy = if rehearse { gate::legacy::is_there()? } else { gate::legacy::remove(is_back)? };
    if has_legacy {
        lines.push("rule of chain FORWARD of iptables-legacy".into());
    }
    Ok(lines)
}

/// A bridge is in the Go plugin's list as long as the chain of a policy of ours is there.
fn leave_the_stages(nft: &Nft, gone: &[String], rehearse: bool) -> Result<Vec<String>> {
    let goes = |chain: &str| {
        let lines =
            [format!("table {}", ruleset::TABLE), format!("chain {chain} of table {}", ruleset::TABLE)];
        gone.iter().any(|line| lines.contains(line))
    };
    let mut lines = Vec::new();
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        let there: Vec<String> =
            nft.chains(ruleset::TABLE)?.into_iter().map(|found| found.chain.name).collect();
        let is_gone = |chain: &str| goes(chain) || !there.iter().any(|name| name == chain);
        lines = gate::stages::leave(nft, &mut batch, is_gone)?;
        Ok(if rehearse { Batch::new() } else { batch })
    });
    settled.doing(|| "take bridges out of the Go plugin's list".into())?;
    Ok(lines)
}

fn forget(host: &Rtnl, leftover: &Leftover, rehearse: bool) -> Result<Option<String>> {
    let is_stale = || life::lives(host, &leftover.owner).map(|lives| !lives);
    let record = leftover.record()?;
    let whose = record.as_ref().map(|record| format!(" of {}", record.attachment)).unwrap_or_default();
    let line = format!("record {}{whose}", leftover.file.display());
    if rehearse {
        return Ok(is_stale()?.then_some(line));
    }
    let outcome = leftover.remove_if(|| {
        let goes = is_stale()?;
        if goes && let Some(record) = &record {
            masquerade::end_stale(record)?;
            unpublish(record)?;
            allowed::end_stale(&leftover.owner)?;
        }
        Ok(goes)
    });
    Ok((outcome? == Outcome::Removed).then_some(line))
}

/// Ends the ports that are published by iptables.
fn unpublish(record: &Record) -> Result<()> {
    let owner = record.attachment.owner();
    if !published::may_have(&owner)? {
        return Ok(());
    }
    let _turn = published::turn()?;
    let nft = ruleset::open_if_any()?;
    published::remove_rules(nft.as_ref(), &record.attachment)?;
    // As long as our own table is there, it may be needed for a port in it.
    let table = |nft: &Nft| nft.table(ruleset::TABLE);
    let is_there = nft.as_ref().map_or(Ok(None), table).doing(|| "look up our table".into())?.is_some();
    published::leave(nft.as_ref(), &owner, |_| is_there)
}

/// What a table holds.
struct Contents {
    /// What belongs to nobody, by its set.
    stale: Vec<(Set, Vec<Element>)>,
    /// What belongs to a chain, which its comment names, and goes with it.
    attached: Vec<(Set, Element)>,
    /// How many other elements stay.
    staying: usize,
    /// Owners who could not be looked up; what belongs to them stays.
    unknown: Vec<Error>,
}

/// What became of a table.
#[derive(Default)]
struct Swept {
    /// A line for each thing that is gone.
    gone: Vec<String>,
    /// Why other things are not.
    unknown: Vec<Error>,
}

/// Removes what is stale in a table, the chains that nothing leads to any more, and the table itself if nothing is left in it
/// for anybody.
fn sweep(nft: &Nft, host: &Rtnl, table: Table<'_>, rehearse: bool) -> Answer<Swept> {
    let mut swept = Swept::default();
    nft.settle(|| {
        swept = Swept::default();
        let mut batch = Batch::new();
        if nft.table(table)?.is_none() {
            return Ok(batch);
        }
        let mut contents = Contents::of(nft, host, table)?;
        swept.unknown.append(&mut contents.unknown);
        let lines = &mut swept.gone;
        for (set, elements) in &contents.stale {
            batch.delete_elements(table, &set.name, elements.iter().map(|element| element.key.as_slice()));
            lines.extend(elements.iter().map(|element| told(table, set, element)));
        }
        let unused = unused(nft, table, &contents.stale)?;
        for (set, element) in &contents.attached {
            if element.comment.as_ref().is_some_and(|chain| unused.contains(chain)) {
                batch.delete_elements(table, &set.name, [element.key.as_slice()]);
            }
        }
        for chain in unused {
            batch.delete_chain(table, &chain);
            lines.push(format!("chain {chain} of table {table}"));
        }
        if contents.staying == 0 && is_ours_alone(nft, table)? {
            batch = Batch::new();
            batch.delete_table(table);
            lines.push(format!("table {table}"));
        }
        Ok(if rehearse { Batch::new() } else { batch })
    })?;
    Ok(swept)
}

impl Contents {
    fn of(nft: &Nft, host: &Rtnl, table: Table<'_>) -> Answer<Contents> {
        let (stale, attached, unknown) = (Vec::new(), Vec::new(), Vec::new());
        let mut contents = Contents { stale, attached, staying: 0, unknown };
        let mut known: BTreeMap<Owner, bool> = BTreeMap::new();
        for set in nft.sets(table)? {
            let mut stale = Vec::new();
            for element in nft.elements(table, &set.name)? {
                if element.comment.as_deref().is_some_and(is_ours) {
                    contents.attached.push((set.clone(), element));
                    continue;
                }
                let mut stays = |mark: Mark| {
                    *known.entry(mark.owner().clone()).or_insert_with(|| {
                        let doing = || format!("look up whether {} lives", whose(&element));
                        life::lives(host, mark.owner()).doing(doing).unwrap_or_else(|fault| {
                            contents.unknown.push(fault);
                            true
                        })
                    })
                };
                match ruleset::mark(&element).is_some_and(|mark| !stays(mark)) {
                    true => stale.push(element),
                    false => contents.staying += 1,
                }
            }
            contents.stale.push((set, stale));
        }
        Ok(contents)
    }
}

/// `element 10.9.0.2 of map masquerade1_ip of table inet jackfield: …`, with what its comment says for people.
fn told(table: Table<'_>, set: &Set, element: &Element) -> String {
    let key = datatype::text(&set.key, &element.key);
    format!("element {key} of {} in table {table} ({})", set.name, whose(element))
}

/// What an element's comment says for people.
fn whose(element: &Element) -> &str {
    let comment = element.comment.as_deref().unwrap_or_default();
    comment.split_once(' ').map(|(_, whose)| whose).unwrap_or_default()
}

/// Our chains that the kernel does not call, and that nothing but these elements leads to. The kernel counts a chain's rules
/// and what leads to it in one number.
fn unused(nft: &Nft, table: Table<'_>, stale: &[(Set, Vec<Element>)]) -> Answer<Vec<String>> {
    let mut leading: BTreeMap<&str, usize> = BTreeMap::new();
    for element in stale.iter().flat_map(|(_, elements)| elements) {
        if let Target::Verdict(verdict) = &element.target
            && let Some(chain) = verdict.chain()
        {
            *leading.entry(chain).or_default() += 1;
        }
    }
    let mut unused = Vec::new();
    for found in nft.chains(table)? {
        let name = found.chain.name;
        if found.chain.base.is_none() && is_ours(&name) {
            let used =
                nft.rules(table, &name)?.len() + leading.get(name.as_str()).copied().unwrap_or_default();
            if found.uses as usize == used {
                unused.push(name);
            }
        }
    }
    Ok(unused)
}

/// Is everything in the table called as we call our things?
fn is_ours_alone(nft: &Nft, table: Table<'_>) -> Answer<bool> {
    let chains = nft.chains(table)?.into_iter().map(|found| found.chain.name);
    let names: Vec<String> = chains.chain(nft.sets(table)?.into_iter().map(|set| set.name)).collect();
    let parts = nft.table(table)?.map_or(0, |table| table.parts as usize);
    Ok(parts == names.len() && names.iter().all(|name| is_ours(name)))
}

fn is_ours(name: &str) -> bool {
    let layout = OURS.iter().find_map(|word| name.strip_prefix(word)).unwrap_or_default();
    let number = layout.split('_').next().unwrap_or_default();
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn our_names_are_told_by_word_and_layout() {
        for name in [
            "masquerade1",
            "masquerade1_ip6",
            "masquerade12_d08f1b82e613e301",
            "spoof1_guarded",
            "ports1_any_ip",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["", "masquerade", "masquerade_ip", "masquerade1x", "mine", "spoofing1"] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
