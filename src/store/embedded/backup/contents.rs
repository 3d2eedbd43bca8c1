//! What a backup says of itself: the mark that makes it one, and what is in it.
//!
//! Must not know how a copy is made, or what becomes of it.

use rusqlite::Connection;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::backup::Contents;
use crate::store::embedded::{OpenError, acked, schema};

/// Makes a copy of a store into a backup, which no relay opens: it would hand out keys a second time.
/// What was acked is no mail any more: its rows are overwritten in the copy.
pub(super) fn mark(copy: &mut Connection, at: UnixMs) -> Result<Contents, Error> {
    copy.pragma_update(None, "secure_delete", true)?;
    let transaction = copy.transaction()?;
    if schema::has_table(&transaction, "acked")? {
        acked::settle(&transaction)?;
    }
    let contents = Contents {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: transaction.pragma_query_value(None, "user_version", |row| row.get(0))?,
        at,
        store: number(&transaction, "SELECT value FROM meta WHERE name = 'epoch'")?,
        accounts: number(&transaction, "SELECT count(*) FROM account")?,
        devices: number(&transaction, "SELECT count(*) FROM device")?,
        envelopes: number(&transaction, "SELECT count(*) FROM mail")?,
        payload_bytes: number(&transaction, "SELECT coalesce(sum(length(payload)), 0) FROM mail")?,
        one_time_keys: number(&transaction, "SELECT coalesce(sum(total - taken), 0) FROM queue")?,
        records: number(&transaction, "SELECT count(*) FROM record")?,
        revocations: match schema::has_table(&transaction, "revocation")? {
            true => number(&transaction, "SELECT count(*) FROM revocation")?,
            false => 0,
        },
    };
    transaction.execute_batch("CREATE TABLE backup (name TEXT PRIMARY KEY, value) WITHOUT ROWID")?;
    transaction.execute("INSERT INTO backup VALUES ('version', ?1)", [&contents.version])?;
    for (name, value) in numbers(&contents) {
        transaction.execute("INSERT INTO backup VALUES (?1, ?2)", (name, value.cast_signed()))?;
    }
    transaction.pragma_update(None, "application_id", schema::BACKUP_ID)?;
    transaction.commit()?;
    Ok(contents)
}

/// What a backup says of itself.
///
/// # Errors
///
/// [`OpenError::NotAStore`] when it is none, [`OpenError::Newer`] when this version cannot read what is in it.
pub(super) fn read(backup: &Connection) -> Result<Contents, OpenError> {
    let pragma = |name| backup.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id")? != schema::BACKUP_ID {
        return Err(OpenError::NotAStore);
    }
    let found = pragma("user_version")?;
    if found > schema::VERSION {
        return Err(OpenError::Newer {
            found,
            known: schema::VERSION,
        });
    }
    let value = |name: &str| {
        let sql = format!("SELECT value FROM backup WHERE name = '{name}'");
        number(backup, &sql)
    };
    Ok(Contents {
        version: backup.query_row("SELECT value FROM backup WHERE name = 'version'", [], |row| {
            row.get(0)
        })?,
        schema: found.cast_unsigned(),
        at: UnixMs(value("at")?),
        store: value("store")?,
        accounts: value("accounts")?,
        devices: value("devices")?,
        envelopes: value("envelopes")?,
        payload_bytes: value("payload_bytes")?,
        one_time_keys: value("one_time_keys")?,
        records: value("records")?,
        revocations: value("revocations")?,
    })
}

/// Takes the mark off again.
pub(super) fn unmark(copy: &mut Connection) -> rusqlite::Result<()> {
    let transaction = copy.transaction()?;
    transaction.execute_batch("DROP TABLE backup")?;
    transaction.pragma_update(None, "application_id", schema::STORE_ID)?;
    transaction.commit()
}

fn numbers(contents: &Contents) -> [(&'static str, u64); 9] {
    [
        ("at", contents.at.0),
        ("store", contents.store),
        ("accounts", contents.accounts),
        ("devices", contents.devices),
        ("envelopes", contents.envelopes),
        ("payload_bytes", contents.payload_bytes),
        ("one_time_keys", contents.one_time_keys),
        ("records", contents.records),
        ("revocations", contents.revocations),
    ]
}

fn number(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
}
