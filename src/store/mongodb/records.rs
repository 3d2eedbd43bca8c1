//! Idempotency records: one document for the sends of one commit.
//!
//! Must not know mail. A document names its records by hashes, which are indexed, and holds them as bytes:
//! a fifth of what a document for each would cost, twice (when it comes, and when it goes).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chatctl_protocol::{ClientMsgId, EnvelopeId};
use mongodb::ClientSession;
use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::model::{MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, date, malformed};
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{Collection, Index, RECORDS_BACK_STOP};
use crate::store::mongodb::transaction::Stop;
use crate::store::{Error, Posting, SendKey, SendRecord};

/// `_id` the lowest envelope id, `z` the highest, `a` when the last of them was accepted, `h` hashes of the names, `b` the records.
pub(super) const RECORDS: &str = "records";
/// Senders that are gone, whose records count no more: `_id` the mailbox, `t` since when.
pub(super) const GONE: &str = "gone";

pub(super) const COLLECTIONS: &[Collection] = &[
    Collection {
        name: RECORDS,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "z", "a", "h", "b"],
                "additionalProperties": false,
                "properties": {
                    "_id": { "bsonType": "long" },
                    "z": { "bsonType": "long" },
                    "a": { "bsonType": "date" },
                    "h": { "bsonType": "array", "minItems": 1, "items": { "bsonType": "long" } },
                    "b": { "bsonType": "binData" },
                },
            }
        },
        indexes: &[
            Index {
                name: "by_name",
                keys: &[("h", 1)],
                unique: false,
                expire_after: None,
            },
            // Clean-up is the relay's; this is for what a relay that never came back has left.
            Index {
                name: "by_time",
                keys: &[("a", 1)],
                unique: false,
                expire_after: Some(RECORDS_BACK_STOP),
            },
        ],
    },
    Collection {
        name: GONE,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "t"],
                "additionalProperties": false,
                "properties": { "_id": { "bsonType": "long" }, "t": { "bsonType": "date" } },
            }
        },
        indexes: &[Index {
            name: "by_time",
            keys: &[("t", 1)],
            unique: false,
            expire_after: Some(RECORDS_BACK_STOP),
        }],
    },
];

/// The records of one commit. Fields are added, never changed.
#[derive(Clone, PartialEq, prost::Message)]
struct Records {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    sender: u64,
    #[prost(bytes = "bytes", tag = "2")]
    client_msg_id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    digest: Bytes,
    #[prost(fixed64, tag = "4")]
    first_id: u64,
    /// From each envelope's id to the next one's.
    #[prost(uint64, repeated, tag = "5")]
    steps: Vec<u64>,
    #[prost(uint64, tag = "6")]
    accepted_at: u64,
}

/// Writes the records of some sends, of which there is at least one.
///
/// # Errors
///
/// [`Stop::Driver`] with a duplicate key when the same sends were written before.
pub(super) async fn remember<T>(
    db: &Connection,
    session: &mut ClientSession,
    postings: &[&Posting],
) -> Result<(), Stop<T>> {
    let records = postings.iter().map(|posting| &posting.record);
    let lowest = records
        .clone()
        .filter_map(|record| record.envelope_ids.first())
        .min();
    let highest = records
        .clone()
        .filter_map(|record| record.envelope_ids.last())
        .max();
    let accepted_at = records.clone().map(|record| record.accepted_at).max();
    let (Some(lowest), Some(highest), Some(accepted_at)) = (lowest, highest, accepted_at) else {
        return Ok(());
    };
    let mut hashes = mongodb::bson::RawArrayBuf::new();
    records.clone().for_each(|record| hashes.push(hash(&record.key)));
    let body = Records {
        records: records.map(encode).collect(),
    };
    let document: RawDocumentBuf = rawdoc! {
        "_id": lowest.as_u64().cast_signed(),
        "z": highest.as_u64().cast_signed(),
        "a": date(accepted_at),
        "h": hashes,
        "b": binary(body.encode_to_vec()),
    };
    db.raw(RECORDS).insert_one(document).session(session).await?;
    Ok(())
}

/// Which of these sends were written before, by their places in the list.
pub(super) async fn known<T>(
    db: &Connection,
    session: &mut ClientSession,
    postings: &[Posting],
) -> Result<HashSet<usize>, Stop<T>> {
    let keys: HashSet<&SendKey> = postings.iter().map(|posting| &posting.record.key).collect();
    let filter = named(keys.iter().copied());
    let mut documents = db.collection(RECORDS).find(filter).session(&mut *session).await?;
    let mut found = Found::default();
    while let Some(document) = documents.next(session).await.transpose()? {
        found.take(&document, &keys)?;
    }
    let is_known = |posting: &Posting| found.records.get(&posting.record.key) == Some(&posting.record);
    let postings = postings.iter().enumerate();
    Ok(postings
        .filter(|(_, posting)| is_known(posting))
        .map(|(index, _)| index)
        .collect())
}

/// Looks for some sends at once.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn sent(db: &Connection, keys: &[SendKey]) -> Result<HashMap<SendKey, SendRecord>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let wanted: HashSet<&SendKey> = keys.iter().collect();
        let filter = named(wanted.iter().copied());
        let documents = db.collection(RECORDS).find(filter).session(&mut session).await;
        let mut documents = documents.map_err(|error| error::meaning(&error))?;
        let mut found = Found::default();
        while let Some(document) = documents.next(&mut session).await {
            found.take(&document.map_err(|error| error::meaning(&error))?, &wanted)?;
        }
        let mut found = found.records;
        if !found.is_empty() {
            let gone = gone(db, &mut session, found.keys().map(|key| key.sender)).await;
            let gone = gone.map_err(|error| error::meaning(&error))?;
            found.retain(|key, _| !gone.contains(&key.sender));
        }
        db.learn(&session);
        Ok(found)
    })
    .await
}

/// Notes that a sender is gone, so that its records count no more.
pub(super) async fn forget<T>(
    db: &Connection,
    session: &mut ClientSession,
    sender: MailboxId,
    now: UnixMs,
) -> Result<(), Stop<T>> {
    let gone = doc! { "_id": sender.0.cast_signed(), "t": date(now) };
    db.collection(GONE).insert_one(gone).session(session).await?;
    Ok(())
}

/// The highest envelope id that was written lately: ids of whoever starts now are to be above it.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn newest(db: &Connection) -> Result<EnvelopeId, Error> {
    db.within(async {
        let mut session = db.session().await?;
        // A node's commits are in the order of their ids; those of several nodes overlap by moments.
        let found = db
            .collection(RECORDS)
            .find(doc! {})
            .sort(doc! { "_id": -1 })
            .limit(NEWEST)
            .projection(doc! { "z": 1 })
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut newest = EnvelopeId::ZERO;
        while let Some(document) = found.next(&mut session).await {
            let document = document.map_err(|error| error::meaning(&error))?;
            let highest = document.get_i64("z").map_err(|_| malformed(RECORDS))?;
            newest = newest.max(EnvelopeId::from_u64(highest.cast_unsigned()));
        }
        db.learn(&session);
        Ok(newest)
    })
    .await
}

/// What a search has found: for a name that was used twice, the later send.
#[derive(Default)]
struct Found {
    records: HashMap<SendKey, SendRecord>,
}

impl Found {
    fn take(&mut self, document: &Document, wanted: &HashSet<&SendKey>) -> Result<(), Error> {
        for record in decode(document)? {
            if !wanted.contains(&record.key) {
                continue;
            }
            let known = self.records.get(&record.key);
            if known.is_none_or(|known| known.envelope_ids < record.envelope_ids) {
                self.records.insert(record.key.clone(), record);
            }
        }
        Ok(())
    }
}

async fn gone(
    db: &Connection,
    session: &mut ClientSession,
    senders: impl Iterator<Item = MailboxId>,
) -> mongodb::error::Result<HashSet<MailboxId>> {
    let senders: Vec<i64> = senders.map(|sender| sender.0.cast_signed()).collect();
    let mut found = db
        .collection(GONE)
        .find(doc! { "_id": { "$in": senders } })
        .session(&mut *session)
        .await?;
    let mut gone = HashSet::new();
    while let Some(document) = found.next(session).await.transpose()? {
        gone.extend(
            document
                .get_i64("_id")
                .ok()
                .map(|sender| MailboxId(sender.cast_unsigned())),
        );
    }
    Ok(gone)
}

fn named<'a>(keys: impl Iterator<Item = &'a SendKey>) -> Document {
    let hashes: Vec<i64> = keys.map(hash).collect();
    doc! { "h": { "$in": hashes } }
}

/// The first eight bytes of SHA-256 over a name: the record itself decides.
fn hash(key: &SendKey) -> i64 {
    let mut hash = Sha256::new();
    hash.update(key.sender.0.to_be_bytes());
    hash.update(key.client_msg_id.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk::<8>()
        .map_or(0, |first| i64::from_be_bytes(*first))
}

fn encode(record: &SendRecord) -> Record {
    let ids = &record.envelope_ids;
    let steps = ids.windows(2).map(|pair| match pair {
        [before, after] => after.as_u64().wrapping_sub(before.as_u64()),
        _ => 0,
    });
    Record {
        sender: record.key.sender.0,
        client_msg_id: Bytes::copy_from_slice(record.key.client_msg_id.as_bytes()),
        digest: Bytes::copy_from_slice(&record.digest),
        first_id: ids.first().copied().unwrap_or_default().as_u64(),
        steps: steps.collect(),
        accepted_at: record.accepted_at.0,
    }
}

fn decode(document: &Document) -> Result<Vec<SendRecord>, Error> {
    let body = document.get_binary_generic("b").map_err(|_| malformed(RECORDS))?;
    let records = Records::decode(&body[..])?.records;
    records.into_iter().map(decode_one).collect()
}

fn decode_one(record: Record) -> Result<SendRecord, Error> {
    let mut id = record.first_id;
    let mut envelope_ids = vec![EnvelopeId::from_u64(id)];
    for step in record.steps {
        id = id.wrapping_add(step);
        envelope_ids.push(EnvelopeId::from_u64(id));
    }
    Ok(SendRecord {
        key: SendKey {
            sender: MailboxId(record.sender),
            client_msg_id: ClientMsgId::parse(&record.client_msg_id)?,
        },
        digest: <[u8; 8]>::try_from(&record.digest[..]).map_err(|_| malformed(RECORDS))?,
        envelope_ids,
        accepted_at: UnixMs(record.accepted_at),
    })
}

/// Commits among which the newest id is looked for.
const NEWEST: i64 = 8;
