//! The forgetting of items that were handed out.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::date;
use crate::store::mongodb::pools::TOMBSTONES;
use crate::store::mongodb::transaction::{Stop, Work};

/// Forgets tombstones of before a time, the oldest first; how many.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn forget(db: &Connection, before: UnixMs, limit: usize) -> Result<usize, Error> {
    db.transact(&ForgetOld { before, limit }).await
}

/// A step of forgetting tombstones, as one transaction.
struct ForgetOld {
    before: UnixMs,
    limit: usize,
}

#[async_trait]
impl Work for ForgetOld {
    type Answer = usize;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<usize, Stop<usize>> {
        let mut found = db
            .collection(TOMBSTONES)
            .find(doc! { "t": { "$lt": date(self.before) } })
            .sort(doc! { "t": 1 })
            .limit(i64::try_from(self.limit).unwrap_or(i64::MAX))
            .projection(doc! { "_id": 1 })
            .session(&mut *session)
            .await?;
        let mut keys = Vec::new();
        while let Some(mut document) = found.next(session).await.transpose()? {
            keys.extend(document.remove("_id"));
        }
        let forgotten = keys.len();
        if forgotten > 0 {
            db.collection(TOMBSTONES)
                .delete_many(doc! { "_id": { "$in": keys } })
                .session(&mut *session)
                .await?;
        }
        Ok(forgotten)
    }
}
