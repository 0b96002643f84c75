//! Making a veth pair: the steps of an ADD that every plugin with such a pair has in common.

use std::rc::Rc;
use std::time::Duration;

use cni::attach::Trail;
use cni::call::{Add, Attachment};
use cni::error::{Code, Error, OrFail, Result};
use cni::log;
use cni::result::Interface;
use linux::address::Family;
use linux::bridge::Port;
use linux::link::Link;
use linux::mac::Mac;
use linux::netns::NetNs;
use linux::rtnl::{Request, Rtnl};
use linux::sysctl::Folder;
use linux::veth::{Pair, VethPair};
use serde::de::IgnoredAny;

use crate::attachment::container_end::ContainerEnd;
use crate::attachment::host_end::{open_netns, refuse_second};
use crate::attachment::lease::Lease;
use crate::attachment::mark::{self, Mark};
use crate::attachment::masquerade;
use crate::attachment::record::claim::Claim;
use crate::attachment::record::lines::Lines;
use crate::attachment::record::{self, Record, Written};
use crate::attachment::waits::Waits;

/// How long a pair may take to come up: the Go plugin's whole patience.
pub const PATIENCE: Duration = Duration::from_millis(2550);

/// Both sides of an attachment that is being made.
pub struct Sides<'a> {
    /// Who.
    pub attachment: &'a Attachment,
    /// The plugin, as records name it.
    pub plugin: &'static str,
    /// The container's namespace.
    pub netns: NetNs,
    /// A conversation about the host's namespace.
    pub host: Rc<Rtnl>,
    /// A conversation about the container's.
    pub container: Rtnl,
    /// The container's IPv6 settings; a kernel without IPv6 has none.
    pub settings: Option<Folder>,
}

/// What the pair is to be.
pub struct Wanted<'a> {
    /// The container end's MAC.
    pub mac: Mac,
    /// MTU of both ends in bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
    /// The bridge that the host end is a port of, and its settings there. Such a host end comes up with them; another one
    /// is left down, for its own settings.
    pub port: Option<(&'a Link, Port)>,
}

impl<'a> Sides<'a> {
    /// Opens both namespaces, goes into the container's once, and makes sure that the attachment does not exist yet. What
    /// the plugin has to see on the host it looks for in the meantime.
    ///
    /// # Errors
    /// The container's namespace is none; the attachment exists; those of `look`.
    pub fn open<T>(
        add: &'a Add,
        plugin: &'static str,
        look: impl FnOnce(&Rtnl) -> Result<T>,
    ) -> Result<(Sides<'a>, T)> {
        let _step = log::step("namespaces");
        let netns = open_netns(&add.netns)?;
        let doing = || format!("failed to open netns {:?}", add.netns.display().to_string());
        let entered = |error: Error| error.details("variable CNI_NETNS");
        let visitor = netns.send(|| {
            let (settings, proc) = Folder::here(Family::V6);
            ((Rtnl::here(), settings), proc)
        });
        let visitor = visitor.or_fail(Code::ENVIRONMENT, doing).map_err(entered)?;
        let host = Rc::new(Rtnl::here().doing(|| "open the host's namespace".into())?);
        let seen = look(&host);
        let (container, settings) = visitor.answer().or_fail(Code::ENVIRONMENT, doing).map_err(entered)?;
        let seen = seen?;
        let container = container.doing(|| "open the container's namespace".into())?;
        refuse_second(&host, &container, &add.attachment)?;
        let (attachment, settings) = (&add.attachment, settings.ok());
        Ok((Sides { attachment, plugin, netns, host, container, settings }, seen))
    }

    /// Writes down that this attachment is about to be made, and keeps every other ADD of it away until this one ends.
    ///
    /// A record that is there is that of an ADD that was killed, or whose link somebody has removed. What it claimed ends
    /// first: the new record does not speak of it, and a rule would hold for the new link, whose name is the same. `end` ends what
    /// only this plugin makes.
    ///
    /// # Errors
    /// Another one was faster; what the older one claimed could not be ended; what the file system says.
    pub fn claim(&self, trail: &mut Trail, end: impl Fn(&Record, &mut Waits) -> Result<()>) -> Result<Claim> {
        let _step = log::step("record");
        let claim = trail.step(|| {
            Claim::make(self.plugin, self.attachment, |older: Option<Written<IgnoredAny>>| {
                older.map_or(Ok(()), |_| self.end_the_dead(&end))?;
                Ok(Lines::default())
            })
        })?;
        // Until all is answered, or undone, nobody else gets at what this ADD makes.
        trail.forget(claim.taking_back(|_: &IgnoredAny| false));
        Ok(claim)
    }

    fn end_the_dead(&self, end: impl Fn(&Record, &mut Waits) -> Result<()>) -> Result<()> {
        // Another ADD may have ended between our first look and our claim: the record then is the living one's, and stays.
        refuse_second(&self.host, &self.container, self.attachment)?;
        let record = record::find(self.plugin, self.attachment)?;
        let record = record.unwrap_or_else(|| Record::torn(self.attachment.clone()));
        let mut waits = Waits::here();
        let ended = masquerade::end_noted(&record, &mut waits).and_then(|()| end(&record, &mut waits));
        ended.doing(|| format!("failed to end what an earlier ADD of {} has left", self.attachment))
    }

    /// Makes the pair. Both ends are born in their places; a port is one from its first instant.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make_pair(&self, trail: &mut Trail, wanted: &Wanted<'_>, lease: Lease) -> Result<Pair> {
        let _step = log::step("links");
        let host_end = mark::host_end(self.attachment)?;
        let pair = VethPair {
            host_name: host_end.as_str(),
            // Without MACs of ours, systemd's MACAddressPolicy would change them after ADD has reported them. And a bridge
            // without one of its own takes the lowest of its ports': this one is higher than others.
            host_mac: high(Mac::random()),
            container_name: self.attachment.ifname.as_str(),
            container_mac: wanted.mac,
            container_ns: &self.netns,
            mtu: wanted.mtu,
            master: wanted.port.as_ref().map(|(bridge, _)| bridge.index),
            group: mark::GROUP,
            host_up: false,
            queues: 1,
        };
        let pair = trail.step(|| self.host.create_veth(&pair).doing(|| "failed to make veth pair".into()))?;
        lease.undo_link_first(trail, self.host.clone(), pair.host);
        let alias = Mark::of(self.attachment).alias(self.attachment);
        let port = wanted.port.as_ref().map(|(_, port)| port);
        let finish = Request::finish_host_end(pair.host, port, &alias);
        // Up last: the kernel tells IPv6 of a change of a link that is up, and IPv6 then goes through all the host's routes
        // (`rt6_sync_up` in net/ipv6/route.c). A port needs no address, and without one each container has fewer of them.
        let up = port.map(|_| [Request::without_link_local_address(pair.host), Request::set_up(pair.host)]);
        let requests = [finish].into_iter().chain(up.into_iter().flatten());
        trail.step(|| self.host.all(requests).doing(|| format!("failed to set up host end {host_end}")))?;
        Ok(pair)
    }

    /// Gives the container end its settings, addresses and routes, and sets it up.
    ///
    /// # Errors
    /// The first thing that the kernel refused.
    pub fn configure(&self, end: &ContainerEnd, pair: &Pair) -> Result<()> {
        let _step = log::step("addresses");
        end.write_settings(self.settings.as_ref())?;
        end.configure(&self.container, pair.container)
    }

    /// Waits until the host end carries packets, or for as long as the Go plugins do; the caller looks at its state.
    ///
    /// # Errors
    /// It has vanished.
    pub fn wait_for_host_end(&self, pair: &Pair) -> Result<Link> {
        let _step = log::step("carrier");
        self.host.wait_operational(pair.host, PATIENCE).doing(|| "wait for the host end".into())
    }

    /// Tells the neighbours who has these addresses now: whoever remembers another MAC learns better.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn announce(&self, pair: &Pair, mac: Mac) -> Result<()> {
        let _step = log::step("announcement");
        self.container.announce(pair.container, mac).doing(|| "announce the addresses".into())
    }

    /// The container end, as the result shows it.
    pub fn container_end(&self, add: &Add, mac: Mac, mtu: u32) -> Interface {
        Interface {
            name: self.attachment.ifname.to_string(),
            mac: Some(mac.to_string()),
            mtu: Some(mtu),
            sandbox: Some(add.netns.display().to_string()),
            ..Interface::default()
        }
    }
}

/// A MAC that is higher than the usual ones: locally administered as before, unicast as before.
pub fn high(Mac([_, rest @ ..]): Mac) -> Mac {
    let [a, b, c, d, e] = rest;
    Mac([0xfe, a, b, c, d, e])
}

/// A link of the host, as a result shows it.
pub fn on_host(link: &Link) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()),
        mtu: Some(link.mtu),
        ..Interface::default()
    }
}
