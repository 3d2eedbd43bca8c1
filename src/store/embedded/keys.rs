//! Keysets: publishing, claiming, and the log of an account's identities.
//!
//! Must not know how a pool keeps its items.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::model::{MailboxId, UnixMs};
use crate::store::embedded::fault::Undo;
use crate::store::embedded::writer::Tx;
use crate::store::embedded::{devices, pools};
use crate::store::{
    Claim, ClaimTarget, Claimed, Error, Item, KeyLogEntry, Keyset, PoolUpload, Upload, Uploaded, digest,
};

/// A keyset's row.
struct StoredKeyset {
    id: i64,
    identity: Vec<u8>,
    statement: Option<Vec<u8>>,
    identity_version: u32,
}

/// Publishes; a refusal changes nothing.
pub(super) fn upload(tx: &mut Tx<'_>, upload: &Upload) -> Result<Uploaded, Undo<Uploaded>> {
    tx.take_room(size_of(upload))?;
    let conn = tx.conn;
    let Some(owner) = devices::owner(conn, upload.mailbox)? else {
        return Err(Undo::Refused(Uploaded::NoDevice));
    };
    let old = find(conn, upload.mailbox, &upload.suite)?;
    let Some(identity) = upload
        .identity
        .as_deref()
        .or(old.as_ref().map(|old| &old.identity[..]))
    else {
        return Err(Undo::Refused(Uploaded::NoIdentity));
    };
    let identity_changed = old.as_ref().is_none_or(|old| old.identity != identity);
    let identity_version = old.as_ref().map_or(0, |old| old.identity_version) + u32::from(identity_changed);
    let keyset = save(conn, upload, (identity, identity_version))?;
    let mut ignored = Vec::new();
    for (name, change) in &upload.pools {
        let ids = change_pool(conn, keyset, name, change, upload)?;
        ignored.extend(ids.into_iter().map(|id| (name.clone(), id)));
    }
    if identity_changed {
        append_log(conn, &owner.account, |last| {
            digest::key_log_entry(last, upload.now, &owner.device_id, &upload.suite, identity)
        })?;
    }
    Ok(Uploaded::Done {
        counts: pools::counts(conn, keyset)?,
        ignored,
        identity_version,
        identity_changed,
    })
}

/// A device's keyset.
pub(super) fn keyset(conn: &Connection, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
    let conn = &*conn.unchecked_transaction()?;
    let Some(row) = find(conn, mailbox, suite)? else {
        return Ok(None);
    };
    let counts = pools::counts(conn, row.id)?;
    let mut fallbacks = Vec::new();
    for count in counts.iter().filter(|count| count.fallback) {
        let pool = pools::find(conn, row.id, &count.pool)?;
        if let Some(item) = pool
            .map(|pool| pools::fallback(conn, pool))
            .transpose()?
            .flatten()
        {
            fallbacks.push((&count.pool, item));
        }
    }
    let digest = digest::keyset(&row.identity, fallbacks.iter().map(|(pool, item)| (*pool, item)));
    Ok(Some(Keyset {
        identity: row.identity.into(),
        statement: row.statement.map(Into::into),
        identity_version: row.identity_version,
        counts,
        digest,
    }))
}

/// The suites for which a device has published, in their order.
pub(super) fn suites(conn: &Connection, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
    let mut select = conn.prepare_cached("SELECT suite FROM keyset WHERE mailbox = ?1")?;
    let mut rows = select.query([mailbox.0.cast_signed()])?;
    let mut suites = Vec::new();
    while let Some(row) = rows.next()? {
        suites.push(Suite::parse(&row.get::<_, String>(0)?)?);
    }
    suites.sort();
    Ok(suites)
}

/// Drops a pool's queue; whether there is such a pool.
pub(super) fn drop_queue(
    tx: &mut Tx<'_>,
    mailbox: MailboxId,
    suite: &Suite,
    pool: &PoolName,
) -> Result<bool, Undo<bool>> {
    let Some(keyset) = find(tx.conn, mailbox, suite)? else {
        return Ok(false);
    };
    let Some(pool) = pools::find(tx.conn, keyset.id, pool)? else {
        return Ok(false);
    };
    pools::clear(tx.conn, pool)?;
    Ok(true)
}

/// Claims for every target that has a keyset.
pub(super) fn claim(tx: &mut Tx<'_>, claim: &Claim) -> Result<Vec<Claimed>, Undo<Vec<Claimed>>> {
    let mut claimed = Vec::new();
    for target in &claim.targets {
        if let Some(keyset) = find(tx.conn, target.mailbox, &claim.suite)? {
            claimed.push(claim_one(tx.conn, claim, target, keyset)?);
        }
    }
    Ok(claimed)
}

/// Entries of an account's key log.
pub(super) fn log(
    conn: &Connection,
    account: &AccountId,
    after: u64,
    limit: usize,
) -> Result<Vec<KeyLogEntry>, Error> {
    let mut select = conn.prepare_cached(
        "SELECT seq, at, device_id, suite, identity_hash, hash FROM key_log
         WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query((account.as_str(), after, limit))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(decode_entry(row)?);
    }
    Ok(entries)
}

/// Bytes that an upload brings, about.
fn size_of(upload: &Upload) -> usize {
    let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let items = upload.pools.iter().flat_map(|(_, pool)| {
        let queued = pool.add.iter().chain(pool.replace.iter().flatten());
        queued.chain(&pool.fallback)
    });
    let items = items.map(|item| item.id.len() + item.data.len() + bytes(&item.signature));
    bytes(&upload.identity) + bytes(&upload.statement) + items.sum::<usize>()
}

/// Applies an upload to one pool; the ids of the items that were ignored.
fn change_pool(
    conn: &Connection,
    keyset: i64,
    name: &PoolName,
    change: &PoolUpload,
    upload: &Upload,
) -> Result<Vec<Arc<str>>, Undo<Uploaded>> {
    let pool = pools::ensure(conn, keyset, name)?;
    pools::trim_tombstones(conn, pool, upload.now)?;
    if change.replace.is_some() {
        pools::clear(conn, pool)?;
    }
    let mut ignored = Vec::new();
    for items in change.replace.iter().chain([&change.add]) {
        match pools::append(conn, pool, items, upload.now)? {
            Ok(ids) => ignored.extend(ids),
            Err(pools::Taken(item)) => {
                let pool = name.clone();
                return Err(Undo::Refused(Uploaded::Conflict { pool, item }));
            }
        }
    }
    if pools::count(conn, pool)? > u64::from(upload.max_items) {
        return Err(Undo::Refused(Uploaded::TooMany { pool: name.clone() }));
    }
    if let Some(item) = &change.fallback {
        pools::set_fallback(conn, pool, item)?;
    }
    Ok(ignored)
}

fn claim_one(
    conn: &Connection,
    claim: &Claim,
    target: &ClaimTarget,
    keyset: StoredKeyset,
) -> Result<Claimed, Error> {
    let mut items = Vec::with_capacity(claim.pools.len());
    let mut touched = Vec::<&PoolName>::new();
    for name in &claim.pools {
        let Some(pool) = pools::find(conn, keyset.id, name)? else {
            items.push(None);
            continue;
        };
        let item = serve(conn, pool, claim, target)?;
        if item.is_some() && !touched.contains(&name) {
            touched.push(name);
        }
        items.push(item);
    }
    let counts = pools::counts(conn, keyset.id)?;
    let count = |name: &&PoolName| counts.iter().find(|count| count.pool == **name).cloned();
    Ok(Claimed {
        mailbox: target.mailbox,
        identity: keyset.identity.into(),
        statement: keyset.statement.map(Into::into),
        items,
        touched: touched.iter().filter_map(count).collect(),
    })
}

/// The head of the queue unless it is to be spared, else the fallback.
fn serve(
    conn: &Connection,
    pool: pools::PoolId,
    claim: &Claim,
    target: &ClaimTarget,
) -> Result<Option<Item>, Error> {
    if !target.spare_queue
        && let Some(item) = pools::take(conn, pool, claim.now)?
    {
        return Ok(Some(item));
    }
    let fallback = pools::fallback(conn, pool)?;
    if fallback.is_some() {
        pools::mark_fallback(conn, pool, true)?;
    }
    Ok(fallback)
}

fn find(conn: &Connection, mailbox: MailboxId, suite: &Suite) -> Result<Option<StoredKeyset>, Error> {
    let row = conn
        .prepare_cached(
            "SELECT id, identity, statement, identity_version FROM keyset WHERE mailbox = ?1 AND suite = ?2",
        )?
        .query_row((mailbox.0.cast_signed(), suite.as_str()), |row| {
            Ok(StoredKeyset {
                id: row.get(0)?,
                identity: row.get(1)?,
                statement: row.get(2)?,
                identity_version: row.get(3)?,
            })
        })
        .optional()?;
    Ok(row)
}

/// Writes the keyset's row, unless it says the same already; its number.
fn save(conn: &Connection, upload: &Upload, (identity, version): (&[u8], u32)) -> Result<i64, Error> {
    let name = (upload.mailbox.0.cast_signed(), upload.suite.as_str());
    let statement = upload.statement.as_deref();
    conn.prepare_cached(
        "INSERT INTO keyset (mailbox, suite, identity, statement, identity_version) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET identity = excluded.identity, identity_version = excluded.identity_version,
            statement = coalesce(excluded.statement, statement)
         WHERE identity <> excluded.identity OR statement IS NOT coalesce(excluded.statement, statement)",
    )?
    .execute((name.0, name.1, identity, statement, version))?;
    let id = conn
        .prepare_cached("SELECT id FROM keyset WHERE mailbox = ?1 AND suite = ?2")?
        .query_row(name, |row| row.get(0))?;
    Ok(id)
}

fn append_log(
    conn: &Connection,
    account: &AccountId,
    entry: impl FnOnce(Option<(u64, [u8; 32])>) -> KeyLogEntry,
) -> Result<(), Error> {
    let last: Option<(i64, [u8; 32])> = conn
        .prepare_cached("SELECT seq, hash FROM key_log WHERE account = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([account.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let entry = entry(last.map(|(seq, hash)| (seq.cast_unsigned(), hash)));
    conn.prepare_cached("INSERT INTO key_log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute((
            account.as_str(),
            entry.seq.cast_signed(),
            entry.at.0.cast_signed(),
            entry.device_id.as_str(),
            entry.suite.as_str(),
            entry.identity_hash,
            entry.hash,
        ))?;
    Ok(())
}

fn decode_entry(row: &Row<'_>) -> Result<KeyLogEntry, Error> {
    Ok(KeyLogEntry {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        at: UnixMs(row.get::<_, i64>(1)?.cast_unsigned()),
        device_id: DeviceId::parse(&row.get::<_, String>(2)?)?,
        suite: Suite::parse(&row.get::<_, String>(3)?)?,
        identity_hash: row.get(4)?,
        hash: row.get(5)?,
    })
}
