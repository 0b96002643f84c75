//! Network namespaces: opened by path, made, and visited.
//!
//! This file and [`crate::named`] are the only ones that call `setns`, `unshare` or `mount`.
#![expect(clippy::disallowed_methods, reason = "this is the file that the list points to")]

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs, statfs};

use crate::census::Identity;
use crate::error::{Doing, Error, Result};
use crate::rtnl::Rtnl;

/// The namespace of the thread that opens it, whichever thread that is.
const OWN: &str = "/proc/thread-self/ns/net";

/// The name of the threads that go into other namespaces.
const VISITOR: &str = "visitor";

/// A network namespace, held open: it cannot vanish while this value lives.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
    path: PathBuf,
}

impl NetNs {
    /// Opens the namespace that a path leads to: `/run/netns/<name>`, `/proc/<pid>/ns/net`,
    /// `/proc/<pid>/fd/<n>`.
    ///
    /// The file system is looked at first, as the Go plugins do: opening an arbitrary file for a caller may
    /// have effects (a FIFO blocks, a device acts), and an error here should say what the path is instead.
    ///
    /// # Errors
    /// [`OpenError`] tells "nothing is there" from "this is no namespace", which DEL has to.
    pub fn open(path: &Path) -> Result<NetNs, OpenError> {
        let kind = statfs(path).map_err(|errno| match errno {
            Errno::ENOENT => OpenError::Absent(path.into()),
            other => OpenError::Other(Error::refused(format!("failed to Statfs {path:?}"), other)),
        })?;
        let magic = kind.filesystem_type();
        if magic != NSFS_MAGIC && magic != PROC_SUPER_MAGIC {
            return Err(OpenError::NotANamespace(path.into(), magic));
        }
        let held = NetNs::hold(path).map_err(OpenError::Other)?;
        // The link of a process leads from one file system to the other; any other file of /proc does not.
        match fstatfs(&held.fd).map(|kind| kind.filesystem_type()) {
            Ok(magic) if magic != NSFS_MAGIC => Err(OpenError::NotANamespace(path.into(), magic)),
            _ => Ok(held),
        }
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// `/proc` is not mounted or not readable.
    pub fn here() -> Result<NetNs> {
        NetNs::hold(Path::new(OWN))
    }

    /// Makes a new, empty namespace: only `lo` is in it, and that is down.
    ///
    /// A thread unshares and ends; the open file keeps what it made. Nothing is mounted, so nothing is left
    /// behind when the value is dropped.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at `user.max_net_namespaces`.
    pub fn create() -> Result<NetNs> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace")?;
            NetNs::here()
        };
        on_a_thread(make)?
    }

    fn hold(path: &Path) -> Result<NetNs> {
        let file = File::open(path).doing(|| format!("open namespace {}", path.display()))?;
        Ok(NetNs { fd: file.into(), path: path.into() })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one namespace: its file has the same device and inode number, see `namespaces(7)`.
    pub fn is_same(&self, other: &NetNs) -> bool {
        match (fstat(&self.fd), fstat(&other.fd)) {
            (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        }
    }

    /// What tells it from every other namespace, as long as it lives: hold it open while this is compared.
    ///
    /// # Errors
    /// None that is known.
    pub fn identity(&self) -> Result<Identity> {
        let file = fstat(&self.fd).doing(|| format!("look at namespace {}", self.path.display()))?;
        Ok(Identity::of(&file))
    }

    /// Runs `f` inside this namespace, on a thread of its own which ends with `f`.
    ///
    /// There is nothing to restore, so `?` and panics inside `f` are safe; a panic travels on to the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered: `EINVAL` if it is of another kind, `EPERM` without `CAP_SYS_ADMIN`
    /// over it. What `f` returns is handed back as it is.
    pub fn visit<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let visit = || self.enter().map(|()| f());
        on_a_thread(visit)?
    }

    /// Sends a visitor ahead: a thread that does `there` inside this namespace and gives the first half of what it makes to
    /// [`Visitor::answer`]. The second half it closes alone, for that may take the kernel a while, as may its own beginning and
    /// end.
    ///
    /// # Errors
    /// `EAGAIN`, `EMFILE`: there can be no thread.
    pub fn send<T: Send + 'static, R>(
        &self,
        there: impl FnOnce() -> (T, R) + Send + 'static,
    ) -> Result<Visitor<T>> {
        let doing = || "start a thread for another namespace";
        let netns = NetNs { fd: self.fd.try_clone().doing(doing)?, path: self.path.clone() };
        let (said, answer) = sync_channel(1);
        let visit = move || match netns.enter().map(|()| there()) {
            Ok((made, _rest)) => drop(said.send(Ok(made))),
            Err(error) => drop(said.send(Err(error))),
        };
        let thread = Builder::new().name(VISITOR.into()).spawn(visit).doing(doing)?;
        Ok(Visitor { answer, thread })
    }

    /// Takes the calling thread into this namespace, for good: nothing takes it back. For a program that has nothing to do
    /// anywhere else.
    ///
    /// # Errors
    /// As [`NetNs::visit`].
    pub fn enter(&self) -> Result<()> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).doing(|| format!("enter namespace {}", self.path.display()))
    }

    /// Opens a conversation with the kernel about this namespace. The socket belongs to it for good: the
    /// returned value may be used from any thread, wherever that is.
    ///
    /// # Errors
    /// As [`NetNs::visit`] and [`Rtnl::here`].
    pub fn rtnl(&self) -> Result<Rtnl> {
        self.visit(Rtnl::here)?
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A thread on its way to another namespace. Nobody has to wait for its end.
pub struct Visitor<T> {
    answer: Receiver<Result<T>>,
    thread: JoinHandle<()>,
}

impl<T> Visitor<T> {
    /// Waits for what it has made.
    ///
    /// # Errors
    /// As [`NetNs::visit`].
    pub fn answer(self) -> Result<T> {
        match self.answer.recv() {
            Ok(answer) => answer,
            // It ended without a word: a panic, which travels on.
            Err(_) => match self.thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => Err(Error::plain("visit a namespace", "the visitor has said nothing")),
            },
        }
    }
}

/// Runs `there` on a thread of its own, and waits for its end.
fn on_a_thread<T: Send>(there: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let visitor = Builder::new()
            .name(VISITOR.into())
            .spawn_scoped(scope, there)
            .doing(|| "start a thread for another namespace")?;
        Ok(visitor.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Why a path could not be opened as a namespace. The texts are those of the Go plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is nothing at the path: the namespace is gone, or was never there.
    Absent(PathBuf),
    /// The path leads to something else, on a file system with this magic number (`statfs(2)`).
    NotANamespace(PathBuf, FsType),
    /// It is there and cannot be opened.
    Other(Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Absent(path) => write!(f, "failed to Statfs {path:?}: no such file or directory"),
            OpenError::NotANamespace(path, magic) => write!(f, "unknown FS magic on {path:?}: {:x}", magic.0),
            OpenError::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> OpenError {
        NetNs::open(Path::new(path)).unwrap_err()
    }

    #[test]
    fn what_is_gone_is_told_from_what_is_no_namespace() {
        let absent = "failed to Statfs \"/run/no/such/ns\": no such file or directory";
        assert_eq!(refusal("/run/no/such/ns").to_string(), absent);
        assert!(matches!(refusal(""), OpenError::Absent(_)));
        assert!(matches!(refusal("/sys"), OpenError::NotANamespace(..)));
        assert_eq!(refusal("/sys").to_string(), "unknown FS magic on \"/sys\": 62656572");
        assert!(matches!(refusal("/proc/self/status"), OpenError::NotANamespace(..)));
        let inside_a_file = "failed to Statfs \"/proc/version/x\": not a directory";
        assert_eq!(refusal("/proc/version/x").to_string(), inside_a_file);
    }

    #[test]
    fn a_namespace_is_known_by_its_inode_and_not_by_its_path() {
        let by_link = NetNs::open(Path::new("/proc/self/ns/net")).unwrap();
        assert!(by_link.is_same(&NetNs::here().unwrap()));
        let another_kind = NetNs::open(Path::new("/proc/self/ns/mnt")).unwrap();
        assert!(!by_link.is_same(&another_kind));
    }
}
