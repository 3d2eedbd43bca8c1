//! Cleaning up: which verb goes to the writer, and which to a reader.
//!
//! Must not know how anything is removed or counted.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::Address;
use rusqlite::Connection;

use crate::model::{MailboxId, UnixMs};
use crate::store::embedded::shared::Shared;
use crate::store::embedded::{Embedded, compaction, departed, devices, low, pools, records, runs, schema};
use crate::store::{ChoreStore, Compacted, Due, Error, Litter, LowPools, Swept};

#[async_trait]
impl ChoreStore for Embedded {
    async fn due(&self, litter: Litter) -> Result<Due, Error> {
        self.shared.healthy()?;
        let shared = Arc::clone(&self.shared);
        self.readers.run(move |conn| due(conn, &shared, litter)).await
    }

    async fn forget_records(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.writer
            .run(move |tx| Ok(records::forget_before(tx, before, limit)?))
            .await
    }

    async fn forget_tombstones(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.writer
            .run(move |tx| Ok(pools::forget_tombstones(tx.conn, before, limit)?))
            .await
    }

    async fn seen(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error> {
        let mailboxes = mailboxes.to_vec();
        self.writer
            .run(move |tx| Ok(devices::seen(tx.conn, &mailboxes, day)?))
            .await
    }

    async fn remove_idle(
        &self,
        before: UnixMs,
        _now: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error> {
        self.writer
            .run(move |tx| Ok(devices::remove_idle(tx, before, limit)?))
            .await
    }

    async fn sweep_departed(&self, _now: UnixMs, limit: usize) -> Result<Swept, Error> {
        self.writer.run(move |tx| departed::sweep(tx, limit)).await
    }

    async fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error> {
        self.shared.healthy()?;
        self.readers
            .run(move |conn| low::page(conn, floor, after, limit))
            .await
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        // Rows that were acked hold pages that could be given back.
        let waiting = self.writer.clear().await?;
        let mut compacted = self.writer.run(|tx| Ok(compaction::step(tx)?)).await?;
        compacted.done &= waiting == 0;
        if compacted.done {
            self.writer.cut().await?;
        }
        Ok(compacted)
    }
}

fn due(conn: &Connection, shared: &Shared, litter: Litter) -> Result<Due, Error> {
    match litter {
        Litter::Mail { now } => Ok(due_mail(shared, now)),
        Litter::Records { before } => records::due(conn, before),
        Litter::Revocations { now } => earlier(
            conn,
            "SELECT count(*), min(expires_at) FROM revocation WHERE expires_at <= ?1",
            now,
        ),
        Litter::Tombstones { before } => earlier(
            conn,
            "SELECT count(*), min(at) FROM tombstone WHERE at < ?1",
            before,
        ),
        Litter::IdleDevices { before } => earlier(
            conn,
            "SELECT count(*), min(seen_at) FROM device WHERE seen_at < ?1",
            before,
        ),
        Litter::Departed { now: _ } => departed::due(conn, shared),
        Litter::Runs { before, keep } => runs::due(conn, before, keep),
    }
}

/// Looks through the index in memory, and lets go of it now and then.
fn due_mail(shared: &Shared, now: UnixMs) -> Due {
    let mut due = Due::default();
    let mut from = Some(MailboxId(0));
    while let Some(mailbox) = from {
        let look = shared.mail.read().due(mailbox, now);
        due.count += look.found.count;
        due.bytes += look.found.bytes;
        due.oldest = due.oldest.into_iter().chain(look.found.oldest).min();
        from = look.next;
    }
    due
}

/// Counts rows along an index of their times.
fn earlier(conn: &Connection, sql: &str, time: UnixMs) -> Result<Due, Error> {
    let (count, oldest) = conn.prepare_cached(sql)?.query_row([schema::time(time)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    Ok(Due {
        count: count.cast_unsigned(),
        bytes: 0,
        oldest: oldest.map(|at| UnixMs(at.cast_unsigned())),
    })
}
