//! Expiry: what is over is gathered in memory, and deleted from the table's front to its end.
//!
//! Must not know what an envelope says.
//!
//! # Why
//!
//! The table is in the order of the ids, and each of its pages holds mail of many mailboxes. Going from mailbox
//! to mailbox touches a page again for each envelope on it; going by id touches it once. So the ids that are
//! over are gathered first, on a reader's thread, in looks that hold the index for a moment each, and the lowest
//! of them wait in a heap for the steps that delete them. A restart forgets the heap and gathers anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chatctl_protocol::EnvelopeId;
use parking_lot::RwLock;

use crate::model::{MailboxId, UnixMs};
use crate::store::embedded::fault::Undo;
use crate::store::embedded::index::MailIndex;
use crate::store::embedded::mail;
use crate::store::embedded::shared::Shared;
use crate::store::embedded::writer::Tx;
use crate::store::{Deletion, Error, Expired, ExpiredEnvelope, Gap, GapReason};

/// Most envelopes that wait to be deleted, 16 bytes each; twice as many while they are gathered.
const MOST: usize = 128 * 1024;

/// Envelopes that a step looks at if need be: those that were acked meanwhile cost little.
const TAKEN: usize = 4096;

/// What a gathering found.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    waiting: BinaryHeap<Reverse<(EnvelopeId, MailboxId)>>,
    /// There was more than has room here.
    is_partial: bool,
}

impl Harvest {
    /// Whether the next step has to gather first.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gathers what is over by now: the lowest ids of it.
    pub(super) fn gather(mail: &RwLock<MailIndex>, now: UnixMs) -> Self {
        let mut found = Vec::new();
        let mut highest = EnvelopeId::MAX;
        let mut is_partial = false;
        let mut from = Some(MailboxId(0));
        while let Some(mailbox) = from {
            let look = mail.write().gather(mailbox, now, highest);
            found.extend(look.found);
            from = look.next;
            if found.len() >= 2 * MOST {
                let (_, (last, _), _) = found.select_nth_unstable(MOST - 1);
                highest = *last;
                found.truncate(MOST);
                is_partial = true;
            }
        }
        Self {
            waiting: found.into_iter().map(Reverse).collect(),
            is_partial,
        }
    }
}

/// One step: deletes the oldest of what was gathered, and widens the gap of each mailbox once.
pub(super) fn step(tx: &mut Tx<'_>, now: UnixMs, budget: usize) -> Result<Expired, Undo<Expired>> {
    let budget = budget.max(1);
    // When the transaction fails after this, what was taken is found when all is gathered again.
    let (over, done) = take(tx.shared, now, budget);
    let mut removed = Vec::with_capacity(over.len());
    let mut remove = tx.conn.prepare_cached(mail::DELETE)?;
    for envelope in over {
        let ExpiredEnvelope { mailbox, id, .. } = envelope;
        // A neighbour in this transaction may have deleted it: then it was acked, and is no loss.
        if mail::delete(tx, &mut remove, Deletion { mailbox, id })? {
            removed.push(envelope);
        }
    }
    removed.sort_unstable_by_key(|envelope| (envelope.mailbox, envelope.id));
    for of in removed.chunk_by(|one, next| one.mailbox == next.mailbox) {
        let gap = Gap {
            reason: GapReason::Ttl,
            dropped: of.len() as u64,
        };
        of.first().map_or(Ok::<_, Error>(()), |first| {
            mail::widen(tx.conn, first.mailbox, gap)
        })?;
    }
    Ok(Expired { removed, done })
}

/// Takes what is over from the front, and tells whether everything is taken.
fn take(shared: &Shared, now: UnixMs, budget: usize) -> (Vec<ExpiredEnvelope>, bool) {
    let mut harvest = shared.harvest.lock();
    let index = shared.mail.read();
    let mut over = Vec::new();
    for _ in 0..TAKEN.max(budget) {
        if over.len() >= budget {
            break;
        }
        let Some(Reverse((id, mailbox))) = harvest.waiting.pop() else {
            break;
        };
        over.extend(index.over(mailbox, id, now));
    }
    (over, harvest.is_empty() && !harvest.is_partial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::index::Entry;

    #[test]
    fn of_more_than_there_is_room_for_the_oldest_are_gathered() {
        let mut index = MailIndex::default();
        // From the newest mailbox's point of view the oldest mail comes last.
        let all = 2 * MOST as u64 + 5000;
        for number in 0..all {
            let entry = Entry {
                id: EnvelopeId::from_u64(number + 1),
                sender: MailboxId(9),
                expires_at: UnixMs(5),
                bytes: 1,
            };
            index.put(MailboxId(1 + (all - number) % 37), entry);
        }
        let index = RwLock::new(index);
        let harvest = Harvest::gather(&index, UnixMs(5));
        assert!(harvest.is_partial);
        let mut waiting: Vec<_> = harvest.waiting.into_iter().map(|Reverse((id, _))| id).collect();
        waiting.sort_unstable();
        waiting.truncate(MOST);
        assert!(waiting.into_iter().map(EnvelopeId::as_u64).eq(1..=MOST as u64));
        let nothing = Harvest::gather(&index, UnixMs(4));
        assert!(nothing.is_empty() && !nothing.is_partial);
    }
}
