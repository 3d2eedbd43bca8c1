//! Expiry of mail, in bounded steps, each a transaction.
//!
//! Finds what is over by an index on its end. Must not know who calls it, and when.

use async_trait::async_trait;
use chatctl_protocol::EnvelopeId;
use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::model::{MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, envelope_key, malformed, split};
use crate::store::mongodb::gaps;
use crate::store::mongodb::mail::MAIL;
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Error, Expired, ExpiredEnvelope};

/// One step of expiry, as one transaction.
struct Expire {
    now: UnixMs,
    budget: usize,
}

/// Removes what is over, the oldest first.
pub(super) async fn expire(db: &Connection, now: UnixMs, budget: usize) -> Result<Expired, Error> {
    let budget = budget.max(1);
    db.transact(&Expire { now, budget }).await
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
            gaps::widen(db, session, &removed).await?;
        }
        let done = removed.len() < self.budget;
        Ok(Expired { removed, done })
    }
}
