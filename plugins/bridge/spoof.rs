//! Spoof check (`macspoofchk`): a container sends from its own MAC address, or not at all.
//!
//! ```text
//! table bridge jackfield {
//!     set spoof1_guarded {
//!         type ifname
//!         elements = { "veth7f3a…" comment "<owner>-<network> …" }
//!     }
//!     set spoof1_allowed {
//!         type ifname . ether_addr
//!         elements = { "veth7f3a…" . 02:00:5e:10:00:01 comment "<owner>-<network> …" }
//!     }
//!     chain spoof1 {
//!         type filter hook prerouting priority dstnat - 10; policy accept;
//!         iifname @spoof1_guarded iifname . ether saddr != @spoof1_allowed counter drop
//!     }
//! }
//! ```
//!
//! The one rule never changes; a container is an element of either set, so it costs the same beside ten others and beside
//! ten thousand. The name of a host end is derived, so its elements are there before the link is, and they stay until the
//! link is down: no frame comes too early or too late to be looked at.
//!
//! A bridge takes frames for itself, such as LLDP's, past all rules: it is told to learn nothing from them, for else one of
//! them would draw a neighbour's frames to the wrong port ([`linux::rtnl::Request::set_no_linklocal_learn`]).
//!
//! An element belongs to whom its comment names. The table goes with the last container, unless somebody else has put
//! something into it. Each function acts on the state of the ruleset that it has seen, and looks again if somebody was
//! faster ([`Nft::settle`]).
//!
//! - `layout`: names, rule and elements, decided before anything is asked;
//! - [`theirs`]: what the Go plugin's check has left.

mod layout;
pub mod theirs;

use std::cell::RefCell;
use std::rc::Rc;

use cni::attach::Trail;
use cni::call::{Attachment, Owner};
use cni::error::{Code, Error, Faults, OrFail, Result};
use cni::log;
use cni::name::IfName;
use linux::error::Result as Answer;
use linux::mac::Mac;
use linux::nft::Nft;
use linux::nft::batch::Batch;
use linux::nft::look::Glance;
use linux::nft::object::Element;
use linux::rtnl::Rtnl;

use self::layout::{ALLOWED, CHAIN, GUARDED, TABLE};
use crate::attachment::mark::{self, Mark};
use crate::attachment::record::claim::Claim;
use crate::attachment::record::{Noted, Record};
use crate::attachment::ruleset::{Repair, TABLE_COMMENT, is_of};
use crate::attachment::waits::Waits;
use crate::attachment::{host_end, life, ruleset};

/// Opens a conversation about the check, before anything is touched.
///
/// # Errors
/// The kernel has no nf_tables, or does not let us.
pub fn open() -> Result<Rc<Nft>> {
    ruleset::open("macspoofchk").map(Rc::new)
}

/// From now on the attachment's host end passes frames from this address alone. Rules that somebody has flushed or changed
/// are restored, and what an earlier attachment of the same names has left is replaced. The address is in the record before
/// any rule knows it.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn ensure(
    trail: &mut Trail,
    claim: &mut Claim,
    nft: &Rc<Nft>,
    attachment: &Attachment,
    mac: Mac,
) -> Result<()> {
    trail.step(|| claim.note_spoof_check(mac))?;
    trail.step(|| guard(nft, attachment, mac).doing(|| "failed to setup spoof-check".into()))?;
    let (nft, attachment) = (nft.clone(), attachment.clone());
    trail.undo(move || remove(&nft, &attachment, Some(mac)).map(drop));
    Ok(())
}

fn guard(nft: &Nft, attachment: &Attachment, mac: Mac) -> Result<()> {
    let _step = log::step("rules");
    let host_end = mark::host_end(attachment)?;
    let (guarded, allowed) =
        (layout::guarded(attachment, &host_end), layout::allowed(attachment, &host_end, mac));
    let doing = || format!("let {host_end} pass frames from {mac} alone");
    ruleset::wake(nft, TABLE).doing(doing)?;
    let settled = nft.settle(|| {
        let mut batch = Batch::new();
        lay_the_frame(nft, &mut batch)?;
        if let Some(earlier) = nft.element(TABLE, GUARDED, &guarded.key)? {
            delete(&mut batch, &[earlier], &pairs_of(nft, &attachment.owner())?);
        }
        batch.add_elements(TABLE, GUARDED, std::slice::from_ref(&guarded));
        batch.add_elements(TABLE, ALLOWED, std::slice::from_ref(&allowed));
        Ok(batch)
    });
    settled.doing(doing)
}

/// Makes the rules again that somebody has flushed. True if the attachment is checked.
///
/// # Errors
/// What the kernel says; a crash has torn the record.
pub fn restore(record: &Record) -> Result<bool> {
    match &record.spoof_check {
        Noted::Nothing => Ok(false),
        Noted::This(mac) => guard(&*open()?, &record.attachment, *mac).map(|()| true),
        Noted::Torn => {
            Err(Error::internal(format!("the record of {} does not say which MAC it has", record.attachment)))
        }
    }
}

/// Ends the check of an attachment. Its record says for which address it was; where that is lost, the elements themselves
/// are asked whose they are.
///
/// Its host end is down afterwards: whoever sends in the last moments is not heard at all.
///
/// # Errors
/// What the kernel says.
pub fn end(
    host: &Rtnl,
    attachment: &Attachment,
    record: Option<&Record>,
    wanted: bool,
    waits: &mut Waits,
) -> Result<()> {
    let _step = log::step("rules");
    let mac = match record.map(|record| &record.spoof_check) {
        Some(Noted::Nothing) => return Ok(()),
        None if !wanted => return Ok(()),
        Some(Noted::This(mac)) => Some(*mac),
        Some(Noted::Torn) | None => None,
    };
    let Some(nft) = ruleset::open_if_any()? else { return Ok(()) };
    if let Some(link) = host_end::find(host, attachment)? {
        match host.set_down(link.index) {
            Err(error) if error.is_absent() => {}
            down => down.doing(|| format!("set {} down", link.name))?,
        }
    }
    let glance = remove(&nft, attachment, mac).doing(|| "failed to teardown spoof-check".into())?;
    waits.keep(nft);
    waits.keep(glance);
    Ok(())
}

/// Removes the attachment's own elements; those that are not there, or another's by now, are removed. Without an address
/// its pairs are looked for among all.
fn remove(nft: &Nft, attachment: &Attachment, mac: Option<Mac>) -> Result<Glance> {
    let (host_end, owner) = (mark::host_end(attachment)?, attachment.owner());
    let doing = || format!("let {host_end} pass all frames");
    let (own, key) = (|element: &Element| is_of(element, &owner), layout::guarded_key(&host_end));
    let mut glance = Glance::here().doing(doing)?;
    let settled = nft.settle(|| {
        let guarded = nft.element(TABLE, GUARDED, &key)?.filter(own);
        let pairs = match (mac, &guarded) {
            (Some(mac), _) => nft
                .element(TABLE, ALLOWED, &layout::allowed_key(&host_end, mac))?
                .into_iter()
                .filter(own)
                .collect(),
            (None, Some(_)) => pairs_of(nft, &owner)?,
            (None, None) => Vec::new(),
        };
        let guarded = guarded.as_slice();
        let is_last = !glance.any(TABLE, GUARDED, |other| !guarded.contains(other))?;
        release(nft, guarded, &pairs, is_last)
    });
    settled.doing(doing).map(|()| glance)
}

/// Removes every element whose owner is stale, for GC. As long as a host end is there, or about to be, it is guarded.
///
/// # Errors
/// What the kernel says; then nothing was changed.
pub fn sweep(host: &Rtnl, is_stale: impl Fn(&Mark) -> bool) -> Result<()> {
    let Some(nft) = ruleset::open_if_any()? else { return Ok(()) };
    // What cannot be looked up lives, for now: the next GC looks again.
    let unseen = RefCell::new(Faults::default());
    let is_dead = |mark: &Mark| unseen.borrow_mut().note(life::lives(host, mark.owner())) == Some(false);
    let goes = |mark: &Mark| is_stale(mark) && is_dead(mark);
    let goes = |element: &Element| ruleset::mark(element).is_some_and(|mark| goes(&mark));
    let settled = nft.settle(|| {
        let (leaving, staying): (Vec<_>, Vec<_>) = nft.elements(TABLE, GUARDED)?.into_iter().partition(goes);
        let pairs: Vec<_> = nft.elements(TABLE, ALLOWED)?.into_iter().filter(goes).collect();
        release(&nft, &leaving, &pairs, staying.is_empty())
    });
    let settled = settled.doing(|| "failed to end the spoof check of what is gone".into());
    let mut faults = unseen.into_inner();
    faults.note(settled);
    faults.verdict()
}

/// Whether all is there that [`ensure`] made for this address.
///
/// # Errors
/// What is missing or was changed, and what the kernel says.
pub fn check(nft: &Nft, attachment: &Attachment, mac: Mac) -> Result<()> {
    let host_end = mark::host_end(attachment)?;
    let missing = missing(nft, attachment, &host_end, mac)
        .doing(|| format!("failed to look up the spoof check of {host_end}"))?;
    let what = missing.map(|what| format!("the frames of {host_end} are not checked: {what}"));
    what.map_or(Ok(()), |what| Err(Error::internal(what)))
}

/// The first thing that an attachment lacks.
fn missing(nft: &Nft, attachment: &Attachment, host_end: &IfName, mac: Mac) -> Answer<Option<String>> {
    match nft.table(TABLE)? {
        None => return Ok(Some(format!("there is no table {TABLE}"))),
        Some(table) if table.dormant => return Ok(Some(format!("the table {TABLE} is dormant"))),
        Some(_) => {}
    }
    let (chain, rules) = (layout::chain(), layout::rules());
    if Repair::needed(nft, TABLE, &chain, &rules)?.is_some() {
        return Ok(Some(format!("chain {} of table {TABLE} is gone or changed", chain.name)));
    }
    let wanted = [
        (GUARDED, layout::guarded_key(host_end), host_end.to_string()),
        (ALLOWED, layout::allowed_key(host_end, mac), format!("{host_end} with {mac}")),
    ];
    for (set, key, name) in wanted {
        match nft.element(TABLE, set, &key)? {
            None => return Ok(Some(format!("{name} is not in set {set} of table {TABLE}"))),
            Some(found) if !is_of(&found, &attachment.owner()) => {
                let whose = found.comment.unwrap_or_default();
                return Ok(Some(format!("in set {set} of table {TABLE} {name} is another's: {whose:?}")));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Would an ADD find what it needs?
///
/// # Errors
/// [`Code::NOT_AVAILABLE`]: the kernel cannot do it.
pub fn status() -> Result<()> {
    let usable = open().and_then(|nft| {
        let mut batch = Batch::new();
        lay_the_frame(&nft, &mut batch).doing(|| format!("look at table {TABLE}"))?;
        // Where the frame stands nothing is left to try.
        if batch.is_empty() { Ok(()) } else { nft.rehearse(&batch).doing(|| "try the rules".into()) }
    });
    usable
        .map_err(|error| Error::new(Code::NOT_AVAILABLE, format!("macspoofchk cannot work: {}", error.msg())))
}

/// Table, sets and chain, where they are not as they should be.
fn lay_the_frame(nft: &Nft, batch: &mut Batch) -> Answer<()> {
    if nft.table(TABLE)?.is_none() {
        batch.ensure_table(TABLE, Some(TABLE_COMMENT));
    }
    let (chain, rules) = (layout::chain(), layout::rules());
    // The rule looks into both sets, so where the rule is right they are there.
    if let Some(repair) = Repair::needed(nft, TABLE, &chain, &rules)? {
        for set in layout::sets() {
            batch.ensure_set(TABLE, &set);
        }
        repair.write(batch, TABLE, &chain, &rules);
    }
    Ok(())
}

fn pairs_of(nft: &Nft, owner: &Owner) -> Answer<Vec<Element>> {
    Ok(nft.elements(TABLE, ALLOWED)?.into_iter().filter(|pair| is_of(pair, owner)).collect())
}

fn delete(batch: &mut Batch, guarded: &[Element], pairs: &[Element]) {
    for (set, elements) in [(GUARDED, guarded), (ALLOWED, pairs)] {
        batch.delete_elements(TABLE, set, elements.iter().map(|element| element.key.as_slice()));
    }
}

/// Deletes elements, and with the last of those that are guarded everything: where nobody is guarded nobody need be allowed.
/// A table that holds something else stays.
fn release(nft: &Nft, guarded: &[Element], pairs: &[Element], is_last: bool) -> Answer<Batch> {
    let mut batch = Batch::new();
    delete(&mut batch, guarded, pairs);
    if !is_last || nft.table(TABLE)?.is_none() {
        return Ok(batch);
    }
    let chain = nft.chain(TABLE, CHAIN)?.map(|_| CHAIN);
    let mut sets = Vec::new();
    for set in [GUARDED, ALLOWED] {
        sets.extend(nft.set(TABLE, set)?.map(|_| set));
    }
    ruleset::take_away_from(nft, TABLE, batch, chain.as_slice(), &sets)
}
