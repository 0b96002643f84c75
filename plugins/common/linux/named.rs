//! Named network namespaces, as `ip netns` keeps them: a name is a file in `/run/netns` with the namespace
//! mounted on it, so that the namespace lives on without a process in it.
//!
//! Names made here and by `ip netns` are the same names. The order of the system calls is that of iproute2
//! 7.0, the release that stopped mounting each namespace twice under a shared `/run`; messages keep its
//! words, because scripts match on them (`ip/ipnetns.c`, `lib/namespace.c`, ip-netns(8)).

mod directory;
mod enter;
mod member;
mod name;
mod nameless;
mod program;
mod vrf;
mod watch;

pub use enter::{Command, NotRun, become_program, enter, exec};
pub use member::{Members, Process, names_of, processes_in};
pub use name::{BadName, Name};
pub use nameless::enter_nameless;
pub use watch::{Change, watch};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::io;
use std::path::Path;

/// The folder of the names.
pub const RUN: &str = "/run/netns";

/// The folder of the files that [`exec`] shows in `/etc`, one folder per name.
pub const ETC: &str = "/etc/netns";

/// What failed, in the words of `ip netns`, and what the kernel said.
#[derive(Debug)]
pub struct Error {
    doing: String,
    errno: Errno,
    forbidden: bool,
}

/// The result of an operation on names.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(doing: String, errno: Errno) -> Error {
        Error { doing, errno, forbidden: matches!(errno, Errno::EPERM | Errno::EACCES) }
    }

    /// What the kernel said.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The caller may not do this: `EPERM` or `EACCES`, or what comes of it.
    pub fn is_forbidden(&self) -> bool {
        self.forbidden
    }

    /// The very file may not be looked at: `EACCES`.
    pub fn is_denied(&self) -> bool {
        self.errno == Errno::EACCES
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.doing, words(self.errno))
    }
}

impl std::error::Error for Error {}

/// An error number in glibc's words, where nix has others: musl's `strerror` differs in more of them.
fn words(errno: Errno) -> &'static str {
    match errno {
        Errno::ELOOP => "Too many levels of symbolic links",
        other => other.desc(),
    }
}

/// Why an operation on a file failed, in the same words.
pub fn reason(error: &io::Error) -> &'static str {
    words(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Says what was being done when a call failed.
trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::new(doing(), errno))
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0))).doing(doing)
    }
}

/// All names, in the order in which the folder gives them. Whatever lies in the folder counts, also a file
/// without a namespace on it. No folder is no names.
pub fn names() -> Result<Vec<Name>> {
    let unread = || format!("Failed to open directory {RUN}");
    let entries = match std::fs::read_dir(RUN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(unread)?,
    };
    entries.map(|entry| Ok(Name::of(&entry.doing(unread)?))).collect()
}

/// Makes a namespace and gives it this name. Fails if the name is taken; after any failure the name is as
/// free or as taken as before. No thread of the caller's changes its namespace.
pub fn add(name: &Name) -> Result<()> {
    claim(name, |file| pin_new_namespace(name, file))
}

/// Gives this name to the namespace that a process is in. A namespace may have any number of names, each of which
/// keeps it alive. Fails if the name is taken or there is no such process, and then leaves the name as it was.
pub fn attach(name: &Name, process: i32) -> Result<()> {
    claim(name, |file| bind(Path::new(&format!("/proc/{process}/ns/net")), file))
}

/// Makes the file of a name, for `pin` to mount a namespace on.
fn claim(name: &Name, pin: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    directory::prepare(Path::new(RUN))?;
    let file = name.file();
    let exclusive = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    nix::fcntl::open(&file, exclusive, Mode::empty())
        .doing(|| format!("Cannot create namespace file \"{}\"", file.display()))?;
    pin(&file).inspect_err(|_| {
        // The failure is the answer; a file that cannot be removed now can be deleted by name later.
        let _ = nix::unistd::unlink(&file);
    })
}

/// Makes a namespace on a thread that ends here, and mounts it on `file`.
fn pin_new_namespace(name: &Name, file: &Path) -> Result<()> {
    let no_namespace = || format!("Failed to create a new network namespace \"{name}\"");
    #[allow(clippy::disallowed_methods, reason = "names are made here and in this folder")]
    let pin = || {
        unshare(CloneFlags::CLONE_NEWNET).doing(no_namespace)?;
        // The thread's own link: /proc/self is the process's first thread, which stays where it is.
        bind(Path::new("/proc/thread-self/ns/net"), file)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, pin).doing(no_namespace)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(clippy::disallowed_methods, reason = "names are made here and in this folder")]
fn bind(source: &Path, target: &Path) -> Result<()> {
    let bound: Result<(), Errno> = mount(Some(source), target, Some("none"), MsFlags::MS_BIND, None::<&str>);
    bound.doing(|| format!("Bind {} -> {} failed", source.display(), target.display()))
}

/// Whether there is such a name, in the words of [`exec`]; without opening what it leads to.
///
/// # Errors
/// `ENOENT` if there is none.
pub fn exists(name: &Name) -> Result<()> {
    nix::sys::stat::lstat(&name.file())
        .map(drop)
        .doing(|| format!("Cannot open network namespace \"{name}\""))
}

/// Takes the name away. The namespace itself lives on while a process, an open file or another name holds it.
pub fn delete(name: &Name) -> Result<()> {
    let file = name.file();
    // Detaching fails for a plain file, which can be deleted all the same: unlink decides. A symbolic link
    // is not followed, or deleting it would take the namespace from the name that it leads to.
    let detached = umount2(&file, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    nix::unistd::unlink(&file)
        .doing(|| format!("Cannot remove namespace file \"{}\"", file.display()))
        // It is busy then, because it could not be detached.
        .map_err(|error| Error { forbidden: error.forbidden || detached == Err(Errno::EPERM), ..error })
}
