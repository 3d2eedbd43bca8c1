//! Cleaning up: each verb finds what it removes by an index, and looks again in the transaction that removes it.
//!
//! Must not know when it is asked, or how old something has to be.

use async_trait::async_trait;
use chatctl_protocol::Address;
use mongodb::bson::{Document, doc};

use crate::model::{MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::pools::TOMBSTONES;
use crate::store::mongodb::{MongoDb, departures, error};
use crate::store::{ChoreStore, Compacted, Due, Error, Litter, LowPools, Swept};

mod due;
mod idle;
mod low;
mod oldest;
mod orphans;
mod records;

pub(super) use orphans::Walk;

#[async_trait]
impl ChoreStore for MongoDb {
    async fn due(&self, litter: Litter) -> Result<Due, Error> {
        due::due(&self.db, litter).await
    }

    async fn forget_records(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        match limit {
            0 => Ok(0),
            limit => records::forget(&self.db, before, limit).await,
        }
    }

    async fn forget_tombstones(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        match limit {
            0 => Ok(0),
            limit => oldest::forget(&self.db, TOMBSTONES, (before, limit)).await,
        }
    }

    async fn seen(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error> {
        idle::seen(&self.db, mailboxes, day).await
    }

    async fn remove_idle(
        &self,
        before: UnixMs,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error> {
        let removed = idle::remove(&self.db, (before, now), limit).await?;
        for (_, mailbox) in &removed {
            self.empty(*mailbox).await;
        }
        Ok(removed)
    }

    async fn sweep_departed(&self, now: UnixMs, limit: usize) -> Result<Swept, Error> {
        let mut swept = departures::purge_left(&self.db, now, limit).await?;
        if swept.done {
            let mut walk = self.orphans.lock().await;
            swept.done = walk.step(&self.db, now).await?;
        }
        Ok(swept)
    }

    async fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error> {
        low::page(&self.db, floor, after, limit).await
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        // The server uses space again by itself; only a command that stops others gives it back.
        let (size, spare) = self.db.within(sizes(&self.db)).await?;
        Ok(Compacted {
            freed: 0,
            size,
            spare,
            done: true,
        })
    }
}

/// What the database takes, and what of it holds nothing; nothing where this user may not know.
async fn sizes(db: &Connection) -> Result<(u64, u64), Error> {
    let asked = db
        .database
        .run_command(doc! { "dbStats": 1, "freeStorage": 1 })
        .await;
    let stats = match asked {
        Err(error) if error::is_denied(&error) => return Ok((0, 0)),
        asked => asked.map_err(|error| error::meaning(&error))?,
    };
    let size = number(&stats, "storageSize") + number(&stats, "indexSize");
    Ok((size, number(&stats, "totalFreeStorageSize")))
}

/// A number, whatever its type; the server tells sizes as it likes.
fn number(stats: &Document, field: &str) -> u64 {
    use mongodb::bson::Bson;
    match stats.get(field) {
        Some(Bson::Int32(number)) => u64::try_from(*number).unwrap_or(0),
        Some(Bson::Int64(number)) => u64::try_from(*number).unwrap_or(0),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
        Some(Bson::Double(number)) => *number as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
