//! Whose rights a process has.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, geteuid, getuid, initgroups, setresgid, setresuid};

use crate::error::{Doing, Error, Result};

/// A user whom the system knows (passwd(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// What the user is called.
    pub name: String,
    /// The user's own folder.
    pub home: PathBuf,
    uid: Uid,
    gid: Gid,
}

/// The number of the user who called this process, whatever it may do.
pub fn caller() -> u32 {
    getuid().as_raw()
}

/// The number of the user with whose rights this process does what it does.
pub fn effective() -> u32 {
    geteuid().as_raw()
}

impl User {
    /// The user of this number.
    ///
    /// # Errors
    /// There is none, or /etc/passwd cannot be read.
    pub fn numbered(uid: u32) -> Result<User> {
        let doing = || format!("look up user {uid}");
        let found = nix::unistd::User::from_uid(Uid::from_raw(uid)).doing(doing)?;
        let user = found.ok_or_else(|| Error::plain(doing(), "there is none"))?;
        Ok(User { name: user.name, home: user.dir, uid: user.uid, gid: user.gid })
    }

    /// Becomes the user, with all groups, for good.
    ///
    /// # Errors
    /// `EPERM` without the capabilities CAP_SETUID and CAP_SETGID, `EINVAL` for a user whom this user namespace does not have.
    pub fn become_for_good(&self) -> Result<()> {
        let doing = || format!("become user {}", self.name);
        let name =
            CString::new(self.name.as_str()).map_err(|_| Error::plain(doing(), "no name of a user"))?;
        initgroups(&name, self.gid).doing(doing)?;
        setresgid(self.gid, self.gid, self.gid).doing(doing)?;
        setresuid(self.uid, self.uid, self.uid).doing(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_number() {
        let root = User::numbered(0).unwrap();
        assert_eq!((root.name.as_str(), root.home), ("root", "/root".into()));
        assert!(
            User::numbered(4_000_000_000).unwrap_err().to_string().starts_with("look up user 4000000000")
        );
    }
}
