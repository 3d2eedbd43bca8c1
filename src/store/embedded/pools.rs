//! Pools of one-time items: queues, fallbacks, tombstones.
//!
//! The items of one upload are one row, `item_batch`, written once: `contents` names the items and
//! where each begins, `items` holds them. How many of them are gone is counted in `queue`, a small row
//! elsewhere, so a claim reads one item and writes a few bytes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::PoolName;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _};

use crate::model::{MailboxId, UnixMs};
use crate::store::digest;
use crate::store::embedded::schema;
use crate::store::{Error, Item, PoolCount};

/// A pool's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolId(pub(super) i64);

/// What an upload's row holds: the items' ids in order, and where each item ends.
#[derive(Clone, PartialEq, prost::Message)]
struct Contents {
    #[prost(string, repeated, tag = "1")]
    ids: Vec<String>,
    #[prost(uint32, repeated, tag = "2")]
    ends: Vec<u32>,
}

/// The part of [`Contents`] that a claim needs.
#[derive(Clone, PartialEq, prost::Message)]
struct Ends {
    #[prost(uint32, repeated, tag = "2")]
    ends: Vec<u32>,
}

/// One item, as a row keeps it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct StoredItem {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
    #[prost(bytes = "bytes", optional, tag = "3")]
    signature: Option<Bytes>,
}

impl fmt::Debug for StoredItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredItem({} bytes)", self.data.len())
    }
}

/// An item that waits in a queue: its row, and its place there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    batch: i64,
    begin: u32,
    end: u32,
}

/// The pool of a name, if there is one.
pub(super) fn find(conn: &Connection, keyset: i64, name: &PoolName) -> Result<Option<PoolId>, Error> {
    let id = conn
        .prepare_cached("SELECT id FROM pool WHERE keyset = ?1 AND name = ?2")?
        .query_row((keyset, name.as_str()), |row| row.get(0))
        .optional()?;
    Ok(id.map(PoolId))
}

/// The pool of a name, made when it is missing.
pub(super) fn ensure(conn: &Connection, keyset: i64, name: &PoolName) -> Result<PoolId, Error> {
    if let Some(pool) = find(conn, keyset, name)? {
        return Ok(pool);
    }
    let id = conn
        .prepare_cached("INSERT INTO pool (keyset, name, fallback_used) VALUES (?1, ?2, 0)")?
        .insert((keyset, name.as_str()))?;
    Ok(PoolId(id))
}

/// Every pool of a keyset, in the order of the names.
pub(super) fn counts(conn: &Connection, keyset: i64) -> Result<Vec<PoolCount>, Error> {
    let mut select = conn.prepare_cached(
        "SELECT name, fallback_used, EXISTS (SELECT 1 FROM fallback WHERE pool = id),
                (SELECT coalesce(sum(total - taken), 0) FROM queue WHERE pool = id)
         FROM pool WHERE keyset = ?1 ORDER BY name",
    )?;
    let mut rows = select.query([keyset])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        counts.push(PoolCount {
            pool: PoolName::parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
            count: row.get(3)?,
            fallback: row.get(2)?,
            fallback_used: row.get(1)?,
        });
    }
    Ok(counts)
}

/// The items of a keyset with their pools: each fallback, and each queue's first ones or all.
pub(super) fn some_items(
    conn: &Connection,
    keyset: i64,
    first: Option<usize>,
) -> Result<Vec<(PoolName, Item)>, Error> {
    let mut items = Vec::new();
    for name in counts(conn, keyset)?.into_iter().map(|count| count.pool) {
        let Some(pool) = find(conn, keyset, &name)? else {
            continue;
        };
        for (_, place) in places(conn, pool)?.into_iter().take(first.unwrap_or(usize::MAX)) {
            items.push((name.clone(), read(conn, place)?));
        }
        items.extend(fallback(conn, pool)?.map(|item| (name.clone(), item)));
    }
    Ok(items)
}

/// Items in a pool's queue.
pub(super) fn count(conn: &Connection, pool: PoolId) -> Result<u64, Error> {
    let count: i64 = conn
        .prepare_cached("SELECT coalesce(sum(total - taken), 0) FROM queue WHERE pool = ?1")?
        .query_row([pool.0], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Why an append did not happen: this item's id is taken by other bytes.
#[derive(Debug)]
pub(super) struct Taken(pub(super) Arc<str>);

/// Appends what is new. The ids of items that were handed out before, and are left out for it.
pub(super) fn append(
    conn: &Connection,
    pool: PoolId,
    items: &[Item],
    now: UnixMs,
) -> Result<Result<Vec<Arc<str>>, Taken>, Error> {
    if items.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let queued = places(conn, pool)?;
    let mut ignored = Vec::new();
    let mut fresh = Vec::<&Item>::new();
    for item in items {
        if was_handed_out(conn, pool, item, now)? {
            ignored.push(Arc::clone(&item.id));
            continue;
        }
        if let Some(other) = fresh.iter().find(|other| other.id == item.id) {
            if *other != item {
                return Ok(Err(Taken(Arc::clone(&item.id))));
            }
        } else if let Some((_, place)) = queued.iter().find(|(id, _)| **id == *item.id) {
            if read(conn, *place)? != *item {
                return Ok(Err(Taken(Arc::clone(&item.id))));
            }
        } else {
            fresh.push(item);
        }
    }
    if !fresh.is_empty() {
        write(conn, pool, &fresh)?;
    }
    Ok(Ok(ignored))
}

/// Takes the head of the queue; a claim may waste an item, and never hands one out twice, not even
/// one that was queued twice under two ids.
pub(super) fn take(conn: &Connection, pool: PoolId, now: UnixMs) -> Result<Option<Item>, Error> {
    loop {
        let head: Option<(i64, u32, u32)> = conn
            .prepare_cached("SELECT batch, taken, total FROM queue WHERE pool = ?1 ORDER BY batch LIMIT 1")?
            .query_row([pool.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((batch, taken, total)) = head else {
            return Ok(None);
        };
        let item = read(conn, place(conn, batch, taken)?)?;
        if taken + 1 < total {
            conn.prepare_cached("UPDATE queue SET taken = taken + 1 WHERE pool = ?1 AND batch = ?2")?
                .execute((pool.0, batch))?;
        } else {
            drop_batch(conn, pool, batch)?;
        }
        if !was_handed_out(conn, pool, &item, now)? {
            conn.prepare_cached("INSERT OR REPLACE INTO tombstone VALUES (?1, ?2, ?3)")?
                .execute((pool.0, digest::tombstone(&item), now.0.cast_signed()))?;
            return Ok(Some(item));
        }
    }
}

/// Empties a pool's queue.
pub(super) fn clear(conn: &Connection, pool: PoolId) -> Result<(), Error> {
    for batch in batches(conn, pool)? {
        drop_batch(conn, pool, batch)?;
    }
    Ok(())
}

/// The fallback of a pool.
pub(super) fn fallback(conn: &Connection, pool: PoolId) -> Result<Option<Item>, Error> {
    let stored: Option<Vec<u8>> = conn
        .prepare_cached("SELECT item FROM fallback WHERE pool = ?1")?
        .query_row([pool.0], |row| row.get(0))
        .optional()?;
    stored.map(|bytes| decode(&bytes)).transpose()
}

/// Sets the fallback of a pool; the same one again stays as used as it was.
pub(super) fn set_fallback(conn: &Connection, pool: PoolId, item: &Item) -> Result<(), Error> {
    if fallback(conn, pool)?.as_ref() == Some(item) {
        return Ok(());
    }
    conn.prepare_cached("INSERT OR REPLACE INTO fallback VALUES (?1, ?2)")?
        .execute((pool.0, encode(item)))?;
    mark_fallback(conn, pool, false)
}

/// Notes whether the fallback was handed out.
pub(super) fn mark_fallback(conn: &Connection, pool: PoolId, used: bool) -> Result<(), Error> {
    conn.prepare_cached("UPDATE pool SET fallback_used = ?2 WHERE id = ?1 AND fallback_used <> ?2")?
        .execute((pool.0, used))?;
    Ok(())
}

/// Forgets tombstones that are too old or too many.
pub(super) fn trim_tombstones(conn: &Connection, pool: PoolId, now: UnixMs) -> Result<(), Error> {
    let before = now.0.saturating_sub(digest::TOMBSTONE_SECONDS * 1000);
    conn.prepare_cached("DELETE FROM tombstone WHERE pool = ?1 AND at <= ?2")?
        .execute((pool.0, before.cast_signed()))?;
    let most = digest::TOMBSTONES_PER_POOL as i64;
    let left: i64 = conn
        .prepare_cached("SELECT count(*) FROM tombstone WHERE pool = ?1")?
        .query_row([pool.0], |row| row.get(0))?;
    if left > most {
        conn.prepare_cached(
            "DELETE FROM tombstone WHERE pool = ?1 AND hash IN
                (SELECT hash FROM tombstone WHERE pool = ?1 ORDER BY at DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute((pool.0, most))?;
    }
    Ok(())
}

/// Forgets the oldest tombstones of all pools from before a time; how many.
pub(super) fn forget_tombstones(conn: &Connection, before: UnixMs, limit: usize) -> Result<usize, Error> {
    let mut select =
        conn.prepare_cached("SELECT pool, hash FROM tombstone WHERE at < ?1 ORDER BY at LIMIT ?2")?;
    let old: Vec<(i64, Vec<u8>)> = select
        .query_map((schema::time(before), schema::most(limit)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    // One by one: a list of pairs would be looked up by the pool alone.
    let mut delete = conn.prepare_cached("DELETE FROM tombstone WHERE pool = ?1 AND hash = ?2")?;
    for (pool, hash) in &old {
        delete.execute((pool, hash))?;
    }
    Ok(old.len())
}

/// Removes every key of a mailbox.
pub(super) fn purge(conn: &Connection, mailbox: MailboxId) -> Result<(), Error> {
    let mut select = conn.prepare_cached(
        "SELECT pool.id FROM pool JOIN keyset ON pool.keyset = keyset.id WHERE keyset.mailbox = ?1",
    )?;
    let pools: Vec<i64> = select
        .query_map([mailbox.0.cast_signed()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for pool in pools {
        clear(conn, PoolId(pool))?;
        for sql in [
            "DELETE FROM tombstone WHERE pool = ?1",
            "DELETE FROM fallback WHERE pool = ?1",
            "DELETE FROM pool WHERE id = ?1",
        ] {
            conn.prepare_cached(sql)?.execute([pool])?;
        }
    }
    conn.prepare_cached("DELETE FROM keyset WHERE mailbox = ?1")?
        .execute([mailbox.0.cast_signed()])?;
    Ok(())
}

fn was_handed_out(conn: &Connection, pool: PoolId, item: &Item, now: UnixMs) -> Result<bool, Error> {
    let at: Option<i64> = conn
        .prepare_cached("SELECT at FROM tombstone WHERE pool = ?1 AND hash = ?2")?
        .query_row((pool.0, digest::tombstone(item)), |row| row.get(0))
        .optional()?;
    Ok(at.is_some_and(|at| digest::is_remembered(UnixMs(at.cast_unsigned()), now)))
}

/// Writes items as one row at the end of the queue.
fn write(conn: &Connection, pool: PoolId, items: &[&Item]) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let mut contents = Contents::default();
    for item in items {
        bytes.extend_from_slice(&encode(item));
        contents.ids.push(item.id.to_string());
        contents.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    let batch = conn
        .prepare_cached("INSERT INTO item_batch (contents, items) VALUES (?1, ?2)")?
        .insert((contents.encode_to_vec(), bytes))?;
    conn.prepare_cached("INSERT INTO queue VALUES (?1, ?2, 0, ?3)")?
        .execute((pool.0, batch, items.len() as i64))?;
    Ok(())
}

fn batches(conn: &Connection, pool: PoolId) -> Result<Vec<i64>, Error> {
    let mut select = conn.prepare_cached("SELECT batch FROM queue WHERE pool = ?1 ORDER BY batch")?;
    let batches = select.query_map([pool.0], |row| row.get(0))?;
    Ok(batches.collect::<Result<_, _>>()?)
}

/// Every item that waits in a pool's queue, by id.
pub(super) fn places(conn: &Connection, pool: PoolId) -> Result<Vec<(String, Place)>, Error> {
    let mut waiting = Vec::new();
    for batch in batches(conn, pool)? {
        let taken: u32 = conn
            .prepare_cached("SELECT taken FROM queue WHERE pool = ?1 AND batch = ?2")?
            .query_row((pool.0, batch), |row| row.get(0))?;
        waiting.extend(batch_places(conn, batch)?.into_iter().skip(taken as usize));
    }
    Ok(waiting)
}

/// Every item of a batch, those that are gone included.
fn batch_places(conn: &Connection, batch: i64) -> Result<Vec<(String, Place)>, Error> {
    let Contents { ids, ends } = Contents::decode(&contents(conn, batch)?[..])?;
    let begins = std::iter::once(0).chain(ends.clone());
    let places = begins.zip(ends).map(|(begin, end)| Place { batch, begin, end });
    Ok(ids.into_iter().zip(places).collect())
}

/// One item of a batch, without looking at the ids.
fn place(conn: &Connection, batch: i64, index: u32) -> Result<Place, Error> {
    let Ends { ends } = Ends::decode(&contents(conn, batch)?[..])?;
    let index = index as usize;
    let Some(end) = ends.get(index).copied() else {
        return Err(Error::Corrupt(
            "a batch of items is shorter than its queue says".into(),
        ));
    };
    let begin = index.checked_sub(1).and_then(|before| ends.get(before).copied());
    Ok(Place {
        batch,
        begin: begin.unwrap_or(0),
        end,
    })
}

fn contents(conn: &Connection, batch: i64) -> Result<Vec<u8>, Error> {
    let contents = conn
        .prepare_cached("SELECT contents FROM item_batch WHERE id = ?1")?
        .query_row([batch], |row| row.get(0))?;
    Ok(contents)
}

/// Reads one item out of its row, and nothing else of it.
pub(super) fn read(conn: &Connection, place: Place) -> Result<Item, Error> {
    let mut bytes = vec![0; place.end.saturating_sub(place.begin) as usize];
    conn.blob_open("main", "item_batch", "items", place.batch, true)?
        .read_at_exact(&mut bytes, place.begin as usize)?;
    decode(&bytes)
}

fn drop_batch(conn: &Connection, pool: PoolId, batch: i64) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM queue WHERE pool = ?1 AND batch = ?2")?
        .execute((pool.0, batch))?;
    conn.prepare_cached("DELETE FROM item_batch WHERE id = ?1")?
        .execute([batch])?;
    Ok(())
}

fn encode(item: &Item) -> Vec<u8> {
    StoredItem {
        id: item.id.to_string(),
        data: item.data.clone(),
        signature: item.signature.clone(),
    }
    .encode_to_vec()
}

fn decode(bytes: &[u8]) -> Result<Item, Error> {
    let item = StoredItem::decode(bytes)?;
    Ok(Item {
        id: item.id.into(),
        data: item.data,
        signature: item.signature,
    })
}
