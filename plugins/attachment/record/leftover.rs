//! Records that somebody who knows no network looks at: does an ADD hold one, and may it go?

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cni::call::Owner;
use cni::error::{Error, OrFail, Result};
use cni::files;

use super::{FOLDER, PLUGINS, Record, look, place_of};
use crate::attachment::life::Life;

/// A file among the records.
pub struct Leftover {
    /// Where it is.
    pub file: PathBuf,
    /// Whose it is, by its name.
    pub owner: Owner,
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// It is an ADD's that is under way, or was replaced.
    Kept,
}

/// Every file that is named like a record.
///
/// # Errors
/// What the file system says.
pub fn all() -> Result<Vec<Leftover>> {
    let named = files::of_folder(Path::new(FOLDER))?.into_iter().filter_map(|file| {
        let owner = Owner::read(file.file_name()?.to_str()?.split('.').next()?)?;
        Some(Leftover { file, owner })
    });
    let mut all: Vec<Leftover> = named.collect();
    all.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(all)
}

/// The files that an owner may have, which his name leads to: whoever asks for many owners does not read the folder for each.
fn of(owner: &Owner) -> impl Iterator<Item = Leftover> {
    PLUGINS.iter().map(|plugin| Leftover { file: place_of(plugin, owner), owner: owner.clone() })
}

/// Is an ADD of this owner under way? It holds its record's lock from before its first claim until it has answered.
///
/// # Errors
/// What the file system says: a record that cannot be opened for want of memory, say, may be held all the same.
pub fn is_under_way(owner: &Owner) -> Result<bool> {
    for record in of(owner) {
        if let Some(file) = record.open()?
            && is_held(file.try_lock_shared())?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether somebody else holds the lock that was tried.
///
/// # Errors
/// The kernel could not say.
pub fn is_held(tried: Result<(), TryLockError>) -> Result<bool> {
    match tried {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).doing(|| "try the lock of a record".into()),
    }
}

/// What an owner's life hangs by, as his records say.
///
/// # Errors
/// What the file system says.
pub fn lives_of(owner: &Owner) -> Result<Vec<Life>> {
    let mut lives = Vec::new();
    for record in of(owner) {
        lives.extend(record.record()?.and_then(|record| record.life));
    }
    Ok(lives)
}

impl Leftover {
    /// Opens it, for its lock; `None` if it is gone, or no file of ours, which nobody holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(&self) -> Result<Option<File>> {
        match files::open(&self.file, File::options().read(true)) {
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error().is_none() => Ok(None),
            opened => opened.map(Some).doing(|| format!("read the record {}", self.file.display())),
        }
    }

    /// What it says; `None` if it is gone, or says what is no record.
    ///
    /// # Errors
    /// What the file system says.
    pub fn record(&self) -> Result<Option<Record>> {
        Ok(look(&self.file)?.record())
    }

    /// Removes the file if no ADD holds it and if `is_stale` says so while none can.
    ///
    /// # Errors
    /// Those of `is_stale`; what the file system says.
    pub fn remove_if(&self, is_stale: impl FnOnce() -> Result<bool>) -> Result<Outcome> {
        let doing = || format!("remove the record {}", self.file.display());
        let Some(held) = self.open()? else { return Ok(Outcome::Kept) };
        // Shared, so that an ADD that meets us knows that it may wait.
        if is_held(held.try_lock_shared()).doing(doing)? || !is_stale()? {
            return Ok(Outcome::Kept);
        }
        let now = fs::symlink_metadata(&self.file).map(|now| (now.dev(), now.ino()));
        let held = held.metadata().map(|held| (held.dev(), held.ino()));
        match (now, held) {
            (Ok(now), Ok(held)) if now == held => {
                fs::remove_file(&self.file).doing(doing)?;
                Ok(Outcome::Removed)
            }
            (Ok(_) | Err(_), Ok(_)) => Ok(Outcome::Kept),
            (_, Err(error)) => Err::<Outcome, Error>(Error::internal(error.to_string())).doing(doing),
        }
    }
}
