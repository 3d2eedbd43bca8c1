//! Keysets as documents.
//!
//! A keyset's pools are few, so they stand in its document, each with its fallback; the queues stand
//! elsewhere. Must not know what an upload or a claim does.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, malformed};
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::pools::PoolId;
use crate::store::mongodb::transaction::Stop;
use crate::store::{Error, Item, PoolCount};

/// `_id` mailbox and suite, `i` identity, `t` statement, `v` the identity's version, `p` the pools in the
/// order of their names: `n` name, `k` number, `f` fallback, `u` whether it was handed out.
pub(super) const KEYSETS: &str = "keysets";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: KEYSETS,
    schema: || {
        let pool = doc! {
            "bsonType": "object",
            "required": ["n", "k", "u"],
            "additionalProperties": false,
            "properties": {
                "n": { "bsonType": "string" },
                "k": { "bsonType": "long" },
                "u": { "bsonType": "bool" },
                "f": {
                    "bsonType": "object",
                    "required": ["i", "d"],
                    "additionalProperties": false,
                    "properties": {
                        "i": { "bsonType": "string" },
                        "d": { "bsonType": "binData" },
                        "g": { "bsonType": "binData" },
                    },
                },
            },
        };
        doc! {
            "bsonType": "object",
            "required": ["_id", "i", "v", "p"],
            "additionalProperties": false,
            "properties": {
                "_id": {
                    "bsonType": "object",
                    "required": ["m", "s"],
                    "additionalProperties": false,
                    "properties": { "m": { "bsonType": "long" }, "s": { "bsonType": "string" } },
                },
                "i": { "bsonType": "binData" },
                "t": { "bsonType": "binData" },
                "v": { "bsonType": "long", "minimum": 1_i64 },
                "p": { "bsonType": "array", "items": pool },
            },
        }
    },
    indexes: &[],
}];

/// A keyset without its queues.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct StoredKeyset {
    pub(super) identity: Bytes,
    pub(super) statement: Option<Bytes>,
    pub(super) identity_version: u32,
    pub(super) pools: BTreeMap<PoolName, StoredPool>,
}

/// A pool without its queue.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredPool {
    pub(super) id: PoolId,
    pub(super) fallback: Option<Item>,
    pub(super) fallback_used: bool,
}

impl StoredPool {
    /// What there is to tell of it, with so many items in its queue.
    pub(super) fn count(&self, name: &PoolName, count: u64) -> PoolCount {
        PoolCount {
            pool: name.clone(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            fallback: self.fallback.is_some(),
            fallback_used: self.fallback_used,
        }
    }
}

/// The keysets that these mailboxes have of a suite.
pub(super) async fn find<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailboxes: &[MailboxId],
    suite: &Suite,
) -> Result<BTreeMap<MailboxId, StoredKeyset>, Stop<T>> {
    let keys: Vec<Document> = mailboxes.iter().map(|mailbox| key(*mailbox, suite)).collect();
    let mut found = db
        .collection(KEYSETS)
        .find(doc! { "_id": { "$in": keys } })
        .session(&mut *session)
        .await?;
    let mut keysets = BTreeMap::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let (mailbox, keyset) = decode(&document)?;
        keysets.insert(mailbox, keyset);
    }
    Ok(keysets)
}

/// The keysets of the first mailboxes after one, at most so many mailboxes, in their order.
pub(super) async fn page<T>(
    db: &Connection,
    session: &mut ClientSession,
    after: MailboxId,
    limit: usize,
) -> Result<Vec<(MailboxId, Suite, StoredKeyset)>, Stop<T>> {
    let last = doc! { "m": after.0.cast_signed(), "s": Bson::MaxKey };
    let mut found = db
        .collection(KEYSETS)
        .find(doc! { "_id": { "$gt": last } })
        .sort(doc! { "_id": 1 })
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
        .session(&mut *session)
        .await?;
    let mut page: Vec<(MailboxId, Suite, StoredKeyset)> = Vec::new();
    let mut mailboxes = 0;
    while let Some(document) = found.next(session).await.transpose()? {
        let (mailbox, keyset) = decode(&document)?;
        if page.last().is_none_or(|(last, ..)| *last != mailbox) {
            mailboxes += 1;
        }
        if mailboxes > limit {
            break;
        }
        page.push((mailbox, suite_of(&document)?, keyset));
    }
    Ok(page)
}

/// A keyset as the document of a mailbox.
pub(super) fn document(mailbox: MailboxId, suite: &Suite, keyset: &StoredKeyset) -> Document {
    let mut document = doc! { "_id": key(mailbox, suite) };
    document.extend(encode(keyset));
    document
}

/// Writes a keyset.
pub(super) async fn save<T>(
    db: &Connection,
    session: &mut ClientSession,
    (mailbox, suite): (MailboxId, &Suite),
    keyset: &StoredKeyset,
) -> Result<(), Stop<T>> {
    db.collection(KEYSETS)
        .replace_one(doc! { "_id": key(mailbox, suite) }, encode(keyset))
        .upsert(true)
        .session(session)
        .await?;
    Ok(())
}

/// Notes that fallbacks were handed out, by their pools' places among the keyset's.
pub(super) async fn mark_used<T>(
    db: &Connection,
    session: &mut ClientSession,
    (mailbox, suite): (MailboxId, &Suite),
    pools: &[usize],
) -> Result<(), Stop<T>> {
    let used: Document = pools
        .iter()
        .map(|index| (format!("p.{index}.u"), Bson::Boolean(true)))
        .collect();
    db.collection(KEYSETS)
        .update_one(doc! { "_id": key(mailbox, suite) }, doc! { "$set": used })
        .session(session)
        .await?;
    Ok(())
}

/// Removes the keysets of a mailbox. Their queues go later: nothing names them any more.
pub(super) async fn forget<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailbox: MailboxId,
) -> Result<(), Stop<T>> {
    db.collection(KEYSETS)
        .delete_many(doc! { "_id": every_suite(mailbox) })
        .session(session)
        .await?;
    Ok(())
}

/// The keys of a mailbox's keysets.
pub(super) fn every_suite(mailbox: MailboxId) -> Document {
    let mailbox = mailbox.0.cast_signed();
    doc! { "$gte": { "m": mailbox, "s": "" }, "$lte": { "m": mailbox, "s": Bson::MaxKey } }
}

/// The suite of a keyset's key.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn suite_of(document: &Document) -> Result<Suite, Error> {
    let key = document.get_document("_id").map_err(|_| malformed(KEYSETS))?;
    Ok(Suite::parse(key.get_str("s").map_err(|_| malformed(KEYSETS))?)?)
}

fn key(mailbox: MailboxId, suite: &Suite) -> Document {
    doc! { "m": mailbox.0.cast_signed(), "s": suite.as_str() }
}

fn encode(keyset: &StoredKeyset) -> Document {
    let pools: Vec<Bson> = keyset.pools.iter().map(|pool| encode_pool(pool).into()).collect();
    let mut document = doc! {
        "i": binary(&keyset.identity[..]),
        "v": i64::from(keyset.identity_version),
        "p": pools,
    };
    if let Some(statement) = &keyset.statement {
        document.insert("t", binary(&statement[..]));
    }
    document
}

fn encode_pool((name, pool): (&PoolName, &StoredPool)) -> Document {
    let mut document = doc! {
        "n": name.as_str(),
        "k": pool.id.number.cast_signed(),
        "u": pool.fallback_used,
    };
    if let Some(item) = &pool.fallback {
        let mut fallback = doc! { "i": &*item.id, "d": binary(&item.data[..]) };
        if let Some(signature) = &item.signature {
            fallback.insert("g", binary(&signature[..]));
        }
        document.insert("f", fallback);
    }
    document
}

fn decode(document: &Document) -> Result<(MailboxId, StoredKeyset), Error> {
    let key = document.get_document("_id").map_err(|_| malformed(KEYSETS))?;
    let mailbox = key.get_i64("m").map_err(|_| malformed(KEYSETS))?;
    let mailbox = MailboxId(mailbox.cast_unsigned());
    let version = document.get_i64("v").map_err(|_| malformed(KEYSETS))?;
    let mut pools = BTreeMap::new();
    for pool in document.get_array("p").map_err(|_| malformed(KEYSETS))? {
        let pool = pool.as_document().ok_or_else(|| malformed(KEYSETS))?;
        let name = PoolName::parse(pool.get_str("n").map_err(|_| malformed(KEYSETS))?)?;
        pools.insert(name, decode_pool(mailbox, pool)?);
    }
    let keyset = StoredKeyset {
        identity: bytes(document, "i")?.ok_or_else(|| malformed(KEYSETS))?,
        statement: bytes(document, "t")?,
        identity_version: u32::try_from(version).map_err(|_| malformed(KEYSETS))?,
        pools,
    };
    Ok((mailbox, keyset))
}

fn decode_pool(mailbox: MailboxId, pool: &Document) -> Result<StoredPool, Error> {
    let number = pool.get_i64("k").map_err(|_| malformed(KEYSETS))?;
    let fallback = match pool.get("f") {
        None => None,
        Some(Bson::Document(fallback)) => Some(Item {
            id: fallback.get_str("i").map_err(|_| malformed(KEYSETS))?.into(),
            data: bytes(fallback, "d")?.ok_or_else(|| malformed(KEYSETS))?,
            signature: bytes(fallback, "g")?,
        }),
        Some(_) => return Err(malformed(KEYSETS)),
    };
    Ok(StoredPool {
        id: PoolId {
            mailbox,
            number: number.cast_unsigned(),
        },
        fallback,
        fallback_used: pool.get_bool("u").map_err(|_| malformed(KEYSETS))?,
    })
}

fn bytes(document: &Document, field: &str) -> Result<Option<Bytes>, Error> {
    match document.get(field) {
        None => Ok(None),
        Some(Bson::Binary(found)) => Ok(Some(Bytes::copy_from_slice(&found.bytes))),
        Some(_) => Err(malformed(KEYSETS)),
    }
}
