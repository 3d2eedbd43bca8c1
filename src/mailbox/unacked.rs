//! What was delivered and is not acked, in the order of the ids.
//!
//! Must not know where it goes when it is acked.
//!
//! # Why
//!
//! Mail is delivered and acked in nearly the order of its ids, so a queue takes both at its ends. It is searched where
//! they are not, and it holds no more than a window.

use std::collections::VecDeque;

use chatctl_protocol::EnvelopeId;

use crate::committer::Receipt;

/// The delivered envelopes of a session.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    delivered: VecDeque<Delivered>,
    bytes: usize,
}

/// What is remembered of an envelope until its ack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) receipt: Receipt,
    /// Ephemeral ones are in nobody's store.
    pub(super) ephemeral: bool,
}

impl Unacked {
    pub(super) fn len(&self) -> usize {
        self.delivered.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.delivered.is_empty()
    }

    /// Payload bytes of all.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lowest id.
    pub(super) fn first(&self) -> Option<EnvelopeId> {
        self.delivered.front().map(|delivered| delivered.receipt.id)
    }

    pub(super) fn contains(&self, id: EnvelopeId) -> bool {
        self.place(id).is_ok()
    }

    /// Adds an envelope; one that is there already stays as it is.
    pub(super) fn insert(&mut self, delivered: Delivered) {
        if let Err(place) = self.place(delivered.receipt.id) {
            self.bytes += usize::try_from(delivered.receipt.bytes).unwrap_or(0);
            self.delivered.insert(place, delivered);
        }
    }

    /// Takes envelopes out, and hands out the receipts of those that the committer is to forget. Returns how many
    /// there were; other ids are ignored.
    pub(super) fn take(&mut self, ids: &[u64], mut each: impl FnMut(Receipt)) -> usize {
        let mut counted = 0;
        for id in ids {
            let place = self.place(EnvelopeId::from_u64(*id)).ok();
            let Some(delivered) = place.and_then(|place| self.delivered.remove(place)) else {
                continue;
            };
            self.bytes -= usize::try_from(delivered.receipt.bytes).unwrap_or(0);
            counted += 1;
            if !delivered.ephemeral {
                each(delivered.receipt);
            }
        }
        counted
    }

    /// The ids of what is stored somewhere, ascending.
    pub(super) fn stored(&self) -> impl Iterator<Item = EnvelopeId> {
        let stored = self.delivered.iter().filter(|delivered| !delivered.ephemeral);
        stored.map(|delivered| delivered.receipt.id)
    }

    /// Gives memory back that a rush has left.
    pub(super) fn rest(&mut self) {
        if self.delivered.is_empty() && self.delivered.capacity() > QUIET {
            self.delivered = VecDeque::new();
        }
    }

    /// Where an id is, or belongs.
    fn place(&self, id: EnvelopeId) -> Result<usize, usize> {
        if self.first() == Some(id) {
            return Ok(0);
        }
        match self.delivered.back() {
            Some(last) if last.receipt.id >= id => self
                .delivered
                .binary_search_by_key(&id, |delivered| delivered.receipt.id),
            Some(_) | None => Err(self.delivered.len()),
        }
    }
}

/// Envelopes that a session keeps room for while it has none.
const QUIET: usize = 8;
