//! The same rule in the tables of iptables-legacy, where they are in use: it is asked each time, and told once.

use cni::error::{OrFail, Result};
use linux::nft::Family;

use super::{BEFORE_US, COMMENT, bits};
use crate::attachment::inherited::legacy::{Legacy, say};

const FORWARD: [&str; 5] = ["-w", "-t", "filter", "-S", "FORWARD"];

/// Puts the rule where packets of these families could be dropped, if it is not there. One with another mark goes.
///
/// # Errors
/// What the program says.
pub fn ensure(mark_bit: u8, families: &[Family]) -> Result<()> {
    each(families, |legacy| {
        let (lists, restores) = match legacy.tools() {
            Some(tools) => tools,
            None => return Ok(()),
        };
        let orders = orders(&say(&lists, &FORWARD, "")?, mark_bit);
        match orders {
            Some(orders) => say(&restores, &["-w", "--noflush"], &orders).map(drop),
            None => Ok(()),
        }
    })
    .doing(|| "failed to open iptables-legacy's FORWARD".into())
}

/// Whether marked packets of these families could be dropped.
///
/// # Errors
/// What the program says.
pub fn is_missing(mark_bit: u8, families: &[Family]) -> Result<bool> {
    let mut is_missing = false;
    each(families, |legacy| {
        if let Some((lists, _)) = legacy.tools() {
            is_missing |= orders(&say(&lists, &FORWARD, "")?, mark_bit).is_some();
        }
        Ok(())
    })?;
    Ok(is_missing)
}

/// Takes the rule away; with `rehearse` it only looks. True if it was there.
///
/// # Errors
/// What the program says.
pub fn remove(rehearse: bool) -> Result<bool> {
    let mut found = false;
    each(&[Family::Ipv4, Family::Ipv6], |legacy| {
        let Some((lists, restores)) = legacy.tools() else { return Ok(()) };
        let listing = say(&lists, &FORWARD, "")?;
        let ours: String = listing.lines().filter(|line| is_ours(line)).map(deletion).collect();
        found |= !ours.is_empty();
        if ours.is_empty() || rehearse {
            return Ok(());
        }
        say(&restores, &["-w", "--noflush"], &format!("*filter\n{ours}COMMIT\n")).map(drop)
    })
    .doing(|| "failed to leave iptables-legacy's FORWARD".into())?;
    Ok(found)
}

fn each(families: &[Family], mut work: impl FnMut(&Legacy) -> Result<()>) -> Result<()> {
    let wanted = Legacy::families().filter(|(family, _)| families.contains(family));
    wanted.filter(|(_, legacy)| legacy.is_in_use("filter")).try_for_each(|(_, legacy)| work(legacy))
}

/// What iptables-restore has to be told; `None` if all is as it should be.
fn orders(listing: &str, mark_bit: u8) -> Option<String> {
    let mark = bits(mark_bit);
    let rule =
        format!("FORWARD -m mark --mark {mark:#x}/{mark:#x} -m comment --comment \"{COMMENT}\" -j ACCEPT");
    let (mut is_right, mut can_drop, mut place, mut number) = (false, false, 1, 0);
    let mut deleted = String::new();
    for line in listing.lines() {
        can_drop |= line == "-P FORWARD DROP";
        if !line.starts_with("-A ") {
            continue;
        }
        if !is_ours(line) {
            (can_drop, number) = (true, number + 1);
            if BEFORE_US.iter().any(|chain| line.ends_with(&format!(" -j {chain}"))) {
                place = number + 1;
            }
        } else if line.strip_prefix("-A ") == Some(&rule) && !is_right {
            (is_right, number) = (true, number + 1);
        } else {
            deleted.push_str(&deletion(line));
        }
    }
    let added = match can_drop && !is_right {
        true => rule.replacen("FORWARD", &format!("-I FORWARD {place}"), 1) + "\n",
        false => String::new(),
    };
    (!deleted.is_empty() || !added.is_empty()).then(|| format!("*filter\n{deleted}{added}COMMIT\n"))
}

fn is_ours(line: &str) -> bool {
    line.contains(&format!(" --comment \"{COMMENT}\" "))
}

fn deletion(line: &str) -> String {
    format!("{}\n", line.replacen("-A ", "-D ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "-m mark --mark 0x1000/0x1000 -m comment --comment \"jackfield firewall\" -j ACCEPT";

    #[test]
    fn the_rule_is_told_where_it_is_missing_and_stands_behind_the_administrators() {
        assert_eq!(orders("-P FORWARD ACCEPT\n", 12), None, "nothing is dropped");
        let first = format!("*filter\n-I FORWARD 1 {OURS}\nCOMMIT\n");
        assert_eq!(orders("-P FORWARD DROP\n", 12).unwrap(), first);
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j ACCEPT\n";
        assert_eq!(orders(docker, 12).unwrap(), first.replace("FORWARD 1", "FORWARD 2"));
        let there = format!("-P FORWARD DROP\n-A FORWARD {OURS}\n");
        assert_eq!(orders(&there, 12), None);
        let other = orders(&there, 11).unwrap();
        assert!(other.contains(&format!("-D FORWARD {OURS}\n")) && other.contains("0x800/0x800"), "{other}");
    }
}
