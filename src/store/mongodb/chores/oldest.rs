//! The oldest documents of a collection, by a time in each of them.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::date;
use crate::store::mongodb::transaction::{Stop, Work};

/// Deletes documents whose `t` is before a time, the oldest first, at most so many, in a transaction of its own; how
/// many.
///
/// # Errors
///
/// [`Error`].
pub(super) async fn forget(
    db: &Connection,
    collection: &'static str,
    (before, limit): (UnixMs, usize),
) -> Result<usize, Error> {
    db.transact(&Forget {
        collection,
        before,
        limit,
    })
    .await
}

struct Forget {
    collection: &'static str,
    before: UnixMs,
    limit: usize,
}

#[async_trait]
impl Work for Forget {
    type Answer = usize;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<usize, Stop<usize>> {
        delete(db, session, self.collection, (self.before, self.limit)).await
    }
}

/// Deletes documents whose `t` is before a time, the oldest first, at most so many; how many.
///
/// # Errors
///
/// The driver's.
pub(super) async fn delete<T>(
    db: &Connection,
    session: &mut ClientSession,
    collection: &str,
    (before, limit): (UnixMs, usize),
) -> Result<usize, Stop<T>> {
    let mut found = db
        .collection(collection)
        .find(doc! { "t": { "$lt": date(before) } })
        .sort(doc! { "t": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .projection(doc! { "_id": 1 })
        .session(&mut *session)
        .await?;
    let mut keys = Vec::new();
    while let Some(mut document) = found.next(session).await.transpose()? {
        keys.extend(document.remove("_id"));
    }
    let deleted = keys.len();
    if deleted > 0 {
        let these = doc! { "_id": { "$in": keys } };
        db.collection(collection)
            .delete_many(these)
            .session(session)
            .await?;
    }
    Ok(deleted)
}
