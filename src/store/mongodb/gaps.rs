//! Losses that recipients have not been told of.
//!
//! Must not know why mail was lost.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, malformed, pair, split};
use crate::store::mongodb::error;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::mail::everything_of;
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Error, ExpiredEnvelope, Gap, GapReason};

/// `_id` mailbox and reason, `n` how many are lost and not told.
pub(super) const GAPS: &str = "gaps";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
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
}];

/// Counts expired envelopes, which lie in the order of their mailboxes, as losses: one command for all of them.
pub(super) async fn widen<T>(
    db: &Connection,
    session: &mut ClientSession,
    removed: &[ExpiredEnvelope],
) -> Result<(), Stop<T>> {
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
pub(super) async fn told(db: &Connection, mailbox: MailboxId, gaps: &[Gap]) -> Result<(), Error> {
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

fn gap_key(mailbox: MailboxId, reason: GapReason) -> Bson {
    binary(pair(mailbox.0, reason.code().cast_unsigned())).into()
}
