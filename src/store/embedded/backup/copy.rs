//! A copy of the database in one moment, while others write: SQLite's own `VACUUM INTO`, watched.
//!
//! Owns the copy's file until it is open without a name, and what ends the work early. Must not know what is copied,
//! nor who waits for it.
//!
//! # Why
//!
//! Not page by page: pages hold what was deleted until something else needs them, and a relay's backup should not
//! keep mail that was acked. The copy has only what is there, and is as small as that.
//!
//! The copy goes to the disk in small pieces. All of it at its end would hold up the fsync that senders wait for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::backup::{BackupError, Contents};
use crate::store::embedded::OpenError;
use crate::store::embedded::backup::contents;
use crate::store::embedded::files::Directory;
use crate::store::embedded::room::Room;
use crate::store::embedded::schema;

/// Whether nobody waits for the copy any more.
pub type Stop = Box<dyn Fn() -> bool + Send>;

/// The work: where, and what has to stay free.
pub(super) struct Copying<'a> {
    /// Whose database, and where the copy is made.
    pub(super) directory: &'a Directory,
    /// Bytes that stay free on the disk.
    pub(super) reserve: u64,
    /// When it is.
    pub(super) at: UnixMs,
    /// Asked now and then.
    pub(super) stop: Stop,
}

impl Copying<'_> {
    /// Copies what the connection sees. The file has no name any more.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; nothing is left behind.
    pub(super) fn make(self, mut source: Connection) -> Result<(File, Contents), BackupError> {
        // What is deleted is not copied, so its pages count for nothing.
        let needed = schema::bytes_in_use(&source).map_err(unread)?;
        let room = Room::look(&source, self.directory)?;
        let free = room.beside(self.reserve);
        if free < needed {
            return Err(BackupError::NoRoom { needed, free });
        }
        let path = self.directory.scratch_for_backup();
        self.directory.clear_scratch().map_err(unwritten)?;
        let _gone = Gone(path.clone());
        let file = private_new(&path).map_err(unwritten)?;
        let why = Arc::new(Mutex::new(None));
        let watch = Watch {
            file: file.try_clone().map_err(unwritten)?,
            folder: self.directory.path().to_owned(),
            reserve: self.reserve,
            stop: self.stop,
            synced: 0,
            needed,
            why: Arc::clone(&why),
        };
        let copied = vacuum(&mut source, &path, watch);
        drop(source);
        if let Some(why) = why.lock().take() {
            return Err(why);
        }
        copied.map_err(unread)?;
        let contents = marked(&path, self.at).map_err(harmless)?;
        Ok((file, contents))
    }
}

fn vacuum(source: &mut Connection, path: &Path, mut watch: Watch) -> rusqlite::Result<()> {
    // The file is read once and then forgotten: nothing has to be durable.
    source.pragma_update(None, "synchronous", "OFF")?;
    source.progress_handler(OPS, Some(move || watch.is_over()))?;
    source.execute("VACUUM INTO ?1", [&*path.to_string_lossy()])?;
    Ok(())
}

fn marked(path: &Path, at: UnixMs) -> Result<Contents, Error> {
    let mut copy = Connection::open(path)?;
    copy.pragma_update(None, "synchronous", "OFF")?;
    copy.pragma_update(None, "journal_mode", "MEMORY")?;
    contents::mark(&mut copy, at)
}

/// Looks after a copy on its way.
struct Watch {
    file: File,
    folder: PathBuf,
    reserve: u64,
    needed: u64,
    stop: Stop,
    synced: u64,
    why: Arc<Mutex<Option<BackupError>>>,
}

impl Watch {
    /// Whether the work ends here.
    fn is_over(&mut self) -> bool {
        let over = match (self.stop)() {
            true => Some(BackupError::GivenUp),
            false => self.push().err(),
        };
        let is_over = over.is_some();
        if is_over {
            *self.why.lock() = over;
        }
        is_over
    }

    /// Sends what was written to the disk, and looks whether there is room for more.
    fn push(&mut self) -> Result<(), BackupError> {
        let written = self.file.metadata().map_err(unwritten)?.len();
        if written < self.synced + PIECE {
            return Ok(());
        }
        self.synced = written;
        self.file.sync_data().map_err(unwritten)?;
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| unwritten(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match free < self.reserve {
            true => Err(BackupError::NoRoom {
                needed: self.needed.saturating_sub(written),
                free: 0,
            }),
            false => Ok(()),
        }
    }
}

/// Removes a name when it goes.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        // What stays is removed when the store is opened next.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a file that its owner alone may read, and that nobody else has made.
pub(super) fn private_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn unwritten(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::StorageFull => Error::Full.into(),
        _ => Error::Unavailable(error.to_string().into()).into(),
    }
}

/// The copy did not come about. Says nothing about what the writer has written.
fn unread(error: rusqlite::Error) -> BackupError {
    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
        return BackupError::GivenUp;
    }
    harmless(error.into()).into()
}

fn harmless(error: Error) -> Error {
    match error {
        Error::Poisoned(why) => Error::Unavailable(why),
        other @ (Error::Full | Error::Unavailable(_) | Error::Corrupt(_)) => other,
    }
}

/// What cannot even be opened.
pub(super) fn unopened(error: OpenError) -> BackupError {
    Error::Unavailable(error.to_string().into()).into()
}

/// Steps of SQLite between two looks: a few hundred rows.
const OPS: i32 = 1000;

/// Bytes that go to the disk together.
const PIECE: u64 = 2 * 1024 * 1024;
