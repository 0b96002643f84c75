//! `loopback`: sets lo up in the container.

/// Musl's own allocator costs 45 microseconds a process.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    cni::serve::<plugins::loopback::Loopback>()
}
