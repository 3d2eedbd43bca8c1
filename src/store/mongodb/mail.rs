//! Mail as documents, one for each envelope: how they look, reading them, counting them.
//!
//! The key is the mailbox's number and the envelope's, so a mailbox's mail lies together in order and needs
//! no index of its own. Must not know how mail comes or goes.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::EnvelopeId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};

use crate::model::{Envelope, MailboxId};
use crate::store::head::{self, Stored};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, date, envelope_key, malformed, pair, split, time};
use crate::store::mongodb::layout::{BACK_STOP, Collection, Index};
use crate::store::mongodb::{error, gaps};
use crate::store::{Error, Extent, Room, Span, Usage};

/// `_id` mailbox and envelope, `s` the sender's mailbox, `e` when it is over, `h` its head, `p` its payload.
pub(super) const MAIL: &str = "mail";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: MAIL,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "s", "e", "h", "p"],
            "additionalProperties": false,
            "properties": {
                "_id": { "bsonType": "binData" },
                "s": { "bsonType": "long" },
                "e": { "bsonType": "date" },
                "h": { "bsonType": "binData" },
                "p": { "bsonType": "binData" },
            },
        }
    },
    indexes: &[Index {
        name: "by_end",
        keys: &[("e", 1)],
        unique: false,
        expire_after: Some(BACK_STOP),
    }],
}];

/// Reads a page of a mailbox.
pub(super) async fn read(
    db: &Connection,
    mailbox: MailboxId,
    span: Span,
    room: Room,
) -> Result<Vec<Arc<Envelope>>, Error> {
    let limit = i64::try_from(room.envelopes).unwrap_or(i64::MAX);
    if limit == 0 {
        return Ok(Vec::new());
    }
    db.within(async {
        let mut session = db.session().await?;
        let filter = doc! {
            "_id": { "$gt": envelope_key(mailbox, span.after), "$lte": envelope_key(mailbox, span.up_to) },
            "e": { "$gt": date(span.now) },
        };
        let found = db
            .raw(MAIL)
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(limit)
            .batch_size(u32::try_from(limit).unwrap_or(PAGE).min(PAGE))
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let (mut page, mut bytes) = (Vec::new(), 0usize);
        while let Some(document) = found.next(&mut session).await {
            let envelope = decode(&document.map_err(|error| error::meaning(&error))?)?;
            bytes = bytes.saturating_add(envelope.payload.len());
            if bytes > room.bytes && !page.is_empty() {
                break;
            }
            page.push(envelope);
        }
        db.learn(&session);
        Ok(page)
    })
    .await
}

/// Counts a mailbox: its ledger's beginning, asked for once and when a session signs on.
pub(super) async fn usage(db: &Connection, mailbox: MailboxId) -> Result<Usage, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let counted = db
            .collection(MAIL)
            .aggregate([
                doc! { "$match": { "_id": everything_of(mailbox) } },
                doc! { "$group": {
                    "_id": "$s",
                    "n": { "$sum": 1_i64 },
                    "b": { "$sum": { "$toLong": { "$binarySize": "$p" } } },
                } },
                doc! { "$sort": { "_id": 1 } },
            ])
            .session(&mut session)
            .await;
        let mut counted = counted.map_err(|error| error::meaning(&error))?;
        let mut usage = Usage::default();
        while let Some(group) = counted.next(&mut session).await {
            let group = group.map_err(|error| error::meaning(&error))?;
            let number = |field| {
                group
                    .get_i64(field)
                    .map(i64::cast_unsigned)
                    .map_err(|_| malformed(MAIL))
            };
            let (sender, envelopes, bytes) = (number("_id")?, number("n")?, number("b")?);
            usage.envelopes += envelopes;
            usage.bytes += bytes;
            usage.senders.push((MailboxId(sender), envelopes, bytes));
        }
        db.learn(&session);
        Ok(usage)
    })
    .await
}

/// How much there is, by what the server says of its collections: nothing is gone through. After a server's crash the
/// number of envelopes may be off by what was under way.
pub(super) async fn extent(db: &Connection) -> Result<Extent, Error> {
    db.within(async {
        let envelopes = db.collection(MAIL).estimated_document_count().await;
        let envelopes = envelopes.map_err(|error| error::meaning(&error))?;
        // A user who may not ask for sizes may still use the store.
        let said = db.database.run_command(doc! { "dbStats": 1 }).await.ok();
        let size = |name| match said.as_ref()?.get(name)? {
            Bson::Int32(number) => u64::try_from(*number).ok(),
            Bson::Int64(number) => u64::try_from(*number).ok(),
            // A size beyond 2^53 is not told to the byte.
            Bson::Double(number) => Some(*number as u64),
            _ => None,
        };
        let free = || Some(size("fsTotalSize")?.saturating_sub(size("fsUsedSize")?));
        Ok(Extent {
            envelopes: Some(envelopes),
            bytes: size("totalSize").or_else(|| Some(size("storageSize")? + size("indexSize")?)),
            free_bytes: free(),
            ..Extent::default()
        })
    })
    .await
}

/// Removes all mail and gaps of a mailbox that is gone, at most a mailbox's quota of documents; how many
/// envelopes. Not in the transaction that made it go: nobody reads a mailbox that is gone, and nothing comes into it.
///
/// # Errors
///
/// [`Error::Unavailable`]; the rest goes when it is called again.
pub(super) async fn purge(db: &Connection, mailbox: MailboxId) -> Result<u64, Error> {
    let delete = async |collection| {
        let all = doc! { "_id": everything_of(mailbox) };
        let deleted = db.collection(collection).delete_many(all).await;
        deleted
            .map(|deleted| deleted.deleted_count)
            .map_err(|error| error::meaning(&error))
    };
    db.within(async {
        delete(gaps::GAPS).await?;
        delete(MAIL).await
    })
    .await
}

/// The keys of a mailbox, in every collection whose keys begin with its number.
pub(super) fn everything_of(mailbox: MailboxId) -> Document {
    doc! { "$gte": binary(pair(mailbox.0, 0)), "$lte": binary(pair(mailbox.0, u64::MAX)) }
}

/// An envelope as a document.
pub(super) fn encode(envelope: &Envelope) -> RawDocumentBuf {
    rawdoc! {
        "_id": envelope_key(envelope.mailbox, envelope.id),
        "s": envelope.sender.0.cast_signed(),
        "e": date(envelope.expires_at),
        "h": binary(head::encode(envelope)),
        "p": binary(&envelope.payload[..]),
    }
}

fn decode(document: &RawDocumentBuf) -> Result<Arc<Envelope>, Error> {
    let bytes = |field| {
        let found = document.get_binary(field).map_err(|_| malformed(MAIL))?;
        Ok::<_, Error>(found.bytes)
    };
    let (mailbox, id) = split(bytes("_id")?)?;
    let stored = Stored {
        id: EnvelopeId::from_u64(id),
        mailbox: MailboxId(mailbox),
        sender: MailboxId(
            document
                .get_i64("s")
                .map_err(|_| malformed(MAIL))?
                .cast_unsigned(),
        ),
        expires_at: time(document.get_datetime("e").map_err(|_| malformed(MAIL))?),
        payload: Bytes::copy_from_slice(bytes("p")?),
    };
    head::decode(bytes("h")?, stored)
}

/// Most envelopes in one answer of the server.
const PAGE: u32 = 256;
