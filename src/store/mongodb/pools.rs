//! Pools of one-time items: queues and tombstones.
//!
//! A document for each item. Its key is the mailbox, the pool's number there, and a place that only grows, so
//! a queue lies together in upload order, and a mailbox's queues lie together. Must not know keysets.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use mongodb::ClientSession;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};

use crate::model::{MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, date, malformed, time};
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{BACK_STOP, Collection, Index};
use crate::store::mongodb::transaction::Stop;
use crate::store::{Error, Item, digest};

/// `_id` pool and place, `i` the item's id, `d` its data, `g` its signature.
pub(super) const ITEMS: &str = "items";
/// What was handed out: `_id` pool and digest, `t` when.
pub(super) const TOMBSTONES: &str = "tombstones";

pub(super) const COLLECTIONS: &[Collection] = &[
    Collection {
        name: ITEMS,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "i", "d"],
                "additionalProperties": false,
                "properties": {
                    "_id": { "bsonType": "binData" },
                    "i": { "bsonType": "string" },
                    "d": { "bsonType": "binData" },
                    "g": { "bsonType": "binData" },
                },
            }
        },
        indexes: &[],
    },
    Collection {
        name: TOMBSTONES,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "t"],
                "additionalProperties": false,
                "properties": { "_id": { "bsonType": "binData" }, "t": { "bsonType": "date" } },
            }
        },
        // What is still remembered is decided by the digest's rule, and clean-up is the relay's; this is for what
        // a relay that never came back has left.
        indexes: &[Index {
            name: "by_time",
            keys: &[("t", 1)],
            unique: false,
            expire_after: Some(TOMBSTONES_BACK_STOP),
        }],
    },
];

/// A pool: its mailbox, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PoolId {
    pub(super) mailbox: MailboxId,
    pub(super) number: u64,
}

/// Where an item waits. All places of a pool lie together, in upload order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place([u8; 24]);

/// What is remembered of an item that was handed out from a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tombstone([u8; 32]);

/// The beginning of a pool's queue.
#[derive(Clone, Default)]
pub(super) struct Queue {
    /// How many items wait, these included.
    pub(super) count: u64,
    /// The first of them.
    pub(super) heads: Vec<(Place, Item)>,
}

impl PoolId {
    /// A place in its queue.
    pub(super) fn place(self, place: u64) -> Place {
        Place(self.key(place.to_be_bytes()))
    }

    /// What an item of it leaves when it is handed out.
    pub(super) fn tombstone(self, item: &Item) -> Tombstone {
        Tombstone(self.key(digest::tombstone(item)))
    }

    /// The pool, and what stands within it.
    fn key<const WITHIN: usize, const ALL: usize>(self, within: [u8; WITHIN]) -> [u8; ALL] {
        let mut key = [0; ALL];
        key[..8].copy_from_slice(&self.mailbox.0.to_be_bytes());
        key[8..16].copy_from_slice(&self.number.to_be_bytes());
        key[16..].copy_from_slice(&within);
        key
    }

    fn of(key: &[u8]) -> Result<Self, Error> {
        let (Some(mailbox), Some(rest)) = (key.first_chunk::<8>(), key.get(8..)) else {
            return Err(malformed(ITEMS));
        };
        let number = rest.first_chunk::<8>().ok_or_else(|| malformed(ITEMS))?;
        Ok(Self {
            mailbox: MailboxId(u64::from_be_bytes(*mailbox)),
            number: u64::from_be_bytes(*number),
        })
    }

    /// Every place of the queue.
    fn queue(self) -> Document {
        doc! { "$gte": binary(self.place(0).0), "$lte": binary(self.place(u64::MAX).0) }
    }

    fn tombstones(self) -> Document {
        let key = |within| binary(self.key::<16, 32>(within));
        doc! { "$gte": key([0; 16]), "$lte": key([u8::MAX; 16]) }
    }
}

/// The beginnings of some queues, each up to so many items.
pub(super) async fn queues<T>(
    db: &Connection,
    session: &mut ClientSession,
    wanted: &BTreeMap<PoolId, usize>,
) -> Result<BTreeMap<PoolId, Queue>, Stop<T>> {
    let mut queues: BTreeMap<_, _> = wanted.keys().map(|pool| (*pool, Queue::default())).collect();
    if wanted.is_empty() {
        return Ok(queues);
    }
    let mut found = db
        .collection(ITEMS)
        .aggregate(beginnings(wanted))
        .session(&mut *session)
        .await?;
    let mut heads = Vec::new();
    while let Some(bucket) = found.next(session).await.transpose()? {
        let pool = PoolId::of(bucket.get_binary_generic("_id").map_err(|_| malformed(ITEMS))?)?;
        let count = bucket.get_i64("count").map_err(|_| malformed(ITEMS))?;
        queues.entry(pool).or_default().count = count.cast_unsigned();
        let first = bucket.get_array("heads").map_err(|_| malformed(ITEMS))?;
        let most = wanted.get(&pool).copied().unwrap_or(0);
        heads.extend(first.iter().take(most).cloned());
    }
    if !heads.is_empty() {
        let filter = doc! { "_id": { "$in": heads } };
        for (key, item) in read(db, session, filter).await? {
            let queue = queues.entry(PoolId::of(&key)?).or_default();
            queue.heads.push((place_of(&key)?, item));
        }
    }
    Ok(queues)
}

/// One question for all queues, answered from the index alone: how long each is, and its first places.
fn beginnings(wanted: &BTreeMap<PoolId, usize>) -> [Document; 4] {
    let ranges: Vec<Document> = wanted.keys().map(|pool| doc! { "_id": pool.queue() }).collect();
    let mut boundaries = BTreeSet::new();
    for pool in wanted.keys() {
        boundaries.insert(pool.place(0).0);
        let number = pool.number.saturating_add(1);
        boundaries.insert(PoolId { number, ..*pool }.place(0).0);
    }
    let boundaries: Vec<_> = boundaries.into_iter().map(binary).collect();
    // One at least: less cannot be asked for.
    let most = wanted.values().copied().max().unwrap_or(0).max(1);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let output = doc! { "count": { "$sum": 1_i64 }, "places": { "$push": "$_id" } };
    [
        doc! { "$match": { "$or": ranges } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$bucket": { "groupBy": "$_id", "boundaries": boundaries, "output": output } },
        doc! { "$project": { "count": 1, "heads": { "$slice": ["$places", most] } } },
    ]
}

/// The items of these ids that wait in these queues.
pub(super) async fn named<T>(
    db: &Connection,
    session: &mut ClientSession,
    names: &[(PoolId, Vec<&str>)],
) -> Result<Vec<(PoolId, Item)>, Stop<T>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let any: Vec<Document> = names
        .iter()
        .map(|(pool, ids)| doc! { "_id": pool.queue(), "i": { "$in": ids } })
        .collect();
    let found = read(db, session, doc! { "$or": any }).await?;
    let named = found
        .into_iter()
        .map(|(key, item)| Ok((PoolId::of(&key)?, item)))
        .collect::<Result<_, Error>>();
    Ok(named?)
}

/// Reads items with their keys, in the order of these.
async fn read<T>(
    db: &Connection,
    session: &mut ClientSession,
    filter: Document,
) -> Result<Vec<(Vec<u8>, Item)>, Stop<T>> {
    let mut found = db
        .raw(ITEMS)
        .find(filter)
        .sort(doc! { "_id": 1 })
        .session(&mut *session)
        .await?;
    let mut items = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let key = document.get_binary("_id").map_err(|_| malformed(ITEMS))?.bytes;
        items.push((key.to_vec(), decode(&document)?));
    }
    Ok(items)
}

/// Which of these were handed out, and not too long ago.
pub(super) async fn remembered<T>(
    db: &Connection,
    session: &mut ClientSession,
    tombstones: HashSet<Tombstone>,
    now: UnixMs,
) -> Result<HashSet<Tombstone>, Stop<T>> {
    if tombstones.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<_> = tombstones.iter().map(|tombstone| binary(tombstone.0)).collect();
    let mut found = db
        .collection(TOMBSTONES)
        .find(doc! { "_id": { "$in": keys } })
        .session(&mut *session)
        .await?;
    let mut remembered = HashSet::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let at = document.get_datetime("t").map_err(|_| malformed(TOMBSTONES))?;
        if digest::is_remembered(time(*at), now) {
            let key = document
                .get_binary_generic("_id")
                .map_err(|_| malformed(TOMBSTONES))?;
            let key = <[u8; 32]>::try_from(&key[..]).map_err(|_| malformed(TOMBSTONES))?;
            remembered.insert(Tombstone(key));
        }
    }
    Ok(remembered)
}

/// Takes items out of their queues, and remembers those that are handed out.
pub(super) async fn take<T>(
    db: &Connection,
    session: &mut ClientSession,
    places: &[Place],
    (tombstones, now): (&[Tombstone], UnixMs),
) -> Result<(), Stop<T>> {
    if !places.is_empty() {
        let keys: Vec<_> = places.iter().map(|place| binary(place.0)).collect();
        db.collection(ITEMS)
            .delete_many(doc! { "_id": { "$in": keys } })
            .session(&mut *session)
            .await?;
    }
    if !tombstones.is_empty() {
        // One that is too old to count may still be there.
        let updates = tombstones.iter().map(|tombstone| {
            doc! { "q": { "_id": binary(tombstone.0) }, "u": { "$set": { "t": date(now) } }, "upsert": true }
        });
        let updates: Vec<Document> = updates.collect();
        let answer = db
            .database
            .run_command(doc! { "update": TOMBSTONES, "updates": updates })
            .session(&mut *session)
            .await?;
        if answer.contains_key("writeErrors") {
            // Somebody else hands the same key out at this moment.
            return Err(Stop::Again);
        }
    }
    Ok(())
}

/// Empties some queues.
pub(super) async fn clear<T>(
    db: &Connection,
    session: &mut ClientSession,
    pools: &[PoolId],
) -> Result<(), Stop<T>> {
    if pools.is_empty() {
        return Ok(());
    }
    let any: Vec<Document> = pools.iter().map(|pool| doc! { "_id": pool.queue() }).collect();
    db.collection(ITEMS)
        .delete_many(doc! { "$or": any })
        .session(session)
        .await?;
    Ok(())
}

/// Puts items in their places.
pub(super) async fn put<T>(
    db: &Connection,
    session: &mut ClientSession,
    items: Vec<(Place, &Item)>,
) -> Result<(), Stop<T>> {
    if items.is_empty() {
        return Ok(());
    }
    let documents: Vec<RawDocumentBuf> = items.into_iter().map(encode).collect();
    db.raw(ITEMS).insert_many(documents).session(session).await?;
    Ok(())
}

/// Forgets the oldest tombstones of a pool, when there are too many. What is too old the server deletes.
///
/// # Errors
///
/// [`Error`]; the next call does the rest.
pub(super) async fn trim(db: &Connection, pool: PoolId) -> Result<(), Error> {
    db.within(async {
        let tombstones = db.collection(TOMBSTONES);
        let all = doc! { "_id": pool.tombstones() };
        let count = tombstones.count_documents(all.clone()).await;
        let count = count.map_err(|error| error::meaning(&error))?;
        let most = digest::TOMBSTONES_PER_POOL as u64;
        let surplus = i64::try_from(count.saturating_sub(most)).unwrap_or(i64::MAX);
        if surplus == 0 {
            return Ok(());
        }
        let oldest = tombstones.find(all).sort(doc! { "t": 1 }).limit(surplus).await;
        let mut oldest = oldest.map_err(|error| error::meaning(&error))?;
        let mut keys = Vec::new();
        while oldest.advance().await.map_err(|error| error::meaning(&error))? {
            let key = oldest
                .current()
                .get_binary("_id")
                .map_err(|_| malformed(TOMBSTONES))?;
            keys.push(binary(key.bytes));
        }
        let deleted = tombstones.delete_many(doc! { "_id": { "$in": keys } }).await;
        deleted.map(drop).map_err(|error| error::meaning(&error))
    })
    .await
}

/// Removes every item and tombstone of a mailbox that is gone; how many items.
///
/// # Errors
///
/// [`Error::Unavailable`]; the rest goes when it is called again.
pub(super) async fn purge(db: &Connection, mailbox: MailboxId) -> Result<u64, Error> {
    let first = PoolId { mailbox, number: 0 };
    let last = PoolId {
        mailbox,
        number: u64::MAX,
    };
    let items = doc! { "$gte": binary(first.place(0).0), "$lte": binary(last.place(u64::MAX).0) };
    let tombstones = doc! {
        "$gte": binary(first.key::<16, 32>([0; 16])),
        "$lte": binary(last.key::<16, 32>([u8::MAX; 16])),
    };
    let delete = async |collection, all| {
        let deleted = db.collection(collection).delete_many(doc! { "_id": all }).await;
        deleted
            .map(|deleted| deleted.deleted_count)
            .map_err(|error| error::meaning(&error))
    };
    db.within(async {
        delete(TOMBSTONES, tombstones).await?;
        delete(ITEMS, items).await
    })
    .await
}

/// How long each of these queues is; those that are empty are left out.
pub(super) async fn counts<T>(
    db: &Connection,
    session: &mut ClientSession,
    queues: &[PoolId],
) -> Result<BTreeMap<PoolId, u64>, Stop<T>> {
    let mut counts = BTreeMap::new();
    // The server finds a document's bucket by looking at one after the other.
    for some in queues.chunks(QUEUES_AT_ONCE) {
        let wanted = some.iter().map(|pool| (*pool, 0)).collect();
        let [all, sort, bucket, _] = beginnings(&wanted);
        let mut found = db
            .collection(ITEMS)
            .aggregate([all, sort, bucket, doc! { "$project": { "count": 1 } }])
            .session(&mut *session)
            .await?;
        while let Some(bucket) = found.next(session).await.transpose()? {
            let pool = PoolId::of(bucket.get_binary_generic("_id").map_err(|_| malformed(ITEMS))?)?;
            let count = bucket.get_i64("count").map_err(|_| malformed(ITEMS))?;
            counts.insert(pool, count.cast_unsigned());
        }
    }
    Ok(counts)
}

fn place_of(key: &[u8]) -> Result<Place, Error> {
    let place = <[u8; 24]>::try_from(key).map_err(|_| malformed(ITEMS))?;
    Ok(Place(place))
}

fn encode((place, item): (Place, &Item)) -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": binary(place.0), "i": &*item.id, "d": binary(&item.data[..]) };
    if let Some(signature) = &item.signature {
        document.append(cstr!("g"), binary(&signature[..]));
    }
    document
}

fn decode(document: &RawDocument) -> Result<Item, Error> {
    let data = document.get_binary("d").map_err(|_| malformed(ITEMS))?;
    let signature = document.get("g").map_err(|_| malformed(ITEMS))?;
    let signature = signature.map(|value| value.as_binary().ok_or_else(|| malformed(ITEMS)));
    let signature = signature.transpose()?;
    Ok(Item {
        id: document.get_str("i").map_err(|_| malformed(ITEMS))?.into(),
        data: Bytes::copy_from_slice(data.bytes),
        signature: signature.map(|signature| Bytes::copy_from_slice(signature.bytes)),
    })
}

/// How long after its time the server itself forgets a tombstone.
const TOMBSTONES_BACK_STOP: Duration = Duration::from_secs(digest::TOMBSTONE_SECONDS + BACK_STOP.as_secs());

/// Queues that are counted in one question.
const QUEUES_AT_ONCE: usize = 64;
