//! The end of an attachment: its rules, its link, then its record, then its lease. The lease goes back last, and only once no link
//! holds the address any more.

use cni::call::{Del, Gc};
use cni::delegate::{self, Delegate};
use cni::error::{Faults, OrFail, Result};
use cni::name::PluginName;
use linux::link::{Link, LinkFilter};
use linux::rtnl::Rtnl;

use crate::attachment::host_end;
use crate::attachment::mark::{self, Mark};
use crate::attachment::masquerade;
use crate::attachment::record::{self, Record, again};
use crate::attachment::waits::Waits;

/// What the plugin of a DEL or GC knows from its configuration.
pub struct Leaving<'a> {
    /// The plugin, as records name it.
    pub plugin: &'static str,
    /// Who gave the addresses.
    pub ipam: Option<&'a PluginName>,
    /// Whether there is a masquerade, by the configuration of today: ADD may have had another.
    pub masquerades: bool,
}

/// DEL of a veth pair: everything is tried, then what failed is told. `is_theirs` decides whether a host end could have
/// been made by the Go plugin of the same name for this configuration. `first` ends what only this plugin makes; `last` what
/// stays in force until the link is gone.
///
/// # Errors
/// What could not be removed. As long as the link may be there, its lease is kept.
pub fn del(
    del: &Del,
    leaving: &Leaving<'_>,
    is_theirs: impl Fn(&Rtnl, &Link) -> bool,
    first: impl FnOnce(&Rtnl, Option<&Record>, &mut Waits) -> Result<()>,
    last: impl FnOnce(Option<&Record>) -> Result<()>,
) -> Result<()> {
    let mut faults = Faults::default();
    // What cannot be read is said at the end, and stays; meanwhile the rest is looked for elsewhere.
    let record = faults.note(record::find(leaving.plugin, &del.attachment)).flatten();
    let _turn = record.as_ref().and_then(|_| faults.note(again::turn_to_end()));
    // Rules first, and their conversations stay open beside the removal of the link.
    let mut waits = Waits::of(&del.call);
    let may_masquerade = leaving.masquerades || del.call.cannot_read("ipMasq");
    faults.note(masquerade::end(del, record.as_ref(), may_masquerade, &mut waits));
    let gone = faults.note(Rtnl::here().doing(|| "open the host's namespace".into())).and_then(|host| {
        faults.note(first(&host, record.as_ref(), &mut waits));
        faults.note(host_end::remove(&host, del, |link| is_theirs(&host, link), &mut waits))
    });
    drop(waits);
    if gone.is_some() {
        faults.note(last(record.as_ref()));
    }
    if faults.is_empty() {
        faults.note(record::remove(leaving.plugin, &del.attachment));
    }
    if gone.is_some() {
        faults.note(leaving.ipam.map_or(Ok(()), |ipam| Delegate::find(ipam, &del.call)?.del()));
    }
    faults.verdict()
}

/// GC: removes what belongs to no living attachment of the network. What the Go plugins made carries no owner, and stays.
/// `more` removes what only this plugin makes, of those whose mark is stale, once their links are gone.
///
/// # Errors
/// What could not be removed, after everything was tried. As long as one link may be there, the leases are kept.
pub fn gc(
    gc: &Gc,
    leaving: &Leaving<'_>,
    more: impl FnOnce(&Rtnl, &dyn Fn(&Mark) -> bool) -> Result<()>,
) -> Result<()> {
    if let Some(is_stale) = mark::stale(gc) {
        let (records, mut faults) = record::stale(leaving.plugin, gc);
        let _turn = records.first().and_then(|_| faults.note(again::turn_to_end()));
        let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
        sweep(&host, &is_stale, &records, &mut faults);
        faults.note(masquerade::sweep(&is_stale));
        for record in &records {
            faults.note(masquerade::end_stale(record));
        }
        faults.note(more(&host, &is_stale));
        if !faults.is_empty() {
            return faults.verdict();
        }
        for Record { attachment, .. } in &records {
            faults.note(record::remove(leaving.plugin, attachment));
        }
        faults.verdict()?;
    }
    delegate::gc(leaving.ipam, &gc.call)
}

/// Removes the host ends whose alias says that they are stale, and those of stale records that have no alias yet: their
/// ADD has died between making the link and naming its owner.
fn sweep(host: &Rtnl, is_stale: impl Fn(&Mark) -> bool, records: &[Record], faults: &mut Faults) {
    let veths = LinkFilter { kind: Some("veth"), ..LinkFilter::default() };
    let links = faults.note(host.links(veths).doing(|| "list the host ends".into())).unwrap_or_default();
    let marked = |link: &Link| link.alias.as_deref().and_then(Mark::read);
    let stale = |link: &Link| host_end::is_ours(link) && marked(link).is_some_and(|mark| is_stale(&mark));
    let find = |record: &Record| host_end::find(host, &record.attachment);
    let by_record = records.iter().filter_map(|record| faults.note(find(record)).flatten());
    let unnamed: Vec<Link> = by_record.filter(|link| link.alias.is_none()).collect();
    for link in links.into_iter().filter(stale).chain(unnamed) {
        faults.note(host.delete_link(link.index).doing(|| format!("failed to delete {:?}", link.name)));
    }
}
