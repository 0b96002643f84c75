//! `portmap`: publishes ports of a container on the host.
//!
//! - [`conf`]: the configuration, as written and as meant; [`condition`]: who may use a port;
//! - [`plan`]: what ADD will do, decided before anything is touched;
//! - [`layout`]: the names, rules and elements in the kernel; [`key`]: an element of a map, and who may have it;
//! - [`claim`], [`release`]: elements come and go; [`holder`]: whose they are, and whether he lives;
//! - [`loopback`]: 127.0.0.1 as a way to a container; [`flows`]: what has to begin anew;
//! - [`iptables`]: all of it by that program, for those who insist;
//! - [`theirs`]: what the Go plugin has published;
//! - [`add`], [`del`], [`check`]: the verbs; [`list`]: who has which port.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Code, Error, Result};
use linux::nft::Nft;

use crate::attachment::{published, ruleset};
use crate::portmap::conf::By;

pub mod condition;
pub mod conf;

pub mod plan;

pub mod key;
pub mod layout;

pub mod claim;
pub mod holder;
pub mod release;

pub mod flows;
pub mod loopback;

pub mod iptables;

pub mod theirs;

pub mod add;
pub mod check;
pub mod del;
pub mod list;

/// The name in records.
const PLUGIN: &str = published::PLUGIN;

/// The plugin.
pub struct Portmap;

impl Plugin for Portmap {
    type Conf = conf::Raw;
    /// Everything is done on the host.
    const ENTERS: bool = false;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, conf: conf::Raw) -> Result<Attached> {
        add::add(add, conf)
    }

    fn del(del: &Del, conf: conf::Raw) -> Result<()> {
        del::del(del, &conf)
    }

    fn check(check: &Check, conf: conf::Raw) -> Result<()> {
        check::check(check, conf)
    }

    fn status(call: &Call, conf: conf::Raw) -> Result<()> {
        let conf = conf::Conf::meant(conf)?;
        let by_nftables = || open().and_then(|nft| claim::rehearse(&nft, &call.network, &conf));
        let usable = match &conf.by {
            By::Nftables(_) => by_nftables(),
            By::Iptables(_) => iptables::usable(),
            By::Either => by_nftables().or_else(|error| iptables::usable().map_err(|_| error)),
        };
        usable
            .map_err(|error| Error::new(Code::NOT_AVAILABLE, format!("portmap cannot work: {}", error.msg())))
    }

    fn gc(gc: &Gc, _: conf::Raw) -> Result<()> {
        del::gc(gc)
    }
}

/// A conversation with nf_tables, which is there.
fn open() -> Result<Nft> {
    ruleset::open("portmap")
}
