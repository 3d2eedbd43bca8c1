//! Mail as documents: putting, deleting, reading, expiring, and the gaps that expiry leaves.
//!
//! A document for each envelope. Its key is the mailbox's number and the envelope's, so a mailbox's mail
//! lies together in order and needs no index of its own. Must not know what a send's record looks like.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::EnvelopeId;
use mongodb::ClientSession;
use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc, rawdoc};

use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::head::{self, Stored};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, date, envelope_key, malformed, pair, split, time};
use crate::store::mongodb::layout::{BACK_STOP, Collection, Index};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{devices, error, nodes, records};
use crate::store::{
    Batch, Committed, Deletion, Error, Expired, ExpiredEnvelope, Gap, GapReason, Posting, Room, Span, Usage,
};

/// `_id` mailbox and envelope, `s` the sender's mailbox, `e` when it is over, `h` its head, `p` its payload.
const MAIL: &str = "mail";
/// `_id` mailbox and reason, `n` how many are lost and not told.
const GAPS: &str = "gaps";

pub(super) const COLLECTIONS: &[Collection] = &[
    Collection {
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
    },
    Collection {
        name: GAPS,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "n"],
                "additionalProperties": false,
                "properties": { "_id": { "bsonType": "binData" }, "n": { "bsonType": "long" } },
            }
        },
        indexes: &[],
    },
];

/// A batch as one transaction.
struct Commit<'a> {
    batch: &'a Batch,
    deletions: &'a [Deletion],
    /// Some of it may be there: an earlier try was cut off.
    again: bool,
}

/// What became of it.
enum Committing {
    Done(Committed),
    /// Something of it is there already.
    Known,
}

/// Writes a batch.
///
/// # Errors
///
/// As [`crate::store::MailStore::commit`].
pub(super) async fn commit(db: &Connection, batch: &Batch) -> Result<Committed, Error> {
    let (first, rest) = batch
        .deletions
        .split_at(batch.deletions.len().min(DELETIONS_AT_ONCE));
    let mut work = Commit {
        batch,
        deletions: first,
        again: false,
    };
    let committed = match db.transact(&work).await? {
        Committing::Done(committed) => committed,
        Committing::Known => {
            work.again = true;
            match db.transact(&work).await? {
                Committing::Done(committed) => committed,
                // Somebody commits the same at this moment.
                Committing::Known => return Err(Error::Unavailable("the batch is being written".into())),
            }
        }
    };
    // Deleting twice is deleting once: what a failure leaves is asked for again.
    for deletions in rest.chunks(DELETIONS_AT_ONCE) {
        let rest = Batch::default();
        db.transact(&Commit {
            batch: &rest,
            deletions,
            again: false,
        })
        .await?;
    }
    Ok(committed)
}

#[async_trait]
impl Work for Commit<'_> {
    type Answer = Committing;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Committing, Stop<Committing>> {
        let mut refused = self.refused(db, session).await?;
        // What was written before its mailbox went is not refused when it comes again.
        let known = match self.again || !refused.is_empty() {
            true => records::known(db, session, &self.batch.postings).await?,
            false => HashSet::new(),
        };
        refused.retain(|index| !known.contains(index));
        let postings = self.fresh(&refused, &known);
        let inserted = self.insert(db, session, &postings).await;
        match inserted {
            Err(Stop::Driver(error)) if error::is_duplicate(&error) => {
                return Err(Stop::Undo(Committing::Known));
            }
            inserted => inserted?,
        }
        if !self.deletions.is_empty() {
            let acked = doc! { "_id": { "$in": self.acked() } };
            db.collection(MAIL)
                .delete_many(acked)
                .session(&mut *session)
                .await?;
        }
        if let Some(ceiling) = self.batch.id_ceiling {
            nodes::raise_ceiling(db, session, ceiling).await?;
        }
        Ok(Committing::Done(Committed { refused }))
    }
}

impl Commit<'_> {
    /// Postings to a mailbox that is gone.
    async fn refused(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Vec<usize>, Stop<Committing>> {
        let mailboxes = self.mailboxes();
        if mailboxes.is_empty() {
            return Ok(Vec::new());
        }
        let here = devices::present(db, session, &mailboxes).await?;
        let is_refused = |posting: &Posting| {
            posting
                .envelopes
                .iter()
                .any(|envelope| !here.contains(&envelope.mailbox))
        };
        let postings = self.batch.postings.iter().enumerate();
        Ok(postings
            .filter(|(_, posting)| is_refused(posting))
            .map(|(index, _)| index)
            .collect())
    }

    /// Inserts the records of sends, and their mail.
    async fn insert(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        postings: &[&Posting],
    ) -> Result<(), Stop<Committing>> {
        if postings.is_empty() {
            return Ok(());
        }
        records::remember(db, session, postings).await?;
        let mut mail = self.mail(postings);
        if self.again {
            for key in stored(db, session, mail.keys().map(binary).collect()).await? {
                mail.remove(&key);
            }
        }
        if !mail.is_empty() {
            let mail: Vec<RawDocumentBuf> = mail.into_values().collect();
            db.raw(MAIL)
                .insert_many(mail)
                .ordered(false)
                .session(&mut *session)
                .await?;
        }
        Ok(())
    }

    fn mailboxes(&self) -> HashSet<MailboxId> {
        let envelopes = self.batch.postings.iter().flat_map(|posting| &posting.envelopes);
        envelopes.map(|envelope| envelope.mailbox).collect()
    }

    /// Postings that are neither refused nor known.
    fn fresh(&self, refused: &[usize], known: &HashSet<usize>) -> Vec<&Posting> {
        let fresh = |index: &usize| refused.binary_search(index).is_err() && !known.contains(index);
        let postings = self.batch.postings.iter().enumerate();
        postings
            .filter(|(index, _)| fresh(index))
            .map(|(_, posting)| posting)
            .collect()
    }

    fn acked(&self) -> Vec<Binary> {
        self.deletions
            .iter()
            .map(|gone| envelope_key(gone.mailbox, gone.id))
            .collect()
    }

    /// The documents of some sends, without what the same batch deletes.
    fn mail(&self, postings: &[&Posting]) -> BTreeMap<[u8; 16], RawDocumentBuf> {
        let gone: HashSet<&Deletion> = self.deletions.iter().collect();
        let envelopes = postings.iter().flat_map(|posting| &posting.envelopes);
        let stays = envelopes.filter(|envelope| {
            !gone.contains(&Deletion {
                mailbox: envelope.mailbox,
                id: envelope.id,
            })
        });
        stays
            .map(|envelope| (pair(envelope.mailbox.0, envelope.id.as_u64()), encode(envelope)))
            .collect()
    }
}

/// Which of these envelopes are stored.
async fn stored(
    db: &Connection,
    session: &mut ClientSession,
    keys: Vec<Binary>,
) -> Result<Vec<[u8; 16]>, Stop<Committing>> {
    let mut found = db
        .collection(MAIL)
        .find(doc! { "_id": { "$in": keys } })
        .projection(doc! { "_id": 1 })
        .session(&mut *session)
        .await?;
    let mut stored = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let key = document.get_binary_generic("_id").map_err(|_| malformed(MAIL))?;
        stored.push(<[u8; 16]>::try_from(&key[..]).map_err(|_| malformed(MAIL))?);
    }
    Ok(stored)
}

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

/// One step of expiry, as one transaction.
struct Expire {
    now: UnixMs,
    records_before: UnixMs,
    budget: usize,
}

/// Removes what is over, the oldest first.
pub(super) async fn expire(
    db: &Connection,
    now: UnixMs,
    records_before: UnixMs,
    budget: usize,
) -> Result<Expired, Error> {
    let budget = budget.max(1);
    db.transact(&Expire {
        now,
        records_before,
        budget,
    })
    .await
}

#[async_trait]
impl Work for Expire {
    type Answer = Expired;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<Expired, Stop<Expired>> {
        let mut found = db
            .collection(MAIL)
            .find(doc! { "e": { "$lte": date(self.now) } })
            .sort(doc! { "e": 1 })
            .limit(i64::try_from(self.budget).unwrap_or(i64::MAX))
            .projection(doc! { "s": 1, "b": { "$toLong": { "$binarySize": "$p" } } })
            .session(&mut *session)
            .await?;
        let mut removed = Vec::new();
        while let Some(document) = found.next(session).await.transpose()? {
            let key = document.get_binary_generic("_id").map_err(|_| malformed(MAIL))?;
            let (mailbox, id) = split(key)?;
            let number = |field| {
                document
                    .get_i64(field)
                    .map(i64::cast_unsigned)
                    .map_err(|_| malformed(MAIL))
            };
            removed.push(ExpiredEnvelope {
                mailbox: MailboxId(mailbox),
                id: EnvelopeId::from_u64(id),
                sender: MailboxId(number("s")?),
                bytes: number("b")?,
            });
        }
        removed.sort_unstable_by_key(|envelope| (envelope.mailbox, envelope.id));
        if !removed.is_empty() {
            let ids: Vec<_> = removed
                .iter()
                .map(|envelope| envelope_key(envelope.mailbox, envelope.id))
                .collect();
            db.collection(MAIL)
                .delete_many(doc! { "_id": { "$in": ids } })
                .session(&mut *session)
                .await?;
            widen(db, session, &removed).await?;
        }
        let more_records = records::expire(db, session, self.records_before, self.budget).await?;
        let done = removed.len() < self.budget && !more_records;
        Ok(Expired { removed, done })
    }
}

/// Counts expired envelopes, which lie in the order of their mailboxes, as losses: one command for all of them.
async fn widen(
    db: &Connection,
    session: &mut ClientSession,
    removed: &[ExpiredEnvelope],
) -> Result<(), Stop<Expired>> {
    let updates = removed
        .chunk_by(|one, next| one.mailbox == next.mailbox)
        .filter_map(|of| {
            let lost = i64::try_from(of.len()).unwrap_or(i64::MAX);
            let key = gap_key(of.first()?.mailbox, GapReason::Ttl);
            Some(doc! { "q": { "_id": key }, "u": { "$inc": { "n": lost } }, "upsert": true })
        });
    let updates: Vec<Document> = updates.collect();
    let answer = db
        .database
        .run_command(doc! { "update": GAPS, "updates": updates })
        .session(&mut *session)
        .await?;
    match answer.contains_key("writeErrors") {
        true => Err(Error::Unavailable("the losses could not be noted".into()).into()),
        false => Ok(()),
    }
}

/// Losses that were not told.
pub(super) async fn gaps(db: &Connection, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(GAPS)
            .find(doc! { "_id": everything_of(mailbox) })
            .sort(doc! { "_id": 1 })
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let mut gaps = Vec::new();
        while let Some(document) = found.next(&mut session).await {
            let document = document.map_err(|error| error::meaning(&error))?;
            let key = document.get_binary_generic("_id").map_err(|_| malformed(GAPS))?;
            let dropped = document.get_i64("n").map_err(|_| malformed(GAPS))?;
            gaps.push(Gap {
                reason: GapReason::of_code(split(key)?.1.cast_signed())?,
                dropped: dropped.cast_unsigned(),
            });
        }
        db.learn(&session);
        Ok(gaps)
    })
    .await
}

/// Losses that were told, as one transaction.
struct Told<'a> {
    mailbox: MailboxId,
    gaps: &'a [Gap],
}

/// Takes told losses off.
pub(super) async fn gaps_told(db: &Connection, mailbox: MailboxId, gaps: &[Gap]) -> Result<(), Error> {
    db.transact(&Told { mailbox, gaps }).await
}

#[async_trait]
impl Work for Told<'_> {
    type Answer = ();

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<(), Stop<()>> {
        for gap in self.gaps {
            let told = i64::try_from(gap.dropped).unwrap_or(i64::MAX);
            let key = gap_key(self.mailbox, gap.reason);
            db.collection(GAPS)
                .update_one(doc! { "_id": key }, doc! { "$inc": { "n": -told } })
                .session(&mut *session)
                .await?;
        }
        db.collection(GAPS)
            .delete_many(doc! { "_id": everything_of(self.mailbox), "n": { "$lte": 0_i64 } })
            .session(&mut *session)
            .await?;
        Ok(())
    }
}

/// Removes all mail and gaps of a mailbox that is gone, at most a mailbox's quota of documents. Not in the
/// transaction that made it go: nobody reads a mailbox that is gone, and nothing comes into it.
///
/// # Errors
///
/// [`Error::Unavailable`]; the rest goes when it is called again.
pub(super) async fn purge(db: &Connection, mailbox: MailboxId) -> Result<(), Error> {
    db.within(async {
        for collection in [MAIL, GAPS] {
            let deleted = db
                .collection(collection)
                .delete_many(doc! { "_id": everything_of(mailbox) })
                .await;
            deleted.map_err(|error| error::meaning(&error))?;
        }
        Ok(())
    })
    .await
}

fn everything_of(mailbox: MailboxId) -> Document {
    doc! { "$gte": binary(pair(mailbox.0, 0)), "$lte": binary(pair(mailbox.0, u64::MAX)) }
}

fn gap_key(mailbox: MailboxId, reason: GapReason) -> Bson {
    binary(pair(mailbox.0, reason.code().cast_unsigned())).into()
}

fn encode(envelope: &Envelope) -> RawDocumentBuf {
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

/// Most deletions in one transaction.
const DELETIONS_AT_ONCE: usize = 4096;

/// Most envelopes in one answer of the server.
const PAGE: u32 = 256;
