//! Idempotency records: a table in the order of time, and an index of hashes in memory.
//!
//! The index names a candidate row by a 64-bit hash under a key of this process; the row decides. It
//! is bounded: when there are too many records, the oldest go before their window ends.
//!
//! It is asked for every send, so the hash is a quick one: under a key that nobody outside can see, and of a quality
//! that spreads whatever names senders choose.
//!
//! # Why
//!
//! The records of a device that is gone stay until their window ends. To find them among all others takes a look
//! at each of a million; and nobody can ask for them, since a mailbox's number is never used again.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};

use bytes::Bytes;
use chatctl_protocol::{ClientMsgId, EnvelopeId};
use foldhash::quality::RandomState;
use prost::Message as _;
use rusqlite::{CachedStatement, Connection, Row};

use crate::model::{MailboxId, NumberHasher, UnixMs};
use crate::store::embedded::schema;
use crate::store::embedded::shared::Change;
use crate::store::embedded::writer::Tx;
use crate::store::{Due, Error, SendKey, SendRecord};

/// A record as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    /// Its first envelope's id, and its row.
    pub(super) first: u64,
    /// The hash of its name.
    pub(super) hash: u64,
}

/// All records of the store.
#[derive(Debug)]
pub(super) struct RecordIndex {
    hasher: RandomState,
    most: usize,
    by_time: VecDeque<Remembered>,
    /// By hashes under a secret key. In parts, so that one that grows does not hold a commit up: the half of a
    /// million records would move at once.
    by_name: Vec<HashMap<u64, u64, NumberHasher>>,
}

/// Parts of the index by names.
const PARTS: usize = 128;

impl RecordIndex {
    /// An empty index that keeps at most `most` records.
    pub(super) fn new(most: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            most: most.max(1),
            by_time: VecDeque::new(),
            by_name: vec![HashMap::default(); PARTS],
        }
    }

    /// Where a send of this name may be.
    pub(super) fn find(&self, key: &SendKey) -> Option<u64> {
        // Most stores remember nothing, where all mail is fetched at once.
        if self.by_time.is_empty() {
            return None;
        }
        self.at(self.hash(key))
    }

    /// Where a send with a name of this hash may be.
    fn at(&self, hash: u64) -> Option<u64> {
        self.by_name.get(part_of(hash))?.get(&hash).copied()
    }

    pub(super) fn insert(&mut self, record: Remembered) {
        let index = if self.by_time.back().is_none_or(|last| last.first < record.first) {
            self.by_time.len()
        } else {
            self.by_time.partition_point(|other| other.first < record.first)
        };
        self.by_time.insert(index, record);
        if let Some(part) = self.by_name.get_mut(part_of(record.hash)) {
            part.insert(record.hash, record.first);
        }
    }

    pub(super) fn remove(&mut self, record: Remembered) {
        if self.by_time.front() == Some(&record) {
            self.by_time.pop_front();
        } else if let Ok(index) = self
            .by_time
            .binary_search_by_key(&record.first, |other| other.first)
        {
            self.by_time.remove(index);
        }
        if let Some(part) = self.by_name.get_mut(part_of(record.hash))
            && part.get(&record.hash) == Some(&record.first)
        {
            part.remove(&record.hash);
        }
    }

    fn hash(&self, key: &SendKey) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(key.sender.0);
        hasher.write(key.client_msg_id.as_bytes());
        hasher.finish()
    }
}

const fn part_of(hash: u64) -> usize {
    (hash % PARTS as u64) as usize
}

/// What the row keeps besides its columns.
#[derive(Clone, PartialEq, prost::Message)]
struct Body {
    #[prost(bytes = "bytes", tag = "1")]
    client_msg_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    digest: Bytes,
    /// Each id after the first, as its distance from the one before.
    #[prost(uint64, repeated, tag = "3")]
    steps: Vec<u64>,
}

/// The hash under which a record is to be remembered; `None` when this very record is stored already.
/// A different one under its name is forgotten: its window is over for whoever wrote this one.
pub(super) fn unknown(tx: &mut Tx<'_>, record: &SendRecord) -> Result<Option<u64>, Error> {
    let (hash, committed) = {
        let records = tx.shared.records.read();
        let hash = records.hash(&record.key);
        (hash, records.at(hash))
    };
    let Some(first) = tx.group.record(hash).or(committed) else {
        return Ok(Some(hash));
    };
    match load(tx.conn, first)? {
        Some(stored) if stored == *record => return Ok(None),
        Some(stored) if stored.key == record.key => {
            forget(tx, Remembered { first, hash })?;
        }
        // Another name with the same hash, or a row that this transaction has removed.
        Some(_) | None => {}
    }
    Ok(Some(hash))
}

/// What [`remember`] runs.
pub(super) const REMEMBER: &str = "INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4)";

/// Writes a record down, under the hash that [`unknown`] told.
pub(super) fn remember(
    tx: &mut Tx<'_>,
    insert: &mut CachedStatement<'_>,
    record: &SendRecord,
    hash: u64,
) -> Result<(), Error> {
    let Some(first) = record.envelope_ids.first() else {
        return Ok(());
    };
    let steps = record.envelope_ids.windows(2).map(|pair| match pair {
        [before, after] => after.as_u64().wrapping_sub(before.as_u64()),
        _ => 0,
    });
    let body = Body {
        client_msg_id: Bytes::copy_from_slice(record.key.client_msg_id.as_bytes()),
        digest: Bytes::copy_from_slice(&record.digest),
        steps: steps.collect(),
    };
    insert.execute((
        first.as_u64().cast_signed(),
        record.key.sender.0.cast_signed(),
        record.accepted_at.0.cast_signed(),
        body.encode_to_vec(),
    ))?;
    tx.group.note(Change::Remembered(Remembered {
        first: first.as_u64(),
        hash,
    }));
    Ok(())
}

/// Forgets the oldest while there are too many.
pub(super) fn trim(tx: &mut Tx<'_>) -> Result<(), Error> {
    let surplus = {
        let records = tx.shared.records.read();
        let (added, gone) = tx.group.records();
        (records.by_time.len() + added).saturating_sub(records.most + gone)
    };
    if surplus == 0 {
        return Ok(());
    }
    let conn = tx.conn;
    let mut select = conn.prepare_cached("SELECT first_id FROM record ORDER BY first_id LIMIT ?1")?;
    let rows = select.query_map([schema::most(surplus)], |row| row.get::<_, i64>(0))?;
    let oldest = rows
        .map(|first| Ok(first?.cast_unsigned()))
        .collect::<Result<Vec<_>, Error>>()?;
    for (first, known) in find_all(tx, &oldest) {
        match known {
            Some(record) => forget(tx, record)?,
            None => forget_uncommitted(tx, first)?,
        }
    }
    Ok(())
}

/// What is known of records, by their rows, which ascend. Without looking each of them up where they are neighbours.
fn find_all(tx: &Tx<'_>, rows: &[u64]) -> Vec<(u64, Option<Remembered>)> {
    let records = tx.shared.records.read();
    let mut at = match rows.first() {
        Some(first) => records.by_time.partition_point(|other| other.first < *first),
        None => 0,
    };
    let find = |first: &u64| {
        while records.by_time.get(at).is_some_and(|other| other.first < *first) {
            at += 1;
        }
        let record = records.by_time.get(at).filter(|other| other.first == *first);
        (*first, record.copied())
    };
    rows.iter().map(find).collect()
}

/// Forgets records that were accepted before a time, in the order of their ids, at most `limit`; how many. Some
/// that were accepted later may lie before them, if a clock was wrong.
pub(super) fn forget_before(tx: &mut Tx<'_>, before: UnixMs, limit: usize) -> Result<usize, Error> {
    let looks = i64::try_from(limit.saturating_add(ASTRAY)).unwrap_or(i64::MAX);
    let mut old = Vec::new();
    {
        let conn = tx.conn;
        let mut select = conn.prepare_cached(
            "SELECT first_id, sender, accepted_at, body FROM record ORDER BY first_id LIMIT ?1",
        )?;
        let mut rows = select.query([looks])?;
        while old.len() < limit
            && let Some(row) = rows.next()?
        {
            let record = decode(row)?;
            if record.accepted_at < before {
                old.push(remembered(tx, &record));
            }
        }
    }
    let count = old.len();
    old.into_iter().try_for_each(|record| forget(tx, record))?;
    Ok(count)
}

/// How many records there are that were accepted before a time.
pub(super) fn due(conn: &Connection, before: UnixMs) -> Result<Due, Error> {
    // A page at a time: a long read would hold checkpoints up.
    let mut select = conn.prepare_cached(
        "SELECT first_id, accepted_at FROM record WHERE first_id > ?1 ORDER BY first_id LIMIT ?2",
    )?;
    let mut due = Due::default();
    let mut after = i64::MIN;
    loop {
        let (mut looked, mut found) = (0, 0);
        let mut rows = select.query((after, ASTRAY as i64))?;
        while let Some(row) = rows.next()? {
            after = row.get(0)?;
            looked += 1;
            let at = UnixMs(row.get::<_, i64>(1)?.cast_unsigned());
            if at < before {
                found += 1;
                due.oldest = Some(due.oldest.map_or(at, |oldest| oldest.min(at)));
            }
        }
        due.count += found;
        if looked < ASTRAY || found == 0 {
            return Ok(due);
        }
    }
}

/// Records before the oldest that may have been accepted after it. The table is in the order of the ids, which is
/// that of time, unless a clock is set back.
const ASTRAY: usize = 4096;

/// Reads a record.
pub(super) fn load(conn: &Connection, first: u64) -> Result<Option<SendRecord>, Error> {
    let mut select =
        conn.prepare_cached("SELECT first_id, sender, accepted_at, body FROM record WHERE first_id = ?1")?;
    let mut rows = select.query([first.cast_signed()])?;
    rows.next()?.map(decode).transpose()
}

/// Rebuilds the index, and finds the highest id that a record names.
pub(super) fn rebuild(conn: &Connection, index: &mut RecordIndex) -> Result<EnvelopeId, Error> {
    let mut highest = EnvelopeId::ZERO;
    let mut select =
        conn.prepare("SELECT first_id, sender, accepted_at, body FROM record ORDER BY first_id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let record = decode(row)?;
        highest = record.envelope_ids.iter().copied().fold(highest, EnvelopeId::max);
        index.insert(Remembered {
            first: record.envelope_ids.first().copied().unwrap_or_default().as_u64(),
            hash: index.hash(&record.key),
        });
    }
    Ok(highest)
}

fn forget(tx: &mut Tx<'_>, record: Remembered) -> Result<(), Error> {
    let mut delete = tx.conn.prepare_cached("DELETE FROM record WHERE first_id = ?1")?;
    if delete.execute([record.first.cast_signed()])? > 0 {
        tx.group.note(Change::Forgotten(record));
    }
    Ok(())
}

/// Forgets a record that this transaction has brought.
fn forget_uncommitted(tx: &mut Tx<'_>, first: u64) -> Result<(), Error> {
    let Some(record) = load(tx.conn, first)? else {
        return Ok(());
    };
    let record = remembered(tx, &record);
    forget(tx, record)
}

fn remembered(tx: &Tx<'_>, record: &SendRecord) -> Remembered {
    Remembered {
        first: record.envelope_ids.first().copied().unwrap_or_default().as_u64(),
        hash: tx.shared.records.read().hash(&record.key),
    }
}

fn decode(row: &Row<'_>) -> Result<SendRecord, Error> {
    let body = Body::decode(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?)?;
    let mut id = row.get::<_, i64>(0)?.cast_unsigned();
    let mut envelope_ids = vec![EnvelopeId::from_u64(id)];
    for step in body.steps {
        id = id.wrapping_add(step);
        envelope_ids.push(EnvelopeId::from_u64(id));
    }
    Ok(SendRecord {
        key: SendKey {
            sender: MailboxId(row.get::<_, i64>(1)?.cast_unsigned()),
            client_msg_id: ClientMsgId::parse(&body.client_msg_id)?,
        },
        digest: <[u8; 8]>::try_from(&body.digest[..])
            .map_err(|_| Error::Corrupt("a record's digest is not 8 bytes".into()))?,
        envelope_ids,
        accepted_at: UnixMs(row.get::<_, i64>(2)?.cast_unsigned()),
    })
}
