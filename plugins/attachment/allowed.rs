//! What the plugin `firewall` has claimed for a container, as its record says, and the end of what no owner is written on.

use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;

use cni::call::Owner;
use cni::error::{Error, Faults, OrFail, Result};
use cni::files;
use serde::{Deserialize, Serialize};

use crate::attachment::firewalld::Firewalld;
use crate::attachment::record::leftover::{self, Leftover};
use crate::attachment::record::{self, Written};
use crate::attachment::{inherited, ruleset};

/// The name in records.
pub const PLUGIN: &str = "firewall";

/// A line of its records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// What the attachment is about to claim.
    Allowed(Allowed),
}

/// What is let through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowed {
    /// The addresses of the container.
    pub addresses: Vec<IpAddr>,
    /// The ports of a bridge that are kept from each other.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Who keeps the rules.
    pub by: Backend,
}

/// Who keeps the rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// The kernel's nf_tables, in a table of ours.
    Nftables,
    /// iptables, in its own tables.
    Iptables,
    /// firewalld, in this zone.
    Firewalld(String),
}

/// What an owner's record says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// There is no record.
    NoRecord,
    /// This, and whatever earlier ADDs have claimed.
    These(Vec<Allowed>),
    /// This, and more: a line is torn, or a crash came before the first one. Only the kernel knows.
    More(Vec<Allowed>),
}

impl Claimed {
    /// Reads the record.
    ///
    /// # Errors
    /// It cannot be read, or is of a later version.
    pub fn of(owner: &Owner) -> Result<Claimed> {
        record::written(PLUGIN, owner).map(Claimed::from)
    }

    /// What is known.
    pub fn these(&self) -> &[Allowed] {
        match self {
            Claimed::NoRecord => &[],
            Claimed::These(these) | Claimed::More(these) => these,
        }
    }
}

impl From<Option<Written<Line>>> for Claimed {
    fn from(written: Option<Written<Line>>) -> Claimed {
        let Some(Written { lines, is_torn, .. }) = written else { return Claimed::NoRecord };
        let these: Vec<Allowed> = lines.into_iter().map(|Line::Allowed(allowed)| allowed).collect();
        if is_torn || these.is_empty() { Claimed::More(these) } else { Claimed::These(these) }
    }
}

impl Allowed {
    /// Ends it, where the rules do not say whose they are: an address that another attachment has claimed by the same backend
    /// stays.
    ///
    /// # Errors
    /// What the kernel or the program says, after everything was tried.
    pub fn end(&self, owner: &Owner) -> Result<()> {
        end(std::slice::from_ref(self), owner)
    }
}

/// The same for several.
///
/// # Errors
/// What the kernel or the program says, after everything was tried.
pub fn end(claimed: &[Allowed], owner: &Owner) -> Result<()> {
    let (others, mut faults) = (Others::of(owner), Faults::default());
    for allowed in claimed {
        let is_anothers = |address| others.have(&allowed.by, address);
        match &allowed.by {
            Backend::Nftables => {}
            Backend::Iptables => drop(faults.note(end_by_iptables(&allowed.addresses, is_anothers))),
            Backend::Firewalld(zone) => {
                faults.note(end_by_firewalld(zone, &allowed.addresses, is_anothers));
            }
        }
    }
    faults.note(others.faults.into_inner().verdict());
    faults.verdict()
}

/// What all other attachments have claimed. They are looked at when the first address is asked about, which has to be there.
struct Others<'a> {
    owner: &'a Owner,
    claimed: OnceCell<Vec<Other>>,
    faults: RefCell<Faults>,
}

/// What another attachment has claimed.
enum Other {
    /// As its record says.
    These(Vec<Allowed>),
    /// A later version has written the record, with this text: it may have claimed the addresses that it names.
    Later(String, Error),
    /// Its record cannot be read just now: it may have claimed anything.
    Unread,
}

impl Others<'_> {
    fn of(owner: &Owner) -> Others<'_> {
        Others { owner, claimed: OnceCell::new(), faults: RefCell::default() }
    }

    /// Whether another one has claimed an address by the same backend, or may have.
    fn have(&self, by: &Backend, address: IpAddr) -> bool {
        self.claimed.get_or_init(|| self.look()).iter().any(|other| match other {
            Other::These(claimed) => {
                claimed.iter().any(|other| other.by == *by && other.addresses.contains(&address))
            }
            Other::Later(text, error) => {
                let names_it = text.contains(&format!("\"{address}\""));
                if names_it {
                    let text = format!("{address} may be another attachment's: {}", error.msg());
                    self.faults.borrow_mut().note(Err::<(), _>(Error::internal(text)));
                }
                names_it
            }
            Other::Unread => true,
        })
    }

    fn look(&self) -> Vec<Other> {
        let mut faults = self.faults.borrow_mut();
        let Some(all) = faults.note(leftover::all()) else { return vec![Other::Unread] };
        let others = all.iter().filter(|it| it.owner != *self.owner && it.plugin() == Some(PLUGIN));
        others.map(|other| faults.note(Other::read(other)).unwrap_or(Other::Unread)).collect()
    }
}

impl Other {
    fn read(record: &Leftover) -> Result<Other> {
        let error = match Claimed::of(&record.owner) {
            Ok(claimed) => return Ok(Other::These(claimed.these().to_vec())),
            Err(error) => error,
        };
        // What a later version has written can be read, if not understood.
        let text = files::read(&record.file);
        let text =
            text.doing(|| format!("look at what another attachment may: {}", record.file.display()))?;
        Ok(Other::Later(String::from_utf8_lossy(&text).into_owned(), error))
    }
}

/// Which of its two tables iptables writes to is a matter of the day, so both are looked into.
fn end_by_iptables(addresses: &[IpAddr], is_anothers: impl Fn(IpAddr) -> bool) -> Result<()> {
    let mut faults = Faults::default();
    if let Some(nft) = faults.note(ruleset::open_if_any()).flatten() {
        faults.note(inherited::remove_accepted(&nft, addresses, &is_anothers));
    }
    faults.note(inherited::remove_legacy_accepted(addresses, &is_anothers));
    faults.verdict()
}

/// Where firewalld does not run, nothing is left of its sources.
fn end_by_firewalld(zone: &str, addresses: &[IpAddr], is_anothers: impl Fn(IpAddr) -> bool) -> Result<()> {
    let Some(mut firewalld) = Firewalld::find_to_end()? else { return Ok(()) };
    let mut faults = Faults::default();
    for address in addresses.iter().filter(|address| !is_anothers(**address)) {
        faults.note(firewalld.remove(zone, *address));
    }
    faults.verdict()
}

/// Ends what a stale owner's record tells of rules that name no owner.
///
/// # Errors
/// What could not be removed, after everything was tried.
pub fn end_stale(owner: &Owner) -> Result<()> {
    end(Claimed::of(owner)?.these(), owner)
}
