//! Names that come and go, as `ip netns monitor` tells them: by inotify(7), from the moment of the call.

use super::{Doing, RUN, Result, directory};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::Path;

/// What happened to a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Its file was made. The namespace is mounted on it a moment later.
    Added(OsString),
    /// Its file was removed.
    Deleted(OsString),
}

/// Tells of each change to the names, until it is told to break. Makes the folder of the names if there is none, so that the
/// first name is seen as well: the folder becomes a mount with that name, but keeps its inode, which is what is watched.
pub fn watch<B>(mut tell: impl FnMut(Change) -> ControlFlow<B>) -> Result<B> {
    let events = Inotify::init(InitFlags::IN_CLOEXEC).doing(|| "inotify_init failed".into())?;
    directory::ensure(Path::new(RUN))?;
    let kinds = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE;
    events.add_watch(RUN, kinds).doing(|| "inotify_add_watch failed".into())?;
    loop {
        let seen = match events.read_events() {
            Err(Errno::EINTR) => continue, // stopped by the terminal, and called back
            seen => seen.doing(|| "read failed".into())?,
        };
        for event in seen {
            // Without a name it is about the folder itself, or the queue that ran over.
            let Some(name) = event.name else { continue };
            let change = match event.mask.contains(AddWatchFlags::IN_CREATE) {
                true => Change::Added(name),
                false => Change::Deleted(name),
            };
            if let ControlFlow::Break(end) = tell(change) {
                return Ok(end);
            }
        }
    }
}
