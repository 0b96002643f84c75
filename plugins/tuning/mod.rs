//! `tuning`: changes settings of a link that an earlier plugin of the list has made, and of its namespace.
//!
//! - [`conf`]: the configuration, as written and as meant;
//! - [`setting`]: sysctls by the names that people write;
//! - [`allowlist`]: which of them the administrator allows;
//! - [`backup`]: what was there before, in the Go plugin's file;
//! - [`verbs`]: ADD, DEL, CHECK and GC.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Code, Error, Result};

pub mod allowlist;
pub mod backup;
pub mod conf;
pub mod setting;
pub mod verbs;

/// The plugin.
pub struct Tuning;

impl Plugin for Tuning {
    type Conf = conf::Raw;
    const ENTERS: bool = true;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin, Capability::SysAdmin];
    const PLACES: &'static [&'static str] = &["dataDir"];

    fn add(add: &Add, conf: conf::Raw) -> Result<Attached> {
        verbs::add(add, conf)
    }

    fn del(del: &Del, conf: conf::Raw) -> Result<()> {
        verbs::del(del, &conf)
    }

    fn check(check: &Check, conf: conf::Raw) -> Result<()> {
        verbs::check(check, conf)
    }

    fn status(call: &Call, conf: conf::Raw) -> Result<()> {
        // STATUS knows no interface; any name shows whether the rest makes sense.
        let conf = conf::Conf::meant(conf, call, "eth0")?;
        allowlist::permit(&conf.sysctls).map_err(|error| Error::new(Code::NOT_AVAILABLE, error.msg()))
    }

    fn gc(gc: &Gc, conf: conf::Raw) -> Result<()> {
        verbs::gc(gc, &conf)
    }
}
