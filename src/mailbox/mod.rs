//! A device's mailbox as its session reads it: one path, online or away.
//!
//! Owns the cursor and the window: what was delivered and is not acked. Must not know sockets, frames
//! or the store; the committer answers from the tail or from the store, whichever holds what is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatctl_protocol::EnvelopeId;

use crate::committer::{Committer, Receipt};
use crate::model::{Envelope, MailboxId};
use crate::store::{self, Room};

/// How much a session may hold unacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Envelopes.
    pub envelopes: usize,
    /// Payload bytes; a single envelope passes whatever its size, and so does an ephemeral one.
    pub bytes: usize,
}

/// An envelope on its way to its device.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to deliver.
    pub envelope: Arc<Envelope>,
    /// 1 at the first delivery.
    pub attempt: u32,
}

/// One session's view of a mailbox. Dropping it counts what was not acked as an attempt.
#[derive(Debug)]
pub struct Mailbox {
    committer: Arc<Committer>,
    id: MailboxId,
    cursor: EnvelopeId,
    window: Window,
    unacked: BTreeMap<EnvelopeId, Delivered>,
    unacked_bytes: usize,
    /// Size of the envelope that comes next and did not fit; 0 when that is not known.
    next_bytes: usize,
}

/// What is remembered of an envelope until its ack.
#[derive(Debug, Clone, Copy)]
struct Delivered {
    receipt: Receipt,
    /// Ephemeral ones are in nobody's store.
    ephemeral: bool,
}

impl Mailbox {
    /// The mailbox from its oldest envelope on.
    #[must_use]
    pub const fn open(committer: Arc<Committer>, id: MailboxId, window: Window) -> Self {
        Self {
            committer,
            id,
            cursor: EnvelopeId::ZERO,
            window,
            unacked: BTreeMap::new(),
            unacked_bytes: 0,
            next_bytes: 0,
        }
    }

    /// The next envelopes that fit the window, oldest first, and moves the cursor over them. Empty when
    /// there are none, or no room: then [`Self::has_room`] says so. Not cancel safe: what a dropped call had read comes again only on
    /// the next session.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read; the cursor stays.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, store::Error> {
        if !self.has_room() {
            return Ok(Vec::new());
        }
        let room = Room {
            envelopes: self.window.envelopes.max(1) - self.unacked.len(),
            bytes: self.window.bytes - self.unacked_bytes,
        };
        let (page, cursor) = self.committer.page(self.id, self.cursor, room).await?;
        self.next_bytes = 0;
        // A page never comes back empty for want of bytes: its first envelope may be larger than the
        // room. An ephemeral one has left the tail by now, and cannot wait.
        if let Some(first) = page.first()
            && first.payload.len() > room.bytes
            && !self.unacked.is_empty()
            && !first.ephemeral
        {
            self.next_bytes = first.payload.len();
            return Ok(Vec::new());
        }
        self.cursor = cursor;
        let attempts = self.committer.attempts(self.id, &page);
        let page = page.into_iter().zip(attempts);
        Ok(page
            .map(|(envelope, before)| self.deliver(envelope, before))
            .collect())
    }

    fn deliver(&mut self, envelope: Arc<Envelope>, before: u32) -> Delivery {
        let delivered = Delivered {
            receipt: Receipt::from(&*envelope),
            ephemeral: envelope.ephemeral,
        };
        self.unacked_bytes += envelope.payload.len();
        self.unacked.insert(envelope.id, delivered);
        Delivery {
            envelope,
            attempt: before + 1,
        }
    }

    /// Whether the window has room for another envelope.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let next_bytes = self.next_bytes.max(1);
        self.unacked.is_empty()
            || (self.unacked.len() < self.window.envelopes
                && self.unacked_bytes + next_bytes <= self.window.bytes)
    }

    /// Forgets envelopes that this session delivered. Other ids are ignored. Returns how many counted.
    pub async fn ack(&mut self, ids: &[u64]) -> usize {
        let mut receipts = Vec::with_capacity(ids.len());
        let mut counted = 0;
        for id in ids {
            let Some(delivered) = self.unacked.remove(&EnvelopeId::from_u64(*id)) else {
                continue;
            };
            self.unacked_bytes -= usize::try_from(delivered.receipt.bytes).unwrap_or(0);
            counted += 1;
            if !delivered.ephemeral {
                receipts.push(delivered.receipt);
            }
        }
        self.committer.ack(self.id, &receipts).await;
        counted
    }

    /// Whether everything up to `mark` was delivered here and acked. `is_read` says that a read found
    /// nothing more since the mark was set, so that there is nothing below it to wait for.
    #[must_use]
    pub fn is_past(&self, mark: EnvelopeId, is_read: bool) -> bool {
        (is_read || self.cursor >= mark) && self.unacked.keys().next().is_none_or(|id| *id > mark)
    }

    /// Whether something was delivered and is not acked.
    #[must_use]
    pub fn has_unacked(&self) -> bool {
        !self.unacked.is_empty()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if !self.unacked.is_empty() {
            let stored = self.unacked.iter().filter(|(_, delivered)| !delivered.ephemeral);
            self.committer.unacked(self.id, stored.map(|(id, _)| *id));
        }
    }
}
