//! The forgetting of items that were handed out.

use async_trait::async_trait;
use mongodb::ClientSession;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::mongodb::chores::oldest;
use crate::store::mongodb::connection::Connection;
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
        oldest::delete(db, session, TOMBSTONES, (self.before, self.limit)).await
    }
}
