//! The names of system calls, and which of them can be refused.

use nix::errno::Errno;
use nix::libc;

use super::tracer::Asked;

macro_rules! names {
    ($($name:ident = $number:ident),* $(,)?) => { &[$((stringify!($name), libc::$number)),*] };
}

/// Those that the programs make, on every machine.
const NAMES: &[(&str, libc::c_long)] = names! {
    accept4 = SYS_accept4, bind = SYS_bind, brk = SYS_brk, chdir = SYS_chdir, clock_gettime = SYS_clock_gettime,
    clock_nanosleep = SYS_clock_nanosleep, clone = SYS_clone, clone3 = SYS_clone3, close = SYS_close,
    close_range = SYS_close_range, connect = SYS_connect, dup = SYS_dup, dup3 = SYS_dup3,
    epoll_create1 = SYS_epoll_create1, epoll_ctl = SYS_epoll_ctl, epoll_pwait = SYS_epoll_pwait,
    eventfd2 = SYS_eventfd2, execve = SYS_execve, exit = SYS_exit, exit_group = SYS_exit_group,
    faccessat = SYS_faccessat, faccessat2 = SYS_faccessat2, fchmod = SYS_fchmod, fchmodat = SYS_fchmodat,
    fcntl = SYS_fcntl, fgetxattr = SYS_fgetxattr, flock = SYS_flock, fsconfig = SYS_fsconfig,
    fsetxattr = SYS_fsetxattr, fsmount = SYS_fsmount, fsopen = SYS_fsopen, fstat = SYS_fstat,
    fstatfs = SYS_fstatfs, ftruncate = SYS_ftruncate, futex = SYS_futex, getdents64 = SYS_getdents64,
    geteuid = SYS_geteuid, getpid = SYS_getpid, getppid = SYS_getppid, getrandom = SYS_getrandom,
    getsockname = SYS_getsockname, getsockopt = SYS_getsockopt, gettid = SYS_gettid, getuid = SYS_getuid,
    getxattr = SYS_getxattr, ioctl = SYS_ioctl, kill = SYS_kill, lgetxattr = SYS_lgetxattr, linkat = SYS_linkat,
    lseek = SYS_lseek, madvise = SYS_madvise, membarrier = SYS_membarrier, mkdirat = SYS_mkdirat, mmap = SYS_mmap,
    mprotect = SYS_mprotect, mremap = SYS_mremap, munmap = SYS_munmap, nanosleep = SYS_nanosleep,
    newfstatat = SYS_newfstatat,
    openat = SYS_openat, openat2 = SYS_openat2, pidfd_open = SYS_pidfd_open,
    pipe2 = SYS_pipe2, ppoll = SYS_ppoll, prctl = SYS_prctl, pread64 = SYS_pread64, prlimit64 = SYS_prlimit64,
    pwrite64 = SYS_pwrite64, read = SYS_read, readlinkat = SYS_readlinkat, readv = SYS_readv,
    recvfrom = SYS_recvfrom, recvmsg = SYS_recvmsg, renameat = SYS_renameat, renameat2 = SYS_renameat2,
    rt_sigaction = SYS_rt_sigaction, rt_sigprocmask = SYS_rt_sigprocmask, rt_sigreturn = SYS_rt_sigreturn,
    sched_getaffinity = SYS_sched_getaffinity, sched_yield = SYS_sched_yield, sendmsg = SYS_sendmsg,
    sendto = SYS_sendto, set_robust_list = SYS_set_robust_list, set_tid_address = SYS_set_tid_address,
    setns = SYS_setns, setsid = SYS_setsid, setsockopt = SYS_setsockopt, setxattr = SYS_setxattr,
    sigaltstack = SYS_sigaltstack, signalfd4 = SYS_signalfd4, socket = SYS_socket, socketpair = SYS_socketpair,
    statfs = SYS_statfs, statx = SYS_statx, symlinkat = SYS_symlinkat, tgkill = SYS_tgkill, tkill = SYS_tkill,
    umask = SYS_umask, uname = SYS_uname, unlinkat = SYS_unlinkat, utimensat = SYS_utimensat,
    wait4 = SYS_wait4, waitid = SYS_waitid, write = SYS_write, writev = SYS_writev,
};

/// Those that younger machines no longer have.
#[cfg(target_arch = "x86_64")]
const OLD: &[(&str, libc::c_long)] = names! {
    access = SYS_access, arch_prctl = SYS_arch_prctl, chmod = SYS_chmod, dup2 = SYS_dup2,
    epoll_wait = SYS_epoll_wait, fork = SYS_fork, lstat = SYS_lstat, mkdir = SYS_mkdir, open = SYS_open,
    pipe = SYS_pipe, poll = SYS_poll, readlink = SYS_readlink, rename = SYS_rename, rmdir = SYS_rmdir,
    stat = SYS_stat, symlink = SYS_symlink, unlink = SYS_unlink, vfork = SYS_vfork,
};
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(&str, libc::c_long)] = &[];

/// What every call can be answered with.
pub const ERRORS: [Errno; 5] = [Errno::ENOMEM, Errno::EINTR, Errno::ENOSPC, Errno::EBUSY, Errno::EPERM];

/// Those that are never refused:
/// - the kernel refuses none of them when they are called as a program calls them, so there is nothing to be ready for;
/// - `close` and `close_range` have closed whatever they answer, so that one that was not done is none;
/// - whoever looks at a futex looks again, whatever it answers;
/// - signals' masks and stacks, names and exits of threads are the runtime's, before and after the program's own code.
const NEVER: &[&str] = &[
    "arch_prctl",
    "clock_gettime",
    "close",
    "close_range",
    "exit",
    "exit_group",
    "futex",
    "geteuid",
    "getpid",
    "getrandom",
    "getppid",
    "gettid",
    "getuid",
    "membarrier",
    "munmap",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "umask",
    "madvise",
];

/// Memory that cannot be had ends a Rust program where it stands: it is as dead as if it had been killed there.
const MEMORY: &[&str] = &["brk", "mmap", "mprotect", "mremap"];

/// The name of a system call.
pub fn name(number: u64) -> String {
    let known = NAMES.iter().chain(OLD).find(|(_, known)| u64::try_from(*known) == Ok(number));
    known.map_or_else(|| format!("system call {number}"), |(name, _)| (*name).to_owned())
}

/// What a call may be refused with.
pub fn refusals(asked: &Asked) -> &'static [Errno] {
    let name = name(asked.point.call);
    if NEVER.contains(&name.as_str()) {
        &[]
    } else if is_about_memory(asked) {
        &[Errno::ENOMEM]
    } else {
        &ERRORS
    }
}

/// Whether it asks for memory.
pub fn is_about_memory(asked: &Asked) -> bool {
    MEMORY.contains(&name(asked.point.call).as_str())
}

/// Whether this is the runtime's own: what a program does before its `main` is about memory and signals, and what a thread
/// does before it gets to work is about its name, too.
pub fn is_before_main(asked: &Asked) -> bool {
    let name = name(asked.point.call);
    let usual = if asked.is_main { ["poll", "ppoll"].as_slice() } else { &["prctl"] };
    usual.contains(&name.as_str()) || NEVER.contains(&name.as_str()) || MEMORY.contains(&name.as_str())
}

/// Whether the C library has a word of its own for it: a thread that cannot be had is `EAGAIN`, whatever the kernel said.
pub fn is_about_threads(asked: &Asked) -> bool {
    is_about_memory(asked) || ["clone", "clone3"].contains(&name(asked.point.call).as_str())
}

/// What strerror(3) says, of glibc and of musl, and what Rust's libraries say.
pub fn words(errno: Errno) -> &'static [&'static str] {
    match errno {
        Errno::EAGAIN => &["resource temporarily unavailable"],
        // The last one is what Rust says of an IPAM plugin that has died of it.
        Errno::ENOMEM => &["out of memory", "cannot allocate memory", "memory allocation of"],
        Errno::EINTR => &["interrupted"],
        Errno::ENOSPC => &["no space left"],
        Errno::EBUSY => &["resource busy"],
        _ => &["not permitted"],
    }
}
