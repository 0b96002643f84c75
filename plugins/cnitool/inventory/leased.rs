//! Leases of host-local: those of the networks that are configured, and those in the usual place of others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cni::conflist::cache::Record;
use cni::conflist::list::List;
use cni::decode::decode;
use cni::name::NetworkName;
use cni::plain::plain;
use cni::value::Value;
use ipam::boot::Age;
use ipam::conf::{DATA_DIR, Raw};
use ipam::lease::Says;
use ipam::store::Machine;
use ipam::store::look::{Seen, look};
use serde_json::{Value as Json, json};

use crate::version::ipam_of;

/// A lease.
pub(super) struct Leased {
    pub(super) network: String,
    address: String,
    container: Option<String>,
    ifname: Option<String>,
    state: &'static str,
}

/// The leases of these networks, and of every folder in the usual place; or of one network.
pub(super) fn of(
    lists: &[&List],
    records: &[Record],
    network: Option<&str>,
    faults: &mut Vec<String>,
) -> Vec<Leased> {
    let mut folders: BTreeMap<PathBuf, String> = BTreeMap::new();
    for list in lists {
        let folder = |plugin: &cni::conflist::list::Plugin| {
            let is_ours = ipam_of(plugin).is_some_and(|ipam| ipam.as_str() == "host-local");
            let written = Value::parse(plugin.object().text().as_bytes()).ok().filter(|_| is_ours)?;
            Some(decode::<Raw>(&written).ok()?.folder(&list.name))
        };
        for folder in list.plugins.iter().filter_map(folder) {
            folders.insert(folder, list.name.to_string());
        }
    }
    for entry in fs::read_dir(DATA_DIR).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|sort| sort.is_dir()) && name.parse::<NetworkName>().is_ok() {
            folders.entry(entry.path()).or_insert(name);
        }
    }
    let machine = Machine::this();
    let mut leased = Vec::new();
    for (folder, name) in folders.iter().filter(|(_, name)| network.is_none_or(|network| *name == network)) {
        // One that nobody has had a lease in is not there.
        if !Path::new(folder).exists() {
            continue;
        }
        match look(&machine, folder) {
            Ok(found) => leased.extend(found.leases.iter().map(|seen| Leased::of(name, seen, records))),
            Err(error) => faults.push(error.msg()),
        }
    }
    leased
}

impl Leased {
    fn of(network: &str, seen: &Seen, records: &[Record]) -> Leased {
        let holder = match &seen.lease.says {
            Says::Held(holder) => Some(holder),
            Says::Foreign | Says::Torn => None,
        };
        let is_holders = |record: &&Record| {
            let who = &record.attachment;
            let ifname = |holder: &ipam::lease::Holder| {
                holder.ifname.as_ref().is_none_or(|ifname| ifname == who.ifname.as_str())
            };
            let container = |holder: &&ipam::lease::Holder| holder.container == who.container.as_str();
            who.network.as_str() == network && holder.filter(container).is_some_and(ifname)
        };
        let state = match (&seen.lease.says, seen.lease.age) {
            (Says::Torn, _) => "rubbish",
            (Says::Foreign, _) => "no lease",
            (Says::Held(_), Age::Earlier) => "of an earlier boot",
            (Says::Held(_), Age::Elsewhere) => "of another machine",
            (Says::Held(_), Age::Present | Age::Unknown) => {
                if records.iter().any(|record| is_holders(&record)) { "remembered" } else { "not remembered" }
            }
        };
        Leased {
            network: network.into(),
            address: seen.ip.to_string(),
            container: holder.map(|holder| holder.container.clone()),
            ifname: holder.and_then(|holder| holder.ifname.clone()),
            state,
        }
    }

    pub(super) fn row(&self) -> [String; 5] {
        let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".into(), plain);
        let [container, ifname] = [&self.container, &self.ifname].map(or_dash);
        [plain(&self.network), self.address.clone(), container, ifname, self.state.into()]
    }

    pub(super) fn json(&self) -> Json {
        json!({
            "network": self.network,
            "address": self.address,
            "containerID": self.container,
            "ifname": self.ifname,
            "state": self.state,
        })
    }
}
