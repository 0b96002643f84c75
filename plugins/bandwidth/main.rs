//! `bandwidth`: how fast a container may receive and send.

/// Musl's own allocator costs 45 microseconds a process.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    cni::serve::<plugins::bandwidth::Bandwidth>()
}
