//! `bridge`: joins a container to a Linux bridge on the host.
//!
//! - [`conf`]: the configuration, as written and as meant;
//! - [`plan`]: what ADD will do, decided before anything is touched;
//! - [`vlan`]: the VLANs that a port is in;
//! - [`shared`]: the bridge itself, which is never undone;
//! - [`spoof`]: who may send from which MAC address;
//! - [`add`], [`del`], [`check`]: the verbs.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::delegate;
use cni::error::{Code, Error, OrFail, Result};
use linux::rtnl::Rtnl;

use crate::attachment::masquerade::Backend;

pub mod conf;
pub mod plan;

pub mod shared;
pub mod spoof;
pub mod vlan;

pub mod add;
pub mod check;
pub mod del;

/// The name in records.
const PLUGIN: &str = "bridge";

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    type Conf = conf::Raw;
    const ENTERS: bool = true;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin, Capability::SysAdmin];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, conf: conf::Raw) -> Result<Attached> {
        add::add(add, conf)
    }

    fn del(del: &Del, conf: conf::Raw) -> Result<()> {
        del::del(del, conf)
    }

    fn check(check: &Check, conf: conf::Raw) -> Result<()> {
        check::check(check, conf)
    }

    fn status(call: &Call, conf: conf::Raw) -> Result<()> {
        let conf = conf::Conf::meant(conf, call)?;
        let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
        shared::find_bridge(&host, &conf).map_err(|error| Error::new(Code::NOT_AVAILABLE, error.msg()))?;
        conf.mtu.bytes(&host).map_err(|error| Error::new(Code::NOT_AVAILABLE, error.msg()))?;
        conf.masquerade.map_or(Ok(()), Backend::status)?;
        if conf.spoof_check {
            spoof::status()?;
        }
        delegate::status(conf.addressing.plugin(), call)
    }

    fn gc(gc: &Gc, conf: conf::Raw) -> Result<()> {
        del::gc(gc, conf)
    }
}
