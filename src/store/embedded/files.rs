//! The store's directory: who may hold it, who may read it, and how much room is left.
//!
//! Must not know what is in the database.

use std::fs::{
    DirBuilder, File, OpenOptions, Permissions, TryLockError, hard_link, metadata, remove_file, rename,
};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::store::embedded::OpenError;

/// The database's name in its directory.
pub(super) const DATABASE: &str = "chatctl.sqlite";
const LOG: &str = "chatctl.sqlite-wal";
const SHARED: &str = "chatctl.sqlite-shm";
const LOCK: &str = "chatctl.lock";
/// Where a backup is made; nobody needs what a crash has left there.
const BACKUP: &str = "chatctl.backup.tmp";
/// Where a store is made ready before it gets its name.
const RESTORE: &str = "chatctl.restore.tmp";

/// A store's directory, held by this process until it is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: Mutex<Option<File>>,
}

impl Directory {
    /// Makes the directory and the database file when they are missing, readable by their owner
    /// alone, and takes the lock.
    ///
    /// # Errors
    ///
    /// [`OpenError::Held`] when another process, or another store of this one, holds it.
    pub(super) fn hold(path: &Path) -> Result<Self, OpenError> {
        let held = Self::hold_bare(path)?;
        held.clear_scratch()?;
        drop(private(&held.database())?);
        sync(path)?;
        Ok(held)
    }

    /// As [`Self::hold`], where a store is already.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotAStore`] where none is; as [`Self::hold`].
    pub(super) fn hold_store(path: &Path) -> Result<Self, OpenError> {
        match metadata(path.join(DATABASE)) {
            Ok(database) if database.len() > 0 => Self::hold_bare(path),
            Ok(_) => Err(OpenError::NotAStore),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::NotAStore),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the directory when it is missing and takes the lock. Makes no database.
    ///
    /// # Errors
    ///
    /// As [`Self::hold`].
    pub(super) fn hold_bare(path: &Path) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = private(&path.join(LOCK))?;
        // A file of its own: closing any descriptor of the database would drop SQLite's own locks.
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Held(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        Ok(Self {
            path: path.to_owned(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a backup is made.
    pub(super) fn scratch_for_backup(&self) -> PathBuf {
        self.path.join(BACKUP)
    }

    /// Where a store is made ready before it gets its name.
    pub(super) fn scratch_for_restore(&self) -> PathBuf {
        self.path.join(RESTORE)
    }

    /// Removes what was left there by whoever was cut off.
    pub(super) fn clear_scratch(&self) -> io::Result<()> {
        for name in [BACKUP, RESTORE] {
            remove(&self.path.join(name))?;
            remove(&self.path.join(format!("{name}-journal")))?;
        }
        Ok(())
    }

    /// Gives what was made ready its name, in the place of what has it. Durable when it returns.
    pub(super) fn install(&self) -> io::Result<()> {
        rename(self.scratch_for_restore(), self.database())?;
        sync(&self.path)
    }

    /// Gives the database that is there a second name, and removes its log, which has to be in the database by now.
    /// The second name.
    pub(super) fn put_aside(&self, suffix: &str) -> io::Result<PathBuf> {
        let aside = self.path.join(format!("{DATABASE}.{suffix}"));
        hard_link(self.database(), &aside)?;
        for name in [LOG, SHARED] {
            remove(&self.path.join(name))?;
        }
        sync(&self.path)?;
        Ok(aside)
    }

    /// As [`Self::put_aside`], for a database that cannot be read: its log is kept beside it.
    pub(super) fn put_broken_aside(&self, suffix: &str) -> io::Result<PathBuf> {
        let log = self.path.join(LOG);
        match rename(&log, self.path.join(format!("{DATABASE}.{suffix}-wal"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.put_aside(suffix)
    }

    /// Gives a file to whoever the directory is of: root makes stores for others.
    pub(super) fn hand_over(&self, file: &File) -> io::Result<()> {
        let (folder, made) = (metadata(&self.path)?, file.metadata()?);
        if (folder.uid(), folder.gid()) == (made.uid(), made.gid()) {
            return Ok(());
        }
        fchown(file, Some(folder.uid()), Some(folder.gid()))
    }

    /// Gives the lock's file to whoever the directory is of.
    pub(super) fn hand_lock_over(&self) -> io::Result<()> {
        self.lock
            .lock()
            .as_ref()
            .map_or(Ok(()), |lock| self.hand_over(lock))
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Lets others have the directory.
    pub(super) fn release(&self) {
        drop(self.lock.lock().take());
    }

    /// Deletes the database. The lock's file stays, or two could hold two files of its name.
    pub(super) fn remove_database(&self) -> io::Result<()> {
        // The log first: a new database beside an old log would take what the log says for its own.
        for name in [LOG, SHARED, DATABASE] {
            remove(&self.path.join(name))?;
        }
        sync(&self.path)
    }

    /// What is free and what is taken.
    pub(super) fn sizes(&self) -> io::Result<Sizes> {
        let disk = rustix::fs::statvfs(&self.path)?;
        let log = match metadata(self.path.join(LOG)) {
            Ok(log) => log.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Sizes {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            database: metadata(self.database())?.len(),
            log,
        })
    }
}

/// Bytes of a store's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// That this process may still write here.
    pub(super) free: u64,
    /// Of the database's file.
    pub(super) database: u64,
    /// Of the write-ahead log's file.
    pub(super) log: u64,
}

/// Opens or makes a file that its owner alone may read; the WAL takes the database's mode over.
fn private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in a directory durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
