//! `veth`, also installed as `ptp`: connects a container to the host by a routed pair.
//!
//! - [`conf`]: the configuration, as written and as meant;
//! - [`plan`]: what ADD will do, decided before anything is touched;
//! - [`add`], [`check`]: the verbs that are more than a line.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::delegate;
use cni::error::{Code, Error, OrFail, Result};
use linux::rtnl::Rtnl;

use crate::attachment::masquerade::Backend;
use crate::attachment::mtu::Mtu;
use crate::attachment::release;

pub mod conf;
pub mod plan;

pub mod add;
pub mod check;

/// The name in records.
const PLUGIN: &str = "veth";

/// The plugin.
pub struct Veth;

impl Plugin for Veth {
    type Conf = conf::Raw;
    const ENTERS: bool = true;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin, Capability::SysAdmin];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, conf: conf::Raw) -> Result<Attached> {
        add::add(add, conf)
    }

    fn del(del: &Del, conf: conf::Raw) -> Result<()> {
        let leaving = conf.leaving();
        // A host end that the Go plugin made stands alone.
        release::del(del, &leaving, |_, link| link.master.is_none(), |_, _, _| Ok(()), |_| Ok(()))?;
        leaving.ipam.map(drop).ok_or_else(conf::no_ipam)
    }

    fn check(check: &Check, conf: conf::Raw) -> Result<()> {
        check::check(check, conf)
    }

    fn status(call: &Call, conf: conf::Raw) -> Result<()> {
        let conf = conf::Conf::meant(conf)?;
        if conf.mtu == Mtu::Outside {
            let host = Rtnl::here().doing(|| "open the host's namespace".into())?;
            conf.mtu.bytes(&host).map_err(|error| Error::new(Code::NOT_AVAILABLE, error.msg()))?;
        }
        conf.masquerade.map_or(Ok(()), Backend::status)?;
        delegate::status(Some(&conf.ipam), call)
    }

    fn gc(gc: &Gc, conf: conf::Raw) -> Result<()> {
        let leaving = conf.leaving();
        release::gc(gc, &leaving, |_, _| Ok(()))?;
        leaving.ipam.map(drop).ok_or_else(conf::no_ipam)
    }
}
