//! Everything that can be seen in a place, as flat lines, so that a difference is a list of lines.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::place::{self, Place};

/// One shell for all witnesses of a place; `@` starts each answer.
const LOOK: &str = "
echo @link; ip -j -d link
echo @vlan; bridge -j vlan
echo @addr; ip -j addr
echo @route4; ip -j -4 route show table all
echo @route6; ip -j -6 route show table all
echo @rule4; ip -j -4 rule
echo @rule6; ip -j -6 rule
echo @neigh; ip -j neigh show nud permanent
echo @qdisc; tc -j qdisc
echo @nft; nft -j list ruleset
echo @xt4; iptables-legacy-save
echo @xt6; ip6tables-legacy-save
echo @sysctl; grep -rs . /proc/sys/net
:";

/// What is allowed to stay behind because neighbours may be using it (docs/differences.md and each plugin's page).
#[derive(Debug, Clone, Copy)]
pub enum Shared<'a> {
    /// A bridge with its addresses, routes and sysctls.
    Bridge(&'a str),
    /// Any other link of that name, such as `lo`.
    Link(&'a str),
    /// Forwarding of packets, which is a property of the host.
    Forwarding,
    /// The empty folders in which records of attachments are kept; never a record.
    Records,
    /// The index of a store, which is a cache: whoever reads the store may write it anew.
    Index,
    /// The folders, locks, indexes and round-robin marks of a store; never a lease or a record.
    Store,
}

/// The state of a place, one line per fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Looks at a place; for the host, at its stores and processes too.
    pub fn of(place: &Place) -> Snapshot {
        let text = place.sh(LOOK);
        let sections = text.split("\n@").map(|part| part.trim_start_matches('\n').trim_start_matches('@'));
        let told = sections.map(|section| section.split_once('\n').unwrap_or((section, "")));
        let told = Snapshot::told(told);
        if place.is_host() { told.and(Snapshot::of_machine()) } else { told }
    }

    /// What witnesses have told: the kind of each answer, and the answer.
    pub fn told<'a>(answers: impl Iterator<Item = (&'a str, &'a str)>) -> Snapshot {
        let mut facts = BTreeMap::new();
        for (kind, body) in answers {
            match kind {
                "sysctl" => sysctls(body, &mut facts),
                "link" => links(body, &mut facts),
                "vlan" => vlans(body, &mut facts),
                "addr" => addresses(body, &mut facts),
                "nft" => rules(body, &mut facts),
                "xt4" | "xt6" => legacy_rules(kind, body, &mut facts),
                "mount" => facts.extend(body.lines().map(|line| (format!("mount/{line}"), String::new()))),
                kind => records(kind, body, &mut facts),
            }
        }
        Snapshot(facts)
    }

    /// Stores and processes.
    pub fn of_machine() -> Snapshot {
        let mut facts = BTreeMap::new();
        for folder in ["/run", "/var/lib"] {
            files(Path::new(folder), &mut facts);
        }
        processes(&mut facts);
        Snapshot(facts)
    }

    /// The facts of two, whose kinds or places differ.
    pub fn and(mut self, other: Snapshot) -> Snapshot {
        self.0.extend(other.0);
        self
    }

    /// The facts of a pod, told apart from those of the host.
    pub fn in_pod(self, name: &str) -> Snapshot {
        Snapshot(self.0.into_iter().map(|(key, is)| (format!("{name}: {key}"), is)).collect())
    }

    /// Those facts alone whose key is of interest.
    pub fn only(mut self, is_of_interest: impl Fn(&str) -> bool) -> Snapshot {
        self.0.retain(|key, _| is_of_interest(key));
        self
    }

    /// Fails with the list of differences, unless all of them are shared things.
    #[track_caller]
    pub fn same_as(&self, after: &Snapshot, shared: &[Shared<'_>]) {
        let found = self.differences(after, shared);
        assert!(found.is_empty(), "something changed:\n{}", found.join("\n"));
    }

    /// What differs, shared things left out.
    pub fn differences(&self, after: &Snapshot, shared: &[Shared<'_>]) -> Vec<String> {
        let counts = |key: &&String| !shared.iter().any(|shared| shared.covers(key));
        let gone = self
            .0
            .iter()
            .filter(|(key, _)| !after.0.contains_key(*key))
            .map(|(key, was)| (key, format!("- {key} {was}")));
        let new = after.0.iter().filter_map(|(key, is)| match self.0.get(key) {
            None => Some((key, format!("+ {key} {is}"))),
            Some(was) if was != is => Some((key, format!("! {key} {was} -> {is}"))),
            Some(_) => None,
        });
        gone.chain(new).filter(|(key, _)| counts(key)).map(|(_, line)| line).collect()
    }

    /// The facts whose key starts with this, such as `file/run/leases`.
    pub fn below(&self, start: &str) -> Vec<&str> {
        self.0.keys().filter(|key| key.starts_with(start)).map(String::as_str).collect()
    }
}

impl Shared<'_> {
    fn covers(&self, key: &str) -> bool {
        match self {
            Shared::Bridge(name) | Shared::Link(name) => key.split(['/', ' ']).any(|word| word == *name),
            // Forwarding brings the subnet-router anycast addresses and turns redirects off (RFC 1812, ip-sysctl).
            Shared::Forwarding => {
                let sysctl = ["/forwarding", "/ip_forward", "/conf/all/accept_redirects"];
                key.starts_with("sysctl/") && sysctl.iter().any(|end| key.ends_with(end))
            }
            Shared::Index => key.starts_with("file/run/jackfield/leases/"),
            Shared::Records => key.starts_with("folder/run/jackfield"),
            Shared::Store => {
                let name = key.rsplit('/').next().unwrap_or_default();
                let mark = name == "lock" || name.starts_with("last_reserved_ip.") || name.contains("index");
                key.starts_with("folder/") || (key.starts_with("file/") && mark)
            }
        }
    }
}

fn name(record: &Value, key: &str) -> String {
    record[key].as_str().unwrap_or_default().to_owned()
}

/// Links, without what changes by itself: timers, and the carrier, which the kernel reports late.
fn links(body: &str, facts: &mut BTreeMap<String, String>) {
    for mut link in place::parse(body) {
        link["operstate"] = Value::Null;
        if let Some(flags) = link["flags"].as_array_mut() {
            flags.retain(|flag| flag != "LOWER_UP" && flag != "NO-CARRIER");
        }
        let key = format!("link/{}", name(&link, "ifname"));
        for part in ["/linkinfo/info_data", "/linkinfo/info_slave_data"] {
            if let Some(data) = link.pointer_mut(part).and_then(Value::as_object_mut) {
                data.retain(|key, _| !key.ends_with("timer"));
            }
        }
        facts.insert(key, link.to_string());
    }
}

/// The VLANs of ports and bridges.
fn vlans(body: &str, facts: &mut BTreeMap<String, String>) {
    for member in place::parse(body) {
        facts.insert(format!("vlan/{}", name(&member, "ifname")), member["vlans"].to_string());
    }
}

fn addresses(body: &str, facts: &mut BTreeMap<String, String>) {
    for link in place::parse(body) {
        for address in link["addr_info"].as_array().into_iter().flatten().filter(|a| a.get("local").is_some())
        {
            let key =
                format!("addr/{}/{}/{}", name(&link, "ifname"), name(address, "local"), address["prefixlen"]);
            facts.insert(key, format!("scope {}", address["scope"]));
        }
    }
}

/// Routes, rules, neighbours and queueing disciplines: the record is the fact.
fn records(kind: &str, body: &str, facts: &mut BTreeMap<String, String>) {
    // The kernel's own IPv6 routes follow duplicate address detection, not our calls.
    let is_ipv6 = |r: &Value| kind == "route6" || name(r, "dst").contains(':');
    let own = |r: &Value| is_ipv6(r) && (r["table"] == "local" || name(r, "dst").starts_with("fe80:"));
    for mut record in place::parse(body).into_iter().filter(|record| !own(record)) {
        if let Some(record) = record.as_object_mut() {
            // Whether a route's link has a carrier is the link's fact, and comes late.
            record.remove("flags");
        }
        let link = name(&record, "dev");
        let count = facts.keys().filter(|key| key.starts_with(&format!("{kind}/{link}/{record}"))).count();
        facts.insert(format!("{kind}/{link}/{record}/{count}"), String::new());
    }
}

fn rules(body: &str, facts: &mut BTreeMap<String, String>) {
    let listing: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    for object in listing["nftables"].as_array().into_iter().flatten().filter(|o| o.get("metainfo").is_none())
    {
        let mut object = object.clone();
        without_counts(&mut object);
        for part in
            object.as_object_mut().into_iter().flat_map(|o| o.values_mut()).filter_map(Value::as_object_mut)
        {
            part.remove("handle");
        }
        facts.insert(format!("nft/{object}"), String::new());
    }
}

/// What a rule has counted is no part of it.
fn without_counts(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(counter) = members.get_mut("counter").filter(|counter| counter.is_object()) {
                *counter = Value::Null;
            }
            members.values_mut().for_each(without_counts);
        }
        Value::Array(all) => all.iter_mut().for_each(without_counts),
        _ => {}
    }
}

/// Tables, chains and rules of iptables-legacy, without the dates of the listing and the policies' counters.
fn legacy_rules(kind: &str, body: &str, facts: &mut BTreeMap<String, String>) {
    let mut table = "";
    for line in body.lines().filter(|line| line.starts_with(['*', ':', '-'])) {
        table = line.strip_prefix('*').unwrap_or(table);
        let line = line.split(" [").next().unwrap_or(line);
        let mut again = 0;
        while facts.insert(format!("{kind}/{table}/{line}/{again}"), String::new()).is_some() {
            again += 1;
        }
    }
}

fn sysctls(body: &str, facts: &mut BTreeMap<String, String>) {
    let lines = body.lines().filter_map(|line| line.strip_prefix("/proc/sys/"));
    for (key, value) in lines.filter_map(|line| line.split_once(':')) {
        let restless = ["nf_conntrack_count", "/route/flush"].iter().any(|end| key.ends_with(end));
        if !restless {
            facts.insert(format!("sysctl/{key}"), value.to_owned());
        }
    }
}

/// Files of the stores with their content; /run/lab is the lab's own.
fn files(folder: &Path, facts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if path == Path::new("/run/lab") {
            continue;
        }
        if is_folder {
            facts.insert(format!("folder{}", path.display()), String::new());
            files(&path, facts);
        } else if path.starts_with("/run/netns") {
            facts.insert(format!("netns/{}", entry.file_name().display()), String::new());
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            facts.insert(
                format!("file{}", path.display()),
                String::from_utf8_lossy(&content).escape_debug().to_string(),
            );
        }
    }
}

/// Processes that a program left behind; process 1 of the world and the test are none. Whatever has ended is not counted,
/// and who only sits through a wait of the kernel is waited for.
fn processes(facts: &mut BTreeMap<String, String>) {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = |pid: &u32| *pid != 1 && *pid != std::process::id();
    for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(others) {
        while sits_through_a_wait(pid) {
            std::thread::yield_now();
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned()
        };
        let has_ended = field("State:").starts_with(['Z', 'X']);
        if !status.is_empty() && !has_ended {
            facts.insert(format!("process/{}/{pid}", field("Name:")), String::new());
        }
    }
}

/// A child of a DEL that has been answered: left to process 1, and without a descriptor by which to say anything.
fn sits_through_a_wait(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let (state, parent) = (fields.next(), fields.next());
    let is_open = |number: u32| std::fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    matches!(state, Some("D" | "R" | "S")) && parent == Some("1") && !(0..3).any(is_open)
}
