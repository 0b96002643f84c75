//! Settings below `/proc/sys`, by their slash-separated names.
//!
//! Names are separated by slashes and not by dots, so that a link called `eth0.100` keeps its name. Those
//! below `net` belong to the namespace of the thread that opens the file: to set them in another one, call
//! these functions during [`crate::netns::NetNs::visit`].

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::address::Family;
use crate::error::{Doing, Error, Result};

/// Reads a setting, without the line end: `read("net/ipv4/ip_forward")` gives `"1"`.
///
/// # Errors
/// The name is not one, or the kernel has no such setting (`ENOENT`).
pub fn read(name: &str) -> Result<String> {
    let text = std::fs::read_to_string(path(name)?).doing(|| format!("read sysctl {name}"))?;
    Ok(text.trim_end().to_owned())
}

/// Writes a setting.
///
/// # Errors
/// The name is not one; the kernel has no such setting (`ENOENT`), refuses the value (`EINVAL`), or the
/// caller (`EPERM`, `EACCES`; `EROFS` where /proc/sys is mounted read-only, as in many containers).
pub fn write(name: &str, value: &str) -> Result<()> {
    // Not std::fs::write: creating and truncating mean nothing in /proc.
    File::options()
        .write(true)
        .open(path(name)?)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
        .doing(|| format!("set sysctl {name} to {value}"))
}

/// Makes a setting have this value, and leaves it alone where it already has: a shared setting then is
/// written once, and a read-only /proc/sys that already fits is no obstacle. Returns whether it was changed.
///
/// # Errors
/// As [`read()`] and [`write()`].
pub fn ensure(name: &str, value: &str) -> Result<bool> {
    if read(name)? == value {
        return Ok(false);
    }
    write(name, value).map(|()| true)
}

/// The name of a link's setting: `net/<family>/conf/<link>/<key>`, where the link may also be `all` or
/// `default`.
#[derive(Clone, Copy, Debug)]
pub struct Conf<'a> {
    /// Whose half of the settings.
    pub family: Family,
    /// The link's name.
    pub link: &'a str,
    /// The last part of the name, such as `arp_notify`.
    pub key: &'a str,
}

impl fmt::Display for Conf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        write!(f, "net/{family}/conf/{}/{}", self.link, self.key)
    }
}

impl Conf<'_> {
    /// Reads it, as [`read()`] does.
    ///
    /// # Errors
    /// As [`read()`].
    pub fn read(&self) -> Result<String> {
        read(&self.to_string())
    }

    /// Writes it, as [`write()`] does.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn write(&self, value: &str) -> Result<()> {
        write(&self.to_string(), value)
    }
}

/// The settings of the links of one namespace, held open. Like a socket they belong to the namespace in which they were
/// opened, and can be used from anywhere: the folder below `/proc/sys/net` is the namespace's own.
///
/// It is opened in a proc that nobody else sees, where that may be mounted. For the kernel keeps every name below
/// `/proc/sys/net` that it has found for some namespace, and looks through those of all namespaces for the one that is
/// asked for (`proc_sys_compare` in fs/proc/proc_sysctl.c). Beside a thousand containers this takes more than a millisecond,
/// and whoever looks makes it longer; to mount a proc takes 0.05 ms.
#[derive(Debug)]
pub struct Folder {
    family: Family,
    fd: OwnedFd,
}

impl Folder {
    /// Opens the settings of the namespace that the calling thread is in, and gives the proc that they were found in: it is not
    /// needed any more, but whoever closes it waits for the kernel (`namespace_unlock` in fs/namespace.c), for 0.2 ms or so.
    ///
    /// # Errors
    /// `ENOENT` where the kernel does not speak this family.
    pub fn here(family: Family) -> (Result<Folder>, Option<OwnedFd>) {
        let below = match family {
            Family::V4 => "sys/net/ipv4/conf",
            Family::V6 => "sys/net/ipv6/conf",
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let doing = || format!("open /proc/{below}");
        let proc = own_proc().ok();
        let opened = match &proc {
            Some(proc) => openat(proc, below, flags, Mode::empty()),
            None => open(&Path::new("/proc").join(below), flags, Mode::empty()),
        };
        (opened.doing(doing).map(|fd| Folder { family, fd }), proc)
    }

    /// Reads a link's setting, without the line end.
    ///
    /// # Errors
    /// As [`read()`].
    pub fn read(&self, link: &str, key: &str) -> Result<String> {
        let (name, file) = self.file(link, key, OFlag::O_RDONLY)?;
        let text = std::io::read_to_string(file).doing(|| format!("read sysctl {name}"))?;
        Ok(text.trim_end().to_owned())
    }

    /// Writes a link's setting.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn write(&self, link: &str, key: &str, value: &str) -> Result<()> {
        let (name, mut file) = self.file(link, key, OFlag::O_WRONLY)?;
        std::io::Write::write_all(&mut file, value.as_bytes())
            .doing(|| format!("set sysctl {name} to {value}"))
    }

    /// Makes a link's setting have this value, and leaves it alone where it already has.
    ///
    /// # Errors
    /// As [`ensure`].
    pub fn ensure(&self, link: &str, key: &str, value: &str) -> Result<()> {
        if self.read(link, key)? == value { Ok(()) } else { self.write(link, key, value) }
    }

    fn file(&self, link: &str, key: &str, access: OFlag) -> Result<(String, File)> {
        let name = Conf { family: self.family, link, key }.to_string();
        path(&name)?;
        let below = format!("{link}/{key}");
        let fd = openat(&self.fd, below.as_str(), access | OFlag::O_CLOEXEC, Mode::empty())
            .doing(|| format!("open sysctl {name}"))?;
        Ok((name, fd.into()))
    }
}

/// Mounts a proc in no place. A kernel before 5.2 cannot, and before 5.8 it is the common one again; a process that may not
/// mount, or that sees not all of its own /proc, is refused.
fn own_proc() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The file of a setting. A name that would lead out of `/proc/sys` is no name.
fn path(name: &str) -> Result<PathBuf> {
    let clean = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.split('/').all(clean) {
        Ok(Path::new("/proc/sys").join(name))
    } else {
        Err(Error::plain(format!("find sysctl {name:?}"), "not a name below /proc/sys"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_with_a_dot_keeps_its_name() {
        let conf = Conf { family: Family::V6, link: "eth0.100", key: "accept_ra" };
        assert_eq!(path(&conf.to_string()).unwrap(), Path::new("/proc/sys/net/ipv6/conf/eth0.100/accept_ra"));
    }

    #[test]
    fn no_name_leads_out_of_proc_sys() {
        for name in ["", "/etc/passwd", "net/../../self/mem", "net/./x", "net//x", "net/", "..", "net/a\0b"] {
            assert!(path(name).is_err(), "{name:?}");
        }
        let conf = Conf { family: Family::V4, link: "../../../kernel", key: "hostname" };
        assert!(conf.read().is_err());
    }

    #[test]
    fn a_folder_and_a_name_lead_to_the_same_setting() {
        let folder = Folder::here(Family::V4).0.unwrap();
        let conf = Conf { family: Family::V4, link: "lo", key: "disable_policy" };
        assert_eq!(folder.read(conf.link, conf.key).unwrap(), conf.read().unwrap());
        assert!(folder.read("no-such-link", conf.key).unwrap_err().is_absent());
    }

    #[test]
    fn reads_without_the_line_end() {
        assert_eq!(read("kernel/ostype").unwrap(), "Linux");
        assert!(!ensure("kernel/ostype", "Linux").unwrap(), "what fits is left alone");
        let absent = read("net/ipv4/conf/no-such-link/arp_notify").unwrap_err();
        assert!(absent.is_absent());
        assert_eq!(
            absent.to_string(),
            "read sysctl net/ipv4/conf/no-such-link/arp_notify: no such file or directory"
        );
    }
}
