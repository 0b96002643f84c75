//! Waiting for what the kernel has not said yet.

use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use tokio::runtime::Runtime;

use super::answer::Broken;

/// Blocks until `listen` is ready; None when the patience is at an end first.
pub(super) fn wait<T>(
    patience: Duration,
    listen: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Broken>>,
) -> Result<Option<T>, Broken> {
    let heard = runtime()?.block_on(async {
        // The timer must be made inside the runtime.
        tokio::time::timeout(patience, std::future::poll_fn(listen)).await
    });
    heard.ok().transpose()
}

/// The process's only runtime, started by the first thing that has to be waited for.
fn runtime() -> Result<&'static Runtime, Broken> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let started = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let started = started.map_err(|e| Broken(e.raw_os_error().map(Errno::from_raw)))?;
    Ok(RUNTIME.get_or_init(|| started))
}
