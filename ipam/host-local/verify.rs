//! What does not fit together in a folder of leases. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::boot::Age;
use crate::lease::{Holder, Says};
use crate::store::look::Look;

/// What was found about an address, or about a file that is none.
pub(super) struct Finding {
    /// The file's name.
    pub(super) file: String,
    /// What is wrong with it, and what follows.
    pub(super) text: String,
}

/// Everything that does not fit. `living` are containers and interfaces, where somebody knows which live.
pub(super) fn findings(look: &Look, living: Option<&[(String, String)]>) -> Vec<Finding> {
    let living =
        living.map(|living| living.iter().map(|(id, ifname)| (id.as_str(), ifname.as_str())).collect());
    let mut found = Vec::new();
    let mut finds = |ip: IpAddr, text: String| found.push(Finding { file: ip.to_string(), text });
    let mut held: BTreeMap<&Holder, Vec<IpAddr>> = BTreeMap::new();
    for seen in &look.leases {
        match (&seen.lease.says, seen.lease.age) {
            (Says::Torn, _) => {
                finds(seen.ip, "rubbish of a crash: the address is free, and GC removes the file".into())
            }
            (Says::Foreign, _) => {
                finds(seen.ip, "no lease: the address is taken until somebody removes the file".into())
            }
            (Says::Held(holder), Age::Earlier) => {
                finds(seen.ip, format!("leased to {} in an earlier boot: the address is free", name(holder)));
            }
            (Says::Held(holder), _) => held.entry(holder).or_default().push(seen.ip),
        }
    }
    // Only round robin marks a set. Where it does not rule, what most holders have tells how many there are.
    let most = usual(held.values().map(Vec::len)).max(look.sets);
    for (holder, ips) in &held {
        if ips.len() > most {
            let all = ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
            let text = format!(
                "{} has {} addresses, more than this network gives at once: {all}",
                name(holder),
                ips.len()
            );
            ips.iter().take(1).for_each(|ip| finds(*ip, text.clone()));
        }
        if living.as_ref().is_some_and(|living| is_dead(holder, living)) {
            ips.iter().for_each(|ip| finds(*ip, format!("leased to {}, which does not live", name(holder))));
        }
    }
    look.misled
        .iter()
        .for_each(|ip| finds(*ip, "the index in /run says something else than the file".into()));
    for stranger in &look.strangers {
        let text = match stranger.parse::<IpAddr>() {
            Ok(ip) => format!("no lease, as this is not how {} is spelled", ip.to_canonical()),
            Err(_) => "no file of host-local".into(),
        };
        found.push(Finding { file: stranger.clone(), text });
    }
    found
}

/// The number that lies in the middle, the smaller one of two.
fn usual(numbers: impl Iterator<Item = usize>) -> usize {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// A lease without an interface lives as long as any of its container.
fn is_dead(holder: &Holder, living: &BTreeSet<(&str, &str)>) -> bool {
    let container = holder.container.as_str();
    match holder.ifname.as_deref() {
        Some(ifname) => !living.contains(&(container, ifname)),
        None => !living.iter().any(|(id, _)| *id == container),
    }
}

fn name(holder: &Holder) -> String {
    match &holder.ifname {
        Some(ifname) => format!("{ifname} of container {}", holder.container),
        None => format!("container {}", holder.container),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::lease::Lease;
    use crate::store::look::Seen;

    fn look(files: &[(&str, &str, Age)]) -> Look {
        let seen = |(ip, text, age): &(&str, &str, Age)| Seen {
            ip: ip.parse().unwrap(),
            lease: Lease { says: Says::read(text.as_bytes()), age: *age },
            written: SystemTime::UNIX_EPOCH,
        };
        Look { leases: files.iter().map(seen).collect(), sets: 1, ..Look::default() }
    }

    fn found(look: &Look, living: Option<&[(String, String)]>) -> Vec<String> {
        findings(look, living)
            .into_iter()
            .map(|finding| format!("{} {}", finding.file, finding.text))
            .collect()
    }

    #[test]
    fn a_folder_in_order_has_no_findings() {
        let order = look(&[("10.0.0.2", "a\r\neth0", Age::Present), ("10.0.0.3", "b", Age::Unknown)]);
        assert!(found(&order, None).is_empty());
        let living = [("a", "eth0"), ("b", "net1")].map(|(id, ifname)| (id.to_string(), ifname.to_string()));
        assert!(found(&order, Some(&living)).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut mess = look(&[
            ("10.0.0.2", "a\r\neth0", Age::Present),
            ("10.0.0.3", "a\r\neth0", Age::Present),
            ("10.0.0.8", "b\r\neth0", Age::Present),
            ("10.0.0.4", "", Age::Unknown),
            ("10.0.0.5", "the printer", Age::Unknown),
            ("10.0.0.6", "c\r\neth0", Age::Earlier),
        ]);
        mess.strangers = vec!["010.0.0.7".into(), "FD00::2".into(), "notes".into()];
        mess.misled = vec!["10.0.0.9".parse().unwrap()];
        let all = found(&mess, None);
        for (line, words) in all.iter().zip([
            "10.0.0.4 rubbish",
            "10.0.0.5 no lease",
            "10.0.0.6 leased to eth0 of container c in an earlier boot",
            "10.0.0.2 eth0 of container a has 2 addresses, more than this network gives at once: 10.0.0.2 10.0.0.3",
            "10.0.0.9 the index",
            "010.0.0.7 no file",
            "FD00::2 no lease, as this is not how fd00::2 is spelled",
            "notes no file",
        ]) {
            assert!(line.starts_with(words), "{line}");
        }
        assert_eq!(all.len(), 8);
        mess.sets = 2;
        assert_eq!(found(&mess, None).len(), 7);
        assert_eq!(
            found(&mess, Some(&[])).iter().filter(|line| line.ends_with("which does not live")).count(),
            3
        );
    }

    #[test]
    fn two_addresses_for_each_are_two_sets_whether_the_folder_says_so_or_not() {
        let mut both = look(&[
            ("10.0.0.2", "a\r\neth0", Age::Present),
            ("10.0.0.3", "b\r\neth0", Age::Present),
            ("fd00::2", "a\r\neth0", Age::Present),
            ("fd00::3", "b\r\neth0", Age::Present),
        ]);
        both.sets = 0;
        assert!(found(&both, None).is_empty());
        let third = look(&[("10.0.0.4", "a\r\neth0", Age::Present)]).leases;
        both.leases.extend(third);
        assert!(found(&both, None)[0].starts_with("10.0.0.2 eth0 of container a has 3 addresses"));
    }
}
