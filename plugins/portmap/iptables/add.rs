//! ADD: each step is one deed with one undo.

use cni::attach::{Attached, Trail, attach};
use cni::call::{Add, Attachment};
use cni::error::{OrFail, Result};
use cni::result::Success;
use linux::nft::Nft;
use linux::rtnl::Rtnl;

use super::rules::Published;
use super::{end, find, rivals, write};
use crate::attachment::life::Life;
use crate::attachment::record::claim::Claim;
use crate::attachment::{published, record, ruleset};
use crate::portmap::add::write_down;
use crate::portmap::conf::{Conf, Words};
use crate::portmap::holder::{self, Line};
use crate::portmap::{PLUGIN, flows, loopback, release};

/// Publishes the ports, and passes on what the plugins before us have answered.
///
/// # Errors
/// Any; nothing of this call is left then.
pub fn add(add: &Add, conf: &Conf, words: &Words, prev: Success) -> Result<Attached> {
    let wanted = Published::of(conf, words, &add.attachment, &prev);
    if wanted.containers().is_empty() {
        return attach(|_| Ok(prev));
    }
    for container in wanted.containers() {
        find(container.family())?;
    }
    let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
    let link = match wanted.by_loopback() {
        Some(container) => loopback::link_towards(&host, container)?,
        None => None,
    };
    let (life, nft) = (Life::of(&host, add)?, ruleset::open_if_any()?);
    attach(|trail| {
        let publishing = Publishing { add, wanted, link, nft, host: &host };
        publishing.publish(trail, life, prev)
    })
}

struct Publishing<'a> {
    add: &'a Add,
    wanted: Published,
    link: Option<String>,
    nft: Option<Nft>,
    host: &'a Rtnl,
}

impl Publishing<'_> {
    fn publish(&self, trail: &mut Trail, life: Life, prev: Success) -> Result<Success> {
        let (claim, older) = self.write_down(trail, life)?;
        let before = holder::published(&older);
        let is_new = before != [&self.wanted];
        self.claim(trail, &before, is_new)?;
        {
            let _turn = trail.step(published::turn)?;
            trail.step(|| write(&self.add.attachment))?;
        }
        if let Some(link) = &self.link {
            // Only now does something keep packets for it from outside.
            trail.step(|| loopback::allow(link))?;
        }
        let had: Vec<_> = before.iter().flat_map(|before| before.ports(&self.add.attachment)).collect();
        let mut new = self.wanted.ports(&self.add.attachment);
        new.retain(|port| !had.contains(port));
        trail.step(|| flows::begin_anew(self.host, &new))?;
        trail.step(|| claim.finish(self.add))?;
        if is_new && !before.is_empty() {
            let now = [Line::Published(None), self.own()];
            trail.step(|| record::append(PLUGIN, &self.add.attachment.owner(), &now))?;
        }
        trail.step(|| self.leave_the_other_backend(&older))?;
        Ok(prev)
    }

    fn own(&self) -> Line {
        Line::Published(Some(self.wanted.clone()))
    }

    /// What is wanted is nobody's yet: it follows when it is known that nobody else has it.
    fn write_down(&self, trail: &mut Trail, life: Life) -> Result<(Claim, Vec<Line>)> {
        write_down(trail, self.add, life, |older| {
            let stays = |line: &&Line| match line {
                Line::Claims(claims) => !claims.is_empty(),
                Line::Heir(_) => true,
                Line::Published(_) => false,
            };
            let published = holder::published(older).into_iter().cloned();
            let published = published.map(|published| Line::Published(Some(published)));
            older.iter().filter(stays).cloned().chain(published).collect()
        })
    }

    /// From here on nobody else gets the ports. What was published before is kept from others, too, until its rules are gone.
    fn claim(&self, trail: &mut Trail, before: &[&Published], is_new: bool) -> Result<()> {
        let _alone = trail.step(published::alone)?;
        let ports = self.wanted.ports(&self.add.attachment);
        trail.step(|| rivals::before_iptables(self.host, self.nft.as_ref(), &self.add.attachment, &ports))?;
        let owner = self.add.attachment.owner();
        let published = before.iter().copied().cloned().map(|published| Line::Published(Some(published)));
        let before = Before { published: published.collect(), link: published::link(&owner) };
        let attachment = self.add.attachment.clone();
        trail.undo(move || before.comes_back(&attachment));
        if is_new {
            trail.step(|| record::append(PLUGIN, &owner, &[self.own()]))?;
        }
        let _turn = trail.step(published::turn)?;
        trail.step(|| published::enter(&owner, self.link.as_deref()))
    }

    /// What an earlier ADD of this attachment had by nftables.
    fn leave_the_other_backend(&self, older: &[Line]) -> Result<()> {
        let (Some(claims), Some(nft)) = (holder::claims(older), &self.nft) else { return Ok(()) };
        let owner = self.add.attachment.owner();
        release::remove(nft, &owner, &claims.keys(), &claims.addresses)?;
        Ok(())
    }
}

/// What an earlier ADD of the same attachment has made.
struct Before {
    published: Vec<Line>,
    link: Option<String>,
}

impl Before {
    /// Nothing is left of this ADD, but what the earlier one has published is there again.
    fn comes_back(self, attachment: &Attachment) -> Result<()> {
        let (owner, nft) = (attachment.owner(), ruleset::open_if_any()?);
        let now = [&[Line::Published(None)], self.published.as_slice()].concat();
        record::append(PLUGIN, &owner, &now)?;
        end(nft.as_ref(), attachment, &[])?;
        if self.published.is_empty() {
            return Ok(());
        }
        let _turn = published::turn()?;
        published::enter(&owner, self.link.as_deref())?;
        write(attachment)?;
        self.link.as_deref().map_or(Ok(()), loopback::allow)
    }
}
