//! The database: its tables, its settings, and how an older one becomes a newer one.
//!
//! Owns every `CREATE` and `PRAGMA`. Must not know what the rows mean.
//!
//! # Why
//!
//! Mail is a log: its key is the id alone, which grows with time, so writes append at one edge of one
//! tree, and a mailbox's mail is found through a list of ids in memory. A table in the order of the
//! mailboxes is eight times slower, because every commit touches a page for each recipient.
//!
//! For the same reason an ack deletes nothing at once: it is a list of ids, and the rows go later, with their neighbours.
//!
//! The keys of an upload are one row that is written once and read in parts; what is taken from it is
//! counted in a small row elsewhere. Counting in the row itself would write all its keys at each claim.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::model::UnixMs;
use crate::store::embedded::{OpenError, Synchronous};

/// The schema that this version writes.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// "chat": tells our files from others.
pub(super) const STORE_ID: i32 = 0x6368_6174;

/// "chba": a backup is no store, or its keys would be handed out a second time.
pub(super) const BACKUP_ID: i32 = 0x6368_6261;

/// Each brings a database from the version of its index to the next. Never changed once released.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

const VERSION_1: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

    CREATE TABLE mail (
        id INTEGER PRIMARY KEY,
        mailbox INTEGER NOT NULL,
        sender INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        head BLOB NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE TABLE record (
        first_id INTEGER PRIMARY KEY,
        sender INTEGER NOT NULL,
        accepted_at INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE gap (
        mailbox INTEGER NOT NULL,
        reason INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        PRIMARY KEY (mailbox, reason)
    ) WITHOUT ROWID;

    CREATE TABLE account (name TEXT PRIMARY KEY, list_version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE device (
        mailbox INTEGER PRIMARY KEY AUTOINCREMENT,
        account TEXT NOT NULL,
        device_id TEXT NOT NULL,
        registration_id INTEGER NOT NULL,
        incarnation INTEGER NOT NULL,
        attributes TEXT,
        registered_at INTEGER NOT NULL,
        UNIQUE (account, device_id)
    );
    CREATE TABLE past_device (
        account TEXT NOT NULL,
        device_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        PRIMARY KEY (account, device_id)
    ) WITHOUT ROWID;

    CREATE TABLE keyset (
        id INTEGER PRIMARY KEY,
        mailbox INTEGER NOT NULL,
        suite TEXT NOT NULL,
        identity BLOB NOT NULL,
        statement BLOB,
        identity_version INTEGER NOT NULL,
        UNIQUE (mailbox, suite)
    );
    CREATE TABLE pool (
        id INTEGER PRIMARY KEY,
        keyset INTEGER NOT NULL,
        name TEXT NOT NULL,
        fallback_used INTEGER NOT NULL,
        UNIQUE (keyset, name)
    );
    CREATE TABLE fallback (pool INTEGER PRIMARY KEY, item BLOB NOT NULL);
    CREATE TABLE queue (
        pool INTEGER NOT NULL,
        batch INTEGER NOT NULL,
        taken INTEGER NOT NULL,
        total INTEGER NOT NULL,
        PRIMARY KEY (pool, batch)
    ) WITHOUT ROWID;
    CREATE TABLE item_batch (id INTEGER PRIMARY KEY, contents BLOB NOT NULL, items BLOB NOT NULL);
    CREATE TABLE tombstone (
        pool INTEGER NOT NULL,
        hash BLOB NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (pool, hash)
    ) WITHOUT ROWID;
    CREATE TABLE key_log (
        account TEXT NOT NULL,
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        device_id TEXT NOT NULL,
        suite TEXT NOT NULL,
        identity_hash BLOB NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (account, seq)
    ) WITHOUT ROWID;
";

const VERSION_2: &str = "
    ALTER TABLE account ADD COLUMN attributes TEXT;
    CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (version INTEGER PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL);
";

/// Of a revocation, either `jti` or `account` is not empty; without a device, it is about all of the account's.
const VERSION_3: &str = "
    CREATE TABLE revocation (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        jti TEXT NOT NULL,
        account TEXT NOT NULL,
        device_id TEXT NOT NULL,
        up_to INTEGER NOT NULL,
        revoked_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        reason TEXT NOT NULL,
        UNIQUE (jti, account, device_id)
    );
    CREATE INDEX revocation_by_end ON revocation (expires_at);
";

/// Devices that are there already count as seen now: nobody has looked before.
const VERSION_4: &str = "
    ALTER TABLE device ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
    UPDATE device SET seen_at = max(registered_at, CAST(unixepoch('subsec') * 1000 AS INTEGER));
    CREATE INDEX device_by_seen ON device (seen_at);
    CREATE INDEX tombstone_by_time ON tombstone (at);

    CREATE TABLE job (
        name TEXT PRIMARY KEY,
        since INTEGER NOT NULL,
        paused_until INTEGER,
        fence INTEGER NOT NULL,
        last_success INTEGER,
        failures INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE job_run (
        job TEXT NOT NULL,
        tick INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        by_hand INTEGER NOT NULL,
        answers_after INTEGER NOT NULL,
        holder TEXT NOT NULL,
        began_at INTEGER NOT NULL,
        ended_at INTEGER,
        outcome TEXT NOT NULL,
        affected INTEGER NOT NULL,
        counts TEXT NOT NULL,
        oldest INTEGER,
        retries INTEGER NOT NULL,
        error TEXT,
        PRIMARY KEY (job, tick, attempt)
    ) WITHOUT ROWID;
    CREATE INDEX job_run_by_beginning ON job_run (job, began_at, tick, attempt);
    CREATE INDEX job_run_open ON job_run (job) WHERE ended_at IS NULL;
";

/// Acked envelopes whose rows are there still: how far each id is from the one before.
const VERSION_5: &str = "CREATE TABLE acked (number INTEGER PRIMARY KEY, ids BLOB NOT NULL);";

/// Notes when and by what a database became what it is. The time is SQLite's: the store has no clock.
const REMEMBER: &str = "INSERT INTO history VALUES (?1, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?2)";

/// Opens the one connection that writes, and brings the schema up to date.
pub(super) fn writer(path: &Path, synchronous: Synchronous) -> Result<Connection, OpenError> {
    let mut conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Both hold only while the file is empty. Later the second would write, which a full disk refuses.
    if conn.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        conn.pragma_update(None, "page_size", 4096)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal);
    }
    conn.pragma_update(None, "synchronous", level(synchronous))?;
    // Checkpoints are the writer's own, after the answers: SQLite's automatic ones hide their errors.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Nobody else writes; a reader that stays long must not hold a checkpoint up for long.
    conn.busy_timeout(Duration::from_millis(200))?;
    // What savepoints put aside stays in memory.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -32 * 1024)?;
    conn.set_prepared_statement_cache_capacity(128);
    migrate(&mut conn)?;
    Ok(conn)
}

const fn level(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    }
}

/// Opens a connection that copies the log into the database, and writes nothing else. The writer's has to be open.
pub(super) fn checkpointer(path: &Path, synchronous: Synchronous) -> Result<Connection, OpenError> {
    let conn = rest(path)?;
    conn.pragma_update(None, "synchronous", level(synchronous))?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A connection learns of the log with its first read.
    conn.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    Ok(conn)
}

/// Opens a connection that only reads. The writer's has to be open.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Opens a connection that copies what another one writes. It writes nothing but the copy, which counts as writing
/// for SQLite.
pub(super) fn copier(path: &Path) -> Result<Connection, OpenError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    Ok(conn)
}

/// Opens a database that nobody uses as it is. What a crash has left in its log is read with it.
pub(super) fn rest(path: &Path) -> Result<Connection, OpenError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(conn)
}

/// Bytes of the pages that hold something.
pub(super) fn bytes_in_use(conn: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).cast_unsigned())
}

/// Whether there is such a table.
pub(super) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

/// The schema of a database; `None` when nothing is in it yet.
///
/// # Errors
///
/// [`OpenError::NotAStore`], [`OpenError::Backup`], [`OpenError::Newer`].
pub(super) fn found(conn: &Connection) -> Result<Option<i32>, OpenError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let found = pragma("user_version")?;
    let application = pragma("application_id")?;
    if application == BACKUP_ID {
        return Err(OpenError::Backup);
    }
    let is_ours = application == STORE_ID;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (is_ours, found == 0 && tables == 0) {
        (true, _) if found > VERSION => Err(OpenError::Newer {
            found,
            known: VERSION,
        }),
        (true, _) => Ok(Some(found)),
        (false, true) => Ok(None),
        (false, false) => Err(OpenError::NotAStore),
    }
}

/// A time that compares as it should: the end of all days, where SQLite has no number for it.
pub(super) fn time(time: UnixMs) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// A limit of rows.
pub(super) fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Brings a database up to date.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    let is_new = found(conn)?.is_none();
    let found = found(conn)?.unwrap_or(0);
    let Some(missing) = usize::try_from(found)
        .ok()
        .and_then(|found| MIGRATIONS.get(found..))
    else {
        return Err(OpenError::Newer {
            found,
            known: VERSION,
        });
    };
    if missing.is_empty() {
        return Ok(());
    }
    // One transaction: a crash leaves the old version or the new one.
    let transaction = conn.transaction()?;
    for sql in missing {
        transaction.execute_batch(sql)?;
    }
    // The first version kept no history.
    for version in found + 1..=VERSION {
        transaction.execute(REMEMBER, (version, env!("CARGO_PKG_VERSION")))?;
    }
    if is_new {
        let epoch = rand::random::<u64>().max(1).cast_signed();
        transaction.execute(
            "INSERT INTO meta VALUES ('epoch', ?1), ('id_ceiling', 0)",
            [epoch],
        )?;
        transaction.pragma_update(None, "application_id", STORE_ID)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
