//! `firewall`: the packets of a container pass the host's own rules, and networks can be kept from each other.
//!
//! - [`conf`]: the configuration, as written and as meant;
//! - [`plan`]: what ADD will do, decided before anything is touched;
//! - [`layout`]: the names, rules and elements in the kernel;
//! - [`admit`], [`release`]: elements come and go;
//! - [`iptables`]: the Go plugin's rules, by that program; [`backend`]: which of them it is;
//! - [`add`], [`del`], [`check`]: the verbs.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Code, Error, Result};
use linux::nft::Nft;

use crate::attachment::ruleset;

pub mod conf;
pub mod layout;
pub mod plan;

pub mod admit;
pub mod release;

pub mod backend;
pub mod iptables;

pub mod add;
pub mod check;
pub mod del;

/// The plugin.
pub struct Firewall;

impl Plugin for Firewall {
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

    fn status(_: &Call, conf: conf::Raw) -> Result<()> {
        let conf = conf::Conf::meant(conf)?;
        backend::usable(&conf).map_err(|error| {
            Error::new(Code::NOT_AVAILABLE, format!("firewall cannot work: {}", error.msg()))
        })
    }

    fn gc(gc: &Gc, _: conf::Raw) -> Result<()> {
        del::gc(gc)
    }
}

/// A conversation with nf_tables, which is there.
fn open() -> Result<Nft> {
    ruleset::open("firewall")
}
