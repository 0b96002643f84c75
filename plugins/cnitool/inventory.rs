//! `cnitool list`: what there is of networks on this node. Nothing is changed.
//!
//! - [`attached`]: what is remembered of attachments, and what the kernel says of them
//! - [`leased`]: who has which address

mod attached;
mod leased;

use std::path::{Path, PathBuf};

use cni::conflist::cache::{Cache, Remembered};
use cni::conflist::folder;
use cni::conflist::list::List;
use cni::error::{Error, Result};
use cni::name::NetworkName;
use cni::plain::{plain, table};
use serde_json::{Value as Json, json};

use self::attached::Attached;
use self::leased::Leased;
use super::progress::Progress;

/// What was found.
pub(super) struct Inventory {
    folder: PathBuf,
    networks: Vec<Network>,
    attached: Vec<Attached>,
    leased: Vec<Leased>,
    /// What could not be looked at.
    pub(super) faults: Vec<String>,
}

/// A file that holds a network.
struct Network {
    file: PathBuf,
    list: List,
    /// The file of that name which runtimes find before this one.
    behind: Option<PathBuf>,
}

/// Looks at everything, or at what belongs to one network.
///
/// # Errors
/// A folder or a cache that cannot be read; a network of which there is nothing at all.
pub(super) fn look(folder: &Path, network: Option<&str>) -> Result<Inventory> {
    let _progress = Progress::of(|| Some("looking".into()));
    let mut faults = Vec::new();
    let mut networks = networks(folder, &mut faults)?;
    let is_meant = |name: &NetworkName| network.is_none_or(|network| name.as_str() == network);
    networks.retain(|network| is_meant(&network.list.name));
    let Remembered { mut records, unreadable } = Cache::default().all()?;
    let unreadable = unreadable.iter().filter(|torn| network.is_none_or(|network| torn.may_be_of(network)));
    faults.extend(unreadable.map(|torn| torn.why.msg()));
    let lists: Vec<&List> = networks.iter().map(|network| &network.list).collect();
    let mut leased = leased::of(&lists, &records, network, &mut faults);
    records.retain(|record| is_meant(&record.attachment.network));
    let attached: Vec<Attached> = records.iter().map(Attached::of).collect();
    leased.retain(|lease| network.is_none_or(|network| lease.network == network));
    if let Some(network) = network.filter(|_| networks.is_empty() && attached.is_empty() && leased.is_empty())
    {
        let folder = folder.display();
        let text =
            format!("there is neither a network {network:?} in {folder}, nor an attachment or a lease of it");
        return Err(faults.iter().fold(Error::config(text), |error, fault| error.details(fault)));
    }
    Ok(Inventory { folder: folder.to_owned(), networks, attached, leased, faults })
}

/// The networks of a folder, in the order in which runtimes look.
fn networks(folder: &Path, faults: &mut Vec<String>) -> Result<Vec<Network>> {
    let files = folder::files(folder)?;
    let is_list = |file: &&PathBuf| file.extension().is_some_and(|end| end == "conflist");
    let (lists, singles): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(is_list);
    let mut networks: Vec<Network> = Vec::new();
    for file in lists.into_iter().chain(singles) {
        match folder::read(file) {
            Ok(list) => {
                let first = networks.iter().find(|network| network.list.name == list.name);
                let behind = first.map(|first| first.file.clone());
                networks.push(Network { file: file.clone(), list, behind });
            }
            Err(error) => faults.push(format!("{}; see cnitool validate", error.msg())),
        }
    }
    Ok(networks)
}

impl Network {
    fn plugins(&self) -> Vec<&str> {
        self.list.plugins.iter().map(|plugin| plugin.program.as_str()).collect()
    }
}

impl Inventory {
    pub(super) fn text(&self) -> String {
        let networks = self.networks.iter().map(|network| {
            let behind = network.behind.as_ref();
            let behind = behind.map(|first| format!(" (never found, for {} has it too)", first.display()));
            let file = format!("{}{}", network.file.display(), behind.unwrap_or_default());
            let (list, plugins) = (&network.list, network.plugins().join(", "));
            [list.name.as_str(), list.version.as_str(), &plugins, &file].map(plain)
        });
        let networks = table(["NETWORK", "VERSION", "PLUGINS", "FILE"], networks);
        let head = ["NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "NAMESPACE", "STATE"];
        let attached = table(head, self.attached.iter().map(Attached::row));
        let head = ["NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "STATE"];
        let leased = table(head, self.leased.iter().map(Leased::row));
        let folder = self.folder.display();
        let parts = [
            (self.networks.is_empty(), networks, format!("no network in {folder}\n")),
            (self.attached.is_empty(), attached, "no attachment is remembered\n".into()),
            (self.leased.is_empty(), leased, "no lease of host-local\n".into()),
        ];
        parts
            .map(|(is_empty, text, nothing)| if is_empty { plain(nothing.trim_end()) + "\n" } else { text })
            .join("\n")
    }

    pub(super) fn json(&self) -> Json {
        let network = |network: &Network| {
            json!({
                "name": network.list.name.as_str(),
                "cniVersion": network.list.version.as_str(),
                "plugins": network.plugins(),
                "file": network.file.to_string_lossy(),
                "behind": network.behind.as_ref().map(|first| first.to_string_lossy()),
            })
        };
        json!({
            "networks": self.networks.iter().map(network).collect::<Vec<_>>(),
            "attachments": self.attached.iter().map(Attached::json).collect::<Vec<_>>(),
            "leases": self.leased.iter().map(Leased::json).collect::<Vec<_>>(),
            "faults": self.faults,
        })
    }
}
