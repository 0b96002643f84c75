//! The same rule in the tables of iptables-legacy, where they are in use: it is asked each time, and told once.

use cni::error::{OrFail, Result};
use linux::nft::Family;

use super::{BEFORE_US, COMMENT, bits};
use crate::attachment::inherited::legacy::Legacy;
use crate::attachment::iptables::Iptables;

const TABLE: &str = "filter";

/// Puts the rule where packets of these families could be dropped, if it is not there. One with another mark goes. This is done
/// behind our own rules: whoever takes it away looks for those.
///
/// # Errors
/// What the program says.
pub fn ensure(mark_bit: u8, families: &[Family]) -> Result<()> {
    of(families)
        .try_for_each(|iptables| iptables.settle(|iptables| Ok(orders(&forward(iptables)?, mark_bit))))
        .doing(|| "failed to open iptables-legacy's FORWARD".into())
}

/// Whether marked packets of these families could be dropped.
///
/// # Errors
/// What the program says.
pub fn is_missing(mark_bit: u8, families: &[Family]) -> Result<bool> {
    for iptables in of(families) {
        if !orders(&forward(&iptables)?, mark_bit).is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the rule is there.
///
/// # Errors
/// What the program says.
pub fn is_there() -> Result<bool> {
    for iptables in of(&BOTH) {
        if !deletions(&forward(&iptables)?).is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the rule away, unless it is needed. That is asked when nobody else can put it there: whoever needs it by then finds it,
/// and whoever comes to need it puts it there again. True if it was there.
///
/// # Errors
/// What the program says, or whoever tells whether it is needed.
pub fn remove(is_needed: impl Fn() -> Result<bool>) -> Result<bool> {
    let mut found = false;
    let mut removal = |iptables: &Iptables| {
        if is_needed()? {
            return Ok(String::new());
        }
        let deletions = deletions(&forward(iptables)?);
        found |= !deletions.is_empty();
        Ok(deletions)
    };
    of(&BOTH)
        .try_for_each(|iptables| iptables.settle(&mut removal))
        .doing(|| "failed to leave iptables-legacy's FORWARD".into())?;
    Ok(found)
}

const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// The programs of these families whose table is in use.
fn of(families: &[Family]) -> impl Iterator<Item = Iptables> {
    Legacy::families()
        .filter(|(family, _)| families.contains(family))
        .filter_map(|(_, legacy)| legacy.of(TABLE))
}

fn forward(iptables: &Iptables) -> Result<String> {
    iptables.list(TABLE, Some("FORWARD"))
}

fn deletions(listing: &str) -> String {
    let ours: String = listing.lines().filter(|line| is_ours(line)).map(deletion).collect();
    if ours.is_empty() { ours } else { format!("*{TABLE}\n{ours}COMMIT\n") }
}

/// What iptables-restore has to be told; nothing if all is as it should be.
fn orders(listing: &str, mark_bit: u8) -> String {
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
    match (deleted + &added).as_str() {
        "" => String::new(),
        orders => format!("*{TABLE}\n{orders}COMMIT\n"),
    }
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
        assert_eq!(orders("-P FORWARD ACCEPT\n", 12), "", "nothing is dropped");
        let first = format!("*filter\n-I FORWARD 1 {OURS}\nCOMMIT\n");
        assert_eq!(orders("-P FORWARD DROP\n", 12), first);
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j ACCEPT\n";
        assert_eq!(orders(docker, 12), first.replace("FORWARD 1", "FORWARD 2"));
        let there = format!("-P FORWARD DROP\n-A FORWARD {OURS}\n");
        assert_eq!(orders(&there, 12), "");
        let other = orders(&there, 11);
        assert!(other.contains(&format!("-D FORWARD {OURS}\n")) && other.contains("0x800/0x800"), "{other}");
    }
}
