//! Mail as rows: putting, deleting, reading, and the gaps that expiry leaves.
//!
//! Must not know threads or transactions: it works inside the writer's, or on a reader's connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chatctl_protocol::EnvelopeId;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};

use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::embedded::fault::Undo;
use crate::store::embedded::index::{Entry, MailIndex};
use crate::store::embedded::regions::Regions;
use crate::store::embedded::shared::Change;
use crate::store::embedded::writer::Tx;
use crate::store::embedded::{acked, records};
use crate::store::head::{self, Stored};
use crate::store::{Batch, Committed, Deletion, Error, Gap, GapReason, Posting};

/// What an envelope takes besides its payload, about.
const ROW: usize = 512;

/// Whether there is a device of this mailbox.
pub(super) const IS_HERE: &str = "SELECT 1 FROM device WHERE mailbox = ?1";
const PUT: &str = "INSERT OR IGNORE INTO mail VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
/// What [`delete`] runs.
pub(super) const DELETE: &str = "DELETE FROM mail WHERE id = ?1 AND mailbox = ?2";

/// Writes a batch.
pub(super) fn commit(tx: &mut Tx<'_>, batch: &Batch) -> Result<Committed, Undo<Committed>> {
    if !batch.postings.is_empty() {
        let envelopes = batch.postings.iter().flat_map(|posting| &posting.envelopes);
        let bytes = envelopes.map(|envelope| envelope.payload.len() + ROW);
        tx.take_room(bytes.sum())?;
    }
    // Asked of the cache once a batch, not once a row.
    let mut remember = tx.conn.prepare_cached(records::REMEMBER)?;
    let mut insert = tx.conn.prepare_cached(PUT)?;
    let (mut refused, mut head) = (Vec::new(), Vec::new());
    for (index, posting) in batch.postings.iter().enumerate() {
        let Some(hash) = records::unknown(tx, &posting.record)? else {
            continue;
        };
        if !is_everybody_here(tx, posting) {
            refused.push(index);
            continue;
        }
        records::remember(tx, &mut remember, &posting.record, hash)?;
        for envelope in &posting.envelopes {
            put(tx, (&mut insert, &mut head), envelope)?;
        }
    }
    if !batch.postings.is_empty() {
        records::trim(tx)?;
    }
    ack(tx, &batch.deletions)?;
    if let Some(ceiling) = batch.id_ceiling {
        tx.conn
            .prepare_cached("UPDATE meta SET value = max(value, ?1) WHERE name = 'id_ceiling'")?
            .execute([ceiling.as_u64().cast_signed()])?;
    }
    Ok(Committed { refused })
}

/// Removes all mail of a mailbox, and its gaps. At most a mailbox's quota of rows.
pub(super) fn purge(tx: &mut Tx<'_>, mailbox: MailboxId) -> Result<(), Error> {
    let mut ids = tx.shared.mail.read().ids(mailbox);
    // What this transaction put is not in the index yet.
    ids.extend(tx.group.changes().iter().filter_map(|change| match change {
        Change::Put(of, entry) if *of == mailbox => Some(entry.id),
        Change::Put(..)
        | Change::Deleted(_)
        | Change::Acked(..)
        | Change::Arrived(_)
        | Change::Purged(_)
        | Change::Remembered(_)
        | Change::Forgotten(_)
        | Change::Leased(..) => None,
    }));
    let mut delete = tx.conn.prepare_cached(DELETE)?;
    for id in ids {
        if delete.execute((id.as_u64().cast_signed(), mailbox.0.cast_signed()))? > 0 {
            tx.group.note(Change::Deleted(Deletion { mailbox, id }));
        }
    }
    tx.conn
        .prepare_cached("DELETE FROM gap WHERE mailbox = ?1")?
        .execute([mailbox.0.cast_signed()])?;
    tx.group.note(Change::Purged(mailbox));
    Ok(())
}

/// Losses that were not told.
pub(super) fn gaps(conn: &Connection, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
    let mut select =
        conn.prepare_cached("SELECT reason, dropped FROM gap WHERE mailbox = ?1 ORDER BY reason")?;
    let mut rows = select.query([mailbox.0.cast_signed()])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        gaps.push(Gap {
            reason: GapReason::of_code(row.get(0)?)?,
            dropped: row.get::<_, i64>(1)?.cast_unsigned(),
        });
    }
    Ok(gaps)
}

/// Takes told losses off.
pub(super) fn gaps_told(tx: &mut Tx<'_>, mailbox: MailboxId, told: &[Gap]) -> Result<(), Undo<()>> {
    for gap in told {
        let place = (
            mailbox.0.cast_signed(),
            gap.reason.code(),
            i64::try_from(gap.dropped).unwrap_or(i64::MAX),
        );
        tx.conn
            .prepare_cached("UPDATE gap SET dropped = dropped - ?3 WHERE mailbox = ?1 AND reason = ?2")?
            .execute(place)?;
    }
    tx.conn
        .prepare_cached("DELETE FROM gap WHERE mailbox = ?1 AND dropped <= 0")?
        .execute([mailbox.0.cast_signed()])?;
    Ok(())
}

/// Reads envelopes of a mailbox by their ids; those that are gone meanwhile are left out.
pub(super) fn fetch(
    conn: &Connection,
    mailbox: MailboxId,
    ids: &[EnvelopeId],
) -> Result<Vec<Arc<Envelope>>, Error> {
    let mut select = conn.prepare_cached(
        "SELECT id, mailbox, sender, expires_at, head, payload FROM mail WHERE id = ?1 AND mailbox = ?2",
    )?;
    let mut page = Vec::with_capacity(ids.len());
    for id in ids {
        let key = (id.as_u64().cast_signed(), mailbox.0.cast_signed());
        let envelope = select.query_row(key, |row| Ok(decode(row))).optional()?;
        page.extend(envelope.transpose()?);
    }
    Ok(page)
}

/// Rebuilds the index and the regions, and finds the highest id.
pub(super) fn rebuild(
    conn: &Connection,
    index: &mut MailIndex,
    regions: &mut Regions,
) -> Result<EnvelopeId, Error> {
    let acked = acked::lists(conn, regions)?;
    // Lengths come from the rows' headers: payloads stay on the disk.
    let mut select =
        conn.prepare("SELECT id, mailbox, sender, expires_at, length(payload) FROM mail ORDER BY id")?;
    let mut rows = select.query([])?;
    let mut highest = EnvelopeId::ZERO;
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        highest = EnvelopeId::from_u64(number(0)?);
        let entry = Entry {
            id: highest,
            sender: MailboxId(number(2)?),
            expires_at: UnixMs(number(3)?),
            bytes: row.get(4)?,
        };
        regions.put(highest);
        match acked.get(&highest) {
            Some(list) => regions.acked(highest, *list, entry.bytes),
            None => index.put(MailboxId(number(1)?), entry),
        }
    }
    regions.opened();
    Ok(highest)
}

/// Notes acks. Their rows go later, unless the disk is short or they are as new as the acks.
fn ack(tx: &mut Tx<'_>, deletions: &[Deletion]) -> Result<(), Error> {
    let is_short = tx.shared.is_short.load(Ordering::Relaxed);
    let mut remove = tx.conn.prepare_cached(DELETE)?;
    for deletion in deletions {
        let committed = tx.shared.mail.read().find(*deletion);
        match committed {
            Some(bytes) if !is_short => tx.group.note(Change::Acked(*deletion, bytes)),
            Some(_) => drop(delete(tx, &mut remove, *deletion)?),
            None if tx.group.has_put() => drop(delete(tx, &mut remove, *deletion)?),
            None => {}
        }
    }
    Ok(())
}

fn is_everybody_here(tx: &Tx<'_>, posting: &Posting) -> bool {
    let devices = tx.shared.devices.read();
    posting.envelopes.iter().all(|envelope| {
        let changed = tx.group.is_here(envelope.mailbox);
        changed.unwrap_or_else(|| devices.contains(&envelope.mailbox))
    })
}

fn put(
    tx: &mut Tx<'_>,
    (insert, head): (&mut CachedStatement<'_>, &mut Vec<u8>),
    envelope: &Envelope,
) -> Result<(), Error> {
    head::encode_into(envelope, head);
    // An id that is there was put by an earlier try, whose record had to make room.
    let added = insert.execute((
        envelope.id.as_u64().cast_signed(),
        envelope.mailbox.0.cast_signed(),
        envelope.sender.0.cast_signed(),
        envelope.expires_at.0.cast_signed(),
        &**head,
        &*envelope.payload,
    ))?;
    if added > 0 {
        let entry = Entry {
            id: envelope.id,
            sender: envelope.sender,
            expires_at: envelope.expires_at,
            bytes: u32::try_from(envelope.payload.len()).unwrap_or(u32::MAX),
        };
        tx.group.note(Change::Put(envelope.mailbox, entry));
    }
    Ok(())
}

/// Deletes an envelope with its row; whether it was there.
pub(super) fn delete(
    tx: &mut Tx<'_>,
    remove: &mut CachedStatement<'_>,
    deletion: Deletion,
) -> Result<bool, Error> {
    let key = (
        deletion.id.as_u64().cast_signed(),
        deletion.mailbox.0.cast_signed(),
    );
    // What was acked is no mail any more, though its row is there.
    let gone = !tx.group.is_acked(deletion.id) && remove.execute(key)? > 0;
    if gone {
        tx.group.note(Change::Deleted(deletion));
    }
    Ok(gone)
}

/// Notes losses that the mailbox's owner is to be told of.
pub(super) fn widen(conn: &Connection, mailbox: MailboxId, gap: Gap) -> Result<(), Error> {
    conn.prepare_cached(
        "INSERT INTO gap VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET dropped = dropped + excluded.dropped",
    )?
    .execute((
        mailbox.0.cast_signed(),
        gap.reason.code(),
        gap.dropped.cast_signed(),
    ))?;
    Ok(())
}

pub(super) fn decode(row: &Row<'_>) -> Result<Arc<Envelope>, Error> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let blob = |column| Ok::<_, Error>(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?);
    let stored = Stored {
        id: EnvelopeId::from_u64(number(0)?),
        mailbox: MailboxId(number(1)?),
        sender: MailboxId(number(2)?),
        expires_at: UnixMs(number(3)?),
        payload: Bytes::copy_from_slice(blob(5)?),
    };
    head::decode(blob(4)?, stored)
}
