//! The store's directory: who may hold it, who may read it, and how much room is left.
//!
//! Must not know what is in the database.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError, metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::store::embedded::OpenError;

/// The database's name in its directory.
pub(super) const DATABASE: &str = "chatctl.sqlite";
const LOG: &str = "chatctl.sqlite-wal";
const SHARED: &str = "chatctl.sqlite-shm";
const LOCK: &str = "chatctl.lock";

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
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = private(&path.join(LOCK))?;
        // A file of its own: closing any descriptor of the database would drop SQLite's own locks.
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Held(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        drop(private(&path.join(DATABASE))?);
        sync(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        Ok(Self {
            path: path.to_owned(),
            lock: Mutex::new(Some(lock)),
        })
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
            match std::fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
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

/// Makes the names in a directory durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
