//! The forgetting of idempotency records, and of senders that are gone and have none any more.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::mongodb::chores::oldest;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed};
use crate::store::mongodb::records::{GONE, RECORDS};
use crate::store::mongodb::transaction::{Stop, Work};

/// Forgets records of before a time, the oldest first, and no more once it has forgotten so many; how many. Those
/// of one commit go together.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn forget(db: &Connection, before: UnixMs, limit: usize) -> Result<usize, Error> {
    db.transact(&ForgetOld { before, limit }).await
}

/// A step of forgetting, as one transaction.
struct ForgetOld {
    before: UnixMs,
    limit: usize,
}

#[async_trait]
impl Work for ForgetOld {
    type Answer = usize;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<usize, Stop<usize>> {
        let mut found = db
            .collection(RECORDS)
            .find(doc! { "a": { "$lt": date(self.before) } })
            .sort(doc! { "a": 1 })
            .limit(i64::try_from(self.limit).unwrap_or(i64::MAX))
            .projection(doc! { "n": { "$toLong": { "$size": "$h" } } })
            .session(&mut *session)
            .await?;
        let (mut ids, mut forgotten) = (Vec::new(), 0);
        while forgotten < self.limit
            && let Some(document) = found.next(session).await.transpose()?
        {
            ids.push(document.get_i64("_id").map_err(|_| malformed(RECORDS))?);
            let count = document.get_i64("n").map_err(|_| malformed(RECORDS))?;
            forgotten += usize::try_from(count).unwrap_or(0);
        }
        drop(found);
        if !ids.is_empty() {
            db.collection(RECORDS)
                .delete_many(doc! { "_id": { "$in": ids } })
                .session(&mut *session)
                .await?;
        }
        if forgotten < self.limit {
            // Senders that are gone for as long: none of their records is left.
            oldest::delete(db, session, GONE, (self.before, GONE_AT_ONCE)).await?;
        }
        Ok(forgotten)
    }
}

/// Senders that are gone and are forgotten in one step.
const GONE_AT_ONCE: usize = 1000;
