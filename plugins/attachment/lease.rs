//! What IPAM gave, and when it goes back: last, and only once no link holds the address any more. Otherwise one address
//! would have two living owners.

use std::cell::Cell;
use std::rc::Rc;

use cni::attach::Trail;
use cni::call::Add;
use cni::delegate::{Delegate, Ready};
use cni::error::{Error, OrFail, Result};
use cni::name::PluginName;
use cni::result::Success;
use linux::rtnl::Rtnl;

use crate::attachment::record;

/// IPAM plugins that read their configuration first of all, whoever wrote them. What others do before that nobody knows: they
/// are started when they are asked.
const READERS: [&str; 2] = ["host-local", "static"];

/// Finds the IPAM plugin, and starts it already where that can do no harm. A second ADD of an attachment that lives is refused
/// before IPAM is even started.
///
/// # Errors
/// As [`Delegate::find`].
pub fn call_in(ipam: &PluginName, plugin: &str, add: &Add) -> Result<Ready> {
    let delegate = Delegate::find(ipam, &add.call)?;
    match READERS.contains(&ipam.as_str()) && !record::is_there(plugin, &add.attachment) {
        true => Ok(delegate.get_ready()),
        false => Ok(delegate.wait_for_its_turn()),
    }
}

/// A lease on its way into a result.
pub struct Lease {
    /// A link may hold the address.
    held: Rc<Cell<bool>>,
}

impl Lease {
    /// A network without addresses.
    pub fn none() -> Lease {
        Lease { held: Rc::default() }
    }

    /// Asks IPAM. Should the ADD fail, it is told to DEL.
    ///
    /// # Errors
    /// The delegate's own, unchanged.
    pub fn obtain(trail: &mut Trail, ipam: Ready) -> Result<(Lease, Success)> {
        let lease = Lease::none();
        let (given, delegate) = trail.step(|| ipam.add())?;
        let held = lease.held.clone();
        trail.undo(move || match held.get() {
            false => delegate.del(),
            true => Err(Error::internal("the lease is kept: its link could not be removed")),
        });
        Ok((lease, given))
    }

    /// From here on a link may hold the address: undo removes it, and the lease waits for that.
    pub fn undo_link_first(self, trail: &mut Trail, host: Rc<Rtnl>, link: u32) {
        self.held.set(true);
        trail.undo(move || {
            host.delete_link(link).doing(|| "delete the veth pair".into())?;
            self.held.set(false);
            Ok(())
        });
    }
}
