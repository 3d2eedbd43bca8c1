//! What is read of published keys: a keyset's state, its suites, the log of an account's identities; and the
//! dropping of a queue.
//!
//! Must not know how a pool keeps its items.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, date, malformed, time};
use crate::store::mongodb::error;
use crate::store::mongodb::keysets::{self, KEYSETS, StoredKeyset};
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::pools::{self, PoolId, Queue};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Error, KeyLogEntry, Keyset, digest};

/// `_id` account and number, `t` when, `d` device id, `s` suite, `i` hash of the identity, `h` hash of the chain.
pub(super) const KEY_LOG: &str = "key_log";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: KEY_LOG,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "t", "d", "s", "i", "h"],
            "additionalProperties": false,
            "properties": {
                "_id": {
                    "bsonType": "object",
                    "required": ["a", "n"],
                    "additionalProperties": false,
                    "properties": {
                        "a": { "bsonType": "string" },
                        "n": { "bsonType": "long", "minimum": 1_i64 },
                    },
                },
                "t": { "bsonType": "date" },
                "d": { "bsonType": "string" },
                "s": { "bsonType": "string" },
                "i": { "bsonType": "binData" },
                "h": { "bsonType": "binData" },
            },
        }
    },
    indexes: &[],
}];

/// A look at a keyset, as one transaction: identity and counts belong together.
struct Look<'a> {
    mailbox: MailboxId,
    suite: &'a Suite,
}

/// A device's keyset.
pub(super) async fn keyset(
    db: &Connection,
    mailbox: MailboxId,
    suite: &Suite,
) -> Result<Option<Keyset>, Error> {
    db.transact(&Look { mailbox, suite }).await
}

#[async_trait]
impl Work for Look<'_> {
    type Answer = Option<Keyset>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Option<Keyset>, Stop<Option<Keyset>>> {
        let mut found = keysets::find(db, session, &[self.mailbox], self.suite).await?;
        let Some(keyset) = found.remove(&self.mailbox) else {
            return Ok(None);
        };
        let counted = keyset.pools.values().map(|pool| (pool.id, 0)).collect();
        let queues = pools::queues(db, session, &counted).await?;
        Ok(Some(describe(keyset, &queues)))
    }
}

fn describe(keyset: StoredKeyset, queues: &BTreeMap<PoolId, Queue>) -> Keyset {
    let pools = keyset.pools.iter();
    let fallbacks = pools
        .clone()
        .filter_map(|(name, pool)| Some((name, pool.fallback.as_ref()?)));
    let digest = digest::keyset(&keyset.identity, fallbacks);
    let count = |id| queues.get(&id).map_or(0, |queue| queue.count);
    let counts = pools
        .map(|(name, pool)| pool.count(name, count(pool.id)))
        .collect();
    Keyset {
        identity: keyset.identity,
        statement: keyset.statement,
        identity_version: keyset.identity_version,
        counts,
        digest,
    }
}

/// The suites for which a device has published, in their order.
pub(super) async fn suites(db: &Connection, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
    let mut suites = found(
        db,
        (KEYSETS, doc! { "_id": keysets::every_suite(mailbox) }),
        0,
        keysets::suite_of,
    )
    .await?;
    suites.sort();
    Ok(suites)
}

/// The dropping of a queue, as one transaction.
struct DropQueue<'a> {
    mailbox: MailboxId,
    suite: &'a Suite,
    pool: &'a PoolName,
}

/// Drops a pool's queue; whether there is such a pool.
pub(super) async fn drop_queue(
    db: &Connection,
    mailbox: MailboxId,
    suite: &Suite,
    pool: &PoolName,
) -> Result<bool, Error> {
    db.transact(&DropQueue { mailbox, suite, pool }).await
}

#[async_trait]
impl Work for DropQueue<'_> {
    type Answer = bool;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<bool, Stop<bool>> {
        let found = keysets::find(db, session, &[self.mailbox], self.suite).await?;
        let pool = found
            .get(&self.mailbox)
            .and_then(|keyset| keyset.pools.get(self.pool));
        let Some(pool) = pool else {
            return Ok(false);
        };
        pools::clear(db, session, &[pool.id]).await?;
        Ok(true)
    }
}

/// Entries of an account's key log.
pub(super) async fn log(
    db: &Connection,
    account: &AccountId,
    after: u64,
    limit: usize,
) -> Result<Vec<KeyLogEntry>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    found(
        db,
        (KEY_LOG, doc! { "_id": later(account, after) }),
        limit,
        decode,
    )
    .await
}

/// Appends the entry that follows the last one of an account's log.
pub(super) async fn append<T>(
    db: &Connection,
    session: &mut ClientSession,
    account: &AccountId,
    entry: impl FnOnce(Option<(u64, [u8; 32])>) -> KeyLogEntry + Send,
) -> Result<(), Stop<T>> {
    let log = db.collection(KEY_LOG);
    let last = log
        .find_one(doc! { "_id": later(account, 0) })
        .sort(doc! { "_id": -1 })
        .session(&mut *session)
        .await?;
    let last = last.map(|last| decode(&last)).transpose()?;
    let entry = entry(last.map(|last| (last.seq, last.hash)));
    match log.insert_one(encode(account, &entry)).session(session).await {
        // Another device of the account was faster.
        Err(error) if error::is_duplicate(&error) => Err(Stop::Again),
        inserted => inserted.map(drop).map_err(Stop::Driver),
    }
}

/// Reads documents in the order of their keys, so many at most; 0 for all.
async fn found<T>(
    db: &Connection,
    (collection, filter): (&str, Document),
    limit: i64,
    decode: impl Fn(&Document) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(collection)
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(limit)
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut decoded = Vec::new();
        while let Some(document) = found.next(&mut session).await {
            decoded.push(decode(&document.map_err(|error| error::meaning(&error))?)?);
        }
        db.learn(&session);
        Ok(decoded)
    })
    .await
}

fn later(account: &AccountId, after: i64) -> Document {
    let key = |seq: i64| doc! { "a": account.as_str(), "n": seq };
    doc! { "$gt": key(after), "$lte": key(i64::MAX) }
}

/// An entry of the log as a document.
pub(super) fn encode(account: &AccountId, entry: &KeyLogEntry) -> Document {
    doc! {
        "_id": { "a": account.as_str(), "n": entry.seq.cast_signed() },
        "t": date(entry.at),
        "d": entry.device_id.as_str(),
        "s": entry.suite.as_str(),
        "i": binary(entry.identity_hash),
        "h": binary(entry.hash),
    }
}

fn decode(document: &Document) -> Result<KeyLogEntry, Error> {
    let text = |field| document.get_str(field).map_err(|_| malformed(KEY_LOG));
    let hash = |field| {
        let bytes = document
            .get_binary_generic(field)
            .map_err(|_| malformed(KEY_LOG))?;
        <[u8; 32]>::try_from(&bytes[..]).map_err(|_| malformed(KEY_LOG))
    };
    let key = document.get_document("_id").map_err(|_| malformed(KEY_LOG))?;
    let seq = key.get_i64("n").map_err(|_| malformed(KEY_LOG))?;
    let at = document.get_datetime("t").map_err(|_| malformed(KEY_LOG))?;
    Ok(KeyLogEntry {
        seq: seq.cast_unsigned(),
        at: time(*at),
        device_id: DeviceId::parse(text("d")?)?,
        suite: Suite::parse(text("s")?)?,
        identity_hash: hash("i")?,
        hash: hash("h")?,
    })
}
