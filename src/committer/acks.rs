//! Going out: what is acked leaves the tail, before its commit for good, else with a delete that a commit takes along.
//!
//! Must not know who acks; a mailbox says what was delivered to it.

use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use smallvec::SmallVec;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::committer::tail::Acked;
use crate::committer::{Committer, PATIENCE};
use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::Deletion;

/// What an ack needs to know about an envelope that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
    pub id: EnvelopeId,
    /// Who sent it.
    pub sender: MailboxId,
    /// Its payload's size.
    pub bytes: u64,
    /// When its time is over; from then on the expiry counts it out.
    pub expires_at: UnixMs,
}

impl From<&Envelope> for Receipt {
    fn from(envelope: &Envelope) -> Self {
        Self {
            id: envelope.id,
            sender: envelope.sender,
            bytes: envelope.payload.len() as u64,
            expires_at: envelope.expires_at,
        }
    }
}

/// Room for some acks to wait for their delete.
#[derive(Debug)]
pub struct AckRoom<'a>(SemaphorePermit<'a>);

impl Committer {
    /// Forgets acked envelopes: before their commit for good, else with one of the next commits.
    /// Waits while too many acks wait for theirs, but not for ever: what finds no place comes again.
    pub async fn ack(&self, mailbox: MailboxId, acks: &[Receipt]) {
        for acks in acks.chunks(ACKS_AT_ONCE) {
            if let Some(room) = self.ack_room(acks.len()) {
                self.ack_into(room, mailbox, acks);
                continue;
            }
            let room = timeout(PATIENCE, self.ack_room.acquire_many(acks.len() as u32)).await;
            match room {
                Ok(Ok(permit)) => self.ack_into(AckRoom(permit), mailbox, acks),
                Ok(Err(_)) | Err(_) => self.unacked(mailbox, acks.iter().map(|ack| ack.id)),
            }
        }
    }

    /// Room for so many acks, if there is as much now.
    #[must_use]
    pub fn ack_room(&self, most: usize) -> Option<AckRoom<'_>> {
        let most = u32::try_from(most).ok()?;
        self.ack_room.try_acquire_many(most).ok().map(AckRoom)
    }

    /// As [`Self::ack`], for no more acks than there is room for.
    pub fn ack_into(&self, AckRoom(mut room): AckRoom<'_>, mailbox: MailboxId, acks: &[Receipt]) {
        let stored = self.forget_acked(mailbox, acks);
        // Each delete holds its place until a commit has taken it.
        if let Some(held) = room.split(stored) {
            held.forget();
        }
        self.metrics.envelopes_acked.inc_by(acks.len() as u64);
    }

    /// Returns how many of them the store has to delete.
    fn forget_acked(&self, mailbox: MailboxId, acks: &[Receipt]) -> usize {
        let now = self.clock.now();
        let (mut stored, mut elided) = (0, 0);
        // Freed behind the lock: it may be the last that holds them.
        let mut forgotten: SmallVec<[Arc<Envelope>; 32]> = SmallVec::new();
        let mut guard = self.books.lock();
        let books = &mut *guard;
        let number = books.tail.known_from_now_on(mailbox);
        for ack in acks {
            let envelope = match books.tail.ack(number, ack.id, books.committing) {
                Acked::Elided(envelope) => {
                    elided += 1;
                    Some(envelope)
                }
                Acked::Before(envelope) => {
                    forgotten.extend(envelope);
                    continue;
                }
                Acked::Stored(envelope) => {
                    books.deletions.push(Deletion { mailbox, id: ack.id });
                    stored += 1;
                    envelope
                }
            };
            if let Some(envelope) = envelope {
                // Ids are as old as their envelopes.
                books.leeway.acked(now.0.saturating_sub(ack.id.unix_ms()));
                forgotten.push(envelope);
            }
            if ack.expires_at > now
                && let Some(ledger) = &mut books.tail.at_mut(number).ledger
            {
                ledger.remove(ack.sender, ack.bytes);
            }
        }
        let is_first = stored > 0 && books.deletions_since.is_none();
        if is_first {
            books.deletions_since = Some(Instant::now());
        }
        drop(guard);
        if is_first {
            self.work.notify_one();
        }
        if elided > 0 {
            self.metrics.envelopes_elided.inc_by(elided);
        }
        stored
    }
}

/// Acks that are taken in one go.
const ACKS_AT_ONCE: usize = 256;
