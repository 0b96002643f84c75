//! What the Go plugin's spoof check leaves: two chains of each attachment, under exact names, and a rule of a shared chain
//! that leads to the first.
//!
//! ```text
//! table bridge nat {
//!     chain PREROUTING {                          shared: it and the table stay, as the Go plugin's own DEL leaves them
//!         type filter hook prerouting priority dstnat; policy accept;
//!         iifname "veth1a2b3c4d" jump cni-br-iface-<container>-<ifname> comment "macspoofchk-<container>-<ifname>"
//!     }
//!     chain cni-br-iface-<container>-<ifname> {
//!         jump cni-br-iface-<container>-<ifname>-mac
//!     }
//!     chain cni-br-iface-<container>-<ifname>-mac {
//!         ether saddr 02:00:5e:10:00:01 return
//!         drop
//!     }
//! }
//! ```

use cni::call::Attachment;
use cni::error::{OrFail, Result};
use linux::error::Result as Answer;
use linux::nft::batch::Batch;
use linux::nft::expression::Expression;
use linux::nft::object::{FoundRule, Table};
use linux::nft::{Family, Nft};

use crate::attachment::ruleset;

const TABLE: Table<'static> = Table { family: Family::Bridge, name: "nat" };
const SHARED: &str = "PREROUTING";
/// `NFT_CHAIN_MAXNAMELEN`, less the NUL: under a longer name nothing can be there.
const LONGEST: usize = 255;

/// The chains of an attachment: what leads to the second stands in the first.
fn chains(attachment: &Attachment) -> [String; 2] {
    let first = format!("cni-br-iface-{}-{}", attachment.container, attachment.ifname);
    let second = format!("{first}-mac");
    [first, second]
}

/// Removes what the Go plugin made for this attachment.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn remove(attachment: &Attachment) -> Result<()> {
    let Some(nft) = ruleset::open_if_any()? else { return Ok(()) };
    let chains = chains(attachment);
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        let found = found(&nft, &chains)?;
        for chain in &found {
            for rule in nft.rules(TABLE, SHARED)?.iter().filter(|rule| leads_to(rule, chain)) {
                batch.delete_rule(TABLE, SHARED, rule.handle);
            }
        }
        found.iter().for_each(|chain| batch.delete_chain(TABLE, chain));
        Ok(batch)
    });
    settled.doing(|| format!("failed to teardown spoof-check: delete the chains {}", chains.join(", ")))
}

/// Does the Go plugin check this attachment's frames?
///
/// # Errors
/// What the kernel says.
pub fn are_there(nft: &Nft, attachment: &Attachment) -> Result<bool> {
    let chains = chains(attachment);
    let found = found(nft, &chains).doing(|| format!("look up chain {}", chains.join(", ")))?;
    Ok(found.len() == chains.len())
}

fn found<'a>(nft: &Nft, chains: &'a [String]) -> Answer<Vec<&'a String>> {
    let mut found = Vec::new();
    for chain in chains.iter().filter(|name| name.len() <= LONGEST) {
        found.extend(nft.chain(TABLE, chain)?.map(|_| chain));
    }
    Ok(found)
}

fn leads_to(rule: &FoundRule, chain: &str) -> bool {
    let mut steps = rule.rule.expressions.iter();
    steps.any(|step| matches!(step, Expression::Decide(verdict) if verdict.chain() == Some(chain)))
}
