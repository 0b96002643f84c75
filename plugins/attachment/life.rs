//! What an attachment's life hangs by, where a plugin comes behind others: a link of the host that goes with it, and where
//! there is none, its namespace. The host end need not be one of ours.

use std::fs;
use std::os::unix::fs::MetadataExt;

use cni::call::{Add, Owner};
use cni::error::{OrFail, Result};
use linux::error::Result as Answer;
use linux::rtnl::Rtnl;
use serde::{Deserialize, Serialize};

use crate::attachment::record::leftover;
use crate::attachment::{host_end, mark};

/// What an attachment's life hangs by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Life {
    links: Vec<String>,
    netns: String,
    /// Device and inode.
    namespace: Option<(u64, u64)>,
}

impl Life {
    /// What this call's attachment lives by. The result names the links of the host; the one that we would have made is
    /// known without.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(host: &Rtnl, add: &Add) -> Result<Life> {
        let ours = mark::host_end(&add.attachment)?.to_string();
        let interfaces = add.prev.iter().flat_map(|prev| &prev.interfaces);
        let named = interfaces.filter(|it| it.sandbox.is_none()).map(|it| it.name.clone());
        let mut links = Vec::new();
        for name in named.chain([ours]).filter(|name| (1..16).contains(&name.len())) {
            let link = host.link_by_name(&name).doing(|| format!("look up {name:?}"))?;
            // A bridge, say, is not the container's own.
            if link.is_some_and(|link| link.is_kind("veth")) && !links.contains(&name) {
                links.push(name);
            }
        }
        let netns = add.netns.display().to_string();
        Ok(Life { links, namespace: namespace(&netns), netns })
    }

    /// Whether it goes on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn goes_on(&self, host: &Rtnl) -> Answer<bool> {
        if self.links.is_empty() {
            return Ok(self.namespace.is_some() && self.namespace == namespace(&self.netns));
        }
        for link in &self.links {
            if host.link_by_name(link)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn namespace(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Does this owner have a host end, or will it in a moment? The second look finds the host end of an ADD that has ended
/// between the first one and the look at its lock. A plugin that comes behind others may have another one's.
///
/// # Errors
/// What the kernel says.
pub fn lives(host: &Rtnl, owner: &Owner) -> Result<bool> {
    let has_host_end = || Ok(host_end::find_of(host, owner)?.is_some());
    Ok(has_host_end()? || leftover::is_under_way(owner)? || has_host_end()? || goes_on(host, owner)?)
}

fn goes_on(host: &Rtnl, owner: &Owner) -> Result<bool> {
    for life in leftover::lives_of(owner)? {
        if life.goes_on(host).doing(|| "look up what a life hangs by".into())? {
            return Ok(true);
        }
    }
    Ok(false)
}
