//! From a backup to a store: checked first, made ready beside, and named last.
//!
//! Owns the order of things: until the new store has its name, the old one or none is there, whatever happens. Must
//! not know command lines.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use chatctl_protocol::EnvelopeId;
use rusqlite::{Connection, OpenFlags};

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::backup::Contents;
use crate::store::embedded::backup::afresh::{self, Afresh};
use crate::store::embedded::backup::contents;
use crate::store::embedded::backup::copy::private_new;
use crate::store::embedded::backup::seal::{self, Found, Told};
use crate::store::embedded::files::{self, Directory};
use crate::store::embedded::{OpenError, schema};

pub use afresh::Carried;

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The backup.
    pub backup: PathBuf,
    /// The store's directory; it may be missing.
    pub directory: PathBuf,
    /// When it is.
    pub at: UnixMs,
    /// Whether a store that is there is put aside.
    pub replace: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup held.
    pub contents: Contents,
    /// One-time keys that nobody gets any more.
    pub burned: u64,
    /// Devices that are told of the gap.
    pub told: u64,
    /// Every id from now on is above this one.
    pub id_floor: EnvelopeId,
    /// Where the store is that was there, if one was.
    pub aside: Option<PathBuf>,
    /// What that one still knew of the time since the backup, if it could be asked.
    pub carried: Option<Carried>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else, or its end is missing.
    #[error("{} is no backup, or not all of it", .0.display())]
    NoBackup(PathBuf),
    /// Its digest is another one.
    #[error("{} was damaged: its digest is another one", .0.display())]
    Damaged(PathBuf),
    /// SQLite finds faults in it.
    #[error("{} does not fit together: {found}", path.display())]
    Unsound {
        /// Which.
        path: PathBuf,
        /// The first fault.
        found: String,
    },
    /// Somebody said so, before anything was changed.
    #[error("stopped")]
    Stopped,
    /// There is a store already.
    #[error("there is a store in {}", .0.display())]
    InTheWay(PathBuf),
    /// The directory or what is in the backup cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is in the backup cannot be read.
    #[error("what the backup holds cannot be made into a store")]
    Store(#[from] Error),
}

/// Reads a backup to its end, and says what is in it. Tells how many bytes it has read.
///
/// # Errors
///
/// [`RestoreError`] when it is not good.
pub fn check(backup: &Path, told: Told<'_>) -> Result<Contents, RestoreError> {
    take_off(backup, &mut io::sink(), told)?;
    // Nobody writes it, and its folder may be one that cannot be written.
    let name = backup.to_string_lossy();
    let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let conn = Connection::open_with_flags(
        format!("file:{name}?immutable=1"),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(OpenError::from)?;
    sound(&conn, backup)
}

/// What would be in the way, without changing anything.
///
/// # Errors
///
/// [`RestoreError::InTheWay`], [`OpenError::Held`].
pub fn look(order: &Order) -> Result<(), RestoreError> {
    if !is_there(&order.directory)? {
        return Ok(());
    }
    // Where a store is, there is a lock's file, and to try it changes nothing.
    let held = Directory::hold_store(&order.directory);
    match (held, order.replace) {
        (Err(error @ (OpenError::Held(_) | OpenError::Io(_))), _) => Err(error.into()),
        (_, true) => Ok(()),
        (_, false) => Err(RestoreError::InTheWay(order.directory.clone())),
    }
}

/// Makes a store out of a backup. Tells how many bytes of the backup it has read. Cut off anywhere, it leaves what was
/// there, or the restored store.
///
/// # Errors
///
/// [`RestoreError`]; the directory is as it was, but for being there.
pub fn restore(order: &Order, told: Told<'_>) -> Result<Restored, RestoreError> {
    drop(opened(&order.backup)?);
    let occupied = is_there(&order.directory)?;
    if occupied && !order.replace {
        return Err(RestoreError::InTheWay(order.directory.clone()));
    }
    let held = Directory::hold_bare(&order.directory)?;
    let of_directory = |what, source| RestoreError::Io {
        what,
        path: order.directory.clone(),
        source,
    };
    held.clear_scratch()
        .and_then(|()| held.hand_lock_over())
        .map_err(|error| of_directory("write to", error))?;
    let made = prepare(order, &held, occupied, told);
    let named = made.and_then(|mut restored| {
        if occupied {
            let aside =
                put_aside(&held, order.at).map_err(|error| of_directory("put aside what is in", error));
            restored.aside = Some(aside?);
        }
        held.install().map_err(|error| of_directory("write to", error))?;
        Ok(restored)
    });
    if named.is_err() {
        // The first error is the one to tell.
        let _ = held.clear_scratch();
    }
    named
}

/// Makes everything ready under a name that nobody opens.
fn prepare(
    order: &Order,
    held: &Directory,
    occupied: bool,
    told: Told<'_>,
) -> Result<Restored, RestoreError> {
    let path = held.scratch_for_restore();
    let unwritten = |source| RestoreError::Io {
        what: "write",
        path: path.clone(),
        source,
    };
    let mut file = private_new(&path).map_err(unwritten)?;
    held.hand_over(&file).map_err(unwritten)?;
    take_off(&order.backup, &mut file, told)?;
    let mut conn = Connection::open(&path).map_err(OpenError::from)?;
    // Durable at once and whole below, or thrown away.
    conn.pragma_update(None, "synchronous", "OFF")
        .and_then(|()| conn.pragma_update(None, "journal_mode", "MEMORY"))
        .map_err(OpenError::from)?;
    let contents = sound(&conn, &order.backup)?;
    contents::unmark(&mut conn).map_err(OpenError::from)?;
    schema::migrate(&mut conn)?;
    let carried = match occupied {
        true => attach(&conn, held),
        false => None,
    };
    let (afresh, carried) = forget(&mut conn, order.at.max(contents.at), carried.is_some())?;
    conn.close().map_err(|(_, error)| OpenError::from(error))?;
    file.sync_all().map_err(unwritten)?;
    let Afresh {
        burned,
        told,
        id_floor,
    } = afresh;
    Ok(Restored {
        contents,
        burned,
        told,
        id_floor,
        aside: None,
        carried,
    })
}

/// All of it in one transaction.
fn forget(
    conn: &mut Connection,
    at: UnixMs,
    carries: bool,
) -> Result<(Afresh, Option<Carried>), RestoreError> {
    let transaction = conn.transaction().map_err(Error::from)?;
    let carried = match carries {
        true => Some(afresh::carry(&transaction)?),
        false => None,
    };
    let afresh = afresh::begin(&transaction, at)?;
    transaction.commit().map_err(Error::from)?;
    Ok((afresh, carried))
}

/// Attaches the store that is there, if it can be read: it knows what the backup does not.
fn attach(conn: &Connection, held: &Directory) -> Option<()> {
    settle(held).ok()?;
    let database = held.database();
    let name = database.to_str()?;
    conn.execute("ATTACH ?1 AS old", [name]).ok()?;
    match afresh::can_carry(conn) {
        Ok(true) => Some(()),
        Ok(false) | Err(_) => {
            let _ = conn.execute("DETACH old", []);
            None
        }
    }
}

/// Copies the log of the store that is there into it, so that it is one file.
fn settle(held: &Directory) -> Result<(), OpenError> {
    let conn = schema::rest(&held.database())?;
    if schema::found(&conn)?.is_none() {
        return Err(OpenError::NotAStore);
    }
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}

fn put_aside(held: &Directory, at: UnixMs) -> io::Result<PathBuf> {
    let stamp: String = at
        .rfc3339()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric())
        .collect();
    let suffix = format!("before-{stamp}");
    match settle(held) {
        Ok(()) => held.put_aside(&suffix),
        Err(_) => held.put_broken_aside(&suffix),
    }
}

/// Takes the seal off a backup, and compares it.
fn take_off(backup: &Path, into: &mut impl io::Write, told: Told<'_>) -> Result<(), RestoreError> {
    let unread = |source| RestoreError::Io {
        what: "read",
        path: backup.to_owned(),
        source,
    };
    let mut file = opened(backup)?;
    let bytes = file.metadata().map_err(unread)?.len();
    let read = seal::unseal(&mut file, bytes, into, told);
    let read = read.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => RestoreError::Stopped,
        _ => unread(error),
    });
    match read? {
        Found::Whole => Ok(()),
        Found::NoSeal => Err(RestoreError::NoBackup(backup.to_owned())),
        Found::Other => Err(RestoreError::Damaged(backup.to_owned())),
    }
}

/// Opens a backup, if it can be one.
fn opened(backup: &Path) -> Result<File, RestoreError> {
    let unread = |source| RestoreError::Io {
        what: "read",
        path: backup.to_owned(),
        source,
    };
    let file = File::open(backup).map_err(unread)?;
    match file.metadata().map_err(unread)?.is_file() {
        true => Ok(file),
        false => Err(RestoreError::NoBackup(backup.to_owned())),
    }
}

/// What is in a backup, if SQLite finds nothing wrong with it.
fn sound(conn: &Connection, backup: &Path) -> Result<Contents, RestoreError> {
    let contents = contents::read(conn).map_err(|error| match error {
        OpenError::NotAStore => RestoreError::NoBackup(backup.to_owned()),
        other => other.into(),
    })?;
    let found: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(OpenError::from)?;
    match found.as_str() {
        "ok" => Ok(contents),
        _ => Err(RestoreError::Unsound {
            path: backup.to_owned(),
            found,
        }),
    }
}

/// Whether a database is there; an empty file is none.
fn is_there(directory: &Path) -> Result<bool, RestoreError> {
    let path = directory.join(files::DATABASE);
    match fs::metadata(&path) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(RestoreError::Io {
            what: "look at",
            path,
            source,
        }),
    }
}
