//! `bandwidth`: how fast a container may receive and send.
//!
//! ```text
//!   container                                host
//!     eth0 ◄──────────────────────────────── host end        what it receives: a token bucket at the root
//!     eth0 ────────► host end, ingress: u32, mirred
//!                         └──────► ifb        what it sends: a token bucket at the root of an ifb,
//!                                   │         which puts it back where it came from
//!                    host end ◄─────┘
//! ```
//!
//! - [`conf`]: the configuration, as written and as meant;
//! - [`path`]: the links of an attachment;
//! - [`verbs`]: ADD, DEL, CHECK, STATUS and GC.

use cni::Plugin;
use cni::attach::Attached;
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::Result;

pub mod conf;
pub mod path;
pub mod verbs;

/// The plugin.
pub struct Bandwidth;

impl Plugin for Bandwidth {
    type Conf = conf::Raw;
    const ENTERS: bool = true;
    const NEEDS: &'static [Capability] = &[Capability::NetAdmin, Capability::SysAdmin];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, conf: conf::Raw) -> Result<Attached> {
        verbs::add(add, conf)
    }

    fn del(del: &Del, _: conf::Raw) -> Result<()> {
        // A configuration that makes no sense today may have made sense at ADD: what was done is found without it.
        verbs::del(del)
    }

    fn check(check: &Check, conf: conf::Raw) -> Result<()> {
        verbs::check(check, conf)
    }

    fn status(_: &Call, conf: conf::Raw) -> Result<()> {
        verbs::status(conf)
    }

    fn gc(gc: &Gc, _: conf::Raw) -> Result<()> {
        verbs::gc(gc)
    }
}
